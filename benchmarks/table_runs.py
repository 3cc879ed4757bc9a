"""The rows behind the paper's tables: our photos and the paper's, restored by every method that stands in a table.

Of a set of the paper's at most as many photos are taken as the profile's own sets have. What isn't there becomes rows
"not run" with the reason.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from benchmarks import grids, strategies
from benchmarks.baselines import CLASSICAL
from benchmarks.evaluate import CANDIDATES, Evaluation
from benchmarks.readme import SEARCH
from benchmarks.sets import SetError
from benchmarks.table_sets import Case, paper_set
from benchmarks.tables import GRIDS, SR_ONLY, STRUCK, Line, without
from benchmarks.tables import lines as table_lines
from unires.config import CONTROLS, profile
from unires.metrics import EVERY, METRICS, contract, measure
from unires.models.store import CheckpointError, find_checkpoint, load_model
from unires.record import Row, not_run, read_rows, row, write_run
from unires.restore import Restorer
from unires.score import metric_score
from unires.search import best_of, strike_out
from unires.shapes import Photo
from unires.tasks import EXPERTS, TASKS, down_lq_experts, weights_dict, weights_vector
from unires.weight_files import needed

ALL = "all photos"  # the image of a row that stands for a whole set
OWN = (*(task.name for task in TASKS), "complex")
NO_GRIDS = "results/search/strategies.jsonl is missing: python -m benchmarks.grids, then benchmarks.strategies"
NO_SHARP = {name: "nobody has the sharp photos" for name in ("DiversePhotos-x1", "DiversePhotos-x4", "Real60")}
NOT_KEPT = "the grid's table keeps scores, no photos"


def start(run_dir: str | Path, profile_name: str, seed: int) -> Evaluation:
    """As Evaluation.start; a profile whose sets are the paper's has none of our own.

    Test: test_table_runs.py::test_a_profile_of_the_papers_sets
    """
    config = profile(profile_name)
    if set(config.evaluation.sets) <= set(OWN):
        return Evaluation.start(run_dir, profile_name, seed)
    write_run(run_dir, metrics={name: contract(name) for name in METRICS})
    return Evaluation(Path(run_dir), config, seed, {})


@dataclass
class Methods:
    """Every method of the tables by its name: restores one photo and says what it cost."""

    evaluation: Evaluation

    @cached_property
    def dial(self) -> Restorer:
        """DownLQ at the factors of Figure 3."""
        model, config, _ = load_model(self.evaluation.config)
        return Restorer(model, config, down_lq_experts((2, 4, 8, 16)))

    @cached_property
    def sr_only(self) -> Restorer:
        model, config, _ = load_model(CONTROLS[f"{self.evaluation.config.name}_sr_only"])
        return Restorer(model, config)

    def missing(self, method: str) -> str | None:
        """Why a method can't restore anything here, or None.

        Test: test_table_runs.py::test_what_cannot_run_says_why
        """
        if method == "LQ" or method in CLASSICAL:
            return None
        wanted = self.evaluation.config.checkpoint
        if method in SR_ONLY.values():
            wanted = f"{self.evaluation.config.name}_sr_only"
        try:
            if wanted is not None:
                find_checkpoint(wanted)
        except CheckpointError:
            return f"no checkpoint {wanted} ships"
        return None

    def __call__(self, case: Case, method: str) -> tuple[Photo, dict]:
        """Restore; photos of the six experts are kept in the run's folder and made once."""
        if method == "LQ":
            return case.y, {}
        if method in CANDIDATES:
            made = self.evaluation.restore(case, CANDIDATES[method])
            cost = {"weights": CANDIDATES[method], "unet_calls": made.unet_calls, "seconds": made.seconds}
            return made.photo, cost
        if method == SEARCH:
            return self.search(case)
        if method in CLASSICAL:
            photo, cost = _timed(lambda: CLASSICAL[method](case.y))
            return photo, {**cost, "unet_calls": 0}
        restorer = self.sr_only if method in SR_ONLY.values() else self.dial
        name = method.split()[-1].removesuffix("=1")
        photo, cost = _timed(lambda: restorer(case.y, {name: 1.0}, seed=self.evaluation.seed))
        return photo, {**cost, "weights": {name: 1.0}, "unet_calls": restorer.config.sample.steps}

    def search(self, case: Case) -> tuple[Photo, dict]:
        """The best of the list by NIQE, as in notebook 60; its cost is that of the whole list.

        Test: test_table_runs.py::test_the_search_is_that_of_notebook_60
        """
        vectors, made = [weights_vector(weights) for weights in CANDIDATES.values()], []

        def restore(w):
            made.append(self.evaluation.restore(case, weights_dict(w)))
            return made[-1].photo

        best = best_of(restore, vectors, metric_score("niqe"))
        cost = {"unet_calls": sum(one.unet_calls for one in made), "seconds": sum(one.seconds for one in made)}
        return best.photo, {"weights": weights_dict(best.weights), **cost}


def _timed(function) -> tuple[Photo, dict]:
    began = time.perf_counter()
    photo = function()
    return photo, {"seconds": round(time.perf_counter() - began, 3)}


def absent(metrics: tuple[str, ...]) -> dict[str, str]:
    """The metrics that can't be measured on single photos here, and why.

    Test: test_table_runs.py::test_what_cannot_run_says_why
    """
    found = {}
    for name in metrics:
        if EVERY[name].folders:
            found[name] = "it compares two folders of thousands of photos; so few say nothing"
            continue
        try:
            needed(name, EVERY[name].needs)
        except (FileNotFoundError, ImportError):
            files = [" or ".join(file.name.split("/")[0] for file in choice) for choice in EVERY[name].needs]
            found[name] = f"its weights are in no package, and not here: {', '.join(files)}"
    return found


def measured(
    evaluation: Evaluation,
    source: str,
    title: str,
    cases: Iterator[Case] | list,
    methods: list[str],
    metrics: tuple[str, ...],
) -> list[Row]:
    """One row a photo, method and metric; values that another notebook of this run has written are taken from there.

    Test: test_table_runs.py::test_rows_of_other_notebooks_are_used, test_what_cannot_run_says_why
    """
    path, restore = evaluation.run_dir / "rows.jsonl", Methods(evaluation)
    known = [r for r in (read_rows(path) if path.exists() else []) if r["source"] != source and r["status"] == "ok"]
    known = {(r["set"], r["image"], r["method"], r["metric"], r["variant"]): r for r in known}
    lost, rows, able = absent(metrics), [], []
    for method in methods:
        why = restore.missing(method)
        rows += [_missing(title, method, m, why or lost[m]) for m in metrics if why or m in lost]
        able += [method] if why is None else []
    wanted = [EVERY[name] for name in metrics if name not in lost]
    for case in tqdm(cases, desc=title, unit="photo"):
        for method in able:
            photo, cost = None, {}
            for metric in wanted:
                if metric.reference and case.x is None:
                    continue
                what = (title, case.image, method, metric.name)
                if (*what, metric.variant) in known:
                    rows.append({k: v for k, v in known[*what, metric.variant].items() if k != "source"})
                elif min(case.y.shape[:2]) < metric.smallest:
                    rows.append(not_run(*what, f"needs photos of at least {metric.smallest} pixels"))
                else:
                    photo, cost = (photo, cost) if photo is not None else restore(case, method)
                    value = measure(metric.name, photo, case.x if metric.reference else None)
                    rows.append(row(*what, value, variant=metric.variant, **cost))
    return rows


def _missing(set_: str, method: str, metric: str, why: str) -> Row:
    return not_run(set_, ALL, method, metric, why, variant=EVERY[metric].variant)


def table_rows(evaluation: Evaluation, source: str, lines: list[Line], metrics: tuple[str, ...]) -> list[Row]:
    """All rows of a table's lines: on our photos, and on the paper's where they are on this disk.

    Test: test_table_runs.py::test_a_missing_set_says_why
    """
    rows, wanted = [], {}
    for line in lines:
        if line.ours == GRIDS or line.printed == line.method:  # looked up elsewhere; somebody else's
            continue
        for photos in (line.ours, line.photos):
            wanted.setdefault(photos, {})[line.method] = None
    for photos, methods in wanted.items():
        if photos in OWN:
            if photos in evaluation.sets:
                rows += measured(evaluation, source, photos, evaluation.sets[photos], list(methods), metrics)
            else:
                why = f"this profile has no test set {photos}"
                rows += [_missing(photos, method, metric, why) for method in methods for metric in metrics]
            continue
        blind = [metric for metric in metrics if EVERY[metric].reference and photos in NO_SHARP]
        rows += [_missing(photos, method, metric, NO_SHARP[photos]) for method in methods for metric in blind]
        able = tuple(metric for metric in metrics if metric not in blind)
        try:
            title, cases = paper_set(photos, evaluation.config.evaluation.crops)
        except (SetError, ImportError) as error:
            rows += [_missing(photos, method, metric, str(error)) for method in methods for metric in able]
            continue
        rows += measured(evaluation, source, title, cases, list(methods), able)
    return rows


def common(set_: str, method: str, metric: str) -> bool:
    """Whether one of the notebooks 10, 40, 50 and 60 writes this row."""
    return set_ in OWN and method in ("LQ", *CANDIDATES, SEARCH) and metric in ("psnr", "ssim", "lpips", "niqe")


def written_by(number: int, rows: list[Row]) -> list[Row]:
    """Of a table's rows those that no earlier notebook writes: a row belongs to the first table that shows it.

    Test: test_table_runs.py::test_a_row_is_written_once
    """
    before = [line for n in range(2, number) for line in table_lines(n)]
    earlier = {(photos, line.method) for line in before for photos in (line.photos, line.ours)}
    kept = [r for r in rows if not common(r["set"], r["method"], r["metric"])]
    return [r for r in kept if (r["set"].partition("[:")[0], r["method"]) not in earlier]


def grid_rows(lines: list[Line], metrics: tuple[str, ...], out: Path = grids.OUT) -> list[Row]:
    """Of the lines that need the exhaustive grid: the committed rows, and the strike-outs looked up in its table.

    Test: test_table_runs.py::test_strike_outs_are_looked_up
    """
    methods = dict.fromkeys(line.method for line in lines if line.ours == GRIDS)
    if not (out / "strategies.jsonl").exists():
        return [_missing(GRIDS, method, metric, NO_GRIDS) for method in methods for metric in metrics]
    rows = [{k: v for k, v in r.items() if k != "source"} for r in read_rows(out / "strategies.jsonl")]
    rows = [r for r in rows if r["method"] in methods]
    if (out / "grids.npz").exists():
        table, there = grids.read(out), {r["method"] for r in rows}
        seconds = {line["image"]: line["seconds"] for line in table.story[grids.TEST]}
        rows = [r | {"seconds": seconds[r["image"]]} if r["method"] == strategies.GRID else r for r in rows]
        rows += struck_rows(table, [names for names in STRUCK if without(names) in set(methods) - there])
    lost = [metric for metric in metrics if metric not in METRICS]
    return rows + [_missing(GRIDS, method, metric, NOT_KEPT) for method in methods for metric in lost]


def struck_rows(table: grids.Grids, chosen: list[tuple[str, ...]]) -> list[Row]:
    """The whole grid with several experts struck out, photo by photo, looked up."""
    rows = []
    for names in chosen:
        vectors = strike_out(table.vectors, names, EXPERTS)
        for image, about in enumerate(table.story[grids.TEST]):
            found = strategies.replay(table, image, vectors)
            cost = {"weights": weights_dict(found.weights), "unet_calls": found.unet_calls}
            for metric, value in found.values.items():
                given = {"variant": METRICS[metric].variant, **cost}
                rows.append(row(GRIDS, about["image"], without(names), metric, value, **given))
    return rows


def looked_up(rows: list[Row]) -> list[Row]:
    """Of `grid_rows` those that aren't copies of committed ones: strike-outs that were looked up, and what is missing.

    Test: test_table_runs.py::test_strike_outs_are_looked_up
    """
    return [r for r in rows if "how" not in r]
