"""Colour correction against closed forms."""

import numpy as np
import pytest

from unires.colour import adain, coarse, wavelet


def photo(seed: int, size: int = 40) -> np.ndarray:
    """Random and far from 0 and 1, so that clipping stays out of the closed forms."""
    return np.random.default_rng(seed).uniform(0.4, 0.6, (size, size, 3)).astype(np.float32)


def test_adain_matches_mean_and_deviation():
    x_hat, y = photo(0), photo(1, 30) * np.float32([0.5, 1.0, 1.4]) + np.float32([0.1, 0.0, -0.1])
    out = adain(x_hat, y)
    assert out.shape == x_hat.shape and out.dtype == np.float32
    np.testing.assert_allclose(out.mean((0, 1)), y.mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(out.std((0, 1)), y.std((0, 1)), atol=1e-5)


def test_adain_undoes_any_gain_and_offset():
    x = photo(0)
    np.testing.assert_allclose(adain(x * np.float32([0.5, 0.8, 1.2]) + 0.1, x), x, atol=1e-5)


def test_adain_of_a_flat_photo():
    flat, y = np.full((40, 40, 3), 0.3, np.float32), photo(1)
    np.testing.assert_allclose(adain(flat, y), np.broadcast_to(y.mean((0, 1)), flat.shape), atol=1e-5)
    np.testing.assert_allclose(adain(y, flat), flat, atol=1e-5)


@pytest.mark.parametrize(("step", "matched"), [(0.8, False), (1.2, True)])
def test_less_than_half_an_8_bit_step_is_no_contrast(step, matched):
    """Checks that are a step apart deviate by half of it."""
    faint = 0.3 + step / 255 * np.float32(np.indices((40, 40)).sum(0) % 2)[..., None] + np.zeros(3, np.float32)
    y = photo(1)
    expected = y.std((0, 1)) if matched else np.full(3, step / 255 / 2)
    np.testing.assert_allclose(adain(faint.astype(np.float32), y).std((0, 1)), expected, atol=1e-5)


@pytest.mark.parametrize("correct", [adain, wavelet])
def test_output_stays_in_range(correct):
    dark, bright = photo(0) - np.float32(0.4), photo(1) + np.float32(0.4)
    dark[::4, ::4], bright[2::4, 2::4] = 1.0, 0.0
    for out in (correct(dark, bright), correct(bright, dark)):
        assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("correct", [adain, wavelet])
def test_identical_photos_stay(correct):
    x = photo(0)
    np.testing.assert_allclose(correct(x, x), x, atol=1e-6)


def test_wavelet_removes_a_cast():
    x = photo(0)
    np.testing.assert_allclose(wavelet(x + np.float32([0.2, -0.1, 0.05]), x), x, atol=1e-6)


def test_wavelet_takes_details_from_x_hat_and_colour_from_y():
    checks = 0.1 * np.float32(np.indices((96, 96)).sum(0) % 2 * 2 - 1)[..., None]
    y = np.full((96, 96, 3), 0.3, np.float32) * np.float32([1.0, 1.5, 2.0])
    out = wavelet(0.6 + checks + np.zeros_like(y), y)
    np.testing.assert_allclose(out[32:-32, 32:-32], (y + checks)[32:-32, 32:-32], atol=1e-6)


@pytest.mark.parametrize("frequency", [0.003, 0.01, 0.04])
def test_wavelet_band_has_its_closed_form(frequency):
    """A blur by [1 2 1]/4 with taps d apart scales a cosine of frequency f by (1 + cos(2 pi f d)) / 2."""
    wave = np.cos(2 * np.pi * frequency * np.arange(200))[None, :, None] * np.ones((8, 1, 3))
    gain = np.prod([(1 + np.cos(2 * np.pi * frequency * 2**level)) / 2 for level in range(5)])
    np.testing.assert_allclose(coarse(wave)[:, 40:-40], gain * wave[:, 40:-40], atol=1e-12)


def test_wavelet_refuses_other_sizes():
    with pytest.raises(ValueError, match="differ in size"):
        wavelet(photo(0), photo(1, 30))
