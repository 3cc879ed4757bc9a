"""The ledger: what has been sampled and scored, kept on disk so that it is never paid for twice."""

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unires.files import write_beside
from unires.shapes import AnyArray, Weights
from unires.tasks import Expert

Mix = tuple[tuple[str, int, float], ...]  # (prompt, factor, weight) of every expert that takes part, sorted

# The true final latent, or a guess: the weighted sum of the experts' own, or with halves of pairs (`curved`) as well.
SAMPLED, MIXED, CURVED = "sampled", "mixed", "curved"


def mix_of(w: Weights, experts: tuple[Expert, ...]) -> Mix:
    """A weight vector as the ledger knows it: by prompt and factor, so that lists of experts share entries.

    Test: test_ledger.py::test_a_mix_does_not_depend_on_the_list
    """
    parts = zip(experts, np.asarray(w, np.float64), strict=True)
    return tuple(sorted((e.prompt, e.factor, round(float(v), 6)) for e, v in parts if v != 0))


@dataclass(frozen=True)
class Entry:
    """One line: one mix, how it was made, and what it scored. A score that is no number is kept as None.

    Test: test_ledger.py::test_strategies_share_what_was_sampled
    """

    mix: Mix
    steps: int
    kind: str
    scores: dict[str, float | None]
    calls: int  # of the UNet, without the first step, which all mixes share
    seconds: float


class Ledger:
    """Everything known about one photo under one checkpoint, sampler and seed.

    A folder named by the hash of `identity`, under `root`: `identity.json`, `scores.jsonl` with one line an entry,
    and `latents/` with the few final latents that are worth their space. Without `root` it lives in memory.
    Lines are appended whole, by one write each; a line torn by a kill is passed over when the ledger is read
    again, and its mix is sampled again. Latents are written beside and renamed.
    Test: test_ledger.py::test_a_torn_line_is_ignored, test_ledger.py::test_round_trip
    """

    def __init__(self, identity: dict, root: str | os.PathLike | None = None):
        text = json.dumps(identity, sort_keys=True)
        self.folder = None if root is None else Path(root) / hashlib.sha256(text.encode()).hexdigest()[:24]
        self._entries: dict[tuple, Entry] = {}
        self._latents: dict[tuple, np.ndarray] = {}
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "identity.json").exists():
            write_beside(
                self.folder / "identity.json", (json.dumps(identity, indent=1, sort_keys=True) + "\n").encode()
            )
        self._file = self.folder / "scores.jsonl"
        data = self._file.read_bytes() if self._file.exists() else b""
        if data and not data.endswith(b"\n"):
            self._append(b"\n")  # closes the torn line, so that the next one stands alone
        for line in data.splitlines():
            entry = _parse(line)
            if entry is not None:
                self._remember(entry)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, mix: Mix, steps: int, kind: str = SAMPLED) -> Entry | None:
        """What is known of a mix, all its scores together; None if it was never made."""
        return self._entries.get((mix, steps, kind))

    def add(self, entry: Entry) -> None:
        """Write one entry down; scores of a mix that is known already are added to it."""
        self._remember(entry)
        if self.folder is not None:
            fields = dict(entry.__dict__, mix=[list(part) for part in entry.mix])
            self._append((json.dumps(fields, sort_keys=True) + "\n").encode())

    def keep(self, mix: Mix, steps: int, z_0: AnyArray) -> None:
        """Keep a final latent."""
        if self.folder is None:
            self._latents[mix, steps] = np.asarray(z_0, np.float32)
        else:
            buffer = io.BytesIO()
            np.save(buffer, np.asarray(z_0, np.float32), allow_pickle=False)
            write_beside(self._place(mix, steps), buffer.getvalue())

    def latent(self, mix: Mix, steps: int) -> np.ndarray | None:
        """A final latent that was kept, or None."""
        if self.folder is None:
            return self._latents.get((mix, steps))
        place = self._place(mix, steps)
        return np.load(place, allow_pickle=False) if place.exists() else None

    def _place(self, mix: Mix, steps: int) -> Path:
        return self.folder / "latents" / f"{hashlib.sha256(repr((mix, steps)).encode()).hexdigest()[:24]}.npy"

    def _remember(self, entry: Entry) -> None:
        key = (entry.mix, entry.steps, entry.kind)
        old = self._entries.get(key)
        if old is not None:
            entry = Entry(*key, {**old.scores, **entry.scores}, old.calls, old.seconds)
        self._entries[key] = entry

    def _append(self, data: bytes) -> None:
        handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)


def _parse(line: bytes) -> Entry | None:
    """An entry, or None for a line that a kill has torn."""
    try:
        fields = json.loads(line)
        mix = tuple((str(prompt), int(factor), float(w)) for prompt, factor, w in fields.pop("mix"))
        return Entry(mix=mix, **fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
