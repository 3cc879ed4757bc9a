"""Files written whole or not at all, and what they hash to."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside_of(path: Path) -> Iterator[Path]:
    """A name to write to; renamed to the path if all went well, removed if not. Its mode is that of any new file.

    Test: test_store.py::test_nothing_half_written_is_left, test_others_may_read_what_is_written
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.touch()
        mode = beside.stat().st_mode
        yield beside
        beside.chmod(mode)  # safetensors' own would shut others out
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_beside(path: Path, data: bytes) -> None:
    """Write a file so that it is never seen half-written: beside its place first, then renamed.

    Test: test_store.py::test_nothing_half_written_is_left
    """
    with beside_of(path) as beside:
        beside.write_bytes(data)


def sha256_of(path: Path) -> str:
    """A file's sha256, read piece by piece.

    Test: test_store.py::test_round_trip
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
