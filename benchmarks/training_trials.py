"""What should the small model be trained like? One change at a time, at about the same compute.

    python -m benchmarks.training_trials --photos DIR [--only NAME ...]
    python -m benchmarks.training_trials --photos DIR --sampling [demo_base]

Writes one row a trial to results/training/trials.jsonl: what was changed, steps, operations, and PSNR and LPIPS on
crops of the validation photos, which no trial and no shipped model is trained on. All trials stand on one
autoencoder, trained first. With --sampling nothing is trained: the shipped model, or what it was fine-tuned from,
restores the same crops with several numbers of sampling steps, into results/training/<profile>_sampling.jsonl; that
is where the profile's number comes from.
"""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, reduce
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from unires.config import Config, Stage
from unires.data import Photos, texture
from unires.degrade import degrade
from unires.files import write_beside
from unires.loss import vgg16
from unires.metrics import measure
from unires.models.ldm import LDM, take_apart
from unires.models.store import load_model
from unires.models.text import tokenize
from unires.models.vae import VAE
from unires.profiles import DEMO_BASE, SHORT, profile
from unires.sample import ddim
from unires.schedule import Schedule
from unires.tasks import BR, TASKS
from unires.train import ldm_objective, split, train_ldm, train_vae

OUT = Path("results/training/trials.jsonl")
SAMPLING = {name: OUT.with_name(f"{name}_sampling.jsonl") for name in ("demo_base", "demo")}
COUNTS = (1, 2, 3, 4, 6, 8)
SIZE, SEED = 128, 0
SETS = {**{task.name: task.name for task in TASKS}, "complex": "SR+MD+DN"}
STEPS, LONGER = 300, 1000  # of the base: about three minutes on two idle cores, and ten
BASE = replace(
    DEMO_BASE,
    unet=replace(DEMO_BASE.unet, channels=(32, 64, 96), gate=False),  # half as wide: more steps in the time
    train=replace(
        DEMO_BASE.train,
        stages=(Stage(64, 16, STEPS),),
        warmup=60,
        optimiser="adamw",
        learning_rate=8e-4,
        draws=2,
        sampler_steps=4,
    ),
)


def unet(steps: int = STEPS, **fields) -> Callable[[Config], Config]:
    """Another network; `steps` keep the compute about equal."""
    return lambda config: fit(Stage(64, 16, steps))(replace(config, unet=replace(config.unet, **fields)))


def fit(*stages: Stage, **fields) -> Callable[[Config], Config]:
    """Another optimisation of the same network."""
    fields |= {"stages": stages} if stages else {}
    return lambda config: replace(config, train=replace(config.train, **fields))


def bare(sampled: int | None = None, **schedule) -> Callable[[Config], Config]:
    """No start from LQ (it needs v), another forward process, and more sampling steps for the judge."""

    def change(config: Config) -> Config:
        sample = replace(config.sample, steps=sampled or config.sample.steps)
        return unet(from_lq=False)(replace(config, schedule=replace(config.schedule, **schedule), sample=sample))

    return change


def both(*changes: Callable[[Config], Config]) -> Callable[[Config], Config]:
    """One change after the other."""
    return lambda config: reduce(lambda changed, change: change(changed), changes, config)


MUON = {"optimiser": "muon", "learning_rate": 2e-3}
BEST, BEST_NAME = both(unet(gate=True), fit(Stage(64, 32, STEPS), draws=1, **MUON)), "a gate, Muon, one draw a pair"
TUNED = "fine-tuned"  # a trial whose name begins so goes on from the best one's weights, as demo_short from its base


def tune(perceptual: float) -> Callable[[Config], Config]:
    """The best trial's network, optimised further, with `demo_short`'s settings but for its stages."""
    names = ("learning_rate", "ema", "sampler_steps")
    tuned = {name: getattr(SHORT.train, name) for name in names}
    return both(BEST, fit(Stage(64, 32, STEPS, perceptual=perceptual), **tuned))


TRIALS: dict[str, Callable[[Config], Config]] = {  # name: what is changed
    "base": fit(),
    "another seed": fit(),  # what chance alone changes
    "all times uniform": fit(sampler_share=0.0),
    "the sampler's times alone": fit(sampler_share=1.0),
    "tasks of equal weight": fit(task_weights=(1.0, 1.0, 1.0, 1.0)),
    "text by attention alone": unet(text_in_time=False),
    "no start from LQ": bare(),
    "no start, some signal at T": bare(zero_terminal_snr=False),
    "no start, some signal at T, eps": bare(zero_terminal_snr=False, prediction="eps"),
    "no start, some signal at T, 20 steps": bare(20, zero_terminal_snr=False),
    "no start, some signal at T, eps, 20 steps": bare(20, zero_terminal_snr=False, prediction="eps"),
    "rate 2e-3": fit(learning_rate=2e-3),
    "twice as wide": unet(STEPS * 2 // 5, channels=(64, 128, 192)),
    "two blocks a level": unet(STEPS * 3 // 4, blocks=2),
    "crops of 128": fit(Stage(128, 4, STEPS)),
    "light flaws first": fit(*(Stage(64, 16, STEPS // 3, up_to) for up_to in (0.4, 0.7, None))),
    "one draw a pair": fit(Stage(64, 32, STEPS), draws=1),
    "a gate": unet(gate=True),
    "Muon, rate 2e-3": fit(**MUON),
    "a gate, Muon": both(unet(gate=True), fit(**MUON)),
    BEST_NAME: BEST,
    "base, longer": fit(Stage(64, 16, LONGER)),  # does what holds after few steps hold after more?
    "one draw a pair, longer": fit(Stage(64, 32, LONGER), draws=1),
    TUNED: tune(0.0),
    f"{TUNED}, decoded answers": tune(3.0),
}


@cache
def pairs(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Sharp and flawed [n h w 3]: the busiest crop of each validation photo on a grid without overlap."""
    photos = Photos.read(folder, least=SIZE, validation=True)
    xs, ys = [], []
    for i, array in enumerate(photos.arrays):
        tops, lefts = (range(0, side - SIZE + 1, SIZE) for side in array.shape[:2])
        crops = [array[t : t + SIZE, s : s + SIZE].astype(np.float32) / 255 for t in tops for s in lefts]
        for crop in sorted(crops, key=texture)[-2:]:
            rng = np.random.default_rng([SEED, list(SETS).index(name), i, len(xs)])
            xs.append(crop)
            ys.append(degrade(SETS[name], crop, rng, 0.7)[0])
    return np.stack(xs), np.stack(ys)


def judge(model, config: Config, folder: Path, steps: int | None = None) -> dict:
    """Mean PSNR and LPIPS of every text expert on every set, and of the flawed photos."""
    arrays, rebuild = take_apart(model)
    schedule, steps = Schedule.make(config.schedule), steps or config.sample.steps
    experts = (BR, *TASKS)
    ids = tokenize([expert.prompt for expert in experts], config.text)

    @jax.jit
    def restore(arrays, y, which, noise):
        model = rebuild(arrays)
        context = jnp.broadcast_to(model.text(ids)[which], (len(y), *model.text(ids).shape[1:]))
        z_lq = model.vae.encode(y)
        z_0, _ = ddim(
            lambda z, t: model.predict(z, z_lq, jnp.full(len(y), t), context),
            noise,
            schedule,
            steps,
            config.sample.spacing,
        )
        return jnp.clip(model.vae.decode(z_0), 0, 1)

    told = {}
    for name in SETS:
        x, y = pairs(folder, name)
        h = SIZE // config.vae.factor
        noise = jax.random.normal(jax.random.key(SEED), (len(x), h, h, config.vae.latent_channels))
        answers = {"LQ": y} | {e.name: np.asarray(restore(arrays, y, k, noise)) for k, e in enumerate(experts)}
        told[name] = {
            method: {
                m: round(float(np.mean([measure(m, a, b) for a, b in zip(x_hat, x, strict=True)])), 4)
                for m in ("psnr", "lpips")
            }
            for method, x_hat in answers.items()
        }
    return told


def operations(config: Config) -> float:
    """Floating-point operations of all training steps, as JAX counts them. (Seconds depend on what else goes on.)

    Test: test_training_trials.py::test_operations_grow_with_steps_and_width
    """
    arrays, rebuild = take_apart(LDM.abstract(config))
    ids = np.zeros((len(TASKS) + 3, config.text.tokens), np.int32)  # none, tasks, positive, negative
    trained, fixed = split(arrays)
    total = 0.0
    for stage in config.train.stages:
        x = jax.ShapeDtypeStruct((stage.batch, stage.crop, stage.crop, 3), jnp.float32)
        batch, judge = {"x": x, "y": x, "task": jax.ShapeDtypeStruct((stage.batch,), jnp.int32)}, {}
        if stage.perceptual:
            batch["perceptual"], judge = jax.ShapeDtypeStruct((stage.batch,), jnp.float32), vgg16()
        slopes = jax.jit(jax.grad(ldm_objective(config, rebuild, ids, tuple(judge)), has_aux=True))
        step = slopes.lower(trained, fixed | judge, batch, jax.random.key(0))
        total += stage.steps * step.cost_analysis()["flops"]
    return total


def folder_of(work: Path, name: str) -> Path:
    """Where a trial is trained."""
    return work / re.sub(r"\W+", "_", name)


def trial(name: str, photos: Photos, folder: Path, vae: VAE, work: Path) -> dict:
    """One row: train, restore the validation crops, measure."""
    config, seed = TRIALS[name](BASE), SEED + (name == "another seed")
    start = vae if not name.startswith(TUNED) else train_ldm(BEST(BASE), vae, photos, folder_of(work, BEST_NAME), SEED)
    model = train_ldm(config, start, photos, folder_of(work, name), seed)
    return {
        "trial": name,
        "unet": asdict(config.unet),
        "train": asdict(config.train),
        "schedule": asdict(config.schedule),
        "sample": asdict(config.sample),
        "parameters": sum(a.size for n, a in take_apart(model)[0].items() if not n.startswith("vae.")),
        "seed": seed,
        "operations": operations(config),
        "device": jax.devices()[0].device_kind,
        "photos": photos.manifest,
        "validation": judge(model, config, folder),
    }


def read(path: Path = OUT) -> list[dict]:
    """The committed rows, one a trial; none where they were not made yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def told(rows: list[dict]) -> list[dict]:
    """One line a trial and task: what the matching expert gains, and how much worse the worst expert is.

    Test: test_training_trials.py::test_what_a_trial_tells
    """
    lines = []
    for row, task in ((row, task.name) for row in rows for task in TASKS):
        found = row["validation"][task]
        own, lq = found[task], found["LQ"]
        worst = max(values["lpips"] for method, values in found.items() if method != "LQ")
        line = {"trial": row["trial"], "task": task, "LPIPS, own over LQ": own["lpips"] / lq["lpips"]}
        lines.append(line | {"worst over own": worst / own["lpips"], "PSNR gain (dB)": own["psnr"] - lq["psnr"]})
    return lines


def costs(rows: list[dict]) -> list[dict]:
    """Parameters, steps and 10^12 operations of each trial."""
    steps = [sum(stage["steps"] for stage in row["train"]["stages"]) for row in rows]
    return [
        {"trial": r["trial"], "parameters": r["parameters"], "steps": n, "tera-operations": r["operations"] / 1e12}
        for r, n in zip(rows, steps, strict=True)
    ]


def sampling(folder: Path, name: str) -> list[dict]:
    """One row a number of sampling steps: a profile's model on the validation crops, before AdaIN."""
    model, config, story = load_model(profile(name))
    about = {"checkpoint": story["sha256"], "seed": SEED, "device": jax.devices()[0].device_kind}
    return [
        {"steps": count, **about, "validation": judge(model, config, folder, count)}
        for count in tqdm(COUNTS, desc="sampling", unit="count")
    ]


def by_steps(rows: list[dict]) -> list[dict]:
    """One line a number of steps and task: PSNR and LPIPS of the matching expert.

    Test: test_training_trials.py::test_the_matching_expert_by_steps
    """
    return [
        {"steps": row["steps"], "task": task.name, **row["validation"][task.name][task.name]}
        for row in rows
        for task in TASKS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--work", type=Path, default=Path("results/runs/training_trials"))
    parser.add_argument("--sampling", nargs="?", const="demo", choices=list(SAMPLING), help="numbers of sampling steps")
    given = parser.parse_args()
    if given.sampling:
        lines = [json.dumps(row, sort_keys=True) + "\n" for row in sampling(given.photos, given.sampling)]
        write_beside(SAMPLING[given.sampling], "".join(lines).encode())
        return
    photos = Photos.read(given.photos, least=256)
    vae = train_vae(BASE, photos, given.work, SEED)
    rows = {row["trial"]: row for row in read(OUT)}
    for name in tqdm(given.only, desc="trials"):
        rows[name] = trial(name, photos, given.photos, vae, given.work)
        ordered = [rows[n] for n in TRIALS if n in rows]
        write_beside(OUT, "".join(json.dumps(row, sort_keys=True) + "\n" for row in ordered).encode())


if __name__ == "__main__":
    main()
