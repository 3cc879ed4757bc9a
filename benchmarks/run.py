"""Execute the notebooks without a screen, and keep what they found.

    python -m benchmarks.run --profile PROFILE [--only NAME ...] [--out DIR] [-p name=value ...] [--publish]

A run is a folder: rows.jsonl (every number), run.json (where they come from), tables/ and figures/,
notebooks/ (executed), html/index.html and report.html (to read). All that can be wrong with the command is found
before the first notebook starts: papermill itself only warns about a misspelt parameter.
Notebooks on request take longer than a reader waits: only `--only` or the smoke profile runs them.

Exit status: 0 done, 1 a notebook failed, 2 refused, 130 interrupted.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

from benchmarks import pages, pair, publish
from unires import config, profiles, record

ROOT = Path(__file__).resolve().parents[1]

# Which notebooks a profile leaves out unless --only names them. Everything else takes part.
ON_REQUEST = ("45_specialisation", "46_baselines")
SENSELESS = {"paper": {"30_train_experts": "its short lesson has no steps in this profile: run it with --profile demo"}}
NOT_IN: dict[str, tuple[str, ...]] = {"smoke": (), "demo": ON_REQUEST, "paper": (*ON_REQUEST, *SENSELESS["paper"])}

UNKNOWN = object()  # the default of a parameter that is no plain value


class Refused(ValueError):
    """The command cannot be carried out as it was given; nothing has started."""


class Failed(RuntimeError):
    """A notebook raised an error."""


def plan(folder: Path, profile: str, only: list[str] | None = None) -> list[Path]:
    """The notebooks of a run, in order."""
    known = {path.stem: path for path in pair.find(folder)}
    if not known:
        raise Refused(f"no notebook NN_name.py in {folder}")
    for name in only or ():
        if name not in known:
            raise Refused(f"there is no notebook {name!r}: choose from {', '.join(known)}")
    chosen = only or [name for name in known if name not in NOT_IN.get(profile, ())]
    return [path for name, path in known.items() if name in chosen]


def left_out(folder: Path, profile: str, chosen: list[Path]) -> list[str]:
    """What a profile's run says of the notebooks that it leaves out.

    Test: test_runner.py::test_what_makes_no_sense_is_left_out_aloud
    """
    why = dict.fromkeys(ON_REQUEST, "on request: name it with --only") | SENSELESS.get(profile, {})
    names = [path.stem for path in pair.find(folder) if path not in chosen and path.stem in NOT_IN.get(profile, ())]
    return [f"left out {name}: {why.get(name, 'not in this profile')}" for name in names]


def parameters(path: Path) -> dict[str, Any]:
    """Names and default values that the notebook's own `parameters` cell assigns."""
    try:
        tagged = [cell for cell in pair.read(path).cells if "parameters" in cell.metadata.get("tags", [])]
        lines = ast.parse("\n".join(cell.source for cell in tagged)).body
    except (ValueError, SyntaxError) as error:
        raise Refused(f"{path.name} cannot be read: {error}") from error
    if len(tagged) != 1:
        raise Refused(f"{path.name} needs exactly one cell tagged parameters, and has {len(tagged)}")
    found = {}
    for line in lines:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name):
                try:
                    found[target.id] = ast.literal_eval(line.value)
                except (ValueError, TypeError):
                    found[target.id] = UNKNOWN
    return found


def check(path: Path, given: dict[str, Any]) -> None:
    """Refuse a parameter that the notebook doesn't know, or whose type isn't that of its default."""
    own = parameters(path)
    for name, value in given.items():
        if name not in own:
            raise Refused(f"{path.name} has no parameter {name!r}: its parameters cell sets {', '.join(own)}")
        default = own[name]
        if {type(value), type(default)} == {list, tuple}:
            continue  # two ways to write a sequence
        number = isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
        if default is not UNKNOWN and default is not None and type(value) is not type(default) and not number:
            raise Refused(
                f"{path.name}: parameter {name!r} is a {type(default).__name__} like {default!r}, "
                f"not the {type(value).__name__} {value!r}"
            )


def overrides(words: list[str]) -> dict[str, Any]:
    """`name=value` words as a dict; values are Python literals, and text where they are none."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise Refused(f"-p takes name=value, not {word!r}")
        if name in ("profile", "seed", "run_dir"):
            raise Refused(f"{name} has an option of its own: --{name.replace('run_dir', 'out')}")
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def run(notebooks: list[Path], run_dir: Path, profile: str, seed: int, extra: dict, root: Path) -> None:
    """Execute the notebooks in order; stop at the first that fails."""
    run_dir = run_dir.resolve()
    given = {"profile": profile, "seed": seed, "run_dir": publish.named(run_dir, root), **extra}
    for path in notebooks:
        check(path, given)
    try:
        config.check_seed(seed)
        run_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from error
    _refuse_mixing(run_dir, profile, seed, extra)
    planned = {path.stem: {"status": "not reached"} for path in notebooks}
    facts = _provenance(profile, seed)  # the notebooks add the hashes of the weights and photos that they use
    record.write_run(run_dir, **facts, parameters=extra, finished=False, notebooks=planned)
    try:
        with _own_kernel():
            for path in (bar := tqdm(notebooks, unit="notebook")):
                bar.set_postfix_str(path.stem)
                _one(path, given, run_dir, root)
    finally:
        pages.index(run_dir)
    states = record.read_run(run_dir)["notebooks"].values()  # those of an earlier call too, which this one continued
    record.write_run(run_dir, seconds=round(sum(state.get("seconds") or 0 for state in states), 1))
    record.write_run(run_dir, finished=all(state["status"] == "ok" for state in states))
    if (run_dir / "report.html").exists():  # notebook 90 wrote it before it was finished itself
        from benchmarks import report_page  # which imports from here, too

        report_page.write(run_dir)


def _one(path: Path, given: dict[str, Any], run_dir: Path, root: Path) -> None:
    """Execute one notebook. While it runs, and after a failure, what it has done so far lies in failed/."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    partial = run_dir / "failed" / f"{path.stem}.ipynb"
    partial.parent.mkdir(parents=True, exist_ok=True)
    started, status, message = time.perf_counter(), "failed", ""
    record.write_run(run_dir, notebooks={path.stem: {"status": "failed", "seconds": None}})
    try:
        kernel = {"kernel_name": "python3", "language": "python", "start_timeout": 300}
        executed = papermill.execute_notebook(pair.read(path), partial, given, progress_bar=False, cwd=root, **kernel)
        status = "ok"
    except PapermillExecutionError as error:
        message = f"{path.stem}, cell {error.cell_index}: {error.ename}: {error.evalue}"
        executed = nbformat.read(partial, as_version=4)
        print(pages.plain("\n".join(error.traceback)), file=sys.stderr)
    except Exception as error:  # the kernel died, or never started
        raise Failed(f"{path.stem} failed: {type(error).__name__}: {error}") from error
    finally:
        seconds = round(time.perf_counter() - started, 1)
        state = {"status": status, "seconds": seconds, "commit": record.read_run(run_dir).get("commit")}
        record.write_run(run_dir, notebooks={path.stem: state})
    executed = pages.clean(executed, root)
    folder = run_dir / ("notebooks" if status == "ok" else "failed")
    folder.mkdir(exist_ok=True)
    nbformat.write(executed, folder / partial.name)
    pages.page(executed, run_dir / "html" / f"{path.stem}.html")
    if status == "failed":
        raise Failed(message)
    partial.unlink()
    if not any(partial.parent.iterdir()):
        partial.parent.rmdir()


@contextmanager
def _own_kernel() -> Iterator[None]:
    """Kernels are this very interpreter, whatever a user has registered as python3; no progress bars.

    What one notebook compiles, the later ones of the run load: the programs are the same, so the numbers are too.
    Test: test_runner.py::test_kernels_share_what_they_compile
    """
    python = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher"]
    words = [*python, "-f", "{connection_file}", "--log-level=ERROR"]
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder, "kernels", "python3", "kernel.json")
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps({"argv": words, "display_name": "Python 3", "language": "python"}))
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, before.get("JUPYTER_PATH")]))
        os.environ["TQDM_DISABLE"] = "1"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(folder, "compiled")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _refuse_mixing(run_dir: Path, profile: str, seed: int, extra: dict) -> None:
    if (run_dir / "run.json").exists():
        old = record.read_run(run_dir)
        if (old.get("profile"), old.get("seed"), old.get("parameters", {})) != (profile, seed, extra):
            raise Refused(
                f"{run_dir} holds a run of profile {old.get('profile')!r}, seed {old.get('seed')}, parameters "
                f"{old.get('parameters', {})}: give another --out, or the same profile, seed and parameters"
            )


def _provenance(profile: str, seed: int) -> dict[str, Any]:
    """Asked in a process of its own: JAX would keep the accelerator's memory from the notebooks."""
    code = (
        "import json; from unires import profiles, record; "
        f"print(json.dumps(record.provenance({profile!r}, profiles.PROFILES[{profile!r}], {seed})))"
    )
    words = [sys.executable, "-c", code]
    told = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(told.splitlines()[-1])


def main(argv: list[str] | None = None, *, notebooks: Path = pair.NOTEBOOKS, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", required=True, help=" | ".join(profiles.PROFILES))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="notebooks by name, as 40_one_expert")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: results/runs/<profile>-<UTC time>")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-p", action="append", default=[], metavar="name=value", dest="words")
    shown = "copy the finished run to results/<profile>/, what --only names to folders inside it"
    parser.add_argument("--publish", action="store_true", help=shown)
    given = parser.parse_args(argv)
    run_dir = given.out or root / "results" / "runs" / f"{given.profile}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        if given.profile not in profiles.PROFILES:
            raise Refused(f"unknown profile {given.profile!r}: choose one of {', '.join(profiles.PROFILES)}")
        if given.publish and (given.words or not set(given.only or ()) <= set(ON_REQUEST)):
            raise Refused(
                "--publish takes a whole run: leave out --only and -p "
                f"(--only may name notebooks on request: {', '.join(ON_REQUEST)})"
            )
        chosen = plan(notebooks, given.profile, given.only)
        for line in [] if given.only else left_out(notebooks, given.profile, chosen):
            print(line, file=sys.stderr)
        run(chosen, run_dir, given.profile, given.seed, overrides(given.words), root)
        place = publish.named(run_dir, root)
        print(f"read {place}/html/index.html")
        if (run_dir / "rows.jsonl").is_file():
            print(f"numbers in {place}/rows.jsonl")
        if given.publish:
            whole = [path.stem for path in chosen]
            for name in given.only or (None,):
                print(f"published {publish.publish(run_dir, root / 'results', name, whole)}")
    except (Refused, record.RecordError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        place = publish.named(run_dir, root)
        print(f"FAILED {error}\nwhat it did until then: {place}/failed", file=sys.stderr)
        return 1
    except publish.PublishError as error:
        print(f"not published: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: the same command with --out {publish.named(run_dir, root)} goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
