"""Photos in: training folders with their hashes, held-out photos, evaluation crops, training batches."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from unires.config import Config, Stage
from unires.degrade import SETTINGS, Recipe, Settings, degrade
from unires.files import sha256_of as sha256
from unires.photo import PhotoError, read_photo
from unires.shapes import Photo
from unires.tasks import NAMES, TASKS

LONG_SIDE = 1600  # longer photos are halved where enough is left: sharper at the pixel, and they fit in memory
MARGIN = 16  # pixels around a training crop that the flaws may draw on

# Colour photos that ship inside scikit-image and scikit-learn. Held out: never trained on.
HELD_OUT = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
ISOLATED, MIXED = 0.7, 0.5  # severity of the evaluation sets
MIXTURES = ("SR+DN", "MD+DN", "SR+MD", "DD+DN", "SR+DD+DN", "MD+DD", "SR+MD+DN", "DD+MD+DN")


@dataclass(frozen=True)
class Item:
    """One evaluation pair: what is restored (y), what it should be (x), and how it was flawed."""

    set: str
    image: str
    x: Photo
    y: Photo
    recipe: Recipe


def held_out_paths() -> dict[str, Path]:
    """Where the held-out photos lie in this environment.

    Raises: PhotoError if scikit-image or scikit-learn is not installed.
    Test: test_data.py::test_held_out_photos_are_not_for_training
    """
    paths = {}
    for name, (package, inside) in HELD_OUT.items():
        spec = find_spec(package)
        if spec is None:
            raise PhotoError(f"the held-out photo {name} ships in {package}: install unires[metrics]")
        paths[name] = Path(spec.submodule_search_locations[0]) / inside
    return paths


@lru_cache
def held_out_hashes() -> dict[str, str]:
    """sha256 to name. Test: test_data.py::test_held_out_photos_are_not_for_training"""
    return {sha256(path): name for name, path in held_out_paths().items() if path.is_file()}


def texture(photo: Photo) -> float:
    """Mean gradient magnitude of the luminance: how much there is to restore.

    Test: test_data.py::test_evaluation_crops_follow_the_rule, test_halving_and_texture_are_means_to_the_bit
    """
    photo = np.asarray(photo)
    grey = (photo[..., 0] + photo[..., 1] + photo[..., 2]) / np.float32(3)  # `mean` to the bit, and six times as fast
    return float(np.hypot(*np.gradient(grey)).mean())


@lru_cache
def evaluation_crops(count: int, size: int, stride: int | None = None, each: int = 2) -> tuple[tuple[str, Photo], ...]:
    """The most textured crops of the held-out photos, best photo first, at most `each` from one photo.

    Crops lie on a grid, so that the choice is a rule and not a taste. It has no overlap, unless `stride` is
    smaller than the crops.
    Range: photos in [0, 1].
    Test: test_data.py::test_evaluation_crops_follow_the_rule
    """
    found, stride = [], stride or size
    for name, path in held_out_paths().items():
        photo = read_photo(path)
        crops = []
        for top in range(0, photo.shape[0] - size + 1, stride):
            for left in range(0, photo.shape[1] - size + 1, stride):
                crop = photo[top : top + size, left : left + size]
                crops.append((texture(crop), f"{name}-{top}-{left}", crop))
        found += sorted(crops, key=lambda c: (-c[0], c[1]))[:each]
    found.sort(key=lambda c: (-c[0], c[1]))
    if len(found) < count:
        raise ValueError(f"only {len(found)} crops of {size} pixels in the held-out photos, {count} asked for")
    return tuple((name, crop) for _, name, crop in found[:count])


def evaluation_set(name: str, config: Config) -> list[Item]:
    """Held-out crops flawed by one task ("SR", "MD", "DD", "DN") or by two to three of them ("complex").

    Each crop has its own seed and its own mixture; the severity is fixed, so that a set is no lottery.
    Paper: the isolated and complex settings of Tables 2-6, on photos of our own.
    Raises: ValueError for an unknown set.
    Test: test_data.py::test_evaluation_sets_are_reproducible
    """
    known = (*(task.name for task in TASKS), "complex")
    if name not in known:
        raise ValueError(f"unknown set {name!r}: choose one of {', '.join(known)}")
    evaluation, items = config.evaluation, []
    for i, (image, x) in enumerate(evaluation_crops(evaluation.crops, evaluation.crop)):
        rng = np.random.default_rng([evaluation.seed, known.index(name), i])
        tasks = MIXTURES[i % len(MIXTURES)] if name == "complex" else name
        y, recipe = degrade(tasks, x, rng, MIXED if name == "complex" else ISOLATED, SETTINGS[config.degradations])
        items.append(Item(name, image, x, y, recipe))
    return items


@dataclass(frozen=True)
class Photos:
    """A folder of sharp photos, decoded: 8-bit arrays, and a hash of all files."""

    names: tuple[str, ...]
    arrays: tuple[np.ndarray, ...]
    manifest: str  # sha256 over the files' own sha256, sorted
    order: str = ""  # the same in the order in which crops are drawn: by the files' names

    @classmethod
    def read(cls, folder: Path, least: int, validation: bool = False) -> "Photos":
        """Decode the training part of a folder, or its validation part: the photos whose sha256 begins with 0.

        One photo in sixteen of such a folder is never trained on: settings are chosen, and weights learned, on these.
        (Sources, as of the paper's size, have test sets of their own.) Photos smaller than `least` pixels are not used.
        Raises: PhotoError if the folder isn't there, holds no usable photo or one of the held-out photos.
        Test: test_data.py::test_held_out_photos_are_not_for_training, test_validation_photos_are_not_trained_on,
              test_photos_stay_in_the_order_of_their_names
        """
        if not Path(folder).is_dir():
            raise PhotoError(f"{folder}: no such folder: check the path")
        files = sorted(p for p in Path(folder).glob("**/*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        held_out = held_out_hashes()

        def decode(path: Path) -> tuple[str, np.ndarray, str] | None:
            digest = sha256(path)
            if digest in held_out:
                raise PhotoError(f"{path} is the held-out photo {held_out[digest]}: remove it from the training folder")
            if is_validation(digest) != validation:
                return None
            photo = read_photo(path)
            if max(photo.shape[:2]) > LONG_SIDE and min(photo.shape[:2]) // 2 >= least:
                photo = halve(photo)
            if min(photo.shape[:2]) < least:
                return None
            return path.name, np.round(photo * 255).astype(np.uint8), digest

        with ThreadPoolExecutor() as pool:
            found = list(tqdm(pool.map(decode, files), desc="decode photos", total=len(files), unit="photo"))
        names, arrays, hashes = zip(*filter(None, found), strict=True) if any(found) else ((), (), ())
        if not arrays:
            part = "validation" if validation else "training"
            raise PhotoError(f"{folder} holds no JPEG or PNG photo for {part} of at least {least} pixels a side")
        manifest, order = (hashlib.sha256("\n".join(h).encode()).hexdigest() for h in (sorted(hashes), hashes))
        return cls(names, arrays, manifest, order)


def is_validation(digest: str) -> bool:
    """Whether a photo with this sha256 belongs to the validation part.

    Test: test_data.py::test_validation_photos_are_not_trained_on
    """
    return digest.startswith("0")


def halve(photo: Photo) -> Float[np.ndarray, "half_h half_w 3"]:
    """Reduce by 2, averaging.

    Test: test_data.py::test_big_photos_are_halved, test_photos_are_not_halved_below_the_least,
          test_halving_and_texture_are_means_to_the_bit
    """
    h, w = photo.shape[0] // 2 * 2, photo.shape[1] // 2 * 2
    top, below = photo[:h:2], photo[1:h:2]
    return (top[:, :w:2] + top[:, 1:w:2] + below[:, :w:2] + below[:, 1:w:2]) / np.float32(4)


def draw_crop(photos: Photos, size: int, rng: np.random.Generator) -> Photo:
    """A random sharp crop: of two candidates the busier one; sometimes halved, sometimes mirrored.

    Test: test_data.py::test_a_crop_is_the_busier_of_two_and_often_halved_or_mirrored,
          test_batches_are_a_function_of_seed_and_step
    """
    best = None
    for _ in range(2):
        array = photos.arrays[rng.integers(len(photos.arrays))]
        twice = min(array.shape[:2]) >= 2 * size and rng.random() < 0.5
        span = 2 * size if twice else size
        top, left = (int(rng.integers(s - span + 1)) for s in array.shape[:2])
        crop = array[top : top + span, left : left + span].astype(np.float32) / 255
        crop = halve(crop) if twice else crop
        if best is None or texture(crop) > texture(best):
            best = crop
    return np.ascontiguousarray(best[:, ::-1] if rng.random() < 0.5 else best)


def photo_batch(photos: Photos, stage: Stage, seed: int, step: int) -> dict[str, np.ndarray]:
    """Sharp crops for the autoencoder, a pure function of (seed, step).

    Test: test_data.py::test_batches_are_a_function_of_seed_and_step
    """
    rng = np.random.default_rng([seed, step, 0])
    return {"x": np.stack([draw_crop(photos, stage.crop, rng) for _ in range(stage.batch)])}


def draw_severity(stage: Stage, rng: np.random.Generator) -> float | None:
    """How heavy the flaws of an item are: from 0 to the stage's heaviest, or None, the whole range.

    Test: test_data.py::test_a_stage_of_light_flaws
    """
    return None if stage.heaviest is None else rng.uniform(0, stage.heaviest)


def draw_tasks(count: int, rng: np.random.Generator, taught: Sequence[str]) -> Int[np.ndarray, " b"]:
    """Tasks (indices in TASKS) by their probabilities in the paper (section 3), of those that are `taught`.

    Test: test_data.py::test_tasks_are_drawn_with_the_papers_probabilities, test_one_task_alone
    """
    p = np.array([task.probability * (task.name in taught) for task in TASKS])
    return rng.choice(len(TASKS), count, p=p / p.sum())


def pair_batch(
    photos: Photos,
    stage: Stage,
    seed: int,
    step: int,
    settings: Settings = SETTINGS["stablesr"],
    taught: Sequence[str] = NAMES,
) -> dict[str, np.ndarray]:
    """Sharp and flawed crops with the task of each, a pure function of (seed, step).

    Paper: multi-task training with the tasks' probabilities (section 3), of those that are `taught`.
    Shapes: x, y [b crop crop 3]; task [b] indexes TASKS.
    Test: test_data.py::test_batches_are_a_function_of_seed_and_step, test_one_task_alone,
          test_the_crops_of_a_pair_lie_on_each_other
    """
    rng = np.random.default_rng([seed, step, 1])
    tasks = draw_tasks(stage.batch, rng, taught)
    xs, ys = [], []
    for task in tasks:
        x = draw_crop(photos, stage.crop + 2 * MARGIN, rng)
        y, _ = degrade(TASKS[task].name, x, rng, draw_severity(stage, rng), settings)
        xs.append(x[MARGIN:-MARGIN, MARGIN:-MARGIN])
        ys.append(y[MARGIN:-MARGIN, MARGIN:-MARGIN])
    return {"x": np.stack(xs), "y": np.stack(ys), "task": tasks.astype(np.int32)}
