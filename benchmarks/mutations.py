"""Would anybody notice? Small corruptions of the code and of results, each caught by a named test or comparison.

    python -m benchmarks.mutations [--only NAME ...]

Each corruption is made in a temporary copy of the tree: a text that must occur there exactly once is replaced, and the
one check that is named beside it must fail, having passed just before. Writes results/mutations.json.
Exit status: 0 all caught, 1 one was not, 2 a corruption's text isn't in the tree, or a check fails without it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from benchmarks.corruptions import MUTATIONS, SMOKE, Mutation, Unfit
from unires.files import write_beside

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "results" / "mutations.json"
LEFT_OUT = (".git", ".venv", "__pycache__", "runs", "training", "*.egg-info", ".pytest_cache", ".ruff_cache")
BEFORE = "build/before"  # in the copy: the demo's results before a corruption


def command(check: str) -> list[str]:
    """The words that run a check in a tree."""
    if check == "pair":
        return ["-m", "benchmarks.pair", "--check"]
    if check == "compare":
        return ["-m", "benchmarks.compare", BEFORE, "results/demo"]
    if check == SMOKE:
        return ["-m", "benchmarks.check", "--profile", "smoke", "--only", SMOKE.split()[-1]]
    return ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(f"tests/{one}" for one in check.split())]


def run(check: str, tree: Path) -> subprocess.CompletedProcess:
    """Run a check there; no byte code, which goes by a file's second and size, outlives a corruption."""
    env = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "240"}
    words = [sys.executable, *command(check)]
    return subprocess.run(words, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def evidence(check: str, output: str) -> str | None:
    """The line that names what was noticed; None where a check failed for another reason than its own.

    Test: test_mutations.py::test_evidence_is_a_failed_assertion
    """
    marks = {"pair": "differs from", "compare": ": ", SMOKE: " / "}
    mark = marks.get(check, "FAILED tests/")
    found = [line for line in output.splitlines() if mark in line and not line.startswith(("the runs", "cannot"))]
    return found[0][:200] if found else None


def mutate(mutations: list[Mutation], tree: Path) -> Iterator[dict]:
    """Make each corruption in the tree, run its check, and take it back.

    Raises: Unfit: a text isn't in the tree, or a check fails without any corruption.
    Test:   test_mutations.py::test_what_is_caught_and_what_is_not
    """
    edited = {}
    for mutation in mutations:  # all of them before the first slow check
        text = (tree / mutation.file).read_text(encoding="utf-8")
        try:
            edited[mutation.name] = text, mutation.edit(text)
        except Unfit as error:
            raise Unfit(f"{mutation.name}: {mutation.file}: {error}") from None
    checks = list(dict.fromkeys(mutation.caught_by for mutation in mutations))
    tests = " ".join(check for check in checks if "::" in check)
    for check in [tests] * bool(tests) + [check for check in checks if "::" not in check]:
        if (done := run(check, tree)).returncode:
            raise Unfit(f"{check} fails without any corruption:\n{done.stdout[-2000:]}")
    for mutation in tqdm(mutations, unit="mutation"):
        text, corrupted = edited[mutation.name]
        path = tree / mutation.file
        path.write_text(corrupted, encoding="utf-8")
        try:
            done = run(mutation.caught_by, tree)
        finally:
            path.write_text(text, encoding="utf-8")
        how = evidence(mutation.caught_by, done.stdout) if done.returncode == 1 else None
        yield {"mutation": mutation.name, "file": mutation.file, "caught by": mutation.caught_by, "how": how}


def copy(tree: Path) -> Path:
    """The tree without what is not committed, and the demo's results once more."""
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copytree(tree / "results" / "demo", tree / BEFORE)
    return tree


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations", description=__doc__.splitlines()[0])
    names = [one.name for one in MUTATIONS]
    only = "corruptions by name; the others' results stay"
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=only)
    given = parser.parse_args(argv)
    chosen = [one for one in MUTATIONS if not given.only or one.name in given.only]
    told = {one["mutation"]: one for one in json.loads(OUT.read_text())} if OUT.exists() else {}
    found = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for one in mutate(chosen, copy(Path(folder, "tree"))):
                found.append(one)
                told[one["mutation"]] = one
                kept = [told[name.name] for name in MUTATIONS if name.name in told]
                write_beside(OUT, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
    except Unfit as error:
        print(error, file=sys.stderr)
        return 2
    for one in found:
        print(f"{'caught' if one['how'] else 'NOT CAUGHT'}: {one['mutation']} ({one['caught by']})")
    print(f"{sum(bool(one['how']) for one in found)} of {len(found)} caught")
    return 0 if all(one["how"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
