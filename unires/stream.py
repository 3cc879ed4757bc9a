"""Training batches at the paper's scale, drawn from `sources`, shared among processes, resumed exactly.

Task, source, crop and flaw of an item hang on (seed, step, item) alone; each process makes its share of the items, in
threads: Pillow's decoders, NumPy and SciPy leave the interpreter free while they work on an item.
- Map-style sources (the default): a batch is a pure function of (seed, step). The shares of all processes, put
  together, are the batch that one process alone would make. Resuming at any step costs nothing. Photos are drawn
  with replacement.
- Streaming sources: a batch is a pure function of (seed, step, process, processes, buffer) and of the library's
  version. Photos come in the library's shuffled order, split over the processes anew in each pass: in a pass no
  photo comes twice. Resuming is exact but not free: the photos of all earlier steps are read again, undecoded. The
  library's saved states would be quick, but lose the shuffle buffer, so they are not used.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import count, islice

import numpy as np
from jaxtyping import Int

from unires.config import Stage, TrainConfig
from unires.data import MARGIN, Photos, draw_crop, draw_severity, draw_tasks
from unires.degrade import SETTINGS, Settings, degrade
from unires.photo import PhotoError
from unires.shapes import Photo
from unires.sources import NAMES, Source, decode, fetch, open_source, smallest_side

TRIES = 1000  # photos drawn that may all be too small before we give up

Row = list[tuple[str, bytes]]  # name and bytes: one photo, or sharp and flawed


def plan(
    sources: Sequence[Source], batch: int, seed: int, step: int, taught: Sequence[str] = NAMES
) -> tuple[Int[np.ndarray, " b"], Int[np.ndarray, " b"]]:
    """The task (index in TASKS) and the source of each item of a batch, a pure function of (seed, step).

    Paper: the tasks' probabilities (section 3), of those that are `taught`.
    Raises: ValueError if a task that is taught has no source.
    Test: test_stream.py::test_tasks_are_drawn_with_the_papers_probabilities, test_tasks_that_are_taught
    """
    weights = np.array([[s.weight * (s.task == name) for s in sources] for name in NAMES]).reshape(len(NAMES), -1)
    lost = [name for name, row in zip(NAMES, weights, strict=True) if name in taught and not row.sum()]
    if lost:
        raise ValueError(f"no source for {', '.join(lost)}: training needs photos for each of {', '.join(taught)}")
    rng = np.random.default_rng([seed, step, 2])
    tasks = draw_tasks(batch, rng, taught)
    edges = np.cumsum(weights, 1) / np.maximum(weights.sum(1, keepdims=True), np.finfo(float).tiny)
    return tasks, (rng.random(batch)[:, None] >= edges[tasks]).sum(1)


def make_item(
    source: Source, row: Row, stage: Stage, rng: np.random.Generator, settings: Settings
) -> tuple[Photo, Photo]:
    """Sharp and flawed crop: the task's flaws on a sharp photo, or the same place of both photos of a pair.

    Shapes: both [crop crop 3].
    Raises: PhotoError if a photo is damaged, or the photos of a pair differ in size.
    Test: test_stream.py::test_pairs_are_cropped_at_the_same_place, test_photos_are_flawed_on_the_fly
    """
    arrays, crop = [decode(name, data) for name, data in row], stage.crop
    if source.kind == "photos":
        x = draw_crop(Photos((row[0][0],), tuple(arrays), ""), crop + 2 * MARGIN, rng)
        y, _ = degrade(source.task, x, rng, draw_severity(stage, rng), settings)
        return x[MARGIN:-MARGIN, MARGIN:-MARGIN], y[MARGIN:-MARGIN, MARGIN:-MARGIN]
    if arrays[0].shape != arrays[1].shape:
        raise PhotoError(f"{row[0][0]} and {row[1][0]} are a pair, but differ in size: do the patterns fit?")
    top, left = (int(rng.integers(side - crop + 1)) for side in arrays[0].shape[:2])
    turn = -1 if rng.random() < 0.5 else 1
    x, y = (a[top : top + crop, left : left + crop][:, ::turn].astype(np.float32) / 255 for a in arrays)
    return x, y


def _row(source: Source, cells: dict, crop: int) -> Row | None:
    """The photos of a row, or None if one is too small."""
    row = [fetch(cell, source.path) for cell in cells.values()]
    least = crop + (2 * MARGIN if source.kind == "photos" else 0)
    return row if min(smallest_side(*photo) for photo in row) >= least else None


def _drawn(source: Source, data, crop: int, rng: np.random.Generator) -> Row:
    """A random row of a map-style source; small photos are drawn again."""
    for _ in range(TRIES):
        row = _row(source, data[int(rng.integers(len(data)))], crop)
        if row is not None:
            return row
    raise PhotoError(f"{source.path}: {TRIES} photos drawn are all too small for crops of {crop} pixels")


def _passing(source: Source, data, crop: int, split: tuple[int, int], order: int, buffer: int) -> Iterator[Row]:
    """A process's rows of a streamed source, pass after pass, each in another order; small photos are left out."""
    from datasets.distributed import split_dataset_by_node

    data = split_dataset_by_node(data.shuffle(seed=order, buffer_size=buffer), *split)
    for epoch in count():
        data.set_epoch(epoch)
        met = False
        for row in (_row(source, cells, crop) for cells in data):
            if row is not None:
                met = True
                yield row
        if not met:
            raise PhotoError(f"{source.path}: no photo for crops of {crop} pixels in process {split[0]} of {split[1]}")


def stream(
    sources: Sequence[Source],
    stage: Stage,
    seed: int,
    start: int = 0,
    process: int = 0,
    processes: int = 1,
    *,
    buffer: int = 1000,
    workers: int | None = None,
    ahead: int = 2,
    settings: Settings = SETTINGS["stablesr"],
    taught: Sequence[str] = NAMES,
) -> Iterator[dict[str, np.ndarray]]:
    """This process's share of the batches of a stage, from step `start` to its end, as `data.pair_batch` makes them.

    `buffer` photos of a streamed source are shuffled at a time; `workers` threads (default: one a core) make items,
    `ahead` steps early. `settings` are those of the flaws that are laid on sharp photos. Sources of tasks that are not
    `taught` are not opened.
    Paper: multi-task training (section 3); crops and the mixture of a task's sources are our choice.
    Shapes: x, y [b crop crop 3] with b = stage.batch / processes; task [b] indexes TASKS.
    Raises: ValueError if the batch can't be split evenly; ImportError, PhotoError, ValueError as the sources are read.
    Test: test_stream.py::test_resuming_gives_the_unbroken_run, test_processes_share_the_batch,
          test_streaming_gives_the_same_photos, test_settings_of_the_flaws, test_tasks_that_are_taught,
          test_workers_change_nothing
    """
    if not 0 <= process < processes or stage.batch % processes:
        raise ValueError(f"process {process} of {processes}: a batch of {stage.batch} can't be split evenly")
    share = stage.batch // processes
    mine = slice(process * share, (process + 1) * share)
    sources = [source for source in sources if source.task in taught]
    places = [replace(source, task=NAMES[0], weight=1.0) for source in sources]
    opened = {place: open_source(place) for place in dict.fromkeys(places)}  # a folder that serves four tasks: once
    used = np.zeros(len(sources), int)
    for step in range(start if any(source.streaming for source in sources) else 0):
        used += np.bincount(plan(sources, stage.batch, seed, step, taught)[1][mine], minlength=len(sources))
    passing = {}
    for i, source in enumerate(sources):
        if source.streaming:
            order = int(np.random.SeedSequence([seed, i]).generate_state(1)[0])
            rows = _passing(source, opened[places[i]], stage.crop, (process, processes), order, buffer)
            passing[i] = islice(rows, int(used[i]), None)

    def make(i: int, row: Row | None, step: int, item: int) -> tuple[Photo, Photo]:
        if row is None:
            row = _drawn(sources[i], opened[places[i]], stage.crop, np.random.default_rng([seed, step, 3, item]))
        return make_item(sources[i], row, stage, np.random.default_rng([seed, step, 4, item]), settings)

    def begin(step: int) -> tuple[np.ndarray, list[Future]]:
        tasks, which = plan(sources, stage.batch, seed, step, taught)
        jobs = []
        for item in range(mine.start, mine.stop):
            i = int(which[item])
            jobs.append(pool.submit(make, i, next(passing[i]) if i in passing else None, step, item))
        return tasks[mine].astype(np.int32), jobs

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        queue = []
        for step in range(start, stage.steps):
            while len(queue) <= ahead and step + len(queue) < stage.steps:
                queue.append(begin(step + len(queue)))
            tasks, jobs = queue.pop(0)
            xs, ys = zip(*(job.result() for job in jobs), strict=True)
            yield {"x": np.stack(xs), "y": np.stack(ys), "task": tasks}


def stream_stages(
    sources: Sequence[Source],
    config: TrainConfig,
    seed: int,
    start: int = 0,
    process: int = 0,
    processes: int = 1,
    settings: Settings = SETTINGS["stablesr"],
    taught: Sequence[str] = NAMES,
    workers: int | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """This process's batches of all stages, from step `start` of the whole to the end: `stream`, stage after stage.

    Steps of a stage count from 0, and each stage has a seed of its own.
    Shapes: as `stream`.
    Test: test_stream.py::test_stages_follow_each_other, test_tasks_that_are_taught
    """
    for number, stage in enumerate(config.stages):
        if start < stage.steps:
            own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            words = {"settings": settings, "taught": taught, "workers": workers}
            yield from stream(sources, stage, own, start, process, processes, **words)
        start = max(0, start - stage.steps)
