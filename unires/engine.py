"""The engine: many weight vectors for one photo, at the least number of UNet calls that is still exact.

A call is one expert's forward pass for one candidate at one step. Two savings cost nothing: experts with weight
zero are left out, and the first step is shared, for there all candidates hold the same noise z_T and so every
expert answers all of them at once. Candidates of any kind share one compiled program: its rows are (candidate,
expert) pairs.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from unires.compose import down_lq
from unires.photo import as_photo
from unires.restore import COLOURS, Restorer
from unires.sample import ddim_plan, in_parts
from unires.schedule import split_prediction
from unires.shapes import AnyArray, Photo, Weights
from unires.tasks import weights_vector

ROWS = 12  # candidates of 1, 2, 3, 4 and 6 experts fill twelve rows without a gap
MOST = 8 * ROWS  # a larger device is busy with these


@dataclass
class Paid:
    """What has really been computed. `padding` are rows of a last batch that nobody asked for."""

    unet_calls: int = 0
    padding: int = 0
    decodes: int = 0


def unet_calls(vectors: AnyArray, steps: int) -> int:
    """Calls for a list of vectors: one an expert in the shared first step, then one an active expert and step.

    The grid of 1512 costs 6 + 5796 (S - 1), for 5796 of its 9072 weights are not zero.
    Paper: the cost of its search is K S calls a vector; leaving out what is not needed is our choice.
    Test: test_engine.py::test_the_whole_grid_costs_what_the_formula_says
    """
    used = np.asarray(vectors) != 0
    return int(used.any(0).sum() + used.sum() * (steps - 1))


def pack(sizes: Iterable[int], rows: int) -> list[list[int]]:
    """Put candidates of these sizes into batches of at most `rows` rows, the largest first; returns their indices.

    Raises: ValueError for a candidate with more experts than rows.
    Test: test_engine.py::test_packing_loses_nobody_and_hardly_a_row
    """
    waiting: dict[int, list[int]] = {}
    for index, size in enumerate(sizes):
        if not 1 <= size <= rows:
            raise ValueError(f"a candidate with {size} active experts does not fit a batch of {rows} rows")
        waiting.setdefault(size, []).append(index)
    for queue in waiting.values():
        queue.reverse()  # taken from the end
    batches = []
    while waiting:
        batch, left = [], rows
        while fitting := [size for size in waiting if size <= left]:
            size = max(fitting)
            batch.append(waiting[size].pop())
            left -= size
            if not waiting[size]:
                del waiting[size]
        batches.append(batch)
    return batches


def middle(photo: AnyArray, side: int) -> Photo:
    """The centre of a photo, at most `side` pixels wide and high, at its own pixels.

    A reduced photo would hide the noise and blur that the weights are chosen for.
    Paper: our choice, for photos larger than a tile.
    Test: test_engine.py::test_large_photos_are_searched_in_the_middle
    """
    y = as_photo(photo)
    top, left = (max(0, (length - side) // 2) for length in y.shape[:2])
    return y[top : top + side, left : left + side]


class Engine:
    """A restorer with the compiled programs of the search; `study` puts one photo on the table.

    `rows` (candidate, expert) pairs share a batch; if not given, as many dozens as memory allows for a photo of a tile.
    More pairs than memory allows go through the UNet in parts.
    Paper: section 3; many w at once is our choice.
    Test: test_engine.py::test_batches_equal_a_naive_loop
    """

    def __init__(self, restorer: Restorer, rows: int | None = None):
        self.restorer, self.experts = restorer, restorer.experts
        fit = restorer.rows(restorer.config.sample.tile, restorer.config.sample.tile)
        if rows is None:
            rows = min(fit // ROWS * ROWS, MOST)
        self.rows = max(rows, len(self.experts))
        self.context = jnp.stack([restorer.context[expert.name] for expert in self.experts])
        prediction, rebuild = restorer.schedule.config.prediction, restorer.rebuild

        @jax.jit
        def predict(arrays, z, z_lq, context, candidate, expert, t):
            times = jnp.full(candidate.shape, t)
            ask = rebuild(arrays).predict
            return in_parts(ask, fit, z[candidate], z_lq[expert], times, context[expert])

        @jax.jit
        def advance(z, output, row, w, now):
            _, alpha, sigma, alpha_next, sigma_next = now
            composed = jnp.zeros_like(z)
            for k in range(w.shape[1]):  # a weight of zero never touches another candidate's numbers
                part = w[:, k, None, None, None] * output[row[:, k]]
                composed += jnp.where(w[:, k, None, None, None] != 0, part, 0)
            z_0, eps = split_prediction(z, composed, alpha, sigma, prediction)
            return alpha_next * z_0 + sigma_next * eps

        self._predict, self._advance = predict, advance

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the weights themselves, whatever file they came from."""
        digest = hashlib.sha256()
        for name, array in sorted(self.restorer.arrays.items()):
            digest.update(f"{name} {array.shape} {array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def study(self, photo: AnyArray, seed: int = 0) -> "Study":
        """Prepare one photo that fits a tile; see `Study`."""
        return Study(self, photo, seed)


class Study:
    """One photo under search: its condition latents, its noise and its shared first step, each made once.

    Raises: ValueError for a photo that is larger than a tile.
    Test: test_engine.py::test_a_study_restores_as_the_restorer_does
    """

    def __init__(self, engine: Engine, photo: AnyArray, seed: int = 0):
        restorer, self.engine, self.seed = engine.restorer, engine, seed
        self.y = as_photo(photo)
        self.config, self.experts = restorer.config, engine.experts
        padded = restorer.pad(self.y)
        if max(padded.shape[:2]) > (tile := self.config.sample.tile):
            h, w = self.y.shape[:2]
            raise ValueError(f"a search takes photos of one tile, {tile} pixels, not {h} x {w}: give it middle(photo)")
        by_factor = {f: restorer.encode(restorer.pad(down_lq(self.y, f))) for f in {e.factor for e in self.experts}}
        self.z_lq = jnp.concatenate([by_factor[expert.factor] for expert in self.experts])
        self.z_t = restorer.noise(*padded.shape[:2], seed)
        self.paid = Paid()
        self._first: dict[int, tuple[set[int], AnyArray]] = {}
        self._alone: dict[int, np.ndarray] = {}

    @property
    def identity(self) -> dict:
        """All that a final photo depends on, but for the mix and the number of steps.

        Test: test_engine.py::test_the_identity_follows_all_that_a_photo_depends_on
        """
        parts = ("vae", "unet", "text", "schedule")
        return {
            "photo": hashlib.sha256(str(self.y.shape).encode() + self.y.tobytes()).hexdigest(),
            "checkpoint": self.engine.fingerprint,
            "config": {part: asdict(getattr(self.config, part)) for part in parts},
            "spacing": [self.config.sample.spacing, self.config.sample.steps],
            "colour": self.config.sample.colour,
            "seed": self.seed,
        }

    def first_time(self, steps: int) -> int:
        """The time of the first step: strategies with the same one share it, whatever their number of steps."""
        return int(self._schedule.grid(steps, self.config.sample.spacing_of(steps))[0])

    def alone(self, steps: int | None = None) -> Float[np.ndarray, "k h w c"]:
        """Final latents of each expert alone, sampled once: `latents` hands them out again.

        Test: test_judge.py::test_the_experts_are_not_paid_twice
        """
        steps = self.config.sample.steps if steps is None else steps
        if steps not in self._alone:
            found = dict(self.latents(np.eye(len(self.experts), dtype=np.float32), steps))
            self._alone[steps] = np.concatenate([found[k] for k in range(len(found))])
        return self._alone[steps]

    def latents(self, vectors: Iterable[Weights], steps: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Sample every vector; yields its place in the list and z_0 [1 h w c], batch after batch.

        Shapes: each vector [k], one weight an expert, summing to 1.
        """
        steps = self.config.sample.steps if steps is None else steps
        w = {place: weights_vector(vector, self.experts) for place, vector in enumerate(vectors)}
        for place in [place for place, one in w.items() if steps in self._alone and np.count_nonzero(one) == 1]:
            expert = int(w.pop(place).argmax())
            yield place, self._alone[steps][expert : expert + 1]
        if not w:
            return
        places, w = list(w), np.stack(list(w.values()))
        plan = ddim_plan(self._schedule, steps, self.config.sample.spacing_of(steps))
        plan = [tuple(now) for now in zip(*plan, strict=True)]
        used = w != 0
        first = self._first_step(plan[0], set(np.flatnonzero(used.any(0)).tolist()))
        few = bool(used.sum() <= len(self.experts))  # a short list doesn't pay for a wide program
        for batch in pack(used.sum(1).tolist(), len(self.experts) if few else self.engine.rows):
            yield from zip([places[i] for i in batch], self._batch(w[batch], first, plan, few), strict=True)

    def photo(self, z_0: AnyArray) -> Photo:
        """The photo of a final latent [1 h w c], cropped and colour-corrected as by the restorer."""
        self.paid.decodes += 1
        h, w = self.y.shape[:2]
        x_hat = self.engine.restorer.decode(jnp.asarray(z_0))[:h, :w]
        return COLOURS[self.config.sample.colour](x_hat, self.y).astype(np.float32)

    @property
    def _schedule(self):
        return self.engine.restorer.schedule

    def _ask(self, z, candidate: list[int], expert: list[int], rows: int, t) -> AnyArray:
        """Predictions of (candidate, expert) pairs, padded with copies of the first pair."""
        spare = rows - len(expert)
        self.paid.unet_calls += len(expert)
        self.paid.padding += spare
        pairs = (np.array(pair + pair[:1] * spare, np.int32) for pair in (candidate, expert))
        return self.engine._predict(self.engine.restorer.arrays, z, self.z_lq, self.engine.context, *pairs, t)

    def _first_step(self, now: tuple, wanted: set[int]) -> AnyArray:
        """Every wanted expert's prediction at z_T, [k h w c]; kept, because all candidates need the same ones."""
        known, output = self._first.get(int(now[0]), (set(), jnp.zeros_like(self.z_lq)))
        if missing := sorted(wanted - known):
            z = jnp.broadcast_to(self.z_t, self.z_lq.shape)
            found = self._ask(z, [0] * len(missing), missing, len(self.experts), now[0])
            output = output.at[np.array(missing)].set(found[: len(missing)])
            self._first[int(now[0])] = (known | wanted, output)
        return output

    def _batch(self, w: np.ndarray, first: AnyArray, plan: list[tuple], few: bool) -> np.ndarray:
        """z_0 of the candidates of one batch, each [1 h w c]."""
        rows, (n, k) = len(self.experts) if few else self.engine.rows, w.shape
        weights = np.zeros((rows, k), np.float32)
        weights[:n] = w
        row = np.zeros((rows, k), np.int32)
        candidate, expert = np.nonzero(w)
        row[candidate, expert] = np.arange(len(expert))
        z = jnp.broadcast_to(self.z_t, (rows, *self.z_t.shape[1:]))
        z = self.engine._advance(z, first, np.broadcast_to(np.arange(k, dtype=np.int32), row.shape), weights, plan[0])
        for now in plan[1:]:
            output = self._ask(z, candidate.tolist(), expert.tolist(), rows, now[0])
            z = self.engine._advance(z, output, row, weights, now)
        return np.asarray(z)[:n, None]
