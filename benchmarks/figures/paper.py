"""Which figure of the paper is redrawn by which function, in which notebook, and what stands in ours.

Figure 2 is the diagram of the method; notebook 00 draws the way of the data in its place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import curves, photos

OTHER = "their test sets and peers are not here, so"


@dataclass(frozen=True)
class PaperFigure:
    """One figure of the paper, and ours."""

    draw: Callable
    notebook: str
    file: str  # in a run's figures/
    paper: str  # what the paper's shows
    ours: str  # what ours shows instead, or in what it differs

    @property
    def command(self) -> str:
        """How to draw it."""
        return f"python -m benchmarks.run --profile demo --only {self.notebook}"


def _beside(notebook: str, file: str, ours: str, paper: str = "restorations side by side") -> PaperFigure:
    return PaperFigure(photos.side_by_side, notebook, file, paper, ours)


PAPER_FIGURES: dict[int, PaperFigure] = {
    1: _beside(
        "90_report",
        "front.jpg",
        "held-out photos with several flaws: one expert, one mixture",
        "real photos with several flaws, restored",
    ),
    3: PaperFigure(
        photos.down_lq_dial,
        "55_downlq",
        "55_figure3.jpg",
        "DownLQ with factors 1 to 16",
        "the same factors on a photo of ours, with what the network is shown above",
    ),
    4: _beside("46_baselines", "46_photos.jpg", f"{OTHER} ours stands beside restorers that can be installed"),
    5: _beside("90_report", "90_isolated.jpg", f"{OTHER} one photo of each single flaw: blind, its own expert, sharp"),
    6: _beside(
        "45_specialisation",
        "45_examples.jpg",
        f"{OTHER} each single flaw, by its own expert and by the worst of the others",
    ),
    7: _beside("60_search_weights", "60_choices.jpg", f"{OTHER} the search's choice beside the oracle's"),
    8: PaperFigure(
        photos.failure_cases,
        "90_report",
        "90_failures.jpg",
        "failure cases",
        "the photos that the front page's mixture harms most, by LPIPS, found by rule",
    ),
    9: PaperFigure(
        photos.expert_composition,
        "50_compose_experts",
        "50_figure9.jpg",
        "from SR to DN in six mixtures",
        "the same six mixtures on a photo of ours",
    ),
    10: PaperFigure(
        photos.one_photo_every_expert,
        "60_search_weights",
        "60_every_expert.jpg",
        "one photo under one-hot weights and under search",
        "the same; the search is that of notebook 60, a short list by NIQE",
    ),
    11: PaperFigure(
        curves.pair_matrix,
        "65_cheaper_search",
        "65_pairs.png",
        "MUSIQ over the weights of every pair of experts",
        "minus NIQE in place of MUSIQ, on a photo of ours",
    ),
    12: PaperFigure(
        photos.judges_choices,
        "85_metric_bias",
        "85_figure12.jpg",
        "a photo where the best MUSIQ is not the best picture",
        "the photo where NIQE's choice loses most LPIPS, found by rule",
    ),
    13: PaperFigure(
        photos.motion_samples,
        "10_photos_and_flaws",
        "10_oid_motion.jpg",
        "samples of OID-Motion, from heavy to almost none",
        "our motion pipeline on held-out photos, from heavy to almost none",
    ),
}


def drawn(run_dir: str | Path) -> list[dict[str, str]]:
    """One line for each figure of the paper: who draws it, what ours shows, and whether this run has it.

    A notebook that was published on request has its figures in a folder of its name.
    Test: test_figures.py::test_a_figure_that_is_missing_says_how_to_draw_it
    """
    lines = []
    for number, figure in PAPER_FIGURES.items():
        places = [Path(run_dir, "figures"), Path(run_dir, figure.notebook, "figures")]
        there = any((place / figure.file).exists() for place in places)
        what = {"figure": str(number), "the paper's": figure.paper, "ours": figure.ours}
        what |= {"drawn by": figure.draw.__name__, "notebook": figure.notebook}
        lines.append({**what, "status": "drawn" if there else f"not run: {figure.command}"})
    return lines
