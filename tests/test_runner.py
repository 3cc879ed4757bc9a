"""The notebooks' runner and their pairs, on tiny notebooks."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from benchmarks import pages, pair, publish, run
from unires import profiles, record

NOTEBOOK = """# %% [markdown]
# # A tiny notebook
# It writes one row.

# %% tags=["parameters"]
profile = "none"
seed = -1
run_dir = "nowhere"
steps = 3
rate: float = 0.5

# %%
{code}
"""
WRITES = """import sys
from pathlib import Path
from unires import record
record.write_rows(run_dir, "10_first", [record.row("SR", profile, "LQ", "psnr", seed)])
Path(run_dir, "tables").mkdir(exist_ok=True)
Path(run_dir, "tables", "t.csv").write_text("a,b")
print(Path(sys.executable).parent, run_dir, steps, Path.cwd())"""


def folder_with(folder, **code):
    folder.mkdir(exist_ok=True)
    for name, lines in code.items():
        (folder / f"{name}.py").write_text(NOTEBOOK.format(code=lines))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of two notebooks whose second fails at first, run, mended, run again and published."""
    root = tmp_path_factory.mktemp("project")
    notebooks = folder_with(root / "notebooks", **{"10_first": WRITES, "20_second": "1 / 0"})
    words = ["--profile", "smoke", "--seed", "7", "--out", str(root / "results" / "runs" / "r")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(run.ROOT))  # the kernels start elsewhere
        patch.setattr(run, "_provenance", lambda profile, seed: {"profile": profile, "seed": seed})
        failed = run.main(words, notebooks=notebooks, root=root)
        story = record.read_run(root / "results" / "runs" / "r")
        partial = root / "results" / "runs" / "r" / "failed" / "20_second.ipynb"
        after_failure = {"status": failed, "run": story, "partial": partial.read_text()}
        folder_with(notebooks, **{"20_second": "print(rate)"})
        words += ["--only", "20_second"]
        mended = run.main(words, notebooks=notebooks, root=root)
        publish.publish(root / "results" / "runs" / "r", root / "results")
        words[words.index("--out") + 1] = str(root / "results" / "runs" / "p")
        assert run.main([*words, "-p", "rate=2"], notebooks=notebooks, root=root) == 0
    return {"root": root, "failed": after_failure, "mended": mended}


def test_a_failing_notebook_ends_the_run(project):
    failed = project["failed"]
    assert failed["status"] == 1
    assert failed["run"]["finished"] is False
    states = {name: state["status"] for name, state in failed["run"]["notebooks"].items()}
    assert states == {"10_first": "ok", "20_second": "failed"}
    assert "ZeroDivisionError" in failed["partial"]


def test_a_mended_notebook_finishes_the_run(project):
    run_dir = project["root"] / "results" / "runs" / "r"
    story = record.read_run(run_dir)
    assert project["mended"] == 0
    assert story["finished"] is True and story["seconds"] > 0
    assert not (run_dir / "failed").exists()
    executed = nbformat.read(run_dir / "notebooks" / "20_second.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == "0.5\n"


def test_parameters_reach_the_notebook(project):
    (row,) = record.read_rows(project["root"] / "results" / "runs" / "r")
    assert (row["source"], row["image"], row["value"]) == ("10_first", "smoke", 7)
    told = nbformat.read(project["root"] / "results" / "runs" / "p" / "notebooks" / "20_second.ipynb", as_version=4)
    assert told.cells[-1].outputs[0].text == "2\n"


def test_executed_notebooks_hold_nothing_of_this_machine(project):
    root = project["root"]
    text = (root / "results" / "runs" / "r" / "notebooks" / "10_first.ipynb").read_text()
    notebook = nbformat.reads(text, as_version=4)
    assert [cell["id"] for cell in notebook.cells] == ["c0", "c1", "c2", "c3"]
    assert notebook.cells[-1].outputs[0].text == "<python>/bin results/runs/r 3 .\n"
    assert str(root) not in text and sys.prefix not in text
    assert "papermill" not in text and "iopub" not in text


def test_pages_have_an_index(project):
    html = project["root"] / "results" / "runs" / "r" / "html"
    index = (html / "index.html").read_text()
    assert re.search(r'<a href="10_first.html">A tiny notebook</a><td class="n">\d+\.\d<td>ok', index)
    assert "It writes one row." in (html / "10_first.html").read_text()


def test_a_published_run_names_its_new_place(project):
    place = project["root"] / "results" / "smoke"
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    assert found == [
        "notebooks/10_first.ipynb",
        "notebooks/20_second.ipynb",
        "rows.jsonl",
        "run.json",
        "tables/t.csv",
    ]
    text = (place / "notebooks" / "10_first.ipynb").read_text()
    assert "results/smoke" in text and "results/runs/r" not in text
    assert not list(place.parent.glob(".*"))


def test_publishing_replaces_the_folder_and_refuses_what_is_unfit(tmp_path, monkeypatch):
    run_dir, old = tmp_path / "runs" / "r", tmp_path / "demo" / "old.txt"
    old.parent.mkdir()
    old.write_text("old")
    record.write_rows(run_dir, "a", [record.row("SR", "x", "LQ", "psnr", 1.0)])
    record.write_run(run_dir, profile="demo", finished=False, notebooks={"a": {"status": "ok"}})
    with pytest.raises(publish.PublishError, match="not finished"):
        publish.publish(run_dir, tmp_path)
    record.write_run(run_dir, finished=True)
    (run_dir / "figures").mkdir()
    (run_dir / "figures" / "big.png").write_bytes(bytes(5000))
    with monkeypatch.context() as patch:
        patch.setattr(publish, "LIMIT", 4000)
        with pytest.raises(publish.PublishError, match=r"figures/big\.png is the largest"):
            publish.publish(run_dir, tmp_path)
    with pytest.raises(publish.PublishError, match="no whole run, it lacks b_2"):
        publish.publish(run_dir, tmp_path, whole=("a", "b_2"))
    assert old.exists()
    publish.publish(run_dir, tmp_path)
    names = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert names == ["figures", "rows.jsonl", "run.json"]
    record.write_run(run_dir, parameters={"steps": 99})
    with pytest.raises(publish.PublishError, match="parameters given by hand: {'steps': 99}"):
        publish.publish(run_dir, tmp_path)


def test_pages_get_new_texts_but_no_new_code(project, tmp_path):
    results, notebooks = tmp_path / "results", tmp_path / "notebooks"
    shutil.copytree(project["root"] / "results" / "smoke", results / "smoke")
    shutil.copytree(project["root"] / "notebooks", notebooks)
    assert publish.texts(results, notebooks) == ([], [])
    for name, old, new in (("10_first", "It writes", "This writes"), ("20_second", "print(rate)", "print(rate, 1)")):
        path = notebooks / f"{name}.py"
        path.write_text(path.read_text().replace(old, new))
    assert publish.texts(results, notebooks) == (["10_first"], ["20_second"])
    before, after = (nbformat.read(r / "smoke" / "notebooks" / "10_first.ipynb", 4).cells for r in
                     (project["root"] / "results", results))  # fmt: skip
    assert "This writes one row." in after[0].source and after[1:] == before[1:] and after[-1].outputs


def test_a_notebook_on_request_has_its_own_folder(tmp_path):
    """Published alone it changes nothing else; a whole run published later leaves it where it is."""
    run_dir, place = tmp_path / "runs" / "r", tmp_path / "demo"
    for name in ("45_a", "46_b"):
        record.write_rows(run_dir, name, [record.row("SR", name, "LQ", "psnr", 1.0)])
        for part in (f"figures/{name[:3]}x.png", f"tables/{name[:3]}x.csv", f"notebooks/{name}.ipynb"):
            (run_dir / part).parent.mkdir(exist_ok=True)
            (run_dir / part).write_text(f"runs/r {name}")
    states = {name: {"status": "ok", "seconds": 2.0} for name in ("45_a", "46_b")}
    record.write_run(run_dir, profile="demo", finished=True, seconds=4.0, notebooks=states)
    place.mkdir()
    (place / "rows.jsonl").write_text("the whole run")
    assert publish.publish(run_dir, tmp_path, "45_a") == place / "45_a"
    found = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    own = ["figures/45_x.png", "notebooks/45_a.ipynb", "rows.jsonl", "run.json", "tables/45_x.csv"]
    assert found == [*(f"45_a/{name}" for name in own), "rows.jsonl"]
    assert [row["source"] for row in record.read_rows(place / "45_a")] == ["45_a"]
    story = record.read_run(place / "45_a")
    assert list(story["notebooks"]) == ["45_a"] and story["seconds"] == 2.0 and story["profile"] == "demo"
    with pytest.raises(publish.PublishError, match="no rows of 47_c"):
        publish.publish(run_dir, tmp_path, "47_c")
    publish.publish(run_dir, tmp_path)
    assert [path.name for path in publish.apart(place)] == ["45_a"]
    assert len(record.read_rows(place)) == 2 and len(record.read_rows(place / "45_a")) == 1
    assert not list(tmp_path.glob(".*")) and not list(place.glob(".*"))


def test_on_request_means_named_by_only(tmp_path):
    folder = folder_with(tmp_path, **{"10_a": "pass", "45_specialisation": "pass", "46_baselines": "pass"})
    assert run.ON_REQUEST == ("45_specialisation", "46_baselines")
    for profile in ("demo", "paper"):
        assert [path.stem for path in run.plan(folder, profile)] == ["10_a"]
    assert [path.stem for path in run.plan(folder, "demo", ["46_baselines"])] == ["46_baselines"]
    assert len(run.plan(folder, "smoke")) == 3


def test_what_makes_no_sense_is_left_out_aloud(tmp_path):
    folder = folder_with(tmp_path, **{"10_a": "pass", "30_train_experts": "pass", "46_baselines": "pass"})
    for profile, names in (("smoke", []), ("demo", ["46_baselines"]), ("paper", ["30_train_experts", "46_baselines"])):
        chosen = run.plan(folder, profile)
        told = run.left_out(folder, profile, chosen)
        assert [line.split(":")[0].split()[-1] for line in told] == names and len(chosen) + len(told) == 3
    assert "no steps in this profile" in told[0] and profiles.PROFILES["paper"].evaluation.lesson_steps == 0
    assert run.plan(folder, "paper", ["30_train_experts"])


def test_what_ran_on_request_is_published_by_name(tmp_path, monkeypatch):
    notebooks = folder_with(tmp_path / "notebooks", **{"10_first": WRITES, "45_specialisation": WRITES})
    done = []
    monkeypatch.setattr(run, "run", lambda *given: done.append(given[0]))
    monkeypatch.setattr(publish, "publish", lambda run_dir, results, only, whole: done.append(only))
    words = ["--profile", "demo", "--publish", "--out", str(tmp_path / "out")]
    assert run.main([*words, "--only", "45_specialisation"], notebooks=notebooks, root=tmp_path) == 0
    assert done == [[notebooks / "45_specialisation.py"], "45_specialisation"]
    assert run.main(words, notebooks=notebooks, root=tmp_path) == 0
    assert done[2:] == [[notebooks / "10_first.py"], None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile", "smoke", "--publish", "--only", "10_first"], "--publish takes a whole run"),
        (["--profile", "demmo"], "unknown profile 'demmo': choose one of smoke, demo, paper"),
        (["--profile", "smoke", "--only", "40_nothing"], "no notebook '40_nothing': choose from 10_first"),
        (["--profile", "smoke", "-p", "stepps=3"], "10_first.py has no parameter 'stepps'"),
        (["--profile", "smoke", "-p", "steps=many"], "'steps' is a int like 3, not the str 'many'"),
        (["--profile", "smoke", "-p", "steps"], "-p takes name=value, not 'steps'"),
        (["--profile", "smoke", "-p", "profile=demo"], "option of its own: --profile"),
        (["--profile", "smoke", "--publish", "-p", "steps=3"], "--publish takes a whole run"),
        (["--profile", "smoke", "--seed", "-1"], "seed -1: give a whole number from 0 to 4294967295"),
    ],
)
def test_a_wrong_command_is_refused_before_anything_starts(tmp_path, capsys, words, said):
    notebooks = folder_with(tmp_path / "notebooks", **{"10_first": WRITES})
    assert run.main([*words, "--out", str(tmp_path / "out")], notebooks=notebooks, root=tmp_path) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('tags=["parameters"]', ""), "needs exactly one cell tagged parameters, and has 0"),
        (("# %%\n", '# %% tags=["parameters"]\n'), "has 2"),
        (("seed = -1\n", "sed = -1\n"), "has no parameter 'seed'"),
        (("steps = 3\n", "steps = = 3\n"), "cannot be read"),
        (("[markdown]", ""), "is it a percent file?"),
    ],
)
def test_a_wrong_notebook_is_refused_before_anything_starts(tmp_path, capsys, change, said):
    notebooks = folder_with(tmp_path / "notebooks", **{"10_first": WRITES, "20_second": "pass"})
    path = notebooks / "20_second.py"
    path.write_text(path.read_text().replace(*change))
    words = ["--profile", "smoke", "--out", str(tmp_path / "out")]
    assert run.main(words, notebooks=notebooks, root=tmp_path) == 2
    printed = capsys.readouterr().err
    assert "20_second.py" in printed and said in printed
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, capsys):
    notebooks = folder_with(tmp_path / "notebooks", **{"10_first": WRITES})
    (tmp_path / "file").write_text("")
    words = ["--profile", "smoke", "--out", str(tmp_path / "file" / "out")]
    assert run.main(words, notebooks=notebooks, root=tmp_path) == 2
    assert capsys.readouterr().err.startswith("refused: ")


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_one", interrupted)
    notebooks = folder_with(tmp_path / "notebooks", **{"10_first": WRITES})
    words = ["--profile", "smoke", "--out", str(tmp_path / "out")]
    assert run.main(words, notebooks=notebooks, root=tmp_path) == 130
    assert "interrupted: the same command with --out out goes on" in capsys.readouterr().err


def test_a_sequence_may_be_a_list_or_a_tuple(tmp_path):
    path = folder_with(tmp_path / "notebooks", **{"10_first": WRITES}) / "10_first.py"
    path.write_text(path.read_text().replace("steps = 3", "steps = (1, 2)"))
    run.check(path, {"steps": [1, 2, 4]})
    with pytest.raises(run.Refused, match="is a tuple like"):
        run.check(path, {"steps": 4})


def test_two_profiles_do_not_mix_in_one_folder(tmp_path, capsys):
    notebooks = folder_with(tmp_path / "notebooks", **{"10_first": WRITES})
    for facts, said in (
        ({"profile": "demo", "seed": 0}, "holds a run of profile 'demo'"),
        ({"profile": "smoke", "seed": 1}, "holds a run of profile 'smoke', seed 1"),
        ({"seed": 0, "parameters": {"steps": 9}}, "parameters {'steps': 9}"),
    ):
        record.write_run(tmp_path / "out", **facts)
        words = ["--profile", "smoke", "--out", str(tmp_path / "out")]
        assert run.main(words, notebooks=notebooks, root=tmp_path) == 2
        assert said in capsys.readouterr().err


def test_provenance_comes_from_a_process_of_its_own():
    story = run._provenance("smoke", 5)
    assert story["profile"] == story["config"]["name"] == "smoke"
    assert story["seed"] == 5 and story["device"]["cores"] >= 1


def test_kernels_share_what_they_compile(monkeypatch, tmp_path):
    """The second process compiles nothing, the folder goes with the run, and a user's own folder is used instead."""
    name, code = "JAX_COMPILATION_CACHE_DIR", "import jax; print(jax.jit(lambda x: x * 3)(2.0))"
    for one in (name, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.delenv(one)  # the tests' own
    with run._own_kernel():
        folder, seen = Path(os.environ[name]), []
        for _ in range(2):
            subprocess.run([sys.executable, "-c", code], check=True)
            seen.append({file.name: file.stat().st_mtime_ns for file in folder.iterdir()})
    assert seen[0] and seen[0] == seen[1] and not folder.exists() and name not in os.environ
    monkeypatch.setenv(name, str(tmp_path))
    with run._own_kernel():
        assert os.environ[name] == str(tmp_path)


def test_overrides_are_python_values():
    given = run.overrides(["a=3", "b=0.5", "c=False", "d=[1, 2]", "e=DN=1", "f=None"])
    assert given == {"a": 3, "b": 0.5, "c": False, "d": [1, 2], "e": "DN=1", "f": None}


def test_only_notebooks_of_a_profile_take_part(tmp_path, monkeypatch):
    folder = folder_with(tmp_path, **{"20_b": "pass", "10_a": "pass", "helper": "pass"})
    monkeypatch.setitem(run.NOT_IN, "smoke", ("20_b",))
    assert [path.stem for path in run.plan(folder, "smoke")] == ["10_a"]
    assert [path.stem for path in run.plan(folder, "demo")] == ["10_a", "20_b"]
    assert [path.stem for path in run.plan(folder, "smoke", ["20_b"])] == ["20_b"]


def test_pairs_are_deterministic_and_checked(tmp_path, capsys):
    folder = folder_with(tmp_path / "notebooks", **{"10_a": "x = 1"})
    words = ["--notebooks", str(folder)]
    assert pair.main([*words, "--check"]) == 1
    assert "10_a.ipynb is missing" in capsys.readouterr().err
    assert pair.main(words) == 0
    first = (folder / "10_a.ipynb").read_bytes()
    assert pair.main(words) == 0 and pair.main([*words, "--check"]) == 0
    assert (folder / "10_a.ipynb").read_bytes() == first
    shown = json.loads(first)
    assert [cell["cell_type"] for cell in shown["cells"]] == ["markdown", "code", "code"]

    shown["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    (folder / "10_a.ipynb").write_text(json.dumps(shown))
    assert "holds outputs" in pair.differences(folder)[0]
    folder_with(folder, **{"10_a": "x = 2"})
    (folder / "20_alone.ipynb").write_bytes(first)
    found = " ".join(pair.differences(folder))
    assert "10_a.ipynb differs from 10_a.py" in found and "20_alone.ipynb has no .py" in found


def png(pixels: np.ndarray) -> str:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


def test_photos_in_pages_are_jpegs_and_plots_stay():
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).cumsum(1) // 64  # smooth, and all colours
    data = {"image/png": png(photo.astype(np.uint8)), "text/plain": "a photo"}
    pages.lighter(data)
    assert data.keys() == {"image/jpeg", "text/plain"}
    with Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"]))) as image:
        assert np.abs(np.asarray(image, float) - photo).mean() < 4
    plot = np.full((64, 64, 4), 255, np.uint8)
    plot[32, :, :3] = 0
    kept = {"image/png": png(plot)}
    pages.lighter(kept)
    assert kept == {"image/png": png(plot)}


def test_cleaning_leaves_figures_alone(tmp_path):
    figure = f"AAAA{tmp_path}/AAAA"
    output = nbformat.v4.new_output("display_data", {"image/svg+xml": figure, "text/plain": f"at {tmp_path}/x"})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])])
    (cleaned,) = pages.clean(notebook, tmp_path).cells[0].outputs
    assert cleaned.data == {"image/svg+xml": figure, "text/plain": "at ./x"}
