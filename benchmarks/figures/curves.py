"""The paper's figures of numbers: values over weights, from rows and searches."""

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.figures.photos import value_of
from unires.record import Row
from unires.shapes import AnyArray
from unires.tasks import NAMES

LABELS = {"psnr": "PSNR (dB), up is better", "lpips": "LPIPS, down is better", "niqe": "NIQE, down is better"}


def composition_curves(rows: list[Row], place: tuple[str, str], metrics: tuple[str, ...] = ("psnr", "lpips")):
    """One photo's values over the weight of SR, which DN has the rest of; the dashed line is the flawed photo.

    Paper: the numbers behind Figure 9.
    Test:  test_figures.py::test_curves_hold_the_values_of_the_rows
    """
    figure, axes = plt.subplots(1, len(metrics), figsize=(4 * len(metrics), 3), layout="constrained", squeeze=False)
    weights = {row["method"]: row["weights"] for row in rows if (row["set"], row["image"]) == place}
    walk = {method: w.get("SR", 0.0) for method, w in weights.items() if w and set(w) <= {"SR", "DN"}}
    walk = dict(sorted(walk.items(), key=lambda step: step[1]))
    for axis, metric in zip(axes[0], metrics, strict=True):
        values = [value_of(rows, place, method, metric) for method in walk]
        axis.axhline(value_of(rows, place, "LQ", metric), color="grey", linestyle="--", label="LQ")
        axis.plot(list(walk.values()), values, marker="o", label="SR = w, DN = 1 - w")
        axis.set(xlabel="weight w of SR (DN has the rest)", ylabel=LABELS.get(metric, metric))
    axes[0, 0].legend()
    return figure


def pair_line(vectors: AnyArray, i: int, j: int) -> np.ndarray:
    """Which vectors give all their weight to experts i and j, in the order of the weight of i.

    Test: test_figures.py::test_a_pair_has_its_own_vectors
    """
    others = np.delete(np.asarray(vectors), [i, j], axis=1)
    at = np.flatnonzero(np.abs(others).max(1, initial=0) < 1e-6)
    return at[np.argsort(np.asarray(vectors)[at, i], kind="stable")]


def pair_matrix(vectors: AnyArray, scores: AnyArray, label: str, names: tuple[str, ...] = NAMES):
    """One photo's score for every mixture of two experts: line i, column j is a curve over the weight of expert i.

    The dashed line is the best single expert, the dotted one the best of all vectors that were tried, a star the best
    of its pair; (i, j) and (j, i) are one curve, seen from both sides. Larger scores are better.
    Paper: Figure 11.
    Test:  test_figures.py::test_the_matrix_holds_every_pair
    """
    vectors, scores, k = np.asarray(vectors, np.float64), np.asarray(scores, np.float64), len(names)
    alone = [float(scores[np.abs(vectors - one).max(1) < 1e-6][0]) for one in np.eye(k)]
    figure, axes = plt.subplots(k, k, figsize=(1.75 * k, 1.45 * k), sharex=True, sharey=True, layout="constrained")
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            axis = axes[i, j]
            at = pair_line(vectors, i, j)
            if i == j:
                axis.plot([1], alone[i], "o", color="C1")
                axis.text(0.4, 0.5, first, transform=axis.transAxes, ha="center", va="center", fontsize=14)
            else:
                axis.plot(vectors[at, i], scores[at], marker=".", color="C0")
                best = at[scores[at].argmax()]
                axis.plot(vectors[best, i], scores[best], "*", color="C1", markersize=10)
                axis.axhline(max(alone), color="grey", linestyle="--", linewidth=0.8)
                axis.axhline(scores.max(), color="grey", linestyle=":", linewidth=0.8)
            if i == 0:
                axis.set_title(f"with {second}", fontsize=11)
            if j == 0:
                axis.set_ylabel(first, fontsize=11)
    figure.supxlabel("weight of the line's expert; the column's expert has the rest", fontsize=11)
    figure.supylabel(label, fontsize=11)
    return figure
