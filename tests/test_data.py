"""Photos: what may be trained on, what is evaluated, and that batches depend on seed and step alone."""

import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from unires.batches import batches, stage_at
from unires.config import Stage, TrainConfig
from unires.data import (
    Photos,
    draw_crop,
    draw_severity,
    draw_tasks,
    evaluation_crops,
    evaluation_set,
    halve,
    held_out_paths,
    pair_batch,
    photo_batch,
    texture,
)
from unires.degrade import SETTINGS
from unires.photo import PhotoError, read_photo, write_photo
from unires.profiles import DEMO, SMOKE
from unires.tasks import NAMES, TASKS


def noisy(h, w, seed=0):
    return np.random.default_rng(seed).random((h, w, 3), np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        write_photo(folder / f"{i}.png", noisy(150, 170, i))
    return Photos.read(folder, least=100)


def test_held_out_photos_are_not_for_training(tmp_path):
    with pytest.raises(PhotoError, match="no JPEG or PNG"):
        Photos.read(tmp_path, least=64)
    write_photo(tmp_path / "fine.png", noisy(80, 80))
    shutil.copy(held_out_paths()["coffee"], tmp_path / "mine.png")
    with pytest.raises(PhotoError, match="mine.png is the held-out photo coffee"):
        Photos.read(tmp_path, least=64)


def test_big_photos_are_halved(tmp_path):
    big = noisy(70, 1700)
    write_photo(tmp_path / "big.png", big)
    (array,) = Photos.read(tmp_path, least=16).arrays
    stored = read_photo(tmp_path / "big.png")
    assert array.shape == (35, 850, 3)
    assert abs(array[4, 7, 1] / 255 - stored[8:10, 14:16, 1].mean()) <= 0.5 / 255 + 1e-6


def test_photos_are_not_halved_below_the_least(tmp_path):
    """DF2K's photos are 2040 pixels wide: for crops of 512, which ask for 1024, they stay as they are."""
    stored = np.random.default_rng(0).integers(0, 256, (70, 1700, 3), np.uint8)
    Image.fromarray(stored).save(tmp_path / "wide.png")
    (whole,), (half,) = (Photos.read(tmp_path, least).arrays for least in (36, 35))
    assert np.array_equal(whole, stored) and half.shape == (35, 850, 3)
    with pytest.raises(PhotoError, match="at least 71 pixels"):
        Photos.read(tmp_path, 71)


@pytest.mark.parametrize(("stride", "each"), [(None, 2), (64, 5)])
def test_evaluation_crops_follow_the_rule(stride, each):
    size, count, step = 128, 9, stride or 128
    every = {}
    for name, path in held_out_paths().items():
        photo = read_photo(path)
        for top in range(0, photo.shape[0] - size + 1, step):
            for left in range(0, photo.shape[1] - size + 1, step):
                dy, dx = np.gradient(photo[top : top + size, left : left + size].mean(-1))
                every[f"{name}-{top}-{left}"] = np.sqrt(dy**2 + dx**2).mean()
    taken = []
    for name in sorted(every, key=every.get, reverse=True):
        if sum(other.split("-")[0] == name.split("-")[0] for other in taken) < each:
            taken.append(name)
    crops = evaluation_crops(count, size, stride, each)
    assert [name for name, _ in crops] == taken[:count]
    with pytest.raises(ValueError, match="asked for"):
        evaluation_crops(1000, size)


def test_evaluation_sets_are_reproducible():
    first, again = evaluation_set("complex", SMOKE), evaluation_set("complex", SMOKE)
    assert all(np.array_equal(a.y, b.y) and a.recipe == b.recipe for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(item.x, item.y) for item in first)
    seed = dataclasses.replace(SMOKE, evaluation=dataclasses.replace(SMOKE.evaluation, seed=1))
    assert any(not np.array_equal(a.y, b.y) for a, b in zip(first, evaluation_set("complex", seed), strict=True))
    with pytest.raises(ValueError, match="unknown set 'rain'"):
        evaluation_set("rain", SMOKE)


def test_the_demo_evaluates_what_it_promises():
    assert DEMO.evaluation.sets == ("SR", "MD", "DD", "DN", "complex") and DEMO.evaluation.crops >= 8
    assert len({name for name, _ in evaluation_crops(8, 256)}) == 8


def test_batches_are_a_function_of_seed_and_step(photos):
    stage = Stage(32, 4, 3)
    for make in (photo_batch, pair_batch):
        one, same, other = make(photos, stage, 5, 2), make(photos, stage, 5, 2), make(photos, stage, 5, 3)
        assert all(np.array_equal(one[k], same[k]) for k in one) and not np.array_equal(one["x"], other["x"])
        assert one["x"].shape == (4, 32, 32, 3)
        config = TrainConfig(stages=(stage,), learning_rate=1.0)
        fed = list(batches(make, photos, config, 5, start=1, ahead=2))
        assert len(fed) == 2 and np.array_equal(fed[1]["x"], one["x"])


def test_helping_processes_change_nothing(photos):
    config = TrainConfig(stages=(Stage(32, 4, 6),), learning_rate=1.0)
    alone = list(batches(pair_batch, photos, config, 5, start=1))
    helped = list(batches(pair_batch, photos, config, 5, start=1, workers=2))
    assert len(helped) == 5 and all(np.array_equal(a[k], b[k]) for a, b in zip(alone, helped, strict=True) for k in a)


KILLED = """
import multiprocessing, os, signal
import numpy as np
from unires.batches import batches
from unires.config import Stage, TrainConfig

def make(photos, stage, seed, step):
    return {"x": np.zeros(stage.batch)}

if __name__ == "__main__":
    config = TrainConfig(stages=(Stage(8, 2, 9),), learning_rate=1.0)
    feed = batches(make, None, config, 0, 0, workers=2)
    next(feed)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_helping_processes_end_with_a_training_that_was_killed(tmp_path):
    (tmp_path / "training.py").write_text(KILLED)
    done = subprocess.run([sys.executable, tmp_path / "training.py"], capture_output=True, text=True, timeout=120)
    helpers = [int(word) for word in done.stdout.split()]
    assert done.returncode == -signal.SIGKILL and len(helpers) == 2, done.stderr
    until = time.monotonic() + 20
    while any(map(alive, helpers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, helpers))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_photos_stay_in_the_order_of_their_names(tmp_path):
    """They are decoded side by side, and large ones take longer."""
    for i, side in enumerate((600, 64, 300, 65)):
        write_photo(tmp_path / f"{i}.png", noisy(side, 64 + i, i))
    found = Photos.read(tmp_path, 64)
    assert found.names == ("0.png", "1.png", "2.png", "3.png")
    assert [array.shape[1] for array in found.arrays] == [64, 65, 66, 67]


def test_halving_and_texture_are_means_to_the_bit():
    """Written out they are many times as fast; training draws the same photos as before."""
    photo = noisy(33, 46)
    apart = photo[:32].reshape(16, 2, 23, 2, 3)
    assert np.array_equal(halve(photo), apart.mean((1, 3), dtype=np.float32))
    assert texture(photo) == float(np.hypot(*np.gradient(photo.mean(-1))).mean())


def test_a_crop_is_the_busier_of_two_and_often_halved_or_mirrored():
    flat = np.full((16, 16, 3), 100, np.uint8)
    busy = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    ramp, stripes = (
        np.broadcast_to(row.astype(np.uint8)[:, None], (16, 16, 3)) for row in (np.arange(16), np.arange(16) % 2 * 254)
    )
    rng = np.random.default_rng(1)

    def share(arrays, size, hit):
        photos = Photos(("",) * len(arrays), arrays, "")
        return np.mean([hit(draw_crop(photos, size, rng)) for _ in range(400)])

    assert share((flat, busy), 16, lambda x: np.ptp(x) > 0) == pytest.approx(3 / 4, abs=0.09)  # else both were flat
    assert share((ramp,), 16, lambda x: x[0, 0, 0] > 0) == pytest.approx(1 / 2, abs=0.1)
    assert share((stripes,), 8, lambda x: np.ptp(x) == 0) == pytest.approx(1 / 4, abs=0.09)  # both were halved


def test_the_crops_of_a_pair_lie_on_each_other(photos, monkeypatch):
    asked, settings = [], SETTINGS["real-esrgan"]
    monkeypatch.setattr("unires.data.degrade", lambda task, x, rng, severity, given: asked.append(given) or (x, None))
    batch = pair_batch(photos, Stage(32, 4, 1), 0, 0, settings)
    np.testing.assert_array_equal(batch["y"], batch["x"])
    assert asked == [settings] * 4


def test_tasks_are_drawn_with_the_papers_probabilities():
    n = 800
    drawn = np.bincount(draw_tasks(n, np.random.default_rng(0), NAMES), minlength=len(TASKS))
    for task, found in zip(TASKS, drawn, strict=True):
        p = task.probability
        assert abs(found - n * p) < 3 * np.sqrt(n * p * (1 - p)), task.name


def test_one_task_alone(photos):
    drawn = pair_batch(photos, Stage(8, 10, 1), 0, 0, taught=("MD",))["task"]
    assert [TASKS[task].name for task in set(drawn.tolist())] == ["MD"]
    some = draw_tasks(400, np.random.default_rng(0), ("SR", "DN"))
    assert {TASKS[task].name for task in some.tolist()} == {"SR", "DN"}
    assert np.mean(some == 0) == pytest.approx(0.32 / 0.54, abs=0.1)  # their probabilities, scaled to sum to 1


def test_a_stage_of_light_flaws():
    """The pairs of a stage of light flaws are nearer to each other; the sharp side of the first is the same."""
    ramp = np.broadcast_to(np.arange(40, 200, dtype=np.uint8)[:, None, None], (160, 160, 3))

    def far(heaviest, n=64):
        batch = pair_batch(Photos(("ramp",), (ramp,), ""), Stage(32, n, 1, heaviest), 0, 0, taught=("DN",))
        return batch["x"][0], float(np.sqrt(((batch["x"] - batch["y"]) ** 2).mean()))

    (x, light), (same, heavier), (_, whole) = far(0.05), far(0.6), far(None)
    assert np.array_equal(x, same) and light < 0.6 * min(heavier, whole)
    drawn = [draw_severity(Stage(8, 1, 1, 0.4), np.random.default_rng(i)) for i in range(200)]
    assert 0 <= min(drawn) < 0.02 and 0.38 < max(drawn) <= 0.4 and np.mean(drawn) == pytest.approx(0.2, abs=0.04)
    assert draw_severity(Stage(8, 1, 1), np.random.default_rng(0)) is None


def test_stage_at():
    config = TrainConfig(stages=(Stage(8, 1, 3), Stage(16, 1, 2)), learning_rate=1.0)
    assert [stage_at(config, s).crop for s in range(5)] == [8, 8, 8, 16, 16]
    with pytest.raises(ValueError, match="after the last stage"):
        stage_at(config, 5)


def test_validation_photos_are_not_trained_on(tmp_path):
    """By the hash of the file alone: each photo is in one part, and nothing is in neither."""
    for i in range(40):
        write_photo(tmp_path / f"{i}.png", np.random.default_rng(i).random((40, 40, 3), np.float32))
    expected = {p.name for p in tmp_path.iterdir() if hashlib.sha256(p.read_bytes()).hexdigest()[0] == "0"}
    training, validation = Photos.read(tmp_path, 32), Photos.read(tmp_path, 32, validation=True)
    assert 0 < len(expected) < 20 and set(validation.names) == expected
    assert set(training.names) == {p.name for p in tmp_path.iterdir()} - expected
