"""The comparison at the paper's size, tried at a small width on the CPU, in float32."""

import json

import numpy as np
import pytest
from public_models import SMALL

from benchmarks.speed import paper_size


def test_both_sides_restore_the_same():
    """Padding, noise, plan and colour of the PyTorch loop are those of the restorer: float32 agrees."""
    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("diffusers")
    photo = np.random.default_rng(0).random((64, 64, 3), np.float32)
    compilers = {"PyTorch, compiled": lambda module: module}
    rows = paper_size.compare(SMALL, 64, [2], 1, "cpu", "float32", photo, compilers)
    sides = ["ours", "PyTorch, eager", "PyTorch, compiled"]
    assert [row["who"] for row in rows] == 2 * sides
    assert [row["what"] for row in rows] == 3 * ["UNet, six rows"] + 3 * ["restoration, 2 steps"]
    for row in rows:
        assert row["relative_error"] <= 1e-3 and row["images_per_second"] > 0
        assert row["who"] == "ours" or row["peak_memory_bytes"] is None
    assert rows[0]["times ours"] == 1 and rows[0]["relative_error"] > 0


def test_without_an_accelerator_nothing_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(paper_size.jax, "default_backend", lambda: "cpu")
    out = tmp_path / "speed.json"
    assert paper_size.main(["--out", str(out)]) == 0
    told = json.loads(out.read_text())
    assert told["status"] == "not run" and told["reason"] == "no accelerator" and told["rows"] == []
    assert told["jax_device"] and told["side"] == 512
