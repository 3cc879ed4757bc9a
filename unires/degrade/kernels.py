"""Blur kernels and the convolution that uses them. Every kernel is square, odd-sized and sums to 1."""

import numpy as np
import scipy.fft
from jaxtyping import Float

from unires.degrade.codec import to_display, to_linear
from unires.shapes import Photo

Kernel = Float[np.ndarray, "n n"]
Path = Float[np.ndarray, "t 2"]  # points (row, column) in pixels, one per equal slice of the exposure


def gaussian(sigma: float) -> Kernel:
    """A round Gaussian, cut at 4 sigma; those of any shape are `blur_kernels.generalised_gaussian`.

    Paper: lens blur of the OID-Motion data.  Range: sigma in pixels, above 0.
    Test:  test_kernels.py::test_gaussian_matches_scipy
    """
    radius = int(4 * sigma + 0.5)
    line = (np.arange(-radius, radius + 1) / sigma) ** 2
    weights = np.exp(-0.5 * (line[:, None] + line))
    return weights / weights.sum()


def disc_coverage(radius: float, samples: int = 32) -> Kernel:
    """Share of each pixel's area that a disc covers, counted on samples x samples points a pixel.

    Paper: our choice, the geometric image of a point out of focus.  Range: [0, 1]; sums to pi radius^2.
    Test:  test_kernels.py::test_disc_area
    """
    half = int(np.ceil(radius - 0.5))  # outermost pixel that the disc touches
    edge = (np.arange((2 * half + 1) * samples) + 0.5) / samples - half - 0.5
    inside = edge[:, None] ** 2 + edge**2 <= radius**2
    return inside.reshape(2 * half + 1, samples, 2 * half + 1, samples).mean(axis=(1, 3))


def disc(radius: float) -> Kernel:
    """Defocus kernel: a uniform disc with anti-aliased edge. A radius of 0.5 or less blurs nothing.

    Paper: our choice, a stand-in for the real defocus of DPDD.  Range: radius in pixels.
    Test:  test_kernels.py::test_disc_area
    """
    coverage = disc_coverage(radius)
    return coverage / coverage.sum()


def rasterise(path: Path) -> Kernel:
    """Kernel of a camera path: each point shares its weight among four pixels, the centroid is the centre.

    Bilinear shares keep the centroid, so centring the path centres the kernel exactly.

    Paper: the sub-pixel rasterising of Boracchi and Foi.  Range: path in pixels, of any origin.
    Test:  test_motion.py::test_shake_kernel, test_kernels.py::test_rasterise_shares
    """
    path = path - path.mean(axis=0)
    half = int(np.ceil(np.abs(path).max())) + 1
    corner = np.floor(path).astype(int)
    share = path - corner  # how far the point lies towards the next pixel
    size = 2 * half + 1
    kernel = np.zeros(size * size)
    for down in (0, 1):
        for right in (0, 1):
            row, column = corner[:, 0] + down + half, corner[:, 1] + right + half
            weight = np.abs(1 - down - share[:, 0]) * np.abs(1 - right - share[:, 1])
            kernel += np.bincount(row * size + column, weight, minlength=size * size)
    return kernel.reshape(size, size) / len(path)


def convolve(x: Photo, kernel: Kernel) -> Photo:
    """Convolve each channel with the kernel; the border is continued by reflection.

    Paper: our choice of border.
    Test:  test_kernels.py::test_convolve_matches_scipy
    """
    height, width, _ = x.shape
    half = len(kernel) // 2
    if half == 0:
        return x * np.float32(kernel[0, 0])
    padded = np.pad(x, ((half, half), (half, half), (0, 0)), mode="reflect").transpose(2, 0, 1)
    # Wrap-around spoils only the first 2 * half rows and columns, which are cut away anyway.
    size = [scipy.fft.next_fast_len(n, real=True) for n in padded.shape[1:]]
    spectrum = scipy.fft.rfft2(padded, size) * scipy.fft.rfft2(kernel.astype(np.float32), size)
    blurred = scipy.fft.irfft2(spectrum, size)[:, 2 * half : 2 * half + height, 2 * half : 2 * half + width]
    return np.ascontiguousarray(blurred.transpose(1, 2, 0))


def blur_light(x: Photo, kernel: Kernel) -> Photo:
    """Blur a photo as a lens does, in linear light: highlights spread more than their display values say.

    Paper: the linear-light blur of the OID-Motion data.  Range: [0, 1].
    Test:  test_kernels.py::test_linear_light
    """
    return to_display(convolve(to_linear(x), kernel))
