"""Search: which weights w are best for this photo? Lists of vectors and strategies; knows no data set.

A strategy takes a study (one photo on the table, `unires.engine`), a score or several of which the first decides,
and a ledger. It returns `Found`: the choice, what was tried, and what it costs.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from unires.engine import Engine, Study, middle
from unires.judge import expected_lpips, knows
from unires.ledger import Ledger
from unires.photo import as_photo
from unires.score import Score, metric_score
from unires.shapes import AnyArray, Photo, Weights
from unires.tasks import EXPERTS, Expert, weights_vector
from unires.trial import Found, Trial, Vectors, anchors

SIDE = 192  # pixels of a photo that `automatic` looks at: four blocks of NIQE
FAVOURITES = (  # the paper's optimum of Figure 11, its most frequent vector (Table 5), and four even mixes (ours)
    {"MD": 0.6, "DN": -0.2, "DownLQ": 0.6},
    {"DN": -0.2, "DownLQ": 1.2},
    {"SR": 0.5, "DN": 0.5},
    {"MD": 0.5, "DN": 0.5},
    {"DD": 0.5, "DN": 0.5},
    {"SR": 0.5, "MD": 0.5},
)
REACH, DOUBT = 0.8, 0.1  # of `interpolate`: four intervals of the grid; a tenth of the errors' variance

Known = Float[np.ndarray, "m k"]  # vectors whose score is known
Scores = Score | Sequence[Score]  # the first decides, the others watch
Book = Ledger | str | os.PathLike | None  # a ledger, the folder of all ledgers, or None: forgotten afterwards


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
    Raises: ValueError if 1, `low` or `high` is no multiple of the interval, or that is not above 0.
    Test: test_equations.py::test_the_grid_has_1512_and_252_vectors
    """
    if not interval > 0:
        raise ValueError(f"the interval must be above 0, not {interval}")
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


def best_of(restore: Callable[[Weights], Photo], candidates: Iterable[Weights], score: Callable) -> Choice:
    """Restore with each candidate, score each result, keep the best (the first of equals). No number is the worst.

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
        if best is None or scores[-1] > best[1] or np.isnan(best[1]):
            best = (w, scores[-1], photo)
    return Choice(*best, tuple(scores))


def strike_out(vectors: Vectors, names: Iterable[str], experts: Sequence[Expert]) -> Float[np.ndarray, "left k"]:
    """The vectors in which the named experts have weight 0.

    Paper: Table 5 and section 4, experts left out.
    Raises: ValueError for an unknown expert.
    Test: test_search.py::test_strike_out_and_one_hot
    """
    at = {expert.name: k for k, expert in enumerate(experts)}
    names = list(names)
    if unknown := [name for name in names if name not in at]:
        raise ValueError(f"unknown expert {', '.join(map(repr, unknown))}: choose from {', '.join(at)}")
    columns = [at[name] for name in names]
    return np.asarray(vectors)[~(np.asarray(vectors)[:, columns] != 0).any(1)]


def one_hot(experts: int = 6) -> Vectors:
    """Each expert alone.

    Test: test_search.py::test_strike_out_and_one_hot
    """
    return np.eye(experts, dtype=np.float32)


def short_list(experts: tuple[Expert, ...] = EXPERTS) -> Vectors:
    """Each expert alone, and those of six mixtures, fixed beforehand, whose experts are there: twelve for the paper's.

    Paper: as its eight frequent sets (Table 5); which ones is our choice.
    Test: test_search.py::test_strike_out_and_one_hot
    """
    names = {expert.name for expert in experts}
    mixtures = [weights_vector(mix, experts) for mix in FAVOURITES if mix.keys() <= names]
    return np.stack([*one_hot(len(experts)), *mixtures])


def among(
    study: Study,
    vectors: Vectors,
    scores: Scores,
    ledger: Book = None,
    strategy: str = "list",
    steps: int | None = None,
) -> Found:
    """Sample every vector of a list and take the best, the first of equals.

    The list makes the strategy: `grid()` is the paper's exhaustive search, `grid(low=0, high=1)` its cheaper
    range, `strike_out`, `one_hot` and `unires.learned.frequent_sets` are others, one vector alone is the average.
    Paper: section 4 and Table 5, for any list.
    Raises: ValueError for an empty list or a vector that is no mix.
    Test: test_search.py::test_lists_find_the_known_optimum
    """
    trial = Trial.open(study, scores, ledger)
    return trial.finish(strategy, trial.sample(vectors, steps))


def surrogate(
    study: Study,
    vectors: Vectors,
    scores: Scores,
    ledger: Book = None,
    best: int = 12,
    steps: int | None = None,
    curved: bool = False,
    corrected: bool = False,
) -> Found:
    """Rank all vectors by a guess of their final latents, then sample the `best` few exactly.

    The guess is the weighted sum of the experts' own final latents. Weights sum to 1, so it is right to first order
    in how much the experts differ, and exact if the network is linear in z_t with the same slope for every expert.
    With `curved` every pair is sampled too, half and half, and the guess is right to second order. Ranking costs K S
    UNet calls once, with `curved` and K (K - 1) (S - 1) more, then one decode and one score a vector. With
    `corrected` the few are sampled one after another, and how far each one's score is from its guess is passed on to
    the vectors near it, which costs nothing.
    Paper: our choice; section 3's constraint makes it possible.
    Raises: ValueError if `best` is below 1.
    Test: test_search.py::test_the_surrogate_finds_the_known_optimum,
          test_search.py::test_the_curved_surrogate_is_exact_for_two_steps,
          test_search.py::test_the_corrected_surrogate_learns_where_it_was_wrong
    """
    if best < 1:
        raise ValueError(f"best must be at least 1, not {best}")
    trial, steps = Trial.open(study, scores, ledger), study.config.sample.steps if steps is None else steps
    exact, vectors = anchors(len(study.experts), curved), np.asarray(vectors, np.float32)
    guesses = [trial.score(line) for line in trial.mix(vectors, trial.final_latents(exact, steps), steps)]
    lines = trial.sample(one_hot(len(study.experts)), steps)
    if corrected:
        lines += _one_by_one(trial, vectors, np.array(guesses), exact, best, steps)
    else:
        lines += trial.sample(vectors[np.argsort(-np.array(guesses), kind="stable")[:best]], steps)
    return trial.finish(" ".join(["corrected"] * corrected + ["curved"] * curved + ["surrogate"]), lines)


def _one_by_one(trial: Trial, vectors: Vectors, guesses: np.ndarray, exact: Known, best: int, steps: int) -> list:
    """The most promising vector is sampled, its error corrects all guesses, and so on; what is exact is left out."""
    known, errors, lines = list(exact), [0.0] * len(exact), []  # at the anchors the guess is right
    guesses = np.where(np.abs(vectors[:, None] - exact).sum(-1).min(1) < 1e-6, -np.inf, guesses)
    for _ in range(best):
        first = int((guesses + interpolate(vectors, np.array(known), np.array(errors))).argmax())
        if guesses[first] == -np.inf:  # nothing is left, or nothing that can be judged
            break
        lines += trial.sample(vectors[first : first + 1], steps)
        if np.isfinite(score := trial.score(lines[-1])):
            known, errors = [*known, vectors[first]], [*errors, score - guesses[first]]
        guesses[np.abs(vectors - vectors[first]).sum(1) < 1e-6] = -np.inf
    return lines


def interpolate(
    vectors: Vectors, known: Known, values: Float[np.ndarray, " m"], reach: float = REACH, doubt: float = DOUBT
) -> Float[np.ndarray, " n"]:
    """What a smooth function of w that has these values at these vectors is likely to be elsewhere, and 0 far away.

    The mean of a Gaussian process: covariance exp(-d^2 / 2 reach^2) at distance d, and noise of variance `doubt`.
    Paper: our choice.
    Test: test_search.py::test_interpolation_against_scikit_learn
    """

    def near(a, b):
        return np.exp(-((np.asarray(a, np.float64)[:, None] - b) ** 2).sum(-1) / (2 * reach**2))

    return near(vectors, known) @ np.linalg.solve(near(known, known) + doubt * np.eye(len(known)), values)


def funnel(
    study: Study,
    vectors: Vectors,
    scores: Scores,
    ledger: Book = None,
    steps: Sequence[int] | None = None,
    keep: Sequence[int] = (64, 8),
) -> Found:
    """Successive halving: try all with the fewest sampling steps, the `keep[i]` best of each round with more.

    One step alone costs K UNet calls for any number of vectors, for then all is shared.
    Paper: our choice.
    Raises: ValueError if there is not one more round than numbers to keep, or the numbers do not fall.
    Test: test_search.py::test_the_funnel_narrows
    """
    full = study.config.sample.steps
    steps = tuple(steps) if steps else tuple(np.linspace(1, full, len(keep) + 1).round().astype(int).tolist())
    if len(steps) != len(keep) + 1 or list(keep) != sorted(keep, reverse=True) or min(keep) < 1:
        raise ValueError(f"rounds of {steps} steps need {len(steps) - 1} falling numbers to keep, not {tuple(keep)}")
    trial = Trial.open(study, scores, ledger)
    for count, number in zip(steps[:-1], keep, strict=True):
        lines = trial.rank(trial.sample(vectors, count))[:number]
        vectors = np.array([line.weights for line in lines], np.float32)
    return trial.finish("funnel", trial.sample(vectors, steps[-1]))


def automatic(
    engine: Engine,
    photo: AnyArray,
    scores: Scores | Callable[[Study], Scores] | None = None,
    ledger: Book = None,
    *,
    vectors: Vectors | None = None,
    seed: int = 0,
    steps: int | None = None,
    best: int = 12,
    side: int = SIDE,
) -> tuple[Photo, Found]:
    """Restore a photo of any size with weights that are searched in its middle, at its own pixels.

    Of `vectors` (the short list, unless others are given) all are sampled where there are `best` or fewer; of more,
    such as the paper's `grid()`, those that the corrected surrogate finds promising. `scores` may be a function that
    makes them for the study. By default it is the judge of `unires.judge` for the experts that it was fitted to, and
    NIQE for others. Where the score finds nothing to look at (a flat middle), the blind expert works alone.
    Paper: our choice; section 4's search, made cheap.  Range: as `unires.restore`.
    Test: test_search.py::test_automatic_searches_the_middle_and_restores_the_whole,
          test_search.py::test_automatic_hands_on_what_it_is_asked, test_automatic_tries_the_short_list,
          test_judge.py::test_the_judge_has_the_word_where_it_knows_the_experts
    """
    y = as_photo(photo)
    study = engine.study(middle(y, min(side, engine.restorer.config.sample.tile)), seed)
    if scores is None:
        scores = partial(expected_lpips, steps=steps) if knows(study.config, study.experts) else metric_score("niqe")
    if not isinstance(scores, Score | Sequence):
        scores = scores(study)
    vectors = short_list(engine.experts) if vectors is None else np.asarray(vectors, np.float32)
    if len(vectors) <= best:
        found = among(study, vectors, scores, ledger, steps=steps)
    else:
        found = surrogate(study, vectors, scores, ledger, best, steps, corrected=True)
    if found.photo.shape == y.shape:
        return found.photo, found
    return engine.restorer(y, found.weights, seed=seed, steps=steps), found
