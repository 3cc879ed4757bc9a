"""The two sides of the speed comparison sample the same latents, for the calls that they claim."""

import json
import subprocess

import numpy as np
from linear import engine

from benchmarks.speed import search as speed
from unires.engine import Engine, unet_calls
from unires.models.store import random_model
from unires.photo import read_photo, write_photo
from unires.profiles import SMOKE
from unires.restore import Restorer


def test_the_subset_has_all_sizes():
    chosen = speed.subset(60)
    sizes = np.count_nonzero(chosen, axis=1)
    assert chosen.shape == (60, 6) and len(np.unique(chosen, axis=0)) == 60 and set(sizes) == {1, 2, 3, 4, 5, 6}
    assert (sizes == 1).sum() == 6 and (sizes == 6).sum() >= 10


def test_both_find_the_same():
    photo = np.random.default_rng(0).random((64, 64, 3), np.float32)
    engine = Engine(Restorer(random_model(SMOKE), SMOKE))
    vectors = speed.subset(7)
    found = speed.compare(lambda: engine.study(photo), vectors, 2, turns=1, whole=False)
    here = found["subset"]
    assert here["largest relative difference of final latents"] < 1e-5
    assert here["naive"]["unet_calls"] == 7 * 6 * 2 and here["engine"]["unet_calls"] == unet_calls(vectors, 2)
    whole = found["whole"]["naive"]["seconds, from the subset"]
    assert np.isclose(whole, here["naive"]["seconds"] * 1512 / 7)


def test_the_whole_grid_is_counted(tmp_path, monkeypatch):
    photo = np.random.default_rng(0).random((64, 64, 3), np.float32)
    found = speed.compare(lambda: engine(0.1).study(photo), speed.subset(2), 3, turns=1, whole=True)["whole"]
    assert found["naive"]["unet_calls"] == 27216 and found["engine"]["unet_calls"] == 6 + 5796 * 2
    monkeypatch.setattr(speed, "compare", lambda *given: {"subset": {"speed-up": 1.23456}})
    speed.main(["--profile", "smoke", "--no-waits", "--out", str(tmp_path / "search.json")])
    told = json.loads((tmp_path / "search.json").read_text())
    assert told["subset"]["speed-up"] == 1.235 and told["side"] == 64 and told["steps"] == SMOKE.sample.steps


def test_the_command_line_is_timed(monkeypatch):
    asked = []

    def run(command, **given):
        asked.append(command)
        write_photo(command[5], read_photo(command[4]))
        return subprocess.CompletedProcess(command, 0, "in.png: --weights SR=1.2,DN=-0.2\n")

    monkeypatch.setattr(speed.subprocess, "run", run)
    told = speed.wait("search", "demo", side=96)
    assert told["photo"] == [96, 96] and told["chosen"] == "SR=1.2,DN=-0.2" and told["seconds"] > 0
    assert asked[0][1:4] == ["-m", "unires", "restore"]
    assert asked[0][6:] == ["--weights", "search", "--checkpoint", "demo"]
