"""Objects for flaws that differ from place to place: proposed by a segmentation where nobody drew masks."""

import numpy as np
from jaxtyping import Int

from unires.shapes import Photo

SCALE = 100  # felzenszwalb's preference for large segments


def propose(x: Photo, objects: int, least: int) -> Int[np.ndarray, "h w"]:
    """Label up to `objects` segments 1, 2, ... from the largest on; 0 is the background.

    A segment of more than half of the photo is background, and so is one of fewer than `least` pixels.
    Segmented at half size: objects need no finer edge, and it costs a quarter.
    Paper: stands in for the object masks of OID-Motion; the method is Felzenszwalb and Huttenlocher's.
    Raises: ImportError without scikit-image (extra: train).
    Test:  test_segments.py::test_two_discs_are_found, test_segments.py::test_labels_keep_the_rules
    """
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as missing:
        raise ImportError("objects are proposed by scikit-image: install unires[train]") from missing
    height, width, _ = x.shape
    half = felzenszwalb(x[::2, ::2], scale=SCALE, sigma=0.8, min_size=max(1, least // 4))
    labels = np.repeat(np.repeat(half, 2, axis=0), 2, axis=1)[:height, :width]
    sizes = np.bincount(labels.ravel())
    allowed = np.flatnonzero((sizes >= least) & (sizes <= labels.size // 2))
    chosen = allowed[np.argsort(-sizes[allowed], kind="stable")][:objects]
    names = np.zeros(len(sizes), np.int32)
    names[chosen] = np.arange(1, len(chosen) + 1)
    return names[labels]
