"""MUSIQ's weights out of other projects' files: the official .npz, and pyiqa's as safetensors.

The official names follow from the authors' public code and the naming rules of the Flax of its time; the reader was
tested on files of that layout that the tests make, never on a published one.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax import Array
from safetensors import SafetensorError
from safetensors.flax import load

from unires.models.ldm import take_apart
from unires.models.musiq import OFFICIAL, Musiq, MusiqConfig
from unires.models.names import Place
from unires.models.store import CheckpointError, refuse_pickle

PREFIX = "opt/target/"  # the official files' parameters; what stands outside is the optimiser's
BLOCK = "transformer_encoder.transformer.encoderblock_{}."
ATTENTION = "MultiHeadDotProductAttention_1/"
LAYER = (  # ours, pyiqa's, official
    ("norm1", "norm1", "LayerNorm_0"),
    ("attention.q", "attention.query", ATTENTION + "query"),
    ("attention.k", "attention.key", ATTENTION + "key"),
    ("attention.v", "attention.value", ATTENTION + "value"),
    ("attention.out", "attention.out", ATTENTION + "out"),
    ("norm2", "norm2", "LayerNorm_2"),
    ("mlp_in", "mlp.fc1", "MlpBlock_3/Dense_0"),
    ("mlp_out", "mlp.fc2", "MlpBlock_3/Dense_1"),
)
SINGLE = {  # parameters that stand alone
    "positions": ("transformer_encoder.posembed_input.position_emb", "Transformer/posembed_input/pos_embedding"),
    "scales": ("transformer_encoder.scaleembed_input.scale_emb", "Transformer/scaleembed_input/scale_embedding"),
    "token": ("transformer_encoder.cls", "Transformer/cls"),
}


def _modules(config: MusiqConfig) -> Iterator[tuple[str, str, str]]:
    yield "stem.conv", "conv_root", "conv_root"
    yield "stem.norm", "gn_root", "gn_root"
    for n in ("1", "2", "3", "_proj"):
        yield f"stem.block.conv{n}", f"block1.conv{n}", f"block1/unit1/conv{n}"
        yield f"stem.block.norm{n}", f"block1.gn{n}", f"block1/unit1/gn{n}"
    yield "embed", "embedding", "embedding"
    for i in range(config.depth):
        for ours, theirs, official in LAYER:
            yield f"layers.{i}.{ours}", BLOCK.format(i) + theirs, f"Transformer/encoderblock_{i}/{official}"
    yield "norm", "transformer_encoder.encoder_norm", "Transformer/encoder_norm"
    yield "head", "head", "head"


def places(config: MusiqConfig, source: str) -> dict[str, Place]:
    """Each of our arrays' place in a file of a source, "pyiqa" or "official".

    PyTorch keeps a kernel's outputs first; the official attention keeps an axis for the heads.
    Test: test_musiq.py::test_names_are_pyiqas, test_official_files_round_trip
    """
    modules = {ours: (theirs, official) for ours, theirs, official in _modules(config)}
    found = {}
    for ours, like in _taken_apart(config)[0].items():
        shape, axes = like.shape, tuple(range(like.ndim))
        module, _, leaf = ours.rpartition(".")
        theirs, official = SINGLE[ours] if ours in SINGLE else modules[module]
        if source == "pyiqa":
            if leaf == "kernel":
                shape = tuple(shape[n] for n in ((3, 2, 0, 1) if len(shape) == 4 else (1, 0)))
                axes = (2, 3, 1, 0) if len(shape) == 4 else (1, 0)
            name = theirs if ours in SINGLE else f"{theirs}.{'bias' if leaf == 'bias' else 'weight'}"
        else:
            split = (config.heads, config.width // config.heads)
            if module.endswith(("attention.q", "attention.k", "attention.v")):
                shape = (*shape[:-1], *split)
            elif module.endswith("attention.out") and leaf == "kernel":
                shape = (*split, shape[-1])
            name, axes = PREFIX + (official if ours in SINGLE else f"{official}/{leaf}"), tuple(range(len(shape)))
        found[ours] = Place(name, shape, axes)
    return found


def convert(arrays: Mapping, config: MusiqConfig, source: str = "pyiqa", file: str = "state dict") -> dict[str, Array]:
    """Another project's arrays under our names and in our shapes, float32.

    Leading axes of length 1 don't count in comparing shapes: the official norms and embeddings have them.
    Raises: CheckpointError that lists each missing, unexpected or wrongly shaped array by name.
    Test: test_musiq.py::test_scores_are_pyiqas, test_wrong_arrays_are_named
    """
    wanted, ours = places(config, source), _taken_apart(config)[0]
    names = {place.name for place in wanted.values()}
    faults = [f"missing {name}" for name in sorted(names - set(arrays))]
    faults += [f"unexpected {name}" for name in sorted(set(arrays) - names)]
    for place in wanted.values():
        if place.name in arrays and _bare(arrays[place.name].shape) != _bare(place.shape):
            faults.append(f"{place.name} has shape {list(arrays[place.name].shape)}, not {list(place.shape)}")
    if faults:
        raise CheckpointError(f"{file} does not fit MUSIQ: " + "; ".join(faults))
    return {
        name: jnp.asarray(
            np.asarray(arrays[place.name], np.float32)
            .reshape(place.shape)
            .transpose(place.axes)
            .reshape(ours[name].shape)
        )
        for name, place in wanted.items()
    }


def load_musiq(path: str | Path, config: MusiqConfig = OFFICIAL) -> tuple[Musiq, str]:
    """The model with a file's weights, and the file's sha256, which a table of scores must state.

    A .npz is read as the official file, a .safetensors as pyiqa's state dict; the config says which variant to run
    them in.
    Raises: CheckpointError for a file that is missing, damaged, a pickle, or doesn't fit.
    Test: test_musiq.py::test_official_files_round_trip, test_safetensors_round_trip, test_damaged_files_are_refused
    """
    path = Path(path)
    refuse_pickle(path)
    if path.suffix not in (".npz", ".safetensors"):
        raise CheckpointError(f"{path.name}: MUSIQ's weights are an official .npz or pyiqa's as .safetensors")
    if not path.is_file():
        raise CheckpointError(f"{path} not found: give the path of MUSIQ's weights")
    data = path.read_bytes()
    try:
        if path.suffix == ".safetensors":
            source, arrays = "pyiqa", load(data)
        else:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                source, arrays = "official", {name: file[name] for name in file.files if name.startswith(PREFIX)}
    except (SafetensorError, zipfile.BadZipFile, ValueError, EOFError, OSError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path.name} is damaged or no {path.suffix} file ({error}): fetch it again") from error
    _, rebuild = _taken_apart(config)
    return rebuild(convert(arrays, config, source, path.name)), hashlib.sha256(data).hexdigest()


@lru_cache(maxsize=4)
def _taken_apart(config: MusiqConfig) -> tuple:
    return take_apart(Musiq.abstract(config))


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its leading ones."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return tuple(shape)
