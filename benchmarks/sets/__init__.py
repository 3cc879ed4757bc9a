"""The test and training sets: one TOML file each, and what of them lies on this disk.

    python -m benchmarks.sets --root DIR            every set, one line each
    python -m benchmarks.sets --root DIR real60     exit 1 unless it is all there
    python -m benchmarks.sets --root DIR --training > sources.json     what `python -m unires train --sources` reads
    python -m benchmarks.sets --root DIR --tiles sidd_train    cut its huge photos into tiles, once, for training

Nothing is downloaded here: a file says where a set comes from and under which terms.
"""

from benchmarks.sets.layout import ImageSet, Layout, Protocol, SetError, Source, Terms, pairs, read_sets
from benchmarks.sets.loading import load
from benchmarks.sets.report import Report, check
from benchmarks.sets.training import training_sources

__all__ = [
    "ImageSet",
    "Layout",
    "Protocol",
    "Report",
    "SetError",
    "Source",
    "Terms",
    "check",
    "load",
    "pairs",
    "read_sets",
    "training_sources",
]
