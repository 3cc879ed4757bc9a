"""Latents of training pairs, encoded once and kept in files: later steps are spared the autoencoder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from safetensors.numpy import load_file
from tqdm import tqdm

from unires.batches import Batch
from unires.config import TrainConfig
from unires.fit import micro_batches
from unires.loss import encode_pair
from unires.mesh import batch_sharding, gather, place, spread_batch, to_host
from unires.models.ldm import cast
from unires.models.store import write_arrays
from unires.models.vae import VAE

Feed = Callable[[int], Iterator[Batch]]  # from a step on


def kept_step(config: TrainConfig, step: int) -> int:
    """The step whose latents this step trains on: the first `config.latents` of its stage take turns.

    Test: test_latents.py::test_the_first_batches_of_a_stage_take_turns
    """
    first = 0
    for stage in config.stages:
        if step < first + stage.steps:
            return first + (step - first) % config.latents
        first += stage.steps
    raise ValueError("step lies after the last stage")


def encoder(vae: VAE, config: TrainConfig, mesh: Mesh) -> Callable[[Batch], Batch]:
    """This process's rows of a batch to their latents, on this process's devices, micro-batch after micro-batch.

    Test: test_latents.py::test_kept_latents_train_as_photos_do
    """
    mesh = mesh.local_mesh
    arrays, rebuild = to_host(vae)
    arrays = place(arrays, mesh)

    @jax.jit
    def encode(arrays, photos):
        own = rebuild(gather(cast(arrays, config.dtype), mesh))
        pairs = jax.lax.map(lambda rows: encode_pair(own, rows), micro_batches(photos, config.accumulate))
        whole = [z.swapaxes(0, 1).reshape(-1, *z.shape[2:]) for z in pairs]  # the rows in their order again
        return jax.lax.with_sharding_constraint(dict(zip(("z_0", "z_lq"), whole, strict=True)), batch_sharding(mesh))

    def rows(batch: Batch) -> Batch:
        found = encode(arrays, spread_batch({name: batch[name] for name in ("x", "y")}, mesh))
        return {**{name: np.asarray(z) for name, z in found.items()}, "task": batch["task"]}

    return rows


def keep_latents(feed: Feed, vae: VAE, config: TrainConfig, mesh: Mesh, folder: Path) -> Feed:
    """A feed of latents in place of photos; what is not in the folder yet is encoded first.

    Each process keeps its own rows, so another number of processes encodes anew. The batches' flaws and crops repeat
    after `config.latents` steps; noise, times and dropped conditions don't.
    Test: test_latents.py::test_kept_latents_train_as_photos_do, test_what_is_kept_is_not_encoded_again
    """

    def path(step: int) -> Path:
        return folder / f"{step:06d}-{jax.process_index()}-of-{jax.process_count()}.safetensors"

    wanted = sorted({kept_step(config, step) for step in range(config.steps)})
    if missing := [step for step in wanted if not path(step).is_file()]:
        encode, given, at = encoder(vae, config, mesh), iter(()), None
        for step in tqdm(missing, desc="encode", unit="batch"):
            if step != at:
                given = feed(step)
            write_arrays(path(step), encode(next(given)))
            at = step + 1

    def kept(start: int) -> Iterator[Batch]:
        return (load_file(path(kept_step(config, step))) for step in range(start, config.steps))

    return kept
