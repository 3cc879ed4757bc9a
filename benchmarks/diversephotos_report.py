"""DiversePhotos: the list of its 160 photos, and the report on what was found of them."""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

MANIFEST = Path(__file__).parent / "paper" / "diversephotos_manifest.csv"
OUTCOMES = {
    "found": "as printed",
    "repaired": "repaired misprint",
    "absent": "in no public index",
    "missing": "missing on disk",
    "unreadable": "unreadable",
    "too small": "too small",
}
NO_FOLDER = "no folder given"


@dataclass(frozen=True)
class Entry:
    """One line of the manifest: a photo of the test set."""

    source: str
    dominating_degradation: str
    printed_id: str
    image_id: str  # what it is called in its data set
    status: str  # found | repaired | absent, in the public indexes
    note: str


@dataclass(frozen=True)
class Result:
    """What became of one entry: a key of OUTCOMES, what to know about it, and the hash of its pixels."""

    entry: Entry
    outcome: str
    detail: str = ""
    sha256: str | None = None

    @property
    def name(self) -> str:
        entry = self.entry
        printed = f"{entry.printed_id} -> " if entry.printed_id != entry.image_id else ""
        return f"{entry.source} {printed}{entry.image_id}"


@dataclass(frozen=True)
class Report:
    """What became of all entries."""

    scale: int
    results: tuple[Result, ...]

    def named(self, outcome: str) -> list[str]:
        """The photos of one outcome, by name and with what to know about them."""
        chosen = [result for result in self.results if result.outcome == outcome]
        return [f"{result.name} ({result.detail})" if result.detail else result.name for result in chosen]

    @property
    def photos(self) -> int:
        """How many photos there are."""
        return sum(result.sha256 is not None for result in self.results)

    @property
    def complete(self) -> bool:
        """Whether every photo is there that a public index knows."""
        return not any(self.named(outcome) for outcome in ("missing", "unreadable", "too small"))

    def summary(self) -> str:
        """One sentence, which goes with the data set wherever it goes."""
        there = f"DiversePhotos x{self.scale}: {self.photos} of {len(self.results)} photos."
        if self.photos == len(self.results):
            return there
        if self.complete:
            return f"{there} The others are in no public index: means are over {self.photos} photos."
        return f"{there} INCOMPLETE: its scores are not those of the test set."

    def text(self, most: int | None = None) -> str:
        """The report to read; of each kind at most `most` names, a source without a folder in one line.

        Test: test_diversephotos.py::test_the_report_names_what_is_wrong
        """
        lines = [self.summary()]
        for outcome, words in OUTCOMES.items():
            names = self.named(outcome)
            lines.append(f"{words:>20} {len(names):4}")
            for source in sorted({name.split()[0] for name in names if name.endswith(f"({NO_FOLDER})")}):
                whole = [name for name in names if name.startswith(source)]
                names = [f"all of {source} ({NO_FOLDER})", *(name for name in names if name not in whole)]
            if outcome != "found":
                lines += [f"{'':26}{name}" for name in names[:most]]
                if len(names[:most]) < len(names):
                    lines.append(f"{'':26}and {len(names) - len(names[:most])} more")
        noted = [result for result in self.results if result.outcome == "found" and result.detail]
        return "\n".join(lines + [f"note: {result.name}: {result.detail}" for result in noted])

    def json(self) -> str:
        """Everything, for report.json."""
        counts = {outcome: len(self.named(outcome)) for outcome in OUTCOMES}
        photos = [
            asdict(result.entry) | {"outcome": result.outcome, "detail": result.detail, "sha256": result.sha256}
            for result in self.results
        ]
        head = {"scale": self.scale, "complete": self.complete, "wanted": len(photos), "photos": self.photos}
        told = {
            **head,
            "counts": counts,
            "sha256_is": "of the photo's pixels, 8-bit RGB, row by row",
            "results": photos,
        }
        return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def read_manifest() -> list[Entry]:
    """The 160 entries, in the paper's order.

    Paper: the listing of DiversePhotos in the appendix.
    Test:  test_diversephotos.py::test_the_manifest_has_the_counts_of_table_7
    """
    with MANIFEST.open(encoding="utf-8", newline="") as file:
        return [Entry(**line) for line in csv.DictReader(file)]
