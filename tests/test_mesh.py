"""Training on several devices, in several processes, in other types and in parts: one curve for all of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec
from mesh_worker import TINY, batch, problem
from safetensors.numpy import load_file

from benchmarks.memory import memory_table
from unires.__main__ import main
from unires.batches import batches
from unires.config import Stage, TrainConfig
from unires.data import Photos, pair_batch
from unires.fit import gradients, micro_batches
from unires.mesh import batch_sharding, fetch, make_mesh, parse_mesh, place, rows_each, shardings, spec, spread_batch
from unires.mesh import to_host as on_host
from unires.models.ldm import cast, take_apart
from unires.models.store import random_model
from unires.photo import write_photo

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("seconds", "images_per_second")


def start(devices: int, *words) -> subprocess.Popen:
    """A worker with so many simulated devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "mesh_worker.py"), *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def work(devices: int, *words) -> None:
    assert start(devices, *words).wait(timeout=1200) == 0


def lines(path: Path) -> list[dict]:
    return [{k: v for k, v in json.loads(s).items() if k not in TIMES} for s in path.read_text().splitlines()]


def losses(path: Path) -> np.ndarray:
    return np.array([line["loss"] for line in lines(path / "loss.jsonl")])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharp")
    for i in range(3):
        write_photo(folder / f"{i}.png", np.random.default_rng(i).random((90, 100, 3), np.float32))
    return folder


def test_the_mesh_is_checked():
    assert make_mesh().shape == {"data": 1, "fsdp": 1} and make_mesh(1, 1).axis_names == ("data", "fsdp")
    assert parse_mesh("data=4,fsdp=2") == {"data": 4, "fsdp": 2} and parse_mesh("fsdp=8") == {"fsdp": 8}
    for text in ("data", "model=2", "data=0", "data=-1", "data=2,data=2", "data=1.5"):
        with pytest.raises(ValueError, match="is not AXIS=NUMBER"):
            parse_mesh(text)
    many = 1 + len(jax.devices())
    with pytest.raises(ValueError, match=f"needs {many} devices, there are {many - 1}"):
        make_mesh(many)
    assert rows_each(12, make_mesh(), 3) == 4
    with pytest.raises(ValueError, match="a batch of 10 can't be split evenly into 4 micro-batches on 1 devices"):
        rows_each(10, make_mesh(), 4)


def test_bad_words_are_one_sentence(capsys):
    words = ["train", "--profile", "smoke", "--photos", "x"]
    for more, told in (
        (["--mesh", "data:2"], "is not AXIS=NUMBER"),
        (["--process", "0"], "several processes need all of"),
    ):
        assert main([*words, *more]) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and told in error[0]
    for word in ("--accumulate", "--latents"):
        with pytest.raises(SystemExit):
            main([*words, word, "0"])
        assert f"argument {word}: invalid whole value: '0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "shape, parts, expected",
    [
        ((3, 3, 8, 320), 4, (None, None, None, "fsdp")),
        ((1280, 640), 8, ("fsdp",)),
        ((16, 16), 2, (None, "fsdp")),
        ((9, 6), 2, (None, "fsdp")),
        ((7,), 2, ()),
        ((), 8, ()),
        ((64, 64), 1, ()),
    ],
)
def test_the_largest_divisible_axis_is_split(shape, parts, expected):
    assert spec(shape, parts) == PartitionSpec(*expected)


def test_arrays_there_and_back():
    mesh = make_mesh()
    tree = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.int32(4)}
    there = place(tree, mesh)
    assert all(there[n].sharding == where for n, where in shardings(tree, mesh).items())
    tree["a"][0, 0] = 99  # a copy, not a view
    assert float(there["a"][0, 0]) == 0
    assert jax.tree.map(np.shape, fetch(there, mesh)) == {"a": (2, 3), "b": ()}
    rows = spread_batch({"x": np.ones((4, 2), np.float32)}, mesh)["x"]
    assert rows.shape == (4, 2) and rows.sharding == batch_sharding(mesh)
    model = random_model(TINY)
    (host, rebuild), (arrays, _) = on_host(model), take_apart(model)
    again = take_apart(rebuild({name: jnp.asarray(array) for name, array in host.items()}))[0]
    assert host.keys() == arrays.keys() and all(isinstance(a, np.ndarray) for a in host.values())
    assert all(np.array_equal(again[n], arrays[n]) for n in arrays)


def test_other_meshes_give_the_curve_of_one(tmp_path):
    """Ten steps on four devices by two, saved; the other ten on two that share the parameters alone."""
    work(8, "curves", tmp_path, "data=1", "data=4,fsdp=2/10")
    one, out = losses(tmp_path / "data=1"), tmp_path / "data=4,fsdp=2"
    assert len(one) == 20 and one.std() > 0.01 and len(losses(out)) == 10
    work(2, "resume", out, "data=1,fsdp=2")
    assert len(losses(out)) == 20
    np.testing.assert_allclose(losses(out), one, rtol=1e-5)


def test_muon_needs_the_whole_kernel(tmp_path):
    """The last one is stopped after ten steps and goes on."""
    work(2, "kernel", tmp_path, "data=1", "data=2", "fsdp=2/10", "fsdp=2")
    one = losses(tmp_path / "data=1")
    assert one[-1] < 0.5 * one[0]
    for mesh in ("data=2", "fsdp=2"):
        np.testing.assert_allclose(losses(tmp_path / mesh), one, rtol=1e-5)


def test_two_processes_train_as_one(folder, tmp_path):
    """By the command line, from a folder of photos to the final file."""
    words = ["train", "--profile", "tiny", "--photos", folder, "--out"]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    pair = [
        start(
            1, *words, tmp_path / "two", "--coordinator", address, "--processes", 2, "--process", i, "--mesh", "fsdp=2"
        )
        for i in range(2)
    ]
    assert [process.wait(timeout=1200) for process in pair] == [0, 0]
    work(1, *words, tmp_path / "one")
    for part in ("vae", "ldm"):
        one, two = (losses(tmp_path / name / part) for name in ("one", "two"))
        assert len(one) == len(two) > 2
        np.testing.assert_allclose(two, one, rtol=1e-5)
    one, two = (load_file(tmp_path / name / "tiny.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert max(np.abs(one[name] - two[name]).max() for name in one) < 1e-3


def test_processes_share_a_folder(folder):
    photos = Photos.read(folder, least=32)
    config = TrainConfig((Stage(16, 4, 2), Stage(32, 2, 1)), 0.0)
    whole = list(batches(pair_batch, photos, config, 7, 0))
    shares = [list(batches(pair_batch, photos, config, 7, 0, process=i, processes=2)) for i in range(2)]
    for step, rows in enumerate(whole):
        both = {name: np.concatenate([share[step][name] for share in shares]) for name in rows}
        assert all(np.array_equal(both[name], rows[name]) for name in rows)
    with pytest.raises(ValueError, match="a batch of 4 can't be split evenly"):
        list(batches(pair_batch, photos, config, 7, 0, process=0, processes=3))


@pytest.fixture(scope="module")
def plain():
    """Loss, parts and gradients of one batch, with two draws for each of its pairs."""
    return slopes(draws=2)


def slopes(**fields):
    config = replace(TINY, train=replace(TINY.train, **fields))
    loss, trained, fixed = problem(config)
    (value, parts), grads = jax.jit(gradients(loss, config.train, make_mesh()))(
        trained, fixed, batch(0), jax.random.key(2)
    )
    return float(value), parts, grads


def apart(grads: dict, others: dict) -> float:
    """Relative distance of two gradients."""
    total = optax.tree.norm(grads)
    return float(optax.tree.norm(jax.tree.map(jnp.subtract, grads, others)) / total)


def test_micro_batches_give_the_big_batch(plain):
    value, parts, grads = slopes(draws=2, accumulate=4)
    assert value == pytest.approx(plain[0], rel=1e-5)
    assert apart(plain[2], grads) < 1e-5
    assert all(np.isfinite(part) == np.isfinite(plain[1][name]) for name, part in parts.items())
    rows = micro_batches({"x": np.arange(6)}, 2)["x"]
    assert rows.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_remat_changes_no_gradient(plain):
    value, _, grads = slopes(draws=2, remat=True)
    assert value == pytest.approx(plain[0], rel=1e-6) and apart(plain[2], grads) < 1e-5
    loss, trained, fixed = problem(replace(TINY, train=replace(TINY.train, remat=True)))
    trained, fixed = ({n: jnp.asarray(a) for n, a in arrays.items()} for arrays in (trained, fixed))
    jaxpr = jax.make_jaxpr(lambda t: loss(t, fixed, batch(0), jax.random.key(0))[0])(trained)
    names = [equation.primitive.name for equation in jaxpr.eqns]
    assert names.count("remat2") == 4, set(names)  # down, middle, two on the way up


def test_bfloat16_computes_near_float32(plain):
    """Near, but not the same; parameters and gradients stay float32, and what isn't a weight keeps its digits."""
    value, _, grads = slopes(draws=2, dtype="bfloat16")
    assert value != plain[0] and value == pytest.approx(plain[0], rel=0.02)
    assert 1e-4 < apart(plain[2], grads) < 0.05
    assert {g.dtype for g in grads.values()} == {jnp.dtype("float32")}
    kept = dict.fromkeys(("vae.shift", "vae.scale", "spread"), "float32")
    given = {name: jnp.ones(2) for name in (*kept, "unet.w")}
    assert {n: a.dtype.name for n, a in cast(given, "bfloat16").items()} == kept | {"unet.w": "bfloat16"}


@pytest.mark.skipif("UNIRES_SLOW" not in os.environ, reason="takes minutes: set UNIRES_SLOW=1")
def test_killed_while_saving_never_breaks(tmp_path):
    """Ten times SIGKILL at a random moment, with a checkpoint after every step; then on to the end."""
    rng = np.random.default_rng(11)
    out, whole = tmp_path / "broken", tmp_path / "whole"
    done = caught = 0
    for _ in range(10):
        process = start(1, "numbers", out, 1, 10**6)
        deadline, wanted = time.monotonic() + 300, done + int(rng.integers(3, 7))
        while not (out / "loss.jsonl").is_file() or len(lines_written(out)) < wanted:
            assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        done = len(lines_written(out))
        caught += any((out / "checkpoints").glob("*tmp*"))
    assert caught > 0, "no run was killed while a checkpoint was half written"
    work(1, "numbers", out, 1, done + 5)
    work(1, "numbers", whole, 10**6, done + 5)
    assert lines(out / "loss.jsonl") == lines(whole / "loss.jsonl") and len(lines(out / "loss.jsonl")) == done + 5


def test_memory_is_the_compilers_own():
    """What is held follows from the shapes; rematerialisation and micro-batches need less besides."""
    rows = {}
    for name, remat, accumulate in (("plain", False, 1), ("small", True, 4)):
        config = replace(TINY, train=replace(TINY.train, stages=(Stage(64, 8, 20),), remat=remat))
        (rows[name],) = memory_table(config, {name: ({"data": 1}, accumulate)})
    trained = problem(TINY)[1]
    numbers = sum(a.size for a in trained.values())
    fixed = sum(a.size for a in problem(TINY)[2].values())
    for row in rows.values():
        assert row["trained_parameters"] == numbers
        assert row["state"] == pytest.approx(4 * 4 * numbers, abs=32)  # with average, two moments and the counts
        photos = 2 * 8 * 64 * 64 * 3 * 4
        assert row["held"] == pytest.approx(row["state"] + 4 * fixed + photos, rel=0.01)
        assert row["total"] == row["held"] + row["work"]
    assert rows["small"]["rows_on_a_device"] == 2 and rows["plain"]["rows_on_a_device"] == 8
    assert 0 < rows["small"]["work"] < 0.6 * rows["plain"]["work"]


def test_memory_is_shared_out(tmp_path):
    path = tmp_path / "memory.json"
    work(1, "memory", "--profile", "tiny", "--mesh", "data=1", "--mesh", "fsdp=2", "--out", path)
    one, two = json.loads(path.read_text())["rows"]
    assert one["trained_parameters"] == two["trained_parameters"]
    assert two["state"] == pytest.approx(one["state"] / 2, rel=0.05) and two["rows_on_a_device"] == 4


def lines_written(out: Path) -> list[str]:
    return (out / "loss.jsonl").read_text().splitlines()
