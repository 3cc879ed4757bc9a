"""DD: a lens that was focused elsewhere."""

import numpy as np

from unires.degrade.kernels import blur_light, disc
from unires.degrade.noise import draw_read_noise
from unires.shapes import Photo


def defocus(x: Photo, radius: float) -> Photo:
    """Blur a photo with a disc in linear light, as a round aperture does.

    Paper: our choice, a stand-in for the real defocus of DPDD.  Range: radius in pixels.
    Test:  test_degrade.py::test_flat_stays_flat
    """
    return blur_light(x, disc(radius))


def draw(x: Photo, rng: np.random.Generator, severity: float) -> list[dict]:
    """Draw the steps of one photo out of focus: a disc of half a pixel (severity 0) to 5 pixels (1).

    Paper: DD expert's data; one depth a photo.  Range: severity in [0, 1].
    Test:  test_degrade.py::test_severity_is_monotone
    """
    return [{"op": "defocus", "radius": 0.5 + 4.5 * severity}, draw_read_noise(rng, severity)]
