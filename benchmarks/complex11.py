"""Complex11: the full-reference benchmark of complex degradations, on held-out photos that pip installs.

    python -m benchmarks.complex11 OUT          rebuild it: OUT/hq, OUT/lq (PNG) and OUT/manifest.jsonl
    python -m benchmarks.complex11 --write      draw the manifest anew (complex11.jsonl beside this file)

All eleven mixtures of two to four flaws (defocus DD, motion MD, low resolution SR, noise DN), each mild and heavy,
at 256 and 384 pixels. A line of the manifest is a pair: photo and its hash, crop, mixture, severity, seed, the recipe
with every number, and hash and PSNR of the flawed photo. That is rebuilt and checked: byte for byte on the kind of
processor that recorded it; another kind rounds powers otherwise and may draw noise anew, so there its PSNR counts.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unires.data import evaluation_crops, held_out_paths, sha256
from unires.degrade import Recipe, degrade, replay
from unires.degrade.codec import to_bytes
from unires.files import write_beside
from unires.metrics import METRICS, measure
from unires.photo import PhotoError, read_photo, write_photo
from unires.record import Row, row
from unires.shapes import Photo

NAME = "complex11"  # of the set, in rows
MANIFEST = Path(__file__).with_name("complex11.jsonl")
MIXTURES = tuple("+".join(m) for n in (2, 3, 4) for m in combinations(("DD", "MD", "SR", "DN"), n))
SEVERITIES = {"mild": 0.25, "heavy": 0.75}
CROPS = {256: (8, 4), 384: (6, 2)}  # pixels: the most textured crops, and how many of them a mixture takes in turn
SEED = 11
METRICS_SHOWN = ("psnr", "lpips")
ROUNDING = 0.1  # dB between two kinds of processor at most; 0.04 was seen


@dataclass(frozen=True)
class Pair:
    """One pair of the benchmark: sharp x, flawed y, and how y came about."""

    id: str
    mixture: str
    severity: str
    size: int
    x: Photo
    y: Photo
    recipe: Recipe
    exact: bool  # y is the recorded photo to the byte; otherwise but for rounding


def fingerprint(photo: Photo) -> str:
    """sha256 of a photo's 8-bit values.

    Test: test_complex11.py::test_rebuilt_twice_it_is_the_same_to_the_byte
    """
    return hashlib.sha256(to_bytes(photo).tobytes()).hexdigest()


def draw() -> Iterator[dict]:
    """Draw the manifest, line by line. Mild and heavy pairs of a mixture share their crops, not their seeds.

    Test: test_complex11.py::test_the_manifest_is_what_the_seed_draws
    """
    hashes = {name: sha256(path) for name, path in held_out_paths().items()}
    for size, (count, each) in CROPS.items():
        crops = evaluation_crops(count, size)
        for m, mixture in enumerate(MIXTURES):
            for s, (severity, strength) in enumerate(SEVERITIES.items()):
                for n in range(each):
                    name, x = crops[(m * each + n) % count]
                    photo, top, left = name.rsplit("-", 2)
                    seed = [SEED, size, m, s, n]
                    y, recipe = degrade(mixture, x, np.random.default_rng(seed), strength)
                    yield {
                        "id": f"{mixture}_{severity}_{size}_{name}",
                        "photo": photo,
                        "photo_sha256": hashes[photo],
                        "crop": [int(top), int(left), size],
                        "mixture": mixture,
                        "severity": severity,
                        "seed": seed,
                        "recipe": json.loads(recipe.to_json()),
                        "lq_sha256": fingerprint(y),
                        "lq_psnr": float(f"{measure('psnr', y, x):.6g}"),
                    }


def read_manifest(path: Path = MANIFEST) -> list[dict]:
    """The manifest's lines.

    Test: test_complex11.py::test_the_manifest_is_complete
    """
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def build(lines: list[dict]) -> Iterator[Pair]:
    """Rebuild pairs from lines of the manifest.

    Raises: PhotoError if a held-out photo has other bytes, or a flawed photo does not come out as recorded.
    Test:   test_complex11.py::test_rebuilt_twice_it_is_the_same_to_the_byte,
            test_complex11.py::test_a_changed_number_is_noticed,
            test_complex11.py::test_another_processor_rounds_otherwise
    """
    photos = {}
    for line in lines:
        path, (top, left, size) = held_out_paths()[line["photo"]], line["crop"]
        if line["photo"] not in photos:
            if sha256(path) != line["photo_sha256"]:
                raise PhotoError(f"{path}: other bytes than Complex11 was made from; install the pinned packages")
            photos[line["photo"]] = read_photo(path)
        x = photos[line["photo"]][top : top + size, left : left + size]
        recipe = Recipe.from_json(json.dumps(line["recipe"]))
        y = replay(recipe, x)
        exact = fingerprint(y) == line["lq_sha256"]
        if not exact and abs(measure("psnr", y, x) - line["lq_psnr"]) > ROUNDING:
            raise PhotoError(f"Complex11 {line['id']}: the rebuilt photo differs from the recorded one")
        yield Pair(line["id"], line["mixture"], line["severity"], size, x, y, recipe, exact)


def measure_pair(pair: Pair, method: str, photo: Photo, **cost) -> list[Row]:
    """One row a metric; mixture, severity and size stand in the row.

    Test: test_complex11.py::test_rows_and_table
    """
    about = {"mixture": pair.mixture, "severity": pair.severity, "size": pair.size}
    return [
        row(NAME, pair.id, method, name, measure(name, photo, pair.x), variant=METRICS[name].variant, **about, **cost)
        for name in METRICS_SHOWN
    ]


def by_mixture(rows: list[Row]):
    """Means over the pairs of a mixture: (method, mixture) x (metric, size, severity), mild before heavy.

    Test: test_complex11.py::test_rows_and_table
    """
    import pandas as pd

    table = pd.DataFrame([r for r in rows if r["set"] == NAME and r["status"] == "ok"])
    table = table.pivot_table(
        index=["method", "mixture"], columns=["metric", "size", "severity"], values="value", sort=False
    )
    order = [(m, s, v) for m in METRICS_SHOWN for s in CROPS for v in SEVERITIES]
    mixtures = [key for method in dict.fromkeys(table.index.get_level_values(0)) for key in product([method], MIXTURES)]
    return table.reindex(index=[k for k in mixtures if k in table.index], columns=[c for c in order if c in table])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.complex11", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", help="folder for the pairs")
    parser.add_argument("--write", action="store_true", help="draw the manifest anew")
    given = parser.parse_args(argv)
    if given.write == (given.out is not None):
        parser.error("give a folder to rebuild into, or --write")
    if given.write:
        total = sum(each for _, each in CROPS.values()) * len(MIXTURES) * len(SEVERITIES)
        lines = "".join(json.dumps(line) + "\n" for line in tqdm(draw(), total=total, unit="pair"))
        write_beside(MANIFEST, lines.encode())
        return 0
    lines, exact = read_manifest(), 0
    try:
        for pair in tqdm(build(lines), total=len(lines), unit="pair"):
            for kind, photo in (("hq", pair.x), ("lq", pair.y)):
                (given.out / kind).mkdir(parents=True, exist_ok=True)
                write_photo(given.out / kind / f"{pair.id}.png", photo)
            exact += pair.exact
    except PhotoError as error:
        print(error, file=sys.stderr)
        return 1
    write_beside(given.out / "manifest.jsonl", MANIFEST.read_bytes())
    print(f"{len(lines)} pairs, {exact} of them as recorded to the byte, the others but for rounding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
