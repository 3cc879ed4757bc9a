"""What the tests of flaws share: a photo, a kernel's moments, and drawn steps applied."""

import numpy as np
from skimage.data import astronaut

from unires.degrade import Recipe, replay


def photo(height=96, width=96, top=80, left=180):
    """A part of the astronaut, in [0, 1]."""
    return astronaut()[top : top + height, left : left + width].astype(np.float32) / np.float32(255)


def moments(kernel):
    """Centroid and covariance of a kernel, as (row, column) about its middle."""
    half = len(kernel) // 2
    place = np.stack(np.mgrid[-half : half + 1, -half : half + 1]).reshape(2, -1)
    centroid = place @ kernel.ravel()
    return centroid, (place * kernel.ravel()) @ place.T - np.outer(centroid, centroid)


def apply(steps, x):
    """A photo after steps that a task drew, as `degrade` applies them but for the rounding to 8 bit."""
    return replay(Recipe("", None, tuple(steps)), x)
