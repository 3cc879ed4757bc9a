"""A profile's search has a name that says what it does, and the grid its parts."""

from math import comb

from benchmarks import searches
from benchmarks.readme import SEARCH
from benchmarks.strategies import GRID
from unires.config import SearchConfig
from unires.profiles import DEMO, PAPER, SMOKE
from unires.tasks import NAMES


def test_a_search_is_called_what_it_does():
    assert searches.search_name(DEMO.search) == searches.search_name(SMOKE.search) == SEARCH == "best of list by NIQE"
    assert searches.search_name(PAPER.search) == "grid search by MUSIQ"
    names = {searches.search_name(SearchConfig(*given)) for given in (("musiq",), ("niqe", "grid"))}
    assert names == {"best of list by MUSIQ", "grid search by NIQE"}


def test_the_grid_has_its_parts():
    assert searches.renamed(DEMO.search) == {SEARCH: SEARCH}
    lists, names = searches.grids(PAPER.search), searches.renamed(PAPER.search)
    assert set(lists) == set(names.values()) and names[SEARCH] == names[GRID] == "grid search by MUSIQ"
    assert {name: len(lists[names[name]]) for name in (SEARCH, searches.RANGE)} == {SEARCH: 1512, searches.RANGE: 252}
    assert (lists[names[searches.RANGE]] >= 0).all() and len(lists[names[searches.WORDS]]) == 1512
    for struck in searches.STRUCK:
        part, k = lists[names[searches.without(struck)]], 6 - len(struck)
        assert len(part) == comb(4 + k, k - 1) + k * comb(4 + k, k - 2)  # counted by hand, as in notebook 74
        assert not part[:, [NAMES.index(name) for name in struck]].any()
