"""pyiqa's networks as metrics, for the scores that the paper's tables show.

pyiqa fetches what it lacks without asking: `unires.metrics` looks for the files first, and only then calls this.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import ModuleType

import numpy as np

from unires.shapes import Photo
from unires.weight_files import torch_hub

SEED = 0  # of crops, where pyiqa's version draws them
# Their checkpoints hold the whole network: no second file for the trunk.
OPTIONS = {"topiq_nr": {"backbone_pretrain": False}, "topiq_fr": {"backbone_pretrain": False}}

_KEPT = []  # operators of torch vanish with the object that defined them


def import_torchvision() -> ModuleType:
    """torchvision, also where its own operators can't be loaded (torch without CUDA).

    Raises: ImportError if it or torch is not installed.
    Test: test_metrics.py::test_niqe_agrees_with_pyiqa
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        import torchvision
    return torchvision


def import_pyiqa() -> ModuleType:
    """pyiqa, over a torchvision that works.

    Raises: ImportError if pyiqa or torch is not installed.
    Test: test_metrics.py::test_niqe_agrees_with_pyiqa
    """
    try:
        import_torchvision()
        import pyiqa
        from pyiqa.utils import download_util
    except ImportError as missing:
        raise ImportError("this needs pyiqa and torch: pip install unires[paper]") from missing
    download_util.DEFAULT_CACHE_DIR = str(torch_hub() / "pyiqa")  # it reads TORCH_HOME only when first imported
    return pyiqa


def pyiqa_score(name: str) -> Callable[..., float]:
    """pyiqa's metric of that name, for one photo (and its reference).

    Range:  photos in [0, 1]; the score's range is the metric's.
    Raises: ImportError if pyiqa or torch is not installed.
    Test:   test_contract.py::test_photos_reach_pyiqa_as_they_are, test_crops_are_drawn_by_our_seed
    """

    def measure(*photos: Photo) -> float:
        import_pyiqa()
        import torch

        network = _network(name, str(torch_hub()))
        tensors = [torch.from_numpy(np.array(np.moveaxis(photo, -1, 0)[None], np.float32)) for photo in photos]
        with seeded(SEED):
            return float(network(*tensors))

    return measure


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator, which pyiqa's crops come from, at a seed; afterwards as it was before.

    Test: test_contract.py::test_crops_are_drawn_by_our_seed
    """
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


@lru_cache(maxsize=4)
def _network(name: str, _hub: str):
    import torch

    pyiqa = import_pyiqa()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights lie
        return pyiqa.create_metric(name, device=torch.device(device), **OPTIONS.get(name, {}))
