"""The networks: against plain torch.nn modules with the same weights, published counts and formulas."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from unires.config import TextConfig, UNetConfig, VAEConfig
from unires.models.blocks import Attention, ResBlock, Transformer, Upsample, conv
from unires.models.ldm import take_apart
from unires.models.text import TextEncoder
from unires.models.unet import UNet, time_features
from unires.models.vae import VAE

TINY_VAE = VAEConfig((8, 16), (8, 16), 2, encoder_blocks=2, decoder_blocks=3, mid_attention=True, groups=4, scale=0.5)


def filled(make, seed: int = 0) -> tuple[nnx.Module, dict[str, np.ndarray]]:
    """A module in which every array is random (nothing zero, no norm trivial), and its arrays."""
    shapes, rebuild = take_apart(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    rng, arrays = np.random.default_rng(seed), {}
    for name, leaf in shapes.items():
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        matrix = name.endswith(("kernel", "embedding"))
        arrays[name] = noise / np.prod(leaf.shape[:-1]) ** 0.5 if matrix else 0.3 * noise + name.endswith("scale")
    return rebuild({name: jnp.asarray(array) for name, array in arrays.items()}), arrays


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def distance(a, b) -> float:
    """Relative to the length of b."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


# torch, as the public model is written there: channels first, exact GELU


class Torch:
    """Runs plain torch.nn layers on one module's arrays; a name such as "norm1" picks the arrays."""

    def __init__(self, arrays: dict[str, np.ndarray], groups: int = 4, eps: float = 1e-5, gelu: str = "none"):
        self.torch = pytest.importorskip("torch")
        self.arrays, self.groups, self.eps, self.gelu = arrays, groups, eps, gelu

    def at(self, name: str, **changes) -> "Torch":
        inside = {k[len(name) + 1 :]: v for k, v in self.arrays.items() if k.startswith(name + ".")}
        return Torch(inside, **{"groups": self.groups, "eps": self.eps, "gelu": self.gelu} | changes)

    def layer(self, name: str, layer, x):
        """Give a torch layer its weight and bias, and call it."""
        weight = self.arrays.get(f"{name}.kernel", self.arrays.get(f"{name}.scale"))
        axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[weight.ndim]
        bias = self.arrays.get(f"{name}.bias")
        state = {"weight": weight.transpose(axes)} | ({} if bias is None else {"bias": bias})
        layer.load_state_dict({k: self.torch.tensor(np.ascontiguousarray(v)) for k, v in state.items()})
        with self.torch.no_grad():
            return layer(x)

    def conv(self, name: str, x, **options):
        size, _, i, o = self.arrays[f"{name}.kernel"].shape
        return self.layer(name, self.torch.nn.Conv2d(i, o, size, **{"padding": size // 2} | options), x)

    def linear(self, name: str, x):
        return self.layer(name, self.torch.nn.Linear(*self.arrays[f"{name}.kernel"].shape), x)

    def group_norm(self, name: str, x):
        return self.layer(name, self.torch.nn.GroupNorm(self.groups, x.shape[1], eps=self.eps), x)

    def layer_norm(self, name: str, x):
        return self.layer(name, self.torch.nn.LayerNorm(x.shape[-1], eps=1e-5), x)

    def res_block(self, h, time=None):
        silu = self.torch.nn.SiLU()
        out = self.conv("conv1", silu(self.group_norm("norm1", h)))
        if time is not None:
            out = out + self.linear("time", silu(time))[:, :, None, None]
        out = self.conv("conv2", silu(self.group_norm("norm2", out)))
        return out + (self.conv("skip", h) if "skip.kernel" in self.arrays else h)

    def attention(self, h, context=None, *, heads: int, mask=None):
        torch, a = self.torch, {k: torch.tensor(v) for k, v in self.arrays.items()}
        context, width = h if context is None else context, h.shape[-1]
        module = torch.nn.MultiheadAttention(width, heads, kdim=context.shape[-1] + 1, vdim=1, batch_first=True)
        for part in "qkv":  # a kdim of its own keeps the three matrices apart
            setattr(module, f"{part}_proj_weight", torch.nn.Parameter(a[f"{part}.kernel"].T))
        biases = [a.get(f"{part}.bias", torch.zeros(width)) for part in "qkv"]
        module.in_proj_bias.data = torch.cat(biases)
        module.out_proj.weight.data, module.out_proj.bias.data = a["out.kernel"].T, a["out.bias"]
        module.kdim = module.vdim = context.shape[-1]
        with torch.no_grad():
            return module(h, context, context, attn_mask=mask, need_weights=False)[0]

    def transformer(self, h, context, *, heads: int):
        x = self.group_norm("norm", h).flatten(2).transpose(1, 2)
        x = self.linear("proj_in", x)
        x = x + self.at("self_attention").attention(self.layer_norm("norm1", x), heads=heads)
        x = x + self.at("cross_attention").attention(self.layer_norm("norm2", x), context, heads=heads)
        value, gate = self.linear("mlp_in", self.layer_norm("norm3", x)).chunk(2, dim=-1)
        x = x + self.linear("mlp_out", value * self.torch.nn.GELU(approximate=self.gelu)(gate))
        return h + self.linear("proj_out", x).transpose(1, 2).reshape(h.shape)

    def upsample(self, h):
        return self.conv("conv", self.torch.nn.Upsample(scale_factor=2, mode="nearest")(h))

    def first(self, x: np.ndarray):
        """Channels first (of maps), as a tensor."""
        return self.torch.tensor(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)


def last(x) -> np.ndarray:
    return np.moveaxis(x.numpy(), 1, -1)


@pytest.mark.parametrize("o, eps, time", [(8, 1e-6, False), (12, 1e-5, True)])
def test_res_block_matches_torch(o, eps, time):
    block, arrays = filled(lambda rngs: ResBlock(8, o, 4, rngs, eps=eps, time=6 if time else None))
    h, features = 0.01 * normal(2, 5, 6, 8), normal(2, 6, seed=1) if time else None  # faint: eps matters

    def oracle(eps):
        torch = Torch(arrays, eps=eps)
        return last(torch.res_block(torch.first(h), None if features is None else torch.first(features)))

    out = block(jnp.asarray(h), None if features is None else jnp.asarray(features))
    assert distance(out, oracle(eps)) < 1e-5
    assert distance(out, oracle(1e-5 if eps == 1e-6 else 1e-6)) > 1e-3


@pytest.mark.parametrize("context, bias, causal", [(8, True, True), (8, False, False), (6, False, False)])
def test_attention_matches_torch(context, bias, causal):
    block, arrays = filled(lambda rngs: Attention(8, context, 2, rngs, qkv_bias=bias))
    assert ("q.bias" in arrays) == bias
    h, other = normal(2, 5, 8), None if causal else normal(2, 7, context, seed=1)
    torch = Torch(arrays)
    mask = torch.torch.nn.Transformer.generate_square_subsequent_mask(5) if causal else None
    expected = torch.attention(torch.first(h), None if causal else torch.first(other), heads=2, mask=mask)
    out = block(jnp.asarray(h), None if causal else jnp.asarray(other), causal=causal)
    assert distance(out, expected) < 1e-5


def test_transformer_matches_torch():
    """Fails with the tanh GELU, and with the 1e-5 of the residual blocks' GroupNorm."""
    block, arrays = filled(lambda rngs: Transformer(8, 6, 4, 4, rngs))
    arrays["mlp_in.kernel"] *= 3  # gates of about 2, where the two GELUs differ most
    block.mlp_in.kernel[...] = jnp.asarray(arrays["mlp_in.kernel"])
    h, context = 0.01 * normal(2, 4, 3, 8), normal(2, 7, 6, seed=1)
    out = block(jnp.asarray(h), jnp.asarray(context))

    def oracle(**options):
        torch = Torch(arrays, **{"eps": 1e-6} | options)
        return last(torch.transformer(torch.first(h), torch.first(context), heads=2))

    assert distance(out, oracle()) < 1e-5
    assert distance(out, oracle(gelu="tanh")) > 5e-5
    assert distance(out, oracle(eps=1e-5)) > 1e-3


def test_up_and_downsampling_match_torch():
    """Padding 1 on all sides in the UNet; on the right and below only in the autoencoder."""
    h = normal(1, 6, 8, 4)
    up, arrays = filled(lambda rngs: Upsample(4, rngs))
    torch = Torch(arrays)
    assert distance(up(jnp.asarray(h)), last(torch.upsample(torch.first(h)))) < 1e-5
    for padding, pads in ((None, (1, 1, 1, 1)), ([(0, 1), (0, 1)], (0, 1, 0, 1))):
        down, arrays = filled(lambda rngs, p=padding: conv(4, 5, 3, rngs, stride=2, padding=p))
        torch = Torch({f"down.{name}": array for name, array in arrays.items()})
        padded = torch.torch.nn.ZeroPad2d(pads)(torch.first(h))
        out = down(jnp.asarray(h))
        assert out.shape == (1, 3, 4, 5)
        assert distance(out, last(torch.conv("down", padded, stride=2, padding=0))) < 1e-5


def test_unet_matches_torch():
    """The way down, the middle, the way up with its skips: two levels, as the public model wires them."""
    config, c = UNetConfig(channels=(8, 16), attention=(False, True), blocks=2, head_dim=4, groups=4), 2
    unet, arrays = filled(lambda rngs: UNet(config, 2 * c, c, 6, rngs))
    z_t, z_lq, t, text = normal(2, 4, 6, c), normal(2, 4, 6, c, seed=1), np.array([3, 800]), normal(2, 5, 6, seed=2)
    out = jax.jit(unet)(z_t, z_lq, t, text)

    torch, silu = Torch(arrays), pytest.importorskip("torch").nn.SiLU()
    context = torch.first(text)
    time = torch.linear("time2", silu(torch.linear("time1", torch.first(np.asarray(time_features(jnp.asarray(t), 8))))))

    def block(name, h):
        h = torch.at(f"{name}.0").res_block(h, time)
        if f"{name}.1.norm.scale" not in arrays:
            return h
        return torch.at(f"{name}.1", eps=1e-6).transformer(h, context, heads=h.shape[1] // 4)

    skips = [torch.conv("conv_in", torch.first(np.concatenate([z_t, z_lq], -1)))]
    for name in ("down.0.0", "down.0.1"):
        skips.append(block(name, skips[-1]))
    skips.append(torch.conv("downs.0", skips[-1], stride=2))
    for name in ("down.1.0", "down.1.1"):
        skips.append(block(name, skips[-1]))
    h = torch.at("middle1").res_block(skips[-1], time)
    h = torch.at("middle", eps=1e-6).transformer(h, context, heads=4)
    h = torch.at("middle2").res_block(h, time)
    for level in range(2):
        for i in range(3):
            h = block(f"up.{level}.{i}", torch.torch.cat([h, skips.pop()], 1))
        h = torch.at("ups.0").upsample(h) if level == 0 else h
    assert not skips
    assert distance(out, last(torch.conv("conv_out", silu(torch.group_norm("norm", h))))) < 1e-4


def test_vae_matches_torch():
    """Encoder and decoder of the public autoencoder's form, two levels, attention in the middle."""
    vae, arrays = filled(lambda rngs: VAE(TINY_VAE, rngs))
    x, z = normal(1, 8, 6, 3), normal(1, 4, 3, 2, seed=1)
    mean, log_variance = jax.jit(vae.encoder)(x)
    x_hat = jax.jit(vae.decoder)(z)

    def through(torch, h, blocks, between):
        for level in range(2):
            for i in range(blocks):
                h = torch.at(f"levels.{level}.{i}").res_block(h)
            h = between(h) if level == 0 else h
        return h

    def middle(torch, h):
        h = torch.at("block1").res_block(h)
        tokens = torch.group_norm("norm", h).flatten(2).transpose(1, 2)
        h = h + torch.at("attention").attention(tokens, heads=1).transpose(1, 2).reshape(h.shape)
        return torch.at("block2").res_block(h)

    def end(torch, h):
        return torch.conv("conv_out", torch.torch.nn.SiLU()(torch.group_norm("norm", h)))

    torch = Torch(arrays, eps=1e-6).at("encoder")
    pad = torch.torch.nn.ZeroPad2d((0, 1, 0, 1))
    h = through(torch, torch.conv("conv_in", torch.first(x)), 2, lambda h: torch.conv("downs.0", pad(h), stride=2, padding=0))
    expected = last(torch.conv("quant", end(torch, middle(torch.at("middle"), h))))
    assert distance(np.concatenate([mean, log_variance], -1), expected) < 1e-4

    torch = Torch(arrays, eps=1e-6).at("decoder")
    h = middle(torch.at("middle"), torch.conv("conv_in", torch.conv("quant", torch.first(z))))
    assert distance(x_hat, last(end(torch, through(torch, h, 3, lambda h: torch.at("ups.0").upsample(h))))) < 1e-4


@pytest.fixture(scope="module")
def text():
    config = TextConfig(vocabulary=20, tokens=6, width=8, layers=2, heads=2)
    encoder, arrays = filled(lambda rngs: TextEncoder(config, rngs))
    return jax.jit(encoder), arrays


def test_text_encoder_matches_torch(text):
    """torch's own pre-norm encoder layer."""
    encode, arrays = text
    torch, ids = Torch(arrays), np.array([[1, 5, 9, 2, 0, 0], [1, 2, 0, 0, 0, 0]], np.int32)
    h = torch.first(arrays["tokens.embedding"][ids] + arrays["positions.embedding"])
    mask = torch.torch.nn.Transformer.generate_square_subsequent_mask(6)
    for i in range(2):
        layer = torch.at(f"layers.{i}")
        h = h + layer.at("attention").attention(layer.layer_norm("norm1", h), heads=2, mask=mask)
        inner = torch.torch.nn.GELU()(layer.linear("mlp_in", layer.layer_norm("norm2", h)))
        h = h + layer.linear("mlp_out", inner)
    assert distance(encode(ids), torch.layer_norm("norm", h)) < 1e-5


def test_text_encoder_is_causal(text):
    ids = np.array([[1, 5, 9, 7, 2, 0], [1, 5, 9, 8, 2, 0]], np.int32)  # they differ in the fourth token
    one, other = np.asarray(text[0](ids))
    np.testing.assert_array_equal(one[:3], other[:3])
    assert (np.abs(one[3:] - other[3:]).max(axis=1) > 1e-3).all()
