"""The latent diffusion model: autoencoder, UNet and text encoder under one roof."""

import math
from collections.abc import Callable

import jax
from flax import nnx

from unires.config import Config
from unires.models.text import TextEncoder
from unires.models.unet import UNet
from unires.models.vae import VAE


class LDM(nnx.Module):
    """Everything that a checkpoint holds.

    Paper: section 3.  Test: test_models.py::test_paper_config_is_abstract_and_counts
    """

    def __init__(self, config: Config, rngs: nnx.Rngs):
        c = config.vae.latent_channels
        self.vae = VAE(config.vae, rngs)
        self.unet = UNet(config.unet, 2 * c, c, config.text.width, rngs)
        self.text = TextEncoder(config.text, rngs)

    @classmethod
    def abstract(cls, config: Config) -> "LDM":
        """Shapes only, no memory: how the 865M size is looked at on a laptop."""
        return nnx.eval_shape(lambda: cls(config, nnx.Rngs(0)))


def take_apart(module: nnx.Module) -> tuple[dict, Callable]:
    """A module as a plain dict {dotted name: array}, and the function that puts it together again.

    Training, checkpoints and jitted functions all see the dict.
    Test: test_models.py::test_take_apart_and_rebuild
    """
    graph, state = nnx.split(module)
    leaves = {".".join(map(str, path)): (path, leaf) for path, leaf in nnx.to_flat_state(state)}

    def rebuild(arrays: dict[str, jax.Array]) -> nnx.Module:
        flat = [(path, leaf.replace(arrays[name])) for name, (path, leaf) in leaves.items()]
        return nnx.merge(graph, nnx.from_flat_state(flat))

    return {name: leaf.get_value() for name, (_, leaf) in leaves.items()}, rebuild


def parameter_count(module: nnx.Module) -> int:
    """Learned numbers in a module, abstract or real.

    Test: test_models.py::test_unet_counts_the_public_parameters
    """
    return sum(math.prod(leaf.shape) for _, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param)))
