"""The grids' split shares no photo, the table comes back, and a search is paid for once."""

import json

import numpy as np
import pytest
from linear import engine

from benchmarks import grids
from benchmarks.cases import LEARN, TEST, held_out_cases
from benchmarks.training_photos import manifest
from unires.data import held_out_paths, sha256
from unires.engine import unet_calls
from unires.metrics import METRICS, measure
from unires.search import grid, one_hot

SLOPES = (0.08, 0.09, 0.1, 0.11, 0.12, 0.13)
COMMITTED = grids.OUT / "grids.json"


def test_each_profile_has_a_table_of_its_own(forty_photos, monkeypatch):
    assert grids.place("demo") == grids.OUT and grids.place("paper") == grids.OUT.parent / "search-paper"
    seen = {}
    monkeypatch.setattr(grids, "restorer_of", lambda config: (engine(SLOPES).restorer, {"sha256": "0" * 64}))
    monkeypatch.setattr(grids, "run", lambda *given: {"tables": {}, "stories": {}})

    class Stop(Exception):
        pass

    def write(out, *given):
        seen.update(out=out, trained_on=given[-1]["trained_on"])
        raise Stop

    monkeypatch.setattr(grids, "write", write)
    with pytest.raises(Stop):
        grids.main(
            ["--photos", str(forty_photos), "--profile", "smoke", "--side", "64", "--learn", "2", "--images", "2"]
        )
    assert seen == {"out": grids.OUT.parent / "search-smoke", "trained_on": None}


def test_the_short_list_lies_on_the_grid():
    short = grids.learn_list("252")
    assert short.shape == (254, 6) and (short[:252] >= 0).all() and (short[252:].min(1) < 0).all()
    assert (np.abs(short[:, None] - grid()).max(-1).min(1) < 1e-6).all()
    assert len(grids.learn_list("all")) == 1512


def test_a_search_is_not_paid_for_twice(tmp_path):
    case = held_out_cases(1, 64)[0]
    vectors = np.concatenate([one_hot(), grid()[::200]])
    table, found = grids.search(engine(SLOPES), case, vectors, ("niqe", "psnr"), tmp_path)
    assert table.shape == (len(vectors), 2) and found.paid == found.unet_calls == unet_calls(vectors, 3)
    at = int(np.nanargmin(table[:, 0]))  # NIQE: lower is better
    assert np.allclose(found.weights, vectors[at])
    assert table[at, 1] == pytest.approx(measure("psnr", found.photo, case.x), abs=1e-3)
    again, found = grids.search(engine(SLOPES), case, vectors, ("niqe", "psnr"), tmp_path)
    np.testing.assert_array_equal(again, table)
    kept = [json.loads(line)["seconds"] for path in tmp_path.rglob("scores.jsonl") for line in path.open()]
    assert found.seconds >= sum(kept) > 0  # what the ledger remembers counts, not the second look alone
    assert found.paid == 0 and found.unet_calls == unet_calls(vectors, 3)


def test_the_table_comes_back(tmp_path):
    cases = {TEST: held_out_cases(2, 64), LEARN: held_out_cases(1, 64)}
    vectors = {TEST: one_hot(), LEARN: one_hot()[:2]}
    found = grids.run(engine(SLOPES), cases, vectors, None)
    grids.write(tmp_path, found, vectors, np.ones((1, 72)), {"steps": 3})
    held = grids.read(tmp_path)
    assert held.test.shape == (2, 6, 5) and held.learn.shape == (1, 2, 2) and held.learn_features.shape == (1, 72)
    np.testing.assert_array_equal(held.vectors, one_hot())
    assert held.metrics == ("niqe", "lpips", "psnr", "ssim", "expected_lpips") and held.story["steps"] == 3
    assert [line["image"] for line in held.story["test"]] == [case.image for case in cases[TEST]]
    assert held.story["test"][0]["unet_calls"] == 6 * 3
    lines = [*held.story["test"], *held.story["learn"]]
    assert held.story["seconds"] == pytest.approx(sum(line["seconds"] for line in lines), abs=0.06) and len(lines) == 3
    with pytest.raises(FileNotFoundError, match="run python -m benchmarks.grids"):
        grids.read(tmp_path / "elsewhere")


def test_scores_point_upwards():
    test = np.array([[[3.0, 20], [5, 30], [np.nan, 10]]], np.float32)
    held = grids.Grids(one_hot()[:3], one_hot(), ("niqe", "psnr"), ("niqe",), test, test, np.ones((1, 72)), {})
    np.testing.assert_array_equal(held.score(), [[-3, -5, -5]])
    np.testing.assert_array_equal(held.score(metric="psnr"), [[20, 30, 10]])
    assert not METRICS["niqe"].higher_is_better


@pytest.mark.skipif(not COMMITTED.exists(), reason="the grids have not been run yet")
def test_the_committed_split_shares_no_photo():
    story = json.loads(COMMITTED.read_text())
    assert story["unseen"] is True
    test, learn = ({line["sha256"] for line in story[part]} for part in (TEST, LEARN))
    assert test <= {sha256(path) for path in held_out_paths().values()} and len(story[TEST]) >= 8
    assert not test & learn and all(digest.startswith("0") for digest in learn)
    trained = {line["sha256"] for line in manifest() if not line["sha256"].startswith("0")}
    assert not trained & (test | learn)
    assert sum((grids.OUT / name).stat().st_size for name in ("grids.npz", "grids.json")) < 3e6
