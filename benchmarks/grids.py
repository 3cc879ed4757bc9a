"""The exhaustive grid of the paper, really run: the yardstick for every cheaper search.

    python -m benchmarks.grids --photos DIR [--images 8] [--side 192] [--learn 24] [--learn-vectors all|252]

(a) Test: crops of the held-out photos with two to four flaws each, all 1512 vectors. (b) Learning: crops of photos
that are neither trained on nor tested on (the validation part of DIR), flawed alike, all vectors or the 252 of the
range [0, 1] and the paper's favourites. Every vector's scores go to grids.npz in results/search (of another profile
than demo: results/search-PROFILE), the split with its hashes and the costs to grids.json. Killed and started again, it
goes on where it was.
"""

import argparse
import io
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.cases import LEARN, TEST, Case, folder_cases, held_out_cases, refuse_shared, unseen
from benchmarks.evaluate import MIXTURES as FAVOURITES
from unires import judge
from unires.engine import Engine, Study, unet_calls
from unires.files import write_beside
from unires.learned import image_features
from unires.metrics import METRICS
from unires.profiles import profile
from unires.record import provenance
from unires.restore import restorer_of
from unires.score import Score, metric_score
from unires.search import among, grid
from unires.shapes import AnyArray
from unires.tasks import NAMES, weights_vector
from unires.trial import Found

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "results" / "search"
LEDGERS = ROOT / "results" / "runs" / "grids"
MEASURED = {TEST: ("niqe", "lpips", "psnr", "ssim", judge.NAME), LEARN: ("niqe", "lpips")}  # the first decides


def place(profile_name: str) -> Path:
    """Where a profile's table lies: demo's is the committed one.

    Test: test_grids.py::test_each_profile_has_a_table_of_its_own
    """
    return OUT if profile_name == "demo" else OUT.with_name(f"{OUT.name}-{profile_name}")


@dataclass(frozen=True)
class Grids:
    """What the committed table holds. Metrics in their own direction; a photo that one can't judge is NaN."""

    vectors: np.ndarray  # [n k]
    learn_vectors: np.ndarray  # [m k], some of them or all
    metrics: tuple[str, ...]
    learn_metrics: tuple[str, ...]
    test: np.ndarray  # [images n metrics]
    learn: np.ndarray  # [photos m metrics]
    learn_features: np.ndarray  # [photos f], of the flawed crops
    story: dict

    def score(self, part: str = TEST, metric: str = "niqe") -> np.ndarray:
        """[images vectors], larger is better; what a metric can't judge is as bad as the worst that it can.

        Test: test_grids.py::test_scores_point_upwards
        """
        names, table = (self.metrics, self.test) if part == TEST else (self.learn_metrics, self.learn)
        values = table[..., names.index(metric)].astype(np.float64) * direction(metric)
        worst = np.nanmin(values, axis=1, keepdims=True)
        return np.where(np.isnan(values), worst, values)


def direction(metric: str) -> int:
    """1 where larger is better, else -1: of a metric, or of the judge that sees no reference."""
    return 1 if metric != judge.NAME and METRICS[metric].higher_is_better else -1


def learn_list(name: str) -> np.ndarray:
    """The vectors searched on learning photos: all 1512, or the 252 of [0, 1] with the paper's favourites.

    Test: test_grids.py::test_the_short_list_lies_on_the_grid
    """
    if name == "all":
        return grid()
    return np.concatenate([grid(low=0), np.stack([weights_vector(w) for w in FAVOURITES.values()])])


def scores_of(case: Case, metrics: tuple[str, ...], study: Study | None = None) -> list[Score]:
    """The metrics as scores; those with a reference know this case's sharp photo, the judge asks the study."""

    def one(name: str) -> Score:
        if name == judge.NAME:
            return judge.expected_lpips(study)
        return metric_score(name, case.x if METRICS[name].reference else None)

    return [one(name) for name in metrics]


def search(
    engine: Engine, case: Case, vectors: AnyArray, metrics: tuple[str, ...], ledger: Path | None, seed: int = 0
) -> tuple[np.ndarray, Found]:
    """Every vector's metrics [n metrics] on one photo, each in its own direction, and the bill.

    Test: test_grids.py::test_a_search_is_not_paid_for_twice
    """
    study = engine.study(case.y, seed)
    scores = scores_of(case, metrics, study)
    found = among(study, vectors, scores, ledger, "grid")
    known = {line.weights: line.scores for line in found.tried}  # in the order of the batches, not of the vectors
    order = [known[tuple(map(float, w))] for w in np.asarray(vectors, np.float32)]
    lines = np.array([[values[score.key] for score in scores] for values in order], np.float32)
    lines[~np.isfinite(lines)] = np.nan
    return lines * np.array([direction(name) for name in metrics], np.float32), found


def run(engine: Engine, cases: dict[str, list[Case]], vectors: dict[str, AnyArray], ledgers: Path | None) -> dict:
    """Search every case of both parts: tables by part, and each case's story with its bill."""
    steps, tables, stories = engine.restorer.config.sample.steps, {}, {}
    total = sum(len(cases[part]) * unet_calls(vectors[part], steps) for part in cases)
    with tqdm(total=total, desc="grids", unit="call") as bar:
        for part in cases:
            tables[part], stories[part] = [], []
            for case in cases[part]:
                table, found = search(engine, case, vectors[part], MEASURED[part], ledgers)
                cost = {"unet_calls": found.unet_calls, "decodes": found.decodes, "seconds": round(found.seconds, 1)}
                tables[part].append(table)
                stories[part].append({**case.story, **cost})
                bar.update(found.unet_calls)
    return {"tables": tables, "stories": stories}


def write(out: Path, found: dict, vectors: dict[str, AnyArray], features: np.ndarray, story: dict) -> None:
    """grids.npz (no pickle) and grids.json, whose seconds are those of all searches, interrupted or not.

    Test: test_grids.py::test_the_table_comes_back, test_a_search_is_not_paid_for_twice
    """
    seconds = round(sum(case["seconds"] for part in found["stories"].values() for case in part), 1)
    arrays = {f"{part}_scores": np.stack(table).astype(np.float32) for part, table in found["tables"].items()}
    arrays |= {f"{part}_vectors": np.asarray(v, np.float32) for part, v in vectors.items()}
    arrays |= {f"{part}_metrics": np.array(names) for part, names in MEASURED.items()}
    arrays |= {f"{part}_images": np.array([s["image"] for s in lines]) for part, lines in found["stories"].items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, learn_features=np.asarray(features, np.float32))
    write_beside(out / "grids.npz", buffer.getvalue())
    story = {**story, "seconds": seconds, **found["stories"]}
    write_beside(out / "grids.json", (json.dumps(story, indent=1) + "\n").encode())


def read(out: Path = OUT) -> Grids:
    """The table that `main` wrote.

    Raises: FileNotFoundError, saying how to make it.
    Test: test_grids.py::test_the_table_comes_back
    """
    if not (out / "grids.npz").exists():
        raise FileNotFoundError(f"{out / 'grids.npz'} does not exist: run python -m benchmarks.grids --photos DIR")
    with np.load(out / "grids.npz", allow_pickle=False) as held:
        names = (tuple(map(str, held[f"{part}_metrics"])) for part in (TEST, LEARN))
        tables = (held[f"{part}_scores"] for part in (TEST, LEARN))
        vectors = (held["test_vectors"], held["learn_vectors"])
        story = json.loads((out / "grids.json").read_text())
        return Grids(*vectors, *names, *tables, held["learn_features"], story)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grids", description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="the folder that the checkpoint was trained from")
    parser.add_argument("--images", type=int, default=8, help="test crops")
    parser.add_argument("--learn", type=int, default=24, help="learning crops")
    parser.add_argument("--learn-vectors", choices=("all", "252"), default="all")
    parser.add_argument("--side", type=int, default=192, help="pixels; NIQE sees one block at 96, four at 192")
    parser.add_argument("--rows", type=int, default=12, help="of a batch; an accelerator takes more")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--steps", type=int, help="default: the profile's")
    parser.add_argument("--out", type=Path, help="default: results/search, or results/search-PROFILE")
    parser.add_argument("--ledgers", type=Path, default=LEDGERS)
    given = parser.parse_args(argv)
    try:
        config = profile(given.profile)
        config = replace(config, sample=replace(config.sample, steps=given.steps or config.sample.steps))
        restorer, checkpoint = restorer_of(config)
        test = held_out_cases(given.images, given.side, config.degradations)
        learn = list(folder_cases(given.photos, given.learn, given.side, config.degradations))
        refuse_shared(test, learn, given.photos)
        fresh = unseen(checkpoint, given.photos)
    except ValueError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    if not fresh:
        print("warning: this checkpoint may have been trained on the learning photos", file=sys.stderr)
    cases, vectors = {TEST: test, LEARN: learn}, {TEST: grid(), LEARN: learn_list(given.learn_vectors)}
    found = run(Engine(restorer, given.rows), cases, vectors, given.ledgers)
    out, config = given.out or place(given.profile), restorer.config
    story = provenance(given.profile, config, 0, checkpoints={str(config.checkpoint): checkpoint["sha256"]})
    story |= {"trained_on": checkpoint.get("photos"), "unseen": fresh, "side": given.side, "steps": config.sample.steps}
    variants = {name: METRICS[name].variant for name in MEASURED[TEST] if name in METRICS}
    story |= {"variants": variants, "judge": judge.load_judge().version, "experts": list(NAMES)}
    write(out, found, vectors, np.stack([image_features(case.y) for case in learn]), story)
    size = sum((out / name).stat().st_size for name in ("grids.npz", "grids.json"))
    print(f"wrote {out}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
