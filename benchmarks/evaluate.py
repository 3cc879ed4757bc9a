"""Images to rows: restore the evaluation pairs of a profile, keep the photos, measure them."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from unires.config import Config
from unires.data import Item, evaluation_set
from unires.files import write_beside
from unires.metrics import METRICS, contract, measure
from unires.models.store import find_checkpoint, read_story
from unires.photo import read_photo, to_8_bit, write_photo
from unires.profiles import profile
from unires.record import Row, not_run, read_run, row, write_run
from unires.restore import Restorer, restorer_of
from unires.search import FAVOURITES
from unires.shapes import Photo
from unires.tasks import EXPERTS, weights_dict, weights_vector

EXPERT_METHODS = {f"{expert.name}=1": {expert.name: 1.0} for expert in EXPERTS}
_NAMED = {" ".join(f"{name}={w:g}" for name, w in mix.items()): mix for mix in FAVOURITES}
MIXTURES = {name: mix for name, mix in _NAMED.items() if "DownLQ" in mix}  # the paper's two
PAIRS = {name: mix for name, mix in _NAMED.items() if "DownLQ" not in mix}  # ours: even mixes of two experts
CANDIDATES = EXPERT_METHODS | MIXTURES | PAIRS  # the short list by name


@dataclass(frozen=True)
class Restored:
    """A restored photo as its 8-bit file holds it, and what it cost when it was made."""

    photo: Photo
    unet_calls: int
    seconds: float


def sets_hash(sets: dict[str, list[Item]]) -> str:
    """One sha256 over every pair of every set.

    Test: test_specialisation.py::test_sets_differ_in_flaw_and_strength_alone
    """
    digest = hashlib.sha256()
    for item in (item for items in sets.values() for item in items):
        digest.update(to_8_bit(item.x).tobytes() + to_8_bit(item.y).tobytes())
    return digest.hexdigest()


@dataclass
class Evaluation:
    """One run's model and evaluation pairs. Restored photos are kept in `run_dir/restored` and made once, until the
    checkpoint, the flawed photo or the settings become others.

    Test: test_evaluate.py::test_restored_photos_are_made_once, test_another_checkpoint_restores_anew,
          test_other_settings_restore_anew
    """

    run_dir: Path
    config: Config
    seed: int
    sets: dict[str, list[Item]] = field(default_factory=dict)

    @classmethod
    def start(cls, run_dir: str | Path, profile_name: str, seed: int) -> "Evaluation":
        """Load the pairs and note in run.json which data, weights and metrics the run stands on.

        Raises: ValueError for a run_dir that holds rows of other pairs.
        Test: test_evaluate.py::test_a_run_holds_rows_of_one_profile
        """
        config = profile(profile_name)
        sets = {name: evaluation_set(name, config) for name in config.evaluation.sets}
        pairs = sets_hash(sets)
        known = read_run(run_dir).get("data", {}) if (Path(run_dir) / "run.json").exists() else {}
        if known.get("evaluation", pairs) != pairs:
            raise ValueError(f"{run_dir} holds rows of other photos than {profile_name}'s: give another run_dir")
        contracts = {name: contract(name) for name in METRICS}
        write_run(run_dir, data={"evaluation": pairs}, metrics=contracts)
        return cls(Path(run_dir), config, seed, sets)

    @property
    def items(self) -> list[Item]:
        return [item for items in self.sets.values() for item in items]

    @cached_property
    def restorer(self) -> Restorer:
        """Raises: CheckpointError for a checkpoint that is missing, or was never taught to restore."""
        restorer, story = restorer_of(self.config)
        write_run(self.run_dir, checkpoints={str(self.config.checkpoint): story["sha256"]})
        return restorer

    @cached_property
    def checkpoint(self) -> str | None:
        """sha256 of the run's weights, None where they are random."""
        name = self.config.checkpoint
        return None if name is None else read_story(find_checkpoint(name))["sha256"]

    @property
    def settings(self) -> str:
        """A hash of what else a restored photo depends on."""
        parts = [getattr(self.config, part) for part in ("vae", "unet", "text", "schedule", "sample")]
        return hashlib.sha256(repr((parts, EXPERTS)).encode()).hexdigest()[:16]

    def restore(self, item: Item, weights: dict[str, float]) -> Restored:
        """One pair's flawed photo restored with one mix: from the run's folder if the same was made before."""
        name = "_".join(f"{k}{v:g}" for k, v in weights_dict(weights_vector(weights)).items())
        path = self.run_dir / "restored" / item.set / item.image / f"{name}_seed{self.seed}.png"
        story = path.with_suffix(".json")
        held = json.loads(story.read_text()) if story.exists() else {}
        made_of = {
            "checkpoint": self.checkpoint,
            "photo": hashlib.sha256(item.y.tobytes()).hexdigest()[:16],
            "settings": self.settings,
        }
        if not made_of.items() <= held.items():
            calls = len(weights_dict(weights_vector(weights))) * self.config.sample.steps
            began = time.perf_counter()
            photo = self.restorer(item.y, weights, seed=self.seed)
            seconds = round(time.perf_counter() - began, 3)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_photo(path, photo)
            held = {"unet_calls": calls, "seconds": seconds, **made_of}
            write_beside(story, json.dumps(held).encode())
        return Restored(read_photo(path), held["unet_calls"], held["seconds"])

    def measure(self, item: Item, method: str, photo: Photo, **cost) -> list[Row]:
        """One row a metric; a metric that the photo is too small for is a row that says so."""
        rows = []
        for metric in METRICS.values():
            what = (item.set, item.image, method, metric.name)
            given = {**cost, "variant": metric.variant}
            if min(photo.shape[:2]) < metric.smallest:
                rows.append(not_run(*what, f"needs photos of at least {metric.smallest} pixels", **given))
            else:
                rows.append(row(*what, measure(metric.name, photo, item.x), **given))
        return rows

    def evaluate(self, item: Item, method: str, weights: dict[str, float]) -> list[Row]:
        """Restore and measure one pair with one mix."""
        made = self.restore(item, weights)
        return self.measure(item, method, made.photo, weights=weights, unet_calls=made.unet_calls, seconds=made.seconds)


def frame(rows: list[Row]):
    """Rows as a pandas table of the values that were measured."""
    import pandas as pd

    return pd.DataFrame([r for r in rows if r["status"] == "ok"])


def mean_table(rows: list[Row], metrics: tuple[str, ...] = ("psnr", "ssim", "lpips", "niqe")):
    """Mean over the images of each set and method: (set, method) x metric, methods in the order of the rows.

    Test: test_evaluate.py::test_mean_table_against_numpy
    """
    table = frame(rows).pivot_table(
        index=["set", "method"], columns="metric", values="value", aggfunc="mean", sort=False
    )
    return table[[metric for metric in metrics if metric in table]]
