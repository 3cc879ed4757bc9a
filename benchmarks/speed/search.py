"""How much quicker is the engine than the grid as the paper states it? Writes search.json beside this file.

    python -m benchmarks.speed.search [--side 96] [--vectors 60] [--turns 3] [--no-whole] [--no-waits]

The naive loop asks all six experts, also those of weight 0, for one candidate at a time and one expert a call: 6 S
calls a vector, 9072 S for the whole grid. Measured on a subset with one to six active experts, in turns with the engine
(naive, engine, naive, engine), so that a busy machine slows both alike. The engine is also measured on the whole grid;
the naive loop's whole is its calls times what one of them took. Decoding and scoring, the same for both, are left out.

`auto` and `search` are the waits for `python -m unires restore IN OUT --weights ...` on a photo of 512 pixels, from the
start of the process: imports, compilation, decoding, scoring and writing are in them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from unires.data import evaluation_set
from unires.engine import Engine, Study, middle, unet_calls
from unires.files import write_beside
from unires.photo import read_photo, write_photo
from unires.profiles import profile
from unires.record import commit, device
from unires.restore import restorer_of, silent
from unires.sample import ddim_plan
from unires.schedule import split_prediction
from unires.search import grid

OUT = Path(__file__).with_name("search.json")


def subset(count: int) -> np.ndarray:
    """Vectors of the grid with one to six active experts, equally many of each (but at most the six one-hot ones).

    Test: test_speed_search.py::test_the_subset_has_all_sizes
    """
    vectors, rng = grid(), np.random.default_rng(0)
    used = np.count_nonzero(vectors, axis=1)
    order = [rng.permutation(np.flatnonzero(used == n)).tolist() for n in range(1, 7)]
    chosen = []
    while len(chosen) < count:
        chosen += [group.pop() for group in order if group]
    return vectors[chosen[:count]]


def naive_loop(study: Study, steps: int) -> Callable[[np.ndarray], np.ndarray]:
    """The plain search: one candidate, one expert, one call at a time, experts of weight 0 too.

    Test: test_speed_search.py::test_both_find_the_same
    """
    restorer, context = study.engine.restorer, study.engine.context
    kind, spacing = restorer.schedule.config.prediction, study.config.sample.spacing_of(steps)
    once = jax.jit(lambda arrays, z, z_lq, t, s: restorer.rebuild(arrays).predict(z, z_lq, t, s))
    plan = list(zip(*ddim_plan(restorer.schedule, steps, spacing), strict=True))

    def sample(w: np.ndarray) -> np.ndarray:
        z = study.z_t
        for t, alpha, sigma, alpha_next, sigma_next in plan:
            composed = jnp.zeros_like(z)
            for k, weight in enumerate(w):
                answer = once(restorer.arrays, z, study.z_lq[k : k + 1], jnp.full(1, t), context[k : k + 1])
                composed += float(weight) * answer
            z_0, eps = split_prediction(z, composed, alpha, sigma, kind)
            z = alpha_next * z_0 + sigma_next * eps
        return np.asarray(z)

    return sample


def compare(make_study: Callable[[], Study], vectors: np.ndarray, steps: int, turns: int, whole: bool) -> dict:
    """Seconds of both on the same vectors and photo, and what they make of the whole grid.

    Test: test_speed_search.py::test_both_find_the_same
    """
    naive = naive_loop(make_study(), steps)
    naive(vectors[0]), list(make_study().latents(vectors, steps))  # compile
    seconds, engines, apart = [], [], 0.0
    for _ in tqdm(range(turns), desc="turns", disable=silent()):
        began = time.perf_counter()
        plain = [naive(w) for w in vectors]
        seconds.append(time.perf_counter() - began)
        study, began = make_study(), time.perf_counter()  # a new photo on the table: the first step is paid again
        found = dict(study.latents(vectors, steps))
        engines.append(time.perf_counter() - began)
    for index, z in enumerate(plain):
        apart = max(apart, float(np.linalg.norm(found[index] - z) / np.linalg.norm(z)))
    calls, every = len(vectors) * 6 * steps, grid()
    one, speed_up = median(seconds) / calls, median(a / b for a, b in zip(seconds, engines, strict=True))
    told = {
        "subset": {
            "vectors": len(vectors),
            "naive": {"unet_calls": calls, "seconds": median(seconds)},
            "engine": {"unet_calls": study.paid.unet_calls, "padding": study.paid.padding, "seconds": median(engines)},
            "speed-up": speed_up,
            "largest relative difference of final latents": apart,
        },
        "whole": {
            "vectors": len(every),
            "naive": {"unet_calls": 9072 * steps, "seconds, from the subset": one * 9072 * steps},
        },
    }
    if whole:
        study, began = make_study(), time.perf_counter()
        for _ in tqdm(study.latents(every, steps), total=len(every), desc="whole grid", unit="w", disable=silent()):
            pass
        took = time.perf_counter() - began
        assert study.paid.unet_calls == unet_calls(every, steps)
        told["whole"]["engine"] = {"unet_calls": study.paid.unet_calls, "seconds": took}
        told["whole"]["speed-up"] = one * 9072 * steps / took
    return told


def wait(how: str, profile_name: str, side: int = 512) -> dict:
    """Seconds from the start of a process until `--weights auto` or `search` has written its photo, a held-out one.

    Raises: subprocess.CalledProcessError if the command fails.
    Test: test_speed_search.py::test_the_command_line_is_timed
    """
    config = profile(profile_name)
    config = replace(config, evaluation=replace(config.evaluation, crops=1, crop=side))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.png"), Path(folder, "out.png")
        write_photo(source, evaluation_set("complex", config)[0].y)
        command = [sys.executable, "-m", "unires", "restore", str(source), str(target), "--weights", how]
        command += ["--checkpoint", config.checkpoint] if config.checkpoint else []
        began = time.perf_counter()
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        took = time.perf_counter() - began
        height, width = read_photo(target).shape[:2]
    return {"photo": [height, width], "seconds": took, "chosen": told.strip().split(": --weights ")[-1]}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.search", description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=96, help="pixels of the photo")
    parser.add_argument("--vectors", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--no-whole", action="store_true", help="leave out the whole grid by the engine")
    parser.add_argument("--no-waits", action="store_true", help="leave out the waits of the command line")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(argv)
    restorer, story = restorer_of(profile(given.profile))
    config = replace(restorer.config, evaluation=replace(restorer.config.evaluation, crops=1))
    engine = Engine(restorer, given.rows)
    photo = middle(evaluation_set("complex", config)[0].y, given.side)
    about = {"side": photo.shape[0], "steps": config.sample.steps, "checkpoint": story["sha256"], "rows": given.rows}
    found = compare(
        lambda: engine.study(photo), subset(given.vectors), config.sample.steps, given.turns, not given.no_whole
    )
    if not given.no_waits:
        found |= {how: wait(how, given.profile) for how in ("auto", "search")}
    text = json.dumps({**commit(), "device": device(), **about, **_rounded(found)}, indent=2)
    write_beside(given.out, (text + "\n").encode())
    print(text)


def _rounded(found):
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    return float(f"{found:.4g}") if isinstance(found, float) else found


if __name__ == "__main__":
    main()
