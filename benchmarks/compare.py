"""Does a run say what the committed one says?

    python -m benchmarks.compare results/demo RUN [--gates benchmarks/gates.toml]

Image by image, never by means: a mean hides two errors that cancel. A value may move by its metric's gate
(gates.toml: by profile, and whether both runs used the same device); everything else in a row must be equal,
but for `seconds`, and on another device the weights that a search found: near ties fall either way there.
Exit status: 0 equal within the gates, 1 not, 2 nothing to compare.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from unires import record

GATES = Path(__file__).with_name("gates.toml")
# What run.json says that may explain a breach.
STORY = ("commit", "python", "versions", "device", "seed", "config", "checkpoints", "data")


class Incomparable(ValueError):
    """The two runs, or the gates, do not fit together."""


def compare(old: list[dict], new: list[dict], gates: dict[str, dict[str, float]], device: str) -> list[str]:
    """One sentence for every breach. `gates` maps a metric to {"same": tolerance, "other": tolerance}."""
    before, after = ({record.key(row): row for row in rows} for rows in (old, new))
    found = []
    for key in sorted(before.keys() | after.keys()):
        name = " / ".join(filter(None, key))
        if key not in after:
            found.append(f"{name}: missing, was {_shown(before[key])}")
        elif key not in before:
            found.append(f"{name}: new, is {_shown(after[key])}")
        else:
            found += [f"{name}: {breach}" for breach in _breaches(before[key], after[key], gates, device)]
    return found


def _breaches(old: dict, new: dict, gates: dict[str, dict[str, float]], device: str) -> list[str]:
    if old["status"] != new["status"]:
        return [f"{_shown(old)} -> {_shown(new)}"]
    found = []
    if old["status"] == "ok":
        gate = gates.get(old["metric"], {}).get(device)
        if gate is None:
            found.append(f"no gate for metric {old['metric']!r} on the {device} device: add it to gates.toml")
        elif abs(old["value"] - new["value"]) > gate * (1 + 1e-9):
            moved = new["value"] - old["value"]
            found.append(f"{old['value']:g} -> {new['value']:g} ({moved:+.3g}, allowed {gate:g})")
    skipped = {"value", "status", "seconds"} | ({"weights"} if device == "other" else set())
    for field in sorted((old.keys() | new.keys()) - skipped):
        if old.get(field) != new.get(field):
            found.append(f"{field} {json.dumps(old.get(field))} -> {json.dumps(new.get(field))}")
    return found


def _shown(row: dict) -> str:
    return f"{row['value']:g}" if row["status"] == "ok" else f"not run ({row['reason']})"


def _gates(path: Path, profile: str) -> dict[str, dict[str, float]]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))[profile]
    except FileNotFoundError as error:
        raise Incomparable(f"{path} does not exist") from error
    except tomllib.TOMLDecodeError as error:
        raise Incomparable(f"{path}: {error}") from error
    except KeyError as error:
        raise Incomparable(f"{path} has no gates for profile {profile!r}") from error


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What else the two runs' records say differently, by name."""
    found = []
    for name in STORY:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            for part in sorted(before.keys() | after.keys()):
                if before.get(part) != after.get(part):
                    found.append(f"{name}.{part}: {before.get(part)} -> {after.get(part)}")
        elif before != after:
            found.append(f"{name}: {before} -> {after}")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="the committed run, as results/demo")
    parser.add_argument("new", type=Path, help="the run to judge")
    parser.add_argument("--gates", type=Path, default=GATES)
    given = parser.parse_args(argv)
    try:
        runs = [record.read_run(folder) for folder in (given.old, given.new)]
        profiles = [run.get("profile") for run in runs]
        if profiles[0] != profiles[1]:
            raise Incomparable(f"{given.old} is a {profiles[0]} run, {given.new} a {profiles[1]} run")
        if not runs[1].get("finished"):
            raise Incomparable(f"{given.new} is not finished: {runs[1].get('notebooks')}")
        rows = [record.read_rows(folder) for folder in (given.old, given.new)]
        if not rows[0]:
            raise Incomparable(f"{given.old} holds no rows")
        device = "same" if runs[0].get("device") == runs[1].get("device") else "other"
        breaches = compare(*rows, _gates(given.gates, profiles[0]), device)
    except (Incomparable, OSError, record.RecordError) as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2
    for breach in breaches:
        print(breach)
    if breaches:
        for line in _differences(*runs):
            print(f"the runs also differ in {line}")
    print(f"{len(rows[0])} rows compared with {len(rows[1])}, {device} device: {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
