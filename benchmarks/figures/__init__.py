"""Figures: photos at their own pixels, and one named function for each figure of the paper that is redrawn."""

from benchmarks.figures.base import enlarged_middle, label_points, save_figure, show_photos
from benchmarks.figures.curves import composition_curves, pair_matrix
from benchmarks.figures.paper import PAPER_FIGURES, PaperFigure, drawn
from benchmarks.figures.photos import (
    down_lq_dial,
    expert_composition,
    failure_cases,
    judges_choices,
    most_harmed,
    motion_samples,
    one_photo_every_expert,
    side_by_side,
)

__all__ = [
    "PAPER_FIGURES",
    "PaperFigure",
    "composition_curves",
    "down_lq_dial",
    "drawn",
    "enlarged_middle",
    "expert_composition",
    "failure_cases",
    "judges_choices",
    "label_points",
    "most_harmed",
    "motion_samples",
    "one_photo_every_expert",
    "pair_matrix",
    "save_figure",
    "show_photos",
    "side_by_side",
]
