"""Photos inside other files: Debian packages (.deb), Enlightenment themes (.edj), Qt resource files (.rcc)."""

import io
import shutil
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unires.photo import PhotoError

# Qt's flags of an entry, and the bytes of an entry in each version of the format.
COMPRESSED, DIRECTORY, ZSTD = 1, 2, 4
NODE = {1: 14, 2: 22, 3: 22}


def files(deb: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Files of a package with their bytes, in the package's order; those that it does not hold are left out.

    Raises: PhotoError if it is no package, is cut short or damaged, or needs a dpkg-deb that is not here.
    Test: test_training_photos.py::test_packages_are_read, test_zstd_is_left_to_dpkg, test_a_damaged_package_is_named
    """
    left = set(wanted)
    try:
        with deb.open("rb") as file, _data(file, deb) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name in left and member.isfile():
                    left.remove(name)
                    yield name, tar.extractfile(member).read()
                if not left:
                    return
    except PhotoError:
        raise
    except (ValueError, EOFError, OSError, tarfile.TarError) as error:
        raise PhotoError(f"{deb}: damaged ({error}); fetch it again") from error


def _data(file: BinaryIO, deb: Path) -> tarfile.TarFile:
    """The tar with a package's files, to be read once from front to back.

    A .deb is an ar archive: a mark of 8 bytes, then members with a header of 60 bytes, each on an even place. The
    member data.tar holds the files. Python unpacks gzip, bzip2 and xz; for zstd (Ubuntu) dpkg-deb is asked.
    """
    if file.read(8) != b"!<arch>\n":
        raise PhotoError(f"{deb}: not a Debian package; fetch it again")
    while len(header := file.read(60)) == 60:
        name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar") and file.tell() + size > deb.stat().st_size:
            break
        if name == "data.tar.zst":
            return _zstd(deb)
        if name.startswith("data.tar"):
            return tarfile.open(fileobj=file, mode="r|*")
        file.seek(size + size % 2, io.SEEK_CUR)
    raise PhotoError(f"{deb}: cut short; fetch it again")


def _zstd(deb: Path) -> tarfile.TarFile:
    if shutil.which("dpkg-deb") is None:
        raise PhotoError(f"{deb}: packed with zstd, which needs the program dpkg-deb; it is part of Debian and Ubuntu")
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], capture_output=True)
    if done.returncode:
        raise PhotoError(f"{deb}: {done.stderr.decode(errors='replace').strip()}")
    return tarfile.open(fileobj=io.BytesIO(done.stdout))


def jpegs(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Every whole JPEG among other bytes: width, height, and its bytes from SOI to EOI.

    A start that no whole JPEG follows is passed over.
    Test: test_training_photos.py::test_jpegs_among_other_bytes
    """
    place = data.find(b"\xff\xd8\xff")
    while place >= 0:
        found = _walk(data, place)
        if found is not None:
            width, height, end = found
            yield width, height, data[place:end]
        place = data.find(b"\xff\xd8\xff", end if found else place + 2)


def _walk(data: bytes, start: int) -> tuple[int, int, int] | None:
    """Follow a JPEG's segments: width, height and where it ends. Thumbnails lie inside a segment and are jumped."""
    size, place = None, start + 2
    while place + 4 <= len(data) or data[place : place + 2] == b"\xff\xd9":
        mark = data[place + 1]
        if data[place] != 0xFF or mark == 0:
            return None
        if mark == 0xD9:
            return None if size is None else (*size, place + 2)
        if mark == 0xFF:  # fill byte
            place += 1
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC) and place + 9 <= len(data):  # frame header
            height, width = struct.unpack_from(">HH", data, place + 5)
            size = width, height
        place += 2 + length
        if mark == 0xDA:  # the scan's own bytes follow: up to the next mark that is no escape and no restart
            place = data.find(b"\xff", place)
            while 0 <= place < len(data) - 1 and (data[place + 1] == 0 or 0xD0 <= data[place + 1] <= 0xD7):
                place = data.find(b"\xff", place + 2)
            if place < 0:
                return None
    return None


def resource(data: bytes, path: str, name: str) -> bytes:
    """One file of a Qt resource file (binary format, versions 1 to 3); `name` is what errors call it.

    The header names three places: the tree of entries, the files' bytes, and the names in UTF-16. An entry is a
    directory (count and first of its children) or a file (place of its bytes: length, then the bytes).
    Raises: PhotoError if it is no resource file, is cut short, has no such path, or an entry packed with zstd.
    Test: test_training_photos.py::test_resources_by_path, test_a_damaged_resource_file_is_named
    """
    if data[:4] != b"qres":
        raise PhotoError(f"{name}: not a Qt resource file")
    try:
        kind, tree, bodies, names = struct.unpack_from(">4I", data, 4)
        if kind not in NODE:
            raise PhotoError(f"{name}: Qt resource format {kind}; 1 to 3 are known")
        node = tree
        for part in path.strip("/").split("/"):
            _, flags, count, first = struct.unpack_from(">IHII", data, node)
            children = [tree + NODE[kind] * (first + i) for i in range(count)] if flags & DIRECTORY else []
            node = next((child for child in children if _label(data, names, child) == part), None)
            if node is None:
                raise PhotoError(f"{name}: holds no {path}; another version of the package?")
        _, flags, _, place = struct.unpack_from(">IHII", data, node)
        if flags & DIRECTORY:
            raise PhotoError(f"{name}: {path} is a folder in there, not a file")
        (length,) = struct.unpack_from(">I", data, bodies + place)
        body = data[bodies + place + 4 : bodies + place + 4 + length]
        if len(body) < length:
            raise struct.error(f"{path} should have {length} bytes, {len(body)} are there")
        if flags & ZSTD:
            raise PhotoError(f"{name}: {path} is packed with zstd, which is not read here")
        return zlib.decompress(body[4:]) if flags & COMPRESSED else body  # the first 4 say the size unpacked
    except (struct.error, zlib.error) as error:
        raise PhotoError(f"{name}: cut short or damaged ({error}); fetch the package again") from error


def _label(data: bytes, names: int, node: int) -> str:
    """An entry's name."""
    (offset,) = struct.unpack_from(">I", data, node)
    (length,) = struct.unpack_from(">H", data, names + offset)
    return data[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be", "replace")
