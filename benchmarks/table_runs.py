"""The rows behind the paper's tables: our photos and the paper's, restored by every method that stands in a table.

Of a set of the paper's as many photos are taken as the profile says (`EvaluationConfig.most`; the paper's takes all).
What isn't there becomes rows "not run" with the reason.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from benchmarks import grids, strategies
from benchmarks.cases import TEST
from benchmarks.evaluate import CANDIDATES, Evaluation
from benchmarks.readme import SEARCH
from benchmarks.searches import STRUCK, without
from benchmarks.sets import SetError
from benchmarks.table_methods import Methods, absent
from benchmarks.table_sets import Case, paper_set
from benchmarks.tables import GRIDS, Line
from benchmarks.tables import lines as table_lines
from unires.config import SearchConfig
from unires.metrics import EVERY, METRICS, measure
from unires.models.store import CheckpointError
from unires.photo import write_photo
from unires.record import Row, not_run, read_rows, row
from unires.search import strike_out
from unires.tasks import EXPERTS, TASKS, weights_dict

ALL = "all photos"  # the image of a row that stands for a whole set
OWN = (*(task.name for task in TASKS), "complex")
NO_SHARP = {name: "nobody has the sharp photos" for name in ("DiversePhotos-x1", "DiversePhotos-x4", "Real60")}
NOT_KEPT = "the grid's table keeps scores, no photos"
SHARP = "sharp"  # the folder of the reference, beside a folder a method


def measured(
    evaluation: Evaluation,
    source: str,
    title: str,
    cases: Iterator[Case] | list,
    methods: list[str],
    metrics: tuple[str, ...],
) -> list[Row]:
    """One row a photo, method and metric; values that another notebook of this run has written are taken from there.

    A metric of folders gets one row for a whole set of the paper's; a photo that a metric can't judge says why.
    Test: test_table_runs.py::test_rows_of_other_notebooks_are_used, test_folders_of_a_whole_set_are_compared,
          test_a_photo_that_cannot_be_judged_says_why
    """
    path, restore = evaluation.run_dir / "rows.jsonl", Methods(evaluation)
    known = [r for r in (read_rows(path) if path.exists() else []) if r["source"] != source and r["status"] == "ok"]
    known = {(r["set"], r["image"], r["method"], r["metric"], r["variant"]): r for r in known}
    lost, rows, able = absent(metrics, title not in OWN and "[:" not in title), [], []
    for method in methods:
        why = restore.missing(method)
        rows += [_missing(title, method, m, why or lost[m]) for m in metrics if why or m in lost]
        able += [method] if why is None else []
    wanted = [EVERY[name] for name in metrics if name not in lost and not EVERY[name].folders]
    folders = [EVERY[name] for name in metrics if name not in lost and EVERY[name].folders]
    place = evaluation.run_dir / "folders" / title
    shutil.rmtree(place, ignore_errors=True)
    for case in tqdm(cases, desc=title, unit="photo"):
        for method in able:
            photo, cost = restore(case, method) if folders else (None, {})
            for name, kept in ((method, photo), (SHARP, case.x)) if folders else ():
                _keep(place / name, case.image, kept)
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
                    rows.append(_judged(what, photo, case.x, cost))
    return rows + [_judged((title, ALL, m, one.name), place / m, place / SHARP, {}) for m in able for one in folders]


def _judged(what: tuple[str, str, str, str], x_hat, x, cost: dict) -> Row:
    """The row of a photo, or of a folder of them; of what the metric can't judge, why."""
    metric = EVERY[what[-1]]
    try:
        value = measure(metric.name, x_hat, x if metric.reference else None)
    except ValueError as error:  # a flat photo, sizes that differ
        return not_run(*what, str(error), variant=metric.variant)
    return row(*what, value, variant=metric.variant, **cost)


def _keep(folder: Path, image: str, photo) -> None:
    """One more photo for a metric of folders."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / f"{image}.png").exists():
        write_photo(folder / f"{image}.png", photo)


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
            title, cases = paper_set(photos, evaluation.config.evaluation.most)
        except (SetError, ImportError) as error:
            rows += [_missing(photos, method, metric, str(error)) for method in methods for metric in able]
            continue
        rows += measured(evaluation, source, title, cases, list(methods), able)
    return rows


def common(set_: str, method: str, metric: str) -> bool:
    """Whether one of the notebooks 10, 40, 50 and 60 writes this row."""
    return set_ in OWN and method in ("LQ", *CANDIDATES, SEARCH) and metric in ("psnr", "ssim", "lpips", "niqe")


def written_by(number: int, rows: list[Row], search: SearchConfig) -> list[Row]:
    """Of a table's rows those that no earlier notebook writes: a row belongs to the first table that shows it.

    Test: test_table_runs.py::test_a_row_is_written_once
    """
    before = [line for n in range(2, number) for line in table_lines(n, search)]
    earlier = {(photos, line.method) for line in before for photos in (line.photos, line.ours)}
    kept = [r for r in rows if not common(r["set"], r["method"], r["metric"])]
    return [r for r in kept if (r["set"].partition("[:")[0], r["method"]) not in earlier]


def no_grids(profile: str) -> str:
    """What makes the table of the exhaustive grid for a profile."""
    place = grids.place(profile)
    out = "" if place == grids.OUT else f" --out results/{place.name}"
    made = f"python -m benchmarks.grids --profile {profile} --photos DIR, then python -m benchmarks.strategies{out}"
    return f"no table of the whole grid for this checkpoint in results/{place.name}: {made}"


def grid_folder(evaluation: Evaluation, out: Path | None = None) -> tuple[Path, str | None]:
    """Where the table of the exhaustive grid lies, and why it can't be shown in this run, or None.

    A table of another checkpoint isn't shown. A profile with random weights (smoke) has no grid of its own; it reads
    demo's, and its numbers go nowhere.
    Test: test_table_runs.py::test_the_grid_of_another_profile_is_not_shown
    """
    random = evaluation.config.checkpoint is None
    out = out or grids.place("demo" if random else evaluation.config.name)
    there = all((out / name).exists() for name in ("strategies.jsonl", "grids.npz", "grids.json"))
    shown = there and (random or _same_checkpoint(evaluation, out))
    return out, None if shown else no_grids(evaluation.config.name)


def grid_rows(
    evaluation: Evaluation, lines: list[Line], metrics: tuple[str, ...], out: Path | None = None
) -> list[Row]:
    """Of the lines that need the exhaustive grid: the committed rows, and the strike-outs looked up in its table.

    Test: test_table_runs.py::test_strike_outs_are_looked_up, test_the_grid_of_another_profile_is_not_shown
    """
    methods = dict.fromkeys(line.method for line in lines if line.ours == GRIDS)
    out, why = grid_folder(evaluation, out)
    if why:
        return [_missing(GRIDS, method, metric, why) for method in methods for metric in metrics]
    rows = [{k: v for k, v in r.items() if k != "source"} for r in read_rows(out / "strategies.jsonl")]
    rows = [r for r in rows if r["method"] in methods]
    table, there = grids.read(out), {r["method"] for r in rows}
    seconds = {line["image"]: line["seconds"] for line in table.story[TEST]}
    rows = [r | {"seconds": seconds[r["image"]]} if r["method"] == strategies.GRID else r for r in rows]
    rows += struck_rows(table, [names for names in STRUCK if without(names) in set(methods) - there])
    lost = [metric for metric in metrics if metric not in METRICS]
    return rows + [_missing(GRIDS, method, metric, NOT_KEPT) for method in methods for metric in lost]


def _same_checkpoint(evaluation: Evaluation, out: Path) -> bool:
    """Whether the table in a folder was made by the weights of this run."""
    try:
        return evaluation.checkpoint in json.loads((out / "grids.json").read_text())["checkpoints"].values()
    except CheckpointError:  # no weights, so no grid of theirs
        return False


def struck_rows(table: grids.Grids, chosen: list[tuple[str, ...]]) -> list[Row]:
    """The whole grid with several experts struck out, photo by photo, looked up."""
    rows = []
    for names in chosen:
        vectors = strike_out(table.vectors, names, EXPERTS)
        for image, about in enumerate(table.story[TEST]):
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
