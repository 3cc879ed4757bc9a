"""Does a run say what the committed one says?

    python -m benchmarks.compare results/demo RUN [--gates benchmarks/gates.toml]
    python -m benchmarks.compare A B --diff [--top 20]     what moved between any two runs; nothing is judged

Image by image, never by means: a mean hides two errors that cancel. Worst first. A value may move by its metric's
gate (gates.toml: by profile, and by how alike the two runs' devices are); everything else in a row must be equal,
but for `seconds`. On devices that are not the same, near ties of a search fall either way: rows with other weights are
counted, not compared, as long as they are those of one photo or of at most half of a method's photos.
A value means nothing without what it was made with, so the seed and the parameters given by hand must be equal; another
checkpoint or config, other photos or metrics are printed even where no value moved.
A and B are folders of runs or their rows.jsonl, of any profile, finished or not.
Exit status: 0 equal within the gates, 1 not, 2 nothing to compare.
"""

import argparse
import json
import math
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.publish import apart
from unires import record

GATES = Path(__file__).with_name("gates.toml")
# What run.json says: what must be equal, what is told in any case, and what may explain a breach besides.
SETTINGS = ("seed", "parameters")
MADE_WITH = ("config", "checkpoints", "data", "metrics")
STORY = ("commit", "python", "versions", "device", *MADE_WITH)


class Incomparable(ValueError):
    """The two runs, or the gates, do not fit together."""


def compare(old: list[dict], new: list[dict], gates: dict[str, dict[str, float]], device: str) -> list[str]:
    """One sentence for every breach, worst first: what is no number comes before what moved, by its share of the gate.

    `gates` maps a metric to {"same": tolerance, "kin": tolerance, "other": tolerance}, `device` is one of the three.
    Test: test_compare.py::test_the_worst_comes_first
    """
    before, after = ({record.key(row): row for row in rows} for rows in (old, new))
    found, ties = [], set() if device == "same" else near_ties(before, after)
    for key in sorted((before.keys() | after.keys()) - ties):
        name = _name(key)
        if key not in after:
            found.append((math.inf, f"{name}: missing, was {_shown(before[key])}"))
        elif key not in before:
            found.append((math.inf, f"{name}: new, is {_shown(after[key])}"))
        else:
            breaches = _breaches(before[key], after[key], gates, device)
            found += [(badness, f"{name}: {breach}") for badness, breach in breaches]
    return [sentence for _, sentence in sorted(found, key=lambda one: -one[0])]


def diff(old: list[dict], new: list[dict], top: int | None = None) -> list[str]:
    """What moved between two runs of anything, whatever the gates say: for each metric a count, then worst first.

    Test: test_compare.py::test_a_diff_of_any_two_runs
    """
    before, after = ({record.key(row): row for row in rows} for rows in (old, new))
    both = {key: (before[key]["value"], after[key]["value"]) for key in before.keys() & after.keys()}
    found = []
    for metric in sorted({key[4] for key in both}):
        pairs = {key: pair for key, pair in both.items() if key[4] == metric and None not in pair}
        moved = sorted((-abs(b - a), key) for key, (a, b) in pairs.items() if a != b)
        found.append(f"{metric}: {len(moved)} of {len(pairs)} values moved")
        for _, key in moved[:top]:
            a, b = pairs[key]
            found.append(f"  {b - a:+.3g}: {a:g} -> {b:g}  {_name(key)}")
    changed = sorted(key for key in both if before[key]["status"] != after[key]["status"])
    found += [f"{_name(key)}: {_shown(before[key])} -> {_shown(after[key])}" for key in changed]
    for word, alone in (("first", before.keys() - after.keys()), ("second", after.keys() - before.keys())):
        if alone:
            found.append(f"only in the {word}: {len(alone)} rows, as {_name(min(alone))}")
    return found


def near_ties(before: dict[tuple, dict], after: dict[tuple, dict]) -> set[tuple]:
    """The keys of rows with other weights in the second run, but for methods that found others on most of their photos.

    A method that is called by its weights, as SR=0.5 DN=0.5, has found nothing: other weights are a breach.
    Test: test_compare.py::test_near_ties_of_a_search_fall_either_way,
          test_near_ties_are_those_of_half_the_photos_at_most
    """
    photos, moved = defaultdict(set), defaultdict(lambda: defaultdict(set))
    for key in before.keys() & after.keys():
        source, set_, image, method, *_ = key
        photos[source, set_, method].add(image)
        weights = [row.get("weights") for row in (before[key], after[key])]
        if "=" not in method and None not in weights and weights[0] != weights[1]:  # a row that was not run has none
            moved[source, set_, method][image].add(key)
    few = (found for name, found in moved.items() if len(found) <= max(1, len(photos[name]) // 2))
    return {key for found in few for keys in found.values() for key in keys}


def _breaches(old: dict, new: dict, gates: dict[str, dict[str, float]], device: str) -> list[tuple[float, str]]:
    """How bad each breach of a row is, and the words for it."""
    if old["status"] != new["status"]:
        return [(math.inf, f"{_shown(old)} -> {_shown(new)}")]
    found = []
    if old["status"] == "ok":
        gate, moved = gates.get(old["metric"], {}).get(device), new["value"] - old["value"]
        if gate is None:
            words = f"no gate for metric {old['metric']!r}, {device} device: add it to gates.toml"
            found.append((math.inf, words))
        elif abs(moved) > gate * (1 + 1e-9):
            words = f"{old['value']:g} -> {new['value']:g} ({moved:+.3g}, allowed {gate:g})"
            found.append((abs(moved) / gate if gate else math.inf, words))
    for field in sorted((old.keys() | new.keys()) - {"value", "status", "seconds"}):
        if old.get(field) != new.get(field):
            found.append((math.inf, f"{field} {json.dumps(old.get(field))} -> {json.dumps(new.get(field))}"))
    return found


def _name(key: tuple[str, ...]) -> str:
    return " / ".join(filter(None, key))


def _shown(row: dict) -> str:
    return f"{row['value']:g}" if row["status"] == "ok" else f"not run ({row['reason']})"


def _gates(path: Path, profile: str) -> dict[str, dict[str, float]]:
    try:
        gates = tomllib.loads(path.read_text(encoding="utf-8"))[profile]
    except FileNotFoundError as error:
        raise Incomparable(f"{path} does not exist") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Incomparable(f"{path}: {error}") from error
    except KeyError as error:
        raise Incomparable(f"{path} has no gates for profile {profile!r}") from error
    for metric, gate in gates.items():
        if any(not isinstance(most, int | float) or not 0 <= most < math.inf for most in gate.values()):
            raise Incomparable(f"{path}: a gate of {metric!r} is no number of at least 0: {gate}")
    return gates


def _differences(old: dict[str, Any], new: dict[str, Any], names: tuple[str, ...] = STORY) -> list[str]:
    """What else the two runs' records say differently, by name."""
    found = []
    for name in names:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            for part in sorted(before.keys() | after.keys()):
                if before.get(part) != after.get(part):
                    found.append(f"{name}.{part}: {before.get(part)} -> {after.get(part)}")
        elif before != after:
            found.append(f"{name}: {before} -> {after}")
    return found


def likeness(old: dict | None, new: dict | None) -> str:
    """How alike two devices are: "same"; "kin", but for the number or the vector instructions of the cores; or "other".

    Runs from before those were told count as kin.
    Test: test_compare.py::test_kin_differ_in_their_cores_alone
    """
    if old == new:
        return "same"
    apart = ("instructions", "cores")
    known = [{name: fact for name, fact in (device or {}).items() if name not in apart} for device in (old, new)]
    return "kin" if known[0] == known[1] else "other"


def judge(old: Path, new: Path, gates: Path = GATES, sources: set[str] | None = None) -> int:
    """Print what of the old run the new one breaks; `sources` are the notebooks that count, all by default.

    Raises: Incomparable, OSError, RecordError where there is nothing to compare.
    Test:   test_compare.py::test_a_row_changed_by_hand_fails_and_is_named, test_check.py::test_a_change_is_named,
            test_check.py::test_a_notebook_without_rows_is_no_failure
    """
    runs = [record.read_run(folder) for folder in (old, new)]
    profiles = [run.get("profile") for run in runs]
    if profiles[0] != profiles[1]:
        raise Incomparable(f"{old} is a {profiles[0]} run, {new} a {profiles[1]} run")
    if not runs[1].get("finished"):
        raise Incomparable(f"{new} is not finished: {runs[1].get('notebooks')}")
    for name in SETTINGS:
        before, after = (run.get(name) or {} for run in runs)
        if before != after:
            raise Incomparable(f"{old} was made with {name} {before or 'none'}, {new} with {after or 'none'}")
    silent = sources is not None and not (new / "rows.jsonl").exists()  # some notebooks write no rows
    rows = [record.read_rows(old), [] if silent else record.read_rows(new)]
    if sources is not None:
        rows[0] += [row for folder in apart(old) for row in record.read_rows(folder)]
        rows = [[row for row in part if row["source"] in sources] for part in rows]
    if silent and not rows[0]:
        print("no numbers to compare: these notebooks write none, their own asserts held")
        return 0
    if not rows[0]:
        raise Incomparable(f"{old} holds no rows" + ("" if sources is None else f" of {', '.join(sorted(sources))}"))
    device = likeness(*(run.get("device") for run in runs))
    breaches = compare(*rows, _gates(gates, profiles[0]), device)
    for breach in breaches:
        print(breach)
    told = [name for name in MADE_WITH if None not in (run.get(name) for run in runs)]  # a golden keeps some alone
    for line in _differences(*runs, STORY if breaches else tuple(told)):
        print(f"the runs also differ in {line}")
    ties = len(near_ties(*({record.key(row): row for row in part} for part in rows)))
    note = f", {ties} of near ties left out" if ties and device != "same" else ""
    print(f"{len(rows[0])} rows compared with {len(rows[1])}{note}, {device} device: {len(breaches)} breaches")
    return 1 if breaches else 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="the committed run, as results/demo")
    parser.add_argument("new", type=Path, help="the run to judge")
    parser.add_argument("--gates", type=Path, default=GATES)
    parser.add_argument("--diff", action="store_true", help="judge nothing: show what moved, worst first")
    parser.add_argument("--top", type=int, metavar="N", help="of a --diff: at most N values a metric")
    given = parser.parse_args(argv)
    try:
        if not given.diff:
            return judge(given.old, given.new, given.gates)
        print("\n".join(diff(*(record.read_rows(place) for place in (given.old, given.new)), given.top)))
    except (Incomparable, OSError, record.RecordError) as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
