"""Devices: a mesh with the axes "data" and "fsdp", and where arrays lie on it. One device is the smallest mesh.

Batches are split over both axes; parameters, their average and the optimiser's moments over "fsdp" alone.
"""

import math
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from unires.models.ldm import take_apart

AXES = ("data", "fsdp")


def make_mesh(data: int | None = None, fsdp: int = 1) -> Mesh:
    """The first data x fsdp devices, in the order of their processes.

    Without `data`: one row of devices in a single process, every device in several processes.
    Raises: ValueError if there are too few devices, or devices of a process would be left out.
    Test: test_mesh.py::test_the_mesh_is_checked
    """
    found, alone = jax.devices(), jax.process_count() == 1
    if data is None:
        data = 1 if alone else len(found) // fsdp
    if data < 1 or fsdp < 1 or data * fsdp > len(found):
        raise ValueError(f"mesh data={data},fsdp={fsdp} needs {data * fsdp} devices, there are {len(found)}")
    if not alone and data * fsdp != len(found):
        raise ValueError(f"mesh data={data},fsdp={fsdp} must use all {len(found)} devices of all processes")
    return Mesh(np.array(found[: data * fsdp]).reshape(data, fsdp), AXES)


def parse_mesh(text: str) -> dict[str, int]:
    """ "data=4,fsdp=2" to a dictionary; an axis that is left out has its default.

    Raises: ValueError naming the part that is not AXIS=NUMBER.
    Test: test_mesh.py::test_the_mesh_is_checked
    """
    sizes = {}
    for part in text.split(","):
        name, _, size = part.strip().partition("=")
        if name not in AXES or name in sizes or not size.isdigit() or int(size) < 1:
            raise ValueError(f"{part!r} is not AXIS=NUMBER, as in data=4,fsdp=2 (axes: {', '.join(AXES)})")
        sizes[name] = int(size)
    return sizes


def spec(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    """Which axis of an array is split over "fsdp": the largest one that `parts` divides, the last of equals.

    Test: test_mesh.py::test_the_largest_divisible_axis_is_split
    """
    fit = [(size, axis) for axis, size in enumerate(shape) if parts > 1 and size % parts == 0 and size > 0]
    if not fit:
        return PartitionSpec()
    return PartitionSpec(*[None] * max(fit)[1], "fsdp")


def shardings(tree, mesh: Mesh):
    """Where each array of a tree lies, by its shape alone: so moments lie where their parameter does.

    Test: test_mesh.py::test_the_largest_divisible_axis_is_split
    """
    return jax.tree.map(lambda a: NamedSharding(mesh, spec(np.shape(a), mesh.shape["fsdp"])), tree)


def place(tree, mesh: Mesh):
    """Arrays that every process has in full, laid on the mesh; always copies, so that they may be donated.

    Test: test_mesh.py::test_arrays_there_and_back
    """

    def put(array, where):
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, where, lambda index: np.array(host[index]))

    return jax.tree.map(put, tree, shardings(tree, mesh))


def gather(tree, mesh: Mesh):
    """Inside a compiled function: the arrays of a tree in full on every device.

    Test: test_mesh.py::test_other_meshes_give_the_curve_of_one
    """
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def fetch(tree, mesh: Mesh):
    """Arrays of the mesh as NumPy arrays in every process, one after the other.

    Test: test_mesh.py::test_arrays_there_and_back, test_two_processes_train_as_one
    """
    full = jax.jit(lambda a: a, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return jax.tree.map(lambda a: np.asarray(a if a.is_fully_addressable else full(a)), tree)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch are split over all devices.

    Test: test_mesh.py::test_arrays_there_and_back
    """
    return NamedSharding(mesh, PartitionSpec(AXES))


def spread_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a batch, laid on its devices: together they are the whole batch.

    Test: test_mesh.py::test_arrays_there_and_back, test_two_processes_train_as_one
    """
    where = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(where, np.asarray(rows)) for name, rows in batch.items()}


def to_host(module: nnx.Module) -> tuple[dict[str, np.ndarray], Callable]:
    """`take_apart` with arrays in the host's memory, and a way back that holds none: devices hold shares alone.

    Test: test_mesh.py::test_arrays_there_and_back
    """
    arrays, _ = take_apart(module)
    graph, state = nnx.split(module)
    _, rebuild = take_apart(nnx.merge(graph, jax.eval_shape(lambda s: s, state)))
    return {name: np.asarray(array) for name, array in arrays.items()}, rebuild


def rows_each(batch: int, mesh: Mesh, accumulate: int) -> int:
    """Rows of one micro-batch on one device.

    Raises: ValueError if the batch can't be split evenly.
    Test: test_mesh.py::test_the_mesh_is_checked
    """
    parts = math.prod(mesh.shape.values()) * accumulate
    if batch % parts:
        raise ValueError(
            f"a batch of {batch} can't be split evenly into {accumulate} micro-batches on {mesh.size} devices: "
            "change accumulate, the batch or the mesh"
        )
    return batch // parts
