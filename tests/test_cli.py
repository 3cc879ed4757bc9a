"""The command line: a result, or one sentence and an exit code."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from linear import LinearRestorer
from PIL import Image

from unires.__main__ import main, pair_up, parse_weights, seed
from unires.models.ldm import take_apart
from unires.models.store import random_model, save_checkpoint
from unires.photo import read_photo, write_photo
from unires.profiles import SMOKE
from unires.search import grid, one_hot


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(path, take_apart(random_model(SMOKE))[0], SMOKE, {"profile": "smoke"})
    return str(path)


def photo(path, h=48, w=40):
    write_photo(path, np.random.default_rng(0).random((h, w, 3), np.float32))
    return str(path)


def test_weights_are_parsed():
    assert parse_weights("MD=0.6, DN=-0.2,DownLQ=0.6") == {"MD": 0.6, "DN": -0.2, "DownLQ": 0.6}
    for text, say in (
        ("MD", "NAME=NUMBER"),
        ("XX=1", "unknown expert"),
        ("MD=0.6", "sum to 1"),
        ("MD=0.7,DN=0.5, MD=0.5", "MD is given twice"),
    ):
        with pytest.raises(ValueError, match=say):
            parse_weights(text)


@pytest.mark.parametrize(
    "words,say",
    [
        (["missing.png", "out.png"], "missing.png: no such file or folder: check the path"),
        (["missing", "out"], "missing: no such file or folder: check the path"),
        (["empty", "out"], "empty holds no photo"),
        (["in.png", "out.png", "--weights", "SR=2"], "sum to 1"),
        (["in.png", "out.png", "--weights", ""], "NAME=NUMBER"),
        (["in.png", "out.png", "--checkpoint", "nowhere"], "no checkpoint nowhere"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, capsys, words, say):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "in.png")
    (tmp_path / "empty").mkdir()
    assert main(["restore", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("unires: ") and say in error[0]
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("word", ["-1", "4294967296", "99999999999999999999", "1.5"])
def test_seeds_are_checked(word, capsys):
    for words in (["restore", "in.png", "out.png"], ["train", "--photos", "x"]):
        with pytest.raises(SystemExit, match="2"):
            main([*words, "--seed", word])
        told = "invalid seed value" if word == "1.5" else f"seed {word}: give a whole number from 0 to 4294967295"
        assert f"argument --seed: {told}" in capsys.readouterr().err
    assert seed("4294967295") == 2**32 - 1


def test_a_folder_with_bad_photos(tmp_path, checkpoint, capsys):
    """What can't be read or written is named and the others are restored, of any format; what is passed over, too."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for made in (folder / "album.png", out / "blocked.png"):
        made.mkdir(parents=True)
    (folder / "bad.jpg").write_text("not a photo")
    for name in ("notes.txt", ".hidden", "IMG_1.HEIC"):
        (folder / name).write_text("not a photo")
    photo(folder / "blocked.png")
    photo(folder / "good.png")
    (folder / "loop.png").symlink_to("loop.png")
    Image.open(folder / "good.png").save(folder / "old.GIF")
    assert main(["restore", str(folder), str(out), "--checkpoint", checkpoint, "--steps", "1"]) == 1
    told = capsys.readouterr().err.splitlines()
    passed = "passed over: IMG_1.HEIC, notes.txt"
    said = (passed, "bad.jpg: not", "blocked.png: cannot be written", "loop.png: no such")
    for line, say in zip(told, said, strict=True):
        assert line.startswith("unires: ") and say in line
    assert {path.name for path in out.iterdir()} == {"blocked.png", "good.png", "old.png"}
    assert read_photo(out / "good.png").shape == read_photo(out / "old.png").shape == (48, 40, 3)


def test_of_many_other_files_a_few_are_named(tmp_path, capsys):
    for name in ("a.png", *(f"{n}.xmp" for n in range(8))):
        (tmp_path / name).write_text("")
    assert len(pair_up(tmp_path, tmp_path / "out")) == 1
    assert capsys.readouterr().err.endswith("passed over: 0.xmp, 1.xmp, 2.xmp, 3.xmp, 4.xmp and 3 more\n")


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


@pytest.mark.parametrize("how", ["auto", "search"])
def test_weights_are_searched(tmp_path, monkeypatch, capsys, how):
    """The printed mix, given by hand, restores the same photo; on a terminal that wants no bars there are none."""
    restorer = LinearRestorer(slopes=np.linspace(0.05, 0.3, 6))
    monkeypatch.setattr(sys.modules["unires.restore"], "load", lambda *_, **__: restorer)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    source = photo(tmp_path / "in.png")
    assert main(["restore", source, str(tmp_path / "auto.png"), "--weights", how]) == 0
    told = capsys.readouterr()
    name, mix = told.out.strip().split(": --weights ")
    assert told.err == "" and name == "in.png" and set(parse_weights(mix)) <= {e.name for e in restorer.experts}
    assert main(["restore", source, str(tmp_path / "by_hand.png"), "--weights", mix]) == 0
    apart = read_photo(tmp_path / "auto.png") - read_photo(tmp_path / "by_hand.png")
    assert np.abs(apart).max() < 1.5 / 255


def test_a_search_by_the_judge(tmp_path, monkeypatch, capsys):
    restorer = LinearRestorer(slopes=np.linspace(0.05, 0.3, 6))
    monkeypatch.setattr(sys.modules["unires.restore"], "load", lambda *_, **__: restorer)
    asked, search = [], sys.modules["unires.search"].automatic
    monkeypatch.setattr(
        sys.modules["unires.search"], "automatic", lambda *a, **k: asked.append(search(*a, **k)) or asked[-1]
    )
    given = ["restore", photo(tmp_path / "in.png"), str(tmp_path / "out.png"), "--score", "expected_lpips"]
    assert main([*given, "--weights", "auto", "--steps", "2"]) == 0
    assert "warning: expected_lpips was fitted to other experts" in capsys.readouterr().err
    assert all(key.startswith("expected_lpips (AlexNet v0.1") for key in asked[0][1].scores)
    assert {line.steps for line in asked[0][1].tried} == {2}
    assert len({line.weights for line in asked[0][1].tried}) == 12
    some = grid()[::60]  # the judge takes its time for all
    monkeypatch.setattr(sys.modules["unires.search"], "grid", lambda: some)
    assert main([*given, "--weights", "search", "--steps", "2"]) == 0
    assert {tuple(map(float, w)) for w in some} <= {line.weights for line in asked[1][1].tried}
    assert main(given) == 2 and "give it with --weights auto or search" in capsys.readouterr().err


@pytest.mark.parametrize("weights", [[], ["--weights", "auto"], ["--weights", "search"]], ids=["given", "few", "all"])
def test_words_are_handed_on(tmp_path, monkeypatch, weights):
    asked, restorer = [], LinearRestorer()

    def load(*given, **words):
        asked.append((given, words))
        return restorer

    def restored(_, y, weights, **words):
        asked.append(words)
        return y / np.float32(255)

    def searched(engine, y, scores, vectors, **words):
        assert scores is None  # the judge or NIQE, as the experts are
        assert (vectors is None) if weights[1] == "auto" else len(vectors) == 1512
        asked.append(words)
        return y / np.float32(255), SimpleNamespace(weights=one_hot()[0])

    monkeypatch.setattr(sys.modules["unires.restore"], "load", load)
    monkeypatch.setattr(LinearRestorer, "__call__", restored)
    monkeypatch.setattr("unires.search.automatic", searched)
    words = ["restore", photo(tmp_path / "in.png"), str(tmp_path / "out.png"), *weights]
    assert main([*words, "--seed", "7", "--steps", "2", "--down-lq", "8", "--dtype", "bfloat16"]) == 0
    assert asked == [(("demo", 8), {"dtype": "bfloat16"}), {"seed": 7, "steps": 2}]


def test_names_that_the_terminal_lacks(tmp_path, monkeypatch):
    """A searched photo is written before its mix is told, and a name in another alphabet stops nothing."""
    monkeypatch.setattr(sys.modules["unires.restore"], "load", lambda *_, **__: LinearRestorer())
    found = SimpleNamespace(weights=one_hot()[0])
    monkeypatch.setattr("unires.search.automatic", lambda engine, y, *_, **__: (y / np.float32(255), found))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    (tmp_path / "in").mkdir()
    for name in ("a.png", "花.png", "花園.png"):
        photo(tmp_path / "in" / name)
    assert main(["restore", str(tmp_path / "in"), str(tmp_path / "out"), "--weights", "auto"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue().count(b"--weights") == 3


@pytest.mark.parametrize(
    "name,terminal,disable,bars",
    [
        ("", True, "", {"photos", "restore"}),
        ("b.png", True, "", {"restore"}),
        ("a.png", True, "", set()),
        ("", False, "", set()),
        ("", True, "1", set()),
    ],
)
def test_bars_are_for_terminals(tmp_path, monkeypatch, capsys, name, terminal, disable, bars):
    """Bars of photos and of tiles, where there are several: on a terminal, if the environment doesn't forbid them."""
    monkeypatch.setattr(sys.modules["unires.restore"], "load", lambda *_, **__: LinearRestorer())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TQDM_DISABLE", disable)
    source = tmp_path / "in"
    source.mkdir()
    photo(source / "a.png")
    photo(source / "b.png", 64, 100)
    assert main(["restore", str(source / name), str(tmp_path / "out.png"), "--steps", "1"]) == 0
    told = capsys.readouterr().err
    assert {bar for bar in ("photos", "restore") if f"{bar}:" in told} == bars and bool(told) == bool(bars)


def test_ctrl_c_is_one_line(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["unires.restore"], "load", interrupted)
    assert main(["restore", photo(tmp_path / "in.png"), str(tmp_path / "out.png")]) == 130
    assert capsys.readouterr().err == "unires: interrupted\n"


def test_a_model_that_was_never_tuned_is_warned_of(tmp_path, capsys):
    path = tmp_path / "sd2.safetensors"
    save_checkpoint(path, take_apart(random_model(SMOKE))[0], SMOKE, {"profile": "smoke", "widened": True})
    assert main(["restore", photo(tmp_path / "in.png"), str(tmp_path / "out.png"), "--checkpoint", str(path)]) == 0
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("unires: warning: sd2.safetensors: ") and "fine-tune" in line
