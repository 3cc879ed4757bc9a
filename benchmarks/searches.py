"""The tables' search (Eq. 3): what a profile tries on each photo, and what rows call it.

smoke and demo take the best of a short list by NIQE. The paper's profile tries the whole grid by MUSIQ. Its strike-outs
and its range [0, 1] are parts of the same grid, so they cost no further restoration but the last: the ledger knows
their scores. So does a line of our own, the words of A.7 on top of what the grid found: the paper's tables are without.
"""

import numpy as np

from benchmarks import strategies
from benchmarks.readme import SEARCH
from unires.config import SearchConfig
from unires.search import grid, strike_out
from unires.tasks import EXPERTS

STRUCK = (("BR",), ("BR", "DownLQ"), *(("BR", "DownLQ", name) for name in ("SR", "MD", "DD", "DN")))
RANGE = "range [0, 1]"  # as benchmarks.strategies calls it
WORDS = "words of A.7 on top"
HOW = {"list": "best of list", "grid": "grid search"}


def without(names: tuple[str, ...]) -> str:
    """Our name for the grid in which these experts have weight 0: as in `benchmarks.strategies` for a single one."""
    return f"without {', '.join(names)}"


def search_name(search: SearchConfig) -> str:
    """What rows call a profile's search: how, and by whose judgement.

    Test: test_searches.py::test_a_search_is_called_what_it_does
    """
    return f"{HOW[search.vectors]} by {search.score.upper()}"


def renamed(search: SearchConfig) -> dict[str, str]:
    """The method that stands in a table's plan: what this profile has in its place.

    Test: test_searches.py::test_the_grid_has_its_parts
    """
    name = search_name(search)
    if search.vectors == "list":
        return {SEARCH: name}
    parts = (RANGE, WORDS, *map(without, STRUCK))
    return {SEARCH: name, strategies.GRID: name, **{part: f"{name}, {part}" for part in parts}}


def grids(search: SearchConfig) -> dict[str, np.ndarray]:
    """The vectors of each search of a profile that tries the grid, by the method's name.

    Test: test_searches.py::test_the_grid_has_its_parts
    """
    every, name = grid(), search_name(search)
    found = {name: every, f"{name}, {WORDS}": every, f"{name}, {RANGE}": grid(low=0)}
    return found | {f"{name}, {without(names)}": strike_out(every, names, EXPERTS) for names in STRUCK}
