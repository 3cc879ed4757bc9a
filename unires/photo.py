"""Photos in and out of files.

A photo is float32 [h w 3] in [0, 1], sRGB as stored: colour profiles are neither applied nor kept. Whatever
a file holds (grey, palette, CMYK, 16 bit, transparency, a rotation tag) comes out as such an array, or an
error says what to do about it.
"""

import io
import os
import secrets
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps

from unires.shapes import AnyArray, Photo

MOST_PIXELS = 100_000_000  # a small file can unfold into gigabytes: look at the header before decoding
ROUNDING = 1e-4  # float error forgiven outside [0, 1]; far below half an 8-bit step
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
NO_PICTURES = ("BUFR", "GRIB", "HDF5", "MPEG", "PDF")  # data, films and texts whose suffixes Pillow knows, no more
SAVING = {"PNG": {}, "JPEG": {"quality": 95, "subsampling": 0}}  # 0: colour at full resolution


class PhotoError(ValueError):
    """A photo that cannot be read, written or understood; the message names it and says what to do."""


def as_photo(array: AnyArray, name: str = "array") -> Photo:
    """Turn an array into a photo.

    Takes [h w 3], grey [h w] or [h w 1], and RGBA [h w 4], which is laid on white; uint8, uint16, or float
    in [0, 1]. `name` is what error messages call it.

    Paper:  our choice.  Range: output float32 in [0, 1].
    Raises: PhotoError: another shape or type, no pixels, NaN or infinity, values outside [0, 1].
    Test:   test_photo.py::test_as_photo_takes_what_it_promises, test_as_photo_repeats_grey_and_forgives_rounding
    """
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise PhotoError(f"{name}: a photo has shape [h w 3], [h w] or [h w 4], not {list(array.shape)}.")
    if array.dtype in (np.uint8, np.uint16):
        array = array / np.float32(np.iinfo(array.dtype).max)
    elif not jnp.issubdtype(array.dtype, jnp.floating):  # numpy alone doesn't count bfloat16
        raise PhotoError(f"{name}: {array.dtype} values have no agreed range; give uint8 or [0, 1] floats.")
    if not np.isfinite(array).all():
        raise PhotoError(f"{name}: holds NaN or infinity; look where it was computed.")
    low, high = float(array.min()), float(array.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise PhotoError(
            f"{name}: values run from {low:.4g} to {high:.4g}; "
            "scale them to [0, 1] (8-bit values: divide by 255, or pass uint8) or clip them."
        )
    array = array.astype(np.float32).clip(0, 1)
    if array.shape[2] == 4:
        array = array[..., :3] * array[..., 3:] + 1 - array[..., 3:]
    return np.array(np.broadcast_to(array, (*array.shape[:2], 3)))


def named_as_photo(path: Path) -> bool:
    """Whether a file's suffix is one of a picture format that Pillow knows; what is inside is not looked at.

    Test: test_photo.py::test_names_of_photos
    """
    return Image.registered_extensions().get(path.suffix.lower()) not in (None, *NO_PICTURES)


def read_photo(path: str | os.PathLike) -> Photo:
    """Read a photo from a file of any format that Pillow knows.

    A rotation tag (EXIF) is applied, transparency is laid on white, an animation gives its first frame;
    16-bit grey keeps its 16 bits, 16-bit colour is read at 8.

    Paper:  our choice.  Range: output in [0, 1].
    Raises: PhotoError: missing, a directory, empty, not an image, damaged or cut short, 32 bits a channel,
            more than 100 megapixels.
    Test:   test_photo.py::test_every_kind_of_file_reads_right, test_a_bad_file_is_refused_by_name
    """
    path = Path(path)
    if not path.exists():
        raise PhotoError(f"{path}: no such file; check the path.")
    if path.is_dir():
        raise PhotoError(f"{path}: is a directory; give one photo inside it.")
    if path.stat().st_size == 0:
        raise PhotoError(f"{path}: the file is empty; copy or download it again.")
    return decode(path, str(path))


def decode(file: Path | io.BytesIO, name: str) -> Photo:
    """The photo in a file, or in the bytes of one; see `read_photo`.

    Paper:  our choice.  Range: output in [0, 1].
    Raises: PhotoError: not an image, damaged or cut short, 32 bits a channel, more than 100 megapixels.
    Test:   test_photo.py::test_a_bad_file_is_refused_by_name
    """
    return _decode(file, name, as_photo)


def decode_8_bit(file: Path | io.BytesIO, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """The same photo at 8 bits, without a detour over floats where the file has 8 bits: a quarter of the memory.

    Paper:  our choice.  Range: 0 to 255.
    Raises: PhotoError: as `decode`.
    Test:   test_stream.py::test_photos_at_8_bits, test_photos_that_cannot_be_read
    """
    return _decode(file, name, _levels)


def _levels(pixels: np.ndarray, name: str) -> np.ndarray:
    plain = pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
    return pixels if plain else to_8_bit(as_photo(pixels, name))


def _decode(file: Path | io.BytesIO, name: str, finish: Callable) -> np.ndarray:
    """What `finish` makes of a file's pixels; whatever goes wrong on the way is a PhotoError."""
    forgiving = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # else a half photo comes back with its rest filled in grey
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit speaks instead
            with Image.open(file) as image:
                return finish(_pixels(image, name), name)
    except PhotoError:
        raise
    except Image.DecompressionBombError:
        raise PhotoError(_too_large(name)) from None
    except Image.UnidentifiedImageError:
        raise PhotoError(f"{name}: not an image that can be read; save it as PNG or JPEG.") from None
    except MemoryError:
        raise PhotoError(f"{name}: not enough memory to decode it; reduce it first.") from None
    except Exception as error:  # decoders meet damage with almost any type
        raise PhotoError(f"{name}: damaged or cut short ({error}); copy or download it again.") from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = forgiving


def write_photo(path: str | os.PathLike, photo: AnyArray) -> None:
    """Write a photo as 8-bit PNG, or JPEG of quality 95, by its suffix.

    It is written beside its place and then moved there, so a half-written photo never has the real name.

    Paper:  our choice.  Range: photo [h w 3] in [0, 1], rounded to the nearest of 256 levels.
    Raises: PhotoError: unknown suffix, wrong shape, NaN, values outside [0, 1], no place to write.
    Test:   test_photo.py::test_write_and_read_back, test_write_refuses, test_write_where_a_file_or_folder_lies,
            test_a_jpeg_has_quality_95_and_colour_at_full_resolution
    """
    path = Path(path)
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise PhotoError(f"{path}: write photos as {', '.join(FORMATS)}; the name must end so.")
    if np.ndim(photo) != 3 or np.shape(photo)[2] != 3:
        raise PhotoError(f"{path}: a photo to write has shape [h w 3], not {list(np.shape(photo))}.")
    levels = to_8_bit(as_photo(photo, str(path)))
    beside = path.with_name(f".{secrets.token_hex(8)}.part")  # short: the photo's own name may be as long as names get
    try:
        Image.fromarray(levels).save(beside, format=form, **SAVING[form])
        os.replace(beside, path)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be written ({error}); check that its folder exists.") from error
    finally:
        with suppress(OSError):  # gone already, or never there: what went wrong above is what matters
            beside.unlink()


def to_8_bit(photo: Photo) -> np.ndarray:
    """Round a photo to the 256 levels of a file, uint8 [h w 3].

    Paper:  our choice: nearest level.  Range: 0 to 255.
    Test:   test_photo.py::test_write_and_read_back
    """
    return np.rint(np.asarray(photo, np.float64) * 255).astype(np.uint8)


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """Decode an opened file to a uint8 or uint16 array."""
    if image.width * image.height > MOST_PIXELS:
        raise PhotoError(_too_large(name))
    if image.mode in ("I", "F"):
        raise PhotoError(f"{name}: 32 bits a channel have no agreed white; save it with 8 or 16 bits.")
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _too_large(name: str) -> str:
    return f"{name}: more than {MOST_PIXELS // 1_000_000} megapixels; reduce it or cut it into parts first."
