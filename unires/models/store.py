"""Checkpoints on disk: one safetensors file of weights and one JSON file that tells its story."""

import dataclasses
import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from unires.config import Config, ScheduleConfig, TextConfig, UNetConfig, VAEConfig
from unires.files import beside_of, sha256_of, write_beside
from unires.models.ldm import LDM, STATISTICS, take_apart
from unires.profiles import KNOWN

WEIGHTS = Path(__file__).parent.parent / "weights"
PARTS = {"vae": VAEConfig, "unet": UNetConfig, "text": TextConfig, "schedule": ScheduleConfig}
PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")
HOW_TO_CONVERT = """is a pickle, which can run code, and is not read. Convert it once where torch is installed:
    import torch; from safetensors.torch import save_file
    weights = torch.load("{0}", map_location="cpu", weights_only=True)
    weights = weights.get("state_dict", weights)
    save_file({{k: v.contiguous() for k, v in weights.items() if torch.is_tensor(v)}}, "{1}.safetensors")"""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or of another model; the message names the file and the cure."""


def refuse_pickle(path: Path) -> None:
    """Refuse a pickle by its name, and say how it becomes a safetensors file.

    Raises: CheckpointError
    Test: test_convert.py::test_wrong_files_are_refused, test_musiq.py::test_pickles_are_refused_with_the_cure
    """
    if path.suffix in PICKLES:
        raise CheckpointError(f"{path} {HOW_TO_CONVERT.format(path.name, path.stem)}")


def read_object(path: Path, cure: str) -> dict:
    """The JSON object that a file holds.

    Raises: CheckpointError that names the file and the cure, if it holds anything else.
    Test: test_store.py::test_a_damaged_story_is_named, test_convert.py::test_damaged_settings_are_named
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}): {cure}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no JSON object: {cure}")
    return found


def write_arrays(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> str:
    """Write a safetensors file, whole or not at all; returns its sha256.

    Test: test_store.py::test_round_trip
    """
    with beside_of(path) as beside:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, beside, metadata)
        found = sha256_of(beside)
    return found


def save_checkpoint(
    path: Path, arrays: dict, config: Config, story: dict, dtype: np.dtype | type | None = jnp.bfloat16
) -> dict:
    """Write weights in bfloat16 (statistics stay float32) and their story with the file's sha256 beside them.

    With another `dtype` in that one; with None each array keeps its own.
    Raises: CheckpointError if an array holds a number that is not finite.
    Test: test_store.py::test_round_trip
    """
    kept = {}
    for name, array in sorted(arrays.items()):
        kind = jnp.float32 if name.endswith(STATISTICS) else (dtype or array.dtype)
        kept[name] = np.asarray(array).astype(kind, copy=False)
        if not np.isfinite(kept[name]).all():
            raise CheckpointError(f"{path} is not saved: {name} is not finite, as after a training that diverged")
    story = {
        "config": {part: dataclasses.asdict(getattr(config, part)) for part in PARTS},
        **story,
        "parameters": int(sum(a.size for a in kept.values())),
        "sha256": write_arrays(path, kept),
    }
    write_beside(path.with_suffix(".json"), (json.dumps(story, indent=1, sort_keys=True) + "\n").encode())
    return story


def find_checkpoint(name: str | Path) -> Path:
    """The safetensors file of a shipped checkpoint's name, or the path itself.

    Raises: CheckpointError for a pickle or a file that is not there.
    Test: test_store.py::test_missing_checkpoint_is_named
    """
    path = Path(name)
    refuse_pickle(path)
    if path.suffix != ".safetensors":
        path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.safetensors"))) or "none"
        hints = {size.checkpoint: f"train it with python -m unires train --profile {n}" for n, size in KNOWN.items()}
        hints["sd2"] = "make it with python -m unires convert"
        hint = f"; {hints[str(name)]}" if str(name) in hints else ""
        raise CheckpointError(f"no checkpoint {name}: shipped are {shipped}; or give the path of a .safetensors{hint}")
    return path


def read_story(path: Path) -> dict:
    """The JSON beside a checkpoint.

    Raises: CheckpointError if it is missing or damaged.
    Test: test_store.py::test_missing_checkpoint_is_named, test_a_damaged_story_is_named
    """
    story = path.with_suffix(".json")
    if not story.is_file():
        raise CheckpointError(f"{story.name} is missing beside {path.name}: it holds the model's config and hash")
    return read_object(story, "fetch the checkpoint again")


def load_checkpoint(name: str | Path, config: Config) -> tuple[LDM, Config, dict]:
    """Read a checkpoint as float32: the model, the config with the checkpoint's own sizes, and its story.

    Raises: CheckpointError for a missing file, a wrong hash, a pickle, or arrays that do not fit the config.
    Test: test_store.py::test_round_trip, test_a_damaged_config_is_named
    """
    path = find_checkpoint(name)
    story = read_story(path)
    found = sha256_of(path)
    if found != story.get("sha256"):
        raise CheckpointError(
            f"{path.name} has sha256 {found[:12]}..., its JSON says {str(story.get('sha256'))[:12]}...: "
            "the file is damaged or is another one; fetch it again"
        )
    try:
        parts = {part: kind(**_tuples(story["config"][part])) for part, kind in PARTS.items()}
        config = dataclasses.replace(config, **parts)
        model = LDM.abstract(config)
        if "text" in story.get("without", ()):  # its prompts are kept beside it: see unires.models.prompts
            model.text = None
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        why = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{path.with_suffix('.json')} does not hold a model's config ({why}): fetch it again, or train anew"
        ) from error
    wanted, rebuild = take_apart(model)
    try:
        with safe_open(path, framework="flax") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise CheckpointError(f"{path.name} is not a safetensors file ({error}): fetch it again") from error
    missing, unexpected = sorted(wanted.keys() - arrays.keys()), sorted(arrays.keys() - wanted.keys())
    other = sorted(n for n in wanted.keys() & arrays.keys() if wanted[n].shape != arrays[n].shape)
    if missing or unexpected or other:
        raise CheckpointError(
            f"{path.name} does not fit its config: missing {missing[:3]}, unexpected {unexpected[:3]}, "
            f"of another shape {other[:3]}"
        )
    return rebuild({name: array.astype(jnp.float32) for name, array in arrays.items()}), config, story


def random_model(config: Config, seed: int = 0) -> LDM:
    """Seeded weights with nothing zero, for profiles that ship no checkpoint (their pictures are noise).

    Test: test_models.py::test_random_model_is_seeded
    """
    shapes, rebuild = take_apart(LDM.abstract(config))
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, like in sorted(shapes.items()):
        fan_in = max(1, math.prod(like.shape[:-1]))
        draw = rng.standard_normal(like.shape, np.float32) * np.float32(0.02 if like.ndim == 1 else fan_in**-0.5)
        arrays[name] = jnp.asarray(draw + (1 if name.endswith(".scale") else 0))
    arrays["vae.shift"] = jnp.zeros_like(arrays["vae.shift"])  # statistics are measured, not drawn
    arrays |= {n: jnp.ones_like(arrays[n]) for n in ("vae.scale", "spread") if n in arrays}
    return rebuild(arrays)


def load_model(config: Config) -> tuple[LDM, Config, dict]:
    """A profile's model: its shipped checkpoint, or seeded random weights where it names none.

    Test: test_models.py::test_random_model_is_seeded
    """
    if config.checkpoint is None:
        return random_model(config), config, {"sha256": None, "photos": "none: random weights"}
    return load_checkpoint(config.checkpoint, config)


def _tuples(fields: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
