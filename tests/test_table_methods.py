"""Methods of the tables: searches by the profile's settings, controls, and what says why it can't run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from linear import LinearRestorer, engine

from benchmarks import table_methods, table_runs
from benchmarks.evaluate import CANDIDATES
from benchmarks.readme import SEARCH
from benchmarks.searches import WORDS, search_name
from benchmarks.table_methods import Methods, absent
from benchmarks.table_sets import Case
from unires.config import SearchConfig
from unires.engine import unet_calls
from unires.metrics import EVERY, METRICS, measure
from unires.models.store import random_model
from unires.restore import Restorer
from unires.search import grid, strike_out
from unires.tasks import EXPERTS, NAMES, NEGATIVE, POSITIVE, weights_vector

SLOPES = (0.08, 0.09, 0.1, 0.11, 0.12, 0.13)
Y = np.random.default_rng(1).random((64, 64, 3)).astype(np.float32)


def taste(photo):
    """A judge without weights: likes red on the left and blue on the right."""
    return float(100 * (photo[:, :32, 0].mean() + photo[:, 32:, 2].mean()))


@pytest.fixture
def gridded(evaluation, monkeypatch):
    """A run that searches the grid by a stub of MUSIQ, on a network that is a line."""
    stub = replace(METRICS["psnr"], name="musiq", variant="stub", reference=False, function=taste, needs=())
    monkeypatch.setitem(EVERY, "musiq", stub)
    sample = replace(evaluation.config.sample, steps=3)
    search = SearchConfig("musiq", "grid")
    monkeypatch.setattr(evaluation, "config", replace(evaluation.config, search=search, sample=sample))
    methods = Methods(evaluation)
    monkeypatch.setitem(methods.__dict__, "engine", engine(SLOPES))
    return methods


def test_the_grid_is_searched_by_the_profiles_judge(gridded):
    name, restorer = search_name(gridded.evaluation.config.search), LinearRestorer(slopes=SLOPES)
    photo, cost = gridded(Case("s", "i", Y, None), name)
    assert cost["unet_calls"] == unet_calls(grid(), 3) and cost["seconds"] > 0
    np.testing.assert_allclose(photo, restorer(Y, cost["weights"]).clip(0, 1), atol=1e-4)
    some = np.random.default_rng(0).choice(grid(), 40)
    assert taste(photo) >= max(taste(restorer(Y, w).clip(0, 1)) for w in some) - 0.01
    (ledger,) = (gridded.evaluation.run_dir / "search").glob("*/scores.jsonl")
    lines = ledger.read_text().splitlines()
    assert len(lines) == 1512 and max(next(iter(json.loads(s)["scores"].values())) for s in lines) == pytest.approx(
        taste(photo), abs=0.4
    )
    again, _ = gridded(Case("s", "i", Y, None), name)  # the ledger answers
    assert np.array_equal(again, photo) and len(ledger.read_text().splitlines()) == 1512
    struck, cost = gridded(Case("s", "i", Y, None), f"{name}, without BR, DownLQ")
    assert len(ledger.read_text().splitlines()) == 1512 and not {"BR", "DownLQ"} & set(cost["weights"])
    assert cost["unet_calls"] == unet_calls(strike_out(grid(), ("BR", "DownLQ"), EXPERTS), 3)
    assert taste(struck) <= taste(photo)


def test_words_come_on_top(gridded, monkeypatch):
    case, spoken = Case("s", "i", Y, None), LinearRestorer((*EXPERTS, POSITIVE, NEGATIVE), slopes=(*SLOPES, 0.1, 0.2))
    plain, before = gridded(case, "grid search by MUSIQ")
    monkeypatch.setitem(gridded.__dict__, "spoken", spoken)
    photo, cost = gridded(case, "grid search by MUSIQ, words of A.7 on top")
    assert cost["weights"] == before["weights"] | {"positive": 1, "negative": -1}
    np.testing.assert_allclose(photo, spoken(Y, cost["weights"]), atol=1e-5)
    assert np.abs(photo - plain).max() > 0.01
    assert cost["unet_calls"] == before["unet_calls"] + 3 * len(cost["weights"])


def test_the_runs_seed_is_handed_on(gridded, monkeypatch):
    gridded.evaluation.seed, plain = 5, LinearRestorer(slopes=SLOPES)
    spoken = LinearRestorer((*EXPERTS, POSITIVE, NEGATIVE), slopes=(*SLOPES, 0.1, 0.2))
    few = np.stack([weights_vector({name: 1.0}) for name in NAMES])
    given = {"sr_only": plain, "spoken": spoken, "searches": {"few": few, f"few{WORDS}": few}}
    for name, held in given.items():
        monkeypatch.setitem(gridded.__dict__, name, held)
    for method, restorer in (("SR-only model, SR=1", plain), ("few", plain), (f"few{WORDS}", spoken)):
        photo, cost = gridded(Case("s", "i", Y, None), method)
        own, other = (restorer(Y, cost["weights"], seed=seed) for seed in (5, 0))
        np.testing.assert_allclose(photo, own.clip(0, 1), atol=1e-4)
        assert np.abs(own - other).max() > 0.01


def test_of_a_large_photo_the_middle_is_searched(gridded, monkeypatch):
    monkeypatch.setitem(
        gridded.__dict__, "searches", {"few": np.stack([weights_vector({name: 1.0}) for name in NAMES])}
    )
    wide = np.concatenate([np.zeros((64, 16, 3), np.float32), Y, np.zeros((64, 16, 3), np.float32)], axis=1)
    large, cost = gridded(Case("s", "wide", wide, None), "few")
    small, alone = gridded(Case("s", "small", Y, None), "few")
    assert cost["weights"] == alone["weights"] and large.shape == wide.shape and small.shape == Y.shape
    whole = gridded.evaluation.restore(Case("s", "wide", wide, None), cost["weights"])
    assert np.array_equal(large, whole.photo) and cost["unet_calls"] == alone["unet_calls"] + whole.unet_calls


def test_a_search_without_its_judge_says_so(evaluation, monkeypatch):
    monkeypatch.setenv("UNIRES_WEIGHTS", str(evaluation.run_dir))
    monkeypatch.setenv("TORCH_HOME", str(evaluation.run_dir))
    search = SearchConfig("musiq", "grid")
    monkeypatch.setattr(evaluation, "config", replace(evaluation.config, search=search))
    name, item = search_name(search), evaluation.sets["complex"][0]
    rows = table_runs.measured(evaluation, "t", "complex", [item], [name, "LQ"], ("psnr",))
    lost, held = rows
    assert lost["status"] == "not run" and lost["reason"].startswith(
        "the search is by musiq, and its weights are in no"
    )
    assert held["method"] == "LQ" and held["status"] == "ok" and not (evaluation.run_dir / "search").exists()


def test_a_model_that_was_never_tuned_restores_nothing(evaluation, monkeypatch):
    monkeypatch.setattr(table_methods, "find_checkpoint", lambda name: name)
    monkeypatch.setattr(table_methods, "read_story", lambda path: {"widened": True})
    monkeypatch.setattr(evaluation, "config", replace(evaluation.config, checkpoint="paper"))
    assert "never saw a flawed photo" in Methods(evaluation).missing("BR=1")


def test_what_cannot_run_says_why(evaluation, monkeypatch):
    methods = Methods(evaluation)
    assert methods.missing("SR-only model, SR=1") == "no checkpoint smoke_sr_only ships"
    assert methods.missing("BR=1") is methods.missing("LQ") is None
    monkeypatch.setattr(evaluation, "config", replace(evaluation.config, checkpoint="nobody"))
    assert methods.missing("BR=1") == "no checkpoint nobody ships" and methods.missing("LQ") is None
    assert "folders" in absent(("psnr", "fid"))["fid"]
    monkeypatch.setattr(table_methods, "find_spec", lambda package: None if package == "pyiqa" else True)
    monkeypatch.setitem(EVERY, "fid", replace(EVERY["fid"], needs=()))
    assert absent(("psnr", "fid"), whole=True) == {"fid": "the package pyiqa is not installed"}
    monkeypatch.setenv("UNIRES_WEIGHTS", str(evaluation.run_dir))
    item = evaluation.sets["complex"][0]
    (lost,) = table_runs.measured(evaluation, "t", "complex", [item], ["LQ"], ("musiq-official",))
    assert lost["status"] == "not run" and "koniq_ckpt.npz" in lost["reason"]
    assert str(evaluation.run_dir) not in lost["reason"]


def test_a_control_that_ships_is_restored_with(evaluation, monkeypatch):
    monkeypatch.setattr(table_methods, "find_checkpoint", lambda name: name)
    monkeypatch.setattr(table_methods, "read_story", lambda path: {})
    config = replace(evaluation.config, sample=replace(evaluation.config.sample, steps=1))
    monkeypatch.setitem(table_methods.CONTROLS, "smoke_sr_only", config)
    methods, item = Methods(evaluation), evaluation.sets["complex"][0]
    assert methods.missing("SR-only model, DownLQ=1") is None
    photo, cost = methods(item, "SR-only model, DownLQ=1")
    assert np.array_equal(photo, Restorer(random_model(config), config)(item.y, {"DownLQ": 1.0}))
    assert cost["weights"] == {"DownLQ": 1.0} and cost["unet_calls"] == 1


def test_the_search_is_that_of_notebook_60(evaluation):
    y = np.kron(np.random.default_rng(5).random((24, 24, 3)), np.ones((5, 5, 1))).astype(np.float32)
    photo, cost = Methods(evaluation).search(case := Case("s", "i", y, None), SEARCH)
    made = {name: evaluation.restore(case, weights).photo for name, weights in CANDIDATES.items()}
    best = min(made, key=lambda name: measure("niqe", made[name]))
    assert np.array_equal(photo, made[best]) and cost["weights"] == pytest.approx(CANDIDATES[best])
    assert cost["unet_calls"] == sum(map(len, CANDIDATES.values())) and cost["seconds"] == len(CANDIDATES)
