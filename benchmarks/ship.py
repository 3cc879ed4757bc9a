"""Put a trained checkpoint into the package, and its loss curves into results/training.

python -m benchmarks.ship results/runs/train-demo
python -m benchmarks.ship results/runs/train-demo_regression --story    # weights too large beside the others
"""

import argparse
import sys
from pathlib import Path

from unires.files import write_beside
from unires.models.store import WEIGHTS, load_checkpoint, read_story
from unires.profiles import profile

CURVES = Path(__file__).parents[1] / "results" / "training"


def ship(run: Path, weights: Path | None = WEIGHTS, curves: Path = CURVES) -> None:
    """Copy weights, story and curves of a finished training run; the checkpoint is loaded first, so that a
    damaged one never ships. Without a folder for the weights, the story goes to the curves and the weights stay.

    Raises: CheckpointError, FileNotFoundError.
    Test: test_store.py::test_shipping_checks_the_checkpoint
    """
    found = sorted(run.glob("*.safetensors"))
    if len(found) != 1:
        raise FileNotFoundError(f"{run} must hold one .safetensors file, it holds {len(found)}: is training finished?")
    (path,) = found
    load_checkpoint(path, profile(read_story(path)["profile"]))
    for part in [part for part in ("vae", "ldm") if (run / part).is_dir()]:
        write_beside(curves / f"{path.stem}_{part}_loss.jsonl", (run / part / "loss.jsonl").read_bytes())
    if weights is not None:
        write_beside(weights / path.name, path.read_bytes())
    story = path.with_suffix(".json")
    write_beside((weights or curves) / story.name, story.read_bytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--story", action="store_true", help="story and curves alone; the weights stay where they are")
    given = parser.parse_args()
    try:
        ship(given.run, None if given.story else WEIGHTS)
    except (ValueError, OSError) as error:
        sys.exit(f"refused: {error}")
