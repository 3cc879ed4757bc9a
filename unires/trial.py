"""A strategy at work: samples and scores what the ledger doesn't know, and keeps the accounts."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from unires.engine import Study
from unires.ledger import CURVED, MIXED, SAMPLED, Entry, Ledger, mix_of
from unires.restore import silent
from unires.score import Score
from unires.shapes import AnyArray, Photo, Weights
from unires.tasks import weights_vector

Vectors = Float[AnyArray, "n k"]


def anchors(experts: int, curved: bool) -> Vectors:
    """The vectors that are sampled to guess all others: each expert alone, with `curved` also half and half of each
    pair, K + K (K - 1) / 2 in all.

    Test: test_search.py::test_shares_of_the_anchors
    """
    alone = np.eye(experts, dtype=np.float32)
    if not curved:
        return alone
    first, second = np.triu_indices(experts, 1)
    return np.concatenate([alone, (alone[first] + alone[second]) / 2])


def shares(w: Weights, curved: bool) -> Float[np.ndarray, " anchors"]:
    """What each anchor adds to the guess for w; they sum to 1.

    The polynomial of first or second degree in w that is right at the anchors. Where the weights sum to 1, that of
    second degree has the shares w_i (2 w_i - 1) for an expert and 4 w_i w_j for a pair.
    Paper: our choice.
    Test: test_search.py::test_shares_of_the_anchors
    """
    w = np.asarray(w, np.float64)
    if not curved:
        return w
    first, second = np.triu_indices(len(w), 1)
    return np.concatenate([w * (2 * w - 1), 4 * w[first] * w[second]])


@dataclass(frozen=True)
class Tried:
    """One line of a strategy's table: sampled, or guessed (mixed, curved) from the anchors' final latents."""

    weights: tuple[float, ...]
    steps: int
    kind: str
    scores: dict[str, float]  # by Score.key, larger is better


@dataclass(frozen=True)
class Found:
    """What a strategy chose and what that costs.

    The cost is the strategy's own, as if nothing had been known before; `paid` is what this run really computed
    (a ledger answers for the rest). `seconds` are this run's, and those the ledger remembers for its answers.
    """

    strategy: str
    weights: Weights
    score: float
    scores: dict[str, float]  # of the choice, the held-out ones too
    photo: Photo
    unet_calls: int
    decodes: int
    score_calls: int  # of the score that decides
    seconds: float
    paid: int  # UNet calls
    tried: tuple[Tried, ...]


@dataclass
class Trial:
    """A strategy at work: samples, decodes and scores what the ledger doesn't know yet, and keeps the accounts."""

    study: Study
    scores: Sequence[Score]
    ledger: Ledger
    tried: dict[tuple, Tried] = field(default_factory=dict)

    def __post_init__(self):
        if not self.scores:
            raise ValueError("a search needs at least one score")
        self.began, self.remembered, self.paid_before = time.perf_counter(), 0.0, self.study.paid.unet_calls
        self.wanted: set[tuple] = set()  # keys whose latents are kept
        self.best: dict[int, tuple] = {}  # by steps: score, key and photo of what leads

    @classmethod
    def open(cls, study: Study, scores: Score | Sequence[Score], ledger: Ledger | str | os.PathLike | None) -> "Trial":
        """`ledger`: one that is open, the folder of all ledgers, or None for one that is forgotten afterwards."""
        scores = [scores] if isinstance(scores, Score) else list(scores)
        return cls(study, scores, ledger if isinstance(ledger, Ledger) else Ledger(study.identity, ledger))

    def sample(self, vectors: Vectors, steps: int | None = None) -> list[Tried]:
        """Try vectors exactly. Each one is written into the ledger as soon as it is scored."""
        steps = self.study.config.sample.steps if steps is None else steps
        return self._try(vectors, steps, SAMPLED, lambda todo: self.study.latents(todo, steps))

    def mix(self, vectors: Vectors, latents: AnyArray, steps: int) -> list[Tried]:
        """Try vectors cheaply: guesses from the final latents of the anchors [n h w c], decoded and scored."""
        curved = len(latents) > len(self.study.experts)

        def mixed(todo):
            for index, w in enumerate(todo):
                yield index, np.einsum("k,khwc->hwc", shares(w, curved), latents)[None].astype(np.float32)

        return self._try(vectors, steps, CURVED if curved else MIXED, mixed)

    def final_latents(self, vectors: Vectors, steps: int) -> Float[np.ndarray, "n h w c"]:
        """Exact final latents of a few vectors, from the ledger where it has them."""
        vectors = np.asarray(vectors, np.float32)
        keys = [mix_of(w, self.study.experts) for w in vectors]
        self.wanted |= {(key, steps, SAMPLED) for key in keys}
        self.sample(vectors, steps)
        missing = [k for k, key in enumerate(keys) if self.ledger.latent(key, steps) is None]
        for index, z_0 in self.study.latents(vectors[missing], steps):
            self.ledger.keep(keys[missing[index]], steps, z_0)
        return np.concatenate([self.ledger.latent(key, steps) for key in keys])

    def _try(self, vectors, steps: int, kind: str, make: Callable) -> list[Tried]:
        experts, names = self.study.experts, [score.key for score in self.scores]
        vectors = [weights_vector(w, experts) for w in vectors]
        keys = [(mix_of(w, experts), steps, kind) for w in vectors]
        todo = {}
        for w, key in zip(vectors, keys, strict=True):
            entry = self.ledger.get(*key)
            if entry is None or not set(names) <= entry.scores.keys():
                todo[key] = w
            elif key not in self.tried:
                self.remembered += entry.seconds
                self._note(key, w, entry.scores, None)
        began, places = time.perf_counter(), list(todo)
        made = make(np.stack(list(todo.values()))) if todo else ()
        for index, z_0 in tqdm(made, desc=f"{kind}, {steps} steps", total=len(todo), unit="w", disable=silent()):
            key = places[index]
            photo = self.study.photo(z_0)
            values = {score.key: score(photo) for score in self.scores}
            w, now = todo[key], time.perf_counter()
            calls = int(np.count_nonzero(w)) * (steps - 1) if kind == SAMPLED else 0
            leads = self._note(key, w, values, photo)
            if kind == SAMPLED and (leads or key in self.wanted or np.count_nonzero(w) == 1):
                self.ledger.keep(key[0], steps, z_0)
            kept = {name: value if np.isfinite(value) else None for name, value in values.items()}
            self.ledger.add(Entry(*key, kept, calls, round(now - began, 4)))
            began = now
        return [self.tried[key] for key in keys]

    def _note(self, key, w, values: dict, photo: Photo | None) -> bool:
        """Enter a line into the table; whether it leads."""
        scores = {s.key: -np.inf if values[s.key] is None else values[s.key] for s in self.scores}
        self.tried[key] = Tried(tuple(map(float, w)), key[1], key[2], scores)
        score, best = scores[self.scores[0].key], self.best.get(key[1])
        leads = key[2] == SAMPLED and (best is None or score > best[0])
        if leads:
            self.best[key[1]] = (score, key, photo)
        return leads

    def rank(self, lines: Sequence[Tried]) -> list[Tried]:
        """From best to worst; equals stay in order."""
        return sorted(lines, key=lambda line: -self.score(line))

    def score(self, line: Tried) -> float:
        """What decides about a line."""
        return line.scores[self.scores[0].key]

    def finish(self, strategy: str, lines: Sequence[Tried]) -> Found:
        """The best of these sampled lines, its photo, and the bill.

        Raises: ValueError for an empty list.
        """
        if not lines:
            raise ValueError("no candidate weights were given")
        chosen = self.rank(lines)[0]
        photo = self._photo(chosen)
        return Found(
            strategy=strategy,
            weights=np.asarray(chosen.weights, np.float32),
            score=self.score(chosen),
            scores=chosen.scores,
            photo=photo,
            unet_calls=self._calls(),
            decodes=len(self.tried),
            score_calls=len(self.tried),
            seconds=time.perf_counter() - self.began + self.remembered,
            paid=self.study.paid.unet_calls - self.paid_before,
            tried=tuple(self.tried.values()),
        )

    def _calls(self) -> int:
        """UNet calls of all sampled lines, as if nothing had been known: the first steps once, then each line's own."""
        calls, asked = 0, {}  # the experts asked at each first time
        for line in self.tried.values():
            if line.kind == SAMPLED:
                used = np.asarray(line.weights) != 0
                time_t = self.study.first_time(line.steps)
                asked[time_t] = asked.get(time_t, False) | used
                calls += int(used.sum()) * (line.steps - 1)
        return calls + sum(int(used.sum()) for used in asked.values())

    def _photo(self, line: Tried) -> Photo:
        """The photo of a sampled line: at hand, from its kept latent, or else sampled once more."""
        key = (mix_of(np.asarray(line.weights), self.study.experts), line.steps, line.kind)
        _, leader, photo = self.best[line.steps]
        if leader == key and photo is not None:
            return photo
        z_0 = self.ledger.latent(key[0], line.steps)
        if z_0 is None:
            ((_, z_0),) = self.study.latents([np.asarray(line.weights, np.float32)], line.steps)
            self.ledger.keep(key[0], line.steps, z_0)
        return self.study.photo(z_0)
