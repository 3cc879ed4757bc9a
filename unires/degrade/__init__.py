"""Sharp to flawed: one pure function a flaw, and the recipe that explains each pair.

A task's module draws steps; `mixture` orders and applies them. `degrade` is the door.
"""

from unires.degrade.mixture import SETTINGS, Recipe, Settings, degrade, replay

__all__ = ["SETTINGS", "Recipe", "Settings", "degrade", "replay"]
