"""Fill the README's tables from the committed run and checkpoint: nobody types a measured number.

    python -m benchmarks.readme            write README.md anew
    python -m benchmarks.readme --check    write nothing; exit 1 where it differs

What stands between `<!-- table: NAME -->` and `<!-- end -->` is generated; the rest is written by hand.
"""

import argparse
import csv
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import pair
from benchmarks.evaluate import CANDIDATES, EXPERT_METHODS
from benchmarks.publish import apart
from benchmarks.run import ON_REQUEST
from benchmarks.ship import CURVES
from unires import record
from unires.files import write_beside
from unires.metrics import METRICS
from unires.models.store import WEIGHTS, read_story
from unires.profiles import KNOWN

ROOT = Path(__file__).resolve().parents[1]
PAPER = Path(__file__).with_name("paper")
SEARCH = "best of list by NIQE"  # methods of notebook 60
ORACLE = "best of list by LPIPS (needs the reference)"
AUTOMATIC = "automatic"  # of notebook 85
NOT_RUN = "not run"
DIGITS = {"psnr": 2, "ssim": 3, "lpips": 3, "niqe": 2, "musiq": 2}
HEADS = {"psnr": "PSNR dB ↑", "ssim": "SSIM ↑", "lpips": "LPIPS ↓", "niqe": "NIQE ↓", "musiq": "MUSIQ ↑"}
PAPERS = {"musiq": "MUSIQ ↑", "clipiqa": "ClipIQA ↑", "maniqa": "ManIQA ↑"}  # printed in the paper's tables
NOTES = """\
*Ours (demo)*: the small model on held-out photos with two or three flaws each (the set `complex`, n crops). \
*Paper*: the 865M model on DiversePhotos x1 (Tables 4 and 5). Other model, other photos, other metrics: read \
down the columns, never across. PSNR, SSIM and LPIPS need a sharp original, which DiversePhotos lacks.

*not run*: no package carries the weights of MUSIQ (nor of ClipIQA and ManIQA); the grid of 1512 vectors \
takes one core a quarter of an hour for a crop of 192 pixels, and was run on eight such (notebook 65); elsewhere, a \
notebook that this run left out. An empty field: not in the paper."""


@dataclass(frozen=True)
class Setting:
    """One line of the table: our method's name in the rows, and where the paper prints the like."""

    label: str
    method: str
    notebook: str  # makes our rows
    paper: tuple[str, str, str] | None = None  # file, column, what stands in it


def settings() -> list[Setting]:
    """The table's lines: the flawed photo, experts, mixtures, searches."""
    alone = {method: method.replace("DownLQ", "DownLQ(x4)") for method in EXPERT_METHODS}
    paper = {method: ("unires_table4.csv", "setting", text) for method, text in alone.items()}
    paper["DN=-0.2 DownLQ=1.2"] = ("unires_table5.csv", "weights", "1 most frequent")
    lines = [Setting("LQ (the flawed photo itself)", "LQ", "10_photos_and_flaws")]
    for method in CANDIDATES:
        notebook = "40_one_expert" if method in EXPERT_METHODS else "50_compose_experts"
        lines.append(Setting(method, method, notebook, paper.get(method)))
    few, all_ = (("unires_table5.csv", "weights", name) for name in ("8 most frequent", "grid search (1512)"))
    search, count = "60_search_weights", len(CANDIDATES)
    return lines + [
        Setting(f"search in a list: our {count} by NIQE, paper's 8 by MUSIQ", SEARCH, search, few),
        Setting(f"`--weights auto`: our {count} by the judge of notebook 85", AUTOMATIC, "85_metric_bias"),
        Setting("search, all 1512 vectors", "full grid", "none", all_),
        Setting(f"oracle: best of our {count} by LPIPS, knows the answer", ORACLE, search),
    ]


def values(rows: list[record.Row], set_: str, method: str, metric: str) -> dict[str, float]:
    """One value an image: those that were measured, in the metric's own variant."""
    what = {"set": set_, "method": method, "metric": metric, "status": "ok"}
    if metric in METRICS:
        what["variant"] = METRICS[metric].variant
    return {row["image"]: row["value"] for row in rows if what.items() <= row.items()}


def printed(where: tuple[str, str, str], folder: Path = PAPER) -> dict[str, str]:
    """The paper's numbers of one line, as printed (Single-Task of Table 4 where a setting comes twice)."""
    name, column, text = where
    with (folder / name).open(newline="", encoding="utf-8") as file:
        found = [line for line in csv.DictReader(file) if line[column] == text]
    found = [line for line in found if line.get("group", "Single-Task") == "Single-Task"]
    if len(found) != 1:
        raise ValueError(f"{name} has {len(found)} lines with {column} {text!r}, not one")
    return {metric: found[0][metric] for metric in PAPERS}


def ours_and_paper(rows: list[record.Row], set_: str = "complex") -> list[dict[str, Any]]:
    """The table *ours (demo) | paper*: our means over the images of a set, the paper's numbers as printed.

    Test: test_readme.py::test_means_are_those_of_the_rows
    """
    table = []
    for setting in settings():
        measured = {metric: values(rows, set_, setting.method, metric) for metric in DIGITS}
        line = {"setting": setting.label, "n": max(map(len, measured.values())), "made by": setting.notebook}
        line |= {metric: fmean(found.values()) if found else NOT_RUN for metric, found in measured.items()}
        told = printed(setting.paper) if setting.paper else dict.fromkeys(PAPERS, "")
        table.append(line | {f"paper {metric}": told[metric] for metric in PAPERS})
    return table


def table_text(rows: list[record.Row]) -> str:
    """`ours_and_paper` as Markdown, with the notes that it must not be read without."""
    heads = ["setting", "n", *HEADS.values(), *(f"paper {head}" for head in PAPERS.values())]
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    for line in ours_and_paper(rows):
        ours = [line[m] if line[m] == NOT_RUN else f"{line[m]:.{digits}f}" for m, digits in DIGITS.items()]
        lines.append([line["setting"], line["n"], *ours, *(line[f"paper {metric}"] for metric in PAPERS)])
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + f"\n\n{NOTES}"


def minutes_text(
    run: dict[str, Any],
    notebooks: Path = pair.NOTEBOOKS,
    results: str = "results/demo",
    requested: dict[str, dict[str, Any]] | None = None,
) -> str:
    """The reading order: each notebook's question, and how long the committed run took for it.

    `requested` maps notebooks that were published on request to the run.json of theirs; they are not in the sum.
    Test: test_readme.py::test_minutes_are_those_of_the_run, test_readme.py::test_notebooks_on_request_are_told_apart
    """
    requested = requested or {}
    lines = ["| notebook | the question | minutes (demo) |", "|---|---|--:|"]
    total = 0.0
    for path in pair.find(notebooks):
        own = requested.get(path.stem)
        state = (own or run).get("notebooks", {}).get(path.stem, {})
        seconds = state.get("seconds") if state.get("status") == "ok" else None
        total += 0 if own else seconds or 0
        folder = f"{results}/{path.stem}" if own else results
        link = f"{'notebooks' if seconds is None else folder + '/notebooks'}/{path.stem}.ipynb"
        took = NOT_RUN if seconds is None else f"{seconds / 60:.1f}"
        if own or path.stem in ON_REQUEST:
            took += ", on request"
        lines.append(f"| [{path.stem}]({link}) | {question(path)} | {took} |")
    if not run:
        return "\n".join(lines)
    device, jax = run.get("device", {}), run.get("versions", {}).get("jax")
    about = f"Device: {device.get('kind')}, {device.get('cores')} cores, JAX {jax}."
    return "\n".join([*lines, f"| all | | {total / 60:.1f} |", "", about])


def question(path: Path) -> str:
    """What the first cell of a notebook asks: the paragraph that begins with **Question.**"""
    first = next(cell.source for cell in pair.read(path).cells if cell.cell_type == "markdown")
    found = re.search(r"\*\*Question\.\*\* (.+?)(?:\n\n|$)", first, re.DOTALL)
    if not found:
        raise ValueError(f"the first cell of {path.name} has no paragraph that begins with **Question.**")
    return " ".join(found.group(1).replace("|", "\\|").split())


def model_text(weights: Path = WEIGHTS, curves: Path = CURVES) -> str:
    """What each checkpoint's own story says: size, tasks, photos, training, hash; a column a checkpoint.

    Those that ship come first; the story of one that doesn't lies among the training curves.

    Test: test_readme.py::test_each_model_tells_its_own_story
    """
    stories = {
        f"`{name}`" + ("" if folder == weights else " (not shipped)"): read_story(folder / f"{name}.safetensors")
        for folder in (weights, curves)
        for name in KNOWN
        if (folder / f"{name}.json").exists()
    }
    if not stories:
        return f"The demo checkpoint: {NOT_RUN}."
    facts = {
        "parameters": lambda story: f"{story['parameters'] / 1e6:.1f} million",
        "tasks": lambda story: ", ".join(story["train_ldm"]["tasks"]),
        "trained on": lambda story: f"{story['photos']['count']} photos",
        "starts from": lambda story: f"`{story['start']['sha256'][:16]}`" if "start" in story else "random weights",
        "autoencoder": lambda story: _training(story, "vae") if "outcome_vae" in story else "as it was",
        "diffusion model": lambda story: _training(story, "ldm"),
        "device": lambda story: story["device"],
        "photos' manifest": lambda story: f"`{story['photos']['manifest'][:16]}`",
        "weights' sha256": lambda story: f"`{story['sha256'][:16]}`",
    }
    lines = [["", *stories], ["---"] * (1 + len(stories))]
    lines += [[name, *map(fact, stories.values())] for name, fact in facts.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _training(story: dict, part: str) -> str:
    outcome, stages = story[f"outcome_{part}"], story[f"train_{part}"]["stages"]
    crops = sum(stage["steps"] * stage["batch"] for stage in stages)
    return f"{outcome['steps']} steps, {crops} crops, {outcome['seconds'] / 60:.0f} minutes"


def fill(text: str, tables: dict[str, str]) -> str:
    """Put each table between its markers.

    Raises: ValueError naming the marker that is missing, is there twice, or has no table.
    Test: test_readme.py::test_only_what_is_between_markers_changes
    """
    wanted = re.findall(r"<!-- table: ([\w-]+) -->", text)
    if sorted(wanted) != sorted(tables):
        raise ValueError(f"the markers are for {sorted(wanted)}, the tables are {sorted(tables)}")
    for name, table in tables.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda found: f"{found[1]}{table}\n{found[2]}", text, flags=re.DOTALL)  # noqa: B023
        if count != 1:
            raise ValueError(f"after <!-- table: {name} --> there is no <!-- end -->")
    return text


def generated(results: Path, notebooks: Path = pair.NOTEBOOKS) -> dict[str, str]:
    """Every table of the README; before a first run is published they say "not run"."""
    there = (results / "run.json").exists()
    rows, run = (record.read_rows(results), record.read_run(results)) if there else ([], {})
    requested = {folder.name: record.read_run(folder) for folder in apart(results)}
    minutes = minutes_text(run, notebooks, requested=requested)
    return {"ours-and-paper": table_text(rows), "minutes": minutes, "model": model_text()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readme", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where it differs")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", metavar="FILE")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "demo", metavar="DIR")
    given = parser.parse_args(argv)
    try:
        before = given.readme.read_text(encoding="utf-8")
        after = fill(before, generated(given.results))
    except (OSError, ValueError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    if given.check:
        if after != before:
            print(f"{given.readme} differs from its sources: python -m benchmarks.readme", file=sys.stderr)
        return int(after != before)
    write_beside(given.readme, after.encode())
    print(f"wrote {given.readme.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
