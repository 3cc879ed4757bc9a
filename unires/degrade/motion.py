"""MD: a hand that shook, and objects that moved by themselves, during the exposure (OID-Motion)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

from unires.degrade.codec import to_display, to_linear
from unires.degrade.draws import Span, between, draw_seed, log_between
from unires.degrade.kernels import Kernel, Path, blur_light, gaussian, rasterise
from unires.degrade.masks import Mask, from_runs, label, largest, to_runs
from unires.degrade.segments import propose
from unires.shapes import Photo

STEPS = 200
FEATHER = 0.7  # pixels; masks are jagged, real edges are not
# Share of the background that shows through everywhere, so that a pixel which every layer left behind has a value.
BEHIND = np.float32(1e-3)


@dataclass(frozen=True)
class MDSettings:
    """Ranges of the OID-Motion pipeline; a span goes from harmless to harshest.

    Paper: OID-Motion, whose numbers are not published. Support and objects are those of public per-object blur.
    The largest rates are those of Boracchi and Foi over a path of 2000 steps and 60 pixels: jitter 10, pull 0.7 and
    shakes 0.2, each times an anxiety of at most 0.003. The rest is our choice.
    """

    objects: int = 5  # at most
    least: int = 400  # pixels of the smallest object
    moving: float = 0.5  # probability that objects move by themselves
    extent: Span = (1.0, 31.0)  # pixels; sub-pixel weights add up to one on each side, so kernels cover at most 33
    anxiety: Span = (0.03, 1.0)  # from a calm hand, nearly a line, to a nervous one; logarithmic
    jitter: Span = (0.0, 1.34)  # radians, times anxiety, as the two below
    pull: Span = (0.0, 250.0)
    shakes: Span = (0.0, 1.2)
    lens: Span = (0.1, 1.2)  # sigma in pixels
    shot: Span = (1e-5, 2e-3)  # light of one photo-electron; logarithmic
    read: Span = (1e-4, 4e-3)  # sigma in linear light; logarithmic
    quality: Span = (95, 50)  # of the JPEG


OID_MOTION = MDSettings()


def trajectory(jitter: float, pull: float, shakes: float, seed: int) -> Path:
    """Walk a camera path of length 1 that starts at the origin, at constant speed.

    The camera's velocity is bent by Gaussian jitter and by a pull back to the start; now and then a big
    shake reverses it. Speed is restored after every step, so only the direction wanders.

    Paper: Boracchi and Foi 2012, with rates per whole path in place of their 2000 small steps.
    Range: jitter is the turn in radians over the path, pull the turn rate a unit of distance,
           shakes the expected number of reversals.
    Test:  test_motion.py::test_trajectory, test_motion.py::test_trajectory_is_the_published_walk
    """
    rng = np.random.default_rng(seed)
    velocity = complex(np.exp(2j * np.pi * rng.random()))
    turns = rng.standard_normal((2, STEPS)) * jitter / np.sqrt(STEPS)
    kicks = (turns[0] + 1j * turns[1]).tolist()
    reverse = -2 * np.exp(1j * rng.uniform(-0.5, 0.5, STEPS))  # turns round within half a radian
    bumps = np.where(rng.random(STEPS) < shakes / STEPS, reverse, 0).tolist()
    place, path = 0j, [0j]
    for kick, bump in zip(kicks, bumps, strict=True):
        velocity += bump * velocity + kick - pull / STEPS * place
        velocity /= abs(velocity)
        place += velocity / STEPS
        path.append(place)
    return np.array(path).view(np.float64).reshape(-1, 2)


def shake_kernel(extent: float, jitter: float, pull: float, shakes: float, seed: int) -> Kernel:
    """Kernel of a path whose longer side measures `extent` pixels; 0 is a point.

    Paper: camera shake of the OID-Motion data.  Range: extent in pixels; the rest as in `trajectory`.
    Test:  test_motion.py::test_shake_kernel
    """
    path = trajectory(jitter, pull, shakes, seed)
    return rasterise(path * (extent / np.ptp(path, axis=0).max()))


def shake(x: Photo, extent: float, jitter: float, pull: float, shakes: float, seed: int) -> Photo:
    """Blur a whole photo by one shaking hand, in linear light.

    Paper: camera shake of the OID-Motion data.  Range: as `shake_kernel`.
    Test:  test_motion.py::test_flat_stays_flat, test_motion.py::test_linear_light
    """
    return blur_light(x, shake_kernel(extent, jitter, pull, shakes, seed))


def shake_objects(
    x: Photo, hands: Sequence[dict], objects: int, least: int, masks: Sequence[Sequence[int]] | None = None
) -> Photo:
    """Blur the background by the first hand and each object by one of the others, in linear light.

    Without masks, objects are proposed from the photo itself, the same ones at every replay. Hands without an
    object are unused, and objects without a hand move with the background.

    Paper: the per-object shake of the OID-Motion data.
    Range: a hand is what `shake_kernel` takes; masks as `masks.to_runs` writes them.
    Raises: ValueError for no hands, or masks of another size than the photo's.
    Test:  test_motion.py::test_one_hand_for_all_is_a_shake, test_motion.py::test_sharp_object_on_a_moving_background
    """
    if not hands:
        raise ValueError("hands is empty: give the background's hand first, then one per object")
    shape = x.shape[:2]
    if masks is None:
        labels = propose(x, min(objects, len(hands) - 1), least)
    else:
        labels = label([from_runs(runs, shape) for runs in masks[: len(hands) - 1]], shape)
    found = int(labels.max())
    if not found:
        return shake(x, **hands[0])
    return _blend(x, labels, [shake_kernel(**hand) for hand in hands[: found + 1]])


def _blend(x: Photo, labels: np.ndarray, kernels: Sequence[np.ndarray]) -> Photo:
    """Blur every layer and its mask by the layer's kernel, and divide the light by the masks' sum.

    Blurring a layer with black around it, and not the whole photo, keeps an object's colour out of the
    background that moves beside it. The sums are taken in the frequency domain: one inverse for all layers.
    """
    height, width = labels.shape
    half = max(len(kernel) for kernel in kernels) // 2
    edge = ((half, half), (half, half))
    colours = np.moveaxis(to_linear(x), -1, 0)
    soft = (labels == np.arange(len(kernels))[:, None, None]).astype(np.float32)
    soft = gaussian_filter(soft, (0, FEATHER, FEATHER), mode="mirror", truncate=2)
    soft[0] += BEHIND
    layers = np.pad(np.concatenate([colours, np.ones((1, height, width), np.float32)]), ((0, 0), *edge), mode="reflect")
    soft = np.pad(soft, ((0, 0), *edge), mode="reflect")
    size = [scipy.fft.next_fast_len(n, real=True) for n in soft.shape[1:]]
    total = np.zeros((4, size[0], size[1] // 2 + 1), np.complex64)
    for mask, kernel in zip(soft, kernels, strict=True):
        spectrum = scipy.fft.rfft2(layers * mask, size)
        spectrum *= scipy.fft.rfft2(np.pad(kernel.astype(np.float32), half - len(kernel) // 2), size)
        total += spectrum
    # Wrap-around spoils only the first 2 * half rows and columns, which are cut away anyway.
    sums = scipy.fft.irfft2(total, size)[:, 2 * half : 2 * half + height, 2 * half : 2 * half + width]
    return to_display(np.ascontiguousarray(np.moveaxis(sums[:3] / sums[3], 0, -1)))


def lens(x: Photo, sigma: float) -> Photo:
    """Blur a photo by a Gaussian in linear light, as a lens that is slightly soft does.

    Paper: lens blur of the OID-Motion data.  Range: sigma in pixels, above 0.
    Test:  test_motion.py::test_lens_is_a_gaussian
    """
    return blur_light(x, gaussian(sigma))


OPS = {"shake": shake, "shake_objects": shake_objects, "lens": lens}


def draw_hand(rng: np.random.Generator, severity: float | None, settings: MDSettings = OID_MOTION) -> dict:
    """Draw how one hand, or one object, moves: the parameters of `shake_kernel`.

    Paper: the random trajectories of Boracchi and Foi 2012.
    Test:  test_motion.py::test_draws_keep_their_ranges
    """
    anxiety = log_between(rng, settings.anxiety, severity)
    rates = {name: anxiety * between(rng, getattr(settings, name), severity) for name in ("jitter", "pull", "shakes")}
    return {"extent": between(rng, settings.extent, severity), **rates, "seed": draw_seed(rng)}


def draw(
    x: Photo,
    rng: np.random.Generator,
    severity: float | None,
    settings: MDSettings = OID_MOTION,
    masks: Sequence[Mask] | None = None,
) -> list[dict]:
    """Draw the steps of one photo of OID-Motion: motion, lens, sensor, file.

    `masks` are the photo's objects where somebody drew them: the largest ones move, too small ones do not.
    Severity is how far things move, not whether objects move by themselves, nor how many of them.

    Paper: MD expert's data, OID-Motion.
    Range: severity in [0, 1], or None for every parameter independently over its span.
    Raises: ValueError for masks of another size than the photo's.
    Test:  test_motion.py::test_draws_keep_their_ranges, test_motion.py::test_probabilities,
           test_degrade.py::test_severity_is_monotone
    """
    if masks is not None and any(mask.shape != x.shape[:2] for mask in masks):
        sizes = sorted({mask.shape for mask in masks})
        raise ValueError(f"masks of {sizes} for a photo of {x.shape[:2]}: give masks of the photo's own size")
    moving = rng.random() < settings.moving
    count = int(rng.integers(1, settings.objects + 1))
    given = {}
    if masks is not None:
        given["masks"] = [to_runs(mask) for mask in largest(masks, settings.objects, settings.least)]
        count = len(given["masks"])
    if moving and count:
        hands = [draw_hand(rng, severity, settings) for _ in range(count + 1)]
        motion = {"op": "shake_objects", "hands": hands, "objects": count, "least": settings.least, **given}
    else:
        motion = {"op": "shake", **draw_hand(rng, severity, settings)}
    shot, read = log_between(rng, settings.shot, severity), log_between(rng, settings.read, severity)
    return [
        motion,
        {"op": "lens", "sigma": between(rng, settings.lens, severity)},
        {"op": "sensor_noise", "a": shot, "b": read**2, "seed": draw_seed(rng)},
        {"op": "jpeg", "quality": round(between(rng, settings.quality, severity))},
    ]
