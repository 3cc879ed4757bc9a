"""Weights out: a model of ours as diffusers' folders, for everyone else's tools."""

import json
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from unires.config import Config
from unires.files import write_beside
from unires.models.convert import FILES
from unires.models.ldm import STATISTICS
from unires.models.names import FOLDERS, PARTS, places
from unires.models.settings import settings
from unires.models.store import CheckpointError, write_arrays
from unires.shapes import AnyArray

FLOATS = {"float16": np.float16, "bfloat16": jnp.bfloat16, "float32": np.float32}


def export(arrays: Mapping[str, AnyArray], config: Config, folder: Path, dtype: str | None = None) -> list[Path]:
    """Our arrays as diffusers' folders (safetensors and config.json), in their own type or the one given.

    Raises: CheckpointError if arrays are missing, or normalise latents channel by channel: no public file can say so.
    Test: test_convert.py::test_round_trip_is_bit_exact, test_parity.py::test_diffusers_opens_what_we_export
    """
    wanted = places(config, "diffusers")
    here = {name.partition(".")[0] for name in arrays if name not in STATISTICS}
    if missing := sorted(n for n in wanted if n.partition(".")[0] in here and n not in arrays):
        raise CheckpointError(f"nothing exported: the model lacks {', '.join(missing)}")
    shift, scale = (np.asarray(arrays.get(f"vae.{name}", default)) for name, default in (("shift", 0), ("scale", 1)))
    if "vae" in here and (np.any(shift) or np.any(scale != scale.flat[0])):
        raise CheckpointError("nothing exported: this model shifts and scales each latent channel by itself")
    written = []
    said = settings(config)
    if "vae" in here:
        said["vae"]["scaling_factor"] = float(config.vae.scale or scale.flat[0])
    for part in [part for part in PARTS if part in here]:
        theirs = {}
        for ours, place in wanted.items():
            if ours.partition(".")[0] == part:
                back = np.argsort(place.axes)
                array = np.asarray(arrays[ours]).transpose(back).reshape(place.shape)
                name = place.name.removeprefix(FOLDERS[part] + "/")
                name = "text_model." + name if part == "text" else name
                theirs[name] = array.astype(FLOATS[dtype]) if dtype else array
        path = Path(folder) / FOLDERS[part] / f"{FILES[part]}.safetensors"
        write_arrays(path, theirs, {"format": "pt"})
        written.append(path)
    for part, values in said.items():
        if part == "scheduler" or any(path.parent.name == part for path in written):
            name = "scheduler_config.json" if part == "scheduler" else "config.json"
            write_beside(Path(folder) / part / name, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())
    return written
