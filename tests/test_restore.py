"""Restoring photos of any size: same size out, no seams, the same bytes for the same seed."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from linear import LinearRestorer

from unires.models.ldm import take_apart
from unires.models.prompts import embed, prompts_path, save_prompts
from unires.models.store import CheckpointError, random_model, save_checkpoint
from unires.profiles import DEMO, SMOKE
from unires.restore import COLOURS, Restorer, feather, load, restore, restorer_of, starts, untaught, with_factor
from unires.tasks import BR, EXPERTS, Expert, down_lq_experts


@pytest.fixture(scope="module")
def restorer():
    return Restorer(random_model(SMOKE), SMOKE)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 90, 3), (63, 65, 3), (100, 70)])
def test_any_size(restorer, shape):
    photo = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    x_hat = restorer(photo, {"SR": 1.0}, seed=1)
    assert x_hat.shape == (*shape[:2], 3) and x_hat.dtype == np.float32
    assert x_hat.min() >= 0 and x_hat.max() <= 1
    assert np.array_equal(x_hat, restorer(photo / np.float32(255), {"SR": 1.0}, seed=1))


def test_the_seed_decides(restorer):
    photo = np.random.default_rng(0).random((64, 64, 3), np.float32)
    assert not np.array_equal(restorer(photo, seed=0), restorer(photo, seed=1))


def test_the_noise_is_jaxs_own(restorer):
    f, c = SMOKE.vae.factor, SMOKE.vae.latent_channels
    expected = jax.random.normal(jax.random.key(5), (1, 48 // f, 64 // f, c))
    np.testing.assert_array_equal(restorer.noise(48, 64, 5), expected)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**20])
def test_seeds_are_32_bits(restorer, seed):
    assert not np.array_equal(restorer.noise(64, 64, 2**32 - 1), restorer.noise(64, 64, 0))
    with pytest.raises(ValueError, match=f"seed {seed}: give a whole number from 0 to 4294967295"):
        restorer(np.zeros((64, 64, 3), np.uint8), seed=seed)


def test_a_restored_photo_has_the_colours_of_the_flawed_one(restorer, monkeypatch):
    """What the sampler gave, as it is, and AdaIN by hand: mean and deviation of each channel are the flawed photo's."""
    photo = np.random.default_rng(0).uniform(0.3, 0.5, (64, 64, 3)).astype(np.float32)
    corrected = restorer(photo, seed=0)
    bare = copy.copy(restorer)
    bare.config = replace(SMOKE, sample=replace(SMOKE.sample, colour="none"))
    monkeypatch.setitem(COLOURS, "none", lambda x_hat, y: x_hat)
    raw = bare(photo, seed=0)
    expected = (raw - raw.mean((0, 1))) / raw.std((0, 1)) * photo.std((0, 1)) + photo.mean((0, 1))
    assert np.abs(raw - corrected).max() > 0.01
    np.testing.assert_allclose(corrected, expected.clip(0, 1), atol=1e-4)


@pytest.mark.parametrize("length,tile,overlap,multiple", [(64, 64, 16, 8), (200, 64, 16, 8), (2000, 320, 64, 16)])
def test_tiles_cover_everything(length, tile, overlap, multiple):
    found = starts(length, tile, overlap, multiple)
    assert found[0] == 0 and found[-1] + tile == length and all(s % multiple == 0 for s in found)
    assert all(a + tile - b >= overlap - multiple for a, b in zip(found, found[1:], strict=False))


def test_tiles_leave_no_seam(restorer, monkeypatch):
    photo = np.random.default_rng(0).random((140, 200, 3), np.float32)
    monkeypatch.setattr(restorer, "_sample_tile", lambda conditions, *_: (conditions[1], None))
    monkeypatch.setattr(restorer, "decode", lambda z: z)  # a model that changes nothing
    np.testing.assert_allclose(restorer(photo, {"BR": 1.0}), photo, atol=2e-5)
    assert feather(64, 32, 16).min() > 0 and feather(64, 64, 16)[32, 32, 0] > 0.99


def test_a_tile_fades_as_a_squared_sine():
    window = feather(64, 48, 16)[..., 0]
    edge = np.sin(np.pi / 2 * (np.arange(16) + 0.5) / 16) ** 2
    np.testing.assert_allclose(window[32, :16], edge, atol=1e-3)
    np.testing.assert_allclose(window[:16, 24], edge, atol=1e-3)
    np.testing.assert_allclose(window[16:48, 16:32], 1, atol=1e-3)
    np.testing.assert_allclose(window, window[::-1, ::-1], atol=1e-6)


def test_tiles_share_one_field_of_noise(monkeypatch):
    restorer = LinearRestorer()
    monkeypatch.setattr(restorer, "_sample_tile", lambda conditions, w, z_t, steps: (z_t, None))
    field = restorer.decode(restorer.noise(104, 136, 2))
    np.testing.assert_allclose(restorer(np.zeros((104, 136, 3), np.float32), seed=2), field, atol=1e-5)


def test_borders_are_mirrored(restorer):
    y = np.random.default_rng(0).random((60, 50, 3), np.float32)
    padded = restorer.pad(y)
    assert padded.shape == (64, 64, 3)
    np.testing.assert_array_equal(padded[:60, :50], y)
    np.testing.assert_array_equal(padded[60:, :50], y[:-5:-1])
    np.testing.assert_array_equal(padded[:60, 50:], y[:, :-15:-1])


def test_down_lq_factor_changes_only_that_expert():
    changed = with_factor(8)
    assert [e.factor for e in changed] == [1, 1, 1, 1, 1, 8]
    assert [(e.name, e.prompt) for e in changed] == [(e.name, e.prompt) for e in EXPERTS]


def saved(path, **story):
    """A small checkpoint without its text tower, the experts' prompts beside it; and its whole model's arrays."""
    arrays = {
        name: array.astype("bfloat16").astype("float32") for name, array in take_apart(random_model(SMOKE))[0].items()
    }
    kept = save_prompts(prompts_path(path), embed(arrays, SMOKE, [e.prompt for e in EXPERTS]), SMOKE)
    bare = {name: array for name, array in arrays.items() if not name.startswith("text.")}
    save_checkpoint(path, bare, SMOKE, {"prompts": kept, "without": ["text"], **story})
    return arrays


def test_a_profile_without_a_text_tower_restores(tmp_path):
    arrays = saved(tmp_path / "bare.safetensors")
    config = replace(SMOKE, checkpoint=str(tmp_path / "bare.safetensors"), sample=replace(SMOKE.sample, steps=1))
    lean, story = restorer_of(config)
    whole = Restorer(take_apart(random_model(SMOKE))[1](arrays), config)
    photo, mix = np.random.default_rng(2).random((48, 64, 3), np.float32), {"MD": 1.2, "DownLQ": -0.2}
    np.testing.assert_allclose(lean(photo, mix), whole(photo, mix), atol=1e-5)
    assert lean.config == config and story["without"] == ["text"]
    dial, _ = restorer_of(config, down_lq_experts((1, 4)))
    np.testing.assert_allclose(dial(photo, {"DownLQ1": 1.0}), whole(photo, {"SR": 1.0}), atol=1e-5)
    assert restorer_of(SMOKE)[1]["sha256"] is None  # random weights: no file, no prompts


def test_a_public_model_that_was_never_tuned_is_known(tmp_path):
    path = tmp_path / "sd2.safetensors"
    saved(path, widened=True)
    with pytest.raises(CheckpointError, match="sd2.safetensors: .*never saw a flawed photo"):
        restorer_of(replace(SMOKE, checkpoint=str(path)))
    photo = np.random.default_rng(0).random((64, 64, 3), np.float32)
    with pytest.warns(UserWarning, match="sd2.safetensors: .*never saw a flawed photo"):  # asked for by name
        assert load(path)(photo, steps=1).shape == photo.shape
    assert untaught({"widened": True, "outcome_ldm": {"steps": 3}}) is untaught({"widened": False}) is None


def test_what_a_restorer_refuses(restorer):
    model = random_model(SMOKE)
    for dtype in ("int8", "float16"):
        with pytest.raises(ValueError, match=f"dtype is float32 or bfloat16, not '{dtype}'"):
            Restorer(model, SMOKE, dtype=dtype)
    for experts in ((), (BR, Expert("BR", "Denoise"))):
        with pytest.raises(ValueError, match="experts need names of their own"):
            Restorer(model, SMOKE, experts)
    with pytest.raises(ValueError, match="steps must lie in"):
        restorer(np.zeros((64, 64, 3), np.uint8), steps=0)


def test_what_is_loaded_is_what_is_there(tmp_path, monkeypatch):
    """Loaded once; but anew after another model came to the file's place, and from another folder of the same name."""
    for folder, seed in (("one", 0), ("two", 1), ("one", 2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        arrays = take_apart(random_model(SMOKE, seed))[0]
        save_checkpoint(path := Path("small.safetensors"), arrays, SMOKE, {"profile": "smoke"})
        found = load(path)
        assert load(path) is found is load(str(path.absolute()))
        for name, array in arrays.items():
            np.testing.assert_allclose(found.arrays[name], array, atol=0.02 * np.abs(array).max())  # bfloat16
    photo, words = np.random.default_rng(0).random((64, 64, 3), np.float32), {"seed": 3, "steps": 1}
    np.testing.assert_array_equal(restore(photo, checkpoint=path, **words), found(photo, **words))


def test_what_is_asked_for_reaches_the_model(monkeypatch):
    asked, photo = [], np.zeros((64, 64, 3), np.uint8)

    def loaded(path, mtime_ns, size, experts, dtype):
        asked.append((experts, dtype))
        return LinearRestorer()

    monkeypatch.setattr(sys.modules["unires.restore"], "_load", loaded)
    load("demo")
    restore(photo)
    restore(photo, down_lq=8, dtype="bfloat16")
    assert asked == [(EXPERTS, "float32"), (EXPERTS, "float32"), (with_factor(8), "bfloat16")]


def test_any_list_of_experts_loads(tmp_path):
    """And a story whose profile is no name at all is read as the demo's, as one without a profile."""
    saved(tmp_path / "a.safetensors", profile=["smoke"])
    dial = load(tmp_path / "a.safetensors", experts=list(down_lq_experts((1, 8))))
    assert dial.experts == down_lq_experts((1, 8)) and dial.config.sample == DEMO.sample


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint .*a.safetensors"):
        load(tmp_path / "a.safetensors")
