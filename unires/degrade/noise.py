"""Noise: of a sensor, with variance = a * light + b, and of Real-ESRGAN, added to the display values."""

import numpy as np
from jaxtyping import Float

from unires.degrade.codec import to_display, to_linear
from unires.shapes import Photo

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def poisson_gaussian(u: Float[np.ndarray, "*pixels"], a: float, b: float, seed: int) -> Float[np.ndarray, "*pixels"]:
    """Add noise of variance a * u + b, unclipped.

    Paper: the standard raw-sensor model (Foi et al. 2008), our stand-in for SIDD.
    Range: u >= 0 in linear light; a is the light of one photo-electron, b the variance of read-out.
    Test:  test_raw.py::test_raw_noise_variance, test_degrade.py::test_noise_is_poisson
    """
    rng = np.random.default_rng(seed)
    photons = a * rng.poisson(u / a) if a > 0 else u
    read = rng.standard_normal(u.shape, np.float32) * np.float32(np.sqrt(b))
    return (photons + read).astype(np.float32)


def sensor_noise(x: Photo, a: float, b: float, seed: int) -> Photo:
    """Add Poisson-Gaussian noise to a photo in linear light, saturating at black and white.

    Paper: our stand-in for SIDD.  Range: [0, 1].
    Test:  test_degrade.py::test_sensor_noise
    """
    return to_display(poisson_gaussian(to_linear(x), a, b, seed))


def display_noise(x: Photo, sigma: float, seed: int, grey: bool = False) -> Photo:
    """Add white Gaussian noise to the display values, as Real-ESRGAN does, and clip.

    Paper: the Gaussian noise of Real-ESRGAN.
    Range: sigma in units of [0, 1]; grey noise is the same in the three channels.
    Test:  test_super_resolution.py::test_gaussian_noise, test_super_resolution.py::test_grey_noise
    """
    shape = (*x.shape[:2], 1) if grey else x.shape
    added = np.random.default_rng(seed).standard_normal(shape, np.float32)
    added *= np.float32(sigma)
    return np.clip(x + added, 0, 1)


def poisson_noise(x: Photo, scale: float, grey: bool, seed: int) -> Photo:
    """Add Poisson noise of Real-ESRGAN's kind to the display values, and clip.

    A photo with n distinct levels counts `levels` = 2^ceil(log2 n) photons at white. The noise is computed from
    the photo rounded to 8 bit, its variance is scale^2 x / levels.
    Paper: the Poisson noise of Real-ESRGAN.
    Range: scale multiplies the noise; grey noise is that of the luma, the same in the three channels.
    Test:  test_super_resolution.py::test_poisson_noise, test_super_resolution.py::test_grey_noise
    """
    values = x @ LUMA[:, None] if grey else x
    rounded = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    n = np.count_nonzero(np.bincount(rounded.ravel(), minlength=256))
    levels = 2 ** int(np.ceil(np.log2(n)))
    counts = np.random.default_rng(seed).poisson(rounded * (levels / 255))
    added = counts.astype(np.float32) / np.float32(levels) - rounded * np.float32(1 / 255)
    added *= np.float32(scale)
    return np.clip(x + added, 0, 1)
