"""The runner of corruptions on a tiny tree; and every corruption of the real list is possible today."""

import json
from pathlib import Path

import pytest

from benchmarks import mutations
from benchmarks.corruptions import MUTATIONS, ROWS, SMOKE, Mutation, Unfit, rows, swap
from benchmarks.mutations import ROOT, evidence, mutate

VALUES = """def test_value():
    from code_under_test import value
    assert value == 1

def test_other():
    assert True
"""


@pytest.fixture
def tree(tmp_path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "code_under_test.py").write_text("value = 1\n")
    (tmp_path / "tests" / "test_a.py").write_text(VALUES)
    return tmp_path


def test_what_is_caught_and_what_is_not(tree):
    edit = swap("value = 1", "value = 2")
    both = [Mutation(test, "code_under_test.py", edit, f"test_a.py::test_{test}") for test in ("value", "other")]
    caught, not_caught = mutate(both, tree)
    assert "FAILED tests/test_a.py::test_value" in caught["how"] and not_caught["how"] is None
    assert (tree / "code_under_test.py").read_text() == "value = 1\n"
    (tree / "code_under_test.py").write_text("value = 1  # changed\nvalue += 1\n")
    with pytest.raises(Unfit, match="test_value fails without any corruption"):
        list(mutate(both[:1], tree))


def test_a_text_that_is_not_there_is_refused(tree):
    with pytest.raises(Unfit, match="n: code_under_test.py: 'value = 3' occurs 0 times"):
        list(mutate([Mutation("n", "code_under_test.py", swap("value = 3", ""), "test_a.py::test_value")], tree))
    with pytest.raises(Unfit, match="'a' occurs 2 times"):
        swap("a", "b")("banal")


def test_a_broken_tree_is_no_evidence():
    assert evidence("test_a.py::test_b", "ERROR tests/test_a.py - ImportError: cannot") is None


def test_evidence_is_a_failed_assertion():
    assert evidence("test_a.py::test_b", "...\nFAILED tests/test_a.py::test_b - assert 1 == 2\n").endswith("1 == 2")
    assert evidence("compare", "cannot compare: no rows\n") is None
    assert evidence("compare", "40 / SR / a / LQ / psnr: 20 -> 21 (+1, allowed 0.01)\n").startswith("40 / SR")
    assert evidence(SMOKE, "FAILED 40_one_expert, cell 3\n") is None


def test_rows_are_changed_by_hand():
    one = {"source": "40", "set": "SR", "method": "LQ", "status": "ok", "variant": ""}
    lines = [
        {**one, "image": i, "metric": m, "value": v}
        for i, m, v in (("a", "psnr", 20), ("b", "psnr", 21), ("a", "ssim", 1))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)

    def after(change):
        return [json.loads(line)["value"] for line in rows(change)(text).splitlines()]

    changes = [one.edit for one in MUTATIONS if one.caught_by == "compare"]
    found = [[json.loads(line)["value"] for line in edit(text).splitlines()] for edit in changes]
    assert found == [[21, 1], [20.02, 21, 1], [21, 20, 1], [1, 21, 20], [20, 21, 1]]
    assert after(lambda chosen: None) == [20, 21, 1]


@pytest.mark.parametrize("one", MUTATIONS, ids=lambda one: one.name)
def test_every_corruption_is_possible_today(one):
    path = ROOT / one.file
    if one.file == ROWS and not path.exists():
        pytest.skip("no demo run is published")
    text = path.read_text(encoding="utf-8")
    assert one.edit(text) != text
    if "::" in one.caught_by:
        file, name = one.caught_by.split("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / "tests" / file).read_text()


def test_the_committed_list_is_this_one():
    told = {one["mutation"]: one for one in json.loads(mutations.OUT.read_text())}
    assert list(told) == [one.name for one in MUTATIONS] and len(told) >= 20
    assert all(told[one.name]["caught by"] == one.caught_by and told[one.name]["how"] for one in MUTATIONS)
