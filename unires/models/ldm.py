"""The latent diffusion model: autoencoder, UNet and text encoder under one roof."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Num

from unires.config import Config
from unires.models.blocks import Tokens
from unires.models.text import TextEncoder
from unires.models.unet import UNet
from unires.models.vae import VAE, Statistic
from unires.schedule import Schedule, v_from_lq
from unires.shapes import Latent

STATISTICS = ("vae.shift", "vae.scale", "spread")  # measured, not learned


class OneKey(nnx.Rngs):
    """The same key for every layer: enough where only shapes count, and 40 times quicker to trace."""

    def __init__(self):
        pass

    def params(self) -> Array:
        return jax.random.key(0)


class LDM(nnx.Module):
    """Everything that a checkpoint holds.

    Paper: section 3.  Test: test_models.py::test_paper_config_is_abstract_and_counts
    """

    def __init__(self, config: Config, rngs: nnx.Rngs):
        c = config.vae.latent_channels
        self.vae = VAE(config.vae, rngs)
        self.gate = config.unet.gate
        if self.gate and not config.unet.from_lq:
            raise ValueError("a gate weighs z_t against the LQ latent: it needs a network that starts there (from_lq)")
        self.unet = UNet(config.unet, 2 * c, 2 * c if self.gate else c, config.text.width, rngs)
        self.text = TextEncoder(config.text, rngs)
        if config.unet.from_lq:
            if config.schedule.prediction != "v":
                raise ValueError("a network that starts from the LQ latent (from_lq) needs v prediction")
            self.schedule = config.schedule
            self.spread = Statistic(jnp.ones(c))  # of z_0 around z_LQ; measured before training

    spread, gate = None, False  # the network's output is the prediction itself

    def prior(self, z_t: Latent, z_lq: Latent, t: Num[Array, " b"]) -> tuple:
        """Mean and standard deviation of the prediction before the network has said anything, and the innovation.

        (0, 1, z_t) unless the config says `from_lq`; a dropped condition (z_LQ = 0) is a plain prediction too.
        Test: test_models.py::test_a_new_model_answers_with_the_lq_photo
        """
        if self.spread is None:
            return 0.0, 1.0, z_t
        schedule = Schedule.make(self.schedule)
        alpha, sigma = jnp.asarray(schedule.alpha)[t], jnp.asarray(schedule.sigma)[t]
        given = jnp.any(z_lq != 0, axis=(1, 2, 3))[:, None]
        return v_from_lq(z_t, z_lq, alpha, sigma, jnp.where(given, self.spread[...], 1.0))

    def predict(self, z_t: Latent, z_lq: Latent, t: Num[Array, " b"], context: Tokens) -> Latent:
        """eps or v (as the schedule says) of one expert: the prior, corrected by the UNet.

        With a gate the UNet sees the innovation in place of z_t, and answers twice: with a correction, and with a
        factor for the innovation. The prior believes in one spread for all flaws; the factor stands for any other,
        place by place, so that where little was lost, the noise of z_t is not taken for detail.
        Paper: eps_theta(z_t, z_LQ, t, s) of Eq. 1 and 2; the gate is our choice, for the small model.
        Test: test_models.py::test_a_new_model_answers_with_the_lq_photo, test_a_gate_is_another_spread
        """
        mean, deviation, innovation = self.prior(z_t, z_lq, t)
        output = self.unet(innovation if self.gate else z_t, z_lq, t, context).astype(jnp.float32)
        if self.gate:
            correction, factor = jnp.split(output, 2, axis=-1)
            output = correction + factor * innovation
        return mean + deviation * output

    @classmethod
    def abstract(cls, config: Config) -> "LDM":
        """Shapes only, no memory: how the 865M size is looked at on a laptop."""
        return nnx.eval_shape(lambda: cls(config, OneKey()))


def take_apart(module: nnx.Module) -> tuple[dict, Callable]:
    """A module as a plain dict {dotted name: array}, and the function that puts it together again.

    Training, checkpoints and jitted functions all see the dict: a compiled function takes the arrays as an
    argument. (A model that it closes over becomes constants; XLA on CPU was seen to return garbage then.)
    Test: test_models.py::test_take_apart_and_rebuild
    """
    graph, state = nnx.split(module)
    leaves = {".".join(map(str, path)): (path, leaf) for path, leaf in nnx.to_flat_state(state)}

    def rebuild(arrays: dict) -> nnx.Module:
        flat = [(path, leaf.replace(arrays[name])) for name, (path, leaf) in leaves.items()]
        return nnx.merge(graph, nnx.from_flat_state(flat))

    return {name: leaf.get_value() for name, (_, leaf) in leaves.items()}, rebuild


def cast(arrays: dict, dtype: str) -> dict:
    """Weights in the type that the networks compute in; a network computes in the type of its weights.

    Numbers that are not weights keep all their digits.
    Test: test_mesh.py::test_bfloat16_computes_near_float32
    """
    kept = {*STATISTICS, "shift", "scale"}  # the last two: of an autoencoder alone
    return {name: a if name in kept else a.astype(dtype) for name, a in arrays.items()}


def parameter_count(module: nnx.Module) -> int:
    """Learned numbers in a module, abstract or real.

    Test: test_models.py::test_unet_counts_the_public_parameters
    """
    return sum(math.prod(leaf.shape) for _, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param)))
