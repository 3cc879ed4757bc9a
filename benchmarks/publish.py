"""Make a finished run the committed one: results/<profile>/.

    python -m benchmarks.publish RUN                 the whole run
    python -m benchmarks.publish RUN --only NAME     one notebook of it, in results/<profile>/NAME/
    python -m benchmarks.publish --texts             the committed pages get the notebooks' present texts

A notebook that runs on request has a folder of its own there; publishing the whole run keeps such folders. The report
of notebook 90 is written anew for the new place, with all that lies there. A page whose notebook has other code by now
keeps its texts too: only a new run can say what that code finds.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

import nbformat

from benchmarks import pair
from unires import record
from unires.files import write_beside

RESULTS = Path(__file__).resolve().parents[1] / "results"
PARTS = ("rows.jsonl", "run.json", "tables", "figures", "notebooks")
LIMIT = 20_000_000  # bytes: a clone stays small, and every page opens in a browser


class PublishError(RuntimeError):
    """The run is not fit to be shown."""


def publish(run_dir: Path, results: Path = RESULTS, only: str | None = None, whole: Collection[str] = ()) -> Path:
    """Copy the run beside its place, then swap the folders: results/<profile>/ is never half a run.

    With `only`, the rows, tables, figures and page of that notebook alone go to results/<profile>/<only>/. `whole` are
    the notebooks that a whole run has.
    Raises: PublishError naming what is unfit.
    Test:   test_runner.py::test_a_notebook_on_request_has_its_own_folder,
            test_runner.py::test_publishing_replaces_the_folder_and_refuses_what_is_unfit,
            test_report_page.py::test_publishing_carries_both_pages
    """
    from benchmarks import report_page  # which imports from here, too

    run = record.read_run(run_dir)
    if not run.get("finished"):
        raise PublishError(f"{run_dir} is not finished: {run.get('notebooks')}")
    if run.get("parameters"):
        raise PublishError(f"{run_dir} was run with parameters given by hand: {run['parameters']}")
    if wanted := [] if only else sorted(set(whole) - run.get("notebooks", {}).keys()):
        raise PublishError(f"{run_dir} is no whole run, it lacks {', '.join(wanted)}; or name one on request: --only")
    try:
        rows = record.read_rows(run_dir)
    except (FileNotFoundError, record.RecordError) as error:
        raise PublishError(str(error)) from error
    if only and only not in {row["source"] for row in rows}:
        raise PublishError(f"{run_dir} holds no rows of {only}")
    files = [path for part in PARTS for path in _files(run_dir / part) if _belongs(path, run_dir, only)]
    size = sum(path.stat().st_size for path in files)
    if size > LIMIT:
        largest = max(files, key=lambda path: path.stat().st_size)
        raise PublishError(
            f"{run_dir} holds {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.0f}: "
            f"make its figures smaller ({largest.relative_to(run_dir)} is the largest file)"
        )
    place = results / run["profile"] / (only or "")
    new, old = (place.with_name(f".{place.name}.{word}") for word in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    for path in files:
        copy = new / path.relative_to(run_dir)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    if only:
        _leave_only(new, run, only)
    else:
        for kept in apart(place):
            shutil.copytree(kept, new / kept.name)
        if (run_dir / report_page.PAGES[0]).exists():
            report_page.write(new)
    for path in new.glob("notebooks/*.ipynb"):  # they name the folder that they wrote to
        text = path.read_text(encoding="utf-8")
        text = text.replace(named(run_dir, results.parent), f"results/{place.relative_to(results).as_posix()}")
        path.write_text(text, encoding="utf-8")
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)
    if only and (place.parent / report_page.PAGES[0]).exists():
        report_page.write(place.parent)
    return place


def apart(place: Path) -> list[Path]:
    """The folders of notebooks that were published on request, in a profile's folder.

    Test: test_runner.py::test_a_notebook_on_request_has_its_own_folder
    """
    return sorted(path.parent for path in place.glob("[0-9]*/run.json"))


def texts(results: Path = RESULTS, notebooks: Path = pair.NOTEBOOKS) -> tuple[list[str], list[str]]:
    """Give committed pages the texts of their notebooks where no code has changed: what was rewritten, what is too old.

    Test: test_runner.py::test_pages_get_new_texts_but_no_new_code,
          test_committed.py::test_pages_have_the_notebooks_texts
    """
    from benchmarks import report_page  # which imports from here, too

    written, old = [], []
    for page in sorted(results.glob("*/**/notebooks/*.ipynb")):
        if "runs" in page.relative_to(results).parts:
            continue
        shown, source = nbformat.read(page, as_version=4), pair.read(notebooks / f"{page.stem}.py")
        cells = [cell for cell in shown.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
        code, now = ([None if c.cell_type == "markdown" else c.source for c in part] for part in (cells, source.cells))
        if code != now:
            old.append(page.stem)
        elif [cell.source for cell in cells] != [cell.source for cell in source.cells]:
            for cell, new in zip(cells, source.cells, strict=True):
                cell.source = new.source
            write_beside(page, (nbformat.writes(shown) + "\n").encode())
            written.append(page.stem)
    for place in results.glob(f"*/{report_page.PAGES[0]}"):  # its captions are the notebooks' headings
        report_page.write(place.parent)
    return written, old


def _belongs(path: Path, run_dir: Path, only: str | None) -> bool:
    """Whether a file of a run is one notebook's: what it makes begins with its number, as 45_."""
    shared = path.parent == run_dir
    return not only or shared or path.name.startswith(only[:3])


def _leave_only(folder: Path, run: dict, only: str) -> None:
    """Drop the other notebooks' rows and states."""
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = "".join(line for line in lines if json.loads(line)["source"] == only)
    (folder / "rows.jsonl").write_text(kept, encoding="utf-8")
    state = run.get("notebooks", {}).get(only, {})
    (folder / "run.json").unlink()
    record.write_run(folder, **{**run, "notebooks": {only: state}, "seconds": state.get("seconds")})


def _files(part: Path) -> list[Path]:
    return [part] if part.is_file() else sorted(path for path in part.rglob("*") if path.is_file())


def named(run_dir: Path, root: Path) -> str:
    """The run's folder as notebooks are told it: inside the project without a path of the machine."""
    run_dir, root = run_dir.resolve(), root.resolve()
    return (run_dir.relative_to(root) if run_dir.is_relative_to(root) else run_dir).as_posix()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="a run's folder, as results/runs/demo-20250101T000000Z")
    parser.add_argument("--only", metavar="NAME", help="one notebook that runs on request, as 45_specialisation")
    parser.add_argument("--texts", action="store_true", help="of committed pages alone, where no code has changed")
    given = parser.parse_args(argv)
    if given.texts == (given.run is not None):
        parser.error("give a run's folder, or --texts")
    if given.texts:
        written, old = texts()
        print(f"new texts: {', '.join(written) or 'none'}; other code, run them anew: {', '.join(old) or 'none'}")
        return 0
    from benchmarks.run import plan  # which imports from here, too

    try:
        whole = [path.stem for path in plan(pair.NOTEBOOKS, record.read_run(given.run).get("profile"))]
        print(f"published {publish(given.run, only=given.only, whole=whole)}")
    except (PublishError, ValueError, OSError, record.RecordError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
