"""Every way to choose the weights, compared with the exhaustive grid on the same photos.

    python -m benchmarks.strategies [--out results/search] [--only corrected]

Needs grids.npz in that folder (`python -m benchmarks.grids`) and the checkpoint that it was made with. A strategy that
only picks from a list is replayed: its scores are looked up in the table, its calls follow from the engine's formula.
The surrogate, the funnel, and vectors off the grid are really run. Lists and forests are learned on the learning photos
alone. One row a strategy, photo and metric goes to strategies.jsonl. With `--only` the strategies whose name holds one
of these words are run, and the others' rows are kept.

Share of the gain kept, on one photo: (score - score of BR) / (best score of the grid - score of BR). 1 is as good as
the grid, 0 as good as the blind expert, below 0 worse than that; a photo on which the grid gains nothing counts as 1.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.cases import LEARN, TEST, Case, held_out_cases
from benchmarks.grids import OUT, ROOT, Grids, read, scores_of
from unires import judge, learned
from unires.engine import Engine, unet_calls
from unires.files import write_beside
from unires.metrics import METRICS
from unires.models.store import CheckpointError
from unires.profiles import profile
from unires.record import Row, read_rows, row, write_rows
from unires.restore import restorer_of
from unires.search import among, funnel, grid, one_hot, strike_out, surrogate
from unires.shapes import AnyArray
from unires.tasks import EXPERTS, weights_dict
from unires.trial import Found

RUN = ROOT / "results" / "runs" / "strategies"
SET, SOURCE = "grids", "strategies"
DECIDES = "niqe"
SHARE, SHARE_VARIANT = "share kept", "of the gain in NIQE over BR"
GRID, BLIND = "exhaustive grid", "BR alone"
COUNTS = (8, 6, 4, 2, 1)  # of frequent sets, as in the paper's Table 5


@dataclass(frozen=True)
class Outcome:
    """What a strategy chose for one photo. `seconds` is None where it was replayed."""

    weights: np.ndarray
    values: dict[str, float]  # by metric, in its own direction
    unet_calls: int
    decodes: int
    score_calls: int
    seconds: float | None = None


def places(grids: Grids, vectors: AnyArray) -> np.ndarray:
    """Where vectors stand in the table.

    Raises: ValueError for a vector that is not in it.
    Test: test_strategies.py::test_replaying_is_looking_up
    """
    apart = np.abs(np.asarray(vectors)[:, None] - grids.vectors).max(-1)
    if (apart.min(1) > 1e-4).any():
        raise ValueError(f"{np.asarray(vectors)[apart.min(1) > 1e-4][0]} is not in the table: sample it")
    return apart.argmin(1)


def replay(grids: Grids, image: int, vectors: AnyArray) -> Outcome:
    """The best of a list, looked up; the cost by the engine's formula.

    Test: test_strategies.py::test_replaying_is_looking_up
    """
    at = places(grids, vectors)
    best = at[grids.score(TEST, DECIDES)[image, at].argmax()]
    values = dict(zip(grids.metrics, grids.test[image, best].astype(float).tolist(), strict=True))
    values.pop(judge.NAME, None)  # ranks restorations of one photo; a mean over photos says nothing
    listed = grids.vectors[np.unique(at)]  # a vector that is listed twice is paid for once
    return Outcome(grids.vectors[best], values, unet_calls(listed, grids.story["steps"]), len(listed), len(listed))


def ran(found: Found, case: Case, metrics: tuple[str, ...]) -> Outcome:
    """A strategy that was really run; the metrics that it did not search are measured on its photo.

    Test: test_strategies.py::test_a_run_agrees_with_the_table
    """
    signs = (1 if METRICS[name].higher_is_better else -1 for name in metrics)
    scores = (score(found.photo) for score in scores_of(case, metrics))
    values = {name: sign * value for name, sign, value in zip(metrics, signs, scores, strict=True)}
    return Outcome(found.weights, values, found.unet_calls, found.decodes, found.score_calls, found.seconds)


@dataclass(frozen=True)
class Lessons:
    """What the learning photos teach; no test photo is looked at.

    Test: test_strategies.py::test_lessons_come_from_the_learning_photos
    """

    optima: np.ndarray
    frequent: np.ndarray
    covering: np.ndarray  # in the order in which they were chosen
    average: np.ndarray
    forest: learned.WeightForest
    predictors: dict[str, learned.ScorePredictor]

    @classmethod
    def learn(cls, grids: Grids, rng: np.random.Generator) -> "Lessons":
        scores, vectors, given = grids.score(LEARN, DECIDES), grids.learn_vectors, grids.learn_features
        optima = vectors[scores.argmax(1)]
        frequent = learned.frequent_sets(optima, max(COUNTS))
        covering = learned.covering_sets(vectors, scores, 32)
        predictors = {}
        for name, chosen in (("frequent", frequent), ("covering", covering)):
            at = np.abs(chosen[:, None] - vectors).max(-1).argmin(1)
            predictors[name] = learned.ScorePredictor.fit(given, chosen, scores[:, at], rng)
        forest = learned.WeightForest.fit(given, optima, rng)
        return cls(optima, frequent, covering, learned.average(optima), forest, predictors)


Strategy = Callable[[int, Case], Outcome]


def replayed(grids: Grids, lessons: Lessons) -> dict[str, Strategy]:
    """Strategies that are lists: looked up, by name."""
    every = grids.vectors

    def fixed(vectors):
        return lambda image, case: replay(grids, image, vectors)

    def promising(which, best):
        def strategy(image, case):
            guesses = lessons.predictors[which](case.y)
            return replay(grids, image, lessons.predictors[which].vectors[np.argsort(-guesses, kind="stable")[:best]])

        return strategy

    found = {BLIND: fixed(one_hot()[:1]), GRID: fixed(every), "range [0, 1]": fixed(every[(every >= 0).all(1)])}
    found |= {f"without {e.name}": fixed(strike_out(every, [e.name], EXPERTS)) for e in EXPERTS}
    found |= {"one-hot": fixed(one_hot())}
    found |= {f"{n} most frequent": fixed(lessons.frequent[:n]) for n in COUNTS}
    found |= {f"{n} covering sets": fixed(lessons.covering[:n]) for n in (16, 8, 4, 2)}
    found |= {f"score prediction, best {n} of the frequent": promising("frequent", n) for n in (1, 2)}
    return found | {f"score prediction, best {n} of 32 covering": promising("covering", n) for n in (1, 4, 8)}


def real(grids: Grids, lessons: Lessons, engine: Engine, ledger: Path | None, seed: int) -> dict[str, Strategy]:
    """Strategies that sample for themselves. One ledger: every bill is a strategy's own, whoever paid first."""
    metrics, steps = tuple(name for name in grids.metrics if name != judge.NAME), grids.story["steps"]
    every = grids.vectors

    def run(function, *given, **settings):
        def strategy(image, case):
            (score,) = scores_of(case, (DECIDES,))
            vectors = [one(case.y) if callable(one) else one for one in given]
            study = engine.study(case.y, seed)  # a new one each time: nothing is known yet
            return ran(function(study, *vectors, score, ledger, **settings), case, metrics)

        return strategy

    found = {f"surrogate, best {n}": run(surrogate, every, best=n) for n in (12, 8, 4, 1)}
    found |= {"surrogate in [0, 1], best 8": run(surrogate, every[(every >= 0).all(1)], best=8)}
    found |= {f"curved surrogate, best {n}": run(surrogate, every, best=n, curved=True) for n in (8, 4, 2, 1)}
    found |= {f"corrected surrogate, best {n}": run(surrogate, every, best=n, corrected=True) for n in (12, 8, 4)}
    found |= {f"funnel {a} {b}": run(funnel, every, keep=(a, b)) for a, b in ((64, 8), (16, 4)) if steps > 2}
    found |= {"average": run(among, lessons.average[None])}
    return found | {"random forest": run(among, lambda y: lessons.forest(y)[None])}


def share(value: float, blind: float, best: float) -> float:
    """The share of the grid's gain that is kept; all are scores, larger is better.

    Test: test_strategies.py::test_share_of_the_gain
    """
    return (value - blind) / (best - blind) if best > blind else 1.0


def rows_of(name: str, case: Case, outcome: Outcome, ends: tuple[float, float]) -> list[Row]:
    """A row a metric and one for the share; calls, decodes and how it was done stand in each."""
    cost = {"unet_calls": outcome.unet_calls, "seconds": outcome.seconds, "decodes": outcome.decodes}
    cost |= {"score_calls": outcome.score_calls, "how": "replayed" if outcome.seconds is None else "run"}
    cost |= {"weights": weights_dict(outcome.weights), "mixture": case.mixture, "severity": case.severity}
    sign = 1 if METRICS[DECIDES].higher_is_better else -1
    kept = share(sign * outcome.values[DECIDES], *ends)
    rows = [row(SET, case.image, name, SHARE, kept, variant=SHARE_VARIANT, **cost)]
    for metric, value in outcome.values.items():
        rows.append(row(SET, case.image, name, metric, value, variant=METRICS[metric].variant, **cost))
    return rows


def compare(
    grids: Grids,
    cases: list[Case],
    engine: Engine,
    ledger: Path | None = None,
    seed: int = 0,
    only: list[str] | None = None,
    before: list[Row] | None = None,
) -> list[Row]:
    """Every strategy on every test photo; with `only`, those named so, and of the others the rows from `before`.

    Raises: ValueError if a photo is not the one of the table, or no strategy is named so.
    Test: test_strategies.py::test_every_strategy_is_compared, test_one_strategy_is_run_anew
    """
    lessons = Lessons.learn(grids, np.random.default_rng(seed))
    every = replayed(grids, lessons) | real(grids, lessons, engine, ledger, seed)
    strategies = {name: one for name, one in every.items() if not only or any(word in name for word in only)}
    if not strategies:
        raise ValueError(f"no strategy is called {' or '.join(only or [])}: choose from {', '.join(every)}")
    rows = [one for one in before or [] if one["method"] in every.keys() - strategies.keys()]
    warm_up(engine, cases[0])
    for image, case in enumerate(tqdm(cases, desc="strategies", unit="photo")):
        if case.story.items() - grids.story["test"][image].items():
            raise ValueError(f"{case.image} is not photo {image} of the table, {grids.story['test'][image]['image']}")
        scores, blind = grids.score(TEST, DECIDES)[image], places(grids, one_hot()[:1])
        for name, strategy in strategies.items():
            rows += rows_of(name, case, strategy(image, case), (float(scores[blind][0]), float(scores.max())))
    return rows


def warm_up(engine: Engine, case: Case) -> None:
    """Compile everything before the first second is counted."""
    study = engine.study(case.y, seed=1)
    for vectors in (one_hot()[:1], grid()[:20]):
        for _, z_0 in study.latents(vectors):
            [score(study.photo(z_0)) for score in scores_of(case, (DECIDES,))]


def summary(rows: list[Row]):
    """One line a strategy: mean and worst share kept, mean calls and metrics, cheapest first.

    Test: test_strategies.py::test_every_strategy_is_compared
    """
    import pandas as pd

    table = pd.DataFrame([r for r in rows if r["set"] == SET and r["status"] == "ok"])
    wide = table.pivot_table(index="method", columns="metric", values="value", sort=False)
    shares = table[table["metric"] == SHARE].groupby("method", sort=False)
    wide.insert(0, "worst share", shares["value"].min())
    cost = shares[["unet_calls", "decodes", "seconds"]].mean()
    cost.insert(1, "of the grid", cost["unet_calls"] / cost.loc[GRID, "unet_calls"])
    wide = wide[[SHARE, "worst share", *(name for name in METRICS if name in wide)]]
    return cost.join(wide).sort_values("unet_calls", kind="stable")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="where grids.npz lies and the rows go")
    parser.add_argument("--run", type=Path, default=RUN, help="where the ledgers lie")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="strategies whose name holds one of these words")
    given = parser.parse_args(argv)
    try:
        grids = read(given.out)
        config, steps = profile(grids.story["profile"]), grids.story["steps"]
        restorer, checkpoint = restorer_of(replace(config, sample=replace(config.sample, steps=steps)))
        if checkpoint["sha256"] not in grids.story["checkpoints"].values():
            raise CheckpointError("the table was made with another checkpoint: run python -m benchmarks.grids again")
    except (FileNotFoundError, CheckpointError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    engine = Engine(restorer)
    cases = held_out_cases(len(grids.story["test"]), grids.story["side"], config.degradations)
    try:
        before = read_rows(given.out / "strategies.jsonl") if given.only else []
        rows = compare(grids, cases, engine, given.run / "ledgers", only=given.only, before=before)
    except (FileNotFoundError, ValueError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    path = write_rows(given.run, SOURCE, rows)
    write_beside(given.out / "strategies.jsonl", path.read_bytes())
    print(summary(rows).round(3).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
