"""From rows to a run's report: the table of a set, who is best in it, and how sure that is."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.evaluate import CANDIDATES, EXPERT_METHODS, MIXTURES, PAIRS, frame
from benchmarks.readme import AUTOMATIC, NOT_RUN, ORACLE, SEARCH
from unires.files import write_beside
from unires.metrics import METRICS
from unires.record import FIELDS, Row

METHODS = ("LQ", *CANDIDATES, SEARCH, AUTOMATIC, ORACLE)  # the order of every table; other methods follow
GROUPS = {
    "LQ": ("LQ",),
    "best expert": tuple(EXPERT_METHODS),
    "best mixture": (*MIXTURES, *PAIRS),
    "search": (SEARCH,),
    "oracle": (ORACLE,),
}


def measured(rows: list[Row]) -> pd.DataFrame:
    """The rows that hold a value, in the variant that `METRICS` names."""
    table = frame(rows).reindex(columns=FIELDS)
    variants = table["metric"].map({name: metric.variant for name, metric in METRICS.items()})
    return table[table["variant"] == variants].astype({"value": float})


def set_table(values: pd.DataFrame, name: str) -> pd.DataFrame:
    """Methods x metrics of one set: n, the number of photos, and means over them.

    Test: test_report.py::test_tables_against_numpy
    """
    ours = values[values["set"] == name].drop_duplicates(["method", "image", "metric"])
    table = ours.pivot_table(index="method", columns="metric", values="value", aggfunc="mean")
    table.insert(0, "n", ours.groupby("method")["image"].nunique())
    known = [method for method in METHODS if method in table.index]
    others = [method for method in table.index if method not in METHODS]
    return table.reindex(index=known + others, columns=["n", *METRICS])


def best(table: pd.DataFrame, group: str, metric: str) -> str | None:
    """The method of a group with the best mean, or None where none was measured.

    Test: test_report.py::test_best_knows_which_way_is_up
    """
    column = table[metric].reindex(GROUPS[group]).dropna()
    if column.empty:
        return None
    return column.idxmax() if METRICS[metric].higher_is_better else column.idxmin()


def summary(tables: dict[str, pd.DataFrame], metrics: tuple[str, ...] = ("psnr", "lpips")) -> pd.DataFrame:
    """For each set and group the best mean by each metric, and whose it is."""
    lines = {}
    for name, table in tables.items():
        for group in GROUPS:
            line = lines[name, group] = {}
            for metric in metrics:
                method = best(table, group, metric)
                line[metric] = table.loc[method, metric] if method else np.nan
                line[f"{metric} by"] = method or NOT_RUN
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(["set", "who"])


def verdict(table: pd.DataFrame, method: str | None, other: str | None, metric: str) -> str:
    """Does a method beat another? In words, with both means.

    Test: test_report.py::test_best_knows_which_way_is_up
    """
    ours, theirs = table[metric].reindex([method, other])
    if pd.isna(ours) or pd.isna(theirs):
        return f"{metric} {NOT_RUN}"
    better = ours > theirs if METRICS[metric].higher_is_better else ours < theirs
    return f"{metric} {'better' if better else 'NOT better'} ({ours:.3f}, {theirs:.3f})"


def by_photo(values: pd.DataFrame, name: str, method: str | None, metric: str) -> pd.Series:
    """One value a photo of a set.

    Test: test_report.py::test_values_by_photo_are_those_of_one_set
    """
    found = values.query("set == @name and method == @method and metric == @metric")
    return found.drop_duplicates("image").set_index("image")["value"]


def interval(gains: np.ndarray, rng: np.random.Generator, draws: int = 2000) -> tuple[float, float]:
    """Where 95 % of the means lie when the photos are drawn anew, with replacement (bootstrap).

    Test: test_report.py::test_interval_of_a_normal_mean
    """
    means = rng.choice(gains, (draws, len(gains))).mean(1)
    return tuple(np.quantile(means, [0.025, 0.975]))


def cost(values: pd.DataFrame) -> pd.DataFrame:
    """UNet calls and seconds of a restoration by each method, medians over photos.

    Test: test_report.py::test_costs_are_medians_over_photos
    """
    once = values.drop_duplicates(["set", "image", "method"]).dropna(subset=["unet_calls"])
    table = once.groupby("method")[["unet_calls", "seconds"]].median().astype(float)
    return table.reindex([method for method in METHODS if method in table.index])


def write_table(table: pd.DataFrame, run_dir: str | Path, name: str) -> Path:
    """One CSV in the run's tables/; what is missing says so."""
    path = Path(run_dir) / "tables" / f"{name}.csv"
    write_beside(path, table.to_csv(float_format="%.6g", na_rep=NOT_RUN).encode())
    return path
