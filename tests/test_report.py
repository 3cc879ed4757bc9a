"""A report's tables and verdicts against values counted here by hand."""

import numpy as np
import pytest

from benchmarks import report
from unires import record
from unires.metrics import METRICS

VALUES = {  # method: {image: (psnr, lpips)}
    "LQ": {"a": (20.0, 0.5), "b": (22.0, 0.3)},
    "MD=1": {"a": (21.0, 0.6), "b": (24.0, 0.1)},
    "DN=1": {"a": (25.0, 0.7), "b": (26.0, 0.6)},
    "my own": {"a": (1.0, 1.0)},
}


@pytest.fixture
def values():
    rows = [record.not_run("MD", "a", "LQ", "niqe", "too small", variant=METRICS["niqe"].variant)]
    for method, photos in VALUES.items():
        for image, scores in photos.items():
            for metric, score in zip(("psnr", "lpips"), scores, strict=True):
                rows.append(record.row("MD", image, method, metric, score, variant=METRICS[metric].variant))
    rows.append(record.row("MD", "a", "LQ", "psnr", 99.0, variant="on luma"))  # must not count
    rows.append(record.row("SR", "a", "LQ", "psnr", 98.0, variant=METRICS["psnr"].variant))
    return report.measured(rows)


def test_tables_against_numpy(values, tmp_path):
    table = report.set_table(values, "MD")
    assert list(table.index) == ["LQ", "MD=1", "DN=1", "my own"]
    assert list(table["n"]) == [2, 2, 2, 1]
    for method, photos in VALUES.items():
        assert np.allclose(table.loc[method, ["psnr", "lpips"]].astype(float), np.mean(list(photos.values()), 0))
    assert table["niqe"].isna().all()
    lines = report.write_table(table, tmp_path, "MD").read_text().splitlines()
    assert lines[:2] == ["method,n,psnr,ssim,lpips,niqe", "LQ,2,21,not run,0.4,not run"]


def test_best_knows_which_way_is_up(values):
    table = report.set_table(values, "MD")
    assert report.best(table, "best expert", "psnr") == "DN=1"
    assert report.best(table, "best expert", "lpips") == "MD=1"
    assert report.best(table, "search", "lpips") is None
    assert report.verdict(table, "DN=1", "LQ", "psnr") == "psnr better (25.500, 21.000)"
    assert report.verdict(table, "DN=1", "LQ", "lpips") == "lpips NOT better (0.650, 0.400)"
    assert report.verdict(table, None, "LQ", "psnr") == "psnr not run"
    lines = report.summary({"MD": table})
    assert lines.loc[("MD", "best expert"), "lpips by"] == "MD=1"
    assert lines.loc[("MD", "oracle"), "psnr by"] == "not run"


def test_values_by_photo_are_those_of_one_set(values):
    assert report.by_photo(values, "MD", "LQ", "psnr").to_dict() == {"a": 20.0, "b": 22.0}
    assert report.by_photo(values, "SR", "LQ", "psnr").to_dict() == {"a": 98.0}


def test_costs_are_medians_over_photos():
    rows = [
        record.row("MD", image, "LQ", "psnr", 20.0, variant=METRICS["psnr"].variant, unet_calls=calls, seconds=seconds)
        for image, calls, seconds in (("a", 2, 1.0), ("b", 4, 2.0), ("c", 18, 9.0))
    ]
    assert report.cost(report.measured(rows)).loc["LQ"].to_dict() == {"unet_calls": 4, "seconds": 2}


def test_an_empty_run_has_empty_tables():
    table = report.set_table(report.measured([]), "MD")
    assert table.empty and list(table.columns) == ["n", *METRICS]
    assert report.best(table, "LQ", "psnr") is None and report.cost(report.measured([])).empty


def test_interval_of_a_normal_mean():
    """Of many values the interval is mean +- 1.96 standard errors."""
    gains = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = report.interval(gains, np.random.default_rng(2), 4000)
    error = 1.96 * gains.std() / 20
    assert np.allclose([low, high], [gains.mean() - error, gains.mean() + error], atol=0.15 * error)
    assert report.interval(np.array([0.5]), np.random.default_rng(3)) == (0.5, 0.5)
