"""The blur kernels of Real-ESRGAN: bell shapes with flat or heavy tails, and the ringing sinc."""

from collections.abc import Sequence

import numpy as np
from scipy.special import j1

from unires.degrade.kernels import Kernel, convolve
from unires.shapes import Photo


def squared_distance(size: int, sigma: Sequence[float], angle: float) -> Kernel:
    """Squared distance from the centre in units of sigma, x^T Sigma^-1 x, for every pixel of a square.

    Paper: Real-ESRGAN.  Range: size odd; sigma in pixels, `sigma[0]` along `angle`, `sigma[1]` across it.
    Raises: ValueError if the size is not odd and at least 1.
    Test:  test_super_resolution.py::test_bells_match_their_formulas
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel size {size}: give an odd number of pixels, at least 1")
    row, column = np.mgrid[: float(size), : float(size)] - size // 2
    along = np.cos(angle) * column + np.sin(angle) * row
    across = np.cos(angle) * row - np.sin(angle) * column
    return (along / sigma[0]) ** 2 + (across / sigma[1]) ** 2


def generalised_gaussian(size: int, sigma: Sequence[float], angle: float, beta: float) -> Kernel:
    """Generalised Gaussian exp(-0.5 * (x^T Sigma^-1 x)^beta): a Gaussian at beta 1, a flat disc far above.

    Paper: Real-ESRGAN's Gaussian and generalised Gaussian kinds.  Range: beta > 0; below 1 the tails are heavy.
    Raises: ValueError as `squared_distance`.
    Test:  test_super_resolution.py::test_bells_match_their_formulas
    """
    weights = np.exp(-0.5 * squared_distance(size, sigma, angle) ** beta)
    return weights / weights.sum()


def plateau(size: int, sigma: Sequence[float], angle: float, beta: float) -> Kernel:
    """Plateau 1 / (1 + (x^T Sigma^-1 x)^beta): flat in the middle, with tails that reach the kernel's edge.

    Paper: Real-ESRGAN's plateau kinds.  Range: beta > 0.
    Raises: ValueError as `squared_distance`.
    Test:  test_super_resolution.py::test_bells_match_their_formulas
    """
    weights = 1 / (1 + squared_distance(size, sigma, angle) ** beta)
    return weights / weights.sum()


def sinc(size: int, cutoff: float) -> Kernel:
    """Ideal low-pass for a disc of frequencies, cut off to a square: it rings, and has negative weights.

    Paper: Real-ESRGAN's sinc filter, w J1(w r) / (2 pi r) for the cut-off w.
    Range: cutoff in radians a pixel, up to pi.
    Raises: ValueError as `squared_distance`.
    Test:  test_super_resolution.py::test_sinc_is_a_low_pass
    """
    radius = np.sqrt(squared_distance(size, (1.0, 1.0), 0.0))
    middle = size // 2
    radius[middle, middle] = 1  # any number: the limit takes its place
    weights = cutoff * j1(cutoff * radius) / (2 * np.pi * radius)
    weights[middle, middle] = cutoff**2 / (4 * np.pi)
    return weights / weights.sum()


KINDS = {
    "iso": generalised_gaussian,
    "aniso": generalised_gaussian,
    "generalised_iso": generalised_gaussian,
    "generalised_aniso": generalised_gaussian,
    "plateau_iso": plateau,
    "plateau_aniso": plateau,
}


def blur(x: Photo, kind: str, size: int, sigma: Sequence[float], angle: float, beta: float) -> Photo:
    """Blur the display values with one of Real-ESRGAN's bell-shaped kernels.

    Paper: the blur of Real-ESRGAN.  Range: kind is a key of KINDS; beta is 1 for "iso" and "aniso".
    Raises: ValueError as `squared_distance`.
    Test:  test_super_resolution.py::test_blurs_convolve
    """
    return convolve(x, KINDS[kind](size, sigma, angle, beta))


def sinc_filter(x: Photo, size: int, cutoff: float) -> Photo:
    """Filter the display values with a sinc, which rings at edges; may leave [0, 1].

    Paper: the sinc filter of Real-ESRGAN.  Range: cutoff in radians a pixel, up to pi.
    Raises: ValueError as `squared_distance`.
    Test:  test_super_resolution.py::test_blurs_convolve
    """
    return convolve(x, sinc(size, cutoff))
