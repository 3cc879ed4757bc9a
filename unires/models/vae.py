"""The KL autoencoder: photos in [0, 1] to normalised latents and back."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float
from scipy.fft import dct

from unires.config import VAEConfig
from unires.models.blocks import Attention, ResBlock, Upsample, conv
from unires.shapes import Latent, Photos

EPS = 1e-6  # of every GroupNorm here


START_LOG_VARIANCE = -8.0  # with a shortcut, the posterior starts almost noiseless


def patch_basis(size: int, count: int) -> Float[np.ndarray, "p c"]:
    """The smoothest `count` colour patterns of a patch: cosine transform in space, luma and two chromas.

    Columns are orthonormal; chroma waits until luma has three steps more of detail (less where few are kept).
    Paper: our choice; a linear autoencoder of natural patches (PCA) looks much like this.
    Shapes: p = size * size * 3, in the order of `to_patches`.
    Test: test_models.py::test_patch_basis_is_orthonormal
    """
    waves = dct(np.eye(size), norm="ortho", axis=0)
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    wait = min(3, count // 4)
    order = sorted((u + v + wait * (k > 0), k, u, v) for u in range(size) for v in range(size) for k in range(3))
    kept = [np.einsum("i,j,k->ijk", waves[u], waves[v], colours[k]).ravel() for _, k, u, v in order[:count]]
    return np.stack(kept, 1)


def to_patches(x: Array, size: int) -> Array:
    """[b h w c] to [b h/size w/size size*size*c].

    Test: test_models.py::test_patches_there_and_back
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // size, w // size, size * size * c)


def from_patches(p: Array, size: int) -> Array:
    """The inverse of `to_patches`.

    Test: test_models.py::test_patches_there_and_back
    """
    b, h, w, c = p.shape
    p = p.reshape(b, h, w, size, size, c // size**2).transpose(0, 1, 3, 2, 4, 5)
    return p.reshape(b, h * size, w * size, c // size**2)


def linear(matrix: np.ndarray, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer that starts as this matrix.

    Test: test_models.py::test_patch_basis_is_orthonormal
    """
    return nnx.Linear(*matrix.shape, kernel_init=lambda *_: jnp.asarray(matrix, jnp.float32), rngs=rngs)


class Middle(nnx.Module):
    """Two residual blocks at the coarsest level, with attention between them if the config says so."""

    def __init__(self, channels: int, config: VAEConfig, rngs: nnx.Rngs):
        self.block1 = ResBlock(channels, channels, config.groups, rngs, eps=EPS)
        self.norm = nnx.GroupNorm(channels, config.groups, epsilon=EPS, rngs=rngs) if config.mid_attention else None
        self.attention = Attention(channels, channels, 1, rngs, qkv_bias=True) if config.mid_attention else None
        self.block2 = ResBlock(channels, channels, config.groups, rngs, eps=EPS)

    def __call__(self, h: Array) -> Array:
        h = self.block1(h)
        if self.attention is not None:
            b, height, width, c = h.shape
            h = h + self.attention(self.norm(h).reshape(b, height * width, c)).reshape(h.shape)
        return self.block2(h)


class Encoder(nnx.Module):
    """Photo to the mean and log-variance of its latent."""

    def __init__(self, config: VAEConfig, rngs: nnx.Rngs):
        channels = config.encoder_channels
        self.stem = config.patch
        self.conv_in = conv(3 * self.stem**2, channels[0], 3, rngs)
        self.levels = nnx.List()
        self.downs = nnx.List()
        for i, c in enumerate(channels):
            width = channels[max(i - 1, 0)]
            sizes = [width] + [c] * (config.encoder_blocks - 1)
            self.levels.append(nnx.List([ResBlock(s, c, config.groups, rngs, eps=EPS) for s in sizes]))
            if i < len(channels) - 1:  # padding on the right and below only
                self.downs.append(conv(c, c, 3, rngs, stride=2, padding=[(0, 1), (0, 1)]))
        self.middle = Middle(channels[-1], config, rngs)
        self.norm = nnx.GroupNorm(channels[-1], config.groups, epsilon=EPS, rngs=rngs)
        c = config.latent_channels
        self.conv_out = conv(channels[-1], 2 * c, 3, rngs, zero=config.shortcut)
        self.quant = conv(2 * c, 2 * c, 1, rngs)
        self.patch = config.factor
        self.shortcut = linear(patch_basis(self.patch, c), rngs) if config.shortcut else None
        if config.shortcut:
            self.quant.bias[...] = jnp.where(jnp.arange(2 * c) < c, 0.0, START_LOG_VARIANCE)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        x = x.astype(self.conv_in.kernel[...].dtype)  # of the weights: what the network computes in
        h = self.conv_in(to_patches(x, self.stem))
        for i, level in enumerate(self.levels):
            for block in level:
                h = block(h)
            if i < len(self.downs):
                h = self.downs[i](h)
        h = self.conv_out(nnx.silu(self.norm(self.middle(h))))
        mean, log_variance = jnp.split(self.quant(h), 2, axis=-1)
        if self.shortcut is not None:
            mean = mean + self.shortcut(to_patches(x, self.patch))
        return mean.astype(jnp.float32), jnp.clip(log_variance.astype(jnp.float32), -30.0, 20.0)


class Decoder(nnx.Module):
    """Latent to photo."""

    def __init__(self, config: VAEConfig, rngs: nnx.Rngs):
        channels = config.decoder_channels[::-1]
        self.quant = conv(config.latent_channels, config.latent_channels, 1, rngs)
        self.conv_in = conv(config.latent_channels, channels[0], 3, rngs)
        self.middle = Middle(channels[0], config, rngs)
        self.levels = nnx.List()
        self.ups = nnx.List()
        for i, c in enumerate(channels):
            width = channels[max(i - 1, 0)]
            sizes = [width] + [c] * (config.decoder_blocks - 1)
            self.levels.append(nnx.List([ResBlock(s, c, config.groups, rngs, eps=EPS) for s in sizes]))
            if i < len(channels) - 1:
                self.ups.append(Upsample(c, rngs))
        self.norm = nnx.GroupNorm(channels[-1], config.groups, epsilon=EPS, rngs=rngs)
        self.stem = config.patch
        self.conv_out = conv(channels[-1], 3 * self.stem**2, 3, rngs, zero=config.shortcut)
        self.patch = config.factor
        basis = patch_basis(self.patch, config.latent_channels).T
        self.shortcut = linear(basis, rngs) if config.shortcut else None

    def __call__(self, z: Array) -> Array:
        z = z.astype(self.conv_in.kernel[...].dtype)
        h = self.middle(self.conv_in(self.quant(z)))
        for i, level in enumerate(self.levels):
            for block in level:
                h = block(h)
            if i < len(self.ups):
                h = self.ups[i](h)
        x = from_patches(self.conv_out(nnx.silu(self.norm(h))), self.stem)
        x = x if self.shortcut is None else x + from_patches(self.shortcut(z), self.patch)
        return x.astype(jnp.float32)


class Statistic(nnx.Variable):
    """Measured once after training, not learned."""


class VAE(nnx.Module):
    """Autoencoder whose latents are shifted and scaled channel by channel.

    Paper: the latent diffusion model's first stage (section 3); widths are our choice below the paper's size.
    Test: test_models.py::test_vae_shapes_and_normalisation
    """

    def __init__(self, config: VAEConfig, rngs: nnx.Rngs):
        self.factor = config.factor
        self.encoder = Encoder(config, rngs)
        self.decoder = Decoder(config, rngs)
        scale = 1.0 if config.scale is None else config.scale
        self.shift = Statistic(jnp.zeros(config.latent_channels))
        self.scale = Statistic(jnp.full(config.latent_channels, scale))

    def posterior(self, x: Photos) -> tuple[Latent, Latent]:
        """Mean and log-variance of the latent, before normalisation (training the autoencoder)."""
        return self.encoder(2 * x - 1)

    def encode(self, x: Photos) -> Latent:
        """Normalised latent (the posterior's mean). Sides must be multiples of the factor."""
        return (self.posterior(x)[0] - self.shift[...]) * self.scale[...]

    def decode(self, z: Latent) -> Photos:
        """Photo from a normalised latent; not clipped."""
        return (self.decoder(z / self.scale[...] + self.shift[...]) + 1) / 2
