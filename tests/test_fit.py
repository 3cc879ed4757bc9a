"""The optimisation loop on a loss whose every step can be worked out in NumPy."""

from dataclasses import replace
from threading import Event

import jax
import numpy as np
import pytest

from unires.config import Stage, TrainConfig
from unires.fit import fit, laid_ahead
from unires.mesh import make_mesh

CONFIG = TrainConfig((Stage(8, 4, 12),), 0.1, warmup=3, decay=False, weight_decay=0.5, ema=0.4, save_every=100)
START = np.array([3.0, -2.0, 0.5], np.float32)


def feed(start):
    for step in range(start, CONFIG.steps):
        yield {"x": np.random.default_rng(step).standard_normal((4, 3)).astype(np.float32)}


def squares(trained, fixed, batch, key):
    return ((trained["w"] - batch["x"] - jax.random.normal(key, (3,))) ** 2).sum(1).mean(), {}


def test_steps_are_those_of_a_loop_in_numpy(tmp_path):
    """AdamW (Loshchilov and Hutter 2019) of clipped gradients, the warm-up, the average with its ramp, a step's key."""
    w, ema, m, v, clipped = START.astype(np.float64), START.astype(np.float64), 0.0, 0.0, 0
    for step, batch in enumerate(feed(0)):
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(7), step), (3,))
        slope = 2 * (w - batch["x"].mean(0) - np.asarray(noise))
        length = np.linalg.norm(slope)
        slope, clipped = slope / max(length, 1.0), clipped + (length > 1)
        m, v, n = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2, step + 1
        moved = m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-8)
        w = w - 0.1 * min(1, step / 3) * (moved + 0.5 * w)
        decay = min(0.4, (1 + step) / (10 + step))
        ema = decay * ema + (1 - decay) * w
    found = fit(squares, {"w": START}, {}, feed, CONFIG, tmp_path, 7, "squares")["w"]
    np.testing.assert_allclose(found, ema, rtol=1e-4)
    assert clipped > 6 and np.abs(ema - w).max() > 0.01


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    def broken(start):
        for step, batch in enumerate(feed(start), start):
            yield batch if step != 2 else {"x": batch["x"] * np.float32(np.nan)}

    with pytest.raises(FloatingPointError, match="squares: the loss is not finite at step 2; lower"):
        fit(squares, {"w": START}, {}, broken, CONFIG, tmp_path, 0, "squares")
    assert len((tmp_path / "loss.jsonl").read_text().splitlines()) == 2


def test_the_next_batch_is_laid_while_a_step_runs():
    """Whoever holds a batch needs not ask for the next one: it is drawn meanwhile. What the feed raises is raised."""
    drawn = [Event() for _ in range(3)]

    def feed():
        for i, event in enumerate(drawn):
            event.set()
            yield {"x": np.full(4, i)}
        raise OSError("no more photos")

    laid = laid_ahead(feed(), make_mesh())
    for i in range(3):
        batch = next(laid)
        assert isinstance(batch["x"], jax.Array) and (np.asarray(batch["x"]) == i).all()
        assert i == 2 or drawn[i + 1].wait(10)
        assert i > 0 or not drawn[2].is_set()  # one ahead, not more
    with pytest.raises(OSError, match="no more photos"):
        next(laid)
    assert list(laid_ahead(iter(()), make_mesh())) == []


def test_micro_batches_must_share_what_is_judged(tmp_path):
    stages = (Stage(8, 8, 1, perceptual=1.0),)
    with pytest.raises(ValueError, match="8 micro-batches can't share the 0.5 of a batch of 8"):
        fit(squares, {"w": START}, {}, feed, replace(CONFIG, stages=stages, accumulate=8), tmp_path, 0, "squares")
