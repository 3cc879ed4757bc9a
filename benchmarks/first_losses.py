"""Does training still begin as the shipped checkpoint's did? The same command, stopped early, beside its losses.

    python -m benchmarks.first_losses --photos DIR [--steps 200] [--profile demo_base] [--workers N]

Trains the autoencoder whole and the diffusion model for so many steps (about ten minutes on two cores), in a process
that is then stopped, and compares every loss with results/training/. What is fine-tuned (`--profile demo`) has no
autoencoder of its own to train, and needs the checkpoint that it starts from. On the same kind of device the two are
equal to rounding; another kind rounds otherwise, and each step carries that on: there 10 % are allowed. Ends with 1
where they are farther apart.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax

from benchmarks.ship import CURVES
from unires.models.store import WEIGHTS
from unires.profiles import KNOWN, profile
from unires.record import instructions

RUN = Path(__file__).parents[1] / "results" / "runs" / "first-losses"
SAME, OTHER = 1e-4, 0.1  # relative, on one kind of device and on two; 0.05 was seen


def losses(path: Path) -> list[float]:
    """The losses in a loss.jsonl, whole lines only."""
    if not path.is_file():
        return []
    return [json.loads(line)["loss"] for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def apart(shipped: list[float], again: list[float]) -> tuple[float, int]:
    """The largest relative difference, and the step where it is.

    Raises: ValueError if there is nothing to compare, or more steps than were shipped.
    Test: test_first_losses.py::test_the_worst_step_is_named
    """
    if not again or len(again) > len(shipped):
        raise ValueError(f"{len(again)} losses can't be compared with {len(shipped)} shipped ones")
    return max((abs(b - a) / abs(a), step) for step, (a, b) in enumerate(zip(shipped, again, strict=False)))


def allowed(name: str) -> float:
    """How far apart the losses may be: the shipped story says on which device and instructions it was computed.

    Test: test_first_losses.py::test_another_device_is_allowed_more
    """
    found = [path for path in (WEIGHTS / f"{name}.json", CURVES / f"{name}.json") if path.is_file()]
    story = json.loads(found[0].read_text()) if found else {}
    device = jax.devices()[0]
    here = (f"{device.platform} ({device.device_kind})", instructions())
    return SAME if (story.get("device"), story.get("instructions")) == here else OTHER


def run_until(command: list[str], log: Path, steps: int) -> None:
    """Run a training until its log has so many steps, then stop it.

    Raises: RuntimeError if it ends before.
    Test: test_first_losses.py::test_a_run_is_stopped_at_its_step
    """
    with subprocess.Popen(command) as process:
        try:
            while len(losses(log)) < steps:
                if process.poll() is not None and len(losses(log)) < steps:
                    raise RuntimeError(f"training ended with {process.returncode} after {len(losses(log))} steps")
                time.sleep(0.2)
        finally:
            process.kill()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_losses", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", required=True, help="the folder of training photos")
    parser.add_argument("--profile", default="demo_base", choices=sorted(KNOWN))
    parser.add_argument("--steps", type=int, default=200, help="of the diffusion model")
    parser.add_argument("--workers", help="as `unires train` takes it")
    given = parser.parse_args(argv)
    parts = {"vae": None, "ldm": given.steps} if profile(given.profile).train_vae.stages else {"ldm": given.steps}
    shipped = {part: losses(CURVES / f"{given.profile}_{part}_loss.jsonl") for part in parts}
    if missing := [part for part, curve in shipped.items() if not curve]:
        print(f"{given.profile} has no committed losses of {', '.join(missing)} in {CURVES.name}", file=sys.stderr)
        return 2
    run = RUN / given.profile
    shutil.rmtree(run, ignore_errors=True)  # an earlier run's losses would be compared in place of today's
    command = ["-m", "unires", "train", "--profile", given.profile, "--photos", given.photos, "--out", str(run)]
    command += ["--workers", given.workers] if given.workers else []
    try:
        run_until([sys.executable, *command], run / "ldm" / "loss.jsonl", given.steps)
    except RuntimeError as error:
        print(f"nothing to compare: {error}", file=sys.stderr)
        return 2
    worst, most = 0.0, allowed(given.profile)
    for part, steps in parts.items():
        again = losses(run / part / "loss.jsonl")[:steps]
        difference, step = apart(shipped[part], again)
        print(f"{part}: {len(again)} losses, largest relative difference {difference:.1e} at step {step}")
        worst = max(worst, difference)
    if SAME < worst <= most:
        print("not equal, but no farther apart than two kinds of device are")
    return int(worst > most)


if __name__ == "__main__":
    sys.exit(main())
