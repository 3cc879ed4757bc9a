"""Does composition pay? What a mixture of experts gains over the best single one, on the table of whole grids.

    python -m benchmarks.composition [--out results/search]

Needs results/search/grids.npz (`python -m benchmarks.grids`). For each photo: LPIPS of the best single expert, of the
best vector of the range [0, 1] and of all 1512 (the oracle, who knows the sharp photo), and of the vectors that NIQE
and the judge of `unires.judge` (expected LPIPS) take without knowing it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.cases import TEST
from benchmarks.grids import OUT, Grids, read
from benchmarks.specialisation import bar
from unires import judge
from unires.search import one_hot

DECIDES, JUDGES = {"NIQE": "niqe", "expected LPIPS": judge.NAME}, "lpips"
EXPERT, FIXED = "best expert of each photo", "best fixed expert"
RANGES = {"[0, 1]": lambda w: (w >= 0).all(1), "all 1512": lambda w: np.ones(len(w), bool)}


def by_photo(grids: Grids):
    """LPIPS of each photo (a line) under each choice (a column); lower is better.

    Test: test_composition.py::test_choices_against_brute_force
    """
    import pandas as pd

    lpips = -grids.score(TEST, JUDGES)
    singles = np.abs(grids.vectors[:, None] - one_hot()).max(-1).min(1) < 1e-4
    alone = lpips[:, singles]
    photos = [case["image"] for case in grids.story["test"]]
    table = pd.DataFrame({EXPERT: alone.min(1), FIXED: alone[:, alone.mean(0).argmin()]}, index=photos)
    for name, inside in RANGES.items():
        held = inside(grids.vectors)
        table[f"oracle, {name}"] = lpips[:, held].min(1)
        for who, metric in DECIDES.items():
            chosen = grids.score(TEST, metric)[:, held].argmax(1)
            table[f"{who}, {name}"] = np.take_along_axis(lpips[:, held], chosen[:, None], 1)[:, 0]
    return table


def bars(table, over: str = EXPERT):
    """The bars for each range: the oracle's gain over single experts, and the part of it that each choice keeps.

    A gain is the mean over the photos of 1 - LPIPS / LPIPS of the single expert: the best one of that photo, which
    nobody knows beforehand, or with `over=FIXED` the one that is best on average.
    Test: test_composition.py::test_bars_by_hand
    """
    import pandas as pd

    gain, lines = (1 - table.div(table[over], axis=0)).mean(), []
    for name in RANGES:
        oracle = gain[f"oracle, {name}"]
        what = f"oracle's LPIPS below the {over}'s, {name}"
        lines.append(bar("composition pays", what, 100 * oracle, 5, "%", True))
        for who in DECIDES:
            kept = gain[f"{who}, {name}"] / oracle if oracle > 0 else 0.0
            lines.append(bar("composition pays", f"share of it that {who} keeps, {name}", kept, 0.5, "", True))
    return pd.DataFrame(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.composition", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="where grids.npz lies")
    try:
        table = by_photo(read(parser.parse_args(argv).out))
    except FileNotFoundError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    print(table.round(4).to_string())
    for over in (EXPERT, FIXED):
        print(bars(table, over).round(3).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
