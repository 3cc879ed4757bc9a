"""Prompt embeddings kept in a small file, so that a restoration needs no text tower.

The prompts of this method are constants. Their context vectors are computed once, by the tower, and read ever after.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax import Array
from safetensors import SafetensorError, safe_open

from unires.config import Config
from unires.files import sha256_of
from unires.models.ldm import OneKey, take_apart
from unires.models.store import CheckpointError, write_arrays
from unires.models.text import TextEncoder, tokenize


def prompts_path(checkpoint: Path) -> Path:
    """Where the prompts of a checkpoint are kept.

    Test: test_prompts.py::test_no_text_tower_is_needed
    """
    return checkpoint.with_name(f"{checkpoint.stem}.prompts.safetensors")


def embed(arrays: Mapping[str, Array | np.ndarray], config: Config, prompts: Iterable[str]) -> dict[str, np.ndarray]:
    """The context [tokens width] of each prompt, float32, from a model's arrays (those named text. are used).

    Paper: the text condition s of Eq. 1-2.
    Test: test_prompts.py::test_kept_prompts_are_the_towers
    """
    prompts = list(dict.fromkeys(prompts))
    _, rebuild = take_apart(nnx.eval_shape(lambda: TextEncoder(config.text, OneKey())))
    text = {name.removeprefix("text."): array for name, array in arrays.items() if name.startswith("text.")}
    text = {name: np.asarray(array).astype(np.float32) for name, array in text.items()}
    ids = tokenize(prompts, config.text)
    contexts = jax.jit(lambda arrays: rebuild(arrays)(ids))(text)
    return {prompt: np.asarray(context) for prompt, context in zip(prompts, contexts, strict=True)}


def save_prompts(path: Path, embeddings: Mapping[str, np.ndarray], config: Config) -> dict:
    """Write contexts by prompt; returns what a checkpoint's story keeps of them (file, sha256, prompts).

    Test: test_prompts.py::test_kept_prompts_are_the_towers
    """
    prompts = list(embeddings)
    arrays = {f"prompt.{n}": np.asarray(embeddings[prompt], np.float32) for n, prompt in enumerate(prompts)}
    shape = (config.text.tokens, config.text.width)
    if wrong := [prompt for prompt in prompts if embeddings[prompt].shape != shape]:
        raise CheckpointError(f"the context of {wrong[0]!r} has shape {embeddings[wrong[0]].shape}, not {shape}")
    return {
        "file": path.name,
        "sha256": write_arrays(path, arrays, {"prompts": json.dumps(prompts)}),
        "prompts": prompts,
    }


def load_prompts(path: Path, config: Config, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Contexts by prompt.

    Raises: CheckpointError for a file that is missing, damaged, of another hash, or of another text width.
    Test: test_prompts.py::test_wrong_prompt_files_are_refused
    """
    if not path.is_file():
        raise CheckpointError(f"{path.name} is missing beside its checkpoint: convert again, or fetch it")
    if sha256 is not None and sha256_of(path) != sha256:
        raise CheckpointError(f"{path.name} is not the file that its checkpoint was written with: convert again")
    try:
        with safe_open(path, framework="np") as file:
            prompts = json.loads((file.metadata() or {}).get("prompts", "[]"))
            found = {prompt: file.get_tensor(f"prompt.{n}") for n, prompt in enumerate(prompts)}
    except SafetensorError as error:
        raise CheckpointError(f"{path.name} is damaged or holds no prompts ({error}): convert again") from error
    shape = (config.text.tokens, config.text.width)
    if not found or any(context.shape != shape for context in found.values()):
        raise CheckpointError(f"{path.name} holds no prompts of shape {shape}: it belongs to another model")
    return found


def prompts_beside(checkpoint: Path, story: dict, config: Config) -> dict[str, np.ndarray]:
    """The contexts that a checkpoint's story names; none if it names none.

    Test: test_prompts.py::test_no_text_tower_is_needed
    """
    kept = story.get("prompts")
    return {} if not kept else load_prompts(checkpoint.with_name(kept["file"]), config, kept["sha256"])
