"""DiversePhotos is built out of the published layouts: miniature trees with all 157 names."""

import csv
import io
import json
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.diversephotos import Refused, TooSmall, crop, fetch, find, gather, main
from benchmarks.diversephotos_report import MANIFEST, read_manifest

PAPER = MANIFEST.parent
REPAIRED = {"2 6393826": "2596393826", "315889745": "1315889745", "55711788": "155711788"}
ABSENT = {"2443117568", "62480371", "2950983139"}
SIZES = {"SPAQ": (600, 530), "KONIQ": (1024, 768), "LIVE": (500, 500)}  # width, height
BMP = ("5", "110", "1024")  # LIVE photos that the tree holds as .bmp


def encoded(width: int, height: int, form: str = "JPEG", **options) -> bytes:
    """A photo file: waves that differ along and across, so that a shifted or turned crop shows."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 37), np.sin(y / 23), np.sin((x + 2 * y) / 51)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(np.rint(127.5 + 120 * waves).astype(np.uint8)).save(file, form, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def table_7() -> dict[tuple[str, str], int]:
    with (PAPER / "unires_table7.csv").open() as file:
        lines = list(csv.DictReader(file))
    kinds = ("low_resolution", "motion_blur", "defocus_blur", "noise")
    return {(line["source"], kind): int(line[kind]) for line in lines if line["source"] != "sum" for kind in kinds}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """One photo file for each source, and one of LIVE's bitmaps."""
    return {source: encoded(*size) for source, size in SIZES.items()} | {"BMP": encoded(500, 500, "BMP")}


@pytest.fixture(scope="module")
def tree(tmp_path_factory, files) -> dict[str, Path]:
    """The three data sets as published, with every photo of the test set that a public index knows."""
    root = tmp_path_factory.mktemp("published")
    for source, inside in (("SPAQ", "TestImage"), ("KONIQ", "1024x768"), ("LIVE", "Images")):
        (root / source / inside).mkdir(parents=True)
    with MANIFEST.open() as file:
        lines = [line for line in csv.DictReader(file) if line["status"] != "absent"]
    assert len(lines) == 157
    for line in lines:
        name, source = line["image_id"], line["source"]
        if source == "LIVE" and name in BMP:
            (root / source / "Images" / f"{name}.bmp").write_bytes(files["BMP"])
        elif source == "LIVE":
            (root / source / "Images" / f"{name}.JPG").write_bytes(files[source])
        else:
            inside = {"SPAQ": "TestImage", "KONIQ": "1024x768"}[source]
            (root / source / inside / f"{name}.jpg").write_bytes(files[source])
    return {source: root / source for source in SIZES}


def words(tree: dict[str, Path]) -> list[str]:
    return [word for source, folder in tree.items() for word in (f"--{source.lower()}", str(folder))]


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory):
    """x1 and x4 as the command writes them."""
    out = tmp_path_factory.mktemp("built")
    status = [main([str(out / f"x{scale}"), *words(tree), "--scale", str(scale)]) for scale in (1, 4)]
    assert status == [0, 0]
    return out


def some(folder: Path, **photos: bytes) -> Path:
    """A small KonIQ: photo files by id."""
    (folder / "1024x768").mkdir(parents=True)
    for name, data in photos.items():
        (folder / "1024x768" / f"{name.removeprefix('id')}.jpg").write_bytes(data)
    return folder


def test_the_manifest_has_the_counts_of_table_7():
    entries = read_manifest()
    assert Counter((entry.source, entry.dominating_degradation) for entry in entries) == table_7()
    assert len({(entry.source, entry.image_id) for entry in entries}) == len(entries) == 160


def test_157_of_160(tree):
    photos, report = gather(tree)
    assert len(photos) == report.photos == 157 and len(report.results) == 160 and report.complete
    outcomes = Counter(result.outcome for result in report.results)
    assert outcomes == {"found": 154, "repaired": 3, "absent": 3}
    special = {result.entry.printed_id: result for result in report.results if result.outcome != "found"}
    assert special.keys() == REPAIRED.keys() | ABSENT
    assert {name: special[name].entry.image_id for name in REPAIRED} == REPAIRED
    assert report.named("absent") == [f"KONIQ {name}" for name in ("2443117568", "62480371", "2950983139")]
    assert "KONIQ 2 6393826 -> 2596393826" in report.named("repaired")
    assert all(result.sha256 is None for result in report.results if result.outcome == "absent")


def test_what_is_written_comes_back(built, files):
    from datasets import load_from_disk

    x1 = load_from_disk(str(built / "x1"))
    names = ["image", "source", "dominating_degradation", "printed_id", "image_id", "status"]
    assert x1.column_names == names and len(x1) == 157
    assert "157 of 160" in x1.info.description
    counts = Counter(zip(x1["source"], x1["dominating_degradation"], strict=True))
    lost = {("KONIQ", "low_resolution"): 1, ("KONIQ", "motion_blur"): 1, ("KONIQ", "defocus_blur"): 1}
    assert counts == {cell: count - lost.get(cell, 0) for cell, count in table_7().items()}
    assert dict(zip(x1["printed_id"], x1["image_id"], strict=True)).items() >= REPAIRED.items()
    where = {(row["source"], row["image_id"]): i for i, row in enumerate(x1.remove_columns("image"))}
    expected = {
        ("SPAQ", "00019"): decoded(files["SPAQ"])[9:521, 44:556],
        ("KONIQ", "2596393826"): decoded(files["KONIQ"])[128:640, 256:768],
        ("LIVE", "1024"): np.asarray(Image.fromarray(decoded(files["BMP"])).resize((512, 512), Image.BICUBIC)),
    }
    for name, pixels in expected.items():
        assert np.array_equal(np.asarray(x1[where[name]]["image"]), pixels), name
    told = json.loads((built / "x1" / "report.json").read_text())
    assert (told["wanted"], told["photos"], told["complete"]) == (160, 157, True)


def test_x4_is_the_middle_of_x1(built):
    from datasets import load_from_disk

    x1, x4 = (load_from_disk(str(built / name)) for name in ("x1", "x4"))
    assert x1["image_id"] == x4["image_id"]
    for large, small in zip(x1["image"], x4["image"], strict=True):
        assert small.size == (128, 128)
        assert np.array_equal(np.asarray(large)[192:320, 192:320], np.asarray(small))


@pytest.mark.parametrize("source", ["SPAQ", "KONIQ"])
def test_crop_takes_the_middle(source):
    y, x = np.mgrid[:768, :1024]
    photo = np.stack([y / 1024, x / 1024, 0 * x], axis=-1).astype(np.float32)  # a pixel says where it was
    assert np.array_equal(crop(photo, source), photo[128:640, 256:768])
    assert np.array_equal(crop(photo, source, 4), photo[320:448, 448:576])
    assert np.array_equal(crop(photo[:513, :515], source), photo[0:512, 1:513])
    assert np.array_equal(crop(photo[:512, :512], source), photo[:512, :512])
    with pytest.raises(TooSmall, match="1024x511"):
        crop(photo[:511], source)
    with pytest.raises(ValueError, match="'CLIVE'"):
        crop(photo, "CLIVE")
    with pytest.raises(ValueError, match="2"):
        crop(photo, source, 2)


def test_live_is_pillows_bicubic():
    photo = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(photo).resize((512, 512), Image.Resampling.BICUBIC))
    assert np.array_equal(crop(photo, "LIVE"), pillow)
    assert np.array_equal(crop(photo, "LIVE", 4), pillow[192:320, 192:320])
    floats = crop(photo / np.float32(255), "LIVE")
    assert floats.dtype == np.float32 and floats.min() == 0 and floats.max() == 1  # overshoot is clipped
    grey = photo // 2 + 60  # nothing overshoots: Pillow only rounds, after each of its two passes
    assert np.abs(crop(grey / np.float32(255), "LIVE") * 255 - crop(grey, "LIVE")).max() < 1.5
    wide = np.pad(photo, ((0, 0), (30, 30), (0, 0)))
    assert np.array_equal(crop(wide, "LIVE"), pillow)
    with pytest.raises(TooSmall):
        crop(photo[:499], "LIVE")


def test_exif_rotation_comes_first(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # stored lying, to be turned clockwise by a quarter
    plain, tagged = (encoded(700, 540, quality=90, **options) for options in ({}, {"exif": turned}))
    upright = np.rot90(decoded(plain), -1)
    ((_, pixels),), _ = gather({"KONIQ": some(tmp_path, id206294085=tagged)})
    assert np.array_equal(pixels, upright[94:606, 14:526])


def test_jpg_and_bmp_are_found_in_either_place(tree, tmp_path):
    inside, direct = find(tree["LIVE"], "LIVE"), find(tree["LIVE"] / "Images", "LIVE")
    assert inside == direct and len(inside) == 56
    assert {path.suffix for path in inside.values()} == {".JPG", ".bmp"}
    assert inside["5"].name == "5.bmp"
    for name in ("00019.JPEG", "00025.Jpg", "00033.txt", "._00043.jpg"):
        (tmp_path / name).touch()
    assert sorted(find(tmp_path, "SPAQ")) == ["._00043", "00019", "00025"]


def test_the_report_names_what_is_wrong(tmp_path, files, capsys):
    """A truncated, a small and many missing photos: each by name, and the rest is written all the same."""
    whole = files["KONIQ"]
    photos = {"206294085": whole, "155711788": whole, "23371433": whole[: len(whole) // 2]}
    photos |= {"324339500": encoded(512, 384), "427196028": encoded(640, 512)}
    folder = some(tmp_path / "koniq", **{f"id{name}": data for name, data in photos.items()})
    assert main([str(tmp_path / "out"), "--koniq", str(folder)]) == 1
    said = capsys.readouterr()
    report = gather({"KONIQ": folder})[1]
    assert report.photos == 3 and not report.complete
    (unreadable,), (small,) = report.named("unreadable"), report.named("too small")
    assert unreadable.startswith("KONIQ 23371433 (1024x768/23371433.jpg: damaged or cut short")
    assert small.startswith("KONIQ 324339500 (512x384 pixels")
    missing = report.named("missing")
    assert len(missing) == 160 - 3 - 3 - 2 and "KONIQ 518080817" in missing
    for line in (unreadable, small, "KONIQ 518080817", "all of SPAQ (no folder given)", "INCOMPLETE"):
        assert line in said.out
    assert "note: KONIQ 427196028: 640x512 pixels, not as published" in said.out
    assert "and 29 more" in report.text(most=5) and "KONIQ 518080817" not in report.text(most=2)
    assert "incomplete" in said.err and f"written to {tmp_path / 'out'}" in said.out
    from datasets import load_from_disk

    short = load_from_disk(str(tmp_path / "out"))
    assert sorted(short["image_id"]) == ["155711788", "206294085", "427196028"]
    assert "INCOMPLETE" in short.info.description


def test_nothing_found_writes_nothing(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "out"), "--live", str(tmp_path / "empty")]) == 1
    assert "nothing written" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "give the folder of at least one source"),
        (["--spaq", "{}/nowhere"], "nowhere: no such folder; give the one that holds SPAQ's TestImage"),
        (["--hub", "CLIVE=a/b"], "--hub CLIVE=a/b: give SOURCE=REPO_ID"),
        (["--hub", "LIVE"], "--hub LIVE: give SOURCE=REPO_ID"),
        (["--live", "{}", "--hub", "LIVE=a/b"], "once"),
    ],
)
def test_wrong_commands_are_refused(tmp_path, capsys, given, said):
    assert main([str(tmp_path / "out"), *(word.format(tmp_path) for word in given)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_peoples_folders_are_left_alone(tmp_path, files, capsys):
    folder = some(tmp_path / "koniq", id206294085=files["KONIQ"])
    assert main([str(folder), "--koniq", str(folder)]) == 2
    assert "is not a data set of this builder" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["1024x768"]


def test_an_interrupted_build_leaves_nothing(tmp_path, files, monkeypatch):
    import datasets

    folder, out = some(tmp_path / "koniq", id206294085=files["KONIQ"]), tmp_path / "made" / "out"
    assert main([str(out), "--koniq", str(folder)]) == 1
    before = (out / "report.json").read_bytes()

    def half(self, place):
        Path(place).mkdir()
        Path(place, "dataset_info.json").write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets.Dataset, "save_to_disk", half)
    for place in (out, out.with_name("other")):
        with pytest.raises(KeyboardInterrupt):
            main([str(place), "--koniq", str(folder), "--scale", "4"])
    monkeypatch.undo()
    replace = os.replace

    def stop_between(here, there):  # the old one is set aside, the new one not yet in its place
        if Path(here).name.endswith(".new"):
            raise KeyboardInterrupt
        replace(here, there)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop_between)
        main([str(out), "--koniq", str(folder), "--scale", "4"])
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "report.json").read_bytes() == before
    assert main([str(out), "--koniq", str(folder), "--scale", "4"]) == 1  # an earlier build is replaced
    assert json.loads((out / "report.json").read_text())["scale"] == 4
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_without_datasets_photos_can_still_be_gathered(tmp_path, files, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "datasets", None)
    folder = some(tmp_path / "koniq", id206294085=files["KONIQ"])
    assert gather({"KONIQ": folder})[1].photos == 1
    assert main([str(tmp_path / "out"), "--koniq", str(folder)]) == 2
    assert "install unires[paper]" in capsys.readouterr().err


def test_a_hub_data_set_is_searched_by_file_name(tmp_path, files):
    """Local folders in the two forms of a hub data set: image files, and tables with a column of names."""
    import datasets

    wanted = ["206294085", "155711788", "23371433"]
    (tmp_path / "images" / "train").mkdir(parents=True)
    for name in ("1", "155711788", "206294085"):
        (tmp_path / "images" / "train" / f"{name}.jpg").write_bytes(files["KONIQ"])
    (tmp_path / "table").mkdir()
    table = {"image_name": ["7.jpg", "23371433.jpg"], "image": [{"bytes": files["SPAQ"], "path": None}] * 2}
    features = datasets.Features({"image_name": datasets.Value("string"), "image": datasets.Image()})
    datasets.Dataset.from_dict(table, features).to_parquet(tmp_path / "table" / "train.parquet")
    (tmp_path / "got").mkdir()
    for form in ("images", "table"):
        fetch(str(tmp_path / form), wanted, tmp_path / "got")
    got = {path.name: path.read_bytes() for path in (tmp_path / "got").iterdir()}
    assert got == {f"{name}.jpg": files["KONIQ"] for name in wanted[:2]} | {"23371433.jpg": files["SPAQ"]}
    with pytest.raises(Refused, match="no photo that is named as one of the wanted 1"):
        fetch(str(tmp_path / "table"), ["5"], tmp_path / "got")
    assert main([str(tmp_path / "out"), "--hub", f"koniq={tmp_path / 'images'}"]) == 1
    assert datasets.load_from_disk(str(tmp_path / "out")).num_rows == 2


def test_offline_says_so(tmp_path, monkeypatch, capsys):
    import datasets

    def offline(*_, **__):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    assert main([str(tmp_path / "out"), "--hub", "LIVE=some/where"]) == 2
    said = capsys.readouterr().err
    assert "'some/where' cannot be read (ConnectionError: no route to host). Are you online" in said
    assert "give their folder" in said


def test_a_photo_that_no_index_knows_is_taken_where_it_lies(tmp_path, files):
    ((entry, _),), report = gather({"KONIQ": some(tmp_path, id2950983139=files["KONIQ"])})
    assert (entry.image_id, entry.status) == ("2950983139", "absent")
    assert report.named("found") == ["KONIQ 2950983139"] and len(report.named("absent")) == 2
