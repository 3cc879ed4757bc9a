"""From drawn steps to a flawed photo, for one task or several at once."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce

import numpy as np

from unires.degrade import codec, defocus, motion, noise, sensor
from unires.degrade import super_resolution as sr
from unires.shapes import Photo


@dataclass(frozen=True)
class Settings:
    """The published (or our) parameters of the four pipelines, one field a task.

    Paper: "Degradations used for training data".
    Test:  test_degrade.py::test_settings_are_used
    """

    DD: defocus.DDSettings = defocus.DEPTH_LAYERS
    MD: motion.MDSettings = motion.OID_MOTION
    SR: sr.SRSettings = sr.STABLE_SR
    DN: sensor.DNSettings = sensor.RAW_NOISE


SETTINGS = {"stablesr": Settings(), "real-esrgan": Settings(SR=sr.REAL_ESRGAN)}
DRAW = {"DD": defocus.draw, "MD": motion.draw, "SR": sr.draw, "DN": sensor.draw}

# Each step is a pure function of a photo and its numbers. The order is physics, for mixtures: lens, hand, pixels,
# photons, file; then the small file is enlarged for viewing and stored in 8 bits.
OPS = {
    **defocus.OPS,
    **motion.OPS,
    **sr.OPS,
    **sensor.OPS,
    "sensor_noise": noise.sensor_noise,
    "jpeg": codec.jpeg,
    "enlarge": sr.resize,
    "round8": codec.round8,
}
RANK = {op: rank for rank, op in enumerate(OPS)}


@dataclass(frozen=True)
class Recipe:
    """Everything that made a flawed photo from a sharp one: plain numbers that explain and replay it.

    Paper: our choice.
    Test:  test_degrade.py::test_replay
    """

    tasks: str  # as asked for, such as "SR+MD"
    severity: float | None  # in [0, 1]; None: every parameter was drawn from its whole range
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

    On another kind of processor powers differ in their last bit, and noise may be drawn anew for it.
    Paper: our choice.  Range: [0, 1] to k / 255; recipes fit photos of the size they were drawn for.
    Test:  test_degrade.py::test_replay, test_complex11.py::test_another_processor_rounds_otherwise
    """
    x = np.asarray(x, np.float32)
    return reduce(lambda y, s: OPS[s["op"]](y, **{k: v for k, v in s.items() if k != "op"}), recipe.steps, x)


def one_camera(steps: Sequence[dict]) -> list[dict]:
    """Put the steps of several flaws in physical order, as one camera makes them: one noise, one file.

    Of several JPEGs the worst stays, of several noises the strongest on mid grey; noise in the raw domain, which
    only the noise task brings, replaces the slight read-out that the other tasks draw.
    Paper: our choice; the order is defocus, motion, resize, noise, compression.
    Test:  test_degrade.py::test_mixture_order
    """
    kept = [s for s in steps if s["op"] not in ("jpeg", "sensor_noise")]
    kept.append(min((s for s in steps if s["op"] == "jpeg"), key=lambda s: s["quality"]))
    slight = [s for s in steps if s["op"] == "sensor_noise"]
    if slight and all(s["op"] != "raw_noise" for s in kept):
        kept.append(max(slight, key=lambda s: s["a"] * 0.5**codec.GAMMA + s["b"]))
    return sorted(kept, key=lambda s: RANK[s["op"]])


def degrade(
    tasks: str,
    x: Photo,
    rng: np.random.Generator,
    severity: float | None = None,
    settings: Settings = SETTINGS["stablesr"],
) -> tuple[Photo, Recipe]:
    """Degrade a sharp photo by a task, or by several flaws of one camera such as "SR+MD+DN"; the size stays.

    In a mixture, low resolution is one blur and one reduction: a small file, seen large, with the noise and the
    JPEG of the small photo.
    Paper: training data of the experts; how complex degradations are made is our choice.
    Range: severity 0 (almost none) to 1 (the heaviest in training), None draws every parameter from its whole
           range, as training does; [0, 1] to k / 255.
    Raises: ValueError for unknown or repeated tasks, or a severity outside [0, 1].
    Test:  test_degrade.py::test_output_is_an_8_bit_photo, test_degrade.py::test_same_seed_same_bytes,
           test_degrade.py::test_mixture_order, test_degrade.py::test_refusals
    """
    names, known = tasks.split("+"), ", ".join(DRAW)
    if any(name not in DRAW for name in names) or len(set(names)) < len(names):
        raise ValueError(f"tasks {tasks!r}: name each of {known} at most once, joined by +")
    if severity is not None and not 0 <= severity <= 1:
        raise ValueError(f"severity {severity}: give a number in [0, 1], or None to draw one")
    steps = []
    for name in sorted(names, key=list(DRAW).index):  # "MD+SR" draws what "SR+MD" draws
        draw = sr.draw_single if name == "SR" and len(names) > 1 else DRAW[name]
        steps += draw(x, rng, severity, getattr(settings, name))
    steps = one_camera(steps) if len(names) > 1 else steps
    recipe = Recipe(tasks, severity, (*steps, {"op": "round8"}))
    return replay(recipe, x), recipe
