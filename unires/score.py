"""Scores: named judges of photos that a search maximises, or that watch it without having a say."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unires.degrade.super_resolution import resize
from unires.metrics import EVERY, measure
from unires.photo import as_photo
from unires.shapes import AnyArray, Photo
from unires.weight_files import needed


@dataclass(frozen=True)
class Score:
    """A named judge of photos. Called, it answers so that larger is better, whatever its own direction.

    `version` says which variant it is, by which weights, and against which reference: the ledger keeps scores by
    name and version. No finite answer counts as the worst.
    Test: test_search.py::test_a_score_has_a_name_and_a_direction
    """

    name: str
    version: str
    function: Callable[[Photo], float]
    higher_is_better: bool = True

    def __call__(self, photo: Photo) -> float:
        value = float(self.function(photo))
        if not np.isfinite(value):
            return -np.inf
        return value if self.higher_is_better else -value

    @property
    def key(self) -> str:
        return f"{self.name} ({self.version})"


def metric_score(name: str, x: AnyArray | None = None) -> Score:
    """One of `unires.metrics` as a score; with a sharp photo x, the oracle that knows the answer.

    Photos smaller than the metric takes are mirrored at their borders; a photo that it can't judge is the worst.
    Raises: ValueError for an unknown metric, or one that needs x. MissingWeights for a file that isn't there.
    Test: test_search.py::test_metrics_are_scores
    """
    if name not in EVERY:
        raise ValueError(f"unknown metric {name!r}: choose from {', '.join(EVERY)}")
    metric = EVERY[name]
    if metric.folders:
        raise ValueError(f"{name} judges folders, not a photo: choose another metric")
    files = needed(name, metric.needs)  # a missing file of weights is said here, not after the first restoration
    if metric.reference and x is None:
        raise ValueError(f"{name} compares with a reference: pass the sharp photo as x")

    def pad(photo):
        missing = [max(0, metric.smallest - side) for side in photo.shape[:2]]
        return np.pad(photo, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")

    def function(photo):
        if metric.reference:
            return measure(name, pad(photo), pad(np.asarray(x)))
        try:
            return measure(name, pad(photo))
        except ValueError:  # flat: a judge without reference has nothing to look at
            return np.nan

    facts = [metric.variant, *(digest[:8] for _, digest in files.values())]
    if metric.reference:  # another reference is another judge
        facts.append(f"x {hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:8]}")
    return Score(name, "; ".join(facts), function, metric.higher_is_better)


def guarded(score: Score, y: AnyArray, weight: float, factor: int = 4) -> Score:
    """A score that is reduced by how far the restored photo, made small, lies from the flawed photo, made small.

    What flaws destroy is detail; what a photo shows at a quarter of its size should survive a restoration. The
    distance is the root mean square over the reduced photos, so `weight` is score units per unit of brightness.
    Paper: our choice, against the gaming that its Figure 12 shows.
    Raises: ValueError for a weight below 0.
    Test: test_search.py::test_a_guard_prefers_what_agrees_with_the_flawed_photo
    """
    if weight < 0:
        raise ValueError(f"the weight of the guard must be at least 0, not {weight}")
    y = as_photo(y)
    h, w = (max(1, round(side / factor)) for side in y.shape[:2])
    small = resize(y, h, w, "area")

    def function(photo):
        apart = resize(np.asarray(photo, np.float32), h, w, "area") - small
        return score(photo) - weight * float(np.sqrt(np.mean(apart**2)))

    return Score(f"{score.name} guarded", f"{score.version}; - {weight:g} rms at 1/{factor}", function)
