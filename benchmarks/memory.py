"""Memory of a training step, by device: what the compiler says of the compiled step. No array is ever made.

python -m benchmarks.memory                        # the paper's size on three meshes, into results/paper/memory.json
python -m benchmarks.memory --profile demo --mesh data=2,fsdp=2 --out memory.json

Devices are simulated ones of the CPU. The state (parameters, average, moments) is exact. The rest is the CPU
compiler's: it has no fused attention and may compute bfloat16 in float32, so a GPU or TPU needs less. One mesh takes
minutes to half an hour, and 3 GB.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from unires.config import Config
from unires.files import write_beside
from unires.fit import make_update, optimiser
from unires.mesh import batch_sharding, make_mesh, parse_mesh, rows_each, shardings
from unires.models.ldm import LDM, take_apart
from unires.profiles import profile
from unires.train import ldm_objective, split

OUT = Path(__file__).parents[1] / "results" / "paper" / "memory.json"
HASTE = {"xla_backend_optimization_level": 0}  # of machine code, which comes after the buffers are placed
PROMPTS = 7  # no text, four tasks, positive and negative words
# Name of the machine to its mesh and micro-batches a step; whether 256 rows fit is the question.
MACHINES = {
    "1 x 80 GB": ({"data": 1, "fsdp": 1}, 64),
    "8 x 80 GB": ({"data": 1, "fsdp": 8}, 8),
    "32 x 16 GB": ({"data": 4, "fsdp": 8}, 8),
}


def on_mesh(tree, mesh: Mesh):
    """Shapes with their place on the mesh.

    Test: test_mesh.py::test_memory_is_the_compilers_own
    """
    return jax.tree.map(
        lambda a, where: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), tree, shardings(tree, mesh)
    )


def abstract_step(config: Config, mesh: Mesh) -> tuple[Callable, tuple]:
    """The compiled step of the last stage, and the shapes that it is called with.

    Test: test_mesh.py::test_memory_is_the_compilers_own
    """
    model = LDM.abstract(config)
    model.unet.remat = config.train.remat
    arrays, rebuild = take_apart(model)
    trained, fixed = split(arrays)
    loss = ldm_objective(config, rebuild, np.zeros((PROMPTS, config.text.tokens), np.int32))
    state = {"trained": trained, "ema": trained, "opt": jax.eval_shape(optimiser(config.train).init, trained)}
    stage = config.train.stages[-1]
    photos = (stage.batch, stage.crop, stage.crop, 3)
    rows = {"x": (photos, np.float32), "y": (photos, np.float32), "task": (photos[:1], np.int32)}
    batch = {n: jax.ShapeDtypeStruct(*given, sharding=batch_sharding(mesh)) for n, given in rows.items()}
    return make_update(loss, config.train, mesh, 0), (on_mesh(state, mesh), on_mesh(fixed, mesh), batch, 0)


def memory_table(config: Config, meshes: dict[str, tuple[dict[str, int], int]]) -> list[dict]:
    """Bytes on each device of one training step, for each mesh: (sizes of its axes, micro-batches a step).

    `state` is parameters, their average and the moments; `held` all that a step is given and gives back; `work` what
    it needs besides; `total` is their sum.
    Test: test_mesh.py::test_memory_is_the_compilers_own
    """
    table = []
    for name, (sizes, accumulate) in tqdm(meshes.items(), desc="compile", unit="mesh"):
        own = replace(config, train=replace(config.train, accumulate=accumulate))
        mesh, began = make_mesh(**sizes), time.perf_counter()
        update, given = abstract_step(own, mesh)
        told = update.lower(*given).compile(compiler_options=HASTE).memory_analysis()
        held = told.argument_size_in_bytes + told.output_size_in_bytes - told.alias_size_in_bytes
        state = sum(math.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize for a in jax.tree.leaves(given[0]))
        table.append(
            {
                "machine": name,
                "mesh": sizes,
                "accumulate": accumulate,
                "rows_on_a_device": rows_each(own.train.stages[-1].batch, mesh, accumulate),
                "trained_parameters": sum(math.prod(a.shape) for a in given[0]["trained"].values()),
                "state": state,
                "held": held,
                "work": told.temp_size_in_bytes,
                "total": held + told.temp_size_in_bytes,
                "compile_seconds": round(time.perf_counter() - began, 1),
            }
        )
    return table


def main(argv: list[str] | None = None) -> None:
    """Compile, and write after each mesh."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--mesh", action="append", metavar="data=4,fsdp=2", help="instead of the three machines")
    parser.add_argument("--machine", action="append", choices=sorted(MACHINES), help="these alone")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    config = profile(arguments.profile)
    machines = {name: MACHINES[name] for name in arguments.machine or MACHINES}
    if arguments.mesh:
        machines = {text: (parse_mesh(text), config.train.accumulate) for text in arguments.mesh}
    devices = max(math.prod(sizes.values()) for sizes, _ in machines.values())
    jax.config.update("jax_num_cpu_devices", devices)
    train = {n: getattr(config.train, n) for n in ("dtype", "remat")}
    facts = {"profile": config.name, **train, "compiler": "cpu, simulated devices", "jax": jax.__version__}
    rows = []
    if arguments.out.is_file() and arguments.machine:
        rows = [row for row in json.loads(arguments.out.read_text())["rows"] if row["machine"] not in machines]
    for name, machine in machines.items():
        rows += memory_table(config, {name: machine})
        rows.sort(key=lambda row: [*MACHINES, row["machine"]].index(row["machine"]))
        write_beside(arguments.out, json.dumps(facts | {"rows": rows}, indent=1).encode())


if __name__ == "__main__":
    main()
