"""SR: a photo that was blurred, made smaller, disturbed and compressed, then enlarged to its old size."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from unires.degrade.codec import draw_jpeg
from unires.degrade.kernels import convolve, gaussian
from unires.degrade.noise import draw_seed
from unires.shapes import Photo

Resized = Float[np.ndarray, "new_h new_w 3"]

# Pillow widens its filters when it shrinks, so none of these aliases.
FILTERS = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resize(x: Photo, height: int, width: int, kind: str) -> Resized:
    """Resize a photo in float precision; bicubic may overshoot [0, 1].

    Paper: the resize modes of Real-ESRGAN.  Range: kind is a key of FILTERS.
    Test:  test_degrade.py::test_resize
    """
    planes = [Image.fromarray(np.ascontiguousarray(x[..., c], np.float32)) for c in range(3)]
    return np.stack([np.asarray(p.resize((width, height), FILTERS[kind])) for p in planes], axis=-1)


def soften(x: Photo, sigma: Sequence[float], angle: float) -> Photo:
    """Blur the display values with a Gaussian, as Real-ESRGAN does before it shrinks.

    Paper: first blur of Real-ESRGAN.  Range: sigma in pixels of the sharp photo.
    Test:  test_degrade.py::test_flat_stays_flat
    """
    return convolve(x, gaussian(sigma, angle))


def draw(x: Photo, rng: np.random.Generator, severity: float) -> list[dict]:
    """Draw the steps of one low-resolution photo: x2, clean (severity 0) to x4, soft and noisy (1).

    Paper: SR expert's data; a one-stage cut of Real-ESRGAN's pipeline.  Range: severity in [0, 1].
    Test:  test_degrade.py::test_severity_is_monotone
    """
    height, width, _ = x.shape
    factor = 2 + 2 * severity
    sigma = 0.2 + 1.8 * severity * rng.uniform(0.5, 1)
    ratio = rng.uniform(0.4, 1) if rng.random() < 0.5 else 1.0  # half of the kernels are anisotropic
    small = {"height": max(1, round(height / factor)), "width": max(1, round(width / factor))}
    return [
        {"op": "soften", "sigma": [sigma, sigma * ratio], "angle": rng.uniform(0, np.pi)},
        {"op": "shrink", **small, "kind": str(rng.choice(list(FILTERS)))},
        {"op": "display_noise", "sigma": 0.04 * severity * rng.uniform(0.1, 1), "seed": draw_seed(rng)},
        draw_jpeg(rng, severity, worst=40),
        {"op": "enlarge", "height": height, "width": width, "kind": "bicubic"},
    ]
