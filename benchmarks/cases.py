"""Crops to search on, each with two to four flaws, from photos to test, to learn from or to train on.

`benchmarks.grids`, `benchmarks.strategies` and `benchmarks.fit_judge` search the same crops.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.complex11 import MIXTURES, SEVERITIES, fingerprint
from unires.data import Photos, evaluation_crops, held_out_paths, is_validation, sha256, texture
from unires.degrade import SETTINGS, degrade
from unires.photo import PhotoError
from unires.shapes import Photo

SEED, TRIES = 1512, 8
TEST, LEARN = "test", "learn"
CROPS = {True: (2, 1), False: (3, 5)}  # seeds of places and of flaws, for validation photos and for training photos


@dataclass(frozen=True)
class Case:
    """One photo under search, with where it comes from."""

    image: str
    photo: str
    sha256: str  # of the photo's file
    mixture: str
    severity: str
    x: Photo
    y: Photo

    @property
    def story(self) -> dict:
        """All but the photos; y by the hash of its 8-bit values."""
        names = ("image", "photo", "sha256", "mixture", "severity")
        return {**{name: getattr(self, name) for name in names}, "lq_sha256": fingerprint(self.y)}


def flawed(x: Photo, n: int, settings: str, part: int) -> tuple[str, str, Photo]:
    """Flaw the n-th crop: mixtures in turn (7 has no factor in common with 11), mild and heavy in turn.

    Test: test_cases.py::test_the_test_cases_are_varied
    """
    mixture, severity = MIXTURES[7 * n % len(MIXTURES)], list(SEVERITIES)[n % len(SEVERITIES)]
    rng = np.random.default_rng([SEED, part, n])
    return mixture, severity, degrade(mixture, x, rng, SEVERITIES[severity], SETTINGS[settings])[0]


def held_out_cases(images: int, side: int, settings: str = "stablesr") -> list[Case]:
    """The most textured crop of every held-out photo, then the second of every one.

    Test: test_cases.py::test_the_test_cases_are_varied
    """
    paths = held_out_paths()
    crops = [(name.rsplit("-", 2)[0], name, x) for name, x in evaluation_crops(2 * len(paths), side)]
    turn = {name: [photo for photo, *_ in crops[:i]].count(crops[i][0]) for i, (_, name, _) in enumerate(crops)}
    crops.sort(key=lambda crop: turn[crop[1]])  # stable: within a turn by texture
    if len(crops) < images:
        raise ValueError(f"only {len(crops)} crops of {side} pixels in the held-out photos, {images} asked for")
    cases = []
    for n, (photo, name, x) in enumerate(crops[:images]):
        mixture, severity, y = flawed(x, n, settings, 0)
        cases.append(Case(f"{name}_{mixture}_{severity}", photo, sha256(paths[photo]), mixture, severity, x, y))
    return cases


def folder_cases(
    folder: Path, count: int, side: int, settings: str = "stablesr", validation: bool = True
) -> Iterator[Case]:
    """Crops of a folder's validation (or training) photos in turn: of a few random places the most textured.

    Training photos take their turns in a random order, so that the first hundred are not one collection's.
    Raises: PhotoError for a folder without such photos, or with a held-out photo.
    Test: test_cases.py::test_the_split_shares_no_photo, test_of_eight_places_the_most_textured_is_taken
    """
    photos = Photos.read(folder, side, validation)
    hashes = {p.name: digest for p, digest in _hashes(folder).items() if is_validation(digest) == validation}
    turns = np.arange(len(photos.names))
    if not validation:
        turns = np.random.default_rng([SEED, 77]).permutation(turns)
    places, flaws = CROPS[validation]
    for n in range(count):
        at, rng = turns[n % len(turns)], np.random.default_rng([SEED, places, n])
        array, tries = photos.arrays[at], []
        for _ in range(TRIES):
            top, left = (int(rng.integers(length - side + 1)) for length in array.shape[:2])
            x = array[top : top + side, left : left + side].astype(np.float32) / 255
            tries.append((texture(x), f"{top}-{left}", x))
        _, place, x = max(tries, key=lambda found: found[0])
        mixture, severity, y = flawed(x, n, settings, flaws)
        name = photos.names[at]
        yield Case(f"{name}-{place}_{mixture}_{severity}", name, hashes[name], mixture, severity, x, y)


def refuse_shared(test: list[Case], learn: list[Case], folder: Path) -> None:
    """The two splits share no photo with each other, nor with what is trained on.

    Raises: PhotoError naming the photos.
    Test: test_cases.py::test_the_split_shares_no_photo, test_a_shared_photo_is_refused
    """
    trained = {digest for digest in _hashes(folder).values() if not is_validation(digest)}
    used = {TEST: {c.sha256: c.photo for c in test}, LEARN: {c.sha256: c.photo for c in learn}}
    for one, other, name in ((TEST, used[LEARN], LEARN), (TEST, trained, "training"), (LEARN, trained, "training")):
        if shared := [photo for digest, photo in used[one].items() if digest in other]:
            raise PhotoError(f"the {one} photos {', '.join(shared)} are also {name} photos")


def unseen(checkpoint: dict, folder: Path) -> bool:
    """Whether the checkpoint's own story says that it was trained on the training part alone.

    Test: test_cases.py::test_a_checkpoint_that_saw_the_learning_photos_is_known
    """
    digests = sorted(digest for digest in _hashes(folder).values() if not is_validation(digest))
    manifest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    photos = checkpoint.get("photos")  # none where it was trained on sources
    return isinstance(photos, dict) and photos["manifest"] == manifest


def _hashes(folder: Path) -> dict[Path, str]:
    files = sorted(p for p in Path(folder).glob("**/*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return {path: sha256(path) for path in files}
