"""Where photos for training at the paper's scale come from: image folders, parquet files and the Hub, by `datasets`."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from unires.data import held_out_hashes, held_out_paths
from unires.photo import PhotoError, decode_8_bit
from unires.tasks import TASKS

NAMES = tuple(task.name for task in TASKS)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
SHARDS = 64  # of a folder that is streamed


@dataclass(frozen=True)
class Source:
    """Photos for one task: sharp ones that the task's flaws are laid on, or given pairs.

    `path` is a folder of photos, a folder of parquet files, a parquet file, a pattern of parquet files such as
    DIR/train*.parquet, or a data set's name on the Hub. `sharp` and `flawed` are patterns of file names in a folder of
    photos, several of them joined by | (n-th sharp with n-th flawed, sorted; a folder of pairs needs both), else
    columns (image; or sharp and flawed, where none are given). `weight` is among the sources of the same task.
    Raises: ValueError for an unknown task or kind, or a weight that is not above 0.
    """

    task: str
    path: str
    kind: str = "photos"  # or "pairs"
    sharp: str | None = None
    flawed: str | None = None
    split: str = "train"  # of a data set on the Hub
    streaming: bool = False
    weight: float = 1.0

    def __post_init__(self):
        if self.task not in NAMES or self.kind not in ("photos", "pairs") or not self.weight > 0:
            raise ValueError(f"{self}: task is one of {', '.join(NAMES)}, kind photos or pairs, weight above 0")


def read_sources(path: Path) -> list[Source]:
    """Sources from a JSON file: an array of objects with the fields of `Source`.

    Raises: ValueError naming the file if it holds anything else, or a source that makes no sense.
    Test: test_stream.py::test_sources_are_read_from_a_file
    """
    try:
        found = [Source(**fields) for fields in json.loads(Path(path).read_text())]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}; give a JSON array of sources, each with task, path, kind, ...") from error
    if not found:
        raise ValueError(f"{path} holds no source: give one for each of {', '.join(NAMES)}")
    return found


def open_source(source: Source):
    """A source as the library's data set (IterableDataset if streaming), one column of undecoded images a kind.

    Parquet that is not streamed is copied once into the library's cache (HF_DATASETS_CACHE).
    Raises: ImportError without the library; ValueError for a folder of pairs without both patterns; PhotoError if the
            path, photos or columns are not there, sharp and flawed photos differ in number, or a folder holds a
            held-out photo.
    Test: test_stream.py::test_sources_that_cannot_be_used, test_held_out_photos_are_refused
    """
    try:
        import datasets  # extra: paper
    except ImportError:
        raise ImportError("sources are read by the library datasets: pip install 'unires[paper]'") from None
    path = Path(source.path)
    folder, pattern = (path.parent, path.name) if "*" in path.name else (path, "**/*.parquet")
    parquet = [str(path)] if path.is_file() else sorted(map(str, folder.glob(pattern)))
    if path.is_dir() and not parquet:
        columns = _files(source, path)
        data = datasets.Dataset.from_dict(columns)
        data = data.to_iterable_dataset(num_shards=min(len(data), SHARDS)) if source.streaming else data
    else:
        pair = (source.sharp or "sharp", source.flawed or "flawed")
        columns = pair if source.kind == "pairs" else (source.sharp or "image",)
        words = {"data_files": parquet, "split": "train"} if parquet else {"split": source.split}
        try:
            data = datasets.load_dataset("parquet" if parquet else source.path, streaming=source.streaming, **words)
        except Exception as error:  # the library meets trouble with almost any type
            told = "damaged" if parquet else f"no such folder or file here, no such data set with {source.split} there"
            raise PhotoError(f"{source.path}: {told} ({error})") from error
    lost = [name for name in columns if name not in data.column_names]
    if lost:
        raise PhotoError(f"{source.path}: no column {', '.join(lost)}; it has {', '.join(data.column_names)}")
    for name in columns:
        data = data.cast_column(name, datasets.Image(decode=False))
    return data.select_columns(list(columns))


def _files(source: Source, folder: Path) -> dict[str, list[str]]:
    """The files of a folder of photos, by column; what could be a held-out photo by its size is looked at now."""
    patterns = {"image": source.sharp or "**/*"}
    if source.kind == "pairs":
        patterns = {"sharp": source.sharp, "flawed": source.flawed}
        lost = [name for name, pattern in patterns.items() if not pattern]
        if lost:
            raise ValueError(f"{folder}: pairs without a pattern {' and '.join(lost)}, as in sharp='**/sharp/*'")
    sizes = {path.stat().st_size for path in held_out_paths().values() if path.is_file()}
    found = {}
    for name, pattern in patterns.items():
        paths = sorted({p for one in pattern.split("|") for p in folder.glob(one) if p.suffix.lower() in SUFFIXES})
        if not paths:
            raise PhotoError(f"{folder}: holds no photo of the pattern {pattern}")
        for path in paths:
            if path.stat().st_size in sizes:
                fetch({"path": str(path)}, str(folder))
        found[name] = list(map(str, paths))
    if len(set(map(len, found.values()))) > 1:
        raise PhotoError(f"{folder}: {len(found['sharp'])} sharp photos, but {len(found['flawed'])} flawed ones")
    return found


def fetch(cell: dict | None, where: str) -> tuple[str, bytes]:
    """The name and the bytes of an undecoded image.

    Raises: PhotoError if there is none, its file is gone, or it is a held-out photo.
    Test: test_stream.py::test_held_out_photos_are_refused, test_photos_that_cannot_be_read
    """
    path, data = (cell or {}).get("path"), (cell or {}).get("bytes")
    name = f"{where}: {path or 'a photo without a name'}" if data is not None or not path else path
    if data is None:
        try:
            import fsspec  # comes with datasets; a path may lie on the Hub

            with fsspec.open(name, "rb") as file:
                data = file.read()
        except (OSError, ValueError) as error:
            raise PhotoError(f"{name}: cannot be read ({error}); was it moved since the run began?") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest in held_out_hashes():
        raise PhotoError(f"{name} is the held-out photo {held_out_hashes()[digest]}: remove it from the training data")
    return name, data


def smallest_side(name: str, data: bytes) -> int:
    """The shorter side of an image in pixels, from its header alone.

    Raises: PhotoError if it is no image.  Test: test_stream.py::test_photos_that_cannot_be_read
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return min(image.size)
    except Exception as error:
        raise PhotoError(f"{name}: cannot be read as a photo ({error}); remove it or fetch it again") from error


def decode(name: str, data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """An image's pixels, as `read_photo` reads them, at 8 bits: floats are made of the crop alone.

    Raises: PhotoError if it is no image, damaged, or too large.
    Test: test_stream.py::test_photos_at_8_bits, test_photos_that_cannot_be_read
    """
    return decode_8_bit(io.BytesIO(data), name)
