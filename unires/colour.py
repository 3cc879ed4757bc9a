"""Give a restored photo the colours of the flawed one.

Diffusion drifts in colour and brightness, while most flaws leave both alone: so colour is taken from y.
"""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import correlate1d

from unires.shapes import AnyArray, Photo

FLAT = 0.5 / 255  # a channel that varies by less than half an 8-bit step has no contrast to match
LEVELS = 5


def adain(x_hat: Photo, y: Float[AnyArray, "hy wy 3"]) -> Photo:
    """Match mean and standard deviation of each channel to those of y.

    Paper: after sampling, as StableSR does; in pixel space.  Range: in and out [0, 1], clipped.
    Test:  test_colour.py::test_adain_matches_mean_and_deviation, test_adain_of_a_flat_photo,
           test_less_than_half_an_8_bit_step_is_no_contrast
    """
    x_hat, y = np.asarray(x_hat, np.float64), np.asarray(y, np.float64)
    contrast, target = x_hat.std((0, 1)), y.std((0, 1))
    gain = np.where(contrast > FLAT, target / np.maximum(contrast, FLAT), 1.0)
    matched = (x_hat - x_hat.mean((0, 1))) * gain + y.mean((0, 1))
    return matched.clip(0, 1).astype(np.float32)


def wavelet(x_hat: Photo, y: Float[AnyArray, "hy wy 3"]) -> Photo:
    """Keep the details of x_hat and take everything coarser from y.

    Unlike adain it also follows colours that differ from place to place, and lets y's coarse flaws through.

    Paper:  StableSR's other colour correction; a-trous wavelet, 5 levels, as there.
    Range:  in and out [0, 1], clipped.  Raises: ValueError: the two differ in size.
    Test:   test_colour.py::test_wavelet_removes_a_cast, test_wavelet_band_has_its_closed_form
    """
    x_hat, y = np.asarray(x_hat, np.float64), np.asarray(y, np.float64)
    if x_hat.shape != y.shape:
        raise ValueError(f"wavelet: x_hat {x_hat.shape} and y {y.shape} differ in size; resize y first.")
    return (x_hat + coarse(y - x_hat)).clip(0, 1).astype(np.float32)  # the blur is linear: one pass for both


def coarse(photo: Photo) -> Photo:
    """Blur by [1 2 1]/4 in both directions, its taps 1, 2, 4, 8, 16 pixels apart in turn.

    Paper:  the low band of the a-trous wavelet; edge pixels repeat outwards.  Range: that of the input.
    Test:   test_colour.py::test_wavelet_band_has_its_closed_form
    """
    for level in range(LEVELS):
        kernel = np.zeros(2 * 2**level + 1)
        kernel[:: 2**level] = 0.25, 0.5, 0.25
        for axis in (0, 1):
            photo = correlate1d(photo, kernel, axis=axis, mode="nearest")
    return photo
