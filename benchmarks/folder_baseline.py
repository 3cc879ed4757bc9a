"""Another method's images as a baseline: a folder of results named like the inputs, measured into rows.

    python -m benchmarks.folder_baseline RESULTS --inputs LQ [--references HQ] --method StableSR --set complex11
        [--scale 4] [--metrics psnr lpips musiq ...] [--partial] --out RUN

Its code isn't needed: run it where it runs, and point here. Names count without their suffix. A result has the size of
its reference, and without one, of its input times the scale. What is missing, extra or of another size is refused, all
of it in one message; with --partial, what is missing becomes rows "not run".
Exit status: 0 done, 1 the folders don't fit.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base
from tqdm import tqdm

from unires.metrics import EVERY, METRICS, measure
from unires.photo import PhotoError, read_photo
from unires.record import Row, not_run, row, write_rows
from unires.weight_files import MissingWeights

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
SHOWN = 5  # names of each kind in a message


class FolderError(ValueError):
    """The folder of results doesn't fit the inputs; the message names the images."""


def images(folder: str | Path) -> dict[str, Path]:
    """Each image's path by its name without suffix.

    Raises: FolderError: no folder, no image in it, two images of one name.
    Test:   test_folder_baseline.py::test_folders_without_images_are_refused
    """
    folder, found = Path(folder), {}
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            if path.stem in found:
                raise FolderError(f"{folder}: {found[path.stem].name} and {path.name} have one name: keep one of them")
            found[path.stem] = path
    if not found:
        raise FolderError(f"{folder} holds no image ({', '.join(SUFFIXES)})")
    return found


def matched(
    results: str | Path, inputs: str | Path, references: str | Path | None = None, scale: int = 1, partial: bool = False
) -> Iterator[tuple[str, Path | None, Path | None]]:
    """Name, result and reference of every input, once all of them fit. Without a result, with `partial`, None.

    Raises: FolderError naming what is missing, extra and of another size.
    Test:   test_folder_baseline.py::test_what_does_not_fit_is_named
    """
    given, theirs = images(inputs), images(results)
    sharp = images(references) if references is not None else {}
    faults = []
    if lost := sorted(given.keys() - sharp.keys()) if references is not None else []:
        faults.append(f"{references}: {_some(lost, len(given), 'without reference')}")
    if (missing := sorted(given.keys() - theirs.keys())) and not (partial and len(missing) < len(given)):
        faults.append(_some(missing, len(given), "missing"))
    if extra := sorted(theirs[name].name for name in theirs.keys() - given.keys()):
        faults.append(_some(extra, len(theirs), "extra, named like no input"))
    odd = []
    for name in sorted(given.keys() & theirs.keys()):
        if references is None or name in sharp:
            wide, high = _size(sharp[name]) if name in sharp else (scale * side for side in _size(given[name]))
            size = _size(theirs[name])
            if size != (wide, high):
                odd.append(f"{theirs[name].name} is {size[0]} x {size[1]}, not {wide} x {high}")
    if odd:
        faults.append(_some(odd, len(theirs), "of another size"))
    if faults:
        raise FolderError(f"{results} does not fit {inputs}: {'; '.join(faults)}")
    return ((name, theirs.get(name), sharp.get(name)) for name in sorted(given))


def folder_rows(triples: list[tuple[str, Path | None, Path | None]], where: str, method: str, metrics) -> list[Row]:
    """One row an image and metric. What can't be measured says why: no result, no reference, too small, flat.

    Test: test_folder_baseline.py::test_rows_of_a_folder
    """
    rows = []
    for name, result, reference in tqdm(triples, unit="image", desc=method):
        photo = read_photo(result) if result else None
        x = read_photo(reference) if reference else None
        for metric in (EVERY[one] for one in metrics):
            what, about = (where, name, method, metric.name), {"variant": metric.variant}
            if photo is None:
                rows.append(not_run(*what, "the method gave no image", **about))
            elif metric.reference and x is None:
                rows.append(not_run(*what, "there is no reference", **about))
            elif min(photo.shape[:2]) < metric.smallest:
                rows.append(not_run(*what, f"needs photos of at least {metric.smallest} pixels", **about))
            else:
                try:
                    rows.append(row(*what, measure(metric.name, photo, x), **about))
                except MissingWeights:  # its message holds this machine's folders, which no row should
                    names = " and ".join(" or ".join(file.name for file in choice) for choice in metric.needs)
                    rows.append(not_run(*what, f"weights are missing: {names}", **about))
                except ValueError as error:  # a photo without texture has no NIQE, say
                    rows.append(not_run(*what, str(error), **about))
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every baseline on folders is told."""
    parser.add_argument("--inputs", type=Path, required=True, help="the flawed photos that it was given")
    parser.add_argument("--references", type=Path, help="the sharp photos, where there are any")
    parser.add_argument("--set", required=True, dest="where", help="the test set's name in tables")
    parser.add_argument("--scale", type=int, default=1, help="how many times larger than its input a result is")
    choice = [name for name, metric in EVERY.items() if not metric.folders]
    parser.add_argument("--metrics", nargs="+", choices=choice, default=list(METRICS), metavar="NAME")
    parser.add_argument("--out", type=Path, required=True, help="a run's folder; its rows.jsonl takes the rows")


def measure_folder(
    results: Path, given: argparse.Namespace, method: str, source: str, partial: bool = False, **about
) -> str:
    """Match, measure and write the rows of one folder of results; what there is to say about it.

    Raises: FolderError, PhotoError.
    Test:   test_folder_baseline.py::test_rows_of_a_folder, test_spandrel_baseline.py::test_a_checkpoint_becomes_rows
    """
    triples = list(matched(results, given.inputs, given.references, given.scale, partial))
    rows = [{**one, **about} for one in folder_rows(triples, given.where, method, given.metrics)]
    place = write_rows(given.out, source, rows)
    measured = sum(one["status"] == "ok" for one in rows)
    return f"{len(triples)} images, {measured} of {len(rows)} values measured: {place}"


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(Base.Orientation, 1) >= 5  # by a quarter, as `read_photo` will turn it
            return image.size[::-1] if turned else image.size
    except OSError as error:
        raise FolderError(f"{path} can't be read as an image ({error}): write it again") from error


def _some(names: list[str], of: int, what: str) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} of {of} {what}: {', '.join(names[:SHOWN])}{more}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folder_baseline", description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="the method's images")
    parser.add_argument("--method", required=True, help="its name in tables, as StableSR")
    parser.add_argument("--partial", action="store_true", help="go on where results are missing")
    add_arguments(parser)
    given = parser.parse_args(argv)
    try:
        print(measure_folder(given.results, given, given.method, f"folder {given.method}", given.partial))
    except (FolderError, PhotoError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
