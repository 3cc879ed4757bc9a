"""The training sets as sources of `unires.stream`: each set's patterns, task and share come from its TOML file."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.sets.layout import ImageSet, SetError, files, find, pairs, parquet_files, read_sets
from benchmarks.sets.report import Report, check
from benchmarks.sets.tiles import FOLDER, is_cut
from unires.sources import Source


def training_sources(root: str | Path, names: Iterable[str] | None = None, streaming: bool = False) -> list[Source]:
    """The sources of the named training sets, or of all of them, below the directory `root`.

    A set serves its own task. Its weight is its published number of images, or what lies there where none is
    published: among the sets of one task, every image counts the same. A set with fewer images than published serves
    too, with the published weight. Pairs that were cut into tiles (`benchmarks.sets.tiles`) are read from these.

    Paper: DF2K and LSDIR for SR, Open Images and GoPro for MD, DPDD for DD, SIDD for DN; how the two sets of one task
           are mixed is our choice.
    Raises: SetError: a name that is no training set, or a set of which nothing usable is there; says what to do.
    Test:   test_sets.py::test_training_sources_feed_the_stream, test_training_sets_that_cannot_be_used,
            test_tiles_are_listed_as_sources
    """
    sets = {name: one for name, one in read_sets().items() if one.role == "train"}
    asked = list(sets) if names is None else list(dict.fromkeys(names))
    unknown = [name for name in asked if name not in sets]
    if unknown:
        raise SetError(f"{', '.join(unknown)}: no training set; choose from {', '.join(sets)}.")
    reports = {name: check(sets[name], sets[name].under(root)) for name in asked}
    lost = [f"{name}: {report.advice}" for name, report in reports.items() if not _usable(report)]
    if lost:
        raise SetError(f"{root} lacks training sets. {'; '.join(lost)}.")
    found = []
    for name, report in reports.items():
        one = sets[name]
        kind = "pairs" if len(one.sides) == 2 else "photos"
        path, sharp, flawed = _place(one, one.under(root))
        weight = float(report.expected or report.found)
        found.append(Source(one.task, path, kind, sharp, flawed, streaming=streaming, weight=weight))
    return found


def _usable(report: Report) -> bool:
    return report.found > 0 and report.status != "wrong"


def _place(image_set: ImageSet, root: Path) -> tuple[str, str, str | None]:
    """Where a set's images lie: path, and patterns or columns of the sharp and the flawed ones."""
    tables = parquet_files(image_set, root)
    paired = len(image_set.sides) == 2
    if tables:
        if len({table.parent for table in tables}) > 1:
            raise SetError(f"{root}: parquet files of {image_set.name} in two folders; keep one of them.")
        return str(tables[0].parent / image_set.parquet), "hq", "lq" if paired else None
    if next(root.glob("**/*.parquet"), None):
        raise SetError(f"{root}: holds photos of {image_set.name} and other parquet files; move those away.")
    layout, found = files(image_set, root).layout, pairs(image_set, root)
    sharp, flawed = (sorted(find(root, patterns)) for patterns in (layout.hq, layout.lq))
    if paired and {(y, x) for _, y, x in found} != set(zip(flawed, sharp, strict=True)):
        raise SetError(f"{root}: the sorted names of {image_set.name} do not pair as its key does; rename them.")
    if paired and is_cut(image_set, root):
        return str(root / FOLDER), "hq/**/*.png", "lq/**/*.png"
    return str(root), "|".join(layout.hq), "|".join(layout.lq) if paired else None


def to_json(sources: list[Source]) -> str:
    """A JSON array with one source a line, as `unires.sources.read_sources` reads it.

    Test: test_sets.py::test_training_sources_are_printed
    """
    return "[\n" + ",\n".join(json.dumps(asdict(source)) for source in sources) + "\n]"
