"""Reading and writing photos: every kind of file comes out right or is refused by name."""

import io
import struct
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFile

from unires.photo import PhotoError, as_photo, named_as_photo, read_photo, write_photo

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG written by hand from its specification: some of these Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_16(values: np.ndarray) -> bytes:
    h, w = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(w, h, 16, 0 if values.ndim == 2 else 2, rows)


def grey_16(path):
    values = np.array([[0, 1, 257, 30000], [65535, 40000, 12345, 255]], np.uint16)
    path.write_bytes(png_16(values))
    return np.repeat(values[..., None] / 65535, 3, axis=2), 1e-6


def colour_16(path):
    values = np.random.default_rng(1).integers(0, 65536, (5, 4, 3), dtype=np.uint16)
    path.write_bytes(png_16(values))
    return values / 65535, 1 / 255


def rgb(path):
    Image.fromarray(COLOURS).save(path, "PNG")
    return COLOURS / 255, 1e-6


def one_pixel(path):
    Image.fromarray(COLOURS[:1, :1]).save(path, "PNG")
    return COLOURS[:1, :1] / 255, 1e-6


def grey_8(path):
    Image.fromarray(COLOURS[..., 0]).save(path, "PNG")
    return np.repeat(COLOURS[..., :1], 3, axis=2) / 255, 1e-6


def one_bit(path):
    dots = np.indices((4, 6)).sum(0) % 2 == 1
    Image.fromarray(dots).save(path, "PNG")
    return np.repeat(dots[..., None], 3, axis=2), 1e-6


def palette(path):
    image = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    image.save(path, "PNG")
    return np.array([[[255, 0, 0], [0, 255, 0]], [[10, 20, 30], [255, 0, 0]]]) / 255, 1e-6


def palette_with_a_clear_colour(path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(path, "PNG", transparency=1)
    return np.array([[[1.0, 0, 0], [1, 1, 1]]]), 1e-6


def alpha(path):
    opacity = np.array([[0, 255, 128]], np.uint8)
    colour = np.broadcast_to(np.array([200, 100, 0], np.uint8), (1, 3, 3))
    Image.fromarray(np.dstack([colour, opacity])).save(path, "PNG")
    part = opacity[..., None] / 255
    return part * colour / 255 + (1 - part), 1e-6


def grey_with_alpha(path):
    Image.fromarray(np.array([[[100, 255], [100, 0]]], np.uint8)).save(path, "PNG")
    return np.array([[[100 / 255] * 3, [1.0] * 3]]), 1e-6


def cmyk_jpeg(path):
    ink = np.broadcast_to(np.array([0, 255, 255, 0], np.uint8), (16, 16, 4))  # magenta and yellow make red
    Image.frombytes("CMYK", (16, 16), ink.tobytes()).save(path, "JPEG", quality=100)
    return np.broadcast_to([1.0, 0.0, 0.0], (16, 16, 3)), 3 / 255


def rotated(path):
    image = Image.fromarray(COLOURS)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held on its side: turn a quarter clockwise to view
    image.save(path, "PNG", exif=exif)
    return np.rot90(COLOURS, -1) / 255, 1e-6


def animation(path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=50)
    return np.broadcast_to([1.0, 0.0, 0.0], (3, 4, 3)), 1e-6


@pytest.mark.parametrize(
    "write",
    (rgb, one_pixel, grey_8, grey_16, colour_16, one_bit, palette, palette_with_a_clear_colour)
    + (alpha, grey_with_alpha, cmyk_jpeg, rotated, animation),
)
def test_every_kind_of_file_reads_right(write, tmp_path):
    path = tmp_path / "photo"  # formats are known by content, not by name
    expected, tolerance = write(path)
    photo = read_photo(path)
    assert photo.dtype == np.float32 and photo.shape == expected.shape
    np.testing.assert_allclose(photo, expected, atol=tolerance)


def missing(path):
    return "no such file"


def directory(path):
    path.mkdir()
    return "directory"


def empty(path):
    path.touch()
    return "empty"


def text(path):
    path.write_text("not a photo\n" * 50)
    return "not an image"


def huge(path):
    path.write_bytes(png(20_000, 6_000, 8, 2, b""))  # 120 megapixels by its header: must not be decoded
    return "100 megapixels"


def immense(path):
    path.write_bytes(png(60_000, 60_000, 8, 2, b""))  # beyond Pillow's own limit
    return "100 megapixels"


def float_tiff(path):
    Image.fromarray(np.full((4, 4), 300.0, np.float32)).save(path, "TIFF")
    return "32 bits"


@pytest.mark.parametrize("write", [missing, directory, empty, text, huge, immense, float_tiff])
def test_a_bad_file_is_refused_by_name(write, tmp_path):
    path = tmp_path / "holiday.jpg"
    reason = write(path)
    with pytest.raises(PhotoError, match=f"holiday.jpg.*{reason}"):
        read_photo(path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(form, part, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as another library may have left it
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, form)
    assert read_photo(whole).shape == (64, 64, 3)
    cut.write_bytes(whole.read_bytes()[: int(part * whole.stat().st_size)])
    with pytest.raises(PhotoError, match="cut: "):
        read_photo(cut)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # and it is left as it was


def test_a_bit_flip_is_refused_or_harmless(tmp_path):
    """Damage anywhere raises PhotoError or still gives a whole photo: never another exception."""
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    Image.fromarray(COLOURS).save(whole, "PNG")
    content, refused = whole.read_bytes(), 0
    for place in range(len(content)):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            photo = read_photo(damaged)
        except PhotoError:
            refused += 1
        else:
            np.testing.assert_array_equal(photo, np.float32(COLOURS / 255))
    assert refused > len(content) / 2


@pytest.mark.parametrize(
    "array",
    [
        COLOURS,
        COLOURS / 255,
        np.float32(COLOURS / 255),
        jnp.asarray(COLOURS / 255),
        COLOURS.astype(np.uint16) * 257,
        np.dstack([COLOURS, np.full((6, 8), 255, np.uint8)]),
    ],
)
def test_as_photo_takes_what_it_promises(array):
    photo = as_photo(array)
    assert photo.dtype == np.float32
    np.testing.assert_allclose(photo, COLOURS / 255, atol=2e-7)


def test_as_photo_takes_bfloat16_and_gives_a_copy():
    np.testing.assert_allclose(as_photo(jnp.asarray(COLOURS / 255, jnp.bfloat16)), COLOURS / 255, atol=2**-8)
    source = np.float32(COLOURS / 255)
    as_photo(source)[:] = 0
    np.testing.assert_array_equal(source, np.float32(COLOURS / 255))


def test_as_photo_repeats_grey_and_forgives_rounding():
    grey = np.array([[-9e-5, 0.5, 1 + 9e-5]])
    for array in (grey, grey[..., None]):
        np.testing.assert_allclose(as_photo(array), np.repeat([[[0.0], [0.5], [1.0]]], 3, axis=2), atol=1e-7)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.full((4, 4, 3), np.inf), "infinity"),
        (np.full((4, 4, 3), 128.0), "divide by 255"),
        (np.full((4, 4, 3), -0.5), "scale them"),
        (np.full((4, 4, 3), -2e-4), "scale them"),
        (np.full((4, 4, 3), 1 + 2e-4), "scale them"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 3), bool), "bool"),
        (np.zeros((4, 4, 2)), "shape"),
        (np.zeros((1, 4, 4, 3)), "shape"),
        (np.zeros(3), "shape"),
        (np.zeros((0, 4, 3)), "shape"),
    ],
)
def test_as_photo_refuses(array, reason):
    with pytest.raises(PhotoError, match=f"portrait: .*{reason}"):
        as_photo(array, "portrait")


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("a.png", 0.5001 / 255), ("a.JPG", 0.05), ("a.jpeg", 0.05), pytest.param(f"{'a' * 251}.png", 0.01, id="long")],
)
def test_write_and_read_back(name, tolerance, tmp_path):
    path = tmp_path / name
    x, y = np.meshgrid(np.linspace(0, 1, 32), np.linspace(0, 1, 24))
    photo = np.stack([x, y, 1 - x], axis=2).astype(np.float32)
    path.write_text("an older file is replaced")
    write_photo(path, photo)
    np.testing.assert_allclose(read_photo(path), photo, atol=tolerance)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_png_keeps_8_bit_values_exactly(tmp_path):
    write_photo(tmp_path / "a.png", np.float32(COLOURS / 255))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), COLOURS)


def test_a_jpeg_has_quality_95_and_colour_at_full_resolution(tmp_path):
    write_photo(tmp_path / "a.jpg", COLOURS)
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, "JPEG", quality=95, subsampling="4:4:4")
    assert (tmp_path / "a.jpg").read_bytes() == file.getvalue()


@pytest.mark.parametrize(
    ("name", "photo", "reason"),
    [
        ("a.png", np.full((4, 4, 3), np.nan), "NaN"),
        ("a.png", np.full((4, 4, 3), 2.0), "scale them"),
        ("a.png", np.zeros((4, 4)), "shape"),
        ("a.png", np.zeros((4, 4, 4)), "shape"),
        ("a.webp", np.zeros((4, 4, 3)), "write photos as .png"),
        ("a", np.zeros((4, 4, 3)), "write photos as .png"),
        ("nowhere/a.png", np.zeros((4, 4, 3)), "folder exists"),
        ("wide.jpg", np.zeros((1, 70_000, 3)), "cannot be written"),
    ],
)
def test_write_refuses(name, photo, reason, tmp_path):
    with pytest.raises(PhotoError, match=f"{name}: .*{reason}"):
        write_photo(tmp_path / name, photo)
    assert list(tmp_path.iterdir()) == []


def test_write_where_a_file_or_folder_lies(tmp_path):
    """A folder of the photo's name, and a file in its folder's place: refused, and nothing is left."""
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b").touch()
    for path, why in (("a.png", "directory"), ("b/c.png", "Not a directory")):
        with pytest.raises(PhotoError, match=f"{path}: cannot be written .*{why}"):
            write_photo(tmp_path / path, COLOURS)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.png", "b"]


def test_names_of_photos():
    names = ["a.PNG", "a.jpg", "a.gif", "a.avif", "a.jp2", "a.webp", "a.txt", "a.json", "a.pdf", "a.mpg", "png"]
    assert [name for name in names if named_as_photo(Path(name))] == names[:6]
