"""Strategies that learn on other photos: frequent sets, the average, and forests over image features.

What is learned here must come from photos that no test photo shares anything with.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from unires.niqe import BLOCK, features, grey
from unires.photo import as_photo
from unires.shapes import AnyArray, Weights
from unires.trial import Vectors

Features = Float[np.ndarray, "m f"]
Table = Float[np.ndarray, "photos sets"]  # the score of every vector of a list on every photo
TREES = 200


def frequent_sets(optima: Vectors, count: int) -> Float[np.ndarray, "chosen k"]:
    """The `count` vectors that are most often the best of a photo, the most frequent first.

    Equally frequent ones stay in the order of their first photo. There may be fewer than `count`.
    Paper: Table 5, count = 8, 6, 4, 2, 1.  Shapes: optima [photos k], the searched optimum of each.
    Raises: ValueError for no photo or a count below 1.
    Test: test_learned.py::test_frequent_sets
    """
    optima = np.asarray(optima, np.float32)
    if not len(optima) or count < 1:
        raise ValueError(f"frequent sets need the optimum of one photo at least and a count of 1, not {count}")
    _, first, times = np.unique(optima.round(4), axis=0, return_index=True, return_counts=True)
    return optima[first[np.lexsort((first, -times))][:count]]


def covering_sets(vectors: Vectors, scores: Table, count: int) -> Float[np.ndarray, "chosen k"]:
    """`count` vectors of which the best, photo by photo, scores highest on average: chosen one after another.

    Unlike the most frequent optima, each one is picked for what the others before it leave to gain.
    Paper: our choice, from the same table as its frequent sets.
    Shapes: scores [photos n], of every vector on every photo; larger is better.
    Raises: ValueError if the sizes disagree.
    Test: test_learned.py::test_covering_sets
    """
    scores = np.asarray(scores, np.float64)
    if scores.shape[1:] != (len(vectors),):
        raise ValueError(f"{len(vectors)} vectors need a score each, not a table {scores.shape}")
    chosen, best = [], np.full(len(scores), -np.inf)
    for _ in range(min(count, len(vectors))):
        mean = np.maximum(scores, best[:, None]).mean(0)
        mean[chosen] = -np.inf
        chosen.append(int(mean.argmax()))
        best = np.maximum(best, scores[:, chosen[-1]])
    return np.asarray(vectors)[chosen]


def average(optima: Vectors) -> Weights:
    """The mean of the optima, scaled to sum to 1: one vector for every photo.

    Paper: Table 5.  Raises: ValueError for no photo, or vectors whose mean sums to 0.
    Test: test_learned.py::test_the_average_sums_to_one
    """
    optima = np.asarray(optima, np.float64)
    if not len(optima) or abs(optima.mean(0).sum()) < 1e-6:
        raise ValueError("an average needs at least one optimum, and a sum other than 0")
    return _to_one(optima.mean(0))


def image_features(photo: AnyArray) -> Float[np.ndarray, " f"]:
    """72 numbers of a photo: mean and spread over its blocks of the 36 statistics that NIQE looks at.

    Blocks without texture are left out; a photo of such blocks alone gives zeros. Photos smaller than a block are
    mirrored.
    Paper: our choice; its features come from a network (MT-A of SPAQ) whose weights don't travel with this project.
    Test: test_learned.py::test_features_are_mean_and_spread_over_blocks, test_features_see_noise_and_blur
    """
    y = as_photo(photo)
    missing = [max(0, BLOCK - side) for side in y.shape[:2]]
    y = np.pad(y, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    rows, _ = features(grey(y))
    rows = rows[np.isfinite(rows).all(1)]
    if not len(rows):
        rows = np.zeros((1, rows.shape[1]))
    return np.concatenate([rows.mean(0), rows.std(0)]).astype(np.float32)


@dataclass(frozen=True)
class WeightForest:
    """A random forest from image features to weights, which answers with a vector that sums to 1.

    Paper: Table 5's random forest. Any vector may come out, also one between two optima that is good for neither.
    Test: test_learned.py::test_the_forest_predicts_weights
    """

    forest: Any

    @classmethod
    def fit(cls, given: Features, optima: Float[AnyArray, "m k"], rng: np.random.Generator) -> "WeightForest":
        return cls(_forest(given, np.asarray(optima, np.float64), rng))

    def __call__(self, photo: AnyArray) -> Weights:
        return _to_one(self.forest.predict(image_features(photo)[None])[0])


@dataclass(frozen=True)
class ScorePredictor:
    """Forests from image features to how well each vector of a list does, compared with the list's mean.

    Only differences between vectors matter for the choice, so each photo's mean over the list is left out.
    Paper: our choice, instead of predicting weights.
    Test: test_learned.py::test_predicted_scores_beat_one_set_for_all
    """

    vectors: np.ndarray
    forest: Any

    @classmethod
    def fit(cls, given: Features, vectors: Vectors, scores: Table, rng: np.random.Generator) -> "ScorePredictor":
        """`scores` [photos n]: of every vector of the list on every photo, larger is better."""
        scores = np.asarray(scores, np.float64)
        if scores.shape != (len(given), len(vectors)):
            raise ValueError(
                f"{len(given)} photos and {len(vectors)} vectors need a table of that size, not {scores.shape}"
            )
        return cls(np.asarray(vectors, np.float32), _forest(given, scores - scores.mean(1, keepdims=True), rng))

    def __call__(self, photo: AnyArray) -> Float[np.ndarray, " n"]:
        """The predicted gain of every vector over the list's mean, in units of the score."""
        return np.atleast_1d(self.forest.predict(image_features(photo)[None])[0])


def _forest(given: Features, wanted: np.ndarray, rng: np.random.Generator):
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        raise ImportError("forests need the package scikit-learn: pip install unires[metrics]") from None
    seed = int(rng.integers(2**31))
    return RandomForestRegressor(TREES, min_samples_leaf=2, random_state=seed).fit(np.asarray(given), wanted)


def _to_one(w: Weights) -> Weights:
    return (np.asarray(w, np.float64) / np.sum(w)).astype(np.float32)
