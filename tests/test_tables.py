"""The paper's tables beside ours, against hand-made CSVs and means of NumPy."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import tables
from benchmarks.tables import Line
from unires.config import SearchConfig
from unires.metrics import EVERY
from unires.profiles import PAPER
from unires.record import not_run, row

PSNR, LPIPS = (EVERY[name].variant for name in ("psnr", "lpips"))
VALUES = {"A": (20.0, 23.0), "B": (25.0, 28.0), "C": (10.0, 11.0), "D": (15.0, 15.0)}


def rows_of(set_="ours", variant=PSNR):
    """Two photos by four methods."""
    return [
        row(set_, f"photo{i}", method, "psnr", value, variant=variant, unet_calls=4 * i + 2, seconds=0.5 + i)
        for method, pair in VALUES.items()
        for i, value in enumerate(pair)
    ]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "unires_table2.csv").write_text("test_set,method,psnr,musiq\nP,One,21.5,60\nP,Two,,61.25\nQ,One,9,\n")
    (tmp_path / "unires_table5.csv").write_text(
        "method,weights,platform,seconds_per_image,seconds_std,musiq\nX,,GPU,0.5,0.1,40\nU,8 sets,TPU,19,,68\n"
    )
    return tmp_path


def test_a_printed_table_becomes_tidy(folder):
    tidy = tables.paper_table(2, folder)
    assert [tuple(line) for line in tidy.itertuples(index=False)] == [
        ("P", "One", "psnr", 21.5),
        ("P", "One", "musiq", 60.0),
        ("P", "Two", "musiq", 61.25),
        ("Q", "One", "psnr", 9.0),
    ]
    five = tables.paper_table(5, folder)
    assert set(five["photos"]) == {"DiversePhotos-x1"} and list(five["line"].unique()) == ["X", "U, 8 sets"]
    assert dict(zip(five["metric"], five["value"], strict=False)).keys() == {"seconds", "musiq"}
    assert five.query("line == 'U, 8 sets' and metric == 'seconds'")["value"].item() == 19


def test_every_printed_line_has_a_place():
    for number, count in ((2, 10), (3, 15), (4, 19), (5, 18), (6, 9)):
        found, paper = tables.lines(number, SearchConfig()), tables.paper_table(number)
        printed = [(line.photos, line.printed) for line in found if line.printed]
        assert len(printed) == count and set(printed) == set(zip(paper["photos"], paper["line"], strict=True))
        assert set(tables.OURS[number]) <= set(printed)  # no line of ours hangs in the air
        assert len({(line.photos, line.label) for line in found}) == len(found)
    strangers = {line.method for line in tables.lines(5, SearchConfig()) if line.printed == line.method}
    assert "SwinIR" in strangers and not any("UniRes" in method for method in strangers)
    assert tables.without(("BR", "DownLQ")) == "without BR, DownLQ"


def test_ours_against_numpy():
    rows = [*rows_of(), *rows_of("elsewhere", "on luma"), not_run("ours", "all photos", "A", "musiq", "no weights")]
    held = tables.ours(rows).set_index(["photos", "method", "metric"])
    assert "elsewhere" not in held.index.get_level_values(0)  # another variant is another metric
    for method, pair in VALUES.items():
        line = held.loc[("ours", method, "psnr")]
        assert line["value"] == np.mean(pair) and line["n"] == 2
        assert held.loc[("ours", method, "UNet calls"), "value"] == np.median([2, 6])
        assert held.loc[("ours", method, "seconds"), "value"] == np.median([0.5, 1.5])
    skewed = [
        row("ours", f"{i}", "A", "psnr", value, variant=PSNR, unet_calls=int(2 * value), seconds=value)
        for i, value in enumerate((1.0, 2.0, 9.0))
    ]
    values = tables.ours(skewed).set_index("metric")["value"]
    assert values.to_dict() == {"psnr": 4, "UNet calls": 4, "seconds": 2}  # a mean, and medians
    lost = held.loc[("ours", "A", "musiq")]
    assert np.isnan(lost["value"]) and lost["n"] == 0 and lost["reason"] == "no weights"


def test_a_choice_that_was_looked_up_has_no_seconds():
    held = tables.ours([row("grids", "a", "list", "psnr", 1.0, variant=PSNR, unet_calls=7)])
    (reason,) = held.loc[held["metric"] == "seconds", "reason"]
    assert reason == tables.LOOKED_UP


def paper_of(*lines):
    return pd.DataFrame(lines, columns=["photos", "line", "metric", "value"])


def test_beside_by_hand():
    paper = paper_of(("P", "One", "psnr", 22.0), ("P", "One", "musiq", 60.0), ("P", "Two", "psnr", 30.0))
    lines = [Line("P", "One", "ours", "A"), Line("P", "Two", "P", "Two"), Line("P", None, "ours", "B")]
    other = tables.beside(tables.ours(rows_of()), paper, lines, ("psnr", "musiq"))
    assert list(other.index) == ["One", "Two", "B"]
    assert list(other.columns) == ["photos", "our photos", "n", "ours psnr", "paper psnr", "ours musiq", "paper musiq"]
    assert list(other["ours psnr"]) == [21.5, "not run", 26.5] and list(other["paper psnr"]) == [22.0, 30.0, ""]
    assert list(other["ours musiq"]) == ["not run"] * 3 and list(other["n"]) == [2, 0, 2]
    assert "no difference" in tables.heading(other)

    same = tables.beside(tables.ours(rows_of() + rows_of("P")), paper, lines, ("psnr",))  # the paper's photos go first
    assert list(same["our photos"]) == ["P", "P", "P"] and list(same["difference psnr"]) == [-0.5, "", ""]
    assert "A difference is given" in tables.heading(same)
    part = tables.beside(tables.ours(rows_of("P[:2]")), paper, lines, ("psnr",))  # a part of them is another set
    assert list(part["our photos"]) == ["P[:2]", "P", "P[:2]"] and "difference psnr" not in part


def test_the_papers_search_has_its_lines():
    """A difference stands only where the whole set was searched as in the paper."""
    known = {}
    for name, search in (("list", SearchConfig()), ("grid", PAPER.search), ("other", SearchConfig("niqe", "grid"))):
        lines = tables.lines(2, search)
        (line,) = (one for one in lines if (one.photos, one.printed) == ("Real60", "UniRes"))
        rows = [row(photos, "a", line.method, "musiq", 70.0) for photos in ("Real60", "Real60[:1]")]
        for r in rows[:1], rows[1:]:
            table = tables.beside(tables.ours(r), tables.paper_table(2), [line], ("musiq",))
            assert table.loc["UniRes", "ours musiq"] == 70.0
            known[name, r[0]["set"]] = "difference musiq" in table
    assert [held for held, there in known.items() if there] == [("grid", "Real60")]
    four = {line.printed: line for line in tables.lines(4, PAPER.search) if line.printed}
    assert four["UniRes, default"].method == "grid search by MUSIQ" and four["UniRes, default"].ours == "complex"
    assert four["Strike-Out, BR=0 DownLQ=0"].method == "grid search by MUSIQ, without BR, DownLQ"
    spoken = "grid search by MUSIQ, words of A.7 on top"  # a line of our own: the printed tables are without words
    assert [line.printed for line in tables.lines(4, PAPER.search) if line.method == spoken] == [None]
    assert not any("words" in line.method for line in tables.lines(4, SearchConfig()))
    assert four["Search Grid, 8 most frequent weight sets"].ours == tables.GRIDS  # learned on other photos
    for number in (2, 3, 4, 5, 6):
        found = [(line.photos, line.label) for line in tables.lines(number, PAPER.search)]
        assert len(found) == len(set(found))


def test_a_cost_is_never_subtracted():
    paper = paper_of(("P", "One", "seconds", 2.0))
    table = tables.beside(tables.ours(rows_of("P")), paper, [Line("P", "One", "P", "A")], ("seconds",))
    assert table.loc["One", "ours seconds"] == 1.0 and "difference seconds" not in table


def test_a_line_of_ours_without_photos_is_left_out():
    paper = paper_of(("P", "One", "psnr", 22.0))
    lines = [Line("P", "One", "P", "A"), Line("P", None, "P", "B")]
    assert list(tables.beside(tables.ours([]), paper, lines, ("psnr",)).index) == ["One"]


def test_what_is_missing_says_why():
    lines = [Line("P", "One", "ours", "A"), Line("P", "Two", "P", "Two"), Line("P", None, "ours", "E")]
    lost = not_run("ours", "all photos", "A", "musiq", "no weights", variant=EVERY["musiq"].variant)
    table = tables.reasons(tables.ours([*rows_of(), lost]), lines, ("psnr", "musiq")).set_index("reason")
    assert table.loc["no weights", "metrics"] == "musiq" and table.loc["no weights", "lines"] == 1
    assert table.loc[tables.PEER, "metrics"] == table.loc[tables.NO_ROW, "metrics"] == "psnr, musiq"
    assert table["lines"].tolist() == [1, 1, 1]
    (why,) = tables.reasons(tables.ours([lost]), lines[:1], ("psnr", "musiq"))["reason"]  # nothing of the line was run
    assert why == "no weights"


def shaded(style, column):
    """Place (1 to 3, or 0) of each line in a column, from the style itself."""
    style._compute()
    at = list(style.data.columns).index(column)
    found = []
    for i in range(len(style.data)):
        colours = [value for name, value in style.ctx[i, at] if name == "background-color"]
        found.append(tables.SHADES.index(colours[0]) + 1 if colours else 0)
    return found


def test_the_best_three_are_shaded():
    table = pd.DataFrame(
        {
            "photos": ["P"] * 6,
            "our photos": ["ours"] * 5 + ["else"],
            "n": [2] * 6,
            "ours psnr": [20.0, 24.0, 22.0, "not run", 21.0, 1.0],
            "paper lpips": [0.5, 0.3, "", 0.1, 0.3, 0.9],
            "difference psnr": ["", 1.0, "", "", "", ""],
        },
        pd.Index(["a", "b", "c", "d", "e", "e"], name="line"),
        dtype=object,
    )
    style = tables.shade_top(table)
    assert shaded(style, "ours psnr") == [0, 1, 2, 0, 3, 1]  # up is better; each set of photos is its own competition
    assert shaded(style, "paper lpips") == [0, 2, 0, 1, 2, 0]  # down is better; equals share a place
    assert shaded(style, "difference psnr") == [0] * 6
    page = style.to_html()
    assert "PSNR dB ↑" in page and "not run" in page and "+1.00" in page and "0.3000" in page and "nan" not in page
    with pytest.raises(ValueError, match="is higher better"):
        tables.shade_top(table.rename(columns={"ours psnr": "ours charm"}))


def test_a_table_is_saved_as_it_stands(tmp_path):
    paper = paper_of(("P", "One", "psnr", 22.0))
    lines = [Line("P", "One", "ours", "A"), Line("P", None, "ours", "B")]
    table = tables.beside(tables.ours(rows_of()), paper, lines, ("psnr", "musiq"))
    written = tables.save(table, tmp_path, "table").read_text().splitlines()
    assert written == [
        "line,photos,our photos,n,ours psnr,paper psnr,ours musiq",
        "One,P,ours,2,21.5,22.0,not run",
        "B,P,ours,2,26.5,,not run",
    ]
