"""The paper's test sets as photos to restore, one after another.

They are read from the folder that UNIRES_SETS names (default: data), laid out as `benchmarks.sets` expects;
DiversePhotos-x1 and -x4 are what `python -m benchmarks.diversephotos` writes there. A profile takes a few photos of
a set, or all (`EvaluationConfig.most`). The first 8 are called "Real60[:8]", so that nobody takes them for the whole;
a folder that lacks some of the set's photos is called so, too.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.diversephotos_report import read_manifest
from benchmarks.sets import SetError, check, load, read_sets
from unires.degrade.super_resolution import resize
from unires.photo import as_photo
from unires.shapes import Photo

BUILT = {"DiversePhotos-x1": 1, "DiversePhotos-x4": 4}  # made by benchmarks.diversephotos; their scale


@dataclass(frozen=True)
class Case:
    """One photo of a test set; x is None where nobody has the sharp one."""

    set: str
    image: str
    y: Photo
    x: Photo | None


def sets_root() -> Path:
    """Where the paper's sets lie. Test: test_table_runs.py::test_a_set_of_the_paper_is_read"""
    return Path(os.environ.get("UNIRES_SETS", "data"))


def paper_set(name: str, most: int | None, root: Path | None = None) -> tuple[str, Iterator[Case]]:
    """The first photos of one of the paper's sets (None: all), one after another, and what rows call them.

    LQ photos of an x4 set are enlarged by bicubic interpolation first: the paper doesn't say where it does so.
    Raises: SetError saying what to lay where. ImportError: `datasets` is not installed.
    Test: test_table_runs.py::test_a_set_of_the_paper_is_read
    """
    root = sets_root() if root is None else root
    if name in BUILT:
        if not (root / name / "dataset_info.json").is_file():
            raise SetError(f"no {name} in the folder that UNIRES_SETS names: build it with benchmarks.diversephotos")
        import datasets

        rows, scale, key = datasets.load_from_disk(str(root / name)), BUILT[name], "image_id"
        rows, whole = rows.rename_column("image", "lq"), len(read_manifest())
        whole = whole if len(rows) < whole - 3 else len(rows)  # three are in no public index
    else:
        (one,) = (s for s in read_sets().values() if s.protocol.paper_name == name)
        if check(one, one.under(root)).found == 0:
            raise SetError(f"no {one.folder} in the folder that UNIRES_SETS names: see python -m benchmarks.sets")
        rows, scale, key, whole = load(one, one.under(root)), one.protocol.scale or 1, "name", one.count
    n = len(rows) if most is None else min(most, len(rows))
    title = name if n == whole else f"{name}[:{n}]"

    def cases():
        for i in range(n):
            given = rows[i]
            y = _photo(given["lq"])
            y = resize(y, scale * y.shape[0], scale * y.shape[1], "bicubic") if scale > 1 else y
            yield Case(title, given[key].replace("/", "_"), y, _photo(given["hq"]) if "hq" in given else None)

    return title, cases()


def _photo(image: Image.Image) -> Photo:
    return as_photo(np.asarray(image.convert("RGB") if image.mode == "P" else image))
