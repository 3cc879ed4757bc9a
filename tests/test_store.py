"""Checkpoints: what goes in comes out, and whatever is wrong is named."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.ship import ship
from unires.models.ldm import take_apart
from unires.models.store import (
    WEIGHTS,
    CheckpointError,
    load_checkpoint,
    random_model,
    save_checkpoint,
    write_beside,
)
from unires.profiles import SMOKE, profile

MEASURED = ("vae.shift", "vae.scale", "spread")


@pytest.fixture(scope="module")
def arrays():
    drawn = take_apart(random_model(SMOKE, seed=3))[0]
    return drawn | {name: jnp.float32([0.1, 0.3, -0.7, 1.1]) for name in MEASURED}  # bfloat16 would round them


@pytest.fixture
def saved(arrays, tmp_path):
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, arrays, SMOKE, {"profile": "smoke"})
    return path


def test_round_trip(arrays, saved):
    model, config, story = load_checkpoint(saved, SMOKE)
    assert config == SMOKE and story["profile"] == "smoke"
    for name, array in take_apart(model)[0].items():
        kind = jnp.float32 if name in MEASURED else jnp.bfloat16
        np.testing.assert_array_equal(array, arrays[name].astype(kind).astype(jnp.float32))


def test_others_may_read_what_is_written(saved):
    """As any new file; the library that writes the arrays would shut others out."""
    plain = saved.with_name("plain")
    plain.touch()
    assert saved.stat().st_mode == plain.stat().st_mode == saved.with_suffix(".json").stat().st_mode


def test_missing_checkpoint_is_named(saved, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint nowhere: shipped are demo"):
        load_checkpoint("nowhere", SMOKE)
    with pytest.raises(CheckpointError, match="pickle"):
        load_checkpoint(tmp_path / "model.ckpt", SMOKE)
    saved.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="small.json is missing"):
        load_checkpoint(saved, SMOKE)


@pytest.mark.parametrize("text", [b"{", b"", b"null", b"[]", b"{}\xff"])
def test_a_damaged_story_is_named(saved, text):
    saved.with_suffix(".json").write_bytes(text)
    with pytest.raises(CheckpointError, match="small.json (is not valid JSON .*|holds no JSON object): fetch"):
        load_checkpoint(saved, SMOKE)


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("unet", None),
        ("unet", []),
        ("unet", {"depth": 3}),
        ("unet", {"channels": []}),
        ("unet", {"channels": 16}),
        ("unet", {"groups": 0}),
        ("vae", {"latent_channels": "4"}),
        ("vae", {"encoder_channels": []}),
        ("schedule", 3),
    ],
)
def test_a_damaged_config_is_named(saved, part, fields):
    story = json.loads(saved.with_suffix(".json").read_text())
    story["config"][part] = story["config"][part] | fields if isinstance(fields, dict) else fields
    saved.with_suffix(".json").write_text(json.dumps(story))
    with pytest.raises(CheckpointError, match="(?s)small.json does not hold a model's config .*: fetch it again"):
        load_checkpoint(saved, SMOKE)


def test_a_damaged_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(saved, SMOKE)


@pytest.mark.parametrize("change", ["missing", "unexpected", "of another shape"])
def test_weights_of_another_model_are_refused(arrays, tmp_path, change):
    name = "unet.conv_in.kernel"
    other = dict(arrays)
    if change == "missing":
        del other[name]
    elif change == "unexpected":
        other["extra"] = jnp.zeros(2)
    else:
        other[name] = other[name][..., :-1]
    save_checkpoint(tmp_path / "other.safetensors", other, SMOKE, {})
    with pytest.raises(CheckpointError, match=rf"other.safetensors does not fit.*{change} \['(extra|{name})'\]"):
        load_checkpoint(tmp_path / "other.safetensors", SMOKE)


def test_a_diverged_model_is_not_saved(arrays, tmp_path):
    with pytest.raises(CheckpointError, match="not finite"):
        save_checkpoint(tmp_path / "bad.safetensors", arrays | {"vae.shift": jnp.full(4, jnp.nan)}, SMOKE, {})
    assert not list(tmp_path.iterdir())


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_beside(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_beside(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_shipping_checks_the_checkpoint(saved, tmp_path):
    run, weights, curves = saved.parent, tmp_path / "weights", tmp_path / "curves"
    for part in ("vae", "ldm"):
        (run / part).mkdir()
        (run / part / "loss.jsonl").write_text(json.dumps({"step": 0, "loss": 1.0}) + "\n")
    ship(run, weights, curves)
    assert (weights / "small.safetensors").read_bytes() == saved.read_bytes()
    assert (curves / "small_ldm_loss.jsonl").is_file()
    ship(run, None, tmp_path / "story")
    assert {file.name for file in (tmp_path / "story").iterdir()} == {
        "small.json",
        "small_vae_loss.jsonl",
        "small_ldm_loss.jsonl",
    }
    saved.write_bytes(b"damaged")
    with pytest.raises(CheckpointError):
        ship(run, tmp_path / "again", curves)
    assert not (tmp_path / "again").exists()


def test_what_ships_is_small_and_tells_what_it_saw():
    """Every shipped checkpoint loads, was trained from clean code, and saw the same photos as the others."""
    shipped = sorted(WEIGHTS.glob("*.safetensors"))
    assert "demo" in [path.stem for path in shipped] and sum(path.stat().st_size for path in shipped) <= 60e6
    stories = []
    for path in shipped:
        _, config, story = load_checkpoint(path, profile(path.stem))
        assert story["profile"] == path.stem and story["dirty"] is False
        assert story["train_ldm"]["tasks"] == list(config.train.tasks)
        stories.append(story)
    assert len({story["photos"]["manifest"] for story in stories}) == 1
