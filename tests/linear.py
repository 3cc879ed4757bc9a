"""A restorer whose network is a line: predictions slope * z_t + z_LQ / 4 + a pattern of the expert's own.

The engine, the ledger and the strategies run on it as they run on a model, in milliseconds, and what they find can be
worked out by hand.
"""

from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from unires.engine import Engine, Study
from unires.profiles import SMOKE
from unires.restore import Restorer
from unires.sample import ddim
from unires.schedule import Schedule
from unires.tasks import EXPERTS

CONFIG = replace(SMOKE, sample=replace(SMOKE.sample, steps=3, colour="none"))


class Line:
    """The part of a model that the engine asks."""

    def __init__(self, arrays):
        self.arrays = arrays

    def predict(self, z, z_lq, t, context):
        slope, own = context[:, 0, 0, None, None, None], context[:, 0, 1:]
        return slope * z + z_lq / 4 + jnp.einsum("rk,khwc->rhwc", own, self.arrays["patterns"])


class LinearRestorer(Restorer):
    """`slopes`: one an expert; equal ones make the final latent an affine function of w."""

    def __init__(self, experts=EXPERTS, slopes=0.1, config=CONFIG):
        k = len(experts)
        self.config, self.experts, self.rebuild = config, experts, Line
        self.schedule = Schedule.make(config.schedule)
        patterns = np.random.default_rng(7).standard_normal((k, 16, 16, 4)).astype(np.float32)
        self.arrays = {"patterns": jnp.asarray(patterns)}
        rows = np.concatenate([np.broadcast_to(slopes, k)[:, None], np.eye(k)], axis=1).astype(np.float32)
        self.context = {expert.name: jnp.asarray(row[None]) for expert, row in zip(experts, rows, strict=True)}
        self.multiple = 8

    def encode(self, x):
        y = x.reshape(x.shape[0] // 4, 4, x.shape[1] // 4, 4, 3).mean((1, 3))
        return jnp.asarray(np.concatenate([y, y.mean(-1, keepdims=True)], axis=-1)[None])

    def _sample_tile(self, conditions, w, z_t, steps):
        """One photo without the engine, as the restorer asks for it."""
        slope, own = (np.stack([np.asarray(self.context[e.name])[0, i] for e in self.experts]) for i in (0, np.s_[1:]))
        z_lq = {factor: self.encode(y) for factor, y in conditions.items()}
        h, wide = z_t.shape[1:3]

        def predict(z, t):
            z = z * float(w @ slope) + jnp.einsum("k,khwc->hwc", w @ own, self.arrays["patterns"])[None, :h, :wide]
            return z + sum(float(v) * z_lq[e.factor] for v, e in zip(w, self.experts, strict=True) if v) / 4

        steps = steps or self.config.sample.steps
        return ddim(predict, z_t, self.schedule, steps, self.config.sample.spacing_of(steps))

    def decode(self, z):
        return 0.5 + 0.04 * np.asarray(z)[0, :, :, :3].repeat(4, axis=0).repeat(4, axis=1)

    def noise(self, h, w, seed):
        return jax.random.normal(jax.random.key(seed), (1, h // 4, w // 4, 4))


@lru_cache
def engine(slopes=0.1) -> Engine:
    """Compiled once for all tests that ask for the same slopes."""
    return Engine(LinearRestorer(slopes=slopes))


def study(slopes=0.1, seed: int = 0) -> Study:
    """A photo of noise on the table."""
    return engine(slopes).study(np.random.default_rng(1).random((64, 64, 3), np.float32), seed)
