"""Processes of test_mesh.py and test_train.py: the smallest trainings that use what the large ones use.

python tests/mesh_worker.py curves OUT MESH[/UNTIL] ...    # one after the other, in OUT/MESH
python tests/mesh_worker.py kernel OUT MESH[/UNTIL] ...    # one kernel, by Muon
python tests/mesh_worker.py resume OUT MESH                # goes on in OUT, on another mesh
python tests/mesh_worker.py numbers OUT SAVE_EVERY UNTIL   # no network at all: a checkpoint every few steps
python tests/mesh_worker.py memory ...                     # benchmarks.memory, with the profile "tiny"
python tests/mesh_worker.py train ...                      # the command line, with the profiles "tiny" and "staged"
"""

import sys
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from benchmarks import memory
from unires.__main__ import main
from unires.config import Stage, TrainConfig, UNetConfig, VAEConfig
from unires.fit import fit
from unires.mesh import make_mesh, parse_mesh, to_host
from unires.models.store import random_model
from unires.profiles import PROFILES, SMOKE
from unires.train import ldm_objective, split

TINY = replace(
    SMOKE,
    name="tiny",
    vae=VAEConfig((4,), (4,), latent_channels=4, groups=2, patch=2),
    unet=UNetConfig((16,), attention=(True,), blocks=1, head_dim=8, groups=4, from_lq=True, gate=True),
    train_vae=TrainConfig((Stage(16, 4, 3),), learning_rate=1e-3, warmup=2, save_every=2),
    train=TrainConfig((Stage(16, 8, 20),), learning_rate=1e-3, warmup=4, save_every=10),
)
STAGED = replace(  # a kill needs no attention: it would be compiled in every run
    TINY,
    name="staged",
    unet=replace(TINY.unet, attention=(False,)),
    train=replace(TINY.train, stages=(Stage(16, 8, 8), Stage(32, 2, 4)), save_every=4),
)


def batch(step: int, rows: int = 8, side: int = 16) -> dict:
    """Made-up photos, a pure function of the step."""
    rng = np.random.default_rng([5, step])
    x, y = rng.random((2, rows, side, side, 3), np.float32)
    return {"x": x, "y": y, "task": rng.integers(0, 4, rows).astype(np.int32)}


def problem(config) -> tuple:
    """(loss, trained, fixed) of seeded weights with nothing zero."""
    model = random_model(config, seed=1)
    model.unet.remat = config.train.remat
    arrays, rebuild = to_host(model)
    ids = np.arange(7 * 8, dtype=np.int32).reshape(7, 8) % 64
    return ldm_objective(config, rebuild, ids), *split(arrays)


def curve(out: Path, mesh: str, until: int = 20) -> None:
    """Train TINY on a mesh up to a step."""

    def feed(start):
        return (batch(step) for step in range(start, until))

    fit(*problem(TINY), feed, TINY.train, out, 3, "tiny", make_mesh(**parse_mesh(mesh)))


def kernel(out: Path, mesh: str, until: int = 20) -> None:
    """Fit one kernel by Muon, which needs the whole of it in every step, wherever its parts lie."""
    config = TrainConfig((Stage(1, 8, 20),), learning_rate=1.0, optimiser="muon", warmup=2, save_every=10)
    true = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)

    def loss(trained, fixed, batch, key):
        del key
        return ((batch["x"] @ (trained["w.kernel"] - fixed["true"])) ** 2).mean(), {}

    def feed(start):
        draws = (np.random.default_rng(step).normal(size=(8, 16)) for step in range(start, until))
        return ({"x": x.astype(np.float32)} for x in draws)

    began = {"w.kernel": np.zeros_like(true)}
    fit(loss, began, {"true": true}, feed, config, out, 0, "kernel", make_mesh(**parse_mesh(mesh)))


def numbers(out: Path, save_every: int, until: int) -> None:
    """Fit a table of numbers; each step has its own noise."""
    config = TrainConfig((Stage(1, 4, 10**6),), learning_rate=1e-2, save_every=save_every)

    def loss(trained, fixed, batch, key):
        del key
        return ((trained["w"] - batch["x"].mean()) ** 2).mean() + (trained["b"] ** 2).sum(), {}

    def feed(start):
        return ({"x": np.random.default_rng(step).random(4, np.float32)} for step in range(start, until))

    fit(loss, {"w": jnp.linspace(0, 1, 40_000), "b": jnp.ones(3)}, {}, feed, config, out, 0, "numbers")


if __name__ == "__main__":
    PROFILES.update({config.name: config for config in (TINY, STAGED)})
    match sys.argv[1:]:
        case ["curves" | "kernel" as what, out, *meshes]:
            for mesh, _, until in (word.partition("/") for word in meshes):
                {"curves": curve, "kernel": kernel}[what](Path(out) / mesh, mesh, int(until or 20))
        case ["memory", *words]:
            memory.main(words)
        case ["resume", out, mesh]:
            curve(Path(out), mesh)
        case ["numbers", out, save_every, until]:
            numbers(Path(out), int(save_every), int(until))
        case words:
            sys.exit(main(words))
