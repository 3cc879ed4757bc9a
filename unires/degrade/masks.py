"""Object masks as numbers that a recipe can carry, and as the labels that per-object flaws use."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

Mask = Bool[np.ndarray, "i j"]


def to_runs(mask: Mask) -> list[int]:
    """Write a mask as run lengths, row by row: outside, inside, outside, ...; the first may be 0.

    Paper: our choice.  Range: the lengths sum to the number of pixels.
    Test:  test_motion.py::test_runs
    """
    pixels = mask.ravel()
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *ends.tolist(), pixels.size]).tolist()
    return [0, *runs] if pixels.size and pixels[0] else runs


def from_runs(runs: Sequence[int], shape: tuple[int, int]) -> Mask:
    """Read what `to_runs` wrote.

    Paper: our choice.
    Raises: ValueError if the runs do not fill the shape exactly.
    Test:  test_motion.py::test_runs
    """
    height, width = shape
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(
            f"runs of {sum(runs)} pixels for a photo of {height} x {width}: give masks of the photo's own size"
        )
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(height, width)


def largest(masks: Sequence[Mask], objects: int, least: int) -> list[Mask]:
    """Keep at most `objects` masks, from the largest on, each of at least `least` pixels.

    Paper: the rule of the OID-Motion data.  Range: may return none.
    Test:  test_motion.py::test_masks_keep_the_rules
    """
    kept = sorted((mask for mask in masks if mask.sum() >= least), key=lambda mask: -int(mask.sum()))
    return kept[:objects]


def label(masks: Sequence[Mask], shape: tuple[int, int]) -> Int[np.ndarray, "i j"]:
    """Number the masks' pixels 1, 2, ...; 0 is the background. Where masks overlap, the later one is in front.

    Paper: our choice.
    Test:  test_motion.py::test_masks_keep_the_rules
    """
    labels = np.zeros(shape, np.int32)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels
