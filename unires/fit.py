"""The optimisation loop: any loss, on any mesh, with averaged parameters, checkpoints and exact resume."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from optax.contrib import MuonDimensionNumbers, muon
from tqdm import tqdm

from unires.config import TrainConfig
from unires.files import write_beside
from unires.mesh import fetch, gather, make_mesh, place, rows_each, shardings, spread_batch
from unires.models.ldm import cast


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """AdamW or Muon with gradient clipping, linear warm-up and (if wanted) cosine decay to a tenth.

    Muon's updates are scaled to the size that AdamW's have (Liu et al. 2025); what is no hidden kernel gets AdamW with
    Nesterov's momentum.
    Paper: learning rate 8e-5; the rest is our choice.
    Raises: ValueError for another optimiser.
    Test: test_fit.py::test_steps_are_those_of_a_loop_in_numpy, test_train.py::test_learning_rate_schedule,
          test_muon_turns_kernels_and_leaves_the_rest_to_adamw
    """
    decay = config.weight_decay
    if config.optimiser == "adamw":
        step = optax.adamw(rate(config), weight_decay=decay)
    elif config.optimiser == "muon":
        words = {"consistent_rms": 0.2, "weight_decay": decay, "adam_weight_decay": decay}
        step = muon(rate(config), muon_weight_dimension_numbers=hidden_kernels, **words)
    else:
        raise ValueError(f"unknown optimiser {config.optimiser!r}: choose adamw or muon")
    return optax.chain(optax.clip_by_global_norm(config.clip), step)


def hidden_kernels(trained: dict) -> dict:
    """The kernels between the first layer and the last, each as a matrix: [h w in, out] for a convolution.

    Test: test_train.py::test_muon_turns_kernels_and_leaves_the_rest_to_adamw
    """

    def matrix(name: str, array) -> MuonDimensionNumbers | None:
        if not name.endswith(".kernel") or name.endswith(("conv_in.kernel", "conv_out.kernel")):
            return None
        return MuonDimensionNumbers(tuple(range(array.ndim - 1)), array.ndim - 1)

    return {name: matrix(name, array) for name, array in trained.items()}


def rate(config: TrainConfig) -> optax.Schedule:
    """The learning rate at each step.

    Test: test_train.py::test_learning_rate_schedule
    """
    warmup = min(config.warmup, config.steps)
    end, planned = config.learning_rate * (0.1 if config.decay else 1.0), config.decay_steps or config.steps
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, max(planned, warmup + 1), end)


def micro_batches(batch: dict, count: int) -> dict:
    """[b ...] to [count b/count ...]: every `count`-th row, so that no row changes its device.

    Test: test_mesh.py::test_micro_batches_give_the_big_batch
    """
    return {n: a.reshape(-1, count, *a.shape[1:]).swapaxes(0, 1) for n, a in batch.items()}


def gradients(loss: Callable, config: TrainConfig, mesh: Mesh) -> Callable:
    """`(trained, fixed, batch, key) -> ((value, parts), gradients)`, micro-batch after micro-batch if so wanted.

    Loss and gradients of micro-batches are those of the big batch; of `parts` the mean is told, over the
    micro-batches that have the part (a task, say).
    Test: test_mesh.py::test_micro_batches_give_the_big_batch
    """

    def computed(trained, fixed, batch, key, *part):
        given = (gather(cast(arrays, config.dtype), mesh) for arrays in (trained, fixed))
        return loss(*given, batch, key, *part)

    one = jax.value_and_grad(computed, has_aux=True)
    if config.accumulate == 1:
        return one
    count = config.accumulate

    def several(trained, fixed, batch, key):
        def add(total, given):
            which, rows = given
            (value, parts), grads = one(trained, fixed, rows, key, (which, count))
            total = jax.tree.map(jnp.add, total, (value, grads))
            return (total[0], jax.lax.with_sharding_constraint(total[1], shardings(total[1], mesh))), parts

        zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, trained))
        (value, grads), parts = jax.lax.scan(add, zeros, (jnp.arange(count), micro_batches(batch, count)))
        return (value / count, jax.tree.map(jnp.nanmean, parts)), jax.tree.map(lambda g: g / count, grads)

    return several


def make_update(loss: Callable, config: TrainConfig, mesh: Mesh, seed: int) -> Callable:
    """The compiled step: `(state, fixed, batch, step) -> (state, value, parts)`; the old state's memory is reused.

    Test: test_fit.py::test_steps_are_those_of_a_loop_in_numpy
    """
    tx, slopes = optimiser(config), gradients(loss, config, mesh)

    def update(state, fixed, batch, step):
        key = jax.random.fold_in(jax.random.key(seed), step)
        (value, parts), grads = slopes(state["trained"], fixed, batch, key)
        grads = jax.lax.with_sharding_constraint(grads, shardings(grads, mesh))
        updates, opt = tx.update(grads, state["opt"], state["trained"])
        new = optax.apply_updates(state["trained"], updates)
        decay = jnp.minimum(config.ema, (1 + step) / (10 + step))
        ema = jax.tree.map(lambda e, n: decay * e + (1 - decay) * n, state["ema"], new)
        state = {"trained": new, "ema": ema, "opt": opt}
        return jax.lax.with_sharding_constraint(state, shardings(state, mesh)), *gather((value, parts), mesh)

    return jax.jit(update, donate_argnums=0)


def start_state(trained: dict, config: TrainConfig, mesh: Mesh) -> dict:
    """Parameters, their average and the optimiser's moments before the first step, on the mesh.

    Test: test_fit.py::test_steps_are_those_of_a_loop_in_numpy
    """
    on_mesh, init = place(trained, mesh), optimiser(config).init
    opt = jax.jit(init, out_shardings=shardings(jax.eval_shape(init, on_mesh), mesh))(on_mesh)
    return {"trained": on_mesh, "ema": place(trained, mesh), "opt": opt}


def fit(
    loss: Callable,
    trained: dict,
    fixed: dict,
    feed: Callable[[int], Iterator[dict]],
    config: TrainConfig,
    out: Path,
    seed: int,
    desc: str,
    mesh: Mesh | None = None,
) -> dict[str, jax.Array]:
    """Minimise `loss(trained, fixed, batch, key)`; returns the averaged (EMA) arrays.

    The average's decay grows with the steps s as (1 + s) / (10 + s), up to `config.ema`.
    A checkpoint is written every `config.save_every` steps and at the end, while training goes on; a killed run
    continues from the last whole one and gives the same losses as an unbroken one, because batch and key depend on
    the step alone. It may continue on another mesh. `feed` gives each process its rows; process 0 alone writes
    `out/loss.jsonl`, one line a step (`seconds` is of the step alone, `images_per_second` with all that lies between
    two steps, over all processes). With `config.accumulate` the loss is called with one argument more: which
    micro-batch it sees, of how many.
    Raises: FloatingPointError if the loss stops being finite; ValueError if a batch can't be split evenly.
    Test: test_fit.py::test_steps_are_those_of_a_loop_in_numpy, test_a_loss_that_is_no_number_ends_the_run,
          test_train.py::test_killed_run_resumes_exactly, test_mesh.py::test_other_meshes_give_the_curve_of_one
    """
    from orbax.checkpoint import v1 as ocp  # extra: train

    mesh = make_mesh() if mesh is None else mesh
    for stage in config.stages:
        rows_each(stage.batch, mesh, config.accumulate)
        if stage.perceptual and config.judged * stage.batch * config.draws % config.accumulate:
            judged = f"the {config.judged:g} of a batch of {stage.batch} that is judged"
            raise ValueError(f"{config.accumulate} micro-batches can't share {judged} evenly: change accumulate")
    update = make_update(loss, config, mesh, seed)
    state, fixed = start_state(trained, config, mesh), place(fixed, mesh)
    out.mkdir(parents=True, exist_ok=True)
    keep = ocp.training.preservation_policies.LatestN(2)
    every = ocp.training.save_decision_policies.FixedIntervalPolicy(config.save_every)
    with ocp.training.Checkpointer(
        (out / "checkpoints").resolve(),
        save_decision_policy=every,
        preservation_policy=keep,
        cleanup_tmp_directories=True,  # what a killed run left half-written
    ) as saver:
        start = 0
        if saver.latest is not None:
            start = saver.latest.step
            state = jax.tree.map(ocp.arrays.to_shape_dtype_struct, state)  # frees the memory that is read into
            state = saver.load(start, abstract_state=state)
        with open_log(out / "loss.jsonl", start) as file:
            bar = tqdm(
                laid_ahead(feed(start), mesh),
                desc=desc,
                total=config.steps,
                initial=start,
                unit="step",
                smoothing=0.05,
                **({} if jax.process_index() == 0 else {"disable": True}),
            )
            before = time.perf_counter()
            for step, batch in enumerate(bar, start):
                began = time.perf_counter()
                state, value, parts = update(state, fixed, batch, step)
                line = {"step": step, "loss": float(value), **{k: _number(v) for k, v in parts.items()}}
                if not np.isfinite(line["loss"]):
                    raise FloatingPointError(f"{desc}: the loss is not finite at step {step}; lower the learning rate")
                before, since = time.perf_counter(), before
                line["seconds"] = round(before - began, 4)
                line["images_per_second"] = round(len(next(iter(batch.values()))) / (before - since), 3)
                if file is not None:
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                bar.set_postfix(loss=f"{line['loss']:.4f}", images_per_second=f"{line['images_per_second']:.1f}")
                saver.save_async(step + 1, state, force=step + 1 == config.steps)
    return jax.tree.map(jnp.asarray, fetch(state["ema"], mesh))


def laid_ahead(feed: Iterator[dict], mesh: Mesh) -> Iterator[dict[str, jax.Array]]:
    """The batches on the devices, each laid there while the step before it is computed.

    Test: test_fit.py::test_the_next_batch_is_laid_while_a_step_runs
    """

    def lay() -> dict[str, jax.Array] | None:
        batch = next(feed, None)
        return None if batch is None else spread_batch(batch, mesh)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(lay)
        while (batch := coming.result()) is not None:
            coming = pool.submit(lay)
            yield batch


def open_log(path: Path, start: int):
    """The log, cut to the steps before `start`, open for more; None in all processes but the first.

    Test: test_train.py::test_killed_run_resumes_exactly
    """
    if jax.process_index() != 0:
        return nullcontext()
    lines = path.read_text().splitlines()[:start] if path.is_file() else []
    write_beside(path, "".join(line + "\n" for line in lines).encode())
    return path.open("a")


def _number(value) -> float | None:
    value = float(value)
    return value if np.isfinite(value) else None
