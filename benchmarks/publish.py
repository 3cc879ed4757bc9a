"""Make a finished run the committed one: results/<profile>/.

python -m benchmarks.publish RUN
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from unires import record

RESULTS = Path(__file__).resolve().parents[1] / "results"
PARTS = ("rows.jsonl", "run.json", "tables", "figures", "notebooks")
LIMIT = 20_000_000  # bytes: a clone stays small, and every page opens in a browser


class PublishError(RuntimeError):
    """The run is not fit to be shown."""


def publish(run_dir: Path, results: Path = RESULTS) -> Path:
    """Copy the run beside its place, then swap the folders: results/<profile>/ is never half a run."""
    run = record.read_run(run_dir)
    if not run.get("finished"):
        raise PublishError(f"{run_dir} is not finished: {run.get('notebooks')}")
    try:
        record.read_rows(run_dir)
    except (FileNotFoundError, record.RecordError) as error:
        raise PublishError(str(error)) from error
    files = [path for part in PARTS for path in _files(run_dir / part)]
    size = sum(path.stat().st_size for path in files)
    if size > LIMIT:
        largest = max(files, key=lambda path: path.stat().st_size)
        raise PublishError(
            f"{run_dir} holds {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}: "
            f"make its figures smaller ({largest.relative_to(run_dir)} is the largest file)"
        )
    place = results / run["profile"]
    new, old = results / f".{place.name}.new", results / f".{place.name}.old"
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    for path in files:
        copy = new / path.relative_to(run_dir)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    for path in new.glob("notebooks/*.ipynb"):  # they name the folder that they wrote to
        text = path.read_text(encoding="utf-8")
        text = text.replace(named(run_dir, results.parent), f"results/{place.name}")
        path.write_text(text, encoding="utf-8")
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)
    return place


def _files(part: Path) -> list[Path]:
    return [part] if part.is_file() else sorted(path for path in part.rglob("*") if path.is_file())


def named(run_dir: Path, root: Path) -> str:
    """The run's folder as notebooks are told it: inside the project without a path of the machine."""
    run_dir, root = run_dir.resolve(), root.resolve()
    return (run_dir.relative_to(root) if run_dir.is_relative_to(root) else run_dir).as_posix()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run's folder, as results/runs/demo-20250101T000000Z")
    try:
        print(f"published {publish(parser.parse_args(argv).run)}")
    except (PublishError, OSError, record.RecordError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
