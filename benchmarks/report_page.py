"""One page with all that a run's folder holds: tables, figures, provenance, and what was not run.

    python -m benchmarks.report_page RUN      writes RUN/report.html and RUN/report.md

Made from the folder alone: tables/*.csv, figures/*, run.json and rows.jsonl, also those of notebooks that were
published on request into folders of their own. Links are relative, so the page moves with its folder. No script, no
outer address.
"""

import argparse
import csv
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from benchmarks import pair
from benchmarks.figures import PAPER_FIGURES, drawn
from benchmarks.pages import heading
from benchmarks.publish import apart
from benchmarks.readme import NOT_RUN, settings
from unires import record
from unires.files import write_beside

TEMPLATES = Path(__file__).with_name("templates")
PAGES = ("report.html", "report.md")
PICTURES = (".png", ".jpg")
NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?")
ENLARGED = 1.5  # pictures on the page, so that their labels can be read from the last row
SHOWN = 4  # significant digits of a number on the page; the CSV has all
COMMAND = "python -m benchmarks.run --profile demo --only"
TITLES = {  # of tables that this project writes; another one is called by its file
    "ours_and_paper": "Ours beside the paper's: read down the columns, never across",
    "summary": "The best of each group, by set",
    "cost": "What a restoration costs: medians over photos",
    "complex": "Photos with two or three flaws",
    "complex11": "Complex11: the flawed photos themselves",
    "SR": "Low resolution alone",
    "MD": "Motion blur alone",
    "DD": "Defocus alone",
    "DN": "Noise alone",
    **{f"{70 + n}_table{n}": f"Table {n}: ours beside the paper's" for n in range(2, 8)},
}


@dataclass(frozen=True)
class Table:
    """A table as it stands on the page: text in every cell."""

    title: str
    heads: list[str]
    lines: list[list[str]]
    place: str = ""  # from the run's folder


@dataclass(frozen=True)
class Picture:
    """A figure's file and what stands below it."""

    place: str  # from the run's folder
    group: str  # the notebook that drew it
    caption: str
    width: int | None = None  # on the page, in pixels


@dataclass(frozen=True)
class Page:
    """All that the templates need."""

    title: str
    about: str
    not_run: list[tuple[str, str]]  # what, why
    tables: list[Table]
    figures: list[Picture]
    paper: Table
    provenance: Table
    notebooks: Table
    config: str
    groups: list[tuple[str, list[Picture]]] = field(default_factory=list)

    @property
    def not_run_table(self) -> Table:
        return Table("", ["what", "why, or how to run it"], [list(line) for line in self.not_run])


def short(text: str) -> str:
    """A number with at most 4 significant digits; other text as it is.

    Test: test_report_page.py::test_numbers_are_short_and_words_stay
    """
    digits = re.sub(r"e.*|[-.]", "", text).strip("0")
    if not NUMBER.fullmatch(text) or "." not in text or len(digits) <= SHOWN:
        return text
    value = float(text)
    return f"{value:.0f}" if abs(value) >= 10**SHOWN else f"{value:#.{SHOWN}g}"


def read_table(path: Path, run_dir: Path) -> Table:
    """A CSV as a table of text.

    Test: test_report_page.py::test_the_page_holds_every_table_figure_and_reason
    """
    with path.open(newline="", encoding="utf-8") as file:
        lines = [[short(cell) for cell in line] for line in csv.reader(file)]
    title = TITLES.get(path.stem, path.stem.replace("_", " "))
    return Table(title, lines[0] if lines else [], lines[1:], path.relative_to(run_dir).as_posix())


def sections(notebooks: list[Path]) -> dict[str, str]:
    """For each figure's file the heading of the section that saves it.

    Test: test_report_page.py::test_captions_are_the_headings_above
    """
    found = {}
    for path in notebooks:
        title = path.stem
        for part in pair.read(path).cells:
            if part.cell_type == "markdown":
                heads = re.findall(r"^#+ +(?:\d+\.? +)?(.+)$", part.source, re.MULTILINE)
                title = heads[-1].strip() if heads else title
            else:
                found |= dict.fromkeys(re.findall(r"\"([\w-]+\.(?:png|jpg))\"", part.source), title)
    return found


def pictures(run_dir: Path, folders: list[Path], titles: dict[str, str], captions: dict[str, str]) -> list[Picture]:
    """Every figure, in the order of the notebooks; one that redraws a figure of the paper says which."""
    numbers = {figure.file: number for number, figure in PAPER_FIGURES.items()}
    groups = {name[:3]: name for name in titles}
    groups |= {figure.file: figure.notebook for figure in PAPER_FIGURES.values()}
    found = []
    for path in (path for folder in folders for path in sorted((folder / "figures").glob("*"))):
        if path.suffix.lower() in PICTURES and not path.name.startswith(("new-", ".")):
            name = groups.get(path.name) or groups.get(path.name[:3], "")
            caption = f"{captions.get(path.name, path.stem.replace('_', ' '))} ({path.name})"
            if number := numbers.get(path.name):
                caption += f". The paper's Figure {number}: {PAPER_FIGURES[number].paper}. Ours: "
                caption += PAPER_FIGURES[number].ours
            place, group = path.relative_to(run_dir).as_posix(), titles.get(name, name or "Others")
            found.append(Picture(place, group, caption, _width(path)))
    return sorted(found, key=lambda one: one.group)


def _width(path: Path) -> int | None:
    try:
        with Image.open(path) as image:
            return round(ENLARGED * image.width)
    except OSError:
        return None


def missing(run: dict, rows: list[record.Row], figures: list[dict], titles: dict[str, str]) -> list[tuple[str, str]]:
    """What was not run, and why or with which command it would be: notebooks, methods, values, figures of the paper.

    Test: test_report_page.py::test_the_page_holds_every_table_figure_and_reason
    """
    states = run.get("notebooks", {})
    found = []
    for name in titles:
        status = states.get(name, {}).get("status", NOT_RUN)
        if status != "ok" and not name.startswith("90"):  # this page is made by 90, which is not finished then
            found.append((f"notebook {name}", f"{status}: {COMMAND} {name}"))
    present = {row["method"] for row in rows if row["status"] == "ok"}
    for setting in settings():
        if setting.method not in present:
            made = "too much for a laptop" if setting.notebook == "none" else f"made by notebook {setting.notebook}"
            found.append((f"method {setting.label}", made))
    reasons = {}  # each once, with the metrics that it concerns
    for row in rows:
        if row["status"] != "ok":
            reasons.setdefault(row["reason"], Counter())[row["metric"]] += 1
    found += [(f"{', '.join(sorted(of))}, rows: {of.total()}", reason) for reason, of in sorted(reasons.items())]
    lost = [line for line in figures if line["status"] != "drawn"]
    return found + [(f"the paper's Figure {line['figure']}", line["status"]) for line in lost]


def provenance(run: dict) -> Table:
    """What run.json says of code, versions, device, weights and photos, a line each."""
    device = run.get("device") or {}
    lines = [
        [name, str(run[name])] for name in ("profile", "seed", "commit", "dirty", "python", "seconds") if name in run
    ]
    if device:
        told = [str(device.get("kind")), f"{device.get('cores')} cores", device.get("machine", "")]
        lines.append(["device", ", ".join(told).strip(", ")])
    lines += [[f"version of {name}", str(version)] for name, version in run.get("versions", {}).items()]
    for what in ("checkpoints", "data"):
        for name, digest in run.get(what, {}).items():
            lines.append([f"{what}: {name}", f"sha256 {digest}" if digest else "none (seeded random weights)"])
    for name, contract in run.get("metrics", {}).items():
        told = contract.items() if isinstance(contract, dict) else [("", contract)]
        lines.append([f"metric {name}", "; ".join(f"{k} {v}" for k, v in told if v not in (None, ""))])
    return Table("", ["what", ""], lines)


def collect(run_dir: str | Path) -> Page:
    """Read a run's folder.

    Raises: FileNotFoundError: it is not the folder of a run.
    Test:   test_report_page.py::test_the_page_holds_every_table_figure_and_reason
    """
    run_dir = Path(run_dir)
    run = record.read_run(run_dir)
    rows = record.read_rows(run_dir) if (run_dir / "rows.jsonl").exists() else []
    folders = [run_dir, *apart(run_dir)]
    for folder in folders[1:]:
        own = record.read_run(folder)
        run = {**run, "notebooks": {**run.get("notebooks", {}), **own.get("notebooks", {})}}
        rows = rows + record.read_rows(folder)
    titles = {path.stem: heading(pair.read(path), path.stem) for path in pair.find()}
    tables = [read_table(path, run_dir) for folder in folders for path in sorted((folder / "tables").glob("*.csv"))]
    order = [*TITLES]
    tables.sort(
        key=lambda table: order.index(Path(table.place).stem) if Path(table.place).stem in order else len(order)
    )
    figures, paper = pictures(run_dir, folders, titles, sections(pair.find())), drawn(run_dir)
    groups = {one.group: [other for other in figures if other.group == one.group] for one in figures}
    states = [(name, state) for name, state in sorted(run.get("notebooks", {}).items())]
    notebooks = [[titles.get(n, n), str(s.get("status", "")), f"{s.get('seconds') or ''}"] for n, s in states]
    device, commit = run.get("device") or {}, (run.get("commit") or "not recorded")[:12]
    changed = ", with changes" if run.get("dirty") else ""
    about = (
        f"Commit {commit}{changed}; seed {run.get('seed', 'not recorded')}; device {device.get('kind', 'not recorded')}"
    )
    about += f", {device.get('cores', '?')} cores. {len(rows)} rows, {len(tables)} tables, {len(figures)} figures."
    return Page(
        title=f"UniRes: report of a {run.get('profile', 'run by hand')} run",
        about=about,
        not_run=missing(run, rows, paper, titles),
        tables=tables,
        figures=figures,
        paper=Table("", list(paper[0]), [list(line.values()) for line in paper]),
        provenance=provenance(run),
        notebooks=Table("", ["notebook", "status", "seconds"], notebooks),
        config=json.dumps(run.get("config", NOT_RUN), indent=1, sort_keys=True),
        groups=list(groups.items()),
    )


def cell(text: str) -> str:
    """Text in a cell of a Markdown table.

    Test: test_report_page.py::test_special_characters_are_escaped
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", plain)


def render(page: Page) -> dict[str, str]:
    """The page in both forms, by file name.

    Test: test_report_page.py::test_special_characters_are_escaped
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    options = {"undefined": StrictUndefined, "trim_blocks": True, "keep_trailing_newline": True}
    jinja = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(["html"]), **options)
    jinja.filters["cell"] = cell
    jinja.tests["number_text"] = lambda text: bool(NUMBER.fullmatch(text))
    return {name: jinja.get_template(name).render(page=page) for name in PAGES}


def write(run_dir: str | Path) -> list[Path]:
    """Write report.html and report.md into a run's folder.

    Test: test_report_page.py::test_the_page_holds_every_table_figure_and_reason
    """
    texts = render(collect(run_dir))
    for name, text in texts.items():
        write_beside(Path(run_dir) / name, text.encode())
    return [Path(run_dir) / name for name in texts]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_page", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run's folder, as results/demo")
    given = parser.parse_args(argv)
    try:
        print("\n".join(f"wrote {path}" for path in write(given.run)))
    except (OSError, record.RecordError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
