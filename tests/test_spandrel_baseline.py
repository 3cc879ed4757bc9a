"""A checkpoint of another project, with a stand-in for spandrel: loaded, run, reduced, measured; or refused."""

import hashlib
import sys
import types

import numpy as np
import pytest

from benchmarks import peers, spandrel_baseline
from benchmarks.spandrel_baseline import Peer, PeerError, load, restored
from unires.metrics import measure
from unires.photo import read_photo, write_photo
from unires.record import read_rows, read_run

torch = pytest.importorskip("torch")


class ImageModelDescriptor:
    """Enlarges by repeating pixels and adds a little red."""

    scale, input_channels, output_channels = 2, 3, 3
    architecture = types.SimpleNamespace(name="Repeat")

    def eval(self):
        return self

    def __call__(self, image):
        assert image.shape[:2] == (1, 3) and image.dtype == torch.float32
        large = image.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return large + torch.tensor([0.1, 0.0, 0.0])[None, :, None, None]


class GreyModel(ImageModelDescriptor):
    input_channels = 1


class ModelLoader:
    found = ImageModelDescriptor

    def __init__(self, device):
        assert device == "cpu"

    def load_from_file(self, path):
        if path.stat().st_size == 0:
            raise RuntimeError("no such network")
        return self.found()


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    fake = types.SimpleNamespace(ModelLoader=ModelLoader, ImageModelDescriptor=ImageModelDescriptor)
    monkeypatch.setitem(sys.modules, "spandrel", fake)
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"weights")
    return path


def test_a_checkpoint_becomes_rows(checkpoint, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for folder, side in (("lq", 40), ("hq", 40)):
        (tmp_path / folder).mkdir()
        for name in "ab":
            write_photo(tmp_path / folder / f"{name}.png", rng.uniform(0, 0.8, (side, side + 4, 3)))
    words = [checkpoint, "--inputs", tmp_path / "lq", "--references", tmp_path / "hq", "--name", "Twice", "--set", "S"]
    words += ["--out", tmp_path / "run", "--metrics", "psnr"]
    assert spandrel_baseline.main([str(word) for word in words]) == 0
    assert "Repeat, x2: 2 images, 2 of 2 values measured" in capsys.readouterr().out
    rows = read_rows(tmp_path / "run")
    assert [(r["source"], r["set"], r["image"], r["method"], r["architecture"]) for r in rows] == [
        ("spandrel Twice", "S", name, "Twice", "Repeat") for name in "ab"
    ]
    y, x = (read_photo(tmp_path / folder / "a.png") for folder in ("lq", "hq"))
    red = y + np.array([0.1, 0, 0], np.float32)
    kept = read_photo(tmp_path / "run" / "baselines" / "Twice" / "a.png")
    assert kept.shape == y.shape and np.abs(kept - red).max() <= 0.5 / 255 + 1e-6
    assert rows[0]["value"] == pytest.approx(measure("psnr", kept, x), rel=1e-5)
    assert read_run(tmp_path / "run")["checkpoints"] == {"Twice": hashlib.sha256(b"weights").hexdigest()}


def test_a_large_result_is_reduced_by_area():
    y = np.random.default_rng(1).uniform(0, 1, (6, 8, 3)).astype(np.float32)
    peer = Peer(lambda photo: photo.repeat(4, 0).repeat(4, 1) * np.float32(1.5), 4, "any")
    expected = np.clip(1.5 * y, 0, 1)  # clipped before the reduction: each block is one colour
    assert np.allclose(restored(peer, y), expected, atol=1e-6)
    assert restored(peer, y, 2).shape == (12, 16, 3)
    assert np.allclose(restored(peer, y, 4), expected.repeat(4, 0).repeat(4, 1), atol=1e-6)
    with pytest.raises(PeerError, match="enlarges by 4, --scale 8"):
        restored(peer, y, 8)


@pytest.mark.parametrize("name", ["net.pth", "net.ckpt", "net.pt", "net"])
def test_pickle_is_refused(tmp_path, name, capsys):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    words = [str(tmp_path / name), "--inputs", "a", "--name", "N", "--set", "S", "--out", str(tmp_path / "run")]
    assert spandrel_baseline.main(words) == 1
    said = capsys.readouterr().err
    assert f"{name} may hold a pickle" in said and "safetensors.torch.save_file" in said
    assert not (tmp_path / "run").exists()


def test_what_is_no_restorer_is_refused(checkpoint, monkeypatch, tmp_path):
    with pytest.raises(PeerError, match="does not exist"):
        load(tmp_path / "y.safetensors")
    monkeypatch.setattr(ModelLoader, "found", GreyModel)
    with pytest.raises(PeerError, match="takes 1 channels and gives 3"):
        load(checkpoint)
    monkeypatch.setattr(ModelLoader, "found", dict)
    with pytest.raises(PeerError, match="is a dict, not a network from one photo to one photo"):
        load(checkpoint)
    checkpoint.write_bytes(b"")
    with pytest.raises(PeerError, match="x.safetensors can't be loaded by spandrel: RuntimeError: no such network"):
        load(checkpoint)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ImportError, match=r"spandrel.*pip install unires\[peers\]"):
        peers.import_spandrel()
    (tmp_path / "x.safetensors").write_bytes(b"weights")
    with pytest.raises(ImportError, match="peers"):
        load(tmp_path / "x.safetensors")
