"""Networks of equal budgets, one taught all tasks and one super-resolution alone."""

import dataclasses

import numpy as np
import pytest

from benchmarks import controls
from unires.data import evaluation_set
from unires.metrics import measure
from unires.profiles import KNOWN, SMOKE
from unires.restore import restorer_of

BIG = dataclasses.replace(SMOKE, evaluation=dataclasses.replace(SMOKE.evaluation, crop=96, crops=1))


def test_rows_are_measured_photos():
    items, (restorer, _) = evaluation_set("complex", BIG), restorer_of(BIG)
    rows = list(controls.rows_of("a pair", "demo_sr_only", restorer, items))
    assert [(one["method"], one["metric"]) for one in rows[:5]] == [
        *(("SR=1", name) for name in ("psnr", "ssim", "lpips", "niqe")),
        ("DownLQ=1", "psnr"),
    ]
    assert len(rows) == 8 and {one["taught"] for one in rows} == {"SR"}
    photo = restorer(items[0].y, {"SR": 1.0})
    assert rows[2]["value"] == measure("lpips", photo, items[0].x) and rows[3]["value"] == measure("niqe", photo)


def test_means_by_network():
    rows = [
        {"pair": "a", "method": "SR=1", "taught": taught, "metric": metric, "value": value + i}
        for taught, value in (("SR", 1.0), ("SR, MD, DD, DN", 4.0))
        for metric in ("psnr", "ssim", "lpips", "niqe")
        for i in (0, 1)
    ]
    table = controls.table(rows)
    assert list(table.columns) == ["psnr", "ssim", "lpips", "niqe"]
    np.testing.assert_allclose(table.to_numpy(), [[1.5] * 4, [4.5] * 4])


@pytest.mark.parametrize("four, one", controls.PAIRS.values())
def test_a_pair_differs_in_its_tasks_alone(four, one):
    four, one = KNOWN[four], KNOWN[one]
    assert (four.vae, four.unet, four.text, four.sample) == (one.vae, one.unet, one.text, one.sample)
    assert dataclasses.replace(one.train, tasks=four.train.tasks) == four.train != one.train
    assert one.train_vae == four.train_vae
