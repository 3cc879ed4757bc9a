"""Fit the judge that sees no reference to photos whose sharp version is known.

    python -m benchmarks.fit_judge --photos DIR [--crops 1400]

Crops of the training photos get two to four flaws each, as all crops of `benchmarks.cases` do, and the six experts of
the profile's checkpoint restore each crop. The small networks of `unires.judge` learn to foretell by how much the six
differ in LPIPS. Held out are crops of DIR's validation photos. Writes unires/weights/judge.npz and, beside it,
judge.json: which photos, which experts, and what the judge finds on the crops that it never saw. What is measured of a
crop stays in results/runs/judge, so a killed run goes on where it was.
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from benchmarks.cases import Case, folder_cases
from unires import judge
from unires.engine import Engine
from unires.files import sha256_of, write_beside
from unires.judge import INPUTS, KNOWN, LAYERS, SHIPS, Coefficients, coefficients, distances, features, gram, inputs
from unires.profiles import profile
from unires.restore import restorer_of

MEASURED = Path(__file__).resolve().parents[1] / "results" / "runs" / "judge"
CROPS, HELD_OUT, SIDE = 1400, 24, 192
MEMBERS, WIDTH, KEPT = 8, 64, 0.6
STEPS, BATCH, RATE, DECAY = 2000, 64, 3e-3, 0.3
FLOOR = 0.05  # of LPIPS: on photos that are nearly restored, errors of this size count no more than elsewhere
SHARP = KNOWN  # where the sharp photo stands, after the seven

Grams = Float[np.ndarray, "crops layers n n"]


def measure(engine: Engine, case: Case) -> Float[np.ndarray, "layers n n"]:
    """Inner products of eight photos' features: y, the six experts' own restorations, and the sharp x.

    Test: test_judge.py::test_fitting_writes_a_judge_and_its_story
    """
    study = engine.study(case.y)
    found = features([case.y, *(study.photo(z_0[None]) for z_0 in study.alone()), case.x])
    return gram(found, found)


def measured(engine: Engine, cases: Iterable[Case], count: int, kept: Path) -> Grams:
    """Every case's inner products, from the disk where they are there."""
    found = []
    for case in tqdm(cases, desc=kept.name, total=count, unit="crop"):
        mark = hashlib.sha256(case.x.tobytes() + case.y.tobytes()).hexdigest()[:16]
        path = kept / f"{engine.fingerprint[:8]}-{mark}.npy"
        if not path.exists():
            buffer = io.BytesIO()
            np.save(buffer, measure(engine, case), allow_pickle=False)
            write_beside(path, buffer.getvalue())
        found.append(np.load(path, allow_pickle=False))
    return np.stack(found)


def lpips_of(products: Grams) -> Float[np.ndarray, "crops experts"]:
    """LPIPS of each expert's restoration to the sharp photo."""
    return np.asarray(distances(products)[..., 1:KNOWN, SHARP].sum(1))


def foretold(a: Coefficients, products: Grams) -> Float[jax.Array, "crops experts"]:
    """The judge's score of each expert's restoration, up to a constant of the crop.

    |f(x_hat)|^2 - 2 <f(x_hat), m>, summed over the layers.
    Test: test_judge.py::test_what_is_foretold_is_the_score
    """
    own = jnp.diagonal(products, axis1=-2, axis2=-1)[..., 1:KNOWN]
    return (own - 2 * jnp.einsum("nlk,nlik->nli", a, products[:, :, 1:KNOWN, :KNOWN])).sum(1)


def new_member(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A network that answers with the mean of the six restorations, whatever it is given."""

    def weights(rows: int, columns: int, scale: float = 1.0):
        return (scale / np.sqrt(rows) * rng.standard_normal((rows, columns))).astype(np.float32)

    zeros = np.zeros(WIDTH, np.float32)
    even = np.tile(np.float32([0, *[1 / (KNOWN - 1)] * (KNOWN - 1)]), LAYERS)
    outer = weights(INPUTS, WIDTH), weights(WIDTH, WIDTH), weights(WIDTH, LAYERS * KNOWN, 0.1)
    return dict(zip(("w1", "w2", "w3", "b1", "b2", "b3"), (*outer, zeros, zeros, even), strict=True))


def fit(products: Grams, steps: int = STEPS, members: int = MEMBERS, seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a judge.

    The loss is the mean square of what is foretold wrongly of the differences between the six restorations, relative
    to the best one's LPIPS: only differences decide a choice.
    Test: test_judge.py::test_a_fitted_judge_finds_the_hidden_place
    """
    import optax

    products = np.asarray(products, np.float32)
    given = np.asarray(inputs(products[..., :KNOWN, :KNOWN]))
    mean, deviation = given.mean(0), given.std(0) + 1e-3
    given = np.clip((given - mean) / deviation, -3, 3)
    truth = lpips_of(products)
    schedule = optax.cosine_onecycle_schedule(steps, RATE, pct_start=0.1)
    optimiser = optax.adamw(schedule, weight_decay=DECAY)

    def loss(arrays, batch, key):
        given, products, truth = batch
        wrong = foretold(coefficients(arrays, given, KEPT, key), products) - truth
        wrong = (wrong - wrong.mean(1, keepdims=True)) / (truth.min(1, keepdims=True) + FLOOR)
        return (wrong**2).mean()

    @jax.jit
    def step(arrays, state, batch, key):
        slope = jax.grad(loss)(arrays, batch, key)
        change, state = optimiser.update(slope, state, arrays)
        return optax.apply_updates(arrays, change), state

    found = []
    for member in tqdm(range(members), desc="fit", unit="member"):
        rng = np.random.default_rng([seed, member])
        arrays = new_member(rng)
        state = optimiser.init(arrays)
        for n in range(steps):
            at = rng.integers(len(products), size=BATCH)
            key = jax.random.fold_in(jax.random.key(member), n)
            arrays, state = step(arrays, state, (given[at], products[at], truth[at]), key)
        found.append(arrays)
    stacked = {name: np.stack([np.asarray(one[name]) for one in found]) for name in found[0]}
    return {"mean": mean, "deviation": deviation, **stacked}


def held_out(found: judge.Judge, products: Grams) -> dict[str, float]:
    """Mean LPIPS of the judge's choice among the six experts, beside the best of each crop and the best for all.

    Test: test_judge.py::test_a_fitted_judge_finds_the_hidden_place
    """
    a = np.stack([found.coefficients(one[:, :KNOWN, :KNOWN]) for one in products])
    truth, choice = lpips_of(products), np.asarray(foretold(a, products)).argmin(1)
    chosen = truth[np.arange(len(truth)), choice]
    values = {"judge": chosen.mean(), "best expert of each": truth.min(1).mean(), "best for all": truth.mean(0).min()}
    return {name: round(float(value), 4) for name, value in values.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_judge", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="the folder that the checkpoint was trained from")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--crops", type=int, default=CROPS)
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="crops")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels")
    parser.add_argument("--out", type=Path, default=SHIPS, help="the .npz to write")
    parser.add_argument("--kept", type=Path, default=MEASURED, help="where what was measured stays")
    given = parser.parse_args(argv)
    try:
        restorer, checkpoint = restorer_of(profile(given.profile))
        engine, settings = Engine(restorer, len(restorer.experts)), restorer.config.degradations
        parts = {False: given.crops, True: given.held_out}
        cases = {part: folder_cases(given.photos, n, given.side, settings, part) for part, n in parts.items()}
        found = {part: measured(engine, cases[part], parts[part], given.kept) for part in parts}
    except ValueError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    arrays = fit(found[False])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_beside(given.out, buffer.getvalue())
    story = {
        "what": "where the sharp photo's LPIPS features lie among those of seven photos at hand; see unires/judge.py",
        "experts": {"checkpoint": str(restorer.config.checkpoint), "sha256": checkpoint["sha256"]},
        "photos": checkpoint.get("photos"),
        "photos_are": "those that the experts were trained on; validation photos of the same folder are held out",
        "crops": given.crops,
        "side": given.side,
        "held_out": {"crops": given.held_out, "LPIPS": held_out(judge.load_judge(given.out), found[True])},
        "fit": {"members": MEMBERS, "width": WIDTH, "steps": STEPS, "batch": BATCH, "rate": RATE, "decay": DECAY},
        "sha256": sha256_of(given.out),
    }
    write_beside(given.out.with_suffix(".json"), (json.dumps(story, indent=1) + "\n").encode())
    print(f"{given.out}: {json.dumps(story['held_out'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
