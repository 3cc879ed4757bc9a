"""Training: the rate, the latents' scale, and a killed run that goes on as if nothing had happened."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import unires.train
from unires.__main__ import main
from unires.config import Stage, TrainConfig, UNetConfig, VAEConfig
from unires.data import Photos, pair_batch, photo_batch
from unires.degrade import SETTINGS
from unires.files import sha256_of
from unires.models.ldm import take_apart
from unires.models.store import CheckpointError, load_checkpoint, random_model, save_checkpoint
from unires.models.text import tokenize
from unires.photo import write_photo
from unires.profiles import DEMO_BASE, SMOKE
from unires.sources import Source
from unires.stream import stream_stages
from unires.tasks import BR, NEGATIVE, POSITIVE, TASKS
from unires.train import (
    begin,
    ldm_objective,
    measure_spread,
    optimiser,
    outcome,
    rate,
    split,
    train,
    train_ldm,
    train_vae,
)

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("seconds", "images_per_second")

# As the paper's size: the autoencoder is given, AdamW, the network's output is the prediction itself.
LDM_ALONE = replace(
    SMOKE,
    train_vae=TrainConfig((), 0.0),
    train=replace(SMOKE.train, stages=(Stage(32, 2, 3), Stage(32, 2, 2)), optimiser="adamw", save_every=2),
    vae=VAEConfig((4, 4), (4, 4), latent_channels=4, groups=2),
    unet=UNetConfig((8,), attention=(True,), blocks=1, head_dim=4, groups=2),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharp")
    for i in range(3):
        write_photo(folder / f"{i}.png", np.random.default_rng(i).random((140, 150, 3), np.float32))
    return folder


def lines(path):
    return [{k: v for k, v in json.loads(s).items() if k not in TIMES} for s in path.read_text().splitlines()]


def test_learning_rate_schedule():
    config = TrainConfig(stages=(Stage(8, 1, 100),), learning_rate=2.0, warmup=20)
    at = rate(config)
    assert float(at(10)) == pytest.approx(1.0) and float(at(20)) == pytest.approx(2.0)
    for step in (40, 60, 100):
        cosine = 0.5 * (1 + np.cos(np.pi * (step - 20) / 80))
        assert float(at(step)) == pytest.approx(0.2 + 1.8 * cosine, rel=1e-5)
    assert float(rate(replace(config, decay=False))(77)) == pytest.approx(2.0)
    planned = rate(replace(config, decay_steps=180))  # this run ends in the middle of its plan
    assert float(planned(100)) == pytest.approx(0.2 + 1.8 / 2, rel=1e-5) and float(planned(180)) == pytest.approx(0.2)


def test_muon_turns_kernels_and_leaves_the_rest_to_adamw():
    """The first update: of hidden kernels the polar factor of the gradient, by SVD; of all else Nesterov's Adam."""
    shapes = {"a.kernel": (12, 8), "b.conv1.kernel": (3, 3, 4, 6), "unet.conv_in.kernel": (3, 3, 4, 6)}
    shapes |= {"unet.conv_out.kernel": (1, 1, 6, 4), "a.bias": (8,), "text.tokens.embedding": (16, 8)}
    rng = np.random.default_rng(0)
    trained, slopes = ({n: jnp.asarray(rng.normal(size=s), jnp.float32) for n, s in shapes.items()} for _ in "ab")
    config = TrainConfig(stages=(Stage(8, 1, 100),), learning_rate=0.5, warmup=0, clip=1e9, weight_decay=0.0)
    tx = optimiser(replace(config, optimiser="muon"))
    state = tx.init(trained)
    moments = {n: 1 if n in ("a.kernel", "b.conv1.kernel") else 2 for n in shapes}  # Muon keeps one, AdamW two
    held = sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert abs(held - sum(count * math.prod(shapes[n]) for n, count in moments.items())) < 16  # and its coefficients
    updates, _ = tx.update(slopes, state, trained)
    for name, update in updates.items():
        flat = np.asarray(update).reshape(-1, update.shape[-1])
        if name in ("a.kernel", "b.conv1.kernel"):
            u, _, v = np.linalg.svd(np.asarray(slopes[name]).reshape(flat.shape), full_matrices=False)
            size = 0.5 * 0.2 * np.sqrt(max(flat.shape))
            values = np.linalg.svd(flat, compute_uv=False) / size
            assert values.min() > 0.6 and values.max() < 1.3  # Newton-Schulz is that exact
            polar = -u @ v
            assert (flat * polar).sum() / np.linalg.norm(flat) / np.linalg.norm(polar) > 0.97
        else:
            ahead = 1 + 0.9 * 0.1 / (1 - 0.9**2)  # momentum 0.9, looked at one step ahead
            np.testing.assert_allclose(flat, -0.5 * ahead * np.sign(slopes[name]).reshape(flat.shape), rtol=1e-3)
    decayed = optimiser(replace(config, optimiser="muon", weight_decay=0.1))
    updates, _ = decayed.update({n: 0 * a for n, a in slopes.items()}, decayed.init(trained), trained)
    for name, update in updates.items():
        np.testing.assert_allclose(update, -0.5 * 0.1 * trained[name], rtol=1e-5)
    with pytest.raises(ValueError, match="unknown optimiser 'sgd'"):
        optimiser(replace(config, optimiser="sgd"))


def test_latents_are_normalised(folder, tmp_path):
    photos = Photos.read(folder, least=64)
    config = replace(SMOKE, train_vae=replace(SMOKE.train_vae, stages=(Stage(32, 4, 2),)))
    vae = train_vae(config, photos, tmp_path)
    z = np.asarray(vae.encode(jnp.asarray(photo_batch(photos, Stage(32, 64, 1), 1, 0)["x"])))
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-4)
    assert z.var((0, 1, 2)).mean() == pytest.approx(1, rel=1e-3)
    plain = z / np.asarray(vae.scale[...])
    np.testing.assert_allclose(z.var((0, 1, 2)), plain.std((0, 1, 2)) / plain.std((0, 1, 2)).mean(), rtol=1e-3)


def test_spread_is_measured(folder):
    """Against the definition, with an autoencoder whose latent is the photo's patch sums: no network."""
    photos = Photos.read(folder, least=64)

    class Sums:
        def encode(self, x):
            return jnp.asarray(x).reshape(len(x), 8, 4, 8, 4, 3).sum((2, 4))

    batch = pair_batch(photos, Stage(32, 64, 1), 1, 0)
    difference = (batch["x"].astype(np.float64) - batch["y"]).reshape(64, 8, 4, 8, 4, 3).sum((2, 4))
    spread = measure_spread(SMOKE, Sums(), photos, seed=0)
    np.testing.assert_allclose(spread, np.sqrt((difference**2).mean((0, 1, 2))), rtol=1e-3)


def test_a_stage_with_a_perceptual_weight(folder, tmp_path, monkeypatch):
    """The first stage trains as ever; from the second on the distance is told, and moves the network.

    The judge is a quick one here, with one weight; test_loss.py knows VGG16.
    """
    monkeypatch.setattr(unires.train, "vgg16", lambda: {"judge": np.float32([3.0])})
    judge = lambda weights, a, b: weights["judge"] * ((a - b) ** 2).mean((1, 2, 3))  # noqa: E731
    monkeypatch.setattr(unires.train, "perceptual_distance", judge)
    photos, (first, second) = Photos.read(folder, least=64), LDM_ALONE.train.stages
    key, told = jax.random.key(0), {}

    def fit(loss, trained, fixed, feed, *rest):
        told["arrays"], told["loss"], told["fed"] = (trained, fixed), jax.jit(loss), list(feed(0))
        return trained

    monkeypatch.setattr(unires.train, "fit", fit)
    losses = []
    for weight in (0.0, 2.0):
        stages = first, replace(second, perceptual=weight)
        config = replace(LDM_ALONE, train=replace(LDM_ALONE.train, stages=stages))
        train_ldm(config, random_model(LDM_ALONE), photos, tmp_path)
        weights = [rows.get("perceptual", np.zeros(2)).tolist() for rows in told["fed"]]
        assert weights == [[0, 0]] * first.steps + [[weight, weight]] * second.steps
        losses.append([told["loss"](*told["arrays"], rows, key) for rows in told["fed"]])
    plain, judged = losses
    assert [value for value, _ in plain[:3]] == [value for value, _ in judged[:3]]
    assert not any("perceptual" in parts for _, parts in plain + judged[:3])
    for (value, _), (dearer, parts) in zip(plain[3:], judged[3:], strict=True):
        assert parts["perceptual"] > 0 and np.isclose(dearer, value + 2 * parts["perceptual"], rtol=1e-4)
    trained, fixed = told["arrays"]
    distance = jax.jit(jax.grad(lambda trained: told["loss"](trained, fixed, told["fed"][-1], key)[1]["perceptual"]))
    assert np.abs(distance(trained)["unet.conv_out.kernel"]).max() > 0


def test_another_run_is_not_continued(folder, tmp_path):
    photos = Photos.read(folder, least=64)
    first = begin(SMOKE, photos, tmp_path, 0)
    assert begin(SMOKE, photos, tmp_path, 0) == first
    with pytest.raises(ValueError, match="another seed"):
        begin(SMOKE, photos, tmp_path, 1)
    for other, told in (
        (replace(SMOKE, unet=replace(SMOKE.unet, blocks=2)), "config"),
        (replace(SMOKE, train_vae=replace(SMOKE.train_vae, warmup=3)), "train_vae, config"),
        (replace(SMOKE, train=replace(SMOKE.train, warmup=3)), "train_ldm, config"),
    ):
        with pytest.raises(ValueError, match=f"holds a run with another {told}: "):
            begin(other, photos, tmp_path, 0)
    path = tmp_path / "begun.json"
    noted = json.loads(path.read_text())
    path.write_text(json.dumps({name: fact for name, fact in noted.items() if name != "photos_order"}))
    assert begin(SMOKE, photos, tmp_path, 0).keys() == first.keys() - {"photos_order"}  # begun before it was noted
    for text in (b"{", b"[]", b"\xff"):
        path.write_bytes(text)
        with pytest.raises(CheckpointError, match="begun.json (is not valid JSON .*|holds no JSON object): choose"):
            begin(SMOKE, photos, tmp_path, 0)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_bad_seed_is_refused_before_anything_is_written(folder, tmp_path, seed):
    with pytest.raises(ValueError, match=f"seed {seed}: give a whole number from 0 to 4294967295"):
        train(SMOKE, folder, tmp_path / "out", seed)
    assert not (tmp_path / "out").exists()


def test_renamed_photos_are_another_run(folder, tmp_path):
    """Batches draw photos by their place in the folder."""
    (tmp_path / "photos").mkdir()
    for name in ("0.png", "1.png", "2.png"):
        (tmp_path / "photos" / name).write_bytes((folder / name).read_bytes())
    begin(SMOKE, Photos.read(tmp_path / "photos", least=64), tmp_path, 0)
    (tmp_path / "photos" / "0.png").rename(tmp_path / "photos" / "9.png")
    with pytest.raises(ValueError, match="holds a run with another photos_order: "):
        begin(SMOKE, Photos.read(tmp_path / "photos", least=64), tmp_path, 0)


def test_outcome_against_the_log(tmp_path):
    for part in ("vae", "ldm"):
        (tmp_path / part).mkdir()
        rows = [{"step": i, "loss": float(i), "SR": None if i % 2 else 4.0, "seconds": 0.5} for i in range(300)]
        (tmp_path / part / "loss.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    told = outcome(SMOKE, tmp_path)
    assert told.keys() == {"outcome_vae", "outcome_ldm"} and outcome(LDM_ALONE, tmp_path).keys() == {"outcome_ldm"}
    assert told["outcome_ldm"] == {"steps": 300, "seconds": 150, "final": {"loss": 199.5, "SR": 4.0}}  # of 100 .. 299


def test_killed_run_resumes_exactly(folder, tmp_path):
    """By the command line, with a profile that is quick to compile."""
    worker = ROOT / "tests" / "mesh_worker.py"
    words = [sys.executable, str(worker), "train", "--profile", "staged", "--photos", str(folder), "--out"]
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
    options = {"cwd": ROOT, "env": environment, "stdout": subprocess.DEVNULL}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run([*words, str(whole)], check=True, **options)
    process = subprocess.Popen([*words, str(broken)], **options)
    log, deadline = broken / "ldm" / "loss.jsonl", time.monotonic() + 900
    while not log.is_file() or len(log.read_text().splitlines()) < 6:  # past the checkpoint of step 4
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (broken / "staged.safetensors").exists()
    subprocess.run([*words, str(broken)], check=True, **options)
    for part in ("vae", "ldm"):
        assert lines(broken / part / "loss.jsonl") == lines(whole / part / "loss.jsonl")
    assert (broken / "staged.safetensors").read_bytes() == (whole / "staged.safetensors").read_bytes()


def test_sources_train_the_diffusion_model_alone(folder, tmp_path, monkeypatch):
    """What reaches `fit`, without its compiled steps: batches from any step on, the given autoencoder kept as it is."""
    pytest.importorskip("datasets")
    config = replace(LDM_ALONE, degradations="real-esrgan")
    given = [Source(task.name, str(folder)) for task in TASKS]
    fed = {}

    def fit(loss, trained, fixed, feed, settings, out, seed, desc, mesh):
        assert mesh.devices.size == 1
        assert {name.partition(".")[0] for name in fixed} == {"vae"} and settings == config.train
        fed.update({start: list(feed(start)) for start in (0, 4)})
        value, _ = jax.eval_shape(loss, trained, fixed, fed[0][0], jax.random.key(0))
        assert value.shape == ()
        out.mkdir(parents=True)
        (out / "loss.jsonl").write_text(json.dumps({"step": 0, "loss": 2.0, "DD": None, "seconds": 1.0}) + "\n")
        return trained

    monkeypatch.setattr(unires.train, "fit", fit)
    path = train(config, given, tmp_path, seed=7)
    expected = list(stream_stages(given, config.train, 7, settings=SETTINGS["real-esrgan"]))
    assert len(fed[0]) == 5 and len(fed[4]) == 1
    for one, other in zip(fed[0] + fed[4], expected + expected[4:], strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in ("x", "y", "task"))
    model, _, story = load_checkpoint(path, config)
    assert [source["task"] for source in story["sources"]] == [task.name for task in TASKS] and "photos" not in story
    assert story["outcome_ldm"]["final"] == {"loss": 2.0} and "outcome_vae" not in story
    arrays, shipped = take_apart(model)[0], take_apart(random_model(config))[0]
    assert all(np.allclose(arrays[name], shipped[name], rtol=0.01) for name in shipped)
    for other, told in (([replace(given[0], weight=2.0), *given[1:]], "sources"), (folder, "photos")):
        with pytest.raises(ValueError, match=f"holds a run with another {told}: "):
            train(config, other, tmp_path, seed=7)


def test_fine_tuning_begins_where_the_checkpoint_ended(folder, tmp_path, monkeypatch):
    """Another network than the profile's, and two of its steps: the first loss is the checkpoint's own."""
    photos = Photos.read(folder, least=128)
    own = replace(LDM_ALONE, unet=replace(LDM_ALONE.unet, channels=(12,), from_lq=True))
    path, arrays = tmp_path / "own.safetensors", dict(take_apart(random_model(own, seed=5))[0])
    arrays["spread"] = jnp.full(4, 0.3)
    save_checkpoint(path, arrays, own, {"photos": {"count": 9}}, dtype=None)
    config = replace(LDM_ALONE, start=str(path), train=replace(LDM_ALONE.train, stages=(Stage(32, 2, 2),)))
    given, train_ldm = set(), unires.train.train_ldm

    def on_the_host(config, start, *rest):
        given.update(type(leaf.get_value()) for _, leaf in nnx.to_flat_state(nnx.state(start)))
        return train_ldm(config, start, *rest)

    monkeypatch.setattr(unires.train, "train_ldm", on_the_host)
    tuned, _, story = load_checkpoint(train(config, folder, tmp_path / "out", seed=3), config)
    assert given == {np.ndarray}  # at the paper's size it would take 5 GB of a device
    assert story["start"] == {"sha256": sha256_of(path), "photos": {"count": 9}} and story["photos"]["count"] == 3

    whole, rebuild = take_apart(load_checkpoint(path, config)[0])
    ids = tokenize([e.prompt for e in (BR, *TASKS, POSITIVE, NEGATIVE)], own.text)
    loss = ldm_objective(replace(own, train=config.train), rebuild, ids)
    batch = pair_batch(photos, Stage(32, 2, 2), 3, 0, SETTINGS[config.degradations])
    first = jax.jit(loss)(*split(whole), batch, jax.random.fold_in(jax.random.key(3), 0))[0]
    assert lines(tmp_path / "out" / "ldm" / "loss.jsonl")[0]["loss"] == pytest.approx(float(first), rel=1e-4)

    after = take_apart(tuned)[0]
    for part, moved in (("vae.", False), ("spread", False), ("unet.", True), ("text.", True)):
        names = [name for name in whole if name.startswith(part)]
        same = [np.allclose(after[name], whole[name], rtol=0.01, atol=0) for name in names]
        assert names and (not all(same) if moved else all(same))

    alone = replace(config, start=str(tmp_path / "prompts.safetensors"))
    kept = {name: array for name, array in arrays.items() if not name.startswith("text.")}
    save_checkpoint(tmp_path / "prompts.safetensors", kept, own, {"without": ["text"]}, dtype=None)
    with pytest.raises(CheckpointError, match="prompts in place of its text tower.*: convert it without --prompts"):
        train(alone, folder, tmp_path / "none")
    with pytest.raises(ValueError, match="holds a run with another .*start"):
        save_checkpoint(path, whole, own, {"photos": {"count": 8}})
        train(config, folder, tmp_path / "out", seed=3)


def test_the_command_line_fine_tunes(folder, tmp_path, monkeypatch):
    asked = []

    def train(config, given, out, seed):
        asked.append((config.name, config.start, config.train_vae.stages, config.train.stages))
        return out / "demo.safetensors"

    monkeypatch.setattr("unires.train.train", train)
    words = ["train", "--profile", "demo_base", "--photos", str(folder), "--out", str(tmp_path)]
    assert main([*words, "--start", "demo_sr_only"]) == 0 and main(words) == 0
    stages = DEMO_BASE.train.stages
    told = [("demo_sr_only", (), stages), (None, DEMO_BASE.train_vae.stages, stages)]
    assert asked == [("demo_base", *one) for one in told]


def test_sources_are_refused_where_photos_are_needed(folder, tmp_path, capsys):
    given = [Source(task.name, str(folder)) for task in TASKS]
    with pytest.raises(ValueError, match="profile smoke trains its own autoencoder, which needs photos: .*--photos"):
        train(SMOKE, given, tmp_path)
    path = tmp_path / "sources.json"
    path.write_text(json.dumps([asdict(source) for source in given]))
    words = ["train", "--sources", str(path), "--out", str(tmp_path / "out"), "--profile"]
    for name, told in (("demo_base", "profile demo_base trains its own"), ("paper", "no checkpoint sd2")):
        assert main([*words, name]) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and error[0].startswith("unires: ") and told in error[0]
    for words in (["train"], ["train", "--photos", "x", "--sources", "y"]):
        with pytest.raises(SystemExit):
            main(words)
    assert not (tmp_path / "out").exists()
