"""The public model's form at a width for tests: four levels, attention in three, a middle, two kinds of blocks."""

from dataclasses import replace

import numpy as np

from unires.config import TextConfig, UNetConfig, VAEConfig
from unires.models.ldm import take_apart
from unires.models.names import places
from unires.models.store import random_model
from unires.profiles import PAPER

SMALL = replace(
    PAPER,
    name="small",
    vae=VAEConfig(
        (8, 16, 16, 16),
        (8, 16, 16, 16),
        4,
        encoder_blocks=2,
        decoder_blocks=3,
        mid_attention=True,
        groups=4,
        scale=0.18215,
    ),  # fmt: skip
    unet=UNetConfig((16, 32, 32, 32), (True, True, True, False), blocks=2, head_dim=8, groups=8),
    text=TextConfig(vocabulary=64, tokens=7, width=16, layers=3, heads=2),
)


def random_arrays(config=SMALL, seed: int = 0) -> dict[str, np.ndarray]:
    """A model's arrays; the autoencoder's statistics are those that a public file means."""
    arrays = {name: np.asarray(array) for name, array in take_apart(random_model(config, seed))[0].items()}
    c = config.vae.latent_channels
    return arrays | {"vae.shift": np.zeros(c, np.float32), "vae.scale": np.full(c, config.vae.scale, np.float32)}


def single_file(arrays: dict[str, np.ndarray], config=SMALL) -> dict[str, np.ndarray]:
    """Our arrays as the single file of Stable Diffusion 2 holds them: fused projections, 1 x 1 convolutions."""
    found, fused = {}, {}
    for ours, place in places(config, "single").items():
        array = arrays[ours].transpose(np.argsort(place.axes)).reshape(place.shape)
        if ".attn.in_proj_" in place.name:
            stem, _, leaf = place.name.rpartition("in_proj_")
            fused.setdefault(f"{stem}in_proj_{leaf[2:]}", {})[leaf[0]] = array
            continue
        if ".attn_1." in place.name and array.ndim == 2:
            array = array[:, :, None, None]
        found[place.name] = np.ascontiguousarray(array)
    return found | {n: np.ascontiguousarray(np.concatenate([parts[x] for x in "qkv"])) for n, parts in fused.items()}
