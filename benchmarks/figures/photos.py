"""The paper's figures of photos: whole photos beside each other, with their values from rows.

Photos come by set and image, and for each by method: the names that rows have. "LQ" is the flawed one, "HQ" the sharp.
"""

import numpy as np

from benchmarks.figures.base import enlarged_middle, show_photos
from unires.metrics import METRICS
from unires.record import Row
from unires.shapes import Photo

Photos = dict[tuple[str, str], dict[str, Photo]]
DIGITS = {"psnr": 1, "niqe": 1}  # of a value in a photo's corner; others have 3


def value_of(rows: list[Row], place: tuple[str, str], method: str, metric: str) -> float | None:
    """The value of one photo by one metric in its own variant, or None where it was not measured."""
    what = {"set": place[0], "image": place[1], "method": method, "metric": metric, "status": "ok"}
    if metric in METRICS:
        what["variant"] = METRICS[metric].variant
    return next((row["value"] for row in rows if what.items() <= row.items()), None)


def note(rows: list[Row], place: tuple[str, str], method: str, metrics: tuple[str, ...]) -> str:
    """What stands in a photo's corner: a line for each metric that was measured."""
    known = {metric: value_of(rows, place, method, metric) for metric in metrics}
    return "\n".join(f"{m.upper()} {v:.{DIGITS.get(m, 3)}f}" for m, v in known.items() if v is not None)


def side_by_side(
    rows: list[Row],
    photos: Photos,
    titles: list[str] | None = None,
    names: list[str] | None = None,
    metrics: tuple[str, ...] = ("lpips",),
    zoom: float = 1.0,
):
    """One line for each flawed photo: the photo, its restorations, the sharp one, each with its values.

    Paper: Figures 1 and 4 to 7.
    Test:  test_figures.py::test_values_stand_in_their_own_photos
    """
    grid = [list(line.values()) for line in photos.values()]
    notes = [[note(rows, place, method, metrics) for method in line] for place, line in photos.items()]
    return show_photos(grid, titles or list(next(iter(photos.values()))), names, zoom, notes)


def most_harmed(rows: list[Row], method: str, metric: str = "lpips", count: int = 3) -> list[tuple[str, str]]:
    """Set and image where a method is furthest behind the flawed photo itself, the worst first.

    Range: only photos where it *is* behind; so there may be fewer than `count`, or none.
    Test:  test_figures.py::test_failure_cases_are_found_by_rows
    """
    places = sorted({(row["set"], row["image"]) for row in rows})
    sign = -1 if METRICS[metric].higher_is_better else 1
    harm = {}
    for place in places:
        ours, theirs = (value_of(rows, place, who, metric) for who in (method, "LQ"))
        if ours is not None and theirs is not None and sign * (ours - theirs) > 0:
            harm[place] = sign * (ours - theirs)
    return sorted(harm, key=lambda place: (-harm[place], place))[:count]


def failure_cases(rows: list[Row], photos: Photos, metrics: tuple[str, ...] = ("lpips", "psnr"), zoom: float = 1.0):
    """Where a restoration does harm: the flawed photo, what was made of it, the sharp one.

    Paper: Figure 8.
    Test:  test_figures.py::test_failure_cases_are_found_by_rows
    """
    titles = ["LQ", *list(next(iter(photos.values())))[1:-1], "HQ"]
    names = [f"{name}\n{image}" for name, image in photos]
    return side_by_side(rows, photos, titles, names, metrics, zoom)


def down_lq_dial(shown: dict[int, Photo], restored: dict[int, Photo], sharp: Photo, zoom: float = 1.0):
    """What the network is shown at each factor of DownLQ, and below what it makes of it; the sharp photo last.

    Paper: Figure 3.
    Test:  test_figures.py::test_the_dial_has_a_column_for_each_factor
    """
    if shown.keys() != restored.keys():
        raise ValueError(f"shown has the factors {list(shown)}, restored has {list(restored)}")
    titles = [*(f"factor {factor}" for factor in shown), "HQ"]
    grid = [[*shown.values(), sharp], [*(restored[factor] for factor in shown), sharp]]
    return show_photos(grid, titles, ["shown", "restored"], zoom)


def photo_and_middle(
    rows: list[Row],
    photos: Photos,
    titles: list[str] | None = None,
    metrics: tuple[str, ...] = ("lpips",),
    times: int = 2,
    zoom: float = 1.0,
):
    """One photo by several methods, and below each its middle, enlarged.

    Paper: Figure 9, where the methods are six mixtures of SR and DN; Figure 12, where they are judges' choices.
    Test:  test_figures.py::test_the_middle_is_as_large_as_the_whole
    """
    ((place, line),) = photos.items()
    notes = [[note(rows, place, method, metrics) for method in line], [""] * len(line)]
    grid = [list(line.values()), [enlarged_middle(photo, times) for photo in line.values()]]
    return show_photos(grid, titles or list(line), ["photo", f"middle x{times}"], zoom, notes)


def expert_composition(rows: list[Row], photos: Photos, zoom: float = 1.0):
    """One photo on the way from super-resolution to denoising, and its middle enlarged four times.

    Paper: Figure 9.
    Test:  test_figures.py::test_the_middle_is_as_large_as_the_whole
    """
    return photo_and_middle(rows, photos, metrics=("lpips",), times=4, zoom=zoom)


def judges_choices(rows: list[Row], photos: Photos, titles: list[str], zoom: float = 1.0):
    """One flawed photo and the candidates that different judges choose, with LPIPS to the sharp one.

    Paper: Figure 12.
    Test:  test_figures.py::test_values_stand_in_their_own_photos
    """
    return photo_and_middle(rows, photos, titles, ("lpips",), 2, zoom)


def one_photo_every_expert(
    rows: list[Row], photos: Photos, columns: int = 3, metrics: tuple[str, ...] = ("lpips", "niqe"), zoom: float = 1.0
):
    """One flawed photo by every expert alone and by the weights that a search found, each named in its corner.

    Paper: Figure 10.
    Test:  test_figures.py::test_every_expert_is_named_in_its_corner
    """
    ((place, line),) = photos.items()
    notes = ["\n".join(filter(None, (method, note(rows, place, method, metrics)))) for method in line]
    shown, blank = list(line.values()), np.ones_like(next(iter(line.values())))
    missing = -len(shown) % columns
    shown, notes = shown + [blank] * missing, notes + [""] * missing
    lines = range(0, len(shown), columns)
    grid, told = ([part[i : i + columns] for i in lines] for part in (shown, notes))
    return show_photos(grid, [""] * columns, zoom=zoom, notes=told)


def motion_samples(pairs: list[list[tuple[Photo, Photo]]], levels: tuple[float, ...], zoom: float = 1.0):
    """Shaken photos over the sharp ones that they were made from, heavy on the left; a pair is (LQ, HQ).

    Paper: Figure 13.
    Test:  test_figures.py::test_motion_samples_stand_over_their_sharp_photos
    """
    grid = [[pair[half] for pair in line] for line in pairs for half in (0, 1)]
    return show_photos(grid, [f"severity {level:g}" for level in levels], ["LQ", "HQ"] * len(pairs), zoom)
