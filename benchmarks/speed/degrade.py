"""How fast are training pairs made? Writes degrade.json beside this file.

    python -m benchmarks.speed.degrade [--pairs 400] [--workers 2]

Pairs of 128 pixels from decoded photos, on one core, for each task and each parameter set; the mean is weighted by
the paper's task probabilities. Then the same pairs by several processes: the speed-up over one, measured in turns
(one, many, one, many), so that a busy machine slows both alike.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np

from unires.data import evaluation_crops
from unires.degrade import SETTINGS, degrade
from unires.files import write_beside
from unires.tasks import TASKS

OUT = Path(__file__).with_name("degrade.json")
SIZE, BLOCK, TURNS = 128, 25, 3


@lru_cache
def photos() -> tuple[np.ndarray, ...]:
    return tuple(x for _, x in evaluation_crops(8, 256))


def make(job: tuple[str, str, int]) -> float:
    """Make a block of pairs of one task; the seconds that it took."""
    task, settings, seed = job
    rng = np.random.default_rng([seed, 0])
    crops = []
    for n in range(BLOCK):
        top, left = rng.integers(256 - SIZE, size=2)
        crops.append(np.ascontiguousarray(photos()[n % 8][top : top + SIZE, left : left + SIZE]))
    began = time.perf_counter()
    for x in crops:
        degrade(task, x, rng, settings=SETTINGS[settings])
    return time.perf_counter() - began


def mixed_jobs(pairs: int) -> list[tuple[str, str, int]]:
    """Blocks in the paper's shares of the tasks."""
    blocks = np.random.default_rng(0).choice([t.name for t in TASKS], pairs // BLOCK, p=[t.probability for t in TASKS])
    return [(str(task), "stablesr", seed) for seed, task in enumerate(blocks)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.degrade", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    make(("SR", "stablesr", 0)), make(("MD", "stablesr", 0))  # imports and caches
    found = {"size": SIZE, "pairs": given.pairs, "cores": os.cpu_count(), "milliseconds a pair": {}}
    for settings in SETTINGS:
        cost = {}
        for task in TASKS:
            blocks = [make((task.name, settings, seed)) for seed in range(max(2, given.pairs // BLOCK // len(TASKS)))]
            cost[task.name] = 1e3 * median(blocks) / BLOCK
        mean = sum(task.probability * cost[task.name] for task in TASKS)
        found["milliseconds a pair"][settings] = {k: round(v, 2) for k, v in {**cost, "mean": mean}.items()}
        found[f"pairs a second, {settings}"] = round(1e3 / mean, 1)
    jobs, ratios = mixed_jobs(given.pairs), []
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as many:
        list(many.map(make, [("DD", "stablesr", 0)] * 2 * given.workers))  # start and import
        for _ in range(TURNS):
            began = time.perf_counter()
            for job in jobs:
                make(job)
            one = time.perf_counter() - began
            began = time.perf_counter()
            list(many.map(make, jobs))
            ratios.append(one / (time.perf_counter() - began))
    found[f"speed-up by {given.workers} workers"] = round(median(ratios), 2)
    write_beside(OUT, (json.dumps(found, indent=2) + "\n").encode())
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
