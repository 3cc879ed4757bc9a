"""Latents kept in files: the same training as on photos, without encoding twice."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from mesh_worker import TINY, batch, problem

from unires import latents
from unires.config import Stage, TrainConfig
from unires.latents import keep_latents, kept_step
from unires.mesh import make_mesh
from unires.models.store import random_model


def config(**fields):
    return replace(TINY, train=replace(TINY.train, **{"stages": (Stage(16, 8, 6),), **fields}))


def feed(start):
    return (batch(step) for step in range(start, 6))


def test_the_first_batches_of_a_stage_take_turns():
    settings = TrainConfig((Stage(8, 2, 5), Stage(8, 2, 3)), 0.0, latents=2)
    assert [kept_step(settings, step) for step in range(8)] == [0, 1, 0, 1, 0, 5, 6, 5]
    with pytest.raises(ValueError, match="after the last stage"):
        kept_step(settings, 8)


def test_kept_latents_train_as_photos_do(tmp_path):
    """All batches kept: the losses of the photos. Two kept: those two, and the noise of each step."""
    vae, mesh, (loss, trained, fixed) = random_model(TINY, seed=1).vae, make_mesh(), problem(TINY)
    jitted = jax.jit(loss)
    every = list(keep_latents(feed, vae, config(latents=6).train, mesh, tmp_path / "six")(0))
    for step, rows in enumerate(every):
        key = jax.random.key(step)
        photos, latents = (jitted(trained, fixed, given, key)[0] for given in (batch(step), rows))
        assert float(latents) == pytest.approx(float(photos), rel=1e-5)
    assert len(every) == 6 and not np.array_equal(every[0]["z_0"], every[1]["z_0"])
    two = keep_latents(feed, vae, config(latents=2).train, mesh, tmp_path / "two")
    assert len(list((tmp_path / "two").iterdir())) == 2
    rows = list(two(1))
    assert [np.array_equal(row["z_0"], rows[0]["z_0"]) for row in rows] == [True, False, True, False, True]
    assert rows[0].keys() == {"z_0", "z_lq", "task"} and rows[0]["z_0"].shape == (8, 8, 8, 4)


def test_what_is_kept_is_not_encoded_again(tmp_path, monkeypatch):
    """A killed run finds what it wrote, and begins with the first batch that it lacks."""
    settings, mesh, vae = config(latents=4).train, make_mesh(), random_model(TINY, seed=1).vae
    whole = list(keep_latents(feed, vae, settings, mesh, tmp_path)(0))
    lost = sorted(tmp_path.iterdir())[2]
    lost.unlink()
    asked = []

    def watched(start):
        asked.append(start)
        return feed(start)

    again = list(keep_latents(watched, vae, settings, mesh, tmp_path)(0))
    assert asked == [2] and all(np.array_equal(a["z_lq"], b["z_lq"]) for a, b in zip(again, whole, strict=True))
    monkeypatch.setattr(latents, "encoder", None)  # not called
    keep_latents(watched, vae, settings, mesh, tmp_path)
    assert asked == [2]
