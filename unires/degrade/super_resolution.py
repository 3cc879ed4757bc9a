"""SR: Real-ESRGAN's second-order pipeline: two rounds of blur, resize, noise and JPEG, then a small file enlarged."""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from jaxtyping import Float
from PIL import Image

from unires.degrade.blur_kernels import blur, sinc_filter
from unires.degrade.draws import Span, between, draw_seed
from unires.degrade.noise import display_noise, poisson_noise
from unires.shapes import Photo

Resized = Float[np.ndarray, "new_h new_w 3"]

# Pillow widens its filters when it shrinks, so none of these aliases.
FILTERS = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class SRStage:
    """One round of blur, resize, noise and JPEG. Spans run from harmless to harshest.

    Paper: the rows of Real-ESRGAN's settings that differ between its two stages.
    Test:  test_super_resolution.py::test_settings_are_the_published_ones
    """

    blur: float  # probability
    sigma: Span  # of the blur, in pixels
    canvas: int  # the largest kernel
    resize: tuple[float, float]  # smallest and largest ratio
    directions: tuple[float, float, float]  # probabilities of up, down, keep
    noise_sigma: Span  # of the Gaussian noise, in units of 1 / 255
    poisson_scale: Span
    jpeg: Span
    gaussian: float = 0.5  # probability of Gaussian noise; otherwise it is Poisson
    grey: float = 0.4  # probability of noise that is the same in the three channels


@dataclass(frozen=True)
class SRSettings:
    """Everything that the second-order pipeline draws from.

    Paper: Real-ESRGAN, and StableSR's lighter settings; the defaults are common to both.
    Test:  test_super_resolution.py::test_settings_are_the_published_ones
    """

    first: SRStage
    second: SRStage
    generalised_beta: tuple[float, float]  # half of the draws lie below 1, half above
    plateau_beta: tuple[float, float]
    scale: int = 4
    kinds: tuple[tuple[str, float], ...] = (
        ("iso", 0.45),
        ("aniso", 0.25),
        ("generalised_iso", 0.12),
        ("generalised_aniso", 0.03),
        ("plateau_iso", 0.12),
        ("plateau_aniso", 0.03),
    )
    sizes: tuple[int, int] = (7, 21)  # odd kernel sizes, as far as the stage's canvas holds them
    sinc: float = 0.1  # probability of a sinc in place of a stage's blur
    large: int = 13  # the size from which a sinc may cut off lower
    small_cutoff: Span = (np.pi, np.pi / 3)
    large_cutoff: Span = (np.pi, np.pi / 5)
    final_sinc: float = 0.8  # probability
    final_cutoff: Span = (np.pi, np.pi / 3)
    jpeg_last: float = 0.5  # probability that the last JPEG comes after the final sinc


REAL_ESRGAN = SRSettings(
    first=SRStage(
        blur=1.0,
        sigma=(0.2, 3.0),
        canvas=21,
        resize=(0.15, 1.5),
        directions=(0.2, 0.7, 0.1),
        noise_sigma=(1, 30),
        poisson_scale=(0.05, 3.0),
        jpeg=(95, 30),
    ),
    second=SRStage(
        blur=0.8,
        sigma=(0.2, 1.5),
        canvas=21,
        resize=(0.3, 1.2),
        directions=(0.3, 0.4, 0.3),
        noise_sigma=(1, 25),
        poisson_scale=(0.05, 2.5),
        jpeg=(95, 30),
    ),
    generalised_beta=(0.5, 4.0),
    plateau_beta=(1.0, 2.0),
)

STABLE_SR = SRSettings(
    first=SRStage(
        blur=1.0,
        sigma=(0.2, 1.5),
        canvas=21,
        resize=(0.3, 1.5),
        directions=(0.2, 0.7, 0.1),
        noise_sigma=(1, 15),
        poisson_scale=(0.05, 2.0),
        jpeg=(95, 60),
    ),
    second=SRStage(
        blur=0.5,
        sigma=(0.2, 1.0),
        canvas=11,  # as configured; the published code pads to 21 and draws up to 21 all the same
        resize=(0.6, 1.2),
        directions=(0.3, 0.4, 0.3),
        noise_sigma=(1, 12),
        poisson_scale=(0.05, 1.0),
        jpeg=(100, 60),
    ),
    generalised_beta=(0.5, 2.0),
    plateau_beta=(1.0, 1.5),
)


def resize(x: Photo, height: int, width: int, kind: str) -> Resized:
    """Resize a photo in float precision; the overshoot of bicubic is clipped.

    Paper: the resize modes of Real-ESRGAN.  Range: kind is a key of FILTERS; [0, 1] to [0, 1].
    Test:  test_super_resolution.py::test_resize, test_super_resolution.py::test_resize_clips
    """
    if x.shape[:2] == (height, width):
        return np.asarray(x, np.float32)
    planes = [Image.fromarray(np.ascontiguousarray(x[..., c], np.float32)) for c in range(3)]
    y = np.stack([np.asarray(p.resize((width, height), FILTERS[kind])) for p in planes], axis=-1)
    return np.clip(y, 0, 1, out=y) if kind == "bicubic" else y


OPS = {
    "blur": blur,
    "sinc": sinc_filter,
    "resize": resize,
    "shrink": resize,  # what `draw_single` calls its two
    "display_noise": display_noise,
    "poisson_noise": poisson_noise,
}


def _pick(rng: np.random.Generator, names: Sequence[str], probabilities: Sequence[float]) -> str:
    """One of the names, by its probability."""
    ends = list(accumulate(probabilities))
    return names[bisect(ends, rng.random() * ends[-1])]


def _filter(rng: np.random.Generator) -> str:
    return list(FILTERS)[rng.integers(len(FILTERS))]


def _to(shape: tuple[float, float], ratio: float) -> dict:
    """The size of a photo of this shape, resized by the ratio."""
    return {"height": max(1, round(shape[0] * ratio)), "width": max(1, round(shape[1] * ratio))}


def _draw_size(rng: np.random.Generator, settings: SRSettings, canvas: int) -> int:
    smallest, largest = settings.sizes
    return smallest + 2 * int(rng.integers((min(largest, canvas) - smallest) // 2 + 1))


def _draw_beta(rng: np.random.Generator, span: tuple[float, float]) -> float:
    """Half of the betas lie below 1, half above: the published code's law. A span from 1 gives 1 half of the time."""
    return rng.uniform(span[0], 1) if rng.random() < 0.5 else rng.uniform(1, span[1])


def _draw_bell(rng: np.random.Generator, severity: float | None, settings: SRSettings, stage: SRStage) -> dict:
    """A blur by one of the kernels that do not ring. Size and beta are its shape: no severity narrows them."""
    size = _draw_size(rng, settings, stage.canvas)
    kind = _pick(rng, *zip(*settings.kinds, strict=True))
    sigma, angle, beta = [between(rng, stage.sigma, severity)] * 2, 0.0, 1.0
    if kind.endswith("aniso"):
        sigma[1], angle = between(rng, stage.sigma, severity), rng.uniform(-np.pi, np.pi)
    if kind.startswith("generalised"):
        beta = _draw_beta(rng, settings.generalised_beta)
    elif kind.startswith("plateau"):
        beta = _draw_beta(rng, settings.plateau_beta)
    return {"op": "blur", "kind": kind, "size": size, "sigma": sigma, "angle": angle, "beta": beta}


def _draw_blur(rng: np.random.Generator, severity: float | None, settings: SRSettings, stage: SRStage) -> list[dict]:
    """A stage's blur, if any: a sinc, or one of the kernels that do not ring."""
    if rng.random() >= stage.blur:
        return []
    if rng.random() >= settings.sinc:
        return [_draw_bell(rng, severity, settings, stage)]
    size = _draw_size(rng, settings, stage.canvas)
    span = settings.small_cutoff if size < settings.large else settings.large_cutoff
    return [{"op": "sinc", "size": size, "cutoff": between(rng, span, severity)}]


def _draw_ratio(rng: np.random.Generator, severity: float | None, stage: SRStage) -> float:
    """A stage's resize ratio. Harsh is small in both directions: enlarging averages the noise to come."""
    smallest, largest = stage.resize
    direction = _pick(rng, ("up", "down", "keep"), stage.directions)
    spans = {"up": (largest, 1.0), "down": (1.0, smallest), "keep": (1.0, 1.0)}
    return between(rng, spans[direction], severity)


def _draw_noise(rng: np.random.Generator, severity: float | None, stage: SRStage) -> dict:
    if rng.random() < stage.gaussian:
        step = {"op": "display_noise", "sigma": between(rng, stage.noise_sigma, severity) / 255}
    else:
        step = {"op": "poisson_noise", "scale": between(rng, stage.poisson_scale, severity)}
    return step | {"grey": bool(rng.random() < stage.grey), "seed": draw_seed(rng)}


def _draw_jpeg(rng: np.random.Generator, severity: float | None, stage: SRStage) -> dict:
    return {"op": "jpeg", "quality": round(between(rng, stage.jpeg, severity))}


def _draw_stage(
    rng: np.random.Generator,
    severity: float | None,
    settings: SRSettings,
    stage: SRStage,
    shape: tuple[float, float],
) -> list[dict]:
    """A stage without its JPEG; the ratio of its resize refers to the shape."""
    steps = _draw_blur(rng, severity, settings, stage)
    size = _to(shape, _draw_ratio(rng, severity, stage))
    return [*steps, {"op": "resize", **size, "kind": _filter(rng)}, _draw_noise(rng, severity, stage)]


def draw(x: Photo, rng: np.random.Generator, severity: float | None, settings: SRSettings = STABLE_SR) -> list[dict]:
    """Draw the steps of one low-resolution photo, enlarged to its old size at the end.

    A severity narrows sigmas, ratios, noise, qualities and cut-offs; which branch is taken stays open. Only the
    shape of the photo matters.
    Paper: SR expert's data, Real-ESRGAN's second-order pipeline.
    Range: severity in [0, 1], or None for the published distributions.
    Test:  test_super_resolution.py::test_branches, test_super_resolution.py::test_parameters_stay_in_their_ranges,
           test_super_resolution.py::test_severity_is_monotone
    """
    height, width = x.shape[:2]
    small = (height / settings.scale, width / settings.scale)
    steps = _draw_stage(rng, severity, settings, settings.first, (height, width))
    steps.append(_draw_jpeg(rng, severity, settings.first))
    steps += _draw_stage(rng, severity, settings, settings.second, small)

    # The resize to the final size and the sinc are one unit: it comes before the JPEG, or after it.
    file = [_draw_jpeg(rng, severity, settings.second)]
    view = [{"op": "resize", **_to(small, 1), "kind": _filter(rng)}]
    if rng.random() < settings.final_sinc:
        size = _draw_size(rng, settings, settings.sizes[1])
        view.append({"op": "sinc", "size": size, "cutoff": between(rng, settings.final_cutoff, severity)})
    steps += view + file if rng.random() < settings.jpeg_last else file + view
    return [*steps, {"op": "resize", "height": height, "width": width, "kind": "bicubic"}]


def draw_single(
    x: Photo, rng: np.random.Generator, severity: float | None, settings: SRSettings = STABLE_SR
) -> list[dict]:
    """Draw what super-resolution adds to a mixture of flaws: one blur, one step down and one up again.

    Noise and JPEG are the other flaws' part. The photo shrinks by 2 (harmless) to the settings' scale (harshest).
    Paper: complex degradations; our choice.  Range: severity in [0, 1], or None for any.
    Test:  test_super_resolution.py::test_single, test_super_resolution.py::test_severity_is_monotone
    """
    height, width = x.shape[:2]
    factor = between(rng, (2.0, settings.scale), severity)
    return [
        _draw_bell(rng, severity, settings, settings.first),
        {"op": "shrink", **_to((height, width), 1 / factor), "kind": _filter(rng)},
        {"op": "enlarge", "height": height, "width": width, "kind": "bicubic"},
    ]
