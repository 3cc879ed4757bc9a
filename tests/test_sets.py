"""Test and training sets: files as published, folders in miniature, one command that says what is missing."""

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from benchmarks.sets import SetError, blocks, check, load, pairs, read_sets, tiles, training_sources
from benchmarks.sets.__main__ import main
from unires.config import Stage
from unires.sources import read_sources
from unires.stream import stream
from unires.tasks import TASKS

PAPER = Path(__file__).resolve().parents[1] / "benchmarks/paper"
SETS = read_sets()

# As published; Open Images has no count in the paper.
COUNTS = {"real60": 60, "realsr_x4": 100, "drealsr_x4": 93, "div2k_3000": 3000, "gopro_test": 1111, "dpdd_val": 74}
COUNTS |= {"sidd_validation": 1280, "df2k": 800 + 2650, "lsdir": 84_991, "oid": None, "gopro_train": 2103}
COUNTS |= {"dpdd_train": 350, "sidd_train": 320}
TESTS = {"real60", "realsr_x4", "drealsr_x4", "div2k_3000", "gopro_test", "dpdd_val", "sidd_validation"}

# Three images of each set under published names: (LQ, HQ), "" for a side that is not there; and what a pair is called.
TREES = {
    "real60": [("LQ/02.png", ""), ("LQ/10.png", ""), ("LQ/59.png", "")],
    "realsr_x4": [(f"test_LR/{n}_LR4.png", f"test_HR/{n}_HR.png") for n in ("Canon_001", "Canon_002", "Nikon_001")],
    "drealsr_x4": [(f"test_LR/{n}_x1.png", f"test_HR/{n}_x1.png") for n in ("panasonic_10", "sony_1", "sony_10")],
    "div2k_3000": [(f"lq/{n}.png", f"gt/{n}.png") for n in ("0801_pch_00001", "0801_pch_00002", "0900_pch_00001")],
    "gopro_test": [
        (f"test/{s}/blur/{n}.png", f"test/{s}/sharp/{n}.png")
        for s, n in (("GOPR0384_11_00", "000001"), ("GOPR0384_11_00", "000002"), ("GOPR0384_11_05", "000001"))
    ],
    "gopro_train": [
        (f"train/{s}/blur/{n}.png", f"train/{s}/sharp/{n}.png")
        for s, n in (("GOPR0372_07_00", "000047"), ("GOPR0372_07_00", "000048"), ("GOPR0372_07_01", "000047"))
    ],
    "dpdd_val": [(f"val_c/source/1P0A{n}.png", f"val_c/target/1P0A{n + 1}.png") for n in (1001, 1005, 1201)],
    "dpdd_train": [(f"train_c/source/1P0A{n}.png", f"train_c/target/1P0A{n - 1}.png") for n in (1001, 1005, 1201)],
    "sidd_validation": [
        (f"input_crops/ValidationBlocksSrgb_{n}.png", f"gt_crops/ValidationBlocksSrgb_{n}.png") for n in (0, 1, 10)
    ],
    "sidd_train": [
        (f"Data/{s}/{s[:4]}_NOISY_SRGB_{n}.PNG", f"Data/{s}/{s[:4]}_GT_SRGB_{n}.PNG")
        for s in ("0001_001_S6_00100_00060_3200_L", "0002_001_S6_00100_00020_3200_N")
        for n in ("010", "011")
    ][:3],
    "df2k": [("", f"{n}.png") for n in ("DIV2K_train_HR/0001", "DIV2K_train_HR/0800", "Flickr2K/Flickr2K_HR/000001")],
    "lsdir": [("", "0001000/0000001.png"), ("", "0001000/0001000.png"), ("", "0085000/0084991.png")],
    "oid": [("", f"train/{n}.jpg") for n in ("000002b66c9c498e", "00001bc2c4027449", "ffffe8ea8ed2d8ad")],
}
every_set = pytest.mark.parametrize("name", sorted(SETS))


def draw(path: Path, size: tuple[int, int], value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 2 * value, 255 - value)).save(path, compress_level=1)


def lay(name: str, directory: Path, real_sizes: bool = False) -> Path:
    """The set in miniature: three LQ images of 4x4 pixels, or of the protocol's size, and their HQ partners."""
    one, root = SETS[name], SETS[name].under(directory)
    small, large = (4, 4), (4 * (one.protocol.scale or 1),) * 2
    if real_sizes:
        small, large = one.protocol.lq_size or small, one.protocol.hq_size or large
    for number, (lq, hq) in enumerate(TREES[name]):
        for path, size in ((lq, small), (hq, large)):
            if path:
                draw(root / path, size, 20 * (number + 1))
    return root


def side(name: str, number: int) -> str:
    """A path of the tree, HQ where the set has it."""
    return TREES[name][number][1] or TREES[name][number][0]


def test_the_files_are_complete():
    assert {name: one.count for name, one in SETS.items()} == COUNTS == {name: COUNTS[name] for name in TREES}
    assert {name for name, one in SETS.items() if one.role == "test"} == TESTS
    for name, one in SETS.items():
        assert one.name == name and one.title and one.folder and one.protocol.crop and one.notes, name
        assert one.terms.text and one.source.authors and one.source.title and 2015 < one.source.year < 2026, name
        assert one.source.home.startswith("https://") and (one.count or one.count_reason), name
        assert one.protocol.scale == (4 if one.task == "SR" else 1), name
        sizes = one.protocol.lq_size, one.protocol.hq_size
        assert (sizes[0] is None) == (sizes[1] is None), name
        assert sizes[0] is None or sizes[1] == tuple(one.protocol.scale * n for n in sizes[0]), name


@pytest.mark.parametrize("name", sorted(TESTS))
def test_metrics_are_those_of_the_papers_table(name):
    protocol, printed = SETS[name].protocol, set()
    for path in PAPER.glob("unires_table[236].csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row.pop("test_set") == protocol.paper_name and row["method"] == "UniRes":
                    printed |= {metric for metric, value in row.items() if value} - {"method", "weights"}
    assert set(protocol.metrics) == printed and printed >= {"clipiqa", "musiq", "maniqa"}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("count = 60", "cuont = 60", "unknown field cuont"),
        ("count = 60", "", "count_reason"),
        ('role = "test"', 'role = "exam"', "exam"),
        ("[terms]", "[therms]", "terms"),
        ('match = "single"', 'match = "key"', "1 sides"),
        ('name = "real60"', 'name = "real6"', "real6"),
        ("count = 60", "count = ", "real60.toml"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, old, new, why):
    text = (Path(blocks.__file__).parent / "real60.toml").read_text()
    assert old in text
    (tmp_path / "real60.toml").write_text(text.replace(old, new))
    with pytest.raises(SetError, match=why) as caught:
        read_sets(tmp_path)
    assert "real60.toml" in str(caught.value)


@every_set
def test_present(tmp_path, name):
    root = lay(name, tmp_path, real_sizes=True)
    (root / "notes.txt").write_text("not an image")
    for deep in (False, True):
        report = check(SETS[name], root, deep=deep, expected=3)
        assert (report.status, report.found, report.expected, report.advice) == ("present", 3, 3, "")


@every_set
def test_missing(tmp_path, name):
    report = check(SETS[name], SETS[name].under(tmp_path))
    assert (report.status, report.found, report.expected) == ("missing", 0, COUNTS[name])
    assert SETS[name].source.home in report.advice
    with pytest.raises(SetError, match=name):
        pairs(SETS[name], SETS[name].under(tmp_path))


@every_set
def test_wrong_count(tmp_path, name):
    root = lay(name, tmp_path)
    few, many, published = (check(SETS[name], root, expected=n) for n in (5, 2, None))
    assert (few.status, few.found) == ("incomplete", 3) and few.advice.startswith("2 ")
    assert (many.status, many.found) == ("wrong", 3) and many.advice.startswith("1 ")
    assert published.status == ("present" if name == "oid" else "incomplete")


@every_set
def test_a_pair_without_partner_is_named(tmp_path, name):
    root = lay(name, tmp_path)
    lq, hq = TREES[name][1]
    if not (lq and hq):
        assert check(SETS[name], root, expected=3).unpaired == ()
        return
    (root / hq).unlink()
    report = check(SETS[name], root, expected=3)
    assert report.status == "incomplete"
    if SETS[name].layouts[0].match == "order":  # which one is alone can't be told: no pair is trusted
        assert report.found == 0 and "3 LQ and 2 HQ" in report.unpaired[0]
    else:
        assert report.found == 2 and report.unpaired == (lq,) and lq in report.advice
        assert check(SETS[name], root, expected=2).status == "wrong"
    with pytest.raises(SetError, match="without partner"):
        pairs(SETS[name], root)


@every_set
def test_a_truncated_file_is_named(tmp_path, name):
    root, cut = lay(name, tmp_path, real_sizes=True), side(name, 1)
    whole = (root / cut).read_bytes()
    (root / cut).write_bytes(whole[: len(whole) // 2])
    assert check(SETS[name], root, expected=3).status == "present"
    report = check(SETS[name], root, deep=True, expected=3)
    assert (report.status, report.unreadable, report.wrong_size) == ("wrong", (cut,), ())
    assert cut in report.advice


def test_a_photo_cut_in_its_pixels_is_named(tmp_path):
    root, cut = lay("oid", tmp_path), side("oid", 1)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(root / cut)
    whole = (root / cut).read_bytes()
    (root / cut).write_bytes(whole[: len(whole) * 3 // 4])
    with Image.open(root / cut) as image:
        image.verify()  # Pillow's own check is content
    assert check(SETS["oid"], root, deep=True, expected=3).unreadable == (cut,)


@every_set
def test_an_image_of_a_wrong_size_is_named(tmp_path, name):
    root, odd = lay(name, tmp_path, real_sizes=True), side(name, 2)
    draw(root / odd, (12, 10), 60)
    report = check(SETS[name], root, deep=True, expected=3)
    paired = all(TREES[name][2])
    assert report.wrong_size == ((odd,) if paired else ()) and report.status == ("wrong" if paired else "present")


@every_set
def test_pairs_are_sorted_and_belong_together(tmp_path, name):
    root = lay(name, tmp_path)
    found = pairs(SETS[name], root)
    under = [tuple(p and p.relative_to(root).as_posix() for p in pair[1:]) for pair in found]
    assert sorted(under, key=str) == sorted([(lq or None, hq or None) for lq, hq in TREES[name]], key=str)
    names = [pair[0] for pair in found]
    assert names == sorted(names) and len(set(names)) == 3
    assert pairs(SETS[name], str(root)) == found


def test_names_are_those_of_the_photos(tmp_path):
    names = {name: [pair[0] for pair in pairs(SETS[name], lay(name, tmp_path))] for name in TREES}
    assert names["realsr_x4"] == ["Canon_001", "Canon_002", "Nikon_001"]
    assert names["drealsr_x4"] == ["panasonic_10", "sony_1", "sony_10"]
    assert names["gopro_test"] == ["GOPR0384_11_00/000001", "GOPR0384_11_00/000002", "GOPR0384_11_05/000001"]
    assert names["sidd_train"][0] == "0001_001_S6_00100_00060_3200_L/010"
    assert names["df2k"] == ["DIV2K/0001", "DIV2K/0800", "Flickr2K/000001"]
    assert names["real60"] == ["02", "10", "59"] and names["oid"][0] == "000002b66c9c498e"


def test_gamma_blur_only_stands_in(tmp_path):
    one, root = SETS["gopro_test"], lay("gopro_test", tmp_path)
    for lq, _ in TREES["gopro_test"]:
        draw(root / lq.replace("/blur/", "/blur_gamma/"), (4, 4), 9)
    assert {pair[1].parent.name for pair in pairs(one, root)} == {"blur"}
    for lq, _ in TREES["gopro_test"]:
        (root / lq).unlink()
    assert {pair[1].parent.name for pair in pairs(one, root)} == {"blur_gamma"}


def test_two_files_of_one_name_are_no_pair(tmp_path):
    root = lay("realsr_x4", tmp_path)
    draw(root / "test_LR/Canon_001.png", (4, 4), 1)
    report = check(SETS["realsr_x4"], root, expected=3)
    assert report.status == "wrong" and len(report.unpaired) == 1 and "Canon_001" in report.unpaired[0]


@every_set
def test_load_gives_the_pairs(tmp_path, name):
    root = lay(name, tmp_path)
    rows, found = load(SETS[name], root), pairs(SETS[name], root)
    assert rows.column_names == ["name", *SETS[name].sides] and len(rows) == 3
    for row, (called, lq, hq) in zip(rows, found, strict=True):
        assert row["name"] == called
        for column, path in (("lq", lq), ("hq", hq)):
            if path is not None:
                with Image.open(path) as image:
                    assert np.array_equal(np.asarray(row[column]), np.asarray(image))


def write_parquet(root: Path, columns: dict) -> Path:
    import pyarrow
    import pyarrow.parquet

    root.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), root / "test-00000-of-00001.parquet")
    return root


def test_load_reads_parquet(tmp_path):
    trees = lay("realsr_x4", tmp_path)
    found = pairs(SETS["realsr_x4"], trees)
    one = replace(SETS["realsr_x4"], protocol=replace(SETS["realsr_x4"].protocol, lq_size=(4, 4), hq_size=(16, 16)))
    names = [name for name, _, _ in found]
    lq, hq = ([{"bytes": pair[i].read_bytes(), "path": pair[i].name} for pair in found] for i in (1, 2))
    root = write_parquet(tmp_path / "whole/data", {"name": names, "lq": lq, "hq": hq, "more": [1, 2, 3]}).parent
    rows = load(one, root, cache=tmp_path / "cache")
    assert rows["name"] == names and rows.column_names == ["name", "lq", "hq"]
    assert rows[2]["hq"].size == (16, 16) and rows[2]["lq"].getpixel((0, 0)) == (60, 120, 195)
    assert [check(one, root, expected=n).status for n in (3, 4, 2)] == ["present", "incomplete", "wrong"]

    lost = write_parquet(tmp_path / "lost", {"name": names, "lq": lq})
    assert check(one, lost, expected=3).status == "wrong" and "no column hq" in check(one, lost).advice
    with pytest.raises(SetError, match="no column hq"):
        load(one, lost)


def test_a_truncated_row_is_named(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    one = SETS["real60"]
    data = [pair[1].read_bytes() for pair in pairs(one, lay("real60", tmp_path))]
    root = write_parquet(tmp_path / "rows", {"name": ["a", "b", "c"], "lq": [data[0], data[1][:50], data[2]]})
    report = check(one, root, deep=True, expected=3)
    assert (report.status, report.unreadable) == ("wrong", ("b (lq)",))


def test_load_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"unires\[paper\]"):
        load(SETS["real60"], lay("real60", tmp_path))


def test_blocks_are_written_image_by_image(tmp_path, capsys):
    one = SETS["sidd_validation"]
    root = one.under(tmp_path)
    root.mkdir()
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 256, (2, 3, 8, 8, 3), np.uint8) for name in blocks.FILES.values()}
    for name, array in arrays.items():
        savemat(root / f"{name}.mat", {name: array})
    report = check(one, root, expected=6)
    assert report.status == "incomplete" and f"benchmarks.sets.blocks {root}" in report.advice
    assert blocks.main([str(root)]) == 0 and "6 pairs" in capsys.readouterr().out
    assert check(one, root, expected=6).status == "present"
    for place, name in blocks.FILES.items():
        with Image.open(root / place / "ValidationBlocksSrgb_4.png") as image:
            assert np.array_equal(np.asarray(image), arrays[name][1, 1])
    savemat(root / "ValidationGtBlocksSrgb.mat", {"other": np.zeros(3)})
    with pytest.raises(ValueError, match="ValidationGtBlocksSrgb"):
        blocks.write_blocks(root)
    with pytest.raises(FileNotFoundError, match="ValidationNoisyBlocksSrgb"):
        blocks.write_blocks(tmp_path)


def photo_pairs(directory, size=(50, 33)):
    """SIDD's tree with photos in which every pixel differs; the flawed one is the other's negative."""
    one = SETS["sidd_train"]
    for number, pair in enumerate(TREES["sidd_train"]):
        hq = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
        for path, array in zip(pair, (255 - hq, hq), strict=True):
            (one.under(directory) / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(one.under(directory) / path)
    return one, one.under(directory)


def test_tiles_cover_the_photo_once(tmp_path):
    for length in (200, 1024, 1535, 3000, 5328):
        cuts = tiles.edges(length)
        assert cuts[0] == 0 and cuts[-1] == length
        assert length < 768 or all(768 <= b - a < 1536 for a, b in zip(cuts, cuts[1:], strict=False))
    assert np.diff(tiles.edges(5328)).tolist() == [1065, 1066, 1065, 1066, 1066]
    one, root = photo_pairs(tmp_path)
    assert tiles.cut(one, root, 16) == 3 * 2 * 3
    for name, *photos in pairs(one, root):
        for side, photo in zip(("lq", "hq"), photos, strict=True):
            rebuilt, covered = np.zeros((33, 50, 3), np.uint8), np.zeros((33, 50), int)
            for path in (root / "tiles" / side).glob(f"{name}_*.png"):
                top, left = map(int, path.stem.split("_")[-2:])
                with Image.open(path) as tile:
                    rebuilt[top : top + tile.height, left : left + tile.width] = np.asarray(tile)
                    covered[top : top + tile.height, left : left + tile.width] += 1
            with Image.open(photo) as whole:
                assert np.array_equal(rebuilt, np.asarray(whole)) and (covered == 1).all()
    assert check(one, root, expected=3).status == "present"  # the photos are counted, not the tiles


def test_cutting_goes_on_where_it_stopped(tmp_path, monkeypatch):
    one, root = photo_pairs(tmp_path)
    assert not tiles.is_cut(one, root, 16)
    tiles.cut(one, root, 16)
    made = sorted((root / "tiles").glob("**/*.png"))
    before = {path: path.read_bytes() for path in made}
    made[0].write_bytes(b"kept")
    made[5].unlink()
    made[5].with_suffix(".part").write_bytes(b"half a til")
    with pytest.raises(SetError, match="1 are not there, 0 are of other photos .*--tiles sidd_train"):
        tiles.is_cut(one, root, 16)
    decoded, real = [], tiles.decode_8_bit
    monkeypatch.setattr(tiles, "decode_8_bit", lambda path, name: decoded.append(path) or real(path, name))
    tiles.cut(one, root, 16)
    assert len(decoded) == 1 and tiles.is_cut(one, root, 16)
    assert made[0].read_bytes() == b"kept" and made[5].read_bytes() == before[made[5]]
    assert sorted((root / "tiles").glob("**/*.p*")) == made
    (made[0].parent / "other_00000_00000.png").write_bytes(b"")
    with pytest.raises(SetError, match="0 are not there, 1 are of other photos"):
        tiles.is_cut(one, root, 16)


def test_tiles_are_listed_as_sources(tmp_path, capsys):
    one, root = photo_pairs(tmp_path, (1700, 700))
    where = ["--root", str(tmp_path)]
    assert main([*where, "--training", "sidd_train"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"] == str(root)
    assert main(["sidd_train", "--tiles", *where]) == 0 and "6 pairs of tiles" in capsys.readouterr().out
    (source,) = training_sources(tmp_path, ["sidd_train"])
    assert (source.task, source.kind, source.path, source.weight) == ("DN", "pairs", str(root / "tiles"), 320.0)
    photos = [np.asarray(Image.open(hq)) for _, _, hq in pairs(one, root)]
    for batch in stream([source], Stage(512, 2, 2), 0, taught=("DN",)):
        for x, y in zip(batch["x"], batch["y"], strict=True):
            assert np.abs(x + y - 1).max() < 1e-6
            first = np.round(x[0, [0, 1, 2]] * 255), np.round(x[0, [-1, -2, -3]] * 255)
            assert any(holds(photo, corner) for photo in photos for corner in first)
    (root / "tiles/hq" / next((root / "tiles/hq").glob("**/*.png"))).unlink()
    assert main([*where, "--training", "sidd_train"]) == 1 and "1 are not there" in capsys.readouterr().err


def holds(photo, three):
    """Whether three pixels lie side by side somewhere in a photo."""
    return any(
        np.array_equal(photo[row, column : column + 3], three)
        for row, column in np.argwhere((photo[:, :-2] == three[0]).all(-1))
    )


def test_sets_that_cannot_be_cut(tmp_path, capsys):
    where = ["--tiles", "--root", str(tmp_path)]
    for name in ("oid", "realsr_x4"):
        assert main([name, *where]) == 1 and "no pairs of one size" in capsys.readouterr().err
    assert main(["sidd_train", *where]) == 1 and "no image of sidd" in capsys.readouterr().err
    _, root = photo_pairs(tmp_path)
    path = root / TREES["sidd_train"][1][1]
    exif, whole = Image.Exif(), path.read_bytes()
    exif[0x0112] = 6
    wrong = {"differ in size": (Image.new("RGB", (50, 34)), {}), "turned": (Image.new("RGB", (50, 33)), {"exif": exif})}
    for told, (image, words) in wrong.items():
        image.save(path, **words)
        assert main(["sidd_train", *where]) == 1 and told in capsys.readouterr().err
    for half, told in ((whole[:500], "damaged or cut short"), (b"no photo", "copy it again")):
        path.write_bytes(half)
        assert main(["sidd_train", *where]) == 1 and told in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(where)


def test_exit_codes(tmp_path, capsys):
    where = ["--root", str(tmp_path)]
    assert main(where) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(SETS) and lines[0].startswith("name") and "what to do" in lines[0]
    assert all("missing" in line for line in lines[1:])
    assert main(["oid", *where]) == 1
    root = lay("oid", tmp_path)
    assert main(["oid", *where]) == main(["oid", *where, "--deep"]) == 0
    capsys.readouterr()
    assert main(["oid", "real60", *where]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "oid", "real60"]
    (root / side("oid", 0)).write_bytes(b"\xff\xd8")
    assert main(["oid", *where, "--deep"]) == 1 and side("oid", 0) in capsys.readouterr().out
    assert main(["oid", "real61", *where]) == 2
    assert "real61" in capsys.readouterr().err


TRAINING = sorted(SETS.keys() - TESTS)


def grey(name: str, number: int, side: str) -> int:
    """One grey for each image of the training sets."""
    return 10 + 10 * (3 * TRAINING.index(name) + number) + 5 * (side == "lq")


@pytest.fixture
def training(tmp_path):
    """Every training set in miniature, large enough for crops; LQ and HQ of a pair differ by 5 grey levels."""
    for name in TRAINING:
        for number, pair in enumerate(TREES[name]):
            for side, file in zip(("lq", "hq"), pair, strict=True):
                if file:
                    path = SETS[name].under(tmp_path) / file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (72, 68), (grey(name, number, side),) * 3).save(path, quality=100)
    return tmp_path


@pytest.mark.parametrize("streaming", [False, True])
def test_training_sources_feed_the_stream(training, streaming):
    found = training_sources(training, streaming=streaming)
    told = {(s.task, s.kind, s.weight) for s in found}
    assert told == {
        ("SR", "photos", 3450.0),
        ("SR", "photos", 84_991.0),
        ("MD", "photos", 3.0),  # Open Images: what lies there
        ("MD", "pairs", 2103.0),
        ("DD", "pairs", 350.0),
        ("DN", "pairs", 320.0),
    }
    even = [replace(source, weight=1.0) for source in found]
    seen = set()
    for batch in stream(even, Stage(32, 16, 8), 0):
        for x, y, task in zip(batch["x"], batch["y"], batch["task"], strict=True):
            image = round(float(x[0, 0, 0]) * 255 / 10) - 1
            name, level = TRAINING[image // 3], round(float(y[0, 0, 0]) * 255)
            assert SETS[name].task == TASKS[task].name
            if SETS[name].layouts[0].lq:
                assert np.ptp(x) == np.ptp(y) == 0 and level == grey(name, image % 3, "lq")
            seen.add(image)
    assert len(seen) == 3 * len(TRAINING)


def test_training_sources_of_parquet_leave_other_splits_out(training):
    root = SETS["gopro_train"].under(training)
    data = [path.read_bytes() for path in pairs(SETS["gopro_train"], root)[0][1:]]
    table = write_parquet(training / "new/GOPRO_Large/data", {"name": ["a"], "lq": data[:1], "hq": data[1:]})
    (table / "test-00000-of-00001.parquet").rename(table / "train-0.parquet")
    (table / "test-0.parquet").write_bytes(b"the test split, never opened")
    (source,) = training_sources(training / "new", ["gopro_train"])
    assert (source.path, source.sharp, source.flawed) == (str(table / "train*.parquet"), "hq", "lq")
    (root / "test-0.parquet").write_bytes(b"beside photos")
    with pytest.raises(SetError, match="GOPRO_Large: .*move those away"):
        training_sources(training, ["gopro_train"])


def test_training_sets_that_cannot_be_used(training, tmp_path):
    assert [source.task for source in training_sources(training, ["sidd_train", "df2k", "df2k"])] == ["DN", "SR"]
    with pytest.raises(SetError, match="real60, rain: no training set; choose from df2k, dpdd_train"):
        training_sources(training, ["real60", "rain", "oid"])
    with pytest.raises(SetError) as caught:
        training_sources(tmp_path / "nothing")
    for name in TRAINING:
        assert f"{name}: get it from {SETS[name].source.home} and lay it in" in str(caught.value)
    (SETS["dpdd_train"].under(training) / TREES["dpdd_train"][1][0]).unlink()
    with pytest.raises(SetError, match="lacks training sets. dpdd_train: without partner"):
        training_sources(training)
    (SETS["sidd_train"].under(training) / TREES["sidd_train"][1][0]).unlink()
    with pytest.raises(SetError, match="sidd_train has images without partner"):
        training_sources(training, ["sidd_train"])


def test_training_sources_are_printed(training, capsys):
    path, where = training / "sources.json", ["--root", str(training), "--training"]
    assert main([*where, "--streaming"]) == 0
    told = capsys.readouterr()
    path.write_text(told.out)
    assert read_sources(path) == training_sources(training, streaming=True)
    assert len(told.out.splitlines()) == len(json.loads(told.out)) + 2 == 8
    assert "gopro_train is incomplete: 2100 are not there" in told.err and "oid" not in told.err
    assert main([*where, "oid"]) == 0 and len(json.loads(capsys.readouterr().out)) == 1
    assert main(["--root", str(training / "nothing"), "--training"]) == 1
    told = capsys.readouterr()
    assert told.out == "" and "get it from" in told.err
