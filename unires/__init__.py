"""UniRes: universal image restoration for complex degradations, in JAX.

>>> import unires
>>> x_hat = unires.restore(photo, weights={"MD": 0.6, "DN": -0.2, "DownLQ": 0.6})
"""

from unires.restore import Restorer, load, restore

__all__ = ["Restorer", "load", "restore"]
__version__ = "0.1.0"
