"""What a set file says, and which files of a folder it means."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROLES = ("test", "train")
TASKS = ("SR", "MD", "DD", "DN", "complex")
MATCHES = ("key", "order", "single")

Pair = tuple[str, Path | None, Path | None]


class SetError(ValueError):
    """A set file or a set's folder that cannot be used as it is; the message names it and says what to do."""


@dataclass(frozen=True)
class Layout:
    """One way in which the set is laid out. Patterns are relative to the set's folder.

    match "key": files of a pair give the same groups of `key`, searched in their paths. "order": names differ, the
    sorted lists correspond. "single": one side only; `key` gives the name where it is set.
    """

    match: str
    lq: tuple[str, ...] = ()
    hq: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Protocol:
    """How the set is used: sizes are (width, height) in pixels, None where the photos differ in size."""

    crop: str
    scale: int | None = None
    lq_size: tuple[int, int] | None = None
    hq_size: tuple[int, int] | None = None
    paper_name: str = ""
    metrics: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """Terms of use, in our words. verified: they were seen where the authors state them."""

    text: str
    verified: bool


@dataclass(frozen=True)
class Source:
    """Who made the set, and where it is published. verified: the home was seen to be the set's."""

    authors: str
    title: str
    year: int
    home: str
    verified: bool


@dataclass(frozen=True)
class ImageSet:
    """One test or training set, as its TOML file describes it. `name` is the file's name.

    Test: test_sets.py::test_the_files_are_complete
    """

    name: str
    title: str
    role: str
    task: str
    folder: str
    layouts: tuple[Layout, ...]
    layout_verified: bool
    protocol: Protocol
    terms: Terms
    source: Source
    parquet: str
    count: int | None = None
    count_reason: str = ""
    packed: tuple[str, ...] = ()
    unpack: str = ""
    notes: tuple[str, ...] = ()

    def under(self, directory: str | Path) -> Path:
        """The set's own folder below a directory of sets."""
        return Path(directory) / self.folder

    @property
    def sides(self) -> tuple[str, ...]:
        """Which of lq and hq the set has."""
        return tuple(side for side in ("lq", "hq") if getattr(self.layouts[0], side))


def read_sets(folder: str | Path = HERE) -> dict[str, ImageSet]:
    """Every set file of a folder, by name.

    Raises: SetError: a file that is not TOML, lacks a field, has an unknown one or a value that makes no sense.
    Test:   test_sets.py::test_the_files_are_complete, test_a_bad_file_is_refused_by_name
    """
    return {path.stem: _read(path) for path in sorted(Path(folder).glob("*.toml"))}


def _read(path: Path) -> ImageSet:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        parts = {"protocol": Protocol, "terms": Terms, "source": Source}
        made = {name: _make(kind, given.pop(name)) for name, kind in parts.items()}
        made["layouts"] = tuple(_make(Layout, layout) for layout in given.pop("layout"))
        found = _make(ImageSet, {**given, **made})
    except KeyError as error:
        raise SetError(f"{path.name}: the table {error} is missing; add it.") from None
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise SetError(f"{path.name}: {error}; see another set's file for the fields.") from None
    wrong = [
        (found.name != path.stem, f"name is {found.name!r}, the file {path.stem!r}"),
        (found.role not in ROLES, f"role is {found.role!r}, not one of {', '.join(ROLES)}"),
        (found.task not in TASKS, f"task is {found.task!r}, not one of {', '.join(TASKS)}"),
        (found.count is None and not found.count_reason, "neither count nor count_reason is given"),
        (not found.layouts, "there is no layout"),
    ]
    for layout in found.layouts:
        sides = bool(layout.lq) + bool(layout.hq)
        wrong += [
            (layout.match not in MATCHES, f"match is {layout.match!r}, not one of {', '.join(MATCHES)}"),
            (sides != (1 if layout.match == "single" else 2), f"match {layout.match!r} with {sides} sides"),
            (layout.match == "key" and not layout.key, "match is 'key', and there is none"),
        ]
    for is_wrong, why in wrong:
        if is_wrong:
            raise SetError(f"{path.name}: {why}; correct it.")
    return found


def _make(kind: type, given: dict):
    """A dataclass from a TOML table; lists become tuples, an unknown or missing field is a TypeError."""
    unknown = set(given) - {f.name for f in fields(kind)}
    if unknown:
        raise TypeError(f"unknown field {', '.join(sorted(unknown))}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})


def find(root: Path, patterns: Iterable[str]) -> list[Path]:
    """The files that any of the patterns means, sorted by their path below the folder."""
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def parquet_files(image_set: ImageSet, root: Path) -> list[Path]:
    """The set's parquet files: in its folder or in data/ below it, as data sets on the Hub keep them."""
    return find(root, (image_set.parquet, f"data/{image_set.parquet}"))


@dataclass(frozen=True)
class Files:
    """A folder's files: the layout that found them, the pairs, and the names of those without partner."""

    layout: Layout
    pairs: tuple[Pair, ...] = ()
    unpaired: tuple[str, ...] = ()


def files(image_set: ImageSet, root: Path) -> Files:
    """Pair a folder's files by the first layout that finds every side; where none does, by one that finds any."""
    found = [(layout, find(root, layout.lq), find(root, layout.hq)) for layout in image_set.layouts]
    best = max(found, key=lambda one: bool(one[1]) + bool(one[2]))  # max keeps the first of equals
    return _pair(best[0], root, *best[1:])


def _pair(layout: Layout, root: Path, lq: list[Path], hq: list[Path]) -> Files:
    if layout.match == "order":
        if len(lq) != len(hq):  # one missing file shifts every later pair: none of them is to be trusted
            return Files(
                layout, (), (f"{len(lq)} LQ and {len(hq)} HQ images, whose names do not say which belong together",)
            )
        return Files(layout, tuple((y.stem, y, x) for y, x in zip(lq, hq, strict=True)))
    ys, xs = _by_key(layout, root, lq), _by_key(layout, root, hq)
    if layout.match == "single":
        return Files(layout, tuple((name, ys.get(name), xs.get(name)) for name in sorted(ys or xs)))
    paired = tuple((name, ys[name], xs[name]) for name in sorted(ys.keys() & xs.keys()))
    alone = {**ys, **xs}
    lonely = sorted(alone[name].relative_to(root).as_posix() for name in ys.keys() ^ xs.keys())
    return Files(layout, paired, tuple(lonely))


def _by_key(layout: Layout, root: Path, paths: list[Path]) -> dict[str, Path]:
    """Files by what the key finds in their paths. One that it doesn't fit, or a second one, keeps its whole path."""
    found = {}
    for path in paths:
        relative = path.relative_to(root)
        match = re.search(layout.key, relative.as_posix()) if layout.key else None
        name = "/".join(group for group in match.groups() if group) if match else relative.with_suffix("").as_posix()
        found[relative.as_posix() if name in found else name] = path
    return found


def pairs(image_set: ImageSet, root: str | Path) -> list[Pair]:
    """The set's images: (name, LQ path, HQ path), sorted by name; None for a side that the set doesn't have.

    Raises: SetError: no image where the set's layouts expect them, or images without partner.
    Test:   test_sets.py::test_pairs_are_sorted_and_belong_together, test_a_pair_without_partner_is_named
    """
    root = Path(root)
    found = files(image_set, root)
    if found.unpaired:
        raise SetError(f"{root}: {image_set.name} has images without partner: {', '.join(found.unpaired[:5])}.")
    if not found.pairs:
        lay = "; ".join(" and ".join((*layout.lq, *layout.hq)) for layout in image_set.layouts)
        raise SetError(f"{root}: no image of {image_set.name} here; expected {lay}.")
    return list(found.pairs)
