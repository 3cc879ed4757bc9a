"""How light becomes numbers: gamma, 8-bit rounding and JPEG."""

import io

import numpy as np
from jaxtyping import Float
from PIL import Image

from unires.shapes import Photo

GAMMA = 2.2
SUBSAMPLING = 2  # 4:2:0, what phones and the web write


def to_linear(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Turn display values into linear light, where blur and photon noise happen.

    Paper: our choice, a plain gamma of 2.2.  Range: [0, 1] to [0, 1].
    Test:  test_kernels.py::test_linear_light
    """
    return np.clip(x, 0, 1) ** np.float32(GAMMA)


def to_display(u: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Turn linear light back into display values; light outside [0, 1] saturates.

    Paper: our choice, the inverse of `to_linear`.  Range: any to [0, 1].
    Test:  test_kernels.py::test_linear_light
    """
    return np.clip(u, 0, 1) ** np.float32(1 / GAMMA)


def to_bytes(x: Photo) -> np.ndarray:
    """Round a photo to uint8, to the nearest level.

    Paper: our choice.  Range: [0, 1] to 0..255, values outside are clipped.
    Test:  test_degrade.py::test_output_is_an_8_bit_photo
    """
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)


def round8(x: Photo) -> Photo:
    """Round a photo to the 256 levels that a file can hold: the last step of every degradation.

    Paper: Real-ESRGAN's last step, used for every task here.  Range: [0, 1] to k / 255.
    Test:  test_degrade.py::test_output_is_an_8_bit_photo
    """
    return to_bytes(x).astype(np.float32) / np.float32(255)


def jpeg(x: Photo, quality: int) -> Photo:
    """Write a photo as JPEG and read it back.

    Paper: the codec of Real-ESRGAN's pipeline.  Range: quality 1 (worst) to 100; values k / 255.
    Test:  test_degrade.py::test_jpeg_is_pillows
    """
    file = io.BytesIO()
    Image.fromarray(to_bytes(x)).save(file, "JPEG", quality=quality, subsampling=SUBSAMPLING)
    return np.asarray(Image.open(file), np.float32) / np.float32(255)
