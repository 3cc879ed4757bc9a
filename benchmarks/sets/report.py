"""Whether a set is all there: counts, pairs, and with `deep` every image opened."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from benchmarks.sets.layout import ImageSet, SetError, files, find, parquet_files
from benchmarks.sets.loading import load, rows_of

MOST_NAMES = 5  # names that a report gives of each fault


@dataclass(frozen=True)
class Report:
    """What was found of a set. Names are paths below the set's folder, the first few of each fault.

    present: as published. missing: nothing of it. incomplete: fewer than published, or still packed. wrong: more than
    published, an image without partner among a full count, an image unreadable or of a wrong size.
    """

    name: str
    status: str
    expected: int | None
    found: int
    advice: str
    unpaired: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    wrong_size: tuple[str, ...] = ()


def check(image_set: ImageSet, root: str | Path, deep: bool = False, expected: int | None = None) -> Report:
    """Look at a set's folder; `expected` stands for the published count where it is given.

    Test: test_sets.py::test_present, test_missing, test_wrong_count, test_a_truncated_file_is_named
    """
    root, expected = Path(root), image_set.count if expected is None else expected
    tables = parquet_files(image_set, root)
    fault = ""
    if tables:
        try:
            found, unpaired = rows_of(image_set, tables), ()
        except SetError as error:
            found, unpaired, fault = 0, (), str(error)
        total = found
    else:
        those = files(image_set, root)
        found, unpaired = len(those.pairs), those.unpaired
        total = found + len(unpaired)
    unreadable, wrong_size = _open_all(image_set, root, bool(tables)) if deep and found else ((), ())
    known = {"unpaired": unpaired, "unreadable": unreadable, "wrong_size": wrong_size}

    if fault:
        status, advice = "wrong", fault
    elif total == 0 and find(root, image_set.packed):
        status, advice = "incomplete", f"still packed: {image_set.unpack.format(folder=root)}"
    elif total == 0:
        status, advice = "missing", f"get it from {image_set.source.home} and lay it in {root}"
    elif unreadable:
        status, advice = "wrong", f"copy again: {_names(unreadable)}"
    elif wrong_size:
        status, advice = "wrong", f"not the published size: {_names(wrong_size)}"
    elif expected is not None and found > expected:
        status, advice = "wrong", f"{found - expected} too many: is it another split or a cropped copy?"
    elif unpaired:
        status = "incomplete" if expected is not None and found < expected else "wrong"
        advice = f"without partner: {_names(unpaired)}"
    elif expected is not None and found < expected:
        status, advice = "incomplete", f"{expected - found} are not there: finish the copy"
    else:
        status, advice = "present", ""
    cut = {kind: tuple(names[:MOST_NAMES]) for kind, names in known.items()}
    return Report(image_set.name, status, expected, found, advice, **cut)


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _open_all(image_set: ImageSet, root: Path, from_tables: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Decode every image: names of those that fail, and of those whose size is not the protocol's."""
    protocol = image_set.protocol
    with ThreadPoolExecutor() as pool:  # decoding leaves the interpreter free; a pool's map would hold all bytes
        images, each = (_bytes(image_set, root), map) if from_tables else (_paths(image_set, root), pool.map)
        opened = tqdm(each(lambda image: (*image[:3], _size(image[3])), images), desc=image_set.name, leave=False)
        unreadable, wrong, sizes = [], [], {}
        for pair, side, name, size in opened:
            asked = getattr(protocol, f"{side}_size")
            if size is None:
                unreadable.append(name)
            elif asked is not None and size != asked:
                wrong.append(name)
            elif side == "lq":
                sizes[pair] = size
            elif protocol.scale and pair in sizes and size != tuple(n * protocol.scale for n in sizes[pair]):
                wrong.append(name)
    return tuple(unreadable), tuple(wrong)


def _paths(image_set: ImageSet, root: Path) -> Iterator[tuple[str, str, str, Path]]:
    for pair, lq, hq in files(image_set, root).pairs:
        for side, path in (("lq", lq), ("hq", hq)):
            if path is not None:
                yield pair, side, path.relative_to(root).as_posix(), path


def _bytes(image_set: ImageSet, root: Path) -> Iterator[tuple[str, str, str, BytesIO]]:
    for row in load(image_set, root, decode=False):
        for side in image_set.sides:
            yield row["name"], side, f"{row['name']} ({side})", BytesIO(row[side]["bytes"] or b"")


def _size(file: Path | BytesIO) -> tuple[int, int] | None:
    """(width, height) of an image that can be read to its end, else None."""
    try:
        with Image.open(file) as image:
            image.verify()
        if isinstance(file, BytesIO):
            file.seek(0)
        with Image.open(file) as image:  # verify looks at the structure alone: a cut JPEG passes it
            image.load()
            return image.size
    except (OSError, SyntaxError, ValueError):  # Pillow's for damaged, cut and foreign files
        return None
