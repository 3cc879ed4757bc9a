"""Huge pairs cut once into tiles: `python -m benchmarks.sets --root DIR --tiles sidd_train`.

A crop for training is read from a whole file: of a photo of 16 megapixels nearly all would be decoded in vain. The
tiles lie in tiles/lq and tiles/hq of the set's folder, lossless PNG named PHOTO_TOP_LEFT.png. They cover each photo
once, so every pixel counts the same in training, not every photo, and no crop crosses a tile's edge. `--training` lists
them in place of the photos, which stay. Tiles that are there are kept: run it again to go on.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from benchmarks.sets.layout import ImageSet, SetError, pairs
from unires.photo import decode_8_bit

SIDE = 1024  # pixels of a tile's side, about
FOLDER = "tiles"
SIDES = ("lq", "hq")


@dataclass(frozen=True)
class Cut:
    """How a pair is cut: its files, their size (width, height), and each tile's name and (top, bottom, left, right)."""

    photos: tuple[Path, Path]
    size: tuple[int, int]
    tiles: dict[str, tuple[int, int, int, int]]


def edges(length: int, side: int = SIDE) -> list[int]:
    """Where a photo's side is cut: into parts as equal as can be, of about `side` pixels.

    Test: test_sets.py::test_tiles_cover_the_photo_once
    """
    parts = max(1, round(length / side))
    return [length * i // parts for i in range(parts + 1)]


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:  # the header alone
        return image.size


def plan(image_set: ImageSet, root: Path, side: int = SIDE) -> list[Cut]:
    """How a set of pairs is to be cut, from the headers of its photos.

    Raises: SetError: a set whose sides aren't pairs of one size, a photo that can't be opened; as `pairs`.
    Test: test_sets.py::test_tiles_cover_the_photo_once, test_sets_that_cannot_be_cut
    """
    if len(image_set.sides) != 2 or image_set.protocol.scale != 1:
        raise SetError(f"{image_set.name} has no pairs of one size: only such pairs are cut into tiles.")
    found = []
    for name, *photos in pairs(image_set, root):
        try:
            (width, height), other = map(_size, photos)
        except OSError as error:
            raise SetError(f"{name}: {error}; copy it again.") from error
        if (width, height) != other:
            raise SetError(f"{root}: the photos of {name} are a pair, but differ in size; copy them again.")
        rows, columns = edges(height, side), edges(width, side)
        boxes = [(*row, *column) for row in pairwise(rows) for column in pairwise(columns)]
        tiles = {f"{name}_{box[0]:05d}_{box[2]:05d}.png": box for box in boxes}
        found.append(Cut(tuple(photos), (width, height), tiles))
    return found


def cut(image_set: ImageSet, root: str | Path, side: int = SIDE) -> int:
    """Cut a set's pairs, photo by photo in threads; returns how many pairs of tiles there are.

    Raises: SetError as `plan`; PhotoError for a damaged photo.
    Test: test_sets.py::test_tiles_cover_the_photo_once, test_cutting_goes_on_where_it_stopped
    """
    root = Path(root)
    cuts = plan(image_set, root, side)
    jobs = [(one, root / FOLDER / name, photo) for one in cuts for name, photo in zip(SIDES, one.photos, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(tqdm(pool.map(lambda job: _write(*job), jobs), total=len(jobs), desc=image_set.name, unit="photo"))
    return sum(len(one.tiles) for one in cuts)


def _write(one: Cut, folder: Path, photo: Path) -> None:
    """The tiles of one photo that are not there yet, each written beside its place and then moved there."""
    wanted = {folder / name: box for name, box in one.tiles.items() if not (folder / name).exists()}
    if not wanted:
        return
    pixels = decode_8_bit(photo, str(photo))
    if pixels.shape[1::-1] != one.size:
        raise SetError(f"{photo}: a tag says that it is to be turned; turn it, and take the tag away.")
    for path, (top, bottom, left, right) in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        Image.fromarray(pixels[top:bottom, left:right]).save(part, format="PNG")
        os.replace(part, path)


def is_cut(image_set: ImageSet, root: Path, side: int = SIDE) -> bool:
    """Whether a set's tiles are there, all of them and no others.

    Raises: SetError if some are, but not those of the photos.
    Test: test_sets.py::test_tiles_are_listed_as_sources, test_cutting_goes_on_where_it_stopped
    """
    folder = root / FOLDER
    if not folder.is_dir():
        return False
    wanted = {f"{name}/{tile}" for one in plan(image_set, root, side) for name in SIDES for tile in one.tiles}
    found = {path.relative_to(folder).as_posix() for path in folder.glob("*/**/*.png")}
    if wanted != found:
        why = f"{len(wanted - found)} are not there, {len(found - wanted)} are of other photos (remove these)"
        raise SetError(f"{folder}: {why}; finish with python -m benchmarks.sets --tiles {image_set.name}.")
    return True
