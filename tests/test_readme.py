"""The README's numbers are those of the committed run, and nothing else in it is generated."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from linear import LinearRestorer

import unires
from benchmarks import readme
from unires import record
from unires.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
README = """# Title

<!-- table: ours-and-paper -->
old
<!-- end -->
by hand
<!-- table: minutes -->
<!-- end -->
<!-- table: model -->
<!-- end -->
"""
NOTEBOOK = """# %% [markdown]
# # {0}
#
# **Question.** What does
# {0} ask?
#
# **In:** nothing.
"""
VALUES = {"a": 20.25, "b": 23.5}  # their mean is 21.875


def write_results(folder: Path) -> Path:
    """A run with two photos, one method, one metric, and rows that must not count."""

    def made(image, value, set_="complex", metric="psnr", variant=METRICS["psnr"].variant):
        return record.row(set_, image, "MD=1", metric, value, variant=variant, weights={"MD": 1.0})

    rows = [made(image, value) for image, value in VALUES.items()]
    rows.append(made("a", 99.0, set_="MD"))  # another set
    rows.append(made("a", 99.0, variant="on luma"))  # another variant
    rows.append(record.not_run("complex", "a", "MD=1", "niqe", "too small", variant=METRICS["niqe"].variant))
    record.write_rows(folder, "40_one_expert", rows)
    failed = {"status": "failed", "seconds": 3.0}
    notebooks = {"40_one_expert": {"status": "ok", "seconds": 126.0}, "50_x": failed}
    device = {"kind": "cpu", "cores": 2}
    record.write_run(folder, notebooks=notebooks, device=device, versions={"jax": "0.0.1"})
    return folder


def write_notebooks(folder: Path) -> Path:
    for name in ("40_one_expert", "50_x"):
        (folder / f"{name}.py").write_text(NOTEBOOK.format(name))
    return folder


def line(text: str, start: str) -> list[str]:
    """The cells of the one table line that begins so."""
    (found,) = [one for one in text.splitlines() if one.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_means_are_those_of_the_rows(tmp_path):
    rows = record.read_rows(write_results(tmp_path))
    (ours,) = [one for one in readme.ours_and_paper(rows) if one["setting"] == "MD=1"]
    assert (ours["n"], ours["psnr"]) == (2, sum(VALUES.values()) / 2)
    assert ours["niqe"] == ours["lpips"] == ours["musiq"] == "not run"
    cells = line(readme.table_text(rows), "MD=1")
    assert cells == ["MD=1", "2", "21.88", *["not run"] * 4, "52.71", "0.4467", "0.3196"]


def test_the_papers_numbers_are_those_printed():
    """MUSIQ of Tables 4 and 5, typed here once more; SR=1 stands twice in Table 4, with other training."""
    told = {one["setting"]: one["paper musiq"] for one in readme.ours_and_paper([])}
    single = {"BR=1": "53.49", "SR=1": "53.54", "MD=1": "52.71", "DD=1": "52.61", "DN=1": "39.21"}
    single["DownLQ=1"] = "61.38"
    assert {name: told[name] for name in single} == single
    assert told["DN=-0.2 DownLQ=1.2"] == "66.44"
    assert [musiq for name, musiq in told.items() if name.startswith("search")] == ["68.02", "68.22"]
    assert told["LQ (the flawed photo itself)"] == told["MD=0.6 DN=-0.2 DownLQ=0.6"] == ""


def test_a_line_that_the_paper_lacks_is_refused():
    with pytest.raises(ValueError, match="unires_table4.csv has 0 lines with setting 'XY=1'"):
        readme.printed(("unires_table4.csv", "setting", "XY=1"))


def test_minutes_are_those_of_the_run(tmp_path):
    run = record.read_run(write_results(tmp_path))
    text = readme.minutes_text(run, write_notebooks(tmp_path))
    link = "[40_one_expert](results/demo/notebooks/40_one_expert.ipynb)"
    assert line(text, "[40_one_expert]") == [link, "What does 40_one_expert ask?", "2.1"]
    assert line(text, "[50_x]") == ["[50_x](notebooks/50_x.ipynb)", "What does 50_x ask?", "not run"]
    assert line(text, "all")[-1] == "2.1" and "2 cores, JAX 0.0.1" in text


def test_notebooks_on_request_are_told_apart(tmp_path):
    run = record.read_run(write_results(tmp_path))
    own = {"notebooks": {"50_x": {"status": "ok", "seconds": 600.0}}}
    text = readme.minutes_text(run, write_notebooks(tmp_path), requested={"50_x": own})
    link = "[50_x](results/demo/50_x/notebooks/50_x.ipynb)"
    assert line(text, "[50_x]") == [link, "What does 50_x ask?", "10.0, on request"]
    assert line(text, "all")[-1] == "2.1"


def test_each_model_tells_its_own_story(tmp_path):
    curves = tmp_path / "curves"
    curves.mkdir()
    assert "not run" in readme.model_text(tmp_path, curves)
    outcome = {"steps": 12, "seconds": 630}
    story = {"parameters": 1_250_000, "photos": {"count": 7, "manifest": "ab" * 32}, "device": "toy"}
    story |= {"outcome_vae": outcome, "outcome_ldm": outcome | {"steps": 34}, "sha256": "cd" * 32}
    stages = {"stages": [{"steps": 30, "batch": 16, "crop": 64}, {"steps": 4, "batch": 4, "crop": 128}]}
    story |= {"train_vae": stages, "train_ldm": stages | {"tasks": ["SR", "DN"]}}
    (tmp_path / "demo.json").write_text(json.dumps(story))
    (curves / "demo_base.json").write_text(json.dumps(story))
    tuned = {name: fact for name, fact in story.items() if name != "outcome_vae"} | {"start": {"sha256": "ef" * 32}}
    (tmp_path / "demo_sr_only.json").write_text(json.dumps(tuned | {"train_ldm": stages | {"tasks": ["SR"]}}))
    text = readme.model_text(tmp_path, curves)
    assert text.splitlines()[0] == "|  | `demo` | `demo_sr_only` | `demo_base` (not shipped) |"
    assert line(text, "trained on")[1] == "7 photos" and line(text, "parameters")[1] == "1.2 million"
    assert line(text, "diffusion model")[1:] == ["34 steps, 496 crops, 10 minutes"] * 3  # 10.5 rounds to even
    assert line(text, "autoencoder")[1:] == [
        "12 steps, 496 crops, 10 minutes",
        "as it was",
        "12 steps, 496 crops, 10 minutes",
    ]
    assert line(text, "starts from")[1:] == ["random weights", "`efefefefefefefef`", "random weights"]
    assert line(text, "tasks") == ["tasks", "SR, DN", "SR", "SR, DN"]


def test_only_what_is_between_markers_changes():
    text = readme.fill(README, {"ours-and-paper": r"new \1", "minutes": "soon", "model": "small"})
    wanted = README.replace("old", r"new \1").replace("minutes -->\n", "minutes -->\nsoon\n")
    assert text == wanted.replace("model -->\n", "model -->\nsmall\n")
    with pytest.raises(ValueError, match="markers are for"):
        readme.fill(README, {"ours-and-paper": ""})
    with pytest.raises(ValueError, match="no <!-- end -->"):
        readme.fill("<!-- table: minutes -->\n", {"minutes": ""})


def test_check_finds_a_number_changed_by_hand(tmp_path, capsys):
    path = tmp_path / "README.md"
    path.write_text(README)
    words = ["--readme", str(path), "--results", str(write_results(tmp_path / "demo"))]
    assert readme.main([*words, "--check"]) == 1 and "differs" in capsys.readouterr().err
    assert path.read_text() == README, "--check writes nothing"
    assert readme.main(words) == 0 and readme.main([*words, "--check"]) == 0
    assert "by hand\n" in path.read_text()
    path.write_text(path.read_text().replace("21.88", "31.88"))
    assert readme.main([*words, "--check"]) == 1


def test_the_results_must_be_readable(tmp_path, capsys):
    (tmp_path / "README.md").write_text("no markers")
    assert readme.main(["--readme", str(tmp_path / "README.md"), "--results", str(tmp_path)]) == 2
    assert "markers" in capsys.readouterr().err


@pytest.mark.skipif(not (ROOT / "results" / "demo").exists(), reason="no demo run is published")
def test_the_committed_readme_is_up_to_date():
    assert readme.main(["--check"]) == 0


def test_the_readme_names_what_exists():
    """Every file and folder that the README links to or shows in its tree of rooms."""
    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    made = [name for name in links if name.startswith("results/demo")]  # published with the demo run
    pairs = {name for name in links if name.endswith(".ipynb")}  # a notebook's pair is written from its .py
    wanted = [name for name in links if name not in made and name not in pairs]
    assert wanted and not [name for name in wanted if not (ROOT / name).exists()]
    if (ROOT / "results" / "demo").exists():
        assert not [name for name in made if not (ROOT / name).exists()]
    tree = text.split("```\nREADME.md")[1].split("```")[0]
    rooms = re.findall(r"^(\S+)/ ", tree, re.MULTILINE)
    assert rooms and not [room for room in rooms if not (ROOT / room).is_dir()]


def test_the_readmes_python_runs(monkeypatch):
    """As printed, but for the model: a line in its place."""
    restorer, y = LinearRestorer(slopes=np.linspace(0.05, 0.3, 6)), np.random.default_rng(1).random((96, 96, 3))
    monkeypatch.setattr(unires, "load", lambda: restorer)
    monkeypatch.setattr(unires, "restore", lambda photo, weights: restorer(photo, weights))
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    known = {"photo": (255 * y).astype(np.uint8)}
    exec(code, known)
    assert known["x_hat"].shape == y.shape and known["found"].weights.sum() == pytest.approx(1)
