"""The building blocks that the autoencoder and the UNet share: convolutions, residual blocks, attention.

The options are those of the public Stable Diffusion 2 family, so that the small model is a config of the
large one.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

Tokens = Float[Array, "b n d"]


def drawn(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """The start of a kernel: normal, of variance 1 / fan-in. Drawn as a matrix, which compiles far faster.

    Test: test_models.py::test_kernels_start_as_flax_draws_them
    """
    flat = math.prod(shape[:-1]), shape[-1]
    return nnx.initializers.lecun_normal()(key, flat, dtype).reshape(shape)


def conv(i: int, o: int, size: int, rngs: nnx.Rngs, *, stride: int = 1, padding=None, zero: bool = False) -> nnx.Conv:
    """A square convolution with explicit zero padding (`size // 2` unless told).

    Test: test_parity.py::test_a_residual_block_alone
    """
    pads = [(size // 2, size // 2)] * 2 if padding is None else padding
    start = nnx.initializers.zeros_init() if zero else drawn
    return nnx.Conv(i, o, (size, size), strides=(stride, stride), padding=pads, kernel_init=start, rngs=rngs)


class ResBlock(nnx.Module):
    """norm, SiLU, conv, (+ time), norm, SiLU, conv, + skip.

    Test: test_parity.py::test_a_residual_block_alone
    """

    def __init__(self, i: int, o: int, groups: int, rngs: nnx.Rngs, *, eps: float, time: int | None = None):
        self.norm1 = nnx.GroupNorm(i, groups, epsilon=eps, rngs=rngs)
        self.conv1 = conv(i, o, 3, rngs)
        self.time = None if time is None else nnx.Linear(time, o, rngs=rngs)
        self.norm2 = nnx.GroupNorm(o, groups, epsilon=eps, rngs=rngs)
        self.conv2 = conv(o, o, 3, rngs, zero=True)  # each block starts as the identity
        self.skip = None if i == o else conv(i, o, 1, rngs)

    def __call__(self, h: Array, time: Float[Array, "b d"] | None = None) -> Array:
        out = self.conv1(nnx.silu(self.norm1(h)))
        if self.time is not None:
            out = out + self.time(nnx.silu(time))[:, None, None]
        out = self.conv2(nnx.silu(self.norm2(out)))
        return out + (h if self.skip is None else self.skip(h))


class Upsample(nnx.Module):
    """Nearest-neighbour doubling, then a convolution."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.conv = conv(channels, channels, 3, rngs)

    def __call__(self, h: Array) -> Array:
        b, height, width, c = h.shape
        h = jnp.broadcast_to(h[:, :, None, :, None], (b, height, 2, width, 2, c))
        return self.conv(h.reshape(b, 2 * height, 2 * width, c))


LONG = 1024  # tokens from which fused attention pays


def way(dtype, head_dim: int, device=None, tokens: int = LONG) -> str:
    """How `jax.nn.dot_product_attention` is to work: fused ("cudnn") where the device has it, else "xla".

    cuDNN's fused attention is for NVIDIA's GPUs since Ampere, half precision, and heads of 8, 16 .. 128 numbers. With
    few tokens there is nothing to save.
    Test: test_models.py::test_attention_is_fused_where_it_can_be
    """
    device = jax.devices()[0] if device is None else device
    nvidia = device.platform == "gpu" and "cuda" in device.client.platform_version
    fits = jnp.dtype(dtype).itemsize == 2 and head_dim <= 128 and head_dim % 8 == 0
    fits = fits and tokens >= LONG
    return "cudnn" if nvidia and fits and float(device.compute_capability) >= 8 else "xla"


class Attention(nnx.Module):
    """Multi-head attention of tokens to a context (to themselves if there is none).

    Test: test_parity.py::test_a_transformer_alone
    """

    def __init__(self, width: int, context: int, heads: int, rngs: nnx.Rngs, *, qkv_bias: bool = False):
        self.heads = heads
        self.q = nnx.Linear(width, width, use_bias=qkv_bias, rngs=rngs)
        self.k = nnx.Linear(context, width, use_bias=qkv_bias, rngs=rngs)
        self.v = nnx.Linear(context, width, use_bias=qkv_bias, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, h: Tokens, context: Array | None = None, *, causal: bool = False) -> Tokens:
        context = h if context is None else context
        q, k, v = (
            f(x).reshape(*x.shape[:2], self.heads, -1) for f, x in ((self.q, h), (self.k, context), (self.v, context))
        )
        how = way(q.dtype, q.shape[-1], tokens=q.shape[1])
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation=how)
        return self.out(mixed.reshape(h.shape))


class Transformer(nnx.Module):
    """Self-attention, cross-attention to the text, gated MLP, on a feature map.

    GroupNorm eps is 1e-6 here (1e-5 in the UNet's residual blocks) and GELU is the exact one.
    """

    def __init__(self, channels: int, context: int, head_dim: int, groups: int, rngs: nnx.Rngs):
        heads = channels // head_dim
        self.norm = nnx.GroupNorm(channels, groups, epsilon=1e-6, rngs=rngs)
        self.proj_in = nnx.Linear(channels, channels, rngs=rngs)
        self.norm1 = nnx.LayerNorm(channels, epsilon=1e-5, rngs=rngs)
        self.self_attention = Attention(channels, channels, heads, rngs)
        self.norm2 = nnx.LayerNorm(channels, epsilon=1e-5, rngs=rngs)
        self.cross_attention = Attention(channels, context, heads, rngs)
        self.norm3 = nnx.LayerNorm(channels, epsilon=1e-5, rngs=rngs)
        self.mlp_in = nnx.Linear(channels, 8 * channels, rngs=rngs)
        self.mlp_out = nnx.Linear(4 * channels, channels, rngs=rngs)
        self.proj_out = nnx.Linear(channels, channels, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)

    def __call__(self, h: Array, context: Tokens) -> Array:
        b, height, width, c = h.shape
        x = self.proj_in(self.norm(h).reshape(b, height * width, c))
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), context)
        value, gate = jnp.split(self.mlp_in(self.norm3(x)), 2, axis=-1)
        x = x + self.mlp_out(value * nnx.gelu(gate, approximate=False))
        return h + self.proj_out(x).reshape(h.shape)
