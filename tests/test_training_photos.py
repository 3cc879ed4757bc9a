"""The recipe of the small training set, on miniature packages made here: ar, tar, .edj and .rcc by hand."""

import hashlib
import io
import re
import struct
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmarks import training_photos
from benchmarks.containers import files, jpegs, resource
from benchmarks.training_photos import (
    ABSENT,
    ENCODED,
    KEPT,
    NO_PACKAGE,
    UNREADABLE,
    WRITTEN,
    WRONG,
    fetch,
    find_deb,
    main,
    manifest,
    rebuild,
    reduce,
    report,
    source,
)
from unires.data import HELD_OUT, held_out_paths, sha256
from unires.photo import PhotoError


def photo(h, w, seed=0, form="JPEG", **more):
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **more)
    return out.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def ar(**members):
    """An ar archive, as in ar(5)."""
    data = b"!<arch>\n"
    for name, body in members.items():
        name = name.replace("_", ".")
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(body):<10}`\n".encode() + body + b"\n" * (len(body) % 2)
    return data


def tar(inside, pack="xz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{pack}") as file:
        for name, body in inside.items():
            entry = tarfile.TarInfo("./" + name)
            entry.size = len(body)
            file.addfile(entry, io.BytesIO(body))
    return out.getvalue()


def deb(path, inside, pack="xz"):
    suffix = f"_{pack}" if pack else ""
    path.write_bytes(ar(**{"debian-binary": b"2.0\n", "control_tar": b"odd", f"data_tar{suffix}": tar(inside, pack)}))
    return path


def rcc(tree, kind=3, packed=()):
    """A Qt resource file, entries level by level as Qt's compiler writes them."""
    nodes, names, bodies = [], b"", b""

    def label(name):
        nonlocal names
        place = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        return place

    levels, first = [("", tree)], 1
    while levels:
        below = []
        for name, entry in levels:
            place = label(name) if name else 0
            if isinstance(entry, dict):
                nodes.append(struct.pack(">IHII", place, 2, len(entry), first + len(below)))
                below += sorted(entry.items())
            else:
                body = struct.pack(">I", len(entry)) + zlib.compress(entry) if name in packed else entry
                nodes.append(struct.pack(">IHHHI", place, int(name in packed), 0, 1, len(bodies)))
                bodies += struct.pack(">I", len(body)) + body
        levels, first = below, first + len(below)
    head = 20 if kind < 3 else 24
    table = b"".join(node + bytes(8 * (kind > 1)) for node in nodes)
    places = (head + len(bodies) + len(names), head, head + len(bodies))
    return b"qres" + struct.pack(">4I", kind, *places) + bytes(4 * (kind > 2)) + bodies + names + table


def row(file, package, path, original, size, by=1, filter="", inside=""):
    return {
        "file": file,
        "debian_package": package,
        "version": "1.0-1",
        "path_in_package": path,
        "resource": inside,
        "native_width": str(size[1]),
        "native_height": str(size[0]),
        "reduced_by": str(by),
        "filter": filter,
        "source_sha256": digest(original),
        "sha256": digest(reduce(original, by, filter)),
    }


@pytest.fixture
def world(tmp_path):
    """Two packages with a photo of each kind, and their manifest."""
    plain, png = photo(40, 60, 1), photo(33, 47, 2, "PNG")
    theme, web = photo(30, 50, 3), photo(36, 36, 4, "WEBP", lossless=True)
    edj = b"theme" * 9 + photo(15, 25, 5) + bytes(7) + theme + b"end"
    resources = rcc({"kit": {"a": {"web.webp": web}, "main.js": b"code"}})
    folder = tmp_path / "packages"
    folder.mkdir()
    deb(folder / "walls_1.0-1_all.deb", {"usr/p.jpg": plain, "usr/x.txt": b"no", "usr/n.png": png})
    deb(folder / "games_2%3a1.1-1_all.deb", {"usr/t.edj": edj, "usr/g.rcc": resources}, "gz")
    rows = [
        row("p.jpg", "walls", "usr/p.jpg", plain, (40, 60)),
        row("n.jpg", "walls", "usr/n.png", png, (33, 47), 2, "box"),
        row("t.jpg", "games", "usr/t.edj", theme, (30, 50)),
        row("w.jpg", "games", "usr/g.rcc", web, (36, 36), 3, "lanczos", "kit/a/web.webp"),
    ]
    return folder, rows, tmp_path / "out"


def test_the_set_is_rebuilt(world):
    folder, rows, out = world
    became, notes = rebuild(rows, out, folder)
    assert became == {r["file"]: WRITTEN for r in rows}
    assert {r["file"]: digest((out / r["file"]).read_bytes()) for r in rows} == {r["file"]: r["sha256"] for r in rows}
    assert sorted(p.name for p in out.iterdir()) == sorted(r["file"] for r in rows)
    assert len(notes) == 1 and "games: version 2:1.1-1, the manifest has 1.0-1" in notes[0]
    assert "   4 written" in report(became, notes) and "version differs: games" in report(became, notes)
    (out / "t.jpg").unlink()
    (folder / "walls_1.0-1_all.deb").unlink()  # not needed any more: its photos are there
    assert list(rebuild(rows, out, folder)[0].values()) == [KEPT, KEPT, KEPT, WRITTEN]


def test_what_goes_wrong_is_reported(world):
    folder, rows, out = world
    rows[0]["source_sha256"] = "0" * 64
    rows[1]["sha256"] = "0" * 64
    rows[2]["path_in_package"] = "usr/gone.edj"
    rows[3]["resource"] = "kit/a/gone.webp"
    rows.append({**rows[0], "file": "z.jpg", "debian_package": "nowhere"})
    became, notes = rebuild(rows, out, folder)
    starts = [WRONG, ENCODED, ABSENT, UNREADABLE, NO_PACKAGE]
    assert [became[r["file"]].startswith(start) for r, start in zip(rows, starts, strict=True)] == [True] * 5
    assert [p.name for p in out.iterdir()] == ["n.jpg"]
    text = report(became, notes)
    for line in ("missing: p.jpg: hash wrong", "missing: t.jpg: not in", "kit/a/gone.webp", "nowhere_*.deb"):
        assert line in text
    counted = [line for line in text.splitlines() if re.match(" +[01] ", line)]
    assert [line.split()[0] for line in counted] == ["0", "1", "1", "1", "1", "1"]


def test_the_command_fails_if_a_photo_is_missing(world, monkeypatch, capsys):
    folder, rows, out = world
    monkeypatch.setattr(training_photos, "manifest", lambda: rows)
    assert main([str(out), "--packages", str(folder)]) == 0
    rows[0] |= {"source_sha256": "0" * 64, "sha256": "0" * 64}
    assert main([str(out), "--packages", str(folder)]) == 1
    assert "missing: p.jpg" in capsys.readouterr().out


def test_packages_are_found_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="walls_\\*.deb"):
        find_deb("walls", "1.0-1", tmp_path)
    for name in ("walls_1.0-1_all.deb", "walls_2.0-1_all.deb", "walls-extra_3_all.deb"):
        (tmp_path / name).touch()
    assert find_deb("walls", "1.0-1", tmp_path).name == "walls_1.0-1_all.deb"
    assert find_deb("walls", "9", tmp_path).name == "walls_2.0-1_all.deb"


def test_a_package_that_apt_does_not_have(tmp_path, monkeypatch):
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text('#!/bin/sh\necho "E: Unable to locate package $2" >&2\nexit 100\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:/bin:/usr/bin")
    with pytest.raises(FileNotFoundError, match="Unable to locate package walls"):
        fetch("walls", "1", tmp_path)
    apt.write_text('#!/bin/sh\ntouch "$2_1_all.deb"\n')
    assert fetch("walls", "1", tmp_path) == tmp_path / "walls_1_all.deb"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="--packages"):
        fetch("walls", "1", tmp_path)


@pytest.mark.parametrize("pack", ["xz", "gz", "bz2", ""])
def test_packages_are_read(tmp_path, pack):
    path = deb(tmp_path / "a_1_all.deb", {"usr/b": b"bee", "usr/c": b"sea"}, pack)
    assert dict(files(path, {"usr/c", "usr/d"})) == {"usr/c": b"sea"}


def test_zstd_is_left_to_dpkg(tmp_path, monkeypatch):
    path = tmp_path / "a_1_all.deb"
    path.write_bytes(ar(data_tar_zst=b"packed"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PhotoError, match="a_1_all.deb: packed with zstd, which needs the program dpkg-deb"):
        list(files(path, {"usr/b"}))
    (tmp_path / "plain.tar").write_bytes(tar({"usr/b": b"bee"}, ""))
    dpkg = tmp_path / "dpkg-deb"
    dpkg.write_text(f'#!/bin/sh\n[ "$1 $2" = "--fsys-tarfile {path}" ] && exec /bin/cat {tmp_path}/plain.tar\n')
    dpkg.chmod(0o755)
    assert list(files(path, {"usr/b"})) == [("usr/b", b"bee")]
    dpkg.write_text("#!/bin/sh\necho odd archive >&2\nexit 2\n")
    with pytest.raises(PhotoError, match="a_1_all.deb: odd archive"):
        list(files(path, {"usr/b"}))


def test_a_damaged_package_is_named(tmp_path):
    whole = deb(tmp_path / "a_1_all.deb", {"usr/b": np.random.default_rng(0).bytes(5000)}).read_bytes()
    for name, data in (("cut", whole[:-900]), ("head", whole[:100]), ("empty", b""), ("other", photo(8, 8))):
        path = tmp_path / f"{name}_1_all.deb"
        path.write_bytes(data)
        with pytest.raises(PhotoError, match=f"{name}_1_all.deb: (cut short|not a Debian package)"):
            list(files(path, {"usr/b"}))
    path.write_bytes(whole[:1500] + bytes(500) + whole[2000:])
    with pytest.raises(PhotoError, match="other_1_all.deb: damaged"):
        list(files(path, {"usr/b"}))


@pytest.mark.parametrize("more", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": 0}])
def test_jpegs_among_other_bytes(more):
    rng = np.random.default_rng(1)
    small = photo(16, 16, 9)
    exif = b"Exif\0\0" + small  # a thumbnail in a segment must not end the photo, nor count as one
    one, two = photo(40, 56, 1, exif=exif, **more), photo(24, 32, 2, **more)
    noise = [rng.bytes(300).replace(b"\xff", b"\0") for _ in range(3)]
    data = noise[0] + one + noise[1] + b"\xff\xd8\xff\xe0\0\x04no" + two + noise[2] + photo(48, 48, 3)[:-2]
    assert list(jpegs(data)) == [(56, 40, one), (32, 24, two)]
    assert list(jpegs(data[: data.index(two) + len(two) // 2])) == [(56, 40, one)]


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_resources_by_path(kind):
    data = rcc({"b": {"x.webp": b"pixels", "é": b"y"}, "c": b"z" * 99}, kind, packed=("c",))
    assert resource(data, "b/x.webp", "f") == b"pixels" and resource(data, "/b/é", "f") == b"y"
    assert resource(data, "c", "f") == b"z" * 99 and b"z" * 99 not in data


def test_a_damaged_resource_file_is_named():
    data = rcc({"a": b"q" * 50})
    for path, told in (("b", "holds no b"), ("a/b", "holds no a/b")):
        with pytest.raises(PhotoError, match=f"kit.rcc: {told}"):
            resource(data, path, "kit.rcc")
    with pytest.raises(PhotoError, match="kit.rcc: b is a folder"):
        resource(rcc({"b": {"c": b""}}), "b", "kit.rcc")
    with pytest.raises(PhotoError, match="kit.rcc: not a Qt"):
        resource(b"PK" + data, "a", "kit.rcc")
    with pytest.raises(PhotoError, match="kit.rcc: Qt resource format 9"):
        resource(data[:4] + struct.pack(">I", 9) + data[8:], "a", "kit.rcc")
    for cut in (10, 40, len(data) - 10):
        with pytest.raises(PhotoError, match="kit.rcc: cut short or damaged"):
            resource(data[:cut], "a", "kit.rcc")
    packed = rcc({"a": b"q" * 50}, packed=("a",))
    with pytest.raises(PhotoError, match="kit.rcc: cut short or damaged"):
        resource(packed.replace(zlib.compress(b"q" * 50), bytes(len(zlib.compress(b"q" * 50)))), "a", "kit.rcc")


def test_sources_are_taken_from_each_kind_of_file():
    one = photo(20, 30)
    asked = row("a.jpg", "walls", "usr/a.edj", one, (20, 30))
    assert source(asked, b"..." + one + b"...") == one
    with pytest.raises(PhotoError, match="walls: usr/a.edj: no whole JPEG of 30 x 20"):
        source(asked, b"..." + one[:-40])
    assert source({**asked, "path_in_package": "a.jpg"}, b"any") == b"any"
    assert source({**asked, "path_in_package": "a.rcc", "resource": "k"}, rcc({"k": one})) == one


def test_photos_are_reduced():
    grey = np.repeat(np.arange(0, 240, 8, np.uint8)[:, None], 31, 1)  # 30 rows, each of one grey
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    with Image.open(io.BytesIO(reduce(out.getvalue(), 2, "box"))) as image:
        assert image.size == (15, 15) and image.mode == "RGB"
        means = grey.reshape(15, 2, 31).mean((1, 2))
        assert np.abs(np.asarray(image).astype(float).mean((1, 2)) - means).max() <= 2


def test_the_manifest_is_whole():
    rows = manifest()
    assert len(rows) == 174 == len({r["file"] for r in rows}) == len({r["sha256"] for r in rows})
    for r in rows:
        assert not r["path_in_package"].startswith("/") and (r["resource"] != "") == r["path_in_package"].endswith(
            "rcc"
        )
        assert re.fullmatch("[0-9a-f]{64}", r["sha256"]) and re.fullmatch("[0-9a-f]{64}", r["source_sha256"])
        assert int(r["native_width"]) // int(r["reduced_by"]) == int(r["width"])
        assert int(r["native_height"]) // int(r["reduced_by"]) == int(r["height"])
        assert r["filter"] == {"1": "", "2": "box"}.get(r["reduced_by"], "lanczos")


def test_no_evaluation_photo_is_trained_on():
    held_out = {sha256(path) for path in held_out_paths().values()}
    assert len(held_out) == len(HELD_OUT)
    trained = {r[name] for r in manifest() for name in ("source_sha256", "sha256")}
    assert len(trained) > len(manifest()) and not trained & held_out
