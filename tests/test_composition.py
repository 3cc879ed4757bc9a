"""What composition gains, from small tables whose answers are found by hand or by a loop."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import composition
from benchmarks.grids import Grids
from unires.search import grid, one_hot


@pytest.fixture()
def grids():
    vectors, rng = grid(), np.random.default_rng(3)
    test = np.stack([rng.uniform(low, high, (2, len(vectors))) for low, high in ((3, 8), (0.1, 0.9), (0, 1))], -1)
    story = {"test": [{"image": "a"}, {"image": "b"}]}
    learn = np.zeros((0, len(vectors), 2))
    names = ("niqe", "lpips", "expected_lpips")
    return Grids(vectors, vectors, names, names[:2], test, learn, np.zeros((0, 1)), story)


def test_choices_against_brute_force(grids):
    table = composition.by_photo(grids)
    single = [i for i, w in enumerate(grids.vectors) if any(np.allclose(w, e, atol=1e-5) for e in one_hot())]
    assert len(single) == 6
    for image, line in zip(grids.test, table.to_numpy(), strict=True):
        places = {"[0, 1]": [i for i, w in enumerate(grids.vectors) if min(w) >= 0], "all 1512": range(1512)}
        expected = [min(image[i, 1] for i in single)]
        fixed = min(single, key=lambda i: grids.test[:, i, 1].sum())
        expected.append(image[fixed, 1])
        for inside in places.values():
            niqe, judge = (min(inside, key=lambda i: image[i, metric]) for metric in (0, 2))
            expected += [min(image[i, 1] for i in inside), image[niqe, 1], image[judge, 1]]
        np.testing.assert_allclose(line, expected)
    assert list(table.index) == ["a", "b"]


def test_bars_by_hand():
    table = pd.DataFrame({
        composition.EXPERT: [0.5, 0.4],
        composition.FIXED: [0.5, 0.5],
        "oracle, [0, 1]": [0.45, 0.38],  # 10 % and 5 % lower
        "NIQE, [0, 1]": [0.475, 0.4],  # 5 % and 0 %
        "expected LPIPS, [0, 1]": [0.45, 0.4],  # 10 % and 0 %
        "oracle, all 1512": [0.5, 0.4],  # nothing gained
        "NIQE, all 1512": [0.6, 0.5],
        "expected LPIPS, all 1512": [0.5, 0.3],
    })  # fmt: skip
    bars = composition.bars(table)
    assert bars["value"].tolist() == pytest.approx([7.5, 1 / 3, 2 / 3, 0.0, 0.0, 0.0])
    assert bars["reached"].tolist() == [True, False, True, False, False, False]
    fixed = composition.bars(table, composition.FIXED)["value"]  # gains of 10 % and 24 %; 5 % and 20 %; 10 % and 20 %
    assert fixed.tolist()[:3] == pytest.approx([17.0, 12.5 / 17, 15 / 17])
