"""NIQE: how far a photo's local statistics lie from those of pristine photos. Lower is better.

Needs no reference, only a prior: mean and covariance of 36 features over the sharp blocks of pristine
photos. Ours is fitted by `benchmarks/fit_niqe.py`, so scores compare with each other, not with papers that
used the authors' prior.

Paper: Mittal, Soundararajan, Bovik, "Making a completely blind image quality analyzer", IEEE SPL 20(3), 2013.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.special import gammaln

from unires.shapes import Photo
from unires.weight_files import SHIPPED, read_arrays

BLOCK = 96  # pixels; the second scale has blocks of 48
SHARP = 0.75  # the prior takes blocks sharper than this, relative to the photo's sharpest
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # neighbours: horizontal, vertical, both diagonals
PRIOR = SHIPPED / "niqe.npz"

# Bicubic (a = -1/2) stretched to twice its width, sampled between pixels: MATLAB's imresize(., 0.5).
HALVE = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256

# A generalised Gaussian's shape cannot be solved for, so it is looked up: SHAPES by their moment ratio.
SHAPES = np.arange(0.2, 10.0005, 0.001)
RATIOS = np.exp(2 * gammaln(2 / SHAPES) - gammaln(1 / SHAPES) - gammaln(3 / SHAPES))
BETWEEN = (RATIOS[1:] + RATIOS[:-1]) / 2


@dataclass(frozen=True)
class Prior:
    """What pristine photos look like: a Gaussian over the 36 features of a block."""

    mean: Float[np.ndarray, "36"]
    covariance: Float[np.ndarray, "36 36"]
    blocks: int  # how many it was fitted on


def niqe(photo: Photo, prior: Prior | None = None) -> float:
    """Measure one photo; lower is better. Below 192 x 192 pixels it rests on a single block or row.

    Paper:  Eq. 10 of Mittal et al.  Range: 0 upwards.
    Raises: ValueError: smaller than 96 pixels, or flat. FileNotFoundError: the shipped prior is missing.
    Test:   test_metrics.py::test_niqe_agrees_with_pyiqa, test_niqe_rises_with_severity
    """
    prior = load_prior() if prior is None else prior
    rows, _ = features(grey(photo))
    rows = rows[np.isfinite(rows).all(1)]
    if not len(rows):
        raise ValueError("NIQE needs texture: every 96-pixel block of this photo is flat.")
    spread = np.cov(rows, rowvar=False) if len(rows) > 1 else 0.0  # one block alone has no spread
    apart = prior.mean - rows.mean(0)
    return float(np.sqrt(apart @ np.linalg.pinv((prior.covariance + spread) / 2, hermitian=True) @ apart))


def fit_prior(photos: Iterable[Photo]) -> Prior:
    """Fit the prior to pristine photos, taking each photo's sharp blocks.

    Paper:  Sec. II-B and II-C of Mittal et al.: blocks sharper than 0.75 of the photo's sharpest.
    Raises: ValueError: too few sharp blocks for a covariance of 36 features.
    Test:   test_metrics.py::test_prior_is_the_mean_and_covariance_of_sharp_blocks
    """
    kept = []
    for photo in photos:
        rows, sharpness = features(grey(photo))
        kept.append(rows[(sharpness > SHARP * sharpness.max()) & np.isfinite(rows).all(1)])
    rows = np.concatenate(kept) if kept else np.empty((0, 36))
    if len(rows) <= 36:
        raise ValueError(f"A NIQE prior needs more than 36 sharp blocks, not {len(rows)}; give more photos.")
    return Prior(rows.mean(0), np.cov(rows, rowvar=False), len(rows))


@lru_cache(maxsize=4)
def load_prior(path: Path = PRIOR) -> Prior:
    """Load a prior written by `benchmarks/fit_niqe.py`.

    Raises: FileNotFoundError: no such file. ValueError: not a NIQE prior.
    Test:   test_metrics.py::test_a_missing_or_wrong_prior_is_refused
    """
    remedy = "fit one with `python -m benchmarks.fit_niqe --photos DIR`"
    arrays = read_arrays(path, {"mean": (36,), "covariance": (36, 36), "blocks": ()}, "a NIQE prior", remedy)
    return Prior(arrays["mean"], arrays["covariance"], int(arrays["blocks"]))


def grey(photo: Photo) -> Float[np.ndarray, "h w"]:
    """Luma of BT.601 over the full range, rounded to 8 bit.

    Paper: the authors' code, where MATLAB's rgb2gray rounds.  Range: whole numbers from 0 to 255.
    Test:  test_metrics.py::test_niqe_agrees_with_pyiqa
    """
    return np.rint(255 * (np.asarray(photo, np.float64) @ np.array([0.299, 0.587, 0.114])))


def features(y: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "n 36"], Float[np.ndarray, " n"]]:
    """Describe each 96-pixel block by 18 features at two scales; also give its sharpness.

    Blocks without texture give NaN rows. What is left over right and below is not looked at.

    Paper:  Sec. II-A to II-C of Mittal et al.  Range: y from 0 to 255.
    Raises: ValueError: smaller than a block.
    Test:   test_metrics.py::test_niqe_agrees_with_pyiqa
    """
    down, across = y.shape[0] // BLOCK, y.shape[1] // BLOCK
    if not down * across:
        raise ValueError(f"NIQE needs at least {BLOCK} x {BLOCK} pixels, not {y.shape[0]} x {y.shape[1]}.")
    y = y[: down * BLOCK, : across * BLOCK]
    scales = []
    for side in (BLOCK, BLOCK // 2):
        normal, deviation = normalise(y)
        scales.append(_describe(_cut(normal, side)))
        if side == BLOCK:
            sharpness = _cut(deviation, side).mean((1, 2))
            y = correlate1d(y, HALVE, axis=0, mode="reflect")[1::2]
            y = correlate1d(y, HALVE, axis=1, mode="reflect")[:, 1::2]
    return np.concatenate(scales, axis=1), sharpness


def normalise(y: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Take away the local mean and divide by the local deviation (MSCN); also give that deviation.

    Paper: Eq. 1 to 3 of Mittal et al.; Gaussian window 7 x 7, sigma 7/6.  Range: y from 0 to 255.
    Test:  test_metrics.py::test_niqe_agrees_with_pyiqa
    """
    mean, square = (gaussian_filter(z, 7 / 6, radius=3, mode="nearest") for z in (y, y * y))
    deviation = np.sqrt(np.abs(square - mean * mean))  # abs: rounding can leave a tiny minus
    residue = np.round(y - mean, 9)  # else the sign of rounding noise would count in saturated skies
    return residue / (deviation + 1), deviation


def aggd(blocks: Float[np.ndarray, "n h w"]) -> tuple[Float[np.ndarray, " n"], ...]:
    """Fit an asymmetric generalised Gaussian to each block: shape, left scale, right scale.

    Paper: Eq. 7 of Mittal et al., by moment matching (Lasmar et al. 2009).  Range: shape 0.2 to 10.
    Test:  test_metrics.py::test_aggd_finds_known_parameters
    """
    square = blocks * blocks
    with np.errstate(divide="ignore", invalid="ignore"):  # flat blocks become NaN, which callers expect
        left = np.sqrt((square * (blocks < 0)).sum((1, 2)) / (blocks < 0).sum((1, 2)))
        right = np.sqrt((square * (blocks > 0)).sum((1, 2)) / (blocks > 0).sum((1, 2)))
        skew = left / right
        ratio = np.abs(blocks).mean((1, 2)) ** 2 / square.mean((1, 2))
        ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = SHAPES[np.searchsorted(BETWEEN, ratio)]
    scale = np.exp((gammaln(1 / shape) - gammaln(3 / shape)) / 2)
    return shape, left * scale, right * scale


def _describe(blocks: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "n 18"]:
    """The block's own shape and scale, then four numbers for its product with each neighbour."""
    shape, left, right = aggd(blocks)
    found = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = aggd(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * np.exp(gammaln(2 / shape) - gammaln(1 / shape))  # Eq. 8
        found += [shape, mean, left, right]
    return np.stack(found, axis=1)


def _cut(y: Float[np.ndarray, "h w"], side: int) -> Float[np.ndarray, "n s s"]:
    h, w = y.shape
    return y.reshape(h // side, side, w // side, side).swapaxes(1, 2).reshape(-1, side, side)
