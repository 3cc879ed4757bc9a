"""The check runs notebooks and notices what changed in the committed rows."""

import json
import tomllib
from pathlib import Path

import pytest
from test_runner import folder_with

from benchmarks import check, compare, run
from unires import record

DEVICE = {"platform": "cpu", "cores": 2}
FACTS = {"profile": "smoke", "seed": 0, "device": DEVICE, "versions": {"jax": "1"}, "config": {}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A run that writes one row, of the value in value.txt, in place of the notebooks."""

    def ran(words, **about):
        folder, value = Path(words[words.index("--out") + 1]), float((tmp_path / "value.txt").read_text())
        record.write_rows(folder, "10_first", [record.row("SR", "a", "LQ", "psnr", value, seconds=1.0)])
        record.write_run(folder, **FACTS, finished=True, notebooks={"10_first": {"status": "ok"}}, seconds=9.0)
        return 0

    monkeypatch.setattr(run, "main", ran)
    folder_with(tmp_path / "notebooks", **{"10_first": "", "30_lesson": ""})
    (tmp_path / "value.txt").write_text("20")
    return tmp_path


def test_a_change_is_named(project, capsys):
    def verdict(*words):
        status = check.main(["--profile", "smoke", *words], notebooks=project / "notebooks", root=project)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    status, printed = verdict()
    assert status == 2 and "benchmarks/smoke" in printed  # nothing is committed
    assert verdict("--update")[0] == 0
    (row,) = record.read_rows(project / "benchmarks" / "smoke")
    assert (row["value"], row["seconds"]) == (20, None)
    story = json.loads((project / "benchmarks" / "smoke" / "run.json").read_text())
    assert story["device"] == DEVICE and "seconds" not in story
    assert verdict()[0] == 0
    (project / "value.txt").write_text("20.5")
    status, printed = verdict("--only", "10_first")
    assert status == 1 and "10_first / SR / a / LQ / psnr: 20 -> 20.5 (+0.5, allowed 0.01)" in printed


def test_a_notebook_without_rows_is_no_failure(project, monkeypatch, capsys):
    """Unless its rows are committed."""
    words = ["--profile", "smoke"]
    assert check.main([*words, "--update"], notebooks=project / "notebooks", root=project) == 0

    def silent(name):
        def ran(words, **about):
            folder = Path(words[words.index("--out") + 1])
            record.write_run(folder, **FACTS, finished=True, notebooks={name: {"status": "ok"}})
            return 0

        monkeypatch.setattr(run, "main", ran)
        return check.main([*words, "--only", name], notebooks=project / "notebooks", root=project)

    assert silent("30_lesson") == 0 and "these notebooks write none" in capsys.readouterr().out
    assert silent("10_first") == 1 and "10_first / SR / a / LQ / psnr" in capsys.readouterr().out


def test_a_whole_check_counts_every_row(project, monkeypatch, capsys):
    """Also those of a notebook that is gone, and of one that nobody knows."""
    words = ["--profile", "smoke"]
    assert check.main([*words, "--update"], notebooks=project / "notebooks", root=project) == 0

    def ran(words, **about):
        folder = Path(words[words.index("--out") + 1])
        record.write_rows(folder, "11_typo", [record.row("SR", "a", "LQ", "psnr", 20.0)])
        record.write_run(folder, **FACTS, finished=True, notebooks={"30_lesson": {"status": "ok"}})
        return 0

    monkeypatch.setattr(run, "main", ran)
    assert check.main(words, notebooks=project / "notebooks", root=project) == 1
    printed = capsys.readouterr().out
    assert "10_first / SR / a / LQ / psnr: missing, was 20" in printed
    assert "11_typo / SR / a / LQ / psnr: new, is 20" in printed


def test_a_misspelt_name_costs_nothing(project, capsys):
    kept = project / "results" / "runs" / "check-smoke" / "kept.txt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    words = ["--profile", "smoke", "--only", "10_frist"]
    assert check.main(words, notebooks=project / "notebooks", root=project) == 2 and kept.exists()
    assert "choose from 10_first" in capsys.readouterr().err


def test_an_update_that_finds_no_rows_keeps_the_old_ones(project, monkeypatch):
    words = ["--profile", "smoke", "--update"]
    assert check.main(words, notebooks=project / "notebooks", root=project) == 0
    monkeypatch.setattr(run, "main", lambda words, **about: 0)
    assert check.main(words, notebooks=project / "notebooks", root=project) == 2
    assert len(record.read_rows(project / "benchmarks" / "smoke")) == 1


def test_an_update_without_a_gate_fails(project, monkeypatch, capsys):
    written = record.write_rows

    def rename(folder, source, rows):
        written(folder, source, [{**row, "metric": "new"} for row in rows])

    monkeypatch.setattr(record, "write_rows", rename)
    words = ["--profile", "smoke", "--update"]
    assert check.main(words, notebooks=project / "notebooks", root=project) == 1
    assert "no gate for metric 'new'" in capsys.readouterr().out


def test_every_committed_metric_has_a_gate():
    gates = tomllib.loads(compare.GATES.read_text())
    for profile in ("smoke", "demo"):
        rows = record.read_rows(run.ROOT / check.GOLDENS.get(profile, Path("results", profile)))
        measured = {row["metric"] for row in rows if row["status"] == "ok"}
        assert "psnr" in measured and measured <= gates[profile].keys()


def test_other_results_are_not_updated_here(project, capsys):
    for words in (["--profile", "demo", "--update"], ["--profile", "smoke", "--update", "--only", "10_first"]):
        assert check.main(words, notebooks=project / "notebooks", root=project) == 2
        assert "--publish" in capsys.readouterr().err


def test_a_failing_notebook_fails_the_check(tmp_path, capsys, monkeypatch):
    """Here the real runner."""
    monkeypatch.setenv("PYTHONPATH", str(run.ROOT))  # the kernels start elsewhere
    monkeypatch.setattr(run, "_provenance", lambda profile, seed: FACTS)
    folder_with(tmp_path / "notebooks", **{"10_first": "1 / 0"})
    assert check.main(["--profile", "smoke"], notebooks=tmp_path / "notebooks", root=tmp_path) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
