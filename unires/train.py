"""Training: first the autoencoder, then the diffusion model on its latents. Orbax checkpoints, exact resume."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float

from unires.batches import batches, stage_at
from unires.config import Config, TrainConfig, check_seed
from unires.data import Photos, pair_batch, photo_batch
from unires.degrade import SETTINGS
from unires.files import write_beside
from unires.fit import fit, optimiser, rate
from unires.latents import Feed, keep_latents
from unires.loss import ldm_loss, perceptual_distance, vae_loss, vgg16
from unires.mesh import make_mesh, to_host
from unires.models.ldm import LDM, take_apart
from unires.models.store import CheckpointError, load_model, read_object, save_checkpoint
from unires.models.text import tokenize
from unires.models.vae import VAE
from unires.record import instructions, provenance
from unires.schedule import Schedule
from unires.sources import Source
from unires.stream import stream_stages
from unires.tasks import BR, NEGATIVE, POSITIVE, TASKS

NOT_LOSSES = ("step", "seconds", "images_per_second")  # of a line of the log
# Here too, as parts of training: `fit`, `optimiser`, `rate`.
__all__ = ["begin", "fit", "optimiser", "outcome", "rate", "train", "train_ldm", "train_vae"]


def train_vae(config: Config, photos: Photos, out: Path, seed: int = 0, mesh: Mesh | None = None) -> VAE:
    """Train the autoencoder, then set its latents' shift and scale.

    Each channel is divided by the square root of its spread, so coarse channels stay the stronger ones and
    are settled first when noise is taken away; the mean variance over the channels is 1.
    Paper: our choice (the public model has one number for all channels).
    Test: test_train.py::test_latents_are_normalised
    """
    arrays, rebuild = to_host(VAE(config.vae, nnx.Rngs(seed)))
    names = [n for n in arrays if n not in ("shift", "scale")]

    def loss(trained, fixed, batch, key, part=None):
        perceptual = partial(perceptual_distance, {n: fixed[n] for n in judge})
        return vae_loss(rebuild(fixed | trained), batch, key, config.vae_loss, part, perceptual)

    def feed(start):
        return batches(photo_batch, photos, config.train_vae, seed, start, **_who())

    fixed = {n: arrays[n] for n in arrays if n not in names}
    judge = vgg16() if config.vae_loss.perceptual else {}
    ema = fit(
        loss, {n: arrays[n] for n in names}, fixed | judge, feed, config.train_vae, out / "vae", seed, "train vae", mesh
    )
    vae = rebuild(_on_device(fixed | ema))
    stage = dataclasses.replace(config.train_vae.stages[-1], batch=64)
    mean = np.asarray(vae.posterior(jnp.asarray(photo_batch(photos, stage, seed + 1, 0)["x"]))[0])
    vae.shift[...] = jnp.asarray(mean.mean((0, 1, 2)))
    spread = mean.std((0, 1, 2))
    vae.scale[...] = jnp.asarray(1 / np.sqrt(spread * spread.mean()))
    return vae


def train_ldm(
    config: Config,
    start: VAE | LDM,
    photos: Photos | Sequence[Source],
    out: Path,
    seed: int = 0,
    mesh: Mesh | None = None,
    workers: int | None = None,
) -> LDM:
    """Train UNet and text encoder on the frozen autoencoder's latents, all tasks at once.

    Of a whole model they are fine-tuned; over an autoencoder alone they are new. For a new network with `from_lq` the
    spread is measured, which takes photos, not sources.
    With `config.train.latents` the photos are encoded before training, and their latents kept in `out/latents`.
    Paper: Eq. 1; task probabilities, dropped conditions; there a public model is fine-tuned whole (section 3).
    Test: test_train.py::test_killed_run_resumes_exactly, test_fine_tuning_begins_where_the_checkpoint_ended,
          test_stream.py::test_training_is_fed_as_asked
    """
    mesh, model = make_mesh() if mesh is None else mesh, start
    if isinstance(start, VAE):
        model = LDM(config, nnx.Rngs(seed))
        model.vae = start
        if config.unet.from_lq:
            model.spread[...] = measure_spread(config, start, photos, seed)
    model.unet.remat = config.train.remat
    arrays, rebuild = to_host(model)
    trained, fixed = split(arrays)
    ids = tokenize([expert.prompt for expert in (BR, *TASKS, POSITIVE, NEGATIVE)], config.text)
    judge = vgg16() if any(stage.perceptual for stage in config.train.stages) else {}
    loss = ldm_objective(config, rebuild, ids, tuple(judge))
    settings = SETTINGS[config.degradations]

    def feed(start):
        if isinstance(photos, Photos):
            make = partial(pair_batch, settings=settings, taught=config.train.tasks)
            return batches(make, photos, config.train, seed, start, **_who(), workers=workers or 1)
        words = {"settings": settings, "taught": config.train.tasks, "workers": workers}
        return stream_stages(photos, config.train, seed, start, **_who(), **words)

    if config.train.latents:
        feed = keep_latents(feed, model.vae, config.train, mesh, out / "latents")
    del model, start  # the devices' memory is for training
    feed = with_weights(feed, config.train)
    ema = fit(loss, trained, fixed | judge, feed, config.train, out / "ldm", seed, "train ldm", mesh)
    return rebuild(_on_device(fixed | ema))


def with_weights(feed: Feed, config: TrainConfig) -> Feed:
    """The same batches; those of a stage with a perceptual weight carry it, for each row.

    Test: test_train.py::test_a_stage_with_a_perceptual_weight
    """

    def weighted(start: int) -> Iterator[dict]:
        for step, batch in enumerate(feed(start), start):
            weight = stage_at(config, step).perceptual
            own = {"perceptual": np.full(len(batch["task"]), weight, np.float32)} if weight else {}
            yield batch | own

    return weighted


def split(arrays: dict) -> tuple[dict, dict]:
    """What the diffusion model's training changes, and what it leaves: the autoencoder and the spread.

    Test: test_train.py::test_sources_train_the_diffusion_model_alone
    """
    fixed = {n: a for n, a in arrays.items() if n.startswith("vae.") or n == "spread"}
    return {n: a for n, a in arrays.items() if n not in fixed}, fixed


def ldm_objective(config: Config, rebuild: Callable, ids: Array | np.ndarray, judge: tuple[str, ...] = ()) -> Callable:
    """`ldm_loss` as a function of plain arrays, as `fit` wants it; VGG16's have the names `judge`.

    Shapes: ids as in `ldm_loss`.
    Test: test_mesh.py::test_other_meshes_give_the_curve_of_one
    """
    schedule = Schedule.make(config.schedule)

    def loss(trained, fixed, batch, key, part=None):
        perceptual = partial(perceptual_distance, {n: fixed[n] for n in judge})
        return ldm_loss(rebuild(fixed | trained), batch | {"ids": ids}, key, config, schedule, part, perceptual)

    return loss


def _who() -> dict[str, int]:
    return {"process": jax.process_index(), "processes": jax.process_count()}


def _on_device(arrays: dict) -> dict:
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def measure_spread(config: Config, vae, photos: Photos, seed: int) -> Float[Array, " c"]:
    """Root mean square of z_0 - z_LQ, channel by channel, over one batch of flawed photos of all tasks.

    Test: test_train.py::test_spread_is_measured
    """
    stage = dataclasses.replace(config.train.stages[0], batch=64)
    batch = pair_batch(photos, stage, seed + 1, 0, SETTINGS[config.degradations])
    z_0, z_lq = (vae.encode(jnp.asarray(batch[name])) for name in ("x", "y"))
    return jnp.sqrt(((z_0 - z_lq) ** 2).mean((0, 1, 2)))


def train(
    config: Config,
    given: Path | Sequence[Source],
    out: Path,
    seed: int = 0,
    data: int | None = None,
    fsdp: int = 1,
    workers: int | None = None,
) -> Path:
    """Train everything that a profile ships: photos in, `out/<profile>.safetensors` and its JSON out.

    Run it again to continue a run that was stopped. `given` is a folder of sharp photos, or sources where nothing but
    the diffusion model is to be trained. A profile that doesn't train its autoencoder fine-tunes the one that it
    starts from, as the paper does: with that one's own sizes and schedule, its autoencoder kept as it is.
    `data` and `fsdp` are the sizes of the mesh (`make_mesh`); `workers` make the batches: of photos so many helping
    processes (default: none), of sources threads (default: one a core). A run may go on with others. Several processes
    (`jax.distributed`) share each batch, and need an `out` that all of them see; the first one writes the result.
    Range: 0 <= seed < 2**32.
    Raises: PhotoError for a folder without usable photos; ValueError for a seed out of range, or if `out` holds
            another run, or the profile needs photos and sources are given, or the mesh doesn't fit; CheckpointError
            if the checkpoint can't be read, or holds prompts in place of a text tower.
    Test: test_train.py::test_killed_run_resumes_exactly, test_a_bad_seed_is_refused_before_anything_is_written,
          test_sources_train_the_diffusion_model_alone,
          test_fine_tuning_begins_where_the_checkpoint_ended, test_mesh.py::test_two_processes_train_as_one
    """
    check_seed(seed)
    mesh, photos = make_mesh(data, fsdp), given
    if isinstance(given, Path):
        largest = max(stage.crop for stage in (*config.train_vae.stages, *config.train.stages))
        photos = Photos.read(given, least=2 * largest)
    elif config.train_vae.stages:
        why = f"profile {config.name} trains its own autoencoder, which needs photos"
        raise ValueError(f"{why}: give a folder with --photos, not --sources")
    start, story = None, None
    if not config.train_vae.stages:
        start, own, story = load_model(dataclasses.replace(config, checkpoint=config.start))
        if start.text is None:
            why = "has prompts in place of its text tower, which is trained too"
            raise CheckpointError(f"checkpoint {config.start} {why}: convert it without --prompts")
        arrays, rebuild = to_host(start)
        start, config = rebuild(arrays), dataclasses.replace(own, checkpoint=config.checkpoint)
    begun = begin(config, photos, out, seed, story)
    start = start or train_vae(config, photos, out, seed, mesh)
    model = train_ldm(config, start, photos, out, seed, mesh, workers)
    path = out / f"{config.name}.safetensors"
    if jax.process_index() == 0:
        save_checkpoint(path, take_apart(model)[0], config, begun | outcome(config, out))
    return path


def begin(config: Config, photos: Photos | Sequence[Source], out: Path, seed: int, start: dict | None = None) -> dict:
    """Note what a run starts from in `out/begun.json`, or check that it is the same run that goes on.

    Of photos their hashes are noted, also in the order in which batches draw them; of sources the fields, not the
    photos that lie there; of a checkpoint that is fine-tuned (`start`, its story) its hash, and what it was made from.
    Raises: ValueError if `out` holds a run with other photos, sources, settings or seed; CheckpointError if what it
            holds is damaged.
    Test: test_train.py::test_another_run_is_not_continued, test_renamed_photos_are_another_run,
          test_sources_train_the_diffusion_model_alone
    """
    device = jax.devices()[0]
    if isinstance(photos, Photos):
        fed = {"photos": {"count": len(photos.names), "manifest": photos.manifest}}
        fed |= {"photos_order": photos.order} if photos.order else {}
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
    if start is not None:
        kept = ("sha256", "photos", "sources", "source", "files", "start")
        facts["start"] = {name: start[name] for name in kept if name in start}
    made_by = {k: v for k, v in provenance(config.name, None, seed).items() if k in ("commit", "dirty")}
    made_by |= {"device": f"{device.platform} ({device.device_kind})", "jax": jax.__version__}
    made_by |= {"instructions": instructions()}
    path = out / "begun.json"
    facts = json.loads(json.dumps(facts))  # tuples as the file has them
    if path.is_file():
        before = read_object(path, "choose another folder with --out")
        if "photos_order" not in before:  # begun before it was noted
            facts.pop("photos_order", None)
        other = [name for name in facts if before.get(name) != facts[name]]
        if other:
            raise ValueError(f"{out} holds a run with another {', '.join(other)}: choose another folder with --out")
        return {k: v for k, v in before.items() if k != "config"}
    if jax.process_index() == 0:
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
        seen = {n: [line[n] for line in last if line[n] is not None] for n in last[0] if n not in NOT_LOSSES}
        final = {n: float(np.mean(values)) for n, values in seen.items() if values}  # a short run may lack a task
        told[f"outcome_{part}"] = {
            "steps": len(lines),
            "seconds": round(sum(line["seconds"] for line in lines)),
            "final": {name: round(value, 5) for name, value in final.items()},
        }
    return told
