"""DD: a lens that was focused elsewhere, on one depth or on a scene of several."""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float, Int
from scipy import ndimage

from unires.degrade.aperture import POINT, aperture
from unires.degrade.codec import to_display, to_linear
from unires.degrade.draws import Span, between, draw_seed
from unires.degrade.kernels import blur_light
from unires.degrade.segments import propose
from unires.shapes import Photo

Layers = Int[np.ndarray, "h w"]  # 0 is the farthest layer of depth
Radii = Float[np.ndarray, " k"]  # signed circles of confusion in pixels, from the farthest layer to the nearest
Stack = Float[np.ndarray, "k c h w"]

SOFT = 2  # at half size: half the window in which borders follow the edges of the photo
EDGE = 1e-3  # brightness variance from which on they do
LEAST_SHARE = 0.02  # a smaller share of a pixel is none
FAINT = 0.01  # weight of what lies farther away in guessing hidden colours


@dataclass(frozen=True)
class DDSettings:
    """How photos out of focus are drawn. A Span runs from harmless to harshest and obeys the severity.

    What is neither harmless nor harsh (focus, tilt, direction, offsets, blades) is uniform at any severity.

    Paper: our choice; the method says only that its data is DPDD's.
    Test:  test_defocus.py::test_probabilities
    """

    radius: Span = (0.5, 5.0)  # pixels, of the largest circle of confusion in the photo
    uniform: float = 0.3  # probability of one depth: the whole photo blurs alike
    disc: float = 0.5  # probability of a round aperture; the others are polygons
    blades: tuple[int, int] = (5, 9)  # fewest and most edges of a polygon
    layers: int = 4  # of depth
    tilt: tuple[float, float] = (0.0, 1.0)  # inverse depth that the ground spans, from a wall to a floor
    lean: float = np.pi / 6  # most radians between the photo's bottom and where the ground is nearest
    objects: int = 5  # most
    least: int = 400  # pixels of an object
    offset: float = 0.5  # most inverse depth that an object is nearer than the ground at its foot
    read_noise: Span = (0.0, 0.004)  # standard deviation in linear light
    quality: Span = (95.0, 75.0)  # of the JPEG file


DEPTH_LAYERS = DDSettings()


def defocus(x: Photo, radius: float, blades: int = 0, angle: float = 0.0) -> Photo:
    """Blur a photo of one depth in linear light, with a disc (blades 0) or a polygon.

    Paper: our choice, a stand-in for the real defocus of DPDD.  Range: radius in pixels.
    Test:  test_defocus.py::test_flat_stays_flat, test_defocus.py::test_linear_light
    """
    return blur_light(x, aperture(radius, blades, angle))


def depth_layers(
    x: Photo, tilt: float, direction: float, layers: int, objects: int, least: int, offset: float, seed: int
) -> Layers:
    """Guess a scene: a tilted ground and objects that stand on it, its inverse depth cut into equal steps.

    The inverse depth of a plane is linear in the photo, and the blur is linear in inverse depth. An object has
    one depth: the ground's at its foot, or nearer by up to `offset`.

    Paper: our choice; objects are proposed by `segments.propose`.
    Range: the ground's inverse depth spans `tilt`; it is nearest at the photo's bottom, turned by `direction`.
    Test:  test_defocus.py::test_ground_and_objects
    """
    height, width, _ = x.shape
    down, right = np.linspace(-0.5, 0.5, height)[:, None], np.linspace(-0.5, 0.5, width)[None]
    ground = np.cos(direction) * down + np.sin(direction) * right
    ground = ground * (tilt / max(np.ptp(ground), 1e-9))
    labels = propose(x, objects, least) if objects else np.zeros((height, width), np.int32)
    nearer = np.random.default_rng(seed).uniform(0, offset, objects)
    names = np.arange(1, labels.max() + 1)
    feet = np.array(ndimage.maximum(ground, labels, names)) + nearer[: len(names)]
    nearness = np.where(labels > 0, np.append(0, feet)[labels], ground)
    nearness = nearness - nearness.min()
    cut = np.minimum(nearness * (layers / max(nearness.max(), 1e-9)), layers - 1).astype(np.int32)
    votes = _box((cut[::2, ::2] == np.arange(layers)[:, None, None]).astype(np.float32), SOFT)
    return _double(votes.argmax(axis=0).astype(np.int32), height, width)  # without slivers


def circles(present: Layers, layers: int, focus: float, radius: float) -> Radii:
    """Signed circle of confusion of every layer: 1 / depth - 1 / focus, scaled so that the largest is `radius`.

    Paper: our choice, the thin lens.
    Range: focus 0 is the farthest layer, 1 the nearest; the closest layer that the photo has is sharp. A photo of
           one layer is out of focus as a whole.
    Test:  test_defocus.py::test_circles
    """
    found = np.flatnonzero(np.bincount(present.ravel(), minlength=layers))
    if len(found) == 1:
        return np.full(layers, float(radius))
    sharp = found[np.abs(found - (found[0] + focus * np.ptp(found))).argmin()]
    steps = np.arange(layers) - sharp
    return steps * (radius / np.abs(steps[found]).max())


def _box(planes: np.ndarray, reach: int) -> np.ndarray:
    """Average the last two axes over squares of 2 * reach + 1 pixels."""
    size = (1,) * (planes.ndim - 2) + (2 * reach + 1,) * 2
    return ndimage.uniform_filter(planes, size, mode="mirror")


def _double(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Undo planes[..., ::2, ::2], each pixel four times."""
    return np.repeat(np.repeat(planes, 2, axis=-2), 2, axis=-1)[..., :height, :width]


def _feather(light: np.ndarray, own: Layers, count: int) -> np.ndarray:
    """Share of every pixel that belongs to each layer: borders soften and slide to the edges of the photo.

    The guided filter of He et al. (2010), its coefficients at half size: near every pixel a layer's share is a
    linear function of brightness.
    """
    guide = np.sqrt(light[1])  # close to display values
    half = guide[::2, ::2]
    hard = (own[::2, ::2] == np.arange(count)[:, None, None]).astype(np.float32)
    mean, square = _box(np.stack([half, half * half]), SOFT)
    level, product = _box(np.stack([hard, hard * half]), SOFT)
    slope = (product - level * mean) / (square - mean * mean + EDGE)
    slope, level = _double(_box(np.stack([slope, level - slope * mean]), SOFT), *guide.shape)
    shares = slope * guide + level
    shares[shares < LEAST_SHARE] = 0
    return shares / shares.sum(axis=0)


def _hidden(light: np.ndarray, own: Layers, count: int, reach: int) -> Stack:
    """Continue every layer behind the nearer ones: premultiplied colours and opacity, four channels a layer.

    What a pixel hides is guessed from the farther layers near it: the average of their colours, and each as
    opaque as its share of them. So a layer turns up only behind objects that it touches.
    """
    shares = _feather(light, own, count)
    stack = shares[:, None] * np.concatenate([light, np.ones_like(light[:1])])
    small = stack[:-1, :, ::2, ::2]
    near = _box(small * small[:, 3:], (reach + 1) // 2)
    near += FAINT * _box(near, reach + 2 * SOFT)  # as deep as two blurs and a soft border let one see
    near += FAINT**2 * small.mean(axis=(2, 3), keepdims=True)
    guess = _double(near / np.cumsum(near[:, 3:], axis=0), *own.shape)
    covered = np.clip(1 - np.cumsum(shares[:-1], axis=0), 0, 1)[:, None]  # by the nearer layers
    stack[:-1] += covered * guess
    return stack


def _blur(stack: Stack, kernels: list[np.ndarray]) -> Stack:
    """Convolve every layer with its own kernel, as `kernels.convolve` does, in one transform."""
    half = max(len(kernel) for kernel in kernels) // 2
    if half == 0:
        return stack
    height, width = stack.shape[2:]
    padded = np.pad(stack, ((0, 0), (0, 0), (half, half), (half, half)), mode="reflect")
    size = [scipy.fft.next_fast_len(n, real=True) for n in padded.shape[2:]]
    alike = np.stack([np.pad(kernel, half - len(kernel) // 2) for kernel in kernels]).astype(np.float32)
    spectrum = scipy.fft.rfft2(padded, size) * scipy.fft.rfft2(alike, size)[:, None]
    return scipy.fft.irfft2(spectrum, size)[:, :, 2 * half : 2 * half + height, 2 * half : 2 * half + width]


def composite(
    light: Float[np.ndarray, "3 h w"], layers: Layers, radii: Radii, blades: int = 0, angle: float = 0.0
) -> Float[np.ndarray, "4 h w"]:
    """Blur each layer by its own circle of confusion and lay the nearer over the farther.

    Colours are premultiplied, so no dark or bright rim appears. A blurred object spreads over what is behind it;
    a sharp one keeps its edge. Layers of the same circle are at the same depth and count as one: there the
    result is the plain convolution. The fourth channel, the total of all weights, is 1 up to rounding.

    Paper: our choice: the "over" of Porter and Duff (1984) on blurred layers.
    Range: linear light; radii as in `circles`, rising with nearness.
    Test:  test_defocus.py::test_equal_layers_are_uniform, test_defocus.py::test_weights_sum_to_one,
           test_defocus.py::test_interiors, test_defocus.py::test_sharp_object_keeps_its_edge,
           test_defocus.py::test_blurred_object_spreads
    """
    radii = np.where(np.abs(radii) <= POINT, 0, radii)[np.unique(layers)]
    order = np.searchsorted(np.unique(layers), layers)
    radii, merged = np.unique(radii, return_inverse=True)
    own = merged.astype(np.int32)[order]
    reach = int(np.ceil(np.abs(radii).max()))
    stack = _hidden(light, own, len(radii), reach)
    soft = np.flatnonzero(radii)
    if len(soft):
        stack[soft] = _blur(stack[soft], [aperture(radius, blades, angle) for radius in radii[soft]])
    result = stack[0]
    for layer in stack[1:]:
        result = layer + (1 - layer[3:]) * result
    return result


def defocus_layers(
    x: Photo,
    radius: float,
    focus: float,
    tilt: float,
    direction: float,
    layers: int,
    objects: int,
    least: int,
    offset: float,
    seed: int,
    blades: int = 0,
    angle: float = 0.0,
) -> Photo:
    """Put a guessed scene out of focus layer by layer, in linear light; its depth is made anew from the photo.

    Paper: our choice, a stand-in for the real defocus of DPDD.
    Range: radius in pixels, the largest; focus from 0 (far) to 1 (near); the rest as in `depth_layers`.
    Raises: ImportError without scikit-image (extra: train), if there are objects.
    Test:  test_defocus.py::test_flat_stays_flat, test_defocus.py::test_any_size
    """
    own = depth_layers(x, tilt, direction, layers, objects, least, offset, seed)
    light = composite(to_linear(x).transpose(2, 0, 1), own, circles(own, layers, focus, radius), blades, angle)
    return np.ascontiguousarray(to_display(light[:3]).transpose(1, 2, 0))


def draw(x: Photo, rng: np.random.Generator, severity: float | None, settings: DDSettings = DEPTH_LAYERS) -> list[dict]:
    """Draw the steps of one photo out of focus: lens, then slight read-out noise, then a mild JPEG.

    Paper: DD expert's data.  Range: severity in [0, 1], or None: every parameter over its span by itself.
    Test:  test_defocus.py::test_probabilities, test_defocus.py::test_severity_is_monotone,
           test_defocus.py::test_replay
    """
    blades = 0 if rng.random() < settings.disc else int(rng.integers(settings.blades[0], settings.blades[1] + 1))
    lens = {
        "radius": between(rng, settings.radius, severity),
        "blades": blades,
        "angle": float(rng.uniform(0, 2 * np.pi / blades)) if blades else 0.0,
    }
    if rng.random() < settings.uniform:
        step = {"op": "defocus", **lens}
    else:
        step = {
            "op": "defocus_layers",
            **lens,
            "focus": rng.random(),
            "tilt": float(rng.uniform(*settings.tilt)),
            "direction": float(rng.uniform(-settings.lean, settings.lean)),
            "layers": settings.layers,
            "objects": int(rng.integers(settings.objects + 1)),
            "least": settings.least,
            "offset": settings.offset,
            "seed": draw_seed(rng),
        }
    noise = {"op": "sensor_noise", "a": 0.0, "b": between(rng, settings.read_noise, severity) ** 2}
    file = {"op": "jpeg", "quality": round(between(rng, settings.quality, severity))}
    return [step, {**noise, "seed": draw_seed(rng)}, file]


OPS = {"defocus": defocus, "defocus_layers": defocus_layers}
