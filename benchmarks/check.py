"""Do the notebooks still find what they found? Run them, and compare with the committed rows.

    python -m benchmarks.check [--profile demo] [--only NAME ...]
    python -m benchmarks.check --profile smoke --update     its rows as they are now become the committed ones

Each photo's value is compared by metric, profile and device (gates.toml), worst first. The run stays in
results/runs/check-<profile>. The demo's committed rows are results/demo, which `benchmarks.run --publish` writes; those
of smoke, whose numbers mean nothing, are benchmarks/smoke.
Exit status: 0 equal within the gates, or no numbers to compare, 1 not equal, or a notebook failed, 2 refused.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from benchmarks import compare, pair, run
from unires import profiles, record

GOLDENS = {"smoke": Path("benchmarks/smoke")}  # elsewhere: results/<profile>
KEPT = ("profile", "seed", "device", "versions", "config")  # of the run's story: what may explain a breach


def main(argv: list[str] | None = None, *, notebooks: Path = pair.NOTEBOOKS, root: Path = run.ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo", help=" | ".join(profiles.PROFILES))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="notebooks by name, as 40_one_expert")
    parser.add_argument("--update", action="store_true", help="smoke: keep this run's rows as the committed ones")
    given = parser.parse_args(argv)
    if given.update and (given.profile not in GOLDENS or given.only):
        print("refused: --update takes the whole smoke run; results/ are written by --publish", file=sys.stderr)
        return 2
    committed = root / GOLDENS.get(given.profile, Path("results", given.profile))
    run_dir = root / "results" / "runs" / f"check-{given.profile}"
    try:
        run.plan(notebooks, given.profile, given.only)  # a misspelt name costs the earlier run nothing
    except run.Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    shutil.rmtree(run_dir, ignore_errors=True)  # photos that an earlier run restored would be measured again
    words = ["--profile", given.profile, "--out", str(run_dir)]
    words += ["--only", *given.only] if given.only else []
    if status := run.main(words, notebooks=notebooks, root=root):
        return status
    try:
        if given.update:
            update(run_dir, committed)  # and judge it: a metric without a gate is found here, not by the next check
        ran = set(record.read_run(run_dir)["notebooks"])  # of a whole run every row counts, whoever wrote it
        return compare.judge(committed, run_dir, sources=ran if given.only else None)
    except (compare.Incomparable, OSError, record.RecordError) as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2


def update(run_dir: Path, committed: Path) -> None:
    """Keep a run's rows, without its seconds, and of its story what may explain a breach.

    Test: test_check.py::test_a_change_is_named
    """
    rows, story = record.read_rows(run_dir), record.read_run(run_dir)
    beside = committed.with_name(f".{committed.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    for source in sorted({row["source"] for row in rows}):
        record.write_rows(beside, source, [{**row, "seconds": None} for row in rows if row["source"] == source])
    record.write_run(beside, **{name: story.get(name) for name in KEPT}, finished=True)
    shutil.rmtree(committed, ignore_errors=True)
    os.replace(beside, committed)
    print(f"{len(rows)} rows are the committed ones now: {committed}")


if __name__ == "__main__":
    sys.exit(main())
