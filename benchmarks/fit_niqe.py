"""Fit NIQE's prior to a folder of pristine photos: `python -m benchmarks.fit_niqe --photos DIR`.

Writes unires/weights/niqe.npz and, beside it, niqe.json: which photos, which settings.
"""

import argparse
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from unires.files import sha256_of, write_beside
from unires.niqe import BLOCK, PRIOR, SHARP, fit_prior
from unires.photo import read_photo, to_8_bit
from unires.shapes import Photo

LONGEST = 1600  # pixels: larger photos are reduced, so that one wallpaper doesn't outweigh ten photos
SUFFIXES = (".jpg", ".jpeg", ".png")


def read_reduced(paths: Iterable[Path]) -> Iterator[Photo]:
    """Read photos one at a time, the long side reduced to at most 1600 pixels.

    Paper: our choice; NIQE's authors used photos of 480 to 1280 pixels.  Range: [0, 1].
    Test:  test_metrics.py::test_fit_niqe_writes_prior_and_story
    """
    for path in paths:
        image = Image.fromarray(to_8_bit(read_photo(path)))
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        yield np.asarray(image) / np.float32(255)


def main(arguments: list[str] | None = None) -> None:
    """Fit, write both files, print one line.

    Raises: SystemExit: no photos in the folder.
    Test:   test_metrics.py::test_fit_niqe_writes_prior_and_story
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of pristine photos (JPEG, PNG)")
    parser.add_argument("--out", type=Path, default=PRIOR, help="the .npz to write")
    options = parser.parse_args(arguments)

    paths = sorted(path for path in options.photos.glob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"{options.photos}: no photos ({', '.join(SUFFIXES)}) here; check --photos.")
    prior = fit_prior(read_reduced(paths))

    buffer = io.BytesIO()
    np.savez(buffer, mean=prior.mean, covariance=prior.covariance, blocks=np.int64(prior.blocks))
    write_beside(options.out, buffer.getvalue())
    hashes = sorted(map(sha256_of, paths))
    story = {
        "what": "NIQE prior: mean and covariance of 36 features over the sharp blocks of pristine photos",
        "photos": len(paths),
        "photos_sha256": hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
        "photos_sha256_is": "of the photos' sorted SHA-256 in hexadecimal, joined by newlines",
        "blocks": prior.blocks,
        "block_pixels": BLOCK,
        "sharper_than": SHARP,
        "longest_side_pixels": LONGEST,
        "file_sha256": sha256_of(options.out),
    }
    write_beside(options.out.with_suffix(".json"), (json.dumps(story, indent=2) + "\n").encode())
    print(f"{options.out}: {prior.blocks} sharp blocks of {len(paths)} photos")


if __name__ == "__main__":
    main()
