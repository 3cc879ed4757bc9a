"""Proposed objects keep the rules that the per-object flaws rely on."""

import numpy as np
from skimage.data import astronaut

from unires.degrade.segments import propose


def test_two_discs_are_found():
    row, column = np.mgrid[:128, :128]
    x = np.full((128, 128, 3), 0.1, np.float32)
    large, small = np.hypot(row - 80, column - 80) < 30, np.hypot(row - 25, column - 25) < 15
    x[large], x[small] = (0.9, 0.2, 0.2), (0.2, 0.2, 0.9)
    labels = propose(x, objects=5, least=400)
    for disc in (large, small):
        overlap = [((labels == n) & disc).sum() / ((labels == n) | disc).sum() for n in range(1, labels.max() + 1)]
        assert max(overlap) > 0.8


def test_labels_keep_the_rules():
    x = astronaut()[61:190, 120:281].astype(np.float32) / 255
    for objects in (2, 5):
        labels = propose(x, objects, least=400)
        sizes = np.bincount(labels.ravel())
        assert labels.shape == x.shape[:2] and len(sizes) - 1 == objects
        assert (np.diff(sizes[1:]) <= 0).all() and sizes[1:].min() >= 400 and sizes[1:].max() <= labels.size // 2
    np.testing.assert_array_equal(labels, propose(x.copy(), objects, least=400))
    assert not propose(np.full((64, 64, 3), 0.5, np.float32), 5, 400).any()  # one segment: all background
