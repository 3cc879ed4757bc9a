"""What a run leaves to read: executed notebooks that are equal when their outputs are, and their pages."""

import base64
import html
import io
import re
import sys
from pathlib import Path

import nbformat
from PIL import Image

from unires import record

COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal, in tracebacks
CELL_FILE = re.compile(r"\S*ipykernel_\d+/\d+\.py")  # IPython's name for a cell: new in every process

INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 16px/1.5 sans-serif; margin: 3rem auto; max-width: 46rem }} td, th {{ padding: .2rem 1rem
.2rem 0; text-align: left }} td.n {{ text-align: right }}</style>
<h1>{title}</h1><p>{about}</p>
<table><tr><th>notebook<th>seconds<th>status</tr>
{lines}
</table></html>
"""


def plain(text: str) -> str:
    """Text without terminal colours."""
    return COLOURS.sub("", text)


def lighter(data: dict, quality: int = 90) -> None:
    """A cell's PNG becomes a JPEG where that takes less than half the room: photos do, plots don't.

    Test: test_runner.py::test_photos_in_pages_are_jpegs_and_plots_stay
    """
    if "image/png" not in data:
        return
    held = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as image:
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
        flat.save(held, "JPEG", quality=quality)
    text = base64.b64encode(held.getvalue()).decode()
    if 2 * len(text) < len(data["image/png"]):
        del data["image/png"]
        data["image/jpeg"] = text


def clean(notebook: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """Take out what differs between two equal runs (times, random ids, process numbers, paths), and needless weight."""
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"c{number}"
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        for output in cell.get("outputs", []):
            for name in ("text", "evalue"):
                if name in output:
                    output[name] = _portable(output[name], root)
            if "traceback" in output:
                output["traceback"] = [_portable(plain(line), root) for line in output["traceback"]]
            lighter(output.get("data", {}))
            if "text/plain" in output.get("data", {}):
                output["data"]["text/plain"] = _portable(output["data"]["text/plain"], root)
    return notebook


def page(notebook: nbformat.NotebookNode, path: Path) -> None:
    """One notebook as an HTML page with its figures inside."""
    from nbconvert import HTMLExporter

    resources = {"metadata": {"name": heading(notebook, path.stem)}}
    body, _ = HTMLExporter().from_notebook_node(notebook, resources)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, encoding="utf-8")


def heading(notebook: nbformat.NotebookNode, otherwise: str) -> str:
    """The first heading of a notebook."""
    for cell in notebook.cells:
        found = re.search(r"^#+ +(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if found:
            return found.group(1).strip()
    return otherwise


def index(run_dir: Path) -> Path:
    """Write html/index.html: one line a notebook, with its title, seconds and status."""
    run = record.read_run(run_dir)
    lines = []
    for name, state in sorted(run["notebooks"].items()):
        places = [run_dir / folder / f"{name}.ipynb" for folder in ("failed", "notebooks")]
        executed = [path for path in places if path.exists()]
        title = heading(nbformat.read(executed[0], as_version=4), name) if executed else name
        shown = html.escape(title)
        if (run_dir / "html" / f"{name}.html").exists():
            shown = f'<a href="{name}.html">{shown}</a>'
        seconds = state.get("seconds")
        lines.append(
            f'<tr><td>{shown}<td class="n">{"" if seconds is None else f"{seconds:.1f}"}'
            f"<td>{html.escape(state['status'])}</tr>"
        )
    commit = (run.get("commit") or "no commit")[:12] + (", with changes" if run.get("dirty") else "")
    device = run.get("device", {})
    about = f"Seed {run['seed']}; {commit}; {device.get('kind')}, {device.get('cores')} cores."
    path = run_dir / "html" / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"UniRes: a {run['profile']} run"
    text = INDEX.format(title=title, about=html.escape(about), lines="\n".join(lines))
    path.write_text(text, encoding="utf-8")
    return path


def _portable(text: str, root: Path) -> str:
    text = CELL_FILE.sub("<cell>", text)
    for folder, name in ((root, "."), (Path(sys.prefix), "<python>"), (Path.home(), "~")):
        text = text.replace(f"{folder}/", f"{name}/")
    return text.replace(str(root), ".")
