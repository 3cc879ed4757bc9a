"""The camera's way from sensor to photo, and back: gains, mosaic, colour matrix, gamma and tone curve.

Paper: "Unprocessing Images for Learned Raw Denoising" (Brooks et al. 2019), where not said otherwise.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unires.shapes import Photo

Plane = Float[np.ndarray, "h w"]  # what a sensor behind RGGB filters reads: one colour a pixel
Values = Float[np.ndarray, "..."]
Matrix = list[list[float]]

# From CIE XYZ to the camera's colours in daylight, as the makers' DNG files state it, for the four cameras of the
# Darmstadt noise data set: Nexus 6P, Sony A7R, Olympus E-M10, Sony RX100 IV.
CAMERAS = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
# IEC 61966-2-1, white of D65.
SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

BRIGHTEN = 1.25  # digital gain of all colours: 1 / 0.8, the published mean. It leaves the sensor room above white
SHOULDER = 0.9  # light from where on the inverse gains give way to a saturated sensor; published


@dataclass(frozen=True)
class Camera:
    """One camera under one light, as plain numbers; its filters are RGGB.

    Paper: our choice of a class.  Range: gains of red and blue over green; rows of the matrix sum to 1.
    Test:  test_raw.py::test_process_undoes_unprocess
    """

    red: float
    blue: float
    matrix: Matrix  # from the camera's colours to linear sRGB

    @property
    def gains(self) -> np.ndarray:
        """What multiplies red, green and blue of the sensor."""
        return BRIGHTEN * np.array([self.red, 1, self.blue], np.float32)


def mix_matrix(weights: Float[np.ndarray, " k"]) -> Matrix:
    """Mix the known cameras' colour matrices and turn the mix into one from the camera to linear sRGB.

    Paper: the published mix.  Range: weights >= 0 that sum to 1; grey stays grey, so rows sum to 1.
    Test:  test_raw.py::test_cameras_keep_grey
    """
    camera = np.tensordot(weights, CAMERAS, 1) @ SRGB_TO_XYZ
    return np.linalg.inv(camera / camera.sum(1, keepdims=True)).tolist()


def tone(x: Values) -> Values:
    """Apply the tone curve that gives photos contrast: smoothstep, 3 x^2 - 2 x^3.

    Paper: the published curve.  Range: [0, 1] to [0, 1].
    Test:  test_raw.py::test_tone_curve
    """
    return x * x * (3 - 2 * x)


def untone(y: Values) -> Values:
    """Undo the tone curve.

    Paper: the closed form published with it.  Range: [0, 1] to [0, 1].
    Test:  test_raw.py::test_tone_curve
    """
    return np.clip(np.float32(0.5) - np.sin(np.arcsin(1 - 2 * y) / 3), 0, 1)


def encode(u: Values) -> Values:
    """Turn linear sRGB into encoded values by the standard's curve.

    The published pipeline takes a power of 2.2. Photos are written with this curve, and its finite slope in
    black keeps read-out noise there from being blown up.
    Paper: IEC 61966-2-1; taking it is our choice.  Range: [0, 1] to [0, 1].
    Test:  test_raw.py::test_srgb_curve
    """
    power = np.float32(1.055) * np.maximum(u, np.float32(1e-3)) ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(u <= 0.0031308, np.float32(12.92) * u, power)


def decode(x: Values) -> Values:
    """Turn encoded sRGB values into linear ones.

    Paper: IEC 61966-2-1.  Range: [0, 1] to [0, 1].
    Test:  test_raw.py::test_srgb_curve
    """
    return np.where(
        x <= 0.04045, x / np.float32(12.92), ((x + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    )


def unprocess(x: Photo, camera: Camera) -> Photo:
    """Estimate the light that the camera's sensor saw: linear, in the camera's colours, 1 where it saturates.

    Near white the inverse gains fade to 1, so that white comes from a saturated sensor in every colour and
    noise does not tint it. Near means in the darkest colour; the published mean would also bleach light cyan.
    Paper: unprocessing; sRGB's curve in place of a power of 2.2.
    Range: [0, 1] to at most 1; colours that the camera cannot see come out a little negative.
    Test:  test_raw.py::test_process_undoes_unprocess, test_raw.py::test_white_stays_white
    """
    linear = decode(untone(np.clip(x, 0, 1))) @ np.linalg.inv(camera.matrix).T.astype(np.float32)
    inverse = 1 / camera.gains
    fade = (np.maximum(linear.min(-1, keepdims=True) - SHOULDER, 0) / (1 - SHOULDER)) ** 2
    return np.minimum(linear * np.maximum(inverse, fade + (1 - fade) * inverse), 1)


def process(linear: Photo, camera: Camera) -> Photo:
    """Make a photo of the sensor's light: white balance, colour matrix, sRGB curve and tone curve.

    Balanced light above 1 is cut before the matrix, as converters do: a saturated sensor knows no colour.
    Paper: the published pipeline, with sRGB's curve.  Range: any to [0, 1].
    Test:  test_raw.py::test_process_undoes_unprocess, test_raw.py::test_white_stays_white
    """
    balanced = np.minimum(linear * camera.gains, 1)
    return tone(encode(np.clip(balanced @ np.array(camera.matrix, np.float32).T, 0, 1)))


def mosaic(rgb: Photo) -> Plane:
    """Keep of each pixel the colour that its filter lets through: RGGB, red in the corner.

    Paper: the Bayer pattern.  Range: any.
    Test:  test_raw.py::test_mosaic
    """
    plane = rgb[..., 1].copy()
    plane[::2, ::2] = rgb[::2, ::2, 0]
    plane[1::2, 1::2] = rgb[1::2, 1::2, 2]
    return plane


def demosaic(plane: Plane) -> Photo:
    """Fill in the two colours that each pixel of an RGGB plane lacks; any size from 2 x 2 on.

    Each is a bilinear guess, corrected by the second difference of the colour that is there. Mirroring about
    the outermost pixels keeps the pattern's phase.
    Paper: Malvar, He and Cutler 2004, "High-quality linear interpolation for demosaicing of Bayer-patterned
           color images", its 5 x 5 filters.
    Raises: ValueError for planes that lack a colour.
    Test:  test_raw.py::test_demosaic_matches_scipy, test_raw.py::test_demosaic_is_exact_on_ramps,
           test_raw.py::test_refusals
    """
    height, width = plane.shape
    if min(height, width) < 2:
        raise ValueError(f"Bayer plane of {height} x {width}: give at least 2 x 2, or a colour is missing")
    padded = np.pad(plane, 2, mode="reflect")

    def at(down: int, right: int) -> np.ndarray:
        return padded[2 + down : 2 + down + height, 2 + right : 2 + right + width]

    beside, above = at(0, -1) + at(0, 1), at(-1, 0) + at(1, 0)
    beside2, above2 = at(0, -2) + at(0, 2), at(-2, 0) + at(2, 0)
    diagonal = at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1)
    cross = (4 * plane + 2 * (beside + above) - (beside2 + above2)) / 8  # green at red or blue
    row = (5 * plane + 4 * beside - diagonal - beside2 + above2 / 2) / 8  # at green, from its row
    column = (5 * plane + 4 * above - diagonal - above2 + beside2 / 2) / 8  # at green, from its column
    corners = (6 * plane + 2 * diagonal - 1.5 * (beside2 + above2)) / 8  # red at blue, blue at red
    rgb = np.empty((height, width, 3), plane.dtype)
    of = {"red": slice(0, None, 2), "blue": slice(1, None, 2)}  # rows, and columns, that hold red or blue
    for channel, own, other in ((0, of["red"], of["blue"]), (2, of["blue"], of["red"])):
        rgb[own, own, channel] = plane[own, own]
        rgb[own, other, channel] = row[own, other]
        rgb[other, own, channel] = column[other, own]
        rgb[other, other, channel] = corners[other, other]
    rgb[..., 1] = plane
    for own in of.values():
        rgb[own, own, 1] = cross[own, own]
    return rgb
