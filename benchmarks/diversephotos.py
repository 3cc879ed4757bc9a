"""Build DiversePhotos x1 or x4, the paper's 160 test photos, from the data sets that they come from.

    python -m benchmarks.diversephotos OUT --spaq DIR --koniq DIR --live DIR [--scale 1|4] [--hub SOURCE=REPO_ID ...]

The photos are not shipped, only the list of their names (paper/diversephotos_manifest.csv). OUT becomes a data
set for `datasets.load_from_disk`, with report.json in it. SOURCE is SPAQ, KONIQ or LIVE.

Exit status: 0 every photo that can be had (157 of 160), 1 fewer, 2 refused.
"""

import argparse
import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.diversephotos_report import NO_FOLDER, Entry, Report, Result, read_manifest
from unires.degrade.super_resolution import resize
from unires.photo import PhotoError, read_photo, to_8_bit

LAYOUT = {"SPAQ": "TestImage", "KONIQ": "1024x768", "LIVE": "Images"}  # the folder inside each published data set
PUBLISHED = {"KONIQ": (768, 1024), "LIVE": (500, 500)}  # height, width; SPAQ's photos have many sizes
LEAST = {"SPAQ": 512, "KONIQ": 512, "LIVE": 500}  # pixels of the shorter side
SUFFIXES = (".jpg", ".jpeg", ".bmp", ".png")
SIDE = 512  # of x1
SCALES = (1, 4)
NAMES = ("file_name", "filename", "image_name", "__key__")  # columns of hub data sets that hold a file's name


class Refused(ValueError):
    """The test set cannot be built as asked; nothing has been written."""


class TooSmall(PhotoError):
    """A photo that the paper's crop doesn't fit into."""


def crop(photo: np.ndarray, source: str, scale: int = 1) -> np.ndarray:
    """Cut a photo of one source as the paper does: x1 is 512x512, x4 the 128x128 in the middle of it.

    SPAQ and KONIQ are centre-cropped; LIVE is resized (bicubic) from 500x500, and a LIVE photo of another
    shape is first cut to the square in its middle (our choice).

    Paper:  DiversePhotos x1 and x4.  Range: [h w 3], uint8 or float in [0, 1]; the output is of the same kind.
    Raises: TooSmall; ValueError: unknown source or scale, not [h w 3].
    Test:   test_diversephotos.py::test_crop_takes_the_middle, test_live_is_pillows_bicubic
    """
    if source not in LAYOUT or scale not in SCALES:
        raise ValueError(f"source {source!r}, scale {scale!r}: choose from {', '.join(LAYOUT)} and {SCALES}")
    if photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"a photo has shape [h w 3], not {list(photo.shape)}")
    height, width = photo.shape[:2]
    if min(height, width) < LEAST[source]:
        raise TooSmall(f"{width}x{height} pixels, {source} needs {LEAST[source]} a side: is it a reduced copy?")
    if source == "LIVE":
        square = _middle(photo, min(height, width))
        if photo.dtype == np.uint8:
            whole = np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        else:
            whole = resize(square, SIDE, SIDE, "bicubic").clip(0, 1)
    else:
        whole = _middle(photo, SIDE)
    return _middle(whole, SIDE // scale)


def _middle(photo: np.ndarray, side: int) -> np.ndarray:
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def find(folder: Path, source: str) -> dict[str, Path]:
    """Photo files by id: in the folder of the published layout, or directly in the given one.

    Test: test_diversephotos.py::test_jpg_and_bmp_are_found_in_either_place
    """
    found = {}
    for place in (Path(folder, LAYOUT[source]), Path(folder)):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.suffix.lower() in SUFFIXES:
                found.setdefault(path.stem, path)
    return found


def gather(folders: dict[str, Path], scale: int = 1) -> tuple[list[tuple[Entry, np.ndarray]], Report]:
    """Find, read and crop the photos: those that there are, as uint8, and the report on all.

    A rotation tag (EXIF) is applied before the crop, as wherever this project reads a photo.

    Raises: Refused: no folder, an unknown source, a folder that isn't there.
    Test:   test_diversephotos.py::test_157_of_160, test_the_report_names_what_is_wrong, test_exif_rotation_comes_first
    """
    if not folders:
        raise Refused("no photos to build from: give the folder of at least one source")
    for source, folder in folders.items():
        if source not in LAYOUT:
            raise Refused(f"unknown source {source!r}: choose from {', '.join(LAYOUT)}")
        if not Path(folder).is_dir():
            raise Refused(f"{folder}: no such folder; give the one that holds {source}'s {LAYOUT[source]}")
    if scale not in SCALES:
        raise Refused(f"there is no DiversePhotos x{scale}: choose the scale from {SCALES}")
    files = {source: find(folder, source) for source, folder in folders.items()}
    photos, results = [], []
    for entry in tqdm(read_manifest(), desc="crop photos", unit="photo"):
        path = files.get(entry.source, {}).get(entry.image_id)
        if path is None:
            lost = "absent" if entry.status == "absent" else "missing"
            results.append(Result(entry, lost, "" if entry.source in folders else NO_FOLDER))
            continue
        try:
            photo = to_8_bit(read_photo(path))
            cut = crop(photo, entry.source, scale)
        except PhotoError as error:
            detail = str(error).replace(f"{Path(folders[entry.source])}{os.sep}", "")
            results.append(Result(entry, "too small" if isinstance(error, TooSmall) else "unreadable", detail))
            continue
        usual = PUBLISHED.get(entry.source, photo.shape[:2])
        detail = "" if photo.shape[:2] == usual else f"{photo.shape[1]}x{photo.shape[0]} pixels, not as published"
        outcome = "repaired" if entry.status == "repaired" else "found"
        results.append(Result(entry, outcome, detail, hashlib.sha256(cut.tobytes()).hexdigest()))
        photos.append((entry, cut))
    return photos, Report(scale, tuple(results))


def write(photos: list[tuple[Entry, np.ndarray]], report: Report, out: Path) -> None:
    """Write the photos as a data set with its report in it: beside its place first, then renamed.

    Raises: ImportError without `datasets`; Refused: something else lies at `out`.
    Test:   test_diversephotos.py::test_what_is_written_comes_back, test_an_interrupted_build_leaves_nothing
    """
    datasets, out = _datasets(), Path(out).resolve()
    _refuse_strangers(out)
    columns = {"image": []} | {name: [] for name in Entry.__dataclass_fields__ if name != "note"}
    for entry, pixels in photos:
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG", compress_level=1)  # lossless all the same, and much faster
        columns["image"].append({"bytes": png.getvalue(), "path": f"{entry.image_id}.png"})
        for name in columns.keys() - {"image"}:
            columns[name].append(getattr(entry, name))
    features = {name: datasets.Image() if name == "image" else datasets.Value("string") for name in columns}
    table = datasets.Dataset.from_dict(
        columns, info=datasets.DatasetInfo(description=report.summary(), features=datasets.Features(features))
    )
    new, old = (out.with_name(f".{out.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        table.save_to_disk(str(new))
        Path(new, "report.json").write_text(report.json(), encoding="utf-8")
        if out.exists():
            os.replace(out, old)
        os.replace(new, out)
    finally:
        if old.exists() and not out.exists():
            os.replace(old, out)
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def build(folders: dict[str, Path], out: Path, scale: int = 1) -> Report:
    """Build the test set at `out` from the photos that there are, and report on all 160.

    Where no photo at all is found, nothing is written.

    Raises: Refused, ImportError.
    Test:   test_diversephotos.py::test_what_is_written_comes_back
    """
    _datasets(), _refuse_strangers(Path(out))  # before the long work
    photos, report = gather(folders, scale)
    if photos:
        write(photos, report, Path(out))
    return report


def fetch(repo_id: str, ids: Iterable[str], folder: Path) -> None:
    """Stream a hub data set and write the photos with these ids to a folder, found by the names of their files.

    Raises: Refused: offline, no such data set, no images with names in it.
    Test:   test_diversephotos.py::test_a_hub_data_set_is_searched_by_file_name, test_offline_says_so
    """
    datasets, wanted = _datasets(), set(ids)
    asked = len(wanted)
    import fsspec

    try:
        for part in datasets.load_dataset(repo_id, streaming=True).values():
            kinds = part.features or {}
            image = next((name for name, kind in kinds.items() if isinstance(kind, datasets.Image)), None)
            if image is None:
                continue
            part = part.select_columns([image, *(name for name in NAMES if name in kinds)])
            for row in tqdm(part.cast_column(image, datasets.Image(decode=False)), desc=repo_id, unit="photo"):
                name = _named(row, row[image]["path"], wanted)
                if name is not None:
                    data = row[image]["bytes"]
                    if data is None:
                        with fsspec.open(row[image]["path"], "rb") as file:
                            data = file.read()
                    Path(folder, f"{name}.jpg").write_bytes(data)  # what it is, the reader sees from its first bytes
                    wanted.remove(name)
                if not wanted:
                    return
    except Exception as error:  # offline, missing, closed and damaged each have many types
        raise Refused(
            f"the hub data set {repo_id!r} cannot be read ({type(error).__name__}: {error}). Are you online, is its "
            "name right, may you read it? Or download the photos by hand and give their folder."
        ) from error
    if len(wanted) == asked:
        raise Refused(f"the hub data set {repo_id!r} holds no photo that is named as one of the wanted {asked}")


def _named(row: dict, path: str | None, wanted: set[str]) -> str | None:
    """The wanted id that a row's file is named by: its path (in an archive zip://inside::where), or a column."""
    names = [str(name).partition("::")[0] for name in (path, *map(row.get, NAMES)) if name]
    return next((stem for stem in (PurePosixPath(name).stem for name in names) if stem in wanted), None)


def _datasets():
    try:
        import datasets
    except ImportError as error:
        raise ImportError("building the data set needs `datasets`: install unires[paper]") from error
    return datasets


def _refuse_strangers(out: Path) -> None:
    ours = (out / "report.json").is_file() and (out / "dataset_info.json").is_file()
    if out.exists() and not ours and not (out.is_dir() and not any(out.iterdir())):
        raise Refused(f"{out} exists and is not a data set of this builder: give another place")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diversephotos", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the data set to write")
    for source, inside in LAYOUT.items():
        parser.add_argument(f"--{source.lower()}", type=Path, metavar="DIR", help=f"holds {inside}/ or the photos")
    parser.add_argument("--scale", type=int, default=1, choices=SCALES)
    parser.add_argument("--hub", action="append", default=[], metavar="SOURCE=REPO_ID", help="a hub data set instead")
    given = parser.parse_args(argv)
    folders = {source: folder for source in LAYOUT if (folder := getattr(given, source.lower()))}
    try:
        with ExitStack() as stack:
            for word in given.hub:
                source, _, repo_id = word.partition("=")
                source = source.upper()
                if source not in LAYOUT or not repo_id or source in folders:
                    raise Refused(f"--hub {word}: give SOURCE=REPO_ID, each of {', '.join(LAYOUT)} once")
                folders[source] = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                known = [e.image_id for e in read_manifest() if e.source == source and e.status != "absent"]
                fetch(repo_id, known, folders[source])
            report = build(folders, given.out, given.scale)
    except (Refused, ImportError, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    print(report.text())
    print(f"written to {given.out}" if report.photos else "nothing written: no photo was found")
    if not report.complete:
        print("incomplete: the lines above say which photos are missing and why", file=sys.stderr)
    return 0 if report.complete else 1


if __name__ == "__main__":
    sys.exit(main())
