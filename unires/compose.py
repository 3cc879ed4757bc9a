"""Composition: mixing the experts' noise predictions, and the conditions that the experts look at."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from unires.degrade.super_resolution import resize
from unires.shapes import Photo, Weights
from unires.tasks import Expert


def compose(eps: Float[Array, "k b h w c"], w: Weights) -> Float[Array, "b h w c"]:
    """Mix the experts' noise predictions.

    Because w sums to 1, mixing eps, v or x_0 predictions gives the same latent.
    Paper: Eq. 2.  Range: w dimensionless, sums to 1; eps in latent units.
    Test: test_equations.py::test_compose, test_equations.py::test_composing_eps_v_and_x0_agree
    """
    return jnp.einsum("k,kbhwc->bhwc", w, eps)


def down_lq(y: Photo, factor: int) -> Photo:
    """Lose information on purpose: reduce by a factor in pixel space and bring it back, both bicubic.

    The less the model is told, the more it makes up; factor 1 returns the photo itself.
    Paper: DownLQ, the sixth expert (section 3), factor 4 by default, 1 to 16 in Figure 3.
    Raises: ValueError if the factor is not a whole number of at least 1.
    Test: test_equations.py::test_down_lq
    """
    if factor != int(factor) or factor < 1:
        raise ValueError(f"the DownLQ factor must be a whole number of at least 1, not {factor}")
    if factor == 1:
        return y
    h, w = y.shape[:2]
    small = resize(y, max(1, round(h / factor)), max(1, round(w / factor)), "bicubic")
    return np.clip(resize(small, h, w, "bicubic"), 0, 1)


def active(w: Weights, experts: tuple[Expert, ...]) -> tuple[tuple[Expert, ...], Float[np.ndarray, " active"]]:
    """The experts whose weight is not zero, and their weights: the others need not be evaluated.

    Test: test_equations.py::test_one_hot_is_the_single_expert_bit_for_bit
    """
    keep = [k for k, weight in enumerate(np.asarray(w)) if weight != 0]
    return tuple(experts[k] for k in keep), np.asarray(w, np.float32)[keep]
