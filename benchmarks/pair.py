"""Every notebook is a pair: NN_name.py is the truth, NN_name.ipynb shows the same cells, without outputs.

python -m benchmarks.pair            write the .ipynb of every notebook anew
python -m benchmarks.pair --check    name the pairs that differ, and exit 1
"""

import argparse
import re
import sys
from pathlib import Path

import jupytext
import nbformat

from unires.files import write_beside

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def find(folder: Path = NOTEBOOKS) -> list[Path]:
    """The notebooks NN_name.py of a folder, in order."""
    return sorted(path for path in folder.glob("*.py") if re.match(r"\d\d_", path.name))


def read(path: Path) -> nbformat.NotebookNode:
    """A percent file as a notebook. Conversion names cells at random: here they are called c0, c1, ..."""
    notebook = jupytext.read(path)
    if path.suffix == ".py" and not any(cell.cell_type == "markdown" for cell in notebook.cells):
        raise ValueError(f"{path.name} has no markdown cell (# %% [markdown]): is it a percent file?")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"c{number}"
    notebook.metadata.setdefault("kernelspec", KERNEL)
    notebook.metadata.get("jupytext", {}).pop("text_representation", None)  # holds the version of jupytext
    return notebook


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str, list[str]]]:
    """What two halves of a pair must share: type, source and tags of every cell."""
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


def write(path: Path) -> Path:
    """Write the .ipynb of one percent file, beside it."""
    pair = path.with_suffix(".ipynb")
    write_beside(pair, (nbformat.writes(read(path)) + "\n").encode())
    return pair


def differences(folder: Path = NOTEBOOKS) -> list[str]:
    """One sentence for every pair that is not one."""
    found = []
    for path in find(folder):
        pair = path.with_suffix(".ipynb")
        if not pair.exists():
            found.append(f"{pair.name} is missing")
            continue
        shown = nbformat.read(pair, as_version=4)
        if cells(shown) != cells(read(path)):
            found.append(f"{pair.name} differs from {path.name}")
        if any(cell.get("outputs") or cell.get("execution_count") for cell in shown.cells):
            found.append(f"{pair.name} holds outputs; executed notebooks belong to results/")
    alone = {path.name for path in folder.glob("*.ipynb")} - {path.stem + ".ipynb" for path in find(folder)}
    return found + [f"{name} has no .py: the percent file is the truth" for name in sorted(alone)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pair", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a pair differs")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, metavar="DIR")
    given = parser.parse_args(argv)
    if not find(given.notebooks):
        print(f"{given.notebooks} holds no notebook NN_name.py", file=sys.stderr)
        return 2
    if given.check:
        found = differences(given.notebooks)
        for sentence in found:
            print(sentence, file=sys.stderr)
        if found:
            print("pair them with: python -m benchmarks.pair", file=sys.stderr)
        return 1 if found else 0
    for path in find(given.notebooks):
        print(write(path).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
