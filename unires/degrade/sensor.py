"""DN: a sensor that saw too little light."""

import numpy as np

from unires.degrade.codec import GAMMA, draw_jpeg
from unires.degrade.noise import draw_seed
from unires.shapes import Photo

LIGHTEST, HEAVIEST = 0.004, 0.15  # standard deviation on mid grey, in display values
MID_GREY = 0.5**GAMMA  # as linear light


def draw(x: Photo, rng: np.random.Generator, severity: float) -> list[dict]:
    """Draw the steps of one noisy photo: sigma on mid grey spread log-uniformly, 0.004 to 0.15.

    Paper: DN expert's data, our stand-in for SIDD.  Range: severity in [0, 1].
    Test:  test_degrade.py::test_noise_on_mid_grey
    """
    sigma = LIGHTEST * (HEAVIEST / LIGHTEST) ** severity
    # First-order noise propagation: sigma_light = sigma * d(light)/d(display).
    variance = (sigma * GAMMA * 0.5 ** (GAMMA - 1)) ** 2
    photons = rng.uniform(0.5, 0.95)  # share of the variance that is shot noise on mid grey
    return [
        {
            "op": "sensor_noise",
            "a": photons * variance / MID_GREY,
            "b": (1 - photons) * variance,
            "seed": draw_seed(rng),
        },
        draw_jpeg(rng, severity, worst=75),
    ]
