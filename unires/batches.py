"""Batches of a folder's photos, made ahead of training: in a thread, or in processes of their own."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context, parent_process
from threading import Thread

import numpy as np

from unires.config import Stage, TrainConfig
from unires.data import Photos

Batch = dict[str, np.ndarray]


def stage_at(config: TrainConfig, step: int) -> Stage:
    """Which stage a training step belongs to.

    Raises: ValueError after the last step.
    Test: test_data.py::test_stage_at
    """
    for stage in config.stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    raise ValueError("step lies after the last stage")


def batches(
    make: Callable[..., Batch],
    photos: Photos,
    config: TrainConfig,
    seed: int,
    start: int,
    ahead: int = 4,
    process: int = 0,
    processes: int = 1,
    workers: int = 1,
) -> Iterator[Batch]:
    """This process's rows of the batches from step `start` to the end, made in the background a few steps ahead.

    A batch is drawn by one generator, so each process draws all of it and keeps its rows. (`stream` makes no more than
    its share.) With several `workers` each batch is made by one of so many helping processes, which hold a copy of the
    photos each: most of the work is Python's, and threads would wait for each other. The batches stay the same.
    Raises: ValueError if a batch can't be split evenly.
    Test: test_data.py::test_batches_are_a_function_of_seed_and_step, test_helping_processes_change_nothing,
          test_helping_processes_end_with_a_training_that_was_killed,
          test_mesh.py::test_processes_share_a_folder
    """
    for stage in config.stages:
        if not 0 <= process < processes or stage.batch % processes:
            raise ValueError(f"process {process} of {processes}: a batch of {stage.batch} can't be split evenly")
    share = partial(_share, make, photos, config, seed, process, processes)
    pool, job = _pool(share, workers)
    steps, queue = iter(range(start, config.steps)), []
    try:
        for _ in range(start, config.steps):
            while len(queue) <= max(ahead, 2 * workers) and (coming := next(steps, None)) is not None:
                queue.append(pool.submit(job, coming))
            yield queue.pop(0).result()
    finally:
        pool.shutdown(cancel_futures=True)


def _share(make, photos: Photos, config: TrainConfig, seed: int, process: int, processes: int, step: int) -> Batch:
    batch = make(photos, stage_at(config, step), seed, step)
    return {name: np.split(rows, processes)[process] for name, rows in batch.items()}


def _pool(share: Callable[[int], Batch], workers: int) -> tuple[Executor, Callable[[int], Batch]]:
    """Who makes batches, and what they are to be asked. Helping processes get `share`, and its photos, once."""
    if workers == 1:
        return ThreadPoolExecutor(1), share
    return ProcessPoolExecutor(workers, get_context("spawn"), _keep, (share,)), _kept


def _keep(share: Callable[[int], Batch]) -> None:
    """The start of a helping process. It doesn't outlive the training, not even one that was killed."""
    global _held
    _held = share
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def _kept(step: int) -> Batch:
    return _held(step)
