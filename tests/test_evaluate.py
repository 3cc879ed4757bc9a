"""Images to rows: photos are made once, means are means."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.evaluate import Evaluation, mean_table, sets_hash
from unires.metrics import contract
from unires.models.store import WEIGHTS
from unires.record import read_run, row


def test_restored_photos_are_made_once(tmp_path, monkeypatch):
    evaluation = Evaluation.start(tmp_path, "smoke", 0)
    calls = []

    def restorer(y, weights, seed):
        calls.append(weights)
        return 1 - y

    monkeypatch.setitem(evaluation.__dict__, "restorer", restorer)
    item = evaluation.items[0]
    first, again = (evaluation.restore(item, {"SR": 0.5, "DN": 0.5}) for _ in range(2))
    assert len(calls) == 1 and np.array_equal(first.photo, again.photo)
    assert first.unet_calls == 2 * evaluation.config.sample.steps
    evaluation.restore(item, {"SR": 0.4, "DN": 0.6})
    assert len(calls) == 2
    assert read_run(tmp_path)["metrics"]["lpips"] == contract("lpips")
    rows = {r["metric"]: r for r in evaluation.measure(item, "LQ", item.y)}
    assert rows["niqe"]["status"] == "not run" and rows["psnr"]["value"] == pytest.approx(
        -10 * np.log10(np.mean((item.y.astype(float) - item.x) ** 2)), abs=1e-3
    )


def test_another_checkpoint_restores_anew(tmp_path, monkeypatch):
    evaluation = Evaluation.start(tmp_path, "smoke", 0)
    monkeypatch.setitem(evaluation.__dict__, "restorer", lambda y, weights, seed: 1 - y)
    item = evaluation.items[0]
    first = evaluation.restore(item, {"SR": 1.0})
    other = Evaluation.start(tmp_path, "smoke", 0)  # the run goes on with other weights
    monkeypatch.setitem(other.__dict__, "restorer", lambda y, weights, seed: y)
    assert np.array_equal(other.restore(item, {"SR": 1.0}).photo, first.photo)
    monkeypatch.setitem(other.__dict__, "checkpoint", "0" * 64)
    made = [other.restore(item, {"SR": 1.0}) for _ in range(2)]
    assert all(np.abs(one.photo - item.y).max() < 1 / 255 for one in made)
    story = next((tmp_path / "restored").rglob("*.json"))
    story.write_text('{"unet_calls": 2, "seconds": 1.0}')  # an older run's, which doesn't say whose photo it is
    assert np.array_equal(evaluation.restore(item, {"SR": 1.0}).photo, first.photo)


def test_other_settings_restore_anew(tmp_path, monkeypatch):
    """Another number of steps, and another flawed photo of the same name."""
    evaluation = Evaluation.start(tmp_path, "smoke", 0)
    config, item = evaluation.config, evaluation.items[0]
    made = []
    for settings, pair in (
        (config, item),
        (replace(config, sample=replace(config.sample, steps=7)), item),
        (config, replace(item, y=1 - item.y)),
        (config, replace(item, y=1 - item.y)),
    ):
        evaluation.config = settings
        monkeypatch.setitem(evaluation.__dict__, "restorer", lambda y, weights, seed: made.append(0) or y)
        calls = evaluation.restore(pair, {"SR": 1.0}).unet_calls
        assert calls == settings.sample.steps
    assert len(made) == 3


def test_each_seed_has_photos_of_its_own(tmp_path, monkeypatch):
    asked = []
    for seed in (3, 4):
        evaluation = Evaluation.start(tmp_path, "smoke", seed)
        monkeypatch.setitem(evaluation.__dict__, "restorer", lambda y, weights, seed: asked.append(seed) or 1 - y)
        evaluation.restore(evaluation.items[0], {"SR": 1.0})
    assert asked == [3, 4]
    assert {path.name for path in tmp_path.rglob("*.png")} == {"SR1_seed3.png", "SR1_seed4.png"}


def test_a_run_holds_rows_of_one_profile(tmp_path):
    pairs = Evaluation.start(tmp_path, "smoke", 0).sets
    assert read_run(tmp_path)["data"]["evaluation"] == sets_hash(pairs)
    with pytest.raises(ValueError, match="holds rows of other photos than demo's: give another run_dir"):
        Evaluation.start(tmp_path, "demo", 0)
    Evaluation.start(tmp_path, "smoke", 1)


def test_the_run_names_its_checkpoint(tmp_path):
    evaluation = Evaluation.start(tmp_path, "demo", 0)
    shipped = hashlib.sha256((WEIGHTS / "demo.safetensors").read_bytes()).hexdigest()
    assert evaluation.checkpoint == shipped and Evaluation.start(tmp_path / "other", "smoke", 0).checkpoint is None


def test_mean_table_against_numpy():
    values = {"a": (20.0, 30.0, 70.0), "b": (10.0, 11.0, 15.0)}
    rows = [row("SR", f"photo{i}", m, "psnr", v) for m, three in values.items() for i, v in enumerate(three)]
    table = mean_table(rows)
    assert {m: table.loc[("SR", m), "psnr"] for m in values} == {m: np.mean(three) for m, three in values.items()}
