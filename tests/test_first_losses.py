"""The check that training begins as it did: it stops in time, and it names the step that differs."""

import json
import sys

import pytest

from benchmarks import first_losses
from benchmarks.first_losses import allowed, apart, losses, main, run_until
from unires.record import instructions

TRAINING = """
import json, sys, time
for step in range(int(sys.argv[2])):
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps({"step": step, "loss": 1 / (step + 1)}) + chr(10))
    time.sleep(0.05)
"""


def test_the_worst_step_is_named():
    difference, step = apart([1.0, 2.0, 4.0, 8.0], [1.0, 2.002, 4.1])
    assert step == 2 and difference == pytest.approx(0.025)
    assert apart([2.0, 4.0, 4.0], [2.0, 3.0, 4.4]) == (0.25, 1)  # a lower loss is as far apart as a higher one


@pytest.mark.parametrize("again", [[], [1.0, 2.0, 3.0]])
def test_nothing_to_compare_is_refused(again):
    with pytest.raises(ValueError, match=f"{len(again)} losses"):
        apart([1.0, 2.0], again)


def test_a_run_is_stopped_at_its_step(tmp_path):
    log = tmp_path / "loss.jsonl"
    run_until([sys.executable, "-c", TRAINING, str(log), "100000"], log, 3)
    found = losses(log)
    assert 3 <= len(found) < 1000 and found[:3] == pytest.approx([1, 1 / 2, 1 / 3])


def test_a_run_that_ends_early_is_an_error(tmp_path):
    log = tmp_path / "loss.jsonl"
    with pytest.raises(RuntimeError, match="after 2 steps"):
        run_until([sys.executable, "-c", TRAINING, str(log), "2"], log, 3)


def test_a_half_written_line_is_left_out(tmp_path):
    log = tmp_path / "loss.jsonl"
    log.write_text(json.dumps({"loss": 0.5}) + "\n" + '{"loss": 0.')
    assert losses(log) == [0.5]


def test_another_device_is_allowed_more(tmp_path, monkeypatch):
    monkeypatch.setattr(first_losses, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(first_losses, "CURVES", tmp_path)
    story = tmp_path / "demo.json"
    same, other = first_losses.SAME, first_losses.OTHER
    for device, instructed, limit in (
        ("cpu (cpu)", instructions(), same),
        ("cpu (cpu)", "another", other),
        ("gpu (NVIDIA)", instructions(), other),
    ):
        story.write_text(json.dumps({"device": device, "instructions": instructed}))
        assert allowed("demo") == limit
    story.write_text("{}")  # trained before stories told it
    assert allowed("demo") == allowed("demo_base") == first_losses.OTHER


def test_an_earlier_run_is_not_compared(tmp_path, monkeypatch, capsys):
    """What an earlier run left is removed, and a profile without committed curves starts no training."""
    shipped, run = tmp_path / "curves", tmp_path / "run"
    left = run / "demo_base" / "ldm" / "loss.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text(json.dumps({"loss": 1.0}) + "\n")
    shipped.mkdir()
    for part in ("vae", "ldm"):
        (shipped / f"demo_base_{part}_loss.jsonl").write_text(json.dumps({"loss": 1.0}) + "\n")

    commands = []

    def train(command, log, steps):
        commands.append(command)
        assert not log.exists()
        for part in ("vae", "ldm"):
            (log.parents[1] / part).mkdir(parents=True)
            (log.parents[1] / part / "loss.jsonl").write_text(json.dumps({"loss": 1.5}) + "\n")

    monkeypatch.setattr(first_losses, "CURVES", shipped)
    monkeypatch.setattr(first_losses, "RUN", run)
    monkeypatch.setattr(first_losses, "run_until", train)
    assert main(["--photos", "nowhere", "--steps", "1"]) == 1
    assert "5.0e-01 at step 0" in capsys.readouterr().out
    assert main(["--photos", "nowhere", "--steps", "1", "--workers", "3"]) == 1
    assert commands[1] == [*commands[0], "--workers", "3"]
    assert main(["--photos", "nowhere", "--profile", "demo_sr_only_base"]) == 2
    assert "no committed losses of vae, ldm" in capsys.readouterr().err
    assert main(["--photos", "nowhere", "--profile", "demo_sr_only"]) == 2  # fine-tuned: it trains no autoencoder
    assert "no committed losses of ldm" in capsys.readouterr().err
