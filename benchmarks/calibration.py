"""Do our metrics give the published scores on the five calibration pairs that pyiqa's package carries?

    python -m benchmarks.calibration

The scores are those of pyiqa's project (calibration.csv): `official` by each metric's authors, `pyiqa` by its own
code. SSIM was published on luma: there our own takes grey copies of the pairs. A metric whose weights are missing says
which file goes where; ClipIQA, ManIQA and TOPIQ have no published scores on these pairs.
Exit status: 0 every metric that ran agrees, 1 one does not.
"""

import argparse
import csv
import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unires.metrics import EVERY, measure
from unires.niqe import grey
from unires.photo import read_photo
from unires.shapes import Photo

SCORES = Path(__file__).with_suffix(".csv")
IMAGES = ("I03", "I04", "I06", "I08", "I19")


@dataclass(frozen=True)
class Published:
    """One metric's published scores, and how far ours may lie from them, relative to the score."""

    metric: str
    by: str
    photo: str  # RGB or luma
    relative: float
    scores: tuple[float, ...]


def published(path: Path = SCORES) -> list[Published]:
    """The published scores.

    Test: test_calibration.py::test_published_scores
    """
    with path.open(newline="") as file:
        return [
            Published(r["metric"], r["by"], r["photo"], float(r["relative"]), tuple(float(r[i]) for i in IMAGES))
            for r in csv.DictReader(file)
        ]


def pairs() -> dict[str, tuple[Photo, Photo]]:
    """The calibration pairs, flawed and sharp, of pyiqa's package; pyiqa itself is not imported.

    Raises: ImportError: pyiqa is not installed.
    Test:   test_calibration.py::test_published_scores
    """
    try:
        files = importlib.metadata.files("pyiqa") or []
    except importlib.metadata.PackageNotFoundError:
        raise ImportError("the calibration pairs lie in pyiqa's package: pip install unires[paper]") from None
    places = {tuple(file.parts[-2:]): Path(file.locate()) for file in files if file.suffix == ".bmp"}
    return {i: tuple(read_photo(places[f, f"{i}.bmp"]) for f in ("dist_dir", "ref_dir")) for i in IMAGES}


def luma(photo: Photo) -> Photo:
    """A photo's luma, in all three channels: there SSIM on RGB is SSIM on luma.

    Paper: BT.601 over the full range, rounded to 8 bit, as MATLAB's rgb2gray.
    Test:  test_calibration.py::test_published_scores
    """
    return np.repeat(grey(photo)[..., None] / np.float32(255), 3, -1).astype(np.float32)


def scores(one: Published, photos: dict[str, tuple[Photo, Photo]]) -> list[float]:
    """Our scores of the pairs.

    Raises: MissingWeights naming the file. ImportError naming the package.
    Test:   test_calibration.py::test_published_scores
    """
    as_published = luma if one.photo == "luma" else lambda photo: photo
    return [measure(one.metric, *(as_published(photo) for photo in photos[image])) for image in IMAGES]


def agree(one: Published, ours: list[float]) -> bool:
    """Whether each score lies within the published tolerance.

    Test: test_calibration.py::test_a_wrong_score_is_noticed
    """
    return bool(np.allclose(ours, one.scores, rtol=one.relative, atol=1e-4))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__.splitlines()[0])
    parser.parse_args(argv)
    try:
        photos, wrong = pairs(), 0
    except (FileNotFoundError, ImportError) as missing:
        print(f"not run: {missing}", file=sys.stderr)
        return 2
    for one in published():
        try:
            ours = scores(one, photos)
        except (FileNotFoundError, ImportError) as missing:
            print(f"{one.metric}, {one.by}: not run: {missing}")
            continue
        wrong += not agree(one, ours)
        shown = "  ".join(f"{a:.4f} ({b:g})" for a, b in zip(ours, one.scores, strict=True))
        print(f"{one.metric}, {one.by}: {'agrees' if agree(one, ours) else 'DIFFERS'}: {shown}")
    print(f"without published scores: {', '.join(sorted(EVERY.keys() - {one.metric for one in published()}))}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
