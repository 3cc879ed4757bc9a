"""Sharp to flawed: one pure function a flaw, and the recipe that explains each pair.

A task's module draws steps; `mixture` orders and applies them. `degrade` is the door.
"""

import numpy as np

from unires.degrade.mixture import SETTINGS, Recipe, Settings, apply_tasks, replay
from unires.shapes import Photo

__all__ = ["SETTINGS", "Recipe", "Settings", "degrade", "replay"]


def degrade(
    tasks: str,
    x: Photo,
    rng: np.random.Generator,
    severity: float | None = None,
    settings: Settings = SETTINGS["stablesr"],
) -> tuple[Photo, Recipe]:
    """Degrade a sharp photo by a task, or by several at once such as "SR+MD+DN"; the size stays.

    Paper: training data of the experts, and complex degradations.
    Range: severity 0 (almost none) to 1 (the heaviest in training), None draws every parameter from its whole
           range, as training does; [0, 1] to k / 255.
    Raises: ValueError for unknown or repeated tasks, or a severity outside [0, 1].
    Test:  test_degrade.py::test_output_is_an_8_bit_photo, test_degrade.py::test_same_seed_same_bytes,
           test_degrade.py::test_refusals
    """
    return apply_tasks(tasks.split("+"), x, rng, severity, settings)
