"""The denoising UNet: residual blocks, self-attention, cross-attention to the prompt."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float, Num

from unires.config import UNetConfig
from unires.models.blocks import ResBlock, Tokens, Transformer, Upsample, conv
from unires.shapes import Latent

EPS = 1e-5  # GroupNorm, outside the transformers


def time_features(t: Num[Array, " b"], width: int) -> Float[Array, "b d"]:
    """Sinusoids of the time, cosines first.

    Range: t in 0 .. 999.  Test: test_models.py::test_time_features_match_the_formula
    """
    frequency = jnp.exp(-math.log(10_000) * jnp.arange(width // 2) / (width // 2))
    angle = t[:, None].astype(jnp.float32) * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


class UNet(nnx.Module):
    """eps_theta(z_t, z_LQ, t, s): the noise (or v) prediction of one expert.

    Paper: section 3; the LQ latent is concatenated to the noisy latent, so only the first convolution grows.
    Test: test_models.py::test_unet_counts_the_public_parameters, test_text_in_time_is_the_mean_token
    """

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int, context: int, rngs: nnx.Rngs):
        channels, groups = config.channels, config.groups
        width = 4 * channels[0]

        def res(i, o):
            return ResBlock(i, o, groups, rngs, eps=EPS, time=width)

        def attend(c, wanted=True):
            return Transformer(c, context, config.head_dim, groups, rngs) if wanted else None

        self.features = channels[0]
        self.remat = False  # True: gradients compute each block anew instead of keeping what is inside
        self.time1 = nnx.Linear(channels[0], width, rngs=rngs)
        self.time2 = nnx.Linear(width, width, rngs=rngs)
        self.text = nnx.Linear(context, width, rngs=rngs) if config.text_in_time else None
        self.conv_in = conv(in_channels, channels[0], 3, rngs)

        self.down, self.downs = nnx.List(), nnx.List()
        skips, c = [channels[0]], channels[0]  # widths of the feature maps kept for the way up
        for i, o in enumerate(channels):
            level = nnx.List()
            for _ in range(config.blocks):
                level.append(nnx.List([res(c, o), attend(o, config.attention[i])]))
                c = o
                skips.append(c)
            self.down.append(level)
            if i < len(channels) - 1:
                self.downs.append(conv(c, c, 3, rngs, stride=2))
                skips.append(c)

        self.middle1, self.middle, self.middle2 = res(c, c), attend(c), res(c, c)

        self.up, self.ups = nnx.List(), nnx.List()
        for i in reversed(range(len(channels))):
            level = nnx.List()
            for _ in range(config.blocks + 1):
                level.append(nnx.List([res(c + skips.pop(), channels[i]), attend(channels[i], config.attention[i])]))
                c = channels[i]
            self.up.append(level)
            if i > 0:
                self.ups.append(Upsample(c, rngs))

        self.norm = nnx.GroupNorm(c, groups, epsilon=EPS, rngs=rngs)
        self.conv_out = conv(c, out_channels, 3, rngs, zero=True)

    def __call__(self, z_t: Latent, z_lq: Latent, t: Num[Array, " b"], context: Tokens) -> Float[Array, "b i j out"]:
        dtype = self.conv_out.kernel[...].dtype  # of the weights: what the network computes in
        context = context.astype(dtype)
        time = self.time2(nnx.silu(self.time1(time_features(t, self.features).astype(dtype))))
        if self.text is not None:
            time = time + self.text(context.mean(1))

        def block(h, *layers):
            def run(h):
                for layer in layers:
                    h = layer(h, time) if isinstance(layer, ResBlock) else layer(h, context)
                return h

            return jax.checkpoint(run)(h) if self.remat else run(h)

        def level_block(pair, h):
            return block(h, *(layer for layer in pair if layer is not None))

        h = self.conv_in(jnp.concatenate([z_t, z_lq], axis=-1).astype(dtype))
        skips = [h]
        for i, level in enumerate(self.down):
            for pair in level:
                h = level_block(pair, h)
                skips.append(h)
            if i < len(self.downs):
                h = self.downs[i](h)
                skips.append(h)

        h = block(h, self.middle1, self.middle, self.middle2)

        for i, level in enumerate(self.up):
            for pair in level:
                h = level_block(pair, jnp.concatenate([h, skips.pop()], axis=-1))
            if i < len(self.ups):
                h = self.ups[i](h)
        return self.conv_out(nnx.silu(self.norm(h)))
