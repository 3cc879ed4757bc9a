"""The command line: a result, or one sentence and an exit code."""

import sys

import numpy as np
import pytest
from linear import LinearRestorer

from unires.__main__ import main, parse_weights
from unires.models.ldm import take_apart
from unires.models.store import random_model, save_checkpoint
from unires.photo import read_photo, write_photo
from unires.profiles import SMOKE


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(path, take_apart(random_model(SMOKE))[0], SMOKE, {"profile": "smoke"})
    return str(path)


def photo(path):
    write_photo(path, np.random.default_rng(0).random((48, 40, 3), np.float32))
    return str(path)


def test_weights_are_parsed():
    assert parse_weights("MD=0.6, DN=-0.2,DownLQ=0.6") == {"MD": 0.6, "DN": -0.2, "DownLQ": 0.6}
    for text, say in (("MD", "NAME=NUMBER"), ("XX=1", "unknown expert"), ("MD=0.6", "sum to 1")):
        with pytest.raises(ValueError, match=say):
            parse_weights(text)


@pytest.mark.parametrize(
    "words,say",
    [
        (["missing.png", "out.png"], "missing.png"),
        (["in.png", "out.png", "--weights", "SR=2"], "sum to 1"),
        (["in.png", "out.png", "--checkpoint", "nowhere"], "no checkpoint nowhere"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys, words, say):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "in.png")
    assert main(["restore", *words]) in (1, 2)
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("unires: ") and say in error[0]
    assert not (tmp_path / "out.png").exists()


def test_a_folder_with_one_bad_photo(tmp_path, checkpoint, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    photo(folder / "good.png")
    (folder / "bad.jpg").write_text("not a photo")
    out = tmp_path / "out"
    assert main(["restore", str(folder), str(out), "--checkpoint", checkpoint, "--steps", "1"]) == 1
    assert "bad.jpg" in capsys.readouterr().err
    assert read_photo(out / "good.png").shape == (48, 40, 3) and len(list(out.iterdir())) == 1


def test_nothing_is_overwritten(tmp_path, capsys):
    """A folder onto itself, two photos of one name, and a suffix that can't be written: refused before any work."""
    photo(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    assert main(["restore", str(tmp_path), str(tmp_path)]) == 2
    assert "would replace" in capsys.readouterr().err
    assert main(["restore", str(tmp_path / "a.png"), str(tmp_path / "out.webp")]) == 2
    assert "out.webp: photos are written as .png" in capsys.readouterr().err
    photo(tmp_path / "a.jpg")
    assert main(["restore", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "a.jpg, a.png would be written to the same" in capsys.readouterr().err
    assert main(["restore", str(tmp_path / "a.png"), str(tmp_path / "a.jpg" / "b.png")]) == 2
    assert "unires: " in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == before and not (tmp_path / "out").exists()


def test_weights_are_searched(tmp_path, monkeypatch, capsys):
    """The printed mix, given by hand, restores the same photo."""
    restorer = LinearRestorer(slopes=np.linspace(0.05, 0.3, 6))
    monkeypatch.setattr(sys.modules["unires.restore"], "load", lambda *_, **__: restorer)
    source = photo(tmp_path / "in.png")
    assert main(["restore", source, str(tmp_path / "auto.png"), "--weights", "auto"]) == 0
    name, mix = capsys.readouterr().out.strip().split(": --weights ")
    assert name == "in.png" and set(parse_weights(mix)) <= {e.name for e in restorer.experts}
    assert main(["restore", source, str(tmp_path / "by_hand.png"), "--weights", mix]) == 0
    apart = read_photo(tmp_path / "auto.png") - read_photo(tmp_path / "by_hand.png")
    assert np.abs(apart).max() < 1.5 / 255


def test_a_model_that_was_never_tuned_is_warned_of(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("unires.models.store.find_checkpoint", lambda name: tmp_path)
    monkeypatch.setattr("unires.models.store.read_story", lambda path: {"widened": True})
    monkeypatch.setattr(sys.modules["unires.restore"], "load", lambda *_, **__: lambda y, *_, **__: y / np.float32(255))
    assert main(["restore", photo(tmp_path / "in.png"), str(tmp_path / "out.png")]) == 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("unires: warning:") and "fine-tune" in line
