"""How many rows of the UNet the device holds at once: from what it says of its memory, or a constant."""

import jax
import jax.numpy as jnp

from unires.config import Config
from unires.models.blocks import way

UNKNOWN = 4 * 2**30  # bytes, of a device that does not tell, such as a CPU
FEW = 12  # rows of such a device at most: more would not be quicker there
SHARE = 0.8  # of what is free; the rest is for the autoencoder and the allocator


def free_bytes(device=None) -> int | None:
    """What a device may still give, None if it does not tell.

    Test: test_budget.py::test_the_device_is_asked_for_its_memory
    """
    told = (jax.local_devices()[0] if device is None else device).memory_stats() or {}
    return told["bytes_limit"] - told.get("bytes_in_use", 0) if "bytes_limit" in told else None


def row_bytes(config: Config, h: int, w: int, dtype: str = "float32", fused: bool = False) -> int:
    """About what one row (an expert's question for one candidate of h x w pixels) needs in the UNet.

    Of every level the maps that are kept for the way up, and beside them the greediest moment: a residual block on
    the way up, the inside of a transformer, or attention that is not fused, whose scores are there three times, in
    float32.
    Test: test_budget.py::test_a_row_needs_what_the_compiler_says
    """
    size, unet = jnp.dtype(dtype).itemsize, config.unet
    kept, most = 0, 0
    for level, channels in enumerate(unet.channels):
        places = (h // config.vae.factor >> level) * (w // config.vae.factor >> level)
        kept += (unet.blocks + 1) * places * channels * size
        above = unet.channels[min(level + 1, len(unet.channels) - 1)]
        most = max(most, places * 3 * (channels + above) * size)
        if unet.attention[level]:
            scores = 0 if fused else channels // unet.head_dim * places**2 * 3 * 4
            most = max(most, places * 14 * channels * size, places * 4 * channels * size + scores)
    return kept + most


def rows_that_fit(config: Config, h: int, w: int, dtype: str = "float32", device=None) -> int:
    """Rows of h x w pixels in one batch of the UNet, at least 1.

    Test: test_budget.py::test_the_device_is_asked_for_its_memory
    """
    free, fused = free_bytes(device), way(dtype, config.unet.head_dim, device) == "cudnn"
    one = row_bytes(config, h, w, dtype, fused)
    return max(1, min(FEW, UNKNOWN // one) if free is None else int(SHARE * free) // one)
