"""A folder of another method's images: what fits is measured, what doesn't is named."""

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from benchmarks import folder_baseline
from benchmarks.folder_baseline import FolderError, images, matched
from unires.metrics import measure
from unires.photo import read_photo, write_photo
from unires.record import read_rows

NAMES = ("a", "b", "c")


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for folder, side, names in (("lq", 16, NAMES), ("hq", 32, NAMES), ("theirs", 32, NAMES)):
        (tmp_path / folder).mkdir()
        for name in names:
            suffix = "jpg" if (folder, name) == ("theirs", "c") else "png"
            write_photo(tmp_path / folder / f"{name}.{suffix}", rng.uniform(0, 1, (side, side + 4, 3)))
    return tmp_path


def run(folders, *words) -> int:
    given = [folders / "theirs", "--inputs", folders / "lq", "--method", "M", "--set", "S", "--out", folders / "run"]
    return folder_baseline.main([str(word) for word in (*given, *words)])


def test_rows_of_a_folder(folders, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(folders / "none"))
    words = ["--references", folders / "hq", "--metrics", "psnr", "lpips", "niqe", "clipiqa"]
    assert run(folders, *words) == 0
    assert "3 images, 6 of 12 values measured" in capsys.readouterr().out
    rows = {(r["image"], r["metric"]): r for r in read_rows(folders / "run")}
    x_hat, x = read_photo(folders / "theirs" / "c.jpg"), read_photo(folders / "hq" / "c.png")
    assert rows["c", "psnr"]["value"] == pytest.approx(measure("psnr", x_hat, x), rel=1e-5)
    assert rows["a", "niqe"]["reason"] == "needs photos of at least 96 pixels"
    assert rows["a", "clipiqa"]["reason"] == "weights are missing: RN50.pt"
    assert {(r["source"], r["set"], r["method"]) for r in rows.values()} == {("folder M", "S", "M")}


def test_without_references_the_scale_tells_the_size(folders):
    for name in NAMES:
        write_photo(folders / "theirs" / f"{name}.png", np.zeros((32, 40, 3)))
    (folders / "theirs" / "c.jpg").unlink()
    found = list(matched(folders / "theirs", folders / "lq", scale=2))
    assert [(name, path.name, x) for name, path, x in found] == [(name, f"{name}.png", None) for name in NAMES]
    with pytest.raises(FolderError, match="3 of 3 of another size: a.png is 40 x 32, not 20 x 16"):
        matched(folders / "theirs", folders / "lq")


def test_what_does_not_fit_is_named(folders, capsys):
    (folders / "theirs" / "a.png").unlink()
    (folders / "theirs" / "a_out.png").write_bytes((folders / "theirs" / "b.png").read_bytes())
    write_photo(folders / "theirs" / "b.png", np.zeros((31, 36, 3)))
    (folders / "hq" / "c.png").unlink()
    assert run(folders, "--references", folders / "hq") == 1
    said = capsys.readouterr().err
    assert "hq: 1 of 3 without reference: c" in said
    assert "1 of 3 missing: a;" in said
    assert "1 of 3 extra, named like no input: a_out.png" in said
    assert "1 of 3 of another size: b.png is 36 x 31, not 36 x 32" in said
    assert not (folders / "run").exists()


def test_what_is_missing_may_stay_missing(folders, capsys):
    (folders / "theirs" / "a.png").unlink()
    words = ["--references", folders / "hq", "--metrics", "psnr"]
    assert run(folders, *words) == 1
    assert "1 of 3 missing: a" in capsys.readouterr().err
    assert run(folders, *words, "--partial") == 0
    rows = {r["image"]: r for r in read_rows(folders / "run")}
    assert rows["a"]["reason"] == "the method gave no image" and rows["b"]["status"] == "ok"


def test_long_lists_are_cut(folders):
    for number in range(7):
        write_photo(folders / "lq" / f"x{number}.png", np.zeros((16, 20, 3)))
    with pytest.raises(FolderError, match="7 of 10 missing: x0, x1, x2, x3, x4 and 2 more"):
        matched(folders / "theirs", folders / "lq", folders / "hq")


def test_folders_without_images_are_refused(folders):
    (folders / "empty").mkdir()
    for folder, reason in (("empty", "holds no image"), ("nowhere", "is not a folder")):
        with pytest.raises(FolderError, match=f"{folder} {reason}"):
            images(folders / folder)
    write_photo(folders / "lq" / "a.jpg", np.zeros((16, 20, 3)))
    with pytest.raises(FolderError, match="a.jpg and a.png have one name"):
        images(folders / "lq")
    (folders / "theirs" / "b.png").write_bytes(b"not an image")
    (folders / "lq" / "a.jpg").unlink()
    with pytest.raises(FolderError, match="b.png can't be read as an image"):
        matched(folders / "theirs", folders / "lq", folders / "hq")


def test_a_flat_image_and_a_turned_one(tmp_path):
    """A flat image has no NIQE and says so; a result that is upright fits an input that its rotation tag turns."""
    for name in ("lq", "theirs"):
        (tmp_path / name).mkdir()
    write_photo(tmp_path / "theirs" / "a.png", np.full((96, 128, 3), 0.5))
    turned = Image.Exif()
    turned[Base.Orientation] = 6  # by a quarter
    Image.new("RGB", (96, 128)).save(tmp_path / "lq" / "a.jpg", exif=turned)
    assert read_photo(tmp_path / "lq" / "a.jpg").shape == (96, 128, 3)
    assert run(tmp_path, "--metrics", "niqe") == 0
    (only,) = read_rows(tmp_path / "run")
    assert only["status"] == "not run" and "flat" in only["reason"]
