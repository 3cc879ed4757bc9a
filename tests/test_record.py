"""What a run is: rows and run.json."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from unires import record
from unires.profiles import PROFILES

ROOT = Path(record.__file__).resolve().parents[1]


def made(image: str = "coffee", value=21.5, **rest) -> record.Row:
    return record.row("SR", image, "DN=1", "psnr", value, **rest)


def test_rows_come_back_as_written(tmp_path):
    cost = {"weights": {"DN": np.float64(1)}, "unet_calls": 8}
    given = made(value=np.float32(1 / 3), variant="RGB", severity=2, **cost)
    path = record.write_rows(tmp_path, "40_one_expert", [given])
    line = json.loads(path.read_text())
    assert line == {
        "source": "40_one_expert",
        "set": "SR",
        "image": "coffee",
        "method": "DN=1",
        "metric": "psnr",
        "variant": "RGB",
        "weights": {"DN": 1.0},
        "value": 0.333333,
        "status": "ok",
        "reason": None,
        "unet_calls": 8,
        "seconds": None,
        "severity": 2,
    }
    assert record.read_rows(tmp_path) == record.read_rows(path) == [line]
    assert list(line) == sorted(line)


def test_a_number_that_could_not_be_produced_says_why(tmp_path):
    record.write_rows(tmp_path, "a", [record.not_run("GoPro", "1", "MD=1", "musiq", "weights are missing")])
    (row,) = record.read_rows(tmp_path)
    assert (row["value"], row["status"], row["reason"]) == (None, "not run", "weights are missing")


def test_writing_again_replaces_only_this_source(tmp_path):
    record.write_rows(tmp_path, "b", [made("x", 1.0), made("y", 2.0)])
    record.write_rows(tmp_path, "a", [made("x", 3.0)])
    record.write_rows(tmp_path, "b", [made("z", 4.0)])
    assert [(r["source"], r["image"], r["value"]) for r in record.read_rows(tmp_path)] == [
        ("a", "x", 3.0),
        ("b", "z", 4.0),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_equal_rows_in_another_order_are_an_equal_file(tmp_path):
    rows = [made(image, value) for image, value in (("x", 1.0), ("y", 2.0), ("z", 3.0))]
    first = record.write_rows(tmp_path / "1", "a", rows).read_bytes()
    assert record.write_rows(tmp_path / "2", "a", rows[::-1]).read_bytes() == first


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"value": float("inf")}, "finite"),
        ({"value": np.float32("nan")}, "finite"),
        ({"value": None}, "'value' must be a number"),
        ({"value": "21.5"}, "'value' must be a number"),
        ({"value": True}, "'value' must be a number"),
        ({"value": np.ones(3)}, "'value' must be a number"),
        ({"status": "failed"}, "status"),
        ({"status": "not run", "value": None}, "reason"),
        ({"status": "not run", "reason": "no weights"}, "no value"),
        ({"reason": "but it ran"}, "no reason"),
        ({"image": ""}, "'image' must be text"),
        ({"method": 3}, "'method' must be text"),
        ({"weights": {}}, "'weights'"),
        ({"weights": {"DN": None}}, "'DN' must be a number"),
        ({"unet_calls": 1.5}, "whole number"),
        ({"seconds": -1.0}, "not negative"),
    ],
)
def test_a_bad_row_is_refused_and_nothing_is_written(tmp_path, change, word):
    with pytest.raises(record.RecordError, match=word):
        record.write_rows(tmp_path, "a", [made(), {**made("other"), **change}])
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_row_needs_every_field(tmp_path):
    row = made()
    del row["unet_calls"]
    with pytest.raises(record.RecordError, match="SR / coffee .*'unet_calls' is missing"):
        record.write_rows(tmp_path, "a", [row])


def test_a_row_of_another_notebook_is_refused(tmp_path):
    with pytest.raises(record.RecordError, match="'b'.*'a'"):
        record.write_rows(tmp_path, "a", [{**made(), "source": "b"}])


def test_two_rows_of_one_name_are_refused(tmp_path):
    with pytest.raises(record.RecordError, match="a / SR / coffee / DN=1 / psnr"):
        record.write_rows(tmp_path, "a", [made(), made(value=3.0)])
    record.write_rows(tmp_path, "a", [made(), made(value=3.0, variant="Y")])
    assert len(record.read_rows(tmp_path)) == 2


def test_a_damaged_line_is_named(tmp_path):
    path = record.write_rows(tmp_path, "a", [made("x"), made("y")])
    whole = path.read_text()
    path.write_text(whole[:-20])
    with pytest.raises(record.RecordError, match=r"rows\.jsonl, line 2"):
        record.read_rows(tmp_path)
    for line in (b"[]", b"null", b'"\xff"'):
        path.write_bytes(json.dumps(json.loads(whole.splitlines()[0])).encode() + b"\n" + line + b"\n")
        with pytest.raises(record.RecordError, match=r"rows\.jsonl, line 2"):
            record.read_rows(tmp_path)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        record.read_rows(tmp_path / "elsewhere")


def test_only_a_newline_ends_a_line(tmp_path):
    names = [f"caf{sign}e" for sign in ("\u2028", "\u2029", "\x85", "\x0b", "\r", "\n")]
    record.write_rows(tmp_path, "a", [made(name) for name in names])
    assert {row["image"] for row in record.read_rows(tmp_path)} == set(names)


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    before = record.write_rows(tmp_path, "a", [made()]).read_bytes()
    with pytest.raises(UnicodeEncodeError):
        record.write_rows(tmp_path, "a", [made("\udc80")])  # as a file's name that is not UTF-8

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        record.write_rows(tmp_path, "a", [made(value=1.0)])
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("rows.jsonl", before)]


def test_facts_of_a_run_add_up(tmp_path):
    record.write_run(tmp_path, profile="demo", data={"train": "1a"}, finished=False)
    record.write_run(tmp_path, data={"eval": "2b"}, finished=True)
    expected = {"profile": "demo", "data": {"train": "1a", "eval": "2b"}, "finished": True}
    assert record.read_run(tmp_path) == expected


def test_a_run_without_its_story_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        record.read_run(tmp_path)
    for text, say in ((b"{", "is not JSON"), (b'"\xff"', "is not JSON"), (b"[]", "holds no JSON object")):
        (tmp_path / "run.json").write_bytes(text)
        with pytest.raises(record.RecordError, match=rf"run\.json {say}"):
            record.read_run(tmp_path)


def test_provenance_names_code_versions_and_device(tmp_path):
    import jax

    story = record.provenance("demo", PROFILES["demo"], 3, checkpoints={"demo": "1a"}, data={"eval": "2b"})
    assert story["versions"]["jax"] == jax.__version__
    assert story["device"]["platform"] == jax.devices()[0].platform
    assert story["config"]["unet"]["channels"] == PROFILES["demo"].unet.channels
    assert (story["seed"], story["checkpoints"], story["data"]) == (3, {"demo": "1a"}, {"eval": "2b"})
    if (ROOT / ".git").exists():
        assert len(story["commit"]) == 40 and isinstance(story["dirty"], bool)
    else:
        assert story["commit"] is story["dirty"] is None
    text = record.write_run(tmp_path, **story).read_text()
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text


@pytest.mark.parametrize(("status", "dirty"), [("", False), (" M unires/fit.py", True)])
def test_files_that_differ_from_the_commit_make_it_dirty(monkeypatch, status, dirty):
    said = {"rev-parse --show-toplevel": f"{ROOT}", "rev-parse --verify HEAD": "c" * 40, "status --porcelain": status}

    def run(words, **_):
        return SimpleNamespace(stdout=said[" ".join(words[3:])] + "\n")  # after git -C folder

    monkeypatch.setattr(record.subprocess, "run", run)
    assert record.commit() == {"commit": "c" * 40, "dirty": dirty}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no process can be tied to a core here")
def test_cores_are_those_that_may_be_used():
    """A process that is tied to one core says one: XLA takes no more, and rounds by it."""
    tied = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    told = [sys.executable, "-c", f"{tied}; from unires.record import device; print(device()['cores'])"]
    assert subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "1"


def test_instructions_are_those_that_numpy_takes():
    """A process that is told to leave the widest ones out says narrower ones."""
    widest = record.instructions()
    assert widest == record.device()["instructions"]
    if not np.show_config(mode="dicts")["SIMD Extensions"].get("found"):
        pytest.skip("NumPy has code for no wider ones here than it was built for")
    told = [sys.executable, "-c", "from unires.record import instructions as i; print(i())"]
    env = os.environ | {"NPY_DISABLE_CPU_FEATURES": widest}
    narrower = subprocess.run(told, env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert narrower not in ("None", widest)


def test_committed_results_are_valid():
    for path in sorted(p for p in (ROOT / "results").glob("**/rows.jsonl") if "runs" not in p.parts):
        rows = record.read_rows(path)
        assert rows, f"{path} holds no rows"
        assert record.read_run(path.parent)["finished"] is True
        files = [one for one in path.parent.rglob("*") if one.is_file()]
        assert sum(one.stat().st_size for one in files) <= 20_000_000, f"{path.parent} is too large"
