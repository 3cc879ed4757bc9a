"""Sensor noise: Poisson photons plus Gaussian read-out, so that variance = a * light + b."""

import numpy as np

from unires.degrade.codec import to_display, to_linear
from unires.shapes import Photo


def poisson_gaussian(u: Photo, a: float, b: float, seed: int) -> Photo:
    """Add noise of variance a * u + b, unclipped.

    Paper: the standard raw-sensor model (Foi et al. 2008), our stand-in for SIDD.
    Range: u >= 0 in linear light; a is the light of one photo-electron, b the variance of read-out.
    Test:  test_degrade.py::test_noise_variance, test_degrade.py::test_noise_is_poisson
    """
    rng = np.random.default_rng(seed)
    photons = a * rng.poisson(u / a) if a > 0 else u
    read = rng.standard_normal(u.shape, np.float32) * np.float32(np.sqrt(b))
    return (photons + read).astype(np.float32)


def sensor_noise(x: Photo, a: float, b: float, seed: int) -> Photo:
    """Add Poisson-Gaussian noise to a photo in linear light, saturating at black and white.

    Paper: our stand-in for SIDD.  Range: [0, 1].
    Test:  test_degrade.py::test_noise_on_mid_grey
    """
    return to_display(poisson_gaussian(to_linear(x), a, b, seed))


def display_noise(x: Photo, sigma: float, seed: int) -> Photo:
    """Add white Gaussian noise to the display values, as Real-ESRGAN does; may leave [0, 1].

    Paper: the Gaussian noise of Real-ESRGAN.  Range: sigma in units of [0, 1].
    Test:  test_degrade.py::test_noise_on_mid_grey
    """
    return x + np.random.default_rng(seed).standard_normal(x.shape, np.float32) * np.float32(sigma)


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed that a recipe can carry: 32 bits, which every JSON reader keeps exact.

    Paper: our choice.
    Test:  test_degrade.py::test_replay
    """
    return int(rng.integers(2**32))


def draw_read_noise(rng: np.random.Generator, severity: float) -> dict:
    """Draw the slight read-out noise that any real blurred photo carries: sigma at most 0.004 in light.

    Paper: read-out noise of the OID-Motion data; the size is our choice.
    Test:  test_degrade.py::test_severity_is_monotone
    """
    sigma = 0.004 * severity * rng.uniform(0.25, 1)
    return {"op": "sensor_noise", "a": 0.0, "b": sigma**2, "seed": draw_seed(rng)}
