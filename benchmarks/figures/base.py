"""How photos are laid out at their own pixels, and how a figure is saved."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.transforms import Bbox

from unires.shapes import Photo

DPI = 100
NOTE = {"facecolor": "black", "alpha": 0.65, "linewidth": 0, "pad": 1.5}  # behind a photo's note
NEAR = 6  # points between a dot and its name
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))  # of a point


def show_photos(
    rows: list[list[Photo]],
    titles: list[str],
    names: list[str] | None = None,
    zoom: float = 1.0,
    notes: list[list[str]] | None = None,
):
    """A grid of photos of one size; one photo pixel is `zoom` screen pixels.

    `titles` head the columns, `names` stand left of the rows, `notes` in the photos' lower left corners.
    Test: test_figures.py::test_values_stand_in_their_own_photos
    """
    h, w = rows[0][0].shape[:2]
    head, side = (12 + 14 * max(title.count("\n") + 1 for title in titles)) / DPI, (80 if names else 4) / DPI
    width, height = w * zoom / DPI + 0.05, h * zoom / DPI + 0.05
    figure = plt.figure(figsize=(side + width * len(rows[0]), head + height * len(rows)), dpi=DPI)
    total_w, total_h = figure.get_size_inches()
    for i, row in enumerate(rows):
        for j, photo in enumerate(row):
            box = [side + j * width, total_h - head - (i + 1) * height + 0.05, width - 0.05, height - 0.05]
            axes = figure.add_axes([box[0] / total_w, box[1] / total_h, box[2] / total_w, box[3] / total_h])
            axes.imshow(np.clip(photo, 0, 1), interpolation="nearest" if zoom >= 1 else "antialiased")
            axes.set_xticks([]), axes.set_yticks([])
            if i == 0:
                axes.set_title(titles[j], fontsize=9, pad=4)
            if j == 0 and names:
                axes.set_ylabel(names[i], fontsize=9)
            if notes and notes[i][j]:
                place = {"transform": axes.transAxes, "ha": "left", "va": "bottom"}
                axes.text(0.015, 0.015, notes[i][j], color="white", fontsize=9, bbox=NOTE, **place)
    return figure


def enlarged_middle(photo: Photo, times: int) -> Photo:
    """The middle of a photo, as large as the whole, by repeating pixels.

    Test: test_figures.py::test_the_middle_is_as_large_as_the_whole
    """
    h, w = photo.shape[:2]
    part = photo[(h - h // times) // 2 :, (w - w // times) // 2 :][: h // times, : w // times]
    return part.repeat(times, 0).repeat(times, 1)


def label_points(axis, points: dict[str, tuple[float, float]], fontsize: float = 8) -> list:
    """Each point's name beside it, where it covers neither another name nor a point; the texts.

    Call it last, when limits and scales stand: eight sides of each point are tried, near ones first, and the first that
    is free is taken, or the freest. A name that stands far off is tied to its point by a line.
    Test: test_figures.py::test_names_of_near_points_do_not_cover_each_other
    """
    axis.figure.draw_without_rendering()  # so that limits and sizes are known
    dots = axis.transData.transform(np.array(list(points.values()), np.float64))
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in dots]
    texts = []
    for name, point in points.items():
        text = axis.annotate(name, point, (0, 0), textcoords="offset points", fontsize=fontsize)
        covered = {}
        for side in ((r * x, r * y) for r in (NEAR, 12, 20) for x, y in SIDES):
            _turn(text, side)
            box = text.get_window_extent()
            outside = not all(axis.bbox.contains(*corner) for corner in (box.min, box.max))
            covered[side] = sum(box.overlaps(other) for other in taken) + 3 * outside
            if not covered[side]:
                break
        side = min(covered, key=covered.get)
        _turn(text, side)
        if max(map(abs, side)) > NEAR:
            line = {"arrowstyle": "-", "color": "0.5", "lw": 0.6, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", point, side, textcoords="offset points", arrowprops=line)
        taken.append(text.get_window_extent())
        texts.append(text)
    return texts


def _turn(text, side: tuple[float, float]) -> None:
    text.set_position(side)
    text.set_ha({1: "left", -1: "right", 0: "center"}[np.sign(side[0])])
    text.set_va({1: "bottom", -1: "top", 0: "center"}[np.sign(side[1])])


def save_figure(figure, run_dir: str | Path, name: str) -> Path:
    """Write run_dir/figures/<name>: .jpg for photos, .png for plots; beside first, then renamed."""
    path = Path(run_dir) / "figures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"new-{name}")
    options = {"pil_kwargs": {"quality": 88}} if path.suffix == ".jpg" else {}
    figure.savefig(beside, dpi=DPI, bbox_inches="tight", **options)
    beside.replace(path)
    return path
