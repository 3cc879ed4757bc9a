"""Specialisation: isolated flaws at fixed severities, every expert alone on each, and the bars that they must clear.

A set is one flaw at one severity, as "MD@1.0". The bars are arithmetic on rows; nothing here decides what is shown.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.evaluate import EXPERT_METHODS, frame
from benchmarks.evaluate import sets_hash as sets_hash  # of notebook 45
from unires.config import Config
from unires.data import Item, evaluation_crops
from unires.degrade import SETTINGS, degrade
from unires.engine import Study
from unires.metrics import METRICS, measure
from unires.record import Row, row
from unires.restore import Restorer
from unires.search import one_hot
from unires.shapes import Photo
from unires.tasks import BR, TASKS

LQ, AUTOENCODER = "LQ", "autoencoder"  # methods that restore nothing: the photo as it is, and coded and decoded
TEXT_EXPERTS = tuple(f"{expert.name}=1" for expert in (BR, *TASKS))  # those that differ by their words alone
NEAR, APART = 1.0, 5.0  # % of LPIPS: within so much of the best expert, better than the worst by so much
OWN_GAIN = {  # task: metric, compared with, how, goal; of the matching expert, at the strongest severity
    "SR": (("lpips", LQ, "%", -25.0), ("psnr", AUTOENCODER, "dB", 0.0)),
    "MD": (("lpips", LQ, "%", -20.0), ("psnr", LQ, "dB", 1.0)),
    "DD": (("lpips", LQ, "%", -25.0), ("psnr", AUTOENCODER, "dB", 0.0)),
    "DN": (("lpips", LQ, "%", -50.0), ("psnr", LQ, "dB", 5.0)),
}
DETAIL = "detail"  # a metric of the DownLQ bars
DETAIL_VARIANT = "mean squared gradient of the channel mean, x 1000"


def set_name(task: str, severity: float) -> str:
    return f"{task}@{severity:.1f}"


def task_of(name: str) -> tuple[str, float]:
    """Task and severity of a set's name."""
    task, _, severity = name.partition("@")
    return task, float(severity)


def matrix_set(task: str, severity: float, config: Config) -> list[Item]:
    """Held-out crops, each flawed by one task at one severity with a seed of its own.

    All sets share their crops, which overlap; severities share their seeds, so that they differ in strength alone.
    Test: test_specialisation.py::test_sets_differ_in_flaw_and_strength_alone
    """
    e, items = config.evaluation, []
    number = [known.name for known in TASKS].index(task)
    for i, (image, x) in enumerate(evaluation_crops(e.matrix_crops, e.crop, e.matrix_stride, e.matrix_each)):
        rng = np.random.default_rng([e.seed, 45, number, i])
        y, recipe = degrade(task, x, rng, severity, SETTINGS[config.degradations])
        items.append(Item(set_name(task, severity), image, x, y, recipe))
    return items


def alone(study: Study) -> Iterator[tuple[str, Photo]]:
    """The photo of a study as each of its experts restores it alone; the first step is one batch.

    Test: test_specialisation.py::test_each_expert_alone_is_what_the_restorer_makes
    """
    for k, z_0 in study.latents(one_hot(len(study.experts))):
        yield f"{study.experts[k].name}=1", study.photo(z_0)


def through_autoencoder(restorer: Restorer, photo: Photo) -> Photo:
    """A photo coded and decoded: what the best prediction of its own latent would come to.

    Test: test_specialisation.py::test_each_expert_alone_is_what_the_restorer_makes
    """
    h, w = photo.shape[:2]
    return np.clip(restorer.decode(restorer.encode(restorer.pad(photo)))[:h, :w], 0, 1)


def rows_of(item: Item, method: str, photo: Photo, **cost) -> list[Row]:
    """PSNR and LPIPS of one photo."""
    values = {name: measure(name, photo, item.x) for name in ("psnr", "lpips")}
    return [
        row(item.set, item.image, method, name, v, variant=METRICS[name].variant, **cost) for name, v in values.items()
    ]


def detail(photo: Photo) -> float:
    """Mean squared gradient of the channel mean, times 1000: how much fine structure a photo shows.

    Test: test_specialisation.py::test_detail_of_a_ramp
    """
    return 1000 * float(sum((part**2).mean() for part in np.gradient(np.asarray(photo, np.float64).mean(-1))))


def means(rows: list[Row], metric: str) -> pd.DataFrame:
    """Means over the crops: methods x sets, both in the order of the rows.

    Raises: ValueError where a set lacks a value that another one has.
    Test:   test_specialisation.py::test_bars_of_hand_made_rows, test_specialisation.py::test_a_missing_row_is_noticed
    """
    table = frame(rows)
    table = table[table["metric"] == metric]
    counts = table.pivot_table(index="method", columns="set", values="value", aggfunc="count", sort=False)
    if len(set(counts.to_numpy().ravel().tolist())) != 1:
        raise ValueError(f"{metric}: not every set has the same number of rows of every method:\n{counts}")
    return table.pivot_table(index="method", columns="set", values="value", aggfunc="mean", sort=False)


def relative_to_lq(lpips: pd.DataFrame) -> pd.DataFrame:
    """LPIPS of each expert in % of the flawed photo's, less 100: below 0 is a gain."""
    return 100 * (lpips.loc[list(EXPERT_METHODS)] / lpips.loc[LQ] - 1)


def above_best(lpips: pd.DataFrame) -> pd.DataFrame:
    """LPIPS of each expert in % above that of the best text expert of the set.

    Test: test_specialisation.py::test_bars_of_hand_made_rows
    """
    return 100 * (lpips.loc[list(EXPERT_METHODS)] / lpips.loc[list(TEXT_EXPERTS)].min() - 1)


def bar(name: str, what: str, value: float, goal: float, unit: str, upwards: bool) -> dict:
    """One line of a table of bars: the value that was measured beside its goal."""
    reached = value >= goal if upwards else value <= goal
    sign = "at least" if upwards else "at most"
    return {
        "set": name,
        "what": what,
        "value": float(value),
        "goal": f"{sign} {goal:g} {unit}",
        "reached": bool(reached),
    }


def bars(rows: list[Row]) -> pd.DataFrame:
    """The bars of the matrix: is every expert the best at its own flaw, and how much does it gain there?

    Test: test_specialisation.py::test_bars_of_hand_made_rows
    """
    tables = {metric: means(rows, metric) for metric in ("psnr", "lpips")}
    lpips, lines = tables["lpips"].loc[list(TEXT_EXPERTS)], []
    for name in lpips:
        own = lpips.loc[f"{task_of(name)[0]}=1", name]
        best, worst = lpips[name].min(), lpips[name].max()
        lines.append(bar(name, "LPIPS above the best text expert", 100 * (own / best - 1), NEAR, "%", False))
        lines.append(bar(name, "LPIPS below the worst text expert", 100 * (1 - own / worst), APART, "%", True))
    strongest = max(task_of(name)[1] for name in lpips)
    for task, goals in OWN_GAIN.items():
        name = set_name(task, strongest)
        for metric, other, unit, goal in goals if name in lpips else ():
            ours, theirs = (tables[metric].loc[method, name] for method in (f"{task}=1", other))
            value = 100 * (ours / theirs - 1) if unit == "%" else ours - theirs
            what = f"{metric.upper()} of the matching expert against {other}"
            lines.append(bar(name, what, value, goal, unit, METRICS[metric].higher_is_better))
    return pd.DataFrame(lines)


def down_lq_method(factor: int) -> str:
    return f"DownLQ=1 factor {factor}"


def down_lq_bars(rows: list[Row]) -> pd.DataFrame:
    """Does detail rise, and does PSNR fall, with every step of the factor? The smallest step is the value.

    Test: test_specialisation.py::test_bars_of_down_lq
    """
    lines = []
    for metric, unit, sign in ((DETAIL, "", 1), ("psnr", "dB", -1)):
        table = means(rows, metric)
        order = sorted(table.index, key=lambda method: int(method.split()[-1]))
        for name in table:
            step = sign * (sign * table.loc[order, name].diff().dropna()).min()
            line = bar(name, f"{metric}: least change from factor to factor", step, 0.0, unit, sign > 0)
            lines.append({**line, "goal": "above 0" if sign > 0 else "below 0", "reached": bool(sign * step > 0)})
    return pd.DataFrame(lines)
