"""The one page of a run, read as a browser reads it: nothing of the folder is left out, nothing is broken."""

import csv
import json
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from PIL import Image

from benchmarks import publish, report_page
from benchmarks.figures import PAPER_FIGURES
from unires import record

VOID = {"meta", "img", "br", "link"}
NASTY = 'a <b> & "c" | *d* `e` [f](g)'
REASONS = ("needs photos of at least 96 pixels", "weights are missing: <MUSIQ>")


class Reader(HTMLParser):
    """Tables by the heading above them, images, links, all text; complains about tags that don't match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.images, self.links, self.ids, self.tags = [], [], [], [], set(), []
        self.text, self.cell = "", None
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        self.ids.add(given.get("id"))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(given["src"])
            assert given["alt"]
        if tag == "a":
            self.links.append(given["href"])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.cell = ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "runs" / "r"
    rows = [record.row("SR", "a", "LQ", "psnr", 21.5)]
    rows += [
        record.not_run("SR", "a", "LQ", metric, why) for metric, why in zip(("niqe", "musiq"), REASONS, strict=True)
    ]
    record.write_rows(folder, "10_photos_and_flaws", rows)
    states = {
        "10_photos_and_flaws": {"status": "ok", "seconds": 4.5},
        "20_latents": {"status": "failed", "seconds": 1.0},
    }
    facts = {"profile": "demo", "seed": 3, "commit": "c" * 40, "dirty": True, "python": "3.11", "finished": True}
    facts |= {"device": {"kind": "cpu <any>", "cores": 2}, "versions": {"jax": "0.1"}, "config": {"steps": 7}}
    facts |= {"checkpoints": {"demo": "d" * 64}, "data": {"evaluation": "e" * 64}, "seconds": 12.5}
    facts |= {"metrics": {"psnr": {"variant": "RGB", "library": None}}}
    record.write_run(folder, **facts, notebooks=states)
    for part in ("tables", "figures"):
        (folder / part).mkdir()
    write_csv(folder / "tables" / "complex.csv", [["method", "psnr", "note"], ["LQ", "21.123456", NASTY]])
    write_csv(folder / "tables" / "table 2.csv", [["who", "musiq"], ["theirs", "68.22"], ["ours", "not run"]])
    for name in ("front.jpg", "odd #1 & two.png"):
        (folder / "figures" / name).write_bytes(b"picture")
    Image.new("RGB", (400, 100)).save(folder / "figures" / "50_walk.png")
    (folder / "figures" / "notes.txt").write_text("no picture")
    return folder


def write_csv(path, lines):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def test_the_page_holds_every_table_figure_and_reason(run_dir):
    assert [path.name for path in report_page.write(run_dir)] == ["report.html", "report.md"]
    page, markdown = Reader((run_dir / "report.html").read_text()), (run_dir / "report.md").read_text()
    missing, first, second, paper, facts, notebooks = page.tables
    assert first == [["method", "psnr", "note"], ["LQ", "21.12", NASTY]]
    assert second == [["who", "musiq"], ["theirs", "68.22"], ["ours", "not run"]]
    assert sorted(map(unquote, page.images)) == [
        f"figures/{n}" for n in ("50_walk.png", "front.jpg", "odd #1 & two.png")
    ]
    assert all((run_dir / unquote(src)).exists() for src in page.images)
    whys = dict(line for line in missing[1:])
    assert {"niqe, rows: 1": REASONS[0], "musiq, rows: 1": REASONS[1]}.items() <= whys.items()
    assert whys["notebook 20_latents"] == "failed: python -m benchmarks.run --profile demo --only 20_latents"
    assert "notebook 10_photos_and_flaws" not in whys and "method LQ (the flawed photo itself)" not in whys
    assert whys["method BR=1"] == "made by notebook 40_one_expert"
    assert [line[0] for line in paper[1:]] == [str(number) for number in PAPER_FIGURES]
    assert [line[0] for line in paper[1:] if line[-1] == "drawn"] == ["1"]
    told = dict(line for line in facts[1:])
    assert told["commit"] == "c" * 40 and told["dirty"] == "True" and told["device"] == "cpu <any>, 2 cores"
    assert told["checkpoints: demo"].endswith("d" * 64) and told["data: evaluation"].endswith("e" * 64)
    assert told["version of jax"] == "0.1" and told["metric psnr"] == "variant RGB" and told["seconds"] == "12.5"
    assert ["4.5"] == [line[-1] for line in notebooks if line[0].startswith("10 ")]
    assert json.dumps({"steps": 7}, indent=1) in page.text
    for word in (
        *(why.replace("<", "&lt;").replace(">", "&gt;") for why in REASONS),
        "68.22",
        "c" * 40,
        "(figures/50_walk.png)",
    ):
        assert word in markdown
    assert page.text.index("What was not run") < page.text.index("68.22"), "what is missing comes first"


def test_the_page_needs_nobody_else(run_dir):
    """No script, no outer address; links lead to files that are there or to places on the page; type is large."""
    report_page.write(run_dir)
    text = (run_dir / "report.html").read_text()
    page = Reader(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe"}
    assert "//" not in text.replace("\\", "") and not [a for _, given in page.tags for a in given if a.startswith("on")]
    for link in page.links:
        assert link[1:] in page.ids if link.startswith("#") else (run_dir / unquote(link)).exists(), link
    sizes = [int(size) for size in report_page.re.findall(r"(\d+)px", text.split("</style>")[0]) if int(size) > 9]
    assert min(sizes) >= 18 and "overflow-x: auto" in text and "max-width: 100%" in text
    widths = {given["src"]: given.get("width") for tag, given in page.tags if tag == "img"}
    assert widths.pop("figures/50_walk.png") == "600" and set(widths.values()) == {None}  # the others are no pictures
    for tag, given in page.tags:
        assert tag != "table" or given == {}, "tables have no width of their own"
    assert str(run_dir) not in text and run_dir.name not in page.links


def test_special_characters_are_escaped(run_dir):
    texts = report_page.render(report_page.collect(run_dir))
    assert "<b>" not in texts["report.html"] and "<any>" not in texts["report.html"]
    (line,) = [line for line in texts["report.md"].splitlines() if line.startswith("| LQ | 21.12")]
    assert line == r'| LQ | 21.12 | a &lt;b&gt; &amp; "c" \| \*d\* \`e\` \[f\](g) |'
    heads = [line for line in texts["report.md"].splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in heads)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("21.1766", "21.18"), ("0.000123456", "0.0001235"), ("66.44", "66.44"), ("0.4589", "0.4589"),
     ("123456.7", "123457"), ("1512", "1512"), ("1234567", "1234567"), ("not run", "not run"), ("", ""),
     ("MD=0.61234", "MD=0.61234"), ("-0.51478", "-0.5148"), ("20.8964", "20.90"), ("nan", "nan"), ("1e-07", "1e-07")],
)  # fmt: skip
def test_numbers_are_short_and_words_stay(text, shown):
    assert report_page.short(text) == shown


def test_captions_are_the_headings_above(tmp_path, run_dir):
    cells = [
        "# %% [markdown]",
        "# # 10 A",
        "# %%",
        'save(f, "10_a.png")',
        "# %% [markdown]",
        "# ## 2 Light & lens",
        "# text",
    ]
    cells += ["#", "# ### 2. Far away", "# %%", 'save(f, "10_b.jpg")', 'save(g, "10_c.png")']
    (tmp_path / "10_x.py").write_text("\n".join(cells) + "\n")
    found = report_page.sections([tmp_path / "10_x.py"])
    assert found == {"10_a.png": "A", "10_b.jpg": "Far away", "10_c.png": "Far away"}
    captions = {one.place: one.caption for one in report_page.collect(run_dir).figures}
    assert captions["figures/odd #1 & two.png"] == "odd #1 & two (odd #1 & two.png)"
    assert "The paper's Figure 1: " in captions["figures/front.jpg"]


def test_an_empty_run_has_a_page(tmp_path, capsys):
    record.write_run(tmp_path, profile="smoke")
    assert report_page.main([str(tmp_path)]) == 0
    page = Reader((tmp_path / "report.html").read_text())
    assert "No table was written." in page.text and "No figure was drawn." in page.text and len(page.tables) == 4
    assert report_page.main([str(tmp_path / "nowhere")]) == 1
    assert "is not the folder of a run" in capsys.readouterr().err


def test_publishing_carries_both_pages(run_dir, tmp_path):
    """The page of results/ also shows what was published on request, and is renewed when that is."""
    publish.publish(run_dir, tmp_path / "results")
    place = tmp_path / "results" / "demo"
    assert not (place / "report.html").exists(), "notebook 90 did not run"
    report_page.write(run_dir)
    publish.publish(run_dir, tmp_path / "results")
    before = Reader((place / "report.html").read_text())
    assert len(before.images) == 3 and all((place / unquote(src)).exists() for src in before.images)
    name = "45_specialisation"
    record.write_rows(run_dir, name, [record.row("SR@1.0", "a", "LQ", "psnr", 1.0)])
    record.write_run(run_dir, notebooks={name: {"status": "ok", "seconds": 2.0}})
    (run_dir / "figures" / "45_examples.jpg").write_bytes(b"picture")
    write_csv(run_dir / "tables" / "45_bars.csv", [["set", "value"], ["SR@1.0", "31.5"]])
    own = publish.publish(run_dir, tmp_path / "results", name)
    assert sorted(path.name for path in own.iterdir()) == ["figures", "rows.jsonl", "run.json", "tables"]
    after = Reader((place / "report.html").read_text())
    assert f"{name}/figures/45_examples.jpg" in after.images and [["set", "value"], ["SR@1.0", "31.5"]] in after.tables
    assert all((place / unquote(src)).exists() for src in after.images) and (place / "report.md").exists()
    assert f"notebook {name}" not in {line[0] for line in after.tables[0]}
