"""Strategies against a grid that was really run, on a network that is a line and a coarse grid."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from linear import engine

from benchmarks import grids as table
from benchmarks import strategies
from unires import learned
from unires.engine import unet_calls
from unires.record import read_rows, row, write_rows
from unires.search import grid, one_hot

SLOPES = (0.08, 0.09, 0.1, 0.11, 0.12, 0.13)
COARSE = np.unique(np.concatenate([one_hot(), grid(-0.5, 1.5, 0.5)[1::3]]), axis=0)
METRICS = {table.TEST: ("psnr", "ssim"), table.LEARN: ("psnr",)}  # quick ones


@pytest.fixture(scope="module")
def cases():
    return table.held_out_cases(5, 64)


@pytest.fixture(scope="module")
def grids(cases, tmp_path_factory):
    """One test photo and four to learn from, searched for real."""
    patch, out = pytest.MonkeyPatch(), tmp_path_factory.mktemp("grids")
    patch.setattr(strategies, "DECIDES", "psnr")
    patch.setattr(learned, "TREES", 10)
    patch.setattr(table, "MEASURED", METRICS)
    parts, vectors = {table.TEST: cases[:1], table.LEARN: cases[1:]}, {table.TEST: COARSE, table.LEARN: COARSE[::3]}
    found = table.run(engine(SLOPES), parts, vectors, None)
    features = np.random.default_rng(0).random((4, 72))
    table.write(out, found, vectors, features, {"steps": 3})
    yield table.read(out)
    patch.undo()


def test_replaying_is_looking_up(grids):
    listed = COARSE[[30, 4, 30, 77]]
    outcome = strategies.replay(grids, 0, listed)
    scores = grids.score(metric="psnr")[0, [30, 4, 77]]
    np.testing.assert_array_equal(outcome.weights, COARSE[[30, 4, 77][int(scores.argmax())]])
    assert outcome.values["psnr"] == pytest.approx(scores.max(), rel=1e-6)
    assert outcome.unet_calls == unet_calls(COARSE[[30, 4, 77]], 3) and outcome.decodes == 3  # the twin is free
    assert outcome.seconds is None
    with pytest.raises(ValueError, match="not in the table"):
        strategies.replay(grids, 0, np.full((1, 6), 1 / 6, np.float32))


def test_share_of_the_gain():
    assert strategies.share(-4, -6, -2) == 0.5 and strategies.share(-7, -6, -2) == -0.25
    assert strategies.share(-2, -2, -2) == 1.0  # nothing to gain


def test_lessons_come_from_the_learning_photos(grids):
    lessons = strategies.Lessons.learn(grids, np.random.default_rng(0))
    np.testing.assert_array_equal(lessons.optima, grids.learn_vectors[grids.learn[..., 0].argmax(1)])
    assert {tuple(w) for w in lessons.frequent} == {tuple(w) for w in lessons.optima}
    np.testing.assert_allclose(lessons.average, lessons.optima.mean(0), atol=1e-6)
    assert lessons.covering[0] in grids.learn_vectors
    other = replace(grids, test=grids.test[:, ::-1])  # test photos don't count
    again = strategies.Lessons.learn(other, np.random.default_rng(0))
    np.testing.assert_array_equal(again.covering, lessons.covering)


def test_a_run_agrees_with_the_table(grids, cases, tmp_path):
    lessons = strategies.Lessons.learn(grids, np.random.default_rng(0))
    found = strategies.real(grids, lessons, engine(SLOPES), tmp_path, 0)
    outcome = found["surrogate, best 4"](0, cases[0])
    looked_up = strategies.replay(grids, 0, outcome.weights[None])
    assert outcome.values == pytest.approx(looked_up.values, rel=1e-3)
    assert 18 <= outcome.unet_calls <= 18 + 4 * 6 * 2 and outcome.seconds > 0
    assert len(COARSE) + 6 <= outcome.decodes <= len(COARSE) + 10
    corrected = found["corrected surrogate, best 8"](0, cases[0])
    assert corrected.unet_calls <= 18 + 8 * 6 * 2 and corrected.values["psnr"] >= outcome.values["psnr"] - 1e-3
    forest = found["random forest"](0, cases[0])
    assert forest.unet_calls == 3 * np.count_nonzero(forest.weights) and forest.decodes == 1


def test_every_strategy_is_compared(grids, cases, tmp_path):
    rows = strategies.compare(grids, cases[:1], engine(SLOPES), tmp_path)
    write_rows(tmp_path / "run", strategies.SOURCE, rows)
    assert read_rows(tmp_path / "run") and len(rows) == 3 * len({r["method"] for r in rows})  # share, PSNR, SSIM
    by = {(r["method"], r["metric"]): r for r in rows}
    shares = {method: r["value"] for (method, metric), r in by.items() if metric == strategies.SHARE}
    assert shares[strategies.GRID] == 1 and shares[strategies.BLIND] == 0
    listed = [name for name in shares if by[name, "psnr"]["how"] == "replayed"]
    assert all(shares[name] <= 1 for name in listed) and len(listed) > 20 and len(shares) - len(listed) >= 9
    assert by[strategies.GRID, "psnr"]["unet_calls"] == unet_calls(COARSE, 3)
    assert by["one-hot", "psnr"]["unet_calls"] == 18 and by["without SR", "psnr"]["weights"].get("SR") is None
    lines = strategies.summary(rows)
    assert lines.loc[strategies.GRID, "of the grid"] == 1 and lines.loc["one-hot", "unet_calls"] == 18
    assert list(lines["unet_calls"]) == sorted(lines["unet_calls"])
    with pytest.raises(ValueError, match="not photo 0 of the table"):
        strategies.compare(grids, cases[1:2], engine(SLOPES), tmp_path)


def test_the_summary_holds_means_and_the_worst_share():
    rows = [
        row(strategies.SET, f"{i}", name, strategies.SHARE, share, unet_calls=calls, decodes=1)
        for name, shares in ((strategies.GRID, (1.0, 1.0, 1.0)), ("list", (0.9, 0.1, 0.8)))
        for i, (share, calls) in enumerate(zip(shares, (10, 40, 100), strict=True))
    ]
    line = strategies.summary(rows).loc["list"]
    assert line["worst share"] == 0.1 and line[strategies.SHARE] == pytest.approx(0.6)
    assert line["unet_calls"] == 50 and line["of the grid"] == 1


def test_one_strategy_is_run_anew(grids, cases, tmp_path):
    run = partial(strategies.compare, grids, cases[:1], engine(SLOPES), tmp_path)
    one = run(only=["8 most", "average"])
    assert {r["method"] for r in one} == {"8 most frequent", "average"}
    gone, old = one[0] | {"method": "forgotten"}, [r | {"value": 0.5} for r in one]
    rows = run(only=["average"], before=[*old, gone])
    kept = [r for r in rows if r["method"] == "8 most frequent"]
    assert {r["value"] for r in kept} == {0.5} and len(rows) == len(one)  # the old rows of one, no row of what is gone
    assert {r["value"] for r in rows if r["method"] == "average"} != {0.5}
    with pytest.raises(ValueError, match="no strategy is called luck: choose from BR alone"):
        run(only=["luck"])


@pytest.mark.skipif(not (table.OUT / "strategies.jsonl").exists(), reason="the strategies have not been compared yet")
def test_the_committed_rows_belong_to_the_committed_grids():
    rows, story = read_rows(table.OUT / "strategies.jsonl"), json.loads((table.OUT / "grids.json").read_text())
    assert {row["image"] for row in rows} == {line["image"] for line in story["test"]}
    whole = next(row for row in rows if row["method"] == strategies.GRID)
    assert whole["unet_calls"] == unet_calls(grid(), story["steps"])
