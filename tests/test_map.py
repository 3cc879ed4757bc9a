"""The map holds: every name in the table of notebooks/00_map.py exists, and no equation is missing there."""

import ast
import importlib
import inspect
import re
from functools import lru_cache, reduce
from pathlib import Path

import pytest

from benchmarks import pair

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ["paper idea", "code", "notebook", "proof"]
REFERENCE = re.compile(r"((?:unires|benchmarks)/[\w/]+\.py)::([\w.]+)")
PROOF = re.compile(r"(test_\w+\.py)::(test_\w+)")
GOOD_PROOF = "`test_map.py::test_the_table_is_there`"
LABEL = r"(?:Paper|Shapes|Range|Raises|Test):"  # what a docstring's sections begin with


def tables() -> dict[str, list[list[str]]]:
    """The markdown tables of the map: name of the first column to rows of cells."""
    found, current = {}, None
    for cell in pair.read(pair.NOTEBOOKS / "00_map.py").cells:
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
            if not line.startswith("|"):
                current = None
                continue
            cells = [part.strip() for part in line.strip("|").split("|")]
            if current is None:
                current = found.setdefault(cells[0], [])
            current.append(cells)
    return {name: [rows[0], *rows[2:]] for name, rows in found.items()}  # without the rule below the head


def lookup(file: str, name: str):
    """The object that `unires/x.py::name` means; None if there is none."""
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    try:
        return reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):
        return None


@lru_cache
def defined_in(file: str) -> set[str]:
    """The test functions that a file defines, found without importing it."""
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([])
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def complaints(row: list[str]) -> list[str]:
    """What is wrong with one row of the table."""
    if len(row) != len(COLUMNS):
        return [f"{row[0]}: {len(row)} cells instead of {len(COLUMNS)}"]
    idea, code, notebooks, proofs = row
    found = []
    for cell, pattern in ((code, REFERENCE), (notebooks, re.compile(r"\d\d_\w+")), (proofs, PROOF)):
        quoted = re.findall(r"`([^`]*)`", cell)
        if not quoted or cell.count("`") != 2 * len(quoted) or not all(map(pattern.fullmatch, quoted)):
            found.append(f"{idea}: {cell!r} is not a list of quoted names")
    found += [f"{idea}: no {'::'.join(one)}" for one in REFERENCE.findall(code) if lookup(*one) is None]
    known = {path.stem for path in pair.find()}
    found += [f"{idea}: no notebook {name}" for name in re.findall(r"\w+", notebooks) if name not in known]
    named = PROOF.findall(proofs)
    found += [f"{idea}: no {file}::{name}" for file, name in named if name not in defined_in(file)]
    return found


def section(docstring: str, label: str) -> str:
    """The text behind a label of a docstring, up to the next one."""
    found = re.search(rf"{label}:(.*?)(?={LABEL}|\Z)", docstring, re.DOTALL)
    return found.group(1) if found else ""


def documented() -> dict[str, str]:
    """Every public function and class of the library, as the table would name it, with its docstring."""
    found = {}
    for path in sorted((ROOT / "unires").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found[f"{path.relative_to(ROOT)}::{node.name}"] = ast.get_docstring(node) or ""
    return found


def test_the_table_is_there():
    head, *rows = tables()[COLUMNS[0]]
    assert head == COLUMNS
    assert len(rows) > 30
    assert sum("our choice" in row[0] for row in rows) > 10


def test_every_name_in_the_table_exists():
    wrong = [one for row in tables()[COLUMNS[0]][1:] for one in complaints(row)]
    assert not wrong, "\n".join(wrong)


def test_table_and_docstrings_name_the_same_proof():
    """Where the code of a row names its tests, one of them is the row's proof."""
    apart = []
    for idea, code, _, proofs in tables()[COLUMNS[0]][1:]:
        texts = [inspect.getdoc(lookup(*one)) or "" for one in REFERENCE.findall(code)]
        named = {name for text in texts for name in re.findall(r"test_\w+\b(?!\.py)", section(text, "Test"))}
        if named and not named & {name for _, name in PROOF.findall(proofs)}:
            apart.append(f"{idea}: {sorted(named)}")
    assert apart == []


def test_every_equation_is_in_the_table():
    shown = {"::".join(one) for row in tables()[COLUMNS[0]] for one in REFERENCE.findall(row[1])}
    asked = {name for name, text in documented().items() if "Eq." in section(text, "Paper")}
    assert len(asked) > 10
    assert asked - shown == set()


def test_the_reading_order_lists_every_notebook():
    rows = tables()["notebook"][1:]
    assert [row[0].strip("`") for row in rows] == [path.stem for path in pair.find()]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (["idea", "`unires/compose.py::compost`", "`00_map`", GOOD_PROOF], "compost"),
        (["idea", "`unires/composer.py::compose`", "`00_map`", GOOD_PROOF], "composer"),
        (["idea", "`unires/compose.py::compose`", "`01_map`", GOOD_PROOF], "01_map"),
        (["idea", "`unires/compose.py::compose`", "`00_map`", "`test_map.py::test_nothing`"], "test_nothing"),
        (["idea", "`unires/compose.py::compose`", "`00_map`", "`test_mop.py::test_nothing`"], "test_mop"),
        (["idea", "compose", "`00_map`", GOOD_PROOF], "quoted"),
        (["idea", "`unires/compose.py::compose`"], "2 cells"),
    ],
)
def test_a_broken_row_is_found(row, complaint):
    assert complaint in " ".join(complaints(row))


def test_a_whole_row_is_not_complained_about():
    assert complaints(["idea", "`unires/compose.py::compose`", "`00_map`", GOOD_PROOF]) == []


def test_sections_of_a_docstring():
    text = "What.\n\nPaper: Eq. 2,\n    over lines.  Range: Eq. 9.\nTest: test_a.py::test_b"
    assert section(text, "Paper").split() == ["Eq.", "2,", "over", "lines."]
    assert section(text, "Test").strip() == "test_a.py::test_b"
    assert section(text, "Raises") == ""
