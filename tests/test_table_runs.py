"""Rows behind the tables: what is taken over, what is looked up, and what says why it is missing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks import grids, strategies, table_runs, tables
from benchmarks.sets import SetError
from benchmarks.table_sets import Case, paper_set
from unires.config import SearchConfig
from unires.engine import unet_calls
from unires.metrics import METRICS, measure
from unires.record import read_rows, row, write_rows
from unires.search import grid
from unires.tasks import NAMES

LIST = SearchConfig()


def real60(root, count=3):
    (root / "RealPhoto60" / "LQ").mkdir(parents=True)
    photos = np.random.default_rng(0).integers(0, 256, (count, 40, 40, 3), np.uint8)
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(root / "RealPhoto60" / "LQ" / f"{i}.png")
    return photos


def test_a_set_of_the_paper_is_read(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    photos = real60(tmp_path)
    title, cases = paper_set("Real60", 2, tmp_path)
    cases = list(cases)
    assert title == "Real60[:2]" and [case.image for case in cases] == ["0", "1"]
    assert all(case.x is None for case in cases)
    assert np.array_equal(np.round(cases[1].y * 255), photos[1])
    monkeypatch.setenv("UNIRES_SETS", str(tmp_path))
    assert paper_set("Real60", 9)[0] == "Real60[:3]"  # all of three, but the set has sixty
    title, cases = paper_set("Real60", None)
    assert title == "Real60[:3]" and len(list(cases)) == 3
    place = tmp_path / "StableSR_testsets" / "RealSRVal_crop128"
    small = Image.fromarray(np.random.default_rng(1).integers(60, 200, (12, 12, 3), np.uint8))
    for side, name, photo in (("test_LR", "a_LR4", small), ("test_HR", "a_HR", Image.new("RGB", (48, 48), (9, 8, 7)))):
        (place / side).mkdir(parents=True)
        photo.save(place / side / f"{name}.png")
    (case,) = paper_set("RealSR-x4", 5)[1]
    large = [band.convert("F").resize((48, 48), Image.Resampling.BICUBIC) for band in small.split()]
    np.testing.assert_allclose(255 * case.y, np.stack(list(map(np.asarray, large)), -1).clip(0, 255), atol=1e-2)
    assert case.x.shape == (48, 48, 3) and np.array_equal(np.round(255 * case.x[0, 0]), [9, 8, 7])
    for name in ("SIDD-1280", "DiversePhotos-x1"):
        with pytest.raises(SetError, match="UNIRES_SETS"):
            paper_set(name, 2)


def test_a_whole_set_has_its_plain_name(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    real60(tmp_path, 60)
    assert [paper_set("Real60", most, tmp_path)[0] for most in (None, 60, 59)] == ["Real60", "Real60", "Real60[:59]"]


def test_diversephotos_comes_from_its_builder(tmp_path):
    datasets = pytest.importorskip("datasets")
    columns = {"image": [Image.new("RGB", (16, 16), (9, 8, 7))], "image_id": ["00019"]}
    datasets.Dataset.from_dict(columns, features=datasets.Features(
        {"image": datasets.Image(), "image_id": datasets.Value("string")}
    )).save_to_disk(str(tmp_path / "DiversePhotos-x4"))  # fmt: skip
    title, cases = paper_set("DiversePhotos-x4", 160, tmp_path)
    (case,) = cases
    assert title == "DiversePhotos-x4[:1]" and case.image == "00019" and case.y.shape == (64, 64, 3)
    assert np.array_equal(np.round(255 * case.y[0, 0]), [9, 8, 7])


def test_a_missing_set_says_why(evaluation):
    lines = [
        line for line in tables.lines(2, LIST) if line.printed in ("UniRes", "StableSR") and line.photos == "Real60"
    ]
    rows = table_runs.table_rows(evaluation, "t", lines, ("lpips", "musiq"))
    assert {(r["set"], r["method"]) for r in rows} == {("Real60", tables.SEARCH)}  # StableSR isn't ours to run
    why = {r["metric"]: r["reason"] for r in rows}
    assert why["lpips"] == "nobody has the sharp photos" and "no RealPhoto60" in why["musiq"]


def test_photos_of_the_paper_are_measured(evaluation, tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    photos = real60(tmp_path)
    monkeypatch.setenv("UNIRES_SETS", str(tmp_path))
    monkeypatch.setitem(tables.EVERY, "musiq", replace(METRICS["psnr"], name="musiq", reference=False,
                                                       function=lambda photo: 100 * photo.mean()))  # fmt: skip
    lines = [line for line in tables.lines(2, LIST) if line.photos == "Real60" and line.method == "LQ"]
    rows = table_runs.table_rows(evaluation, "t", lines, ("musiq",))
    assert [r["set"] for r in rows] == ["Real60[:2]"] * 2
    assert [r["value"] for r in rows] == pytest.approx([100 * p.mean() / 255 for p in photos[:2]], rel=1e-5)
    table = tables.beside(tables.ours(rows), tables.paper_table(2), lines, ("musiq",))
    assert table.loc["LQ", "our photos"] == "Real60[:2]" and table.loc["LQ", "n"] == 2


def test_rows_of_other_notebooks_are_used(evaluation):
    item = evaluation.sets["complex"][0]
    given = row("complex", item.image, "BR=1", "psnr", 12.5, variant=METRICS["psnr"].variant, weights={"BR": 1.0})
    write_rows(evaluation.run_dir, "40_one_expert", [given])
    rows = table_runs.measured(evaluation, "t", "complex", [item], ["BR=1", "LQ"], ("psnr",))
    assert [r["value"] for r in rows] == [12.5, pytest.approx(measure("psnr", item.y, item.x))]
    write_rows(evaluation.run_dir, "t", [r for r in rows if r["method"] == "LQ"])  # what it wrote itself is made anew
    again = table_runs.measured(evaluation, "t", "complex", [replace(item, y=item.x)], ["LQ"], ("psnr",))
    assert again[0]["value"] == 100


def folder_mean(folder, reference):
    """A stub of FID: how far apart the mean levels of two folders are, and how many photos they hold."""
    a, b = ([np.asarray(Image.open(path), float) for path in sorted(place.iterdir())] for place in (folder, reference))
    return abs(np.mean(a) - np.mean(b)) + 1000 * len(a)


def test_folders_of_a_whole_set_are_compared(evaluation, monkeypatch):
    stub = replace(tables.EVERY["fid"], function=folder_mean, needs=(), library="numpy")
    monkeypatch.setitem(tables.EVERY, "fid", stub)
    rng = np.random.default_rng(4)
    cases = [Case("GoPro-1111", f"{i}", *rng.random((2, 40, 40, 3)).astype(np.float32)) for i in range(3)]
    given = (evaluation, "t", "GoPro-1111", cases, ["LQ", "BR=1"], ("psnr", "fid"))
    rows = table_runs.measured(*given)
    assert [(r["method"], r["image"]) for r in rows if r["metric"] == "fid"] == [
        ("LQ", table_runs.ALL), ("BR=1", table_runs.ALL)]  # fmt: skip
    made = {"LQ": [c.y for c in cases], "BR=1": [evaluation.restore(c, {"BR": 1.0}).photo for c in cases]}
    for r in rows:
        if r["metric"] == "fid":
            apart = abs(np.mean(np.rint(255 * np.stack(made[r["method"]]))) -
                        np.mean(np.rint(255 * np.stack([c.x for c in cases]))))  # fmt: skip
            assert r["value"] == pytest.approx(3000 + apart, rel=1e-6)
    assert sum(r["metric"] == "psnr" for r in rows) == 6
    table_runs.measured(*given[:3], cases[:2], *given[4:])  # nothing of an earlier run stays
    assert len(list((evaluation.run_dir / "folders" / "GoPro-1111" / "sharp").iterdir())) == 2
    (few,) = table_runs.measured(*given[:2], "GoPro-1111[:3]", cases, ["LQ"], ("fid",))
    assert few["status"] == "not run" and "so few say nothing" in few["reason"]
    write_rows(evaluation.run_dir, "t", [*rows, few])


def test_a_photo_that_cannot_be_judged_says_why(evaluation):
    flat = Case("complex", "flat", np.full((120, 120, 3), 0.5, np.float32), np.zeros((100, 120, 3), np.float32))
    (lost, apart) = table_runs.measured(evaluation, "t", "complex", [flat], ["LQ"], ("niqe", "psnr"))
    assert lost["status"] == apart["status"] == "not run" and lost["reason"] and "differ in size" in apart["reason"]
    write_rows(evaluation.run_dir, "t", [lost, apart])


def test_a_row_is_written_once(evaluation):
    written = []
    for number in (2, 3, 4, 5, 6):
        methods = {(line.ours, line.method) for line in tables.lines(number, LIST)}
        rows = [row(photos, "a", method, metric, 1.0) for photos, method in methods for metric in ("psnr", "musiq")]
        written += [(r["set"], r["method"], r["metric"]) for r in table_runs.written_by(number, rows, LIST)]
    assert len(written) == len(set(written))
    assert ("complex", "BR=1", "psnr") not in written and ("complex", "BR=1", "musiq") in written
    assert ("complex", "unsharp mask", "psnr") in written and ("complex", "DownLQ2=1", "psnr") in written


@pytest.fixture
def searched(tmp_path):
    """Two photos whose NIQE over the grid is drawn; rows of one strategy."""
    omega, rng = grid(), np.random.default_rng(3)
    test = rng.random((2, len(omega), 2)).astype(np.float32)
    stories = [{"image": name, "seconds": seconds} for name, seconds in (("a", 10.0), ("b", 20.0))]
    found = {"tables": {"test": list(test), "learn": list(test)}, "stories": {"test": stories, "learn": stories}}
    names, held = ("niqe", "lpips"), dict(grids.MEASURED)
    grids.MEASURED.update({"test": names, "learn": names})
    grids.write(tmp_path, found, {"test": omega, "learn": omega}, np.ones((2, 4)), {"steps": 3})
    grids.MEASURED.update(held)
    told = [row("grids", name, strategies.GRID, "niqe", 1.0, variant=METRICS["niqe"].variant, how="replayed",
                unet_calls=5) for name in "ab"]  # fmt: skip
    (tmp_path / "strategies.jsonl").write_bytes(write_rows(tmp_path / "run", "strategies", told).read_bytes())
    return tmp_path, omega, test


def test_strike_outs_are_looked_up(searched, evaluation, tmp_path):
    out, omega, test = searched
    rows = table_runs.grid_rows(evaluation, tables.lines(4, LIST), ("niqe", "lpips", "musiq"), out)
    whole = {r["image"]: r["seconds"] for r in rows if r["method"] == strategies.GRID and r["status"] == "ok"}
    assert whole == {"a": 10.0, "b": 20.0}  # of the grid that was really run
    left = [k for k, w in enumerate(omega) if w[NAMES.index("BR")] == w[NAMES.index("DownLQ")] == 0]
    for image, at in (("a", 0), ("b", 1)):
        best = min(left, key=lambda k: test[at, k, 0])
        (niqe,) = (r for r in rows if (r["image"], r["method"], r["metric"]) == (image, "without BR, DownLQ", "niqe"))
        assert niqe["value"] == pytest.approx(test[at, best, 0]) and niqe["unet_calls"] == unet_calls(omega[left], 3)
        assert niqe["weights"].keys() == {n for n, w in zip(NAMES, omega[best], strict=True) if w != 0}
    assert {r["method"] for r in table_runs.looked_up(rows) if r["status"] == "ok"} == {
        tables.without(names) for names in tables.STRUCK
    }
    assert {r["reason"] for r in rows if r["metric"] == "musiq"} == {table_runs.NOT_KEPT}
    nothing = table_runs.grid_rows(evaluation, tables.lines(4, LIST), ("niqe",), tmp_path / "elsewhere")
    assert {r["reason"] for r in nothing} == {table_runs.no_grids("smoke")} and len(nothing) == 12


def test_the_grid_of_another_profile_is_not_shown(searched, evaluation, monkeypatch):
    out, *_ = searched
    lines = tables.lines(4, LIST)
    monkeypatch.setattr(evaluation, "config", replace(evaluation.config, name="paper", checkpoint="paper"))
    monkeypatch.setitem(evaluation.__dict__, "checkpoint", "1" * 64)
    story = json.loads((out / "grids.json").read_text())
    for held, status in (({"demo": "0" * 64}, "not run"), ({"paper": "1" * 64}, "ok")):
        (out / "grids.json").write_text(json.dumps(story | {"checkpoints": held}))
        rows = table_runs.grid_rows(evaluation, lines, ("niqe",), out)
        assert {r["status"] for r in rows} == {status}
    (why,) = {r["reason"] for r in table_runs.grid_rows(evaluation, lines, ("niqe",))}  # its own folder, not demo's
    assert "results/search-paper: python -m benchmarks.grids --profile paper --photos DIR" in why
    assert why.endswith("benchmarks.strategies --out results/search-paper")


def test_the_committed_smoke_rows_hold_no_row_twice():
    rows = read_rows(table_runs.grids.ROOT / "benchmarks" / "smoke")
    seen = {}
    for r in rows:
        seen.setdefault(json.dumps([r[name] for name in ("set", "image", "method", "metric", "variant")]), []).append(r)
    twice = [held for held in seen.values() if len(held) > 1 and any("_table" in r["source"] for r in held)]
    assert twice == []
