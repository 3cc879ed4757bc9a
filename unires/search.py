"""Search: which weights w are best for this photo? Knows scores and vectors, no data set."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from unires.shapes import Photo, Weights

Score = Callable[[Photo], float]  # larger is better


@dataclass(frozen=True)
class Choice:
    """The best of the vectors that were tried, and everything that was measured on the way."""

    weights: Weights
    score: float
    photo: Photo
    scores: tuple[float, ...]  # of every candidate, in order


def grid(
    low: float = -0.2, high: float = 1.2, interval: float = 0.2, experts: int = 6, negatives: int = 1
) -> Float[np.ndarray, "n k"]:
    """All weight vectors on a grid that sum to 1, with at most `negatives` weights below 0.

    Counting in whole intervals keeps the sum exact. The paper's settings give 1512 vectors, [0, 1] gives 252.
    Paper: Eq. 4, Omega.
    Raises: ValueError if 1, `low` or `high` is no multiple of the interval.
    Test: test_equations.py::test_the_grid_has_1512_and_252_vectors
    """
    units = [value / interval for value in (low, high, 1.0)]
    if any(abs(u - round(u)) > 1e-6 for u in units):
        raise ValueError(f"low, high and 1 must be multiples of the interval {interval}")
    low_n, high_n, one = (round(u) for u in units)
    found = []
    for head in itertools.product(range(low_n, high_n + 1), repeat=experts - 1):
        vector = (*head, one - sum(head))
        if low_n <= vector[-1] <= high_n and sum(n < 0 for n in vector) <= negatives:
            found.append(vector)
    return np.array(found, np.float32) / np.float32(one)


def best_of(restore: Callable[[Weights], Photo], candidates: Iterable[Weights], score: Score) -> Choice:
    """Restore with each candidate, score each result, keep the best (the first of equals).

    Paper: Eq. 3, w* = argmax Q(g(x, w)), over a list: the whole grid, or a few frequent vectors (Table 5).
    Raises: ValueError for an empty list.
    Test: test_equations.py::test_best_of_finds_the_known_optimum
    """
    candidates = [np.asarray(w, np.float32) for w in candidates]
    if not candidates:
        raise ValueError("no candidate weights were given")
    best, scores = None, []
    for w in tqdm(candidates, desc="search", unit="w"):
        photo = restore(w)
        scores.append(float(score(photo)))
        if best is None or scores[-1] > best[1]:
            best = (w, scores[-1], photo)
    return Choice(*best, tuple(scores))
