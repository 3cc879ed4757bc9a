"""Figures that several notebooks draw: photos at their own pixels, and how a figure is saved."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from unires.shapes import Photo

DPI = 100


def show_photos(rows: list[list[Photo]], titles: list[str], names: list[str] | None = None, zoom: float = 1.0):
    """A grid of photos of one size; one photo pixel is `zoom` screen pixels.

    `titles` head the columns, `names` stand left of the rows.
    """
    h, w = rows[0][0].shape[:2]
    head, side = 26 / DPI, (80 if names else 4) / DPI
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
    return figure


def save_figure(figure, run_dir: str | Path, name: str) -> Path:
    """Write run_dir/figures/<name>: .jpg for photos, .png for plots; beside first, then renamed."""
    path = Path(run_dir) / "figures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"new-{name}")
    options = {"pil_kwargs": {"quality": 88}} if path.suffix == ".jpg" else {}
    figure.savefig(beside, dpi=DPI, bbox_inches="tight", **options)
    beside.replace(path)
    return path
