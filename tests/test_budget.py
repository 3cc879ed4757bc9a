"""Rows in the device's memory: asked for, estimated, and answered in parts; half precision beside it."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from public_models import SMALL

from unires.budget import FEW, SHARE, UNKNOWN, free_bytes, row_bytes, rows_that_fit
from unires.engine import ROWS, Engine
from unires.models.ldm import LDM, take_apart
from unires.models.store import random_model
from unires.profiles import DEMO, PAPER, SMOKE
from unires.restore import Restorer
from unires.sample import in_parts


def device(stats, kind="cpu", capability="8.0"):
    client = SimpleNamespace(platform_version="cuda 12" if kind == "gpu" else "")
    return SimpleNamespace(memory_stats=lambda: stats, platform=kind, client=client, compute_capability=capability)


def test_the_device_is_asked_for_its_memory():
    assert free_bytes(device({"bytes_limit": 100, "bytes_in_use": 30})) == 70
    assert free_bytes(device(None)) is None and free_bytes(device({})) is None
    one = row_bytes(PAPER, 512, 512, "bfloat16", fused=True)
    large = device({"bytes_limit": 80 * 2**30, "bytes_in_use": 2 * 2**30}, "gpu")
    assert rows_that_fit(PAPER, 512, 512, "bfloat16", large) == int(SHARE * 78 * 2**30) // one > 6
    assert rows_that_fit(PAPER, 512, 512, "bfloat16", device({"bytes_limit": 10}, "gpu")) == 1
    assert rows_that_fit(SMOKE, 64, 64, device=device(None)) == FEW
    assert rows_that_fit(DEMO, 320, 320, device=device(None)) == FEW  # the demo's search keeps its dozen
    assert rows_that_fit(PAPER, 512, 512, device=device(None)) == UNKNOWN // row_bytes(PAPER, 512, 512) < FEW


@pytest.mark.parametrize("config, side, above", [(SMALL, 256, 1.1), (DEMO, DEMO.sample.tile, 1.2)])
def test_a_row_needs_what_the_compiler_says(config, side, above):
    """The working memory of the UNet for three rows less that for one, halved. Too much is safer than too little."""
    arrays, rebuild = take_apart(LDM.abstract(config).unet)
    i, c = side // config.vae.factor, config.vae.latent_channels

    def work(rows):
        shapes = ((rows, i, i, c), (rows, i, i, c), (rows,), (rows, config.text.tokens, config.text.width))
        given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        compiled = jax.jit(lambda arrays, *given: rebuild(arrays)(*given)).lower(arrays, *given).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    ratio = row_bytes(config, side, side) / ((work(3) - work(1)) / 2)
    assert 0.9 < ratio < above, ratio


def test_parts_answer_as_the_whole():
    rows = (np.arange(7.0, dtype=np.float32)[:, None], np.arange(7, 14).astype(np.float32))
    seen = []

    def ask(a, b):
        seen.append(len(a))
        return a[:, 0] * b

    whole = ask(*map(jnp.asarray, rows))
    for most in (1, 3, 4, 6, 7, None):
        seen.clear()
        assert np.array_equal(in_parts(ask, most, *map(jnp.asarray, rows)), whole)
        assert max(seen) <= (most or 7)


def test_experts_in_parts_restore_the_same(monkeypatch):
    model, photo = random_model(SMOKE), np.random.default_rng(0).random((64, 64, 3), np.float32)
    weights = {"SR": 0.5, "MD": 0.25, "DN": 0.25}
    whole = Restorer(model, SMOKE)(photo, weights)
    monkeypatch.setattr(Restorer, "rows", lambda *given: 2)
    parts = Restorer(model, SMOKE)
    np.testing.assert_allclose(parts(photo, weights), whole, atol=1e-5)
    engine = Engine(parts)
    assert engine.rows == len(parts.experts) < ROWS
    study = engine.study(photo)
    found = next(study.latents(np.array([[0, 0.5, 0.25, 0, 0.25, 0]], np.float32)))[1]
    np.testing.assert_allclose(study.photo(found), whole, atol=1e-5)


def test_half_precision_restores_near_the_full_one():
    model, photo = random_model(SMOKE), np.random.default_rng(0).random((64, 64, 3), np.float32)
    full, half = Restorer(model, SMOKE), Restorer(model, SMOKE, dtype="bfloat16")
    assert {a.dtype.name for n, a in half.arrays.items() if n.startswith("unet.")} == {"bfloat16"}
    a, b = full(photo, {"SR": 1.0}), half(photo, {"SR": 1.0})
    assert b.dtype == np.float32 and 0 < np.abs(a - b).mean() < 0.02
