"""From drawn steps to a flawed photo, for one task or several at once."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce

import numpy as np

from unires.degrade import codec, defocus, motion, noise, sensor, super_resolution
from unires.shapes import Photo

# Each step is a pure function of a photo and its parameters. The order is physics: lens, hand, pixels,
# photons, file; then the small file is enlarged for viewing and stored in 8 bits.
OPS = {
    "defocus": defocus.defocus,
    "shake": motion.shake,
    "soften": super_resolution.soften,
    "shrink": super_resolution.resize,
    "sensor_noise": noise.sensor_noise,
    "display_noise": noise.display_noise,
    "jpeg": codec.jpeg,
    "enlarge": super_resolution.resize,
    "round8": codec.round8,
}
ORDER = {op: rank for rank, op in enumerate(OPS)}
DRAW = {"DD": defocus.draw, "MD": motion.draw, "SR": super_resolution.draw, "DN": sensor.draw}


@dataclass(frozen=True)
class Recipe:
    """Everything that made a flawed photo from a sharp one: plain numbers that explain and replay it.

    Paper: our choice.
    Test:  test_degrade.py::test_replay
    """

    tasks: str  # as asked for, such as "SR+MD"
    severity: dict[str, float]  # one strength in [0, 1] a task
    steps: tuple[dict, ...]  # in the order applied: {"op": name in OPS, **parameters}

    def to_json(self) -> str:
        """Write the recipe as one line of JSON.

        Paper: our choice.
        Test:  test_degrade.py::test_replay
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read what `to_json` wrote.

        Paper: our choice.
        Test:  test_degrade.py::test_replay
        """
        fields = json.loads(text)
        return cls(fields["tasks"], fields["severity"], tuple(fields["steps"]))


def replay(recipe: Recipe, x: Photo) -> Photo:
    """Apply a recipe's steps to a sharp photo: byte for byte the photo that the recipe was drawn for.

    Paper: our choice.  Range: [0, 1] to k / 255; SR recipes fit photos of the size they were drawn for.
    Test:  test_degrade.py::test_replay
    """
    x = np.asarray(x, np.float32)
    return reduce(lambda y, s: OPS[s["op"]](y, **{k: v for k, v in s.items() if k != "op"}), recipe.steps, x)


def apply_tasks(
    tasks: Sequence[str], x: Photo, rng: np.random.Generator, severity: float | None
) -> tuple[Photo, Recipe]:
    """Draw every task's steps, put them in physical order with at most one JPEG, and apply them.

    Paper: our choice.  Range: [0, 1] to k / 255.
    Raises: ValueError for unknown or repeated tasks, or a severity outside [0, 1].
    Test:  test_degrade.py::test_mixture_order, test_degrade.py::test_refusals
    """
    known = ", ".join(DRAW)
    if not tasks or any(name not in DRAW for name in tasks) or len(set(tasks)) < len(tasks):
        raise ValueError(f"tasks {'+'.join(tasks)!r}: name each of {known} at most once, joined by +")
    if severity is not None and not 0 <= severity <= 1:
        raise ValueError(f"severity {severity}: give a number in [0, 1], or None to draw one")
    strengths, steps = {}, []
    for name in sorted(tasks, key=list(DRAW).index):  # "MD+SR" draws what "SR+MD" draws
        strengths[name] = rng.random() if severity is None else float(severity)
        steps += DRAW[name](x, rng, strengths[name])
    files = [s for s in steps if s["op"] == "jpeg"]
    if len(tasks) > 1 and not files:
        files = [codec.draw_jpeg(rng, max(strengths.values()), worst=75)]
    steps = [s for s in steps if s["op"] != "jpeg"]
    steps += [min(files, key=lambda s: s["quality"])] if files else []  # one file: the worst one drawn
    steps = sorted([*steps, {"op": "round8"}], key=lambda s: ORDER[s["op"]])
    recipe = Recipe("+".join(tasks), strengths, tuple(steps))
    return replay(recipe, x), recipe


def mix(
    tasks: Sequence[str], x: Photo, rng: np.random.Generator, severity: float | None = None
) -> tuple[Photo, Recipe]:
    """Degrade a photo by two to four tasks at once, in physical order, with one JPEG.

    With SR, noise and JPEG happen on the small photo, before it is enlarged: a small file, seen large.

    Paper: complex degradations; how ours are made is our choice.  Range: [0, 1] to k / 255.
    Raises: ValueError for fewer than two tasks, and as `apply_tasks`.
    Test:  test_degrade.py::test_mixture_order
    """
    if len(tasks) < 2:
        raise ValueError(f"tasks {list(tasks)}: a mixture takes two to four of {', '.join(DRAW)}")
    return apply_tasks(tasks, x, rng, severity)
