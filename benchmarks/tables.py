"""The paper's tables beside ours: what is printed, what we measured, and what of it may be subtracted.

A table is a list of `Line`s: the paper's own in its order, then lines that are ours alone. Which of our methods stands
for which printed line is typed once, in OURS. A value that isn't there is the text "not run", and `reasons` says why.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks import strategies
from benchmarks.baselines import CLASSICAL
from benchmarks.evaluate import EXPERT_METHODS
from benchmarks.readme import HEADS, NOT_RUN, PAPER, PAPERS, SEARCH
from benchmarks.report import write_table
from benchmarks.searches import RANGE, STRUCK, WORDS, renamed, without
from unires import config, profiles
from unires.metrics import EVERY
from unires.record import Row

D1, GRIDS, COMPLEX = "DiversePhotos-x1", strategies.SET, "complex"
LABELS = {  # columns of each CSV that name a line
    2: ("method",),
    3: ("method",),
    4: ("group", "setting"),
    5: ("method", "weights"),
    6: ("method", "weights"),
    7: ("source",),
}
ASIDE = ("test_set", "platform", "seconds_std")  # columns that are neither names nor values
RENAMED = {"seconds_per_image": "seconds"}
PEER = "not our method: measure a folder of its results with python -m benchmarks.folder_baseline"
NO_ROW = "this run has no such row"
LOOKED_UP = "its choice was looked up in the table of the grid: nobody waited for it"
UP = {name: metric.higher_is_better for name, metric in EVERY.items()}
UP |= {"seconds": False, "UNet calls": False, strategies.SHARE: True}
DIGITS = {"psnr": 2, "niqe": 2, "musiq": 2, "fid": 2, "seconds": 2, "UNet calls": 0}  # others: 3, the paper's 4
TITLES = {**HEADS, **PAPERS, "fid": "FID ↓", "seconds": "seconds ↓", "UNet calls": "UNet calls ↓"}
SHADES = ("#7fb2e5", "#b5d3f0", "#dfecf9")  # best, second, third

# The classical methods that need no package beyond scikit-image.
CHEAP = tuple(name for name in CLASSICAL if name != "BayesShrink wavelet")


def _struck(names: tuple[str, ...]) -> str:
    """How the paper prints the same."""
    return f"Strike-Out, {' '.join(f'{name}=0' for name in names)}"


SR_ONLY = {"SR=1": "SR-only model, SR=1", "DownLQ(x4)=1": "SR-only model, DownLQ=1"}

# (table): {(the paper's photos, its line): (our photos, our method)}. What is not here is somebody else's method.
# Searches are named as in demo; `lines` puts the profile's own in their place.
OURS: dict[int, dict[tuple[str, str], tuple[str, str]]] = {
    2: {(D1, "UniRes"): (COMPLEX, SEARCH), ("Real60", "UniRes"): ("Real60", SEARCH)},
    3: {
        ("DiversePhotos-x4", "UniRes"): ("DiversePhotos-x4", SEARCH),
        ("RealSR-x4", "UniRes"): ("SR", SEARCH),
        ("DRealSR-x4", "UniRes"): ("DRealSR-x4", SEARCH),
    },
    4: {
        (D1, "UniRes, default"): (GRIDS, strategies.GRID),
        **{(D1, f"SR-Only, {printed}"): (COMPLEX, method) for printed, method in SR_ONLY.items()},
        **{(D1, f"Single-Task, {m.replace('DownLQ', 'DownLQ(x4)')}"): (COMPLEX, m) for m in EXPERT_METHODS},
        **{(D1, _struck(names)): (GRIDS, without(names)) for names in STRUCK},
        (D1, "DownLQ, DownLQ(x2)=1"): (COMPLEX, "DownLQ2=1"),
        (D1, "Search Grid, range [0,1]"): (GRIDS, RANGE),
        (D1, "Search Grid, 8 most frequent weight sets"): (GRIDS, "8 most frequent"),
        (D1, "Search Grid, random forest (skip search)"): (GRIDS, "random forest"),
    },
    5: {
        (D1, "UniRes, grid search (1512)"): (GRIDS, strategies.GRID),
        **{(D1, f"UniRes, {n} most frequent"): (GRIDS, f"{n} most frequent") for n in strategies.COUNTS},
        (D1, "UniRes, average optimal"): (GRIDS, "average"),
        (D1, "UniRes, random forest (skip search)"): (GRIDS, "random forest"),
    },
    6: {
        ("DIV2K-3000", "SR-Only"): ("SR", "SR-only model, SR=1"),
        ("DIV2K-3000", "UniRes, SR=1"): ("SR", "SR=1"),
        ("GoPro-1111", "UniRes, MD=1"): ("MD", "MD=1"),
        ("DPDD-74", "UniRes, DD=1"): ("DD", "DD=1"),
        ("SIDD-1280", "UniRes, DN=1"): ("DN", "DN=1"),
    },
}
# Lines that the paper doesn't have: (the paper's photos beside which they stand, our photos, our method).
ISOLATED = {"DIV2K-3000": "SR", "GoPro-1111": "MD", "DPDD-74": "DD", "SIDD-1280": "DN"}
OWN_PHOTOS = {D1: COMPLEX, "RealSR-x4": "SR", **ISOLATED}
PLAIN = ("LQ", *CHEAP, "BR=1")
EXTRA: dict[int, list[tuple[str, str, str]]] = {
    2: [(photos, OWN_PHOTOS.get(photos, photos), m) for photos in (D1, "Real60") for m in PLAIN],
    3: [(p, OWN_PHOTOS.get(p, p), m) for p in ("DiversePhotos-x4", "RealSR-x4", "DRealSR-x4") for m in PLAIN],
    4: [
        *((D1, COMPLEX, method) for method in (SEARCH, WORDS)),
        *((D1, COMPLEX, f"DownLQ{factor}=1") for factor in (8, 16)),
        *((D1, GRIDS, method) for method in ("one-hot", strategies.BLIND)),
    ],
    5: [
        *((D1, GRIDS, method) for method in ("corrected surrogate, best 12", "surrogate, best 12", "one-hot")),
        *((D1, COMPLEX, method) for method in (SEARCH, "BR=1", *CHEAP)),
    ],
    6: [(photos, ISOLATED[photos], m) for photos in ISOLATED for m in ("LQ", "BR=1")],
}


@dataclass(frozen=True)
class Line:
    """One line of a table. `printed` is the paper's name of it, None where it is ours alone."""

    photos: str  # the paper's
    printed: str | None
    ours: str  # our photos, where the paper's are not on this disk
    method: str  # in our rows
    comparable: bool = True  # done as in the paper: the difference on the same photos means something

    @property
    def label(self) -> str:
        return self.method if self.printed is None else self.printed


def paper_table(number: int, folder: Path = PAPER) -> pd.DataFrame:
    """A table of the paper, tidy: photos, line, metric, value; what is a dash there is not in it.

    Test: test_tables.py::test_a_printed_table_becomes_tidy
    """
    wide = pd.read_csv(folder / f"unires_table{number}.csv", dtype=str, keep_default_na=False).rename(columns=RENAMED)
    names = [list(filter(None, words)) for words in wide[list(LABELS[number])].itertuples(index=False)]
    wide.insert(0, "line", [", ".join(words) for words in names])
    wide.insert(0, "photos", wide["test_set"] if "test_set" in wide else D1)
    values = [column for column in wide if column not in ("photos", "line", *ASIDE, *LABELS[number])]
    tidy = wide.reset_index().melt(["index", "photos", "line"], values, "metric", "value")
    tidy = tidy[tidy["value"] != ""].astype({"value": float}).sort_values("index", kind="stable")
    return tidy[["photos", "line", "metric", "value"]].reset_index(drop=True)


def lines(number: int, search: config.SearchConfig, paper: pd.DataFrame | None = None) -> list[Line]:
    """A table's lines: for each of the paper's test sets what is printed, then what is ours alone.

    `search` is the profile's. One through the grid needs no committed table: it and its parts are run.
    Test: test_tables.py::test_every_printed_line_has_a_place, test_the_papers_search_has_its_lines
    """
    paper, names = paper_table(number) if paper is None else paper, renamed(search)

    def line(photos, printed, ours, method):
        if method not in names:
            return Line(photos, printed, ours, method)
        return Line(photos, printed, COMPLEX if ours == GRIDS else ours, names[method], search == profiles.PAPER.search)

    found, wanted = [], [extra for extra in EXTRA[number] if extra[2] != WORDS or WORDS in names]
    for photos in paper["photos"].unique():
        for printed in paper.loc[paper["photos"] == photos, "line"].unique():
            found.append(line(photos, printed, *OURS[number].get((photos, printed), (photos, printed))))
        held = {(one.photos, one.method) for one in found}
        extra = [line(photos, None, ours, method) for beside, ours, method in wanted if beside == photos]
        found += [one for one in extra if (photos, one.method) not in held]
    return found


def ours(rows: list[Row]) -> pd.DataFrame:
    """Our rows, tidy as the paper's: means over photos with their number n, or no value and the reason.

    Costs are metrics too, as medians over photos: seconds, UNet calls. A metric counts in the variant of METRICS alone.
    Test: test_tables.py::test_ours_against_numpy
    """
    found, why, cost = {}, {}, {}
    for r in rows:
        at = (r["set"], r["method"])
        if r["metric"] in EVERY and r["variant"] not in ("", EVERY[r["metric"]].variant):
            continue
        if r["status"] != "ok":
            why[(*at, r["metric"])] = r["reason"]
            continue
        found.setdefault((*at, r["metric"]), {})[r["image"]] = r["value"]
        for name, given in (("seconds", r["seconds"]), ("UNet calls", r["unet_calls"])):
            if given is not None:
                cost.setdefault((*at, name), {})[r["image"]] = given
    for at in {at[:2] for at in cost} - {at[:2] for at in cost if at[2] == "seconds"}:
        why[(*at, "seconds")] = LOOKED_UP
    tidy = [(*at, pd.Series(values).mean(), len(values), None) for at, values in found.items()]
    tidy += [(*at, pd.Series(values).median(), len(values), None) for at, values in cost.items()]
    tidy += [(*at, None, 0, reason) for at, reason in why.items() if at not in found]
    table = pd.DataFrame(tidy, columns=["photos", "method", "metric", "value", "n", "reason"])
    return table.astype({"value": float})


def beside(ours: pd.DataFrame, paper: pd.DataFrame, lines: list[Line], metrics: tuple[str, ...]) -> pd.DataFrame:
    """Ours, the paper's and the difference for each metric, as columns "ours psnr", "paper psnr", "difference psnr".

    Ours comes from the paper's photos where we have rows on them, else from our own. A difference is only given on the
    same photos, for the same metric and, where weights are searched, for the paper's search. Columns in which nothing
    stands are left out, and so are lines of our own for photos that aren't here.
    Test: test_tables.py::test_beside_by_hand
    """
    held, told = _held(ours), paper.set_index(["photos", "line", "metric"])["value"].to_dict()
    body, labels = [], []
    for line in lines:
        photos = _photos(held, line)
        n = max((held[key]["n"] for key in held if key[:2] == (photos, line.method)), default=0)
        if line.printed is None and n == 0 and photos == line.photos:
            continue
        labels.append(line.label)
        cells = {"photos": line.photos, "our photos": photos, "n": n}
        for metric in metrics:
            mine = held.get((photos, line.method, metric), {}).get("value")
            theirs = told.get((line.photos, line.printed, metric))
            same = line.comparable and photos == line.photos and metric in EVERY
            cells[f"ours {metric}"] = NOT_RUN if mine is None or pd.isna(mine) else mine
            cells[f"paper {metric}"] = "" if theirs is None else theirs
            both = same and theirs is not None and cells[f"ours {metric}"] != NOT_RUN
            cells[f"difference {metric}"] = mine - theirs if both else ""
        body.append(cells)
    table = pd.DataFrame(body, pd.Index(labels, name="line"), dtype=object)
    return table[[c for c in table if c.startswith(("ours ", "n")) or (table[c] != "").any()]]


def reasons(ours: pd.DataFrame, lines: list[Line], metrics: tuple[str, ...]) -> pd.DataFrame:
    """Why a value of ours is missing: each reason once, with the metrics and the number of lines that it concerns.

    Test: test_tables.py::test_what_is_missing_says_why
    """
    held, found = _held(ours), {}
    for line in lines:
        photos = _photos(held, line)
        mapped = line.printed is None or line.printed != line.method
        same = [cell for key, cell in held.items() if key[:2] == (photos, line.method)]
        other = None if any(cell["n"] for cell in same) else next((cell["reason"] for cell in same), None)
        for metric in metrics:
            cell = held.get((photos, line.method, metric), {})
            if pd.isna(cell.get("value")):
                reason = cell.get("reason") or other or (NO_ROW if mapped else PEER)
                found.setdefault(reason, []).append((metric, line.label))
    body = [
        (reason, ", ".join(dict.fromkeys(metric for metric, _ in cells)), len({label for _, label in cells}))
        for reason, cells in found.items()
    ]
    return pd.DataFrame(body, columns=["reason", "metrics", "lines"])


def heading(table: pd.DataFrame) -> str:
    """The one line above a table: how it must be read.

    Test: test_tables.py::test_beside_by_hand
    """
    if any(column.startswith("difference ") for column in table):
        return (
            "A difference is given where the photos are the paper's; the model is another one. In the other lines the "
            "photos differ too: read down the columns, never across."
        )
    return "Another model and other photos than the paper's: read down the columns, never across. So no difference."


def shade_top(table: pd.DataFrame):
    """The table as a pandas Styler: in each column the best three are shaded, among lines of the same photos.

    Raises: ValueError for a metric of which nobody knows which way is up.
    Test: test_tables.py::test_the_best_three_are_shaded
    """
    shades = pd.DataFrame("", index=range(len(table)), columns=table.columns)
    formats = {}
    for column in table:
        part, _, metric = column.partition(" ")
        if part not in ("ours", "paper", "difference") or column == "our photos":
            continue
        if metric not in UP:
            raise ValueError(f"column {column!r}: is higher better? Say it in benchmarks.tables.UP")
        digits = DIGITS.get(metric, 4 if part == "paper" else 3)
        sign = "+" if part == "difference" else ""
        formats[column] = lambda v, d=digits, s=sign: v if isinstance(v, str) else f"{v:{s}.{d}f}"
        if part == "difference":
            continue
        values = pd.to_numeric(table[column].reset_index(drop=True), errors="coerce")
        groups = table["our photos" if part == "ours" else "photos"].reset_index(drop=True)
        rank = values.groupby(groups).rank(method="min", ascending=not UP[metric])
        for place, shade in enumerate(SHADES, 1):
            shades.loc[rank == place, column] = f"background-color: {shade}"
    shown = table.reset_index()  # a Styler needs names that come once
    heads = {c: f"{part} {TITLES.get(m, m)}" for c in formats for part, _, m in (c.partition(" "),)}
    shades.insert(0, "line", "")
    style = shown.style.apply(lambda _: shades, axis=None).format(formats)
    style = style.format_index(lambda c: heads.get(c, c), axis=1).hide(axis=0)
    return style.set_uuid("table").set_caption(heading(table))


def _held(ours: pd.DataFrame) -> dict:
    return {(r["photos"], r["method"], r["metric"]): r for r in ours.to_dict("records")}


def _photos(held: dict, line: Line) -> str:
    """The paper's photos if anything of this line was measured on them, or on the first of them; else our own."""
    measured = {photos for (photos, method, _), cell in held.items() if method == line.method and cell["n"]}
    first = sorted(photos for photos in measured if photos.startswith(f"{line.photos}[:"))
    return line.photos if line.photos in measured else first[0] if first else line.ours


def save(table: pd.DataFrame, run_dir: str | Path, name: str) -> Path:
    """The table as one CSV of the run.

    Test: test_tables.py::test_a_table_is_saved_as_it_stands
    """
    return write_table(table.map(lambda v: float(f"{v:.6g}") if isinstance(v, float) else v), run_dir, name)
