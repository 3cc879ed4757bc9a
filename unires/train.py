"""Training: first the autoencoder, then the diffusion model on its latents. Orbax checkpoints, exact resume."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jaxtyping import Float
from tqdm import tqdm

from unires.config import Config, TrainConfig
from unires.data import Photos, batches, pair_batch, photo_batch
from unires.degrade import SETTINGS
from unires.loss import ldm_loss, vae_loss
from unires.models.ldm import LDM, take_apart
from unires.models.store import load_model, save_checkpoint, write_beside
from unires.models.text import tokenize
from unires.models.vae import VAE
from unires.record import provenance
from unires.schedule import Schedule
from unires.sources import Source
from unires.stream import stream_stages
from unires.tasks import BR, NEGATIVE, POSITIVE, TASKS

Arrays = dict[str, jax.Array]


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """AdamW with gradient clipping, linear warm-up and (if wanted) cosine decay to a tenth.

    Paper: learning rate 8e-5; the rest is our choice.  Test: test_train.py::test_learning_rate_schedule
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip), optax.adamw(rate(config), weight_decay=config.weight_decay)
    )


def rate(config: TrainConfig) -> optax.Schedule:
    """The learning rate at each step.

    Test: test_train.py::test_learning_rate_schedule
    """
    warmup = min(config.warmup, config.steps)
    end = config.learning_rate * (0.1 if config.decay else 1.0)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, max(config.steps, warmup + 1), end)


def fit(
    loss: Callable,
    trained: Arrays,
    fixed: Arrays,
    feed: Callable[[int], Iterator[dict]],
    config: TrainConfig,
    out: Path,
    seed: int,
    desc: str,
) -> Arrays:
    """Minimise `loss(trained, fixed, batch, key)`; returns the averaged (EMA) arrays.

    A checkpoint is written every `config.save_every` steps and at the end; a killed run continues from the
    last one and gives the same losses as an unbroken one, because batch and key depend on the step alone.
    `out/loss.jsonl` holds one line a step.
    Raises: FloatingPointError if the loss stops being finite.
    Test: test_train.py::test_killed_run_resumes_exactly
    """
    from orbax.checkpoint import v1 as ocp  # extra: train

    tx = optimiser(config)

    @jax.jit
    def update(state, fixed, batch, step):
        key = jax.random.fold_in(jax.random.key(seed), step)
        (value, parts), grads = jax.value_and_grad(loss, has_aux=True)(state["trained"], fixed, batch, key)
        updates, opt = tx.update(grads, state["opt"], state["trained"])
        new = optax.apply_updates(state["trained"], updates)
        decay = jnp.minimum(config.ema, (1 + step) / (10 + step))
        ema = jax.tree.map(lambda e, n: decay * e + (1 - decay) * n, state["ema"], new)
        return {"trained": new, "ema": ema, "opt": opt}, value, parts

    state = {"trained": trained, "ema": trained, "opt": tx.init(trained)}
    out.mkdir(parents=True, exist_ok=True)
    keep = ocp.training.preservation_policies.LatestN(2)
    every = ocp.training.save_decision_policies.FixedIntervalPolicy(config.save_every)
    with ocp.training.Checkpointer(
        (out / "checkpoints").resolve(), save_decision_policy=every, preservation_policy=keep
    ) as saver:
        start = 0
        if saver.latest is not None:
            start = saver.latest.step
            state = saver.load(start, abstract_state=jax.tree.map(ocp.arrays.to_shape_dtype_struct, state))
        log = out / "loss.jsonl"
        lines = log.read_text().splitlines()[:start] if log.is_file() else []
        write_beside(log, "".join(line + "\n" for line in lines).encode())
        with log.open("a") as file:
            bar = tqdm(feed(start), desc=desc, total=config.steps, initial=start, unit="step", smoothing=0.05)
            for step, batch in enumerate(bar, start):
                began = time.perf_counter()
                state, value, parts = update(state, fixed, batch, step)
                line = {"step": step, "loss": float(value), **{k: _number(v) for k, v in parts.items()}}
                if not np.isfinite(line["loss"]):
                    raise FloatingPointError(f"{desc}: the loss is not finite at step {step}; lower the learning rate")
                line["seconds"] = round(time.perf_counter() - began, 4)
                file.write(json.dumps(line) + "\n")
                file.flush()
                bar.set_postfix(loss=f"{line['loss']:.4f}")
                saver.save(step + 1, state, force=step + 1 == config.steps)
    return state["ema"]


def _number(value) -> float | None:
    value = float(value)
    return value if np.isfinite(value) else None


def train_vae(config: Config, photos: Photos, out: Path, seed: int = 0) -> VAE:
    """Train the autoencoder, then set its latents' shift and scale.

    Each channel is divided by the square root of its spread, so coarse channels stay the stronger ones and
    are settled first when noise is taken away; the mean variance over the channels is 1.
    Paper: our choice (the public model has one number for all channels).
    Test: test_train.py::test_latents_are_normalised
    """
    arrays, rebuild = take_apart(VAE(config.vae, nnx.Rngs(seed)))
    names = [n for n in arrays if n not in ("shift", "scale")]

    def loss(trained, fixed, batch, key):
        return vae_loss(rebuild(fixed | trained), batch, key, config.vae_loss)

    def feed(start):
        return batches(photo_batch, photos, config.train_vae, seed, start)

    fixed = {n: arrays[n] for n in arrays if n not in names}
    ema = fit(loss, {n: arrays[n] for n in names}, fixed, feed, config.train_vae, out / "vae", seed, "train vae")
    vae = rebuild(fixed | ema)
    stage = dataclasses.replace(config.train_vae.stages[-1], batch=64)
    mean = np.asarray(vae.posterior(jnp.asarray(photo_batch(photos, stage, seed + 1, 0)["x"]))[0])
    vae.shift[...] = jnp.asarray(mean.mean((0, 1, 2)))
    spread = mean.std((0, 1, 2))
    vae.scale[...] = jnp.asarray(1 / np.sqrt(spread * spread.mean()))
    return vae


def train_ldm(config: Config, vae: VAE, photos: Photos | Sequence[Source], out: Path, seed: int = 0) -> LDM:
    """Train UNet and text encoder on the frozen autoencoder's latents, all tasks at once.

    Sources in place of photos are for a network without `from_lq`, whose spread is measured on photos.
    Paper: Eq. 1; task probabilities, dropped conditions.  Test: test_train.py::test_killed_run_resumes_exactly
    """
    model = LDM(config, nnx.Rngs(seed))
    model.vae = vae
    if config.unet.from_lq:
        model.spread[...] = measure_spread(config, vae, photos, seed)
    arrays, rebuild = take_apart(model)
    fixed = {n: a for n, a in arrays.items() if n.startswith("vae.") or n == "spread"}
    trained = {n: a for n, a in arrays.items() if n not in fixed}
    schedule = Schedule.make(config.schedule)
    ids = tokenize([expert.prompt for expert in (BR, *TASKS, POSITIVE, NEGATIVE)], config.text)

    def loss(trained, fixed, batch, key):
        return ldm_loss(rebuild(fixed | trained), batch | {"ids": ids}, key, config, schedule)

    settings = SETTINGS[config.degradations]

    def feed(start):
        if isinstance(photos, Photos):
            make = partial(pair_batch, settings=settings, taught=config.train.tasks)
            return batches(make, photos, config.train, seed, start)
        who = jax.process_index(), jax.process_count()
        return stream_stages(photos, config.train, seed, start, *who, settings=settings)

    return rebuild(fixed | fit(loss, trained, fixed, feed, config.train, out / "ldm", seed, "train ldm"))


def measure_spread(config: Config, vae, photos: Photos, seed: int) -> Float[Array, " c"]:
    """Root mean square of z_0 - z_LQ, channel by channel, over one batch of flawed photos of all tasks.

    Test: test_train.py::test_spread_is_measured
    """
    stage = dataclasses.replace(config.train.stages[0], batch=64)
    batch = pair_batch(photos, stage, seed + 1, 0, SETTINGS[config.degradations])
    z_0, z_lq = (vae.encode(jnp.asarray(batch[name])) for name in ("x", "y"))
    return jnp.sqrt(((z_0 - z_lq) ** 2).mean((0, 1, 2)))


def train(config: Config, given: Path | Sequence[Source], out: Path, seed: int = 0) -> Path:
    """Train everything that a profile ships: photos in, `out/<profile>.safetensors` and its JSON out.

    Run it again to continue a run that was stopped. `given` is a folder of sharp photos, or sources where nothing but
    the diffusion model is to be trained. A profile that doesn't train its autoencoder takes that of its checkpoint.
    Raises: PhotoError for a folder without usable photos; ValueError if `out` holds another run, or the profile needs
            photos and sources are given; CheckpointError if the autoencoder's checkpoint can't be read.
    Test: test_train.py::test_killed_run_resumes_exactly, test_sources_train_the_diffusion_model_alone
    """
    photos = given
    if isinstance(given, Path):
        largest = max(stage.crop for stage in (*config.train_vae.stages, *config.train.stages))
        photos = Photos.read(given, least=2 * largest)
    elif config.train_vae.stages or config.unet.from_lq:
        why = "trains its own autoencoder" if config.train_vae.stages else "measures the spread of from_lq"
        raise ValueError(f"profile {config.name} {why}, which needs photos: give a folder with --photos, not --sources")
    vae = None if config.train_vae.stages else load_model(config)[0].vae
    begun = begin(config, photos, out, seed)
    model = train_ldm(config, vae or train_vae(config, photos, out, seed), photos, out, seed)
    path = out / f"{config.name}.safetensors"
    save_checkpoint(path, take_apart(model)[0], config, begun | outcome(config, out))
    return path


def begin(config: Config, photos: Photos | Sequence[Source], out: Path, seed: int) -> dict:
    """Note what a run starts from in `out/begun.json`, or check that it is the same run that goes on.

    Of sources the fields are noted, not the photos that lie there.
    Raises: ValueError if `out` holds a run with other photos, sources, settings or seed.
    Test: test_train.py::test_another_run_is_not_continued, test_sources_train_the_diffusion_model_alone
    """
    device = jax.devices()[0]
    if isinstance(photos, Photos):
        fed = {"photos": {"count": len(photos.names), "manifest": photos.manifest}}
    else:
        fed = {"sources": [dataclasses.asdict(source) for source in photos]}
    facts = {
        "profile": config.name,
        "seed": seed,
        **fed,
        "train_vae": dataclasses.asdict(config.train_vae),
        "train_ldm": dataclasses.asdict(config.train),
        "config": dataclasses.asdict(config),
    }
    made_by = {k: v for k, v in provenance(config.name, None, seed).items() if k in ("commit", "dirty")}
    made_by |= {"device": f"{device.platform} ({device.device_kind})", "jax": jax.__version__}
    path = out / "begun.json"
    facts = json.loads(json.dumps(facts))  # tuples as the file has them
    if path.is_file():
        before = json.loads(path.read_text())
        other = [name for name in facts if before.get(name) != facts[name]]
        if other:
            raise ValueError(f"{out} holds a run with another {', '.join(other)}: choose another folder with --out")
        return {k: v for k, v in before.items() if k != "config"}
    write_beside(path, json.dumps(facts | made_by, indent=1).encode())
    return {k: v for k, v in (facts | made_by).items() if k != "config"}


def outcome(config: Config, out: Path) -> dict:
    """Steps, seconds and mean final losses of the parts that were trained, from their logs.

    Test: test_train.py::test_outcome_against_the_log
    """
    told = {}
    for part in ("vae", "ldm") if config.train_vae.stages else ("ldm",):
        lines = [json.loads(line) for line in (out / part / "loss.jsonl").read_text().splitlines()]
        last = lines[-200:]
        seen = {n: [line[n] for line in last if line[n] is not None] for n in last[0] if n not in ("step", "seconds")}
        final = {n: float(np.mean(values)) for n, values in seen.items() if values}  # a short run may lack a task
        told[f"outcome_{part}"] = {
            "steps": len(lines),
            "seconds": round(sum(line["seconds"] for line in lines)),
            "final": {name: round(value, 5) for name, value in final.items()},
        }
    return told
