"""What is present of the test and training sets, what is missing, what is wrong."""

import argparse
import sys
from pathlib import Path

from benchmarks.sets import Report, SetError, check, read_sets, training_sources
from benchmarks.sets.layout import ImageSet
from benchmarks.sets.tiles import FOLDER, cut
from benchmarks.sets.training import to_json
from unires.photo import PhotoError

HEADER = ("name", "role", "task", "expected", "found", "status", "what to do")


def line(image_set: ImageSet, report: Report) -> tuple[str, ...]:
    """A set's line of the table."""
    expected = "unknown" if report.expected is None else f"{report.expected:,}"
    where = (image_set.name, image_set.role, image_set.task)
    return (*where, expected, f"{report.found:,}", report.status, report.advice)


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns of one width each; the last one runs free."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    cells = ("  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows)
    return "\n".join(cell.rstrip() for cell in cells)


def print_sources(root: Path, names: list[str] | None, streaming: bool) -> int:
    """The sources as JSON to standard output; faults, and sets that are not whole, to standard error."""
    try:
        print(to_json(training_sources(root, names, streaming)))
    except SetError as error:
        print(error, file=sys.stderr)
        return 1
    for name, one in read_sets().items():
        if one.role == "train" and (names is None or name in names):
            report = check(one, one.under(root))
            if report.status != "present":
                print(f"{name} is {report.status}: {report.advice}", file=sys.stderr)
    return 0


def cut_sets(root: Path, sets: list[ImageSet]) -> int:
    """Cut sets into tiles; what is wrong with one to standard error."""
    try:
        for one in sets:
            print(f"{cut(one, one.under(root))} pairs of tiles in {one.under(root) / FOLDER}")
    except (SetError, PhotoError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """0: every named set is present, or none was named. 1: a named one is not. 2: an unknown name.

    With --training the sources are printed alone; 1 means that a training set can't be used, and standard error says
    which sets are not as published. With --tiles 1 means that a set can't be cut.
    Test: test_sets.py::test_exit_codes, test_training_sources_are_printed, test_tiles_are_listed_as_sources,
          test_sets_that_cannot_be_cut
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sets", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="sets to look at; every one where none is named")
    parser.add_argument("--root", type=Path, default=Path("data"), metavar="DIR", help="holds the sets' folders")
    parser.add_argument("--deep", action="store_true", help="open every image instead of counting files")
    parser.add_argument("--training", action="store_true", help="print the training sets, or the named, as sources")
    parser.add_argument("--streaming", action="store_true", help="with --training: read in shuffled order, uncopied")
    parser.add_argument("--tiles", action="store_true", help="cut the named sets' huge pairs into tiles for --training")
    given = parser.parse_args(argv)
    if given.tiles and not given.names:
        parser.error("--tiles needs the names of the sets to cut")
    sets = read_sets()
    unknown = [name for name in given.names if name not in sets]
    if unknown:
        print(f"unknown set {', '.join(unknown)}: choose from {', '.join(sets)}", file=sys.stderr)
        return 2
    if given.tiles:
        return cut_sets(given.root, [sets[name] for name in given.names])
    if given.training:
        return print_sources(given.root, given.names or None, given.streaming)
    asked = [sets[name] for name in given.names] or list(sets.values())
    reports = [check(one, one.under(given.root), deep=given.deep) for one in asked]
    print(table([HEADER, *(line(one, report) for one, report in zip(asked, reports, strict=True))]))
    return int(bool(given.names) and any(report.status != "present" for report in reports))


if __name__ == "__main__":
    sys.exit(main())
