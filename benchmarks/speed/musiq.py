"""How fast is our MUSIQ beside pyiqa's, on this machine? Writes musiq.json beside this file.

    python -m benchmarks.speed.musiq [--sizes 512 256] [--batch 8] [--turns 3] [--threads N]

The same random weights in both (speed doesn't depend on them), and the same photos: ours compiled and as
`unires.models.musiq.score` takes a batch, pyiqa's one photo after another, as it is used. They are measured in turns
in one run (ours, theirs, ours, theirs), so that a busy machine slows both alike; the ratio is the number to keep. Both
use all cores. Beside it stands the `limit`: how much faster than pyiqa a code would be that multiplies large matrices
all the time, as fast as this machine can. No code that computes the same numbers in float32 gets past it. Needs pip
install unires[paper].
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import import_pyiqa
from unires.files import write_beside
from unires.models.ldm import take_apart
from unires.models.musiq import PYIQA, Musiq, score
from unires.models.musiq_weights import convert

OUT = Path(__file__).with_name("musiq.json")


def seconds(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def their_musiq() -> type:
    """pyiqa's MUSIQ.

    Raises: ImportError: pyiqa or torch is not installed.
    Test: test_musiq.py::test_the_speed_script_runs
    """
    import_pyiqa()
    from pyiqa.archs.musiq_arch import MUSIQ

    return MUSIQ


def flops(model: Musiq, x: np.ndarray) -> float:
    """Floating-point operations of one photo, by the compiler's count.

    Test: test_musiq.py::test_the_speed_script_runs
    """
    arrays, rebuild = take_apart(model)
    compiled = jax.jit(lambda arrays, x: rebuild(arrays)(x)).lower(arrays, x[:1]).compile()
    return compiled.cost_analysis()["flops"]


def peak(size: int = 2048) -> float:
    """Operations a second of a product of large matrices: the most that this machine gives.

    Test: test_musiq.py::test_the_speed_script_runs
    """
    square = jnp.ones((size, size))
    product = jax.jit(jnp.matmul)
    product(square, square).block_until_ready()
    return 2 * size**3 / min(seconds(lambda: product(square, square).block_until_ready()) for _ in range(5))


def compare(sizes: list[int], batch: int, turns: int, depth: int = PYIQA.depth) -> dict:
    """Images a second of both, and the median of the ratios, for each size.

    Test: test_musiq.py::test_the_speed_script_runs
    """
    module = their_musiq()
    import torch

    torch.manual_seed(0)
    theirs = module(pretrained=False, num_layers=depth).eval()
    config = replace(PYIQA, depth=depth)
    _, rebuild = take_apart(Musiq.abstract(config))
    ours = rebuild(convert({name: value.numpy() for name, value in theirs.state_dict().items()}, config))
    rng, found, most = np.random.default_rng(0), {}, peak()
    for size in sizes:
        x = rng.random((batch, size, size, 3), np.float32)
        photos = [torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)[None])) for photo in x]

        def run_ours(x=x):
            return np.asarray(score(ours, x))

        def run_theirs(photos=photos):
            with torch.no_grad():
                return np.array([float(theirs(photo)) for photo in photos])

        compiling = seconds(run_ours)  # the first call compiles
        apart = np.abs(run_ours() / run_theirs() - 1).max()
        times = [(seconds(run_ours), seconds(run_theirs)) for _ in range(turns)]
        found[str(size)] = {
            "ours, images a second": round(batch / median(a for a, _ in times), 3),
            "pyiqa, images a second": round(batch / median(b for _, b in times), 3),
            "ours is faster by": round(median(b / a for a, b in times), 2),
            "limit": round(median(b for _, b in times) / batch / (flops(ours, x) / most), 2),
            "first call, seconds": round(compiling, 1),
            "largest relative difference": float(f"{apart:.1e}"),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.musiq", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 256])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--depth", type=int, default=PYIQA.depth, help="fewer layers only to try the script")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    found = {
        "batch": given.batch,
        "layers": given.depth,
        "cores": os.cpu_count(),
        "torch threads": given.threads,
        "device": jax.devices()[0].device_kind,
        "sizes": compare(given.sizes, given.batch, given.turns, given.depth),
    }
    write_beside(given.out, (json.dumps(found, indent=2) + "\n").encode())
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
