"""The reverse process: deterministic DDIM as one loop inside one compiled program."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from unires.compose import compose
from unires.models.ldm import LDM
from unires.schedule import Schedule, split_prediction
from unires.shapes import Latent, Weights


def ddim(
    predict: Callable[[Latent, Array], Latent],
    z_t: Latent,
    schedule: Schedule,
    steps: int,
    spacing: str,
    unroll: bool = False,
) -> tuple[Latent, Float[Array, "s b h w c"]]:
    """From noise to a clean latent; also returns the estimate z_0_hat after every step.

    1. ask for the prediction at time t  2. split it into z_0_hat and eps_hat
    3. put them together again at the next, less noisy time.
    Unrolled, the steps are compiled one after the other in place of a loop: the same answer, but a CPU takes a
    gradient through it much sooner.
    Paper: sampling is DDIM; the number of steps is not given and is our choice.
    Shapes: predict(z_t [b h w c], t []) -> [b h w c].
    Test: test_equations.py::test_ddim_on_gaussian_data_has_its_closed_form
    """

    def step(z, now):
        t, alpha_t, sigma_t, alpha_next, sigma_next = now
        z_0, eps = split_prediction(z, predict(z, t), alpha_t, sigma_t, schedule.config.prediction)
        return alpha_next * z_0 + sigma_next * eps, z_0

    return jax.lax.scan(step, z_t, tuple(map(jnp.asarray, ddim_plan(schedule, steps, spacing))), unroll=unroll)


def ddim_plan(schedule: Schedule, steps: int, spacing: str) -> tuple[np.ndarray, ...]:
    """Time, alpha and sigma of every step, and alpha and sigma of the step after it (1 and 0 after the last).

    Test: test_equations.py::test_ddim_on_gaussian_data_has_its_closed_form
    """
    times = schedule.grid(steps, spacing)
    alpha, sigma = schedule.alpha[times], schedule.sigma[times]
    return times, alpha, sigma, np.append(alpha[1:], 1.0).astype("f4"), np.append(sigma[1:], 0.0).astype("f4")


def in_parts(ask: Callable, most: int | None, *rows: Array) -> Array:
    """`ask(*rows)`: all rows at once if `most` allows, else so many at a time at most, one part after the other.

    Test: test_budget.py::test_parts_answer_as_the_whole
    """
    count = len(rows[0])
    if most is None or count <= most:
        return ask(*rows)
    parts = -(-count // most)
    size = -(-count // parts)
    places = np.minimum(np.arange(parts * size), count - 1).reshape(parts, size)  # the last row fills up
    found = jax.lax.map(lambda part: ask(*part), tuple(a[places] for a in rows))
    return found.reshape(-1, *found.shape[2:])[:count]


def predict_composed(
    model: LDM,
    z_t: Latent,
    t: Array,
    z_lq: Float[Array, "k b h w c"],
    context: Float[Array, "k n d"],
    w: Weights,
    most: int | None = None,
) -> Latent:
    """Eq. 2 at one time: every expert in one batch through the UNet (`most` rows at a time), then the weighted sum.

    Paper: Eq. 2.  Test: test_equations.py::test_batched_experts_equal_a_loop
    """
    k, b = z_lq.shape[:2]
    output = in_parts(
        model.predict,
        most,
        jnp.tile(z_t, (k, 1, 1, 1)),
        z_lq.reshape(k * b, *z_lq.shape[2:]),
        jnp.full(k * b, t),
        jnp.repeat(context, b, axis=0),
    )
    return compose(output.reshape(k, b, *output.shape[1:]), w)
