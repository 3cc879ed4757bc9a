"""Short trainings: each trial is a change of one base, and what a row tells."""

import dataclasses
import json

import pytest

from benchmarks import autoencoder_trials
from benchmarks.training_trials import BASE, TRIALS, by_steps, costs, operations, read, told
from unires.config import Stage
from unires.profiles import DEMO, SMOKE
from unires.tasks import NAMES, TASKS

PARTS = ("unet", "train", "schedule", "sample")  # of the config, that a trial may change and a row tells


def test_every_trial_changes_the_base_alone():
    for name, change in TRIALS.items():
        config = change(BASE)
        assert (config == BASE) == (name in ("base", "another seed"))
        assert config.vae == BASE.vae and config.evaluation == BASE.evaluation
        assert dataclasses.replace(config, **{part: getattr(BASE, part) for part in PARTS}) == BASE


def test_what_a_trial_tells():
    values = {name: {"psnr": 20.0, "lpips": 0.4} for name in NAMES[:5]} | {"LQ": {"psnr": 19.0, "lpips": 0.5}}
    found = {task.name: {**values, task.name: {"psnr": 22.0, "lpips": 0.2}} for task in TASKS}
    row = {"trial": "base", "validation": found, "parameters": 3, "operations": 9e12}
    row["train"] = {"stages": [{"steps": 5}, {"steps": 7}]}
    lines = told([row])
    assert [line["task"] for line in lines] == [task.name for task in TASKS]
    for line in lines:
        assert line["LPIPS, own over LQ"] == pytest.approx(0.4) and line["worst over own"] == pytest.approx(2)
        assert line["PSNR gain (dB)"] == pytest.approx(3)
    assert costs([row]) == [{"trial": "base", "parameters": 3, "steps": 12, "tera-operations": 9.0}]


def test_no_trials_yet_is_an_empty_list(tmp_path):
    assert read(tmp_path / "trials.jsonl") == []


def test_the_matching_expert_by_steps():
    tasks = [task.name for task in TASKS]
    values = {expert: {"psnr": float(n), "lpips": n / 100} for n, expert in enumerate(("LQ", "BR", *tasks))}
    rows = [{"steps": steps, "validation": dict.fromkeys(tasks, values)} for steps in (1, 3)]
    lines = by_steps(rows)
    assert [(line["steps"], line["task"]) for line in lines] == [(s, task) for s in (1, 3) for task in tasks]
    assert [line["psnr"] for line in lines[:4]] == [2, 3, 4, 5] and lines[3]["lpips"] == 0.05


def test_operations_grow_with_steps_and_width():
    def train(steps, **fields):
        stages = (Stage(32, 2, steps),)
        return dataclasses.replace(SMOKE, **fields, train=dataclasses.replace(SMOKE.train, stages=stages))

    base = operations(train(10))
    assert operations(train(20)) == pytest.approx(2 * base)
    wide = dataclasses.replace(SMOKE.unet, channels=(32, 32))
    assert 1.5 * base < operations(train(10, unet=wide)) < 4 * base


def test_committed_rows_are_of_todays_trials():
    """Each row is a trial that is still there; its settings and its count of operations are those of today's code."""
    rows = {row["trial"]: row for row in read()}
    assert rows.keys() == TRIALS.keys()
    for name, row in rows.items():
        config = json.loads(json.dumps(dataclasses.asdict(TRIALS[name](BASE))))
        later = {"train": {"decay_steps": 0, "unrolled": False}}  # settings that came after the rows, at their default
        assert {part: later.get(part, {}) | row[part] for part in PARTS}.items() <= config.items()
    assert rows["base"]["operations"] == operations(BASE)


def test_autoencoder_rows_are_of_todays_candidates():
    rows = [json.loads(line) for line in autoencoder_trials.OUT.read_text().splitlines()]
    assert [row["candidate"] for row in rows] == list(autoencoder_trials.CANDIDATES)
    for row in rows:
        config = autoencoder_trials.candidate(row["candidate"])
        network = {"factor": config.vae.factor, "channels": config.vae.latent_channels, "patch": config.vae.patch}
        about = network | {"steps": config.train_vae.steps, "loss": dataclasses.asdict(config.vae_loss)}
        assert {name: row[name] for name in about} == about
    assert len({(json.dumps(row["loss"]), row["factor"], row["channels"], row["patch"]) for row in rows}) == len(rows)
    assert autoencoder_trials.candidate(autoencoder_trials.SHIPPED).vae == DEMO.vae
