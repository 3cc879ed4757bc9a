"""MUSIQ: a transformer that rates a photo without a reference, from its patches at three scales.

Paper: Ke et al., "MUSIQ: Multi-scale Image Quality Transformer", ICCV 2021; one of the metrics of Tables 2 to 7.

Two variants of the same network are data here. OFFICIAL follows the authors' public code, PYIQA the port by which
most published tables were made; with one set of weights their scores differ by up to about 3%.
The small scales of a photo that isn't square fill less than their 7x7 and 12x12 patches. Both codes pad there with
tokens that attention then masks to exactly 0; here they are left out, and the score is the same.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

from unires.models.blocks import Attention, Tokens
from unires.models.ldm import OneKey
from unires.shapes import Photos

STEM, MAPS, GROUPS = 64, 256, 32
STEM_EPS, BLOCK_EPS, LAYER_EPS, WEIGHT_EPS = 1e-6, 1e-4, 1e-6, 1e-5  # the same in both variants

Patches = Float[Array, "n p p 3"]
Maps = Float[Array, "n _ _ _"]
Matrix = Float[np.ndarray, "new old"]


@dataclass(frozen=True)
class MusiqConfig:
    """The network's sizes, and the four choices by which its two public codes differ."""

    resize: str = "gaussian"  # a name in RESIZE
    ddof: int = 0  # weight standardisation by the population (0) or the unbiased (1) standard deviation
    tanh_gelu: bool = True
    rounding: str = "float32"  # precision in which the small scales' sizes are computed
    lengths: tuple[int, ...] = (224, 384)  # longer sides of the small scales; the photo's own size comes last
    patch: int = 32
    grid: int = 10  # of the hashed positions
    width: int = 384
    depth: int = 14
    heads: int = 6
    mlp: int = 1152


OFFICIAL = MusiqConfig()
PYIQA = MusiqConfig(resize="bicubic", ddof=1, tanh_gelu=False, rounding="float64")


def gaussian_matrix(new: int, old: int) -> Matrix:
    """Weights of a Gaussian resize: kernel of deviation 0.5 cut at 1.5 pixels, each row normalised inside the photo.

    TensorFlow's documented `tf.image.resize(method=GAUSSIAN)`, with half-pixel centres and float32 coordinates. Its
    default, which the official code leaves, is antialias=False: shrinking does not widen the kernel. Checked against
    that definition, never against TensorFlow itself.
    Test: test_musiq.py::test_gaussian_resize_is_its_definition
    """
    back = np.float32(1 / np.float32(np.float32(new) / np.float32(old)))
    centres = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * back
    distance = np.abs(np.arange(old, dtype=np.float32) + np.float32(0.5) - centres[:, None])
    weights = np.where(distance < 1.5, np.exp(-2 * distance.astype(np.float64) ** 2), 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def bicubic_matrix(new: int, old: int) -> Matrix:
    """Weights of PyTorch's bicubic resize: a = -0.75, half-pixel centres, no antialias, the border repeated.

    Test: test_musiq.py::test_bicubic_resize_is_torchs
    """
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.zeros((new, old))
    for tap in (-1, 0, 1, 2):
        at = np.floor(centres).astype(int) + tap
        x, a = np.abs(centres - at), -0.75
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        np.add.at(weights, (np.arange(new), at.clip(0, old - 1)), np.where(x <= 1, near, far))
    return weights.astype(np.float32)


RESIZE = {"gaussian": gaussian_matrix, "bicubic": bicubic_matrix}


def resize(x: Photos, size: tuple[int, int], kind: str) -> Float[Array | np.ndarray, "b i j 3"]:
    """Resize rows and columns by the matrices that `kind` names; an unchanged size is left alone, as in both codes.

    Range: any; linear in x.  Test: test_musiq.py::test_bicubic_resize_is_torchs
    """
    if size == x.shape[1:3]:
        return x
    rows, columns = (RESIZE[kind](new, old) for new, old in zip(size, x.shape[1:3], strict=True))
    return jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns)


def scales(height: int, width: int, config: MusiqConfig) -> list[tuple[int, int]]:
    """Height and width of every scale: small ones by their longer side, then the photo's own.

    Raises: ValueError for a photo too thin to keep a pixel.
    Test: test_musiq.py::test_token_counts, test_thin_photos_are_refused
    """
    number, sizes = np.dtype(config.rounding).type, []
    for length in sorted(config.lengths):
        ratio = number(length) / number(max(height, width))
        sizes.append((int(np.rint(number(height) * ratio)), int(np.rint(number(width) * ratio))))
        if min(sizes[-1]) < 1:
            raise ValueError(f"MUSIQ: a photo of {height} x {width} is too thin: at {length} pixels no side is left")
    return [*sizes, (height, width)]


def hashed_positions(rows: int, columns: int, grid: int) -> Int[np.ndarray, " n"]:
    """Each patch's cell in the grid of learned positions: nearest neighbour, rounded down.

    Paper: hash-based 2D spatial embedding.  Test: test_musiq.py::test_hashed_positions_are_pyiqas
    """
    up, left = (
        np.minimum(np.floor(np.arange(n, dtype=np.float32) * (np.float32(grid) / np.float32(n))), grid - 1).astype(int)
        for n in (rows, columns)
    )
    return (up[:, None] * grid + left).ravel()


def to_patches(x: Photos, patch: int) -> Float[Array, "b n p p 3"]:
    """Cut into patches, row by row; what is missing at the sides is split and filled with 0.

    Test: test_musiq.py::test_patches_are_pyiqas
    """
    b, *size, c = x.shape
    counts = [math.ceil(side / patch) for side in size]
    missing = [n * patch - side for n, side in zip(counts, size, strict=True)]
    x = jnp.pad(x, ((0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)))
    x = x.reshape(b, counts[0], patch, counts[1], patch, c).swapaxes(2, 3)
    return x.reshape(b, counts[0] * counts[1], patch, patch, c)


def standardise(kernel: Float[Array, "h w i o"], ddof: int) -> Float[Array, "h w i o"]:
    """Each output channel's weights with mean 0 and deviation 1.

    Test: test_musiq.py::test_the_two_deviations_differ_as_their_definitions_say
    """
    kernel = kernel - kernel.mean(axis=(0, 1, 2))
    return kernel / (kernel.std(axis=(0, 1, 2), ddof=ddof) + WEIGHT_EPS)


class StdConv(nnx.Module):
    """A convolution without bias whose weights are standardised at every use.

    Test: test_musiq.py::test_stem_is_pyiqas
    """

    def __init__(self, i: int, o: int, size: int, rngs: nnx.Rngs, *, ddof: int, stride: int = 1):
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (size, size, i, o)))
        self.stride, self.ddof = stride, ddof

    def __call__(self, h: Maps) -> Maps:
        kernel = standardise(self.kernel[...], self.ddof)
        return jax.lax.conv_general_dilated(
            h, kernel, (self.stride, self.stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions beside a 1x1 projection, each with its group norm."""

    def __init__(self, i: int, o: int, rngs: nnx.Rngs, *, ddof: int):
        def norm(c):
            return nnx.GroupNorm(c, GROUPS, epsilon=BLOCK_EPS, use_fast_variance=False, rngs=rngs)

        self.conv1, self.norm1 = StdConv(i, i, 1, rngs, ddof=ddof), norm(i)
        self.conv2, self.norm2 = StdConv(i, i, 3, rngs, ddof=ddof), norm(i)
        self.conv3, self.norm3 = StdConv(i, o, 1, rngs, ddof=ddof), norm(o)
        self.conv_proj, self.norm_proj = StdConv(i, o, 1, rngs, ddof=ddof), norm(o)

    def __call__(self, h: Maps) -> Maps:
        out = nnx.relu(self.norm1(self.conv1(h)))
        out = nnx.relu(self.norm2(self.conv2(out)))
        return nnx.relu(self.norm3(self.conv3(out)) + self.norm_proj(self.conv_proj(h)))


class Stem(nnx.Module):
    """What every patch passes by itself: to a quarter of its size and 256 channels.

    Test: test_musiq.py::test_stem_is_pyiqas
    """

    def __init__(self, rngs: nnx.Rngs, *, ddof: int):
        self.conv = StdConv(3, STEM, 7, rngs, ddof=ddof, stride=2)
        self.norm = nnx.GroupNorm(STEM, GROUPS, epsilon=STEM_EPS, use_fast_variance=False, rngs=rngs)
        self.block = Bottleneck(STEM, MAPS, rngs, ddof=ddof)

    def __call__(self, patches: Patches) -> Maps:
        h = nnx.relu(self.norm(self.conv(patches)))
        return self.block(nnx.max_pool(h, (3, 3), strides=(2, 2), padding="SAME"))


class EncoderLayer(nnx.Module):
    """Pre-norm transformer layer.

    Test: test_musiq.py::test_encoder_layer_is_pyiqas
    """

    def __init__(self, config: MusiqConfig, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(config.width, epsilon=LAYER_EPS, use_fast_variance=False, rngs=rngs)
        self.attention = Attention(config.width, config.width, config.heads, rngs, qkv_bias=True)
        self.norm2 = nnx.LayerNorm(config.width, epsilon=LAYER_EPS, use_fast_variance=False, rngs=rngs)
        self.mlp_in = nnx.Linear(config.width, config.mlp, rngs=rngs)
        self.mlp_out = nnx.Linear(config.mlp, config.width, rngs=rngs)
        self.tanh = config.tanh_gelu

    def __call__(self, h: Tokens) -> Tokens:
        h = h + self.attention(self.norm1(h))
        return h + self.mlp_out(nnx.gelu(self.mlp_in(self.norm2(h)), approximate=self.tanh))


class Musiq(nnx.Module):
    """Photos to scores; see `score`.

    Test: test_musiq.py::test_scores_are_pyiqas, test_full_size_is_pyiqas
    """

    def __init__(self, config: MusiqConfig, rngs: nnx.Rngs):
        def learned(*shape):
            return nnx.Param(nnx.initializers.normal(0.02)(rngs.params(), shape))

        self.config = config
        self.stem = Stem(rngs, ddof=config.ddof)
        self.embed = nnx.Linear((config.patch // 4) ** 2 * MAPS, config.width, rngs=rngs)
        self.positions = learned(config.grid**2, config.width)
        self.scales = learned(len(config.lengths) + 1, config.width)
        self.token = learned(config.width)
        self.layers = nnx.List(EncoderLayer(config, rngs) for _ in range(config.depth))
        self.norm = nnx.LayerNorm(config.width, epsilon=LAYER_EPS, use_fast_variance=False, rngs=rngs)
        self.head = nnx.Linear(config.width, 1, rngs=rngs)

    @classmethod
    def abstract(cls, config: MusiqConfig) -> "Musiq":
        """Shapes only, no memory."""
        return nnx.eval_shape(lambda: cls(config, OneKey()))

    def tokens(self, photos: Photos) -> Tokens:
        """The class token, then the patches of every scale with their positions and scales added.

        Test: test_musiq.py::test_token_counts, test_embeddings_are_pyiqas
        """
        config, x = self.config, 2 * jnp.asarray(photos) - 1
        patches, where, which = [], [], []
        for scale, size in enumerate(scales(*x.shape[1:3], config)):
            patches.append(to_patches(resize(x, size, config.resize), config.patch))
            rows, columns = (math.ceil(side / config.patch) for side in size)
            where.append(hashed_positions(rows, columns, config.grid))
            which.append(np.full(rows * columns, scale))
        patches = jnp.concatenate(patches, axis=1)
        b, n = patches.shape[:2]
        maps = self.stem(patches.reshape(b * n, *patches.shape[2:]))
        h = self.embed(maps.reshape(b, n, -1))
        h = h + self.positions[np.concatenate(where)] + self.scales[np.concatenate(which)]
        return jnp.concatenate([jnp.broadcast_to(self.token[...], (b, 1, config.width)), h], axis=1)

    def __call__(self, photos: Photos) -> Float[Array, " b"]:
        h = self.tokens(photos)
        for layer in self.layers:
            h = layer(h)
        return self.head(self.norm(h[:, 0]))[:, 0]


def score(model: Musiq, photos: Photos) -> Float[Array, " b"]:
    """MUSIQ's scores, higher is better; compiled once a photo size and batch, differentiable by the photos.

    An accelerator takes the batch at once; a processor one photo after the other, which its caches can hold.
    Range: photos in [0, 1]; scores of KonIQ's weights lie in about 0 to 100.
    Raises: ValueError for a photo too thin for the small scales.
    Test: test_musiq.py::test_scores_are_pyiqas, test_a_batch_is_its_photos, test_gradient_is_the_slope
    """
    graph, state = nnx.split(model)
    return _score(graph, state, photos)


@partial(jax.jit, static_argnums=0)
def _score(graph, state, photos):
    together = 1 if jax.default_backend() == "cpu" else len(photos)
    with jax.default_matmul_precision("highest"):  # accelerators would round to fewer bits
        model = nnx.merge(graph, state)
        return jax.lax.map(lambda photo: model(photo[None])[0], jnp.asarray(photos), batch_size=together)
