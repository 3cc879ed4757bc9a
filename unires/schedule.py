"""The forward process: how much signal and noise a latent holds at time t.

z_t = alpha_t z_0 + sigma_t eps, with alpha_t^2 + sigma_t^2 = 1.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from unires.config import ScheduleConfig
from unires.shapes import Latent


@dataclass(frozen=True)
class Schedule:
    """alpha_t and sigma_t for t = 0 .. T-1, and the time grid of a sampler.

    Paper: DDPM's forward process (Eq. 1's noise); betas as in Stable Diffusion.
    Raises: ValueError for a prediction other than eps and v, or if zero terminal SNR is asked for with eps (z_T
            would hold no signal to divide by).
    Test: test_schedule.py::test_alphas_match_the_product_of_betas, test_impossible_schedules_are_refused
    """

    config: ScheduleConfig
    alpha: np.ndarray  # [T]
    sigma: np.ndarray  # [T]

    @classmethod
    def make(cls, config: ScheduleConfig) -> "Schedule":
        if config.prediction not in ("eps", "v"):
            raise ValueError(f"prediction must be 'eps' or 'v', not {config.prediction!r}")
        if config.zero_terminal_snr and config.prediction == "eps":
            raise ValueError("zero terminal SNR needs v prediction: at t = T eps says nothing about z_0")
        betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.steps, dtype=np.float64) ** 2
        alpha = np.sqrt(np.cumprod(1 - betas))
        if config.zero_terminal_snr:  # shift and scale so that the last alpha is 0 and the first is kept
            alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
        return cls(config, alpha.astype(np.float32), np.sqrt(1 - alpha**2).astype(np.float32))

    def grid(self, steps: int, spacing: str) -> Int[np.ndarray, "s"]:  # noqa: F821
        """Times of a sampler with `steps` steps, from noisy to clean.

        "trailing" ends at T-1, so the first step starts from the noisiest latent the model was trained on;
        "leading" is Stable Diffusion's own, with its offset of 1.
        Raises: ValueError for steps that are not from 1 to T, or for another spacing.
        Test: test_schedule.py::test_time_grids, test_impossible_grids_are_refused
        """
        total = self.config.steps
        if not 1 <= steps <= total:
            raise ValueError(f"steps must lie in 1..{total}, not {steps}")
        if spacing == "trailing":
            return np.round(np.arange(total, 0, -total / steps))[:steps].astype(np.int32) - 1
        if spacing == "leading":
            return (np.arange(steps) * (total // steps) + 1)[::-1].clip(0, total - 1).astype(np.int32)
        raise ValueError(f"spacing must be 'trailing' or 'leading', not {spacing!r}")


def add_noise(z_0: Latent, eps: Latent, alpha: Float[Array, " b"], sigma: Float[Array, " b"]) -> Latent:
    """z_t = alpha_t z_0 + sigma_t eps.

    Test: test_schedule.py::test_v_eps_and_x0_are_one_thing
    """
    return alpha[:, None, None, None] * z_0 + sigma[:, None, None, None] * eps


def target(z_0: Latent, eps: Latent, alpha: Float[Array, " b"], sigma: Float[Array, " b"], prediction: str) -> Latent:
    """What the UNet is asked for: eps, or v = alpha_t eps - sigma_t z_0.

    Paper: Eq. 1 for eps; v is our choice for the small model (it stays informative when steps are few).
    Test: test_schedule.py::test_v_eps_and_x0_are_one_thing
    """
    if prediction == "eps":
        return eps
    return alpha[:, None, None, None] * eps - sigma[:, None, None, None] * z_0


def v_from_lq(
    z_t: Latent, z_lq: Latent, alpha: Float[Array, " b"], sigma: Float[Array, " b"], spread: Float[Array, "#b c"]
) -> tuple[Latent, Float[Array, "b 1 1 c"], Latent]:
    """Mean and standard deviation of v, if z_0 were z_LQ plus noise of `spread`, channel by channel; the innovation.

    The last is what z_t says beyond z_LQ: z_t - alpha_t z_LQ, over its own deviation. The means of v for other
    spreads differ by multiples of it.

    What the LQ photo alone tells about the answer (Bayes' rule for two Gaussians). A network that only has to
    correct it starts from the photo itself instead of having to learn to copy. With z_LQ = 0 and spread 1 the
    mean is 0, the deviation 1 and the innovation z_t: plain v.
    Paper: our choice, for the small model; the public model's network predicts eps itself.
    Test: test_schedule.py::test_v_from_lq_is_the_gaussian_posterior,
          test_another_spread_is_a_multiple_of_the_innovation
    """
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    spread = spread[:, None, None, :]
    evidence = sigma**2 + spread**2 * alpha**2
    mean = sigma * (alpha * (1 - spread**2) * z_t - z_lq) / evidence
    deviation = jnp.broadcast_to(spread / jnp.sqrt(evidence), (z_t.shape[0], 1, 1, z_t.shape[-1]))
    return mean, deviation, (z_t - alpha * z_lq) / jnp.sqrt(evidence)


def split_prediction(z_t: Latent, output: Latent, alpha, sigma, prediction: str) -> tuple[Latent, Latent]:
    """(z_0_hat, eps_hat) from the UNet's output at one time.

    Test: test_schedule.py::test_v_eps_and_x0_are_one_thing
    """
    if prediction == "v":
        return alpha * z_t - sigma * output, sigma * z_t + alpha * output
    return (z_t - sigma * output) / jnp.maximum(alpha, 1e-6), output
