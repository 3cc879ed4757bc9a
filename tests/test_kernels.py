"""Kernels and the convolution that uses them: weights that sum to 1, and what their formulas say."""

import numpy as np
import pytest
from flaws import moments
from scipy import ndimage
from skimage.data import astronaut

from unires.degrade import codec, kernels, motion

SHAKE = {"jitter": 1.0, "pull": 60.0, "shakes": 1.0}


ALL_KERNELS = {
    "gaussian": lambda: kernels.gaussian(1.3),
    "disc": lambda: kernels.disc(3.3),
    "point": lambda: kernels.disc(0.5),
    "shake": lambda: kernels.rasterise(20 * motion.trajectory(**SHAKE, seed=3)),
}


@pytest.mark.parametrize("name", ALL_KERNELS)
def test_kernels_are_weights(name):
    kernel = ALL_KERNELS[name]()
    assert kernel.shape[0] == kernel.shape[1] and len(kernel) % 2 == 1
    assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(moments(kernel)[0]).max() < 1e-10


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_gaussian_matches_scipy(sigma):
    kernel = kernels.gaussian(sigma)
    point = np.zeros(kernel.shape)
    point[len(point) // 2, len(point) // 2] = 1
    np.testing.assert_allclose(kernel, ndimage.gaussian_filter(point, sigma, mode="constant"), atol=1e-12)


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.7, 5.0])
def test_disc_area(radius):
    coverage = kernels.disc_coverage(radius)
    half = len(coverage) // 2
    assert coverage.sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    row, column = np.abs(np.mgrid[-half : half + 1, -half : half + 1])
    assert (coverage[np.hypot(row + 0.5, column + 0.5) <= radius] == 1).all()
    assert (coverage[np.hypot(np.maximum(row - 0.5, 0), np.maximum(column - 0.5, 0)) > radius] == 0).all()
    if radius > 2:  # a uniform disc has variance radius^2 / 4 along each axis, a pixel adds 1 / 12
        covariance = moments(kernels.disc(radius))[1] / (radius**2 / 4 + 1 / 12)
        np.testing.assert_allclose(covariance, np.eye(2), atol=0.02)


def test_rasterise_shares():
    # Two points 2.5 pixels apart: the centred points lie at columns -1.25 and 1.25.
    kernel = kernels.rasterise(np.array([[7.0, 1.0], [7.0, 3.5]]))
    row = kernel[len(kernel) // 2]
    half = len(row) // 2
    assert kernel.sum() == row.sum()
    np.testing.assert_allclose(row[half - 2 : half + 3], [0.125, 0.375, 0, 0.375, 0.125])


def test_convolve_matches_scipy():
    x = astronaut()[80:128, 180:245].astype(np.float32) / np.float32(255)
    kernel = np.random.default_rng(0).random((31, 31))  # asymmetric: tells convolution from correlation
    kernel /= kernel.sum()
    expected = np.stack([ndimage.convolve(x[..., c], kernel, mode="mirror") for c in range(3)], axis=-1)
    np.testing.assert_allclose(kernels.convolve(x, kernel), expected, atol=2e-6)


def test_linear_light():
    x = np.linspace(0, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(codec.to_linear(x), x.astype(np.float64) ** 2.2, atol=1e-6)
    np.testing.assert_allclose(codec.to_display(codec.to_linear(x)), x, atol=1e-6)
    # A stripe of white on black averages to half the light, so brighter than half the display value.
    stripes = np.zeros((48, 48, 3), np.float32)
    stripes[:, ::2] = 1
    blurred = kernels.blur_light(stripes, np.array([[0, 0, 0], [0.25, 0.5, 0.25], [0, 0, 0]]))
    np.testing.assert_allclose(blurred, 0.5 ** (1 / 2.2), atol=1e-5)
