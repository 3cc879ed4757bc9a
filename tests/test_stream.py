"""Sources and streams: shares of the tasks, exact resuming, sharing among processes, pairs, and refusals."""

import json
import os
import shutil
import sys
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datasets")

import datasets
from flax import nnx
from PIL import Image

import unires.train
from unires import data, sources
from unires import stream as stream_module
from unires.__main__ import main
from unires.config import Stage, TrainConfig
from unires.data import Photos, held_out_paths
from unires.degrade import SETTINGS
from unires.models.vae import VAE
from unires.photo import PhotoError, read_photo, write_photo
from unires.profiles import SMOKE
from unires.sources import NAMES, Source, decode, fetch, open_source, read_sources
from unires.stream import plan, stream, stream_stages
from unires.tasks import TASKS

STAGE = Stage(32, 4, 5)
PHOTOS = 7
PATTERNS = {"sharp": "**/sharp/*", "flawed": "**/blur/*"}


def noisy(h, w, seed=0):
    return np.random.default_rng(seed).random((h, w, 3), np.float32)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """The library's copies of parquet go to a temporary folder; no pause of 5 s after each pass over streamed ones."""
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    patch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.01, raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(PHOTOS):
        write_photo(folder / f"{i}.png", noisy(70 + i, 90, i))
    write_photo(folder / "small.png", noisy(20, 90))
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Pairs in GoPro's layout: the flawed photo is the sharp one, half as bright."""
    folder = tmp_path_factory.mktemp("pairs")
    for i in range(3):
        for name, scale in (("sharp", 1.0), ("blur", 0.5)):
            path = folder / f"scene{i}" / name / "000001.png"
            path.parent.mkdir(parents=True)
            write_photo(path, noisy(40, 50, 50 + i) * np.float32(scale))
    return folder


@pytest.fixture(scope="module")
def parquet(folder, tmp_path_factory):
    """The same photos in a parquet file, their bytes inside."""
    path = tmp_path_factory.mktemp("parquet") / "train.parquet"
    files = sorted(folder.glob("*.png"))
    rows = {"image": [{"bytes": p.read_bytes(), "path": p.name} for p in files]}
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
    return path


def mixed(folder, pairs, streaming=False):
    paired = [Source("MD", str(pairs), "pairs", **PATTERNS, streaming=streaming)]
    return [Source(task, str(folder), streaming=streaming) for task in ("SR", "DD", "DN")] + paired


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in ("x", "y", "task"))


def grey_pairs(folder, count=8):
    """Pairs that can be told apart: the n-th has one grey, 20 n, and is half as bright when flawed."""
    for i in range(count):
        for name, level in (("sharp", 20 * (i + 1)), ("blur", 10 * (i + 1))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_photo(folder / name / f"{i}.png", np.full((33 + i, 40, 3), level / 255, np.float32))
    return folder


def greys(batches, task):
    """Which of the grey pairs were seen for a task, in order; checks each pair on the way."""
    seen = []
    for batch in batches:
        for x, y, drawn in zip(batch["x"], batch["y"], batch["task"], strict=True):
            level = float(x[0, 0, 0]) * 255
            assert np.ptp(x) == np.ptp(y) == 0 and abs(float(y[0, 0, 0]) * 255 - level / 2) < 1e-3
            if drawn == task:
                seen.append(round(level / 20) - 1)
    return seen


def test_batches_have_the_form_of_pair_batch(folder, pairs):
    photos = data.Photos.read(folder, least=64)
    form = data.pair_batch(photos, STAGE, 0, 0)
    for batch in islice(stream(mixed(folder, pairs), STAGE, 0), 2):
        assert batch.keys() == form.keys()
        for name, value in batch.items():
            assert value.shape == form[name].shape and value.dtype == form[name].dtype
        assert batch["x"].min() >= 0 and batch["y"].max() <= 1


def test_tasks_are_drawn_with_the_papers_probabilities(folder, pairs):
    given = mixed(folder, pairs) + [Source("SR", "more", weight=3.0)]
    tasks, which = (np.concatenate(parts) for parts in zip(*(plan(given, 64, 1, s) for s in range(60)), strict=True))
    n = len(tasks)
    assert all(given[i].task == TASKS[t].name for t, i in zip(tasks, which, strict=True))
    for i, task in enumerate(TASKS):
        p = task.probability
        assert abs((tasks == i).sum() - n * p) < 3 * np.sqrt(n * p * (1 - p)), task.name
    m = (tasks == 0).sum()
    assert abs((which == len(given) - 1).sum() - 0.75 * m) < 3 * np.sqrt(m * 0.75 * 0.25)
    made = np.concatenate([batch["task"] for batch in stream(mixed(folder, pairs), STAGE, 1)])
    assert np.array_equal(made, np.concatenate([plan(mixed(folder, pairs), 4, 1, s)[0] for s in range(5)]))


def test_tasks_that_are_taught(folder, pairs):
    """Two tasks keep the ratio of their probabilities; one alone needs its own photos and opens no others."""
    two = [Source("DN", str(folder)), Source("SR", str(folder))]
    plans = [plan(two, 64, 1, step, ("SR", "DN")) for step in range(40)]
    tasks, which = (np.concatenate(parts) for parts in zip(*plans, strict=True))
    assert {TASKS[t].name for t in tasks} == {"SR", "DN"} and np.array_equal(which == 1, tasks == 0)
    p, n = 0.32 / (0.32 + 0.22), len(tasks)
    assert abs((tasks == 0).sum() - n * p) < 3 * np.sqrt(n * p * (1 - p))
    with pytest.raises(ValueError, match="no source for MD: training needs photos for each of SR, MD$"):
        next(stream(two, STAGE, 0, taught=("SR", "MD")))
    lost = [Source(task, "/no/such/folder") for task in ("MD", "DD", "DN")]
    for streaming in (False, True):
        sharp = Source("SR", str(folder), streaming=streaming)
        alone = list(stream([sharp], STAGE, 0, taught=("SR",)))
        assert not np.concatenate([batch["task"] for batch in alone]).any()
        assert all(map(same, stream([*lost, sharp], STAGE, 0, taught=("SR",)), alone))
        config = TrainConfig((STAGE,), 1.0)
        assert {*next(stream_stages([sharp], config, 0, taught=("SR",)))["task"]} == {0}
    usual, named = (next(stream(mixed(folder, pairs), STAGE, 0, **words)) for words in ({}, {"taught": NAMES}))
    assert same(usual, named)


@pytest.mark.parametrize("streaming", [False, True])
def test_workers_change_nothing(folder, pairs, streaming, monkeypatch):
    pools, real = [], stream_module.ThreadPoolExecutor
    monkeypatch.setattr(stream_module, "ThreadPoolExecutor", lambda workers: pools.append(workers) or real(workers))
    given = mixed(folder, pairs, streaming)
    config = TrainConfig((STAGE,), 1.0)
    one, three, each = (list(stream_stages(given, config, 2, workers=n)) for n in (1, 3, None))
    assert all(map(same, one, three)) and all(map(same, one, each)) and pools == [1, 3, os.cpu_count()]


def test_training_is_fed_as_asked(folder, tmp_path, monkeypatch):
    """The tasks of a profile, and the threads of the command line, reach the batches."""
    config = replace(SMOKE, train=TrainConfig((Stage(32, 4, 3),), 1.0, tasks=("SR",)))
    config = replace(config, unet=replace(config.unet, from_lq=False, gate=False))
    asked, fed, real = [], [], unires.train.stream_stages
    monkeypatch.setattr("unires.train.stream_stages", lambda *a, **k: asked.append(k["workers"]) or real(*a, **k))
    monkeypatch.setattr("unires.train.fit", lambda loss, trained, fixed, feed, *rest: fed.extend(feed(1)) or trained)
    unires.train.train_ldm(config, VAE(config.vae, nnx.Rngs(0)), [Source("SR", str(folder))], tmp_path, workers=3)
    assert asked == [3] and len(fed) == 2 and not np.concatenate([batch["task"] for batch in fed]).any()

    photos = Photos(("a",), (np.zeros((99, 99, 3), np.uint8),), "")
    monkeypatch.setattr("unires.train.batches", lambda *a, **k: asked.append(k["workers"]) or iter(()))
    for workers in (3, None):
        unires.train.train_ldm(config, VAE(config.vae, nnx.Rngs(0)), photos, tmp_path, workers=workers)
    assert asked[1:] == [3, 1]

    asked.clear()
    path = tmp_path / "sources.json"
    path.write_text('[{"task": "SR", "path": "x"}]')
    monkeypatch.setattr("unires.train.train", lambda *a, **k: asked.append(k) or tmp_path / "none.safetensors")
    words = ["train", "--profile", "paper_sr_only", "--sources", str(path)]
    assert main([*words, "--workers", "5"]) == main(words) == 0 and asked == [{"workers": 5}, {}]
    with pytest.raises(SystemExit):
        main([*words, "--workers", "0"])


@pytest.mark.parametrize("streaming", [False, True])
def test_resuming_gives_the_unbroken_run(folder, pairs, streaming):
    given = mixed(folder, pairs, streaming)
    for process, processes in ((0, 1), (1, 2)):
        whole = list(stream(given, STAGE, 3, 0, process, processes, buffer=3))
        assert len(whole) == STAGE.steps and not np.array_equal(whole[0]["x"], whole[1]["x"])
        rest = list(stream(given, STAGE, 3, 3, process, processes, buffer=3, workers=1, ahead=0))
        assert len(rest) == 2 and all(map(same, rest, whole[3:]))
    other = next(stream(given, STAGE, 4, buffer=3))
    assert not np.array_equal(other["x"], next(stream(given, STAGE, 3, buffer=3))["x"])


def test_processes_share_the_batch(folder, pairs):
    given = mixed(folder, pairs)
    whole, first, second = (list(stream(given, STAGE, 0, 0, *who)) for who in ((0, 1), (0, 2), (1, 2)))
    for one, two, both in zip(first, second, whole, strict=True):
        assert same({name: np.concatenate([one[name], two[name]]) for name in both}, both)
        assert not np.array_equal(one["x"], two["x"])
    with pytest.raises(ValueError, match="batch of 4 can't be split"):
        next(stream(given, STAGE, 0, 0, 0, 3))
    with pytest.raises(ValueError, match="process 2 of 2"):
        next(stream(given, STAGE, 0, 0, 2, 2))


@pytest.mark.parametrize("streaming", [False, True])
def test_stages_follow_each_other(folder, pairs, streaming):
    given = mixed(folder, pairs, streaming)
    config = TrainConfig((Stage(32, 2, 3), Stage(32, 2, 2), Stage(24, 4, 1)), 1.0)
    whole = list(stream_stages(given, config, 5))
    assert [batch["x"].shape[:2] for batch in whole] == [(2, 32)] * 5 + [(4, 24)]
    assert not any(np.array_equal(a["x"], b["x"]) for a, b in zip(whole[:2], whole[3:5], strict=True))
    for start in (1, 3, 4, 6):
        rest = list(stream_stages(given, config, 5, start))
        assert len(rest) == 6 - start and all(map(same, rest, whole[start:]))
    other = SETTINGS["real-esrgan"]
    assert not np.array_equal(next(stream_stages(given, config, 6))["x"], whole[0]["x"])
    changed = zip(stream_stages(given, config, 5, settings=other), whole, strict=True)
    assert any(not np.array_equal(a["y"], b["y"]) for a, b in changed)
    halves = [next(stream_stages(given, config, 5, 5, process, 2)) for process in (0, 1)]
    assert [len(half["x"]) for half in halves] == [2, 2] and not np.array_equal(halves[0]["x"], halves[1]["x"])
    if not streaming:
        assert same({name: np.concatenate([half[name] for half in halves]) for name in whole[5]}, whole[5])


def test_streams_of_two_processes_share_the_photos(tmp_path):
    folder = str(grey_pairs(tmp_path))
    given = [Source(task.name, folder, "pairs", **PATTERNS, streaming=True) for task in TASKS]
    stage = Stage(32, 8, 12)
    seen = [greys(stream(given, stage, 0, 0, process, 2), 0) for process in (0, 1)]
    assert min(map(len, seen)) >= 8  # two passes of four photos each
    for begin in (0, 4):  # each pass is split anew
        first, second = (set(photos[begin : begin + 4]) for photos in seen)
        assert len(first) == len(second) == 4 and first | second == set(range(8))
    assert seen[0][:4] != seen[0][4:8]


def test_streaming_gives_the_same_photos(folder, pairs, parquet, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(folder / "0.png", one)
    datasets.Dataset.from_dict({"photo": [(one / "0.png").read_bytes()]}).to_parquet(str(one.parent / "one.parquet"))
    alike = [Source("SR", str(one)), Source("SR", str(one), streaming=True)]
    alike += [Source("SR", str(tmp_path / "one.parquet"), sharp="photo", streaming=way) for way in (False, True)]
    rest = mixed(folder, pairs)[1:]
    runs = [list(stream([source, *rest], STAGE, 0)) for source in alike]
    assert all(same(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True))
    greyish = str(grey_pairs(tmp_path / "grey"))
    seen = []
    for streaming in (False, True):
        given = [Source(task.name, greyish, "pairs", **PATTERNS, streaming=streaming) for task in TASKS]
        seen.append(set(greys(stream(given, Stage(32, 32, 8), 0), 0)))
    assert seen[0] == seen[1] == set(range(8))


def test_parquet_and_folder_hold_the_same_rows(folder, parquet):
    for source in (parquet, parquet.parent):
        for streaming in (False, True):
            rows = [fetch(row["image"], "p") for row in open_source(Source("SR", str(source), streaming=streaming))]
            files = [fetch(row["image"], "p") for row in open_source(Source("SR", str(folder), streaming=streaming))]
            assert [one for _, one in rows] == [one for _, one in files] and len(rows) == PHOTOS + 1


def test_pairs_are_cropped_at_the_same_place(pairs):
    given = [Source(task.name, str(pairs), "pairs", **PATTERNS) for task in TASKS]
    sharp = [read_photo(path) for path in sorted(pairs.glob("**/sharp/*.png"))]
    mirrored = set()
    for batch in stream(given, STAGE, 0):
        for x, y in zip(batch["x"], batch["y"], strict=True):
            assert np.abs(y - x / 2).max() < 1.01 / 255
            found = [turn for photo in sharp for turn in (1, -1) if lies_in(photo, x[:, ::turn])]
            assert len(found) == 1
            mirrored.update(found)
    assert mirrored == {1, -1}


def lies_in(photo, crop):
    """Whether a crop is somewhere in a photo."""
    h, w = crop.shape[:2]
    places = ((t, s) for t in range(photo.shape[0] - h + 1) for s in range(photo.shape[1] - w + 1))
    return any(
        np.array_equal(photo[t, s], crop[0, 0]) and np.array_equal(photo[t : t + h, s : s + w], crop) for t, s in places
    )


def test_photos_are_flawed_on_the_fly(folder, monkeypatch):
    sharp = [read_photo(path) for path in sorted(folder.glob("?.png"))]
    batch = next(stream([Source(task.name, str(folder)) for task in TASKS], STAGE, 0))
    for x, y in zip(batch["x"], batch["y"], strict=True):
        assert sum(lies_in(photo, crop) for photo in sharp for crop in (x, x[:, ::-1])) == 1
        assert np.abs(y - x).mean() > 0.01
    asked, settings = [], SETTINGS["real-esrgan"]
    monkeypatch.setattr(stream_module, "degrade", lambda task, x, rng, severity, own: asked.append(own) or (x, None))
    batch = next(stream([Source(task.name, str(folder)) for task in TASKS], STAGE, 0, settings=settings))
    assert np.array_equal(batch["y"], batch["x"]) and asked and all(own is settings for own in asked)


def test_settings_of_the_flaws(folder, pairs):
    """Those of Real-ESRGAN change low resolution alone; pairs are as they are."""
    given, stage = mixed(folder, pairs), Stage(32, 8, 2)
    usual, named, other = (
        list(stream(given, stage, 0, **words)) for words in ({}, *({"settings": s} for s in SETTINGS.values()))
    )
    assert all(map(same, usual, named))
    changed, tasks = [], []
    for one, two in zip(usual, other, strict=True):
        assert np.array_equal(one["x"], two["x"]) and np.array_equal(one["task"], two["task"])
        changed += list((one["y"] != two["y"]).any((1, 2, 3)))
        tasks += [TASKS[task].name for task in one["task"]]
    assert {"SR", "MD"} <= set(tasks) and changed == [task == "SR" for task in tasks]


def test_held_out_photos_are_refused(tmp_path, folder, pairs):
    shutil.copy(held_out_paths()["coffee"], tmp_path / "mine.png")
    with pytest.raises(PhotoError, match="mine.png is the held-out photo coffee"):
        open_source(Source("SR", str(tmp_path)))
    datasets.Dataset.from_dict({"image": [(tmp_path / "mine.png").read_bytes()]}).to_parquet(
        str(tmp_path / "a.parquet")
    )
    for streaming in (False, True):
        source = Source("SR", str(tmp_path / "a.parquet"), streaming=streaming)
        with pytest.raises(PhotoError, match="a.parquet: .* is the held-out photo coffee"):
            list(stream([source, *mixed(folder, pairs)[1:]], STAGE, 0))


@pytest.mark.parametrize("streaming", [False, True])
def test_photos_that_cannot_be_read(tmp_path, folder, pairs, streaming):
    def run():
        list(stream([Source("SR", str(tmp_path), streaming=streaming), *mixed(folder, pairs)[1:]], STAGE, 0))

    (tmp_path / "odd.png").write_bytes(b"these are no pixels")
    with pytest.raises(PhotoError, match="odd.png: cannot be read as a photo"):
        run()
    (tmp_path / "odd.png").write_bytes((folder / "0.png").read_bytes()[:4000])
    with pytest.raises(PhotoError, match="odd.png: damaged or cut short"):
        run()
    shutil.copy(folder / "small.png", tmp_path / "odd.png")
    with pytest.raises(PhotoError, match=str(tmp_path)):
        run()
    with pytest.raises(PhotoError, match="gone.png: cannot be read"):
        fetch({"path": str(tmp_path / "gone.png"), "bytes": None}, "here")
    with pytest.raises(PhotoError, match="here: a photo without a name"):
        decode(*fetch({"path": None, "bytes": b"?"}, "here"))


def test_photos_at_8_bits(tmp_path, monkeypatch):
    """What a file holds, as its maker knows it; a plain photo never becomes floats."""
    rgb, held = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8), {}
    for suffix in ("png", "bmp", "tif"):
        held[f"plain.{suffix}"] = rgb
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    grey = np.array([[0, 65535, 257 * 100 + 128, 257 * 100 + 129]], np.uint16)
    clear = np.dstack([rgb, np.repeat([[0], [255]], 6, 0) * np.ones((1, 20))]).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    Image.fromarray(clear).save(tmp_path / "clear.png")
    for name, array in held.items():
        Image.fromarray(array).save(tmp_path / name)
    held["turned.png"] = np.rot90(rgb, -1)
    with monkeypatch.context() as patch:
        patch.setattr("unires.photo.as_photo", None)
        assert all(np.array_equal(decode(name, (tmp_path / name).read_bytes()), a) for name, a in held.items())
    assert decode("deep", (tmp_path / "deep.png").read_bytes())[0, :, 1].tolist() == [0, 255, 100, 101]
    on_white = decode("clear", (tmp_path / "clear.png").read_bytes())
    assert (on_white[:6] == 255).all() and np.array_equal(on_white[6:], rgb[6:])


def test_sources_that_cannot_be_used(tmp_path, folder, pairs, parquet, monkeypatch):
    for words in (("Rain", "x"), ("SR", "x", "films")):
        with pytest.raises(ValueError, match="task is one of SR, MD, DD, DN, kind photos or pairs"):
            Source(*words)
    with pytest.raises(ValueError, match="no source for DD, DN"):
        plan([Source("SR", "x"), Source("MD", "x")], 4, 0, 0)
    with pytest.raises(PhotoError, match=f"{tmp_path}: holds no photo"):
        open_source(Source("SR", str(tmp_path)))
    with pytest.raises(PhotoError, match="no column photo; it has image"):
        open_source(Source("SR", str(parquet), sharp="photo"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(PhotoError, match="bad.parquet: damaged"):
        open_source(Source("SR", str(tmp_path / "bad.parquet")))
    with pytest.raises(PhotoError, match="/no/such/folder: no such folder or file here"):
        open_source(Source("SR", "/no/such/folder"))
    lone = shutil.copytree(pairs, tmp_path / "lone")
    (lone / "scene1" / "blur" / "000001.png").unlink()
    with pytest.raises(PhotoError, match="lone: 3 sharp photos, but 2 flawed"):
        open_source(Source("MD", str(lone), "pairs", **PATTERNS))
    write_photo(lone / "scene1" / "blur" / "000001.png", noisy(41, 50))
    with pytest.raises(PhotoError, match="scene1/.*are a pair, but differ in size"):
        list(stream([Source(task.name, str(lone), "pairs", **PATTERNS) for task in TASKS], STAGE, 0))
    for words, told in (({}, "sharp and flawed"), ({"sharp": "**/sharp/*"}, "pattern flawed")):
        with pytest.raises(ValueError, match=f"{pairs}: pairs without a .*{told}"):
            open_source(Source("MD", str(pairs), "pairs", **words))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="unires\\[paper\\]"):
        open_source(Source("SR", str(folder)))


def test_a_folder_that_serves_four_tasks_is_opened_once(folder, monkeypatch):
    opened, real = [], sources.open_source
    monkeypatch.setattr("unires.stream.open_source", lambda source: opened.append(source) or real(source))
    next(stream([Source(task.name, str(folder)) for task in TASKS], STAGE, 0))
    assert len(opened) == 1


def test_sources_are_read_from_a_file(folder, pairs, tmp_path):
    path, given = tmp_path / "sources.json", mixed(folder, pairs, streaming=True)
    path.write_text(json.dumps([asdict(source) for source in given]))
    assert read_sources(path) == given
    path.write_text('[{"task": "SR", "path": "x"}]')
    assert read_sources(path) == [Source("SR", "x")]
    wrong = {"": "Expecting", "[]": "no source", '[{"task": "SR"}]': "path", '[{"task": "Rain", "path": "x"}]': "Rain"}
    wrong |= {'[{"task": "SR", "path": "x", "wait": 3}]': "wait", '{"task": "SR"}': "array", "3": "array"}
    for text, told in wrong.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=f"sources.json.*{told}"):
            read_sources(path)


def test_several_patterns_and_some_parquet_files(folder, parquet, tmp_path):
    two = Source("SR", str(folder), sharp="0.png|[01].png|5.png")
    assert [Path(row["image"]["path"]).name for row in open_source(two)] == ["0.png", "1.png", "5.png"]
    shutil.copy(parquet, tmp_path / "train-0.parquet")
    shutil.copy(parquet, tmp_path / "train-1.parquet")
    shutil.copy(parquet, tmp_path / "test-0.parquet")
    for streaming in (False, True):
        rows = list(open_source(Source("SR", str(tmp_path / "train*.parquet"), streaming=streaming)))
        assert len(rows) == 2 * (PHOTOS + 1)
    with pytest.raises(PhotoError, match="vain"):
        open_source(Source("SR", str(tmp_path / "vain*.parquet")))
