"""The networks: against plain torch.nn modules with the same weights, published counts and formulas."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from unires.config import ScheduleConfig, TextConfig, UNetConfig, VAEConfig
from unires.models.blocks import ResBlock, Transformer, Upsample, conv, way
from unires.models.ldm import LDM, parameter_count, take_apart
from unires.models.store import random_model
from unires.models.text import END, PAD, START, TextEncoder, tokenize
from unires.models.unet import UNet, time_features
from unires.models.vae import VAE, from_patches, patch_basis, to_patches
from unires.profiles import DEMO, PAPER, SMOKE
from unires.schedule import Schedule
from unires.tasks import TASKS

TINY_VAE = VAEConfig((8, 16), (8, 16), 2, encoder_blocks=2, decoder_blocks=3, mid_attention=True, groups=4, scale=0.5)


def filled(make, seed: int = 0) -> tuple[nnx.Module, dict[str, np.ndarray]]:
    """A module in which every array is random (nothing zero, no norm trivial), and its arrays."""
    shapes, rebuild = take_apart(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    rng, arrays = np.random.default_rng(seed), {}
    for name, leaf in shapes.items():
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if name.endswith(("kernel", "embedding")):
            arrays[name] = noise / np.sqrt(noise[..., 0].size).astype(np.float32)
        else:
            arrays[name] = 0.3 * noise + np.float32(name.endswith("scale"))
    return rebuild({name: jnp.asarray(array) for name, array in arrays.items()}), arrays


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def distance(a, b) -> float:
    """Relative to the length of b."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_attention_is_fused_where_it_can_be():
    def gpu(capability="8.0", version="cuda 12"):
        client = SimpleNamespace(platform_version=version)
        return SimpleNamespace(platform="gpu", client=client, compute_capability=capability)

    assert way(jnp.bfloat16, 64, gpu()) == "cudnn" == way("float16", 128, gpu("9.0"))
    for given in (
        (jnp.float32, 64, gpu()),
        (jnp.bfloat16, 512, gpu()),  # the autoencoder's one head
        (jnp.bfloat16, 60, gpu()),
        (jnp.bfloat16, 64, gpu("7.5")),
        (jnp.bfloat16, 64, gpu("gfx90a", "rocm 6")),
        (jnp.bfloat16, 64, jax.devices("cpu")[0]),
    ):
        assert way(*given) == "xla", given
    assert way(jnp.bfloat16, 64, gpu(), tokens=1023) == "xla" != way(jnp.bfloat16, 64, gpu(), tokens=1024)


@pytest.fixture(scope="module")
def text():
    config = TextConfig(vocabulary=20, tokens=6, width=8, layers=2, heads=2)
    encoder, arrays = filled(lambda rngs: TextEncoder(config, rngs))
    return jax.jit(encoder), arrays


def test_text_encoder_is_causal(text):
    ids = np.array([[1, 5, 9, 7, 2, 0], [1, 5, 9, 8, 2, 0]], np.int32)  # they differ in the fourth token
    one, other = np.asarray(text[0](ids))
    np.testing.assert_array_equal(one[:3], other[:3])
    assert (np.abs(one[3:] - other[3:]).max(axis=1) > 1e-3).all()


def bitwise_crc32(data: bytes) -> int:
    """CRC-32 from its definition: division by the reversed polynomial 0xEDB88320, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_tokens_are_stable_and_distinct():
    # The published check value of CRC-32 is that of the digits 1 to 9.
    assert bitwise_crc32(b"123456789") == 0xCBF43926
    ids = tokenize(["123456789", "Motion-deblur", ""], SMOKE.text)
    assert ids[0].tolist() == [START, 3 + 0xCBF43926 % 61, END] + [PAD] * 5
    words = [3 + bitwise_crc32(word) % 61 for word in (b"motion", b"deblur")]
    assert ids[1].tolist() == [START, *words, END] + [PAD] * 4
    assert ids[2].tolist() == [START, END] + [PAD] * 6
    for config in (SMOKE.text, DEMO.text):
        ids = tokenize([""] + [task.prompt for task in TASKS], config)
        assert ids.dtype == np.int32 and ids.shape == (5, config.tokens)
        assert len({tuple(row) for row in ids}) == 5 and 0 <= ids.min() and ids.max() < config.vocabulary


def test_tokens_of_odd_prompts():
    same = tokenize(["clean, 4k photo!", "  Clean 4K PHOTO", "photo 4k clean"], DEMO.text)
    assert (same[0] == same[1]).all() and (same[0] != same[2]).any()
    long = tokenize(["word " * 100], SMOKE.text)[0]
    assert long.tolist() == [START] + [3 + bitwise_crc32(b"word") % 61] * 6 + [END]


def test_time_features_match_the_formula():
    t, width = np.array([0, 1, 500, 999]), 16
    expected = np.zeros((4, width))
    for i in range(width // 2):
        angle = t / 10_000 ** (i / (width // 2))
        expected[:, i], expected[:, width // 2 + i] = np.cos(angle), np.sin(angle)  # cosines first
    np.testing.assert_allclose(time_features(jnp.asarray(t), width), expected, atol=1e-4)


@pytest.fixture(scope="module")
def paper():
    return LDM.abstract(PAPER)


def test_unet_counts_the_public_parameters(paper):
    """Stable Diffusion 2's UNet; without the LQ latent's four channels its first convolution is smaller."""
    assert parameter_count(paper.unet) == 865_922_244
    narrow = nnx.eval_shape(lambda: conv(4, 320, 3, nnx.Rngs(0)))
    without = parameter_count(paper.unet) - parameter_count(paper.unet.conv_in) + parameter_count(narrow)
    assert without == 865_910_724


def test_paper_config_is_abstract_and_counts(paper):
    arrays, _ = take_apart(paper)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in arrays.values())
    # Stable Diffusion's autoencoder, and OpenCLIP ViT-H/14's text tower cut to 23 layers.
    assert parameter_count(paper.vae) == 83_653_863
    assert parameter_count(paper.text) == 340_387_840
    assert parameter_count(paper) == 865_922_244 + 83_653_863 + 340_387_840
    assert arrays["unet.conv_in.kernel"].shape == (3, 3, 8, 320)
    assert arrays["unet.middle.cross_attention.k.kernel"].shape == (1024, 1280)


def test_heads_and_epsilons_of_the_public_model(paper):
    modules = {".".join(map(str, path)): module for path, module in nnx.iter_modules(paper)}
    heads = {m.q.in_features // m.heads for n, m in modules.items() if n.startswith("unet") and hasattr(m, "heads")}
    assert heads == {64} and paper.unet.middle.self_attention.heads == 20
    norms = {name: module.epsilon for name, module in modules.items() if isinstance(module, nnx.GroupNorm)}
    inside = {name + ".norm" for name, module in modules.items() if isinstance(module, Transformer)}
    assert len(inside) == 16 and len(norms) == 16 + 2 * 22 + 1 + 2 * (10 + 14) + 2 + 2
    for name, epsilon in norms.items():
        assert epsilon == (1e-6 if name in inside or name.startswith("vae") else 1e-5), name


def test_kernels_start_as_flax_draws_them():
    ours = conv(3, 5, 3, nnx.Rngs(7))
    flax = nnx.Conv(3, 5, (3, 3), rngs=nnx.Rngs(7))
    np.testing.assert_array_equal(ours.kernel[...], flax.kernel[...])


def as_new(make, *names: str) -> dict[str, jax.Array]:
    """Some of the arrays that a new module starts with."""
    return jax.jit(lambda: {name: take_apart(make(nnx.Rngs(0)))[0][name] for name in names})()


def test_new_blocks_change_nothing():
    """Their last layers start at zero: whatever else they hold, training starts from the identity."""
    h, context = jnp.asarray(normal(1, 4, 4, 8)), jnp.asarray(normal(1, 3, 6, seed=1))

    def same(rngs):
        return ResBlock(8, 8, 4, rngs, eps=1e-5)

    def attend(rngs):
        return Transformer(8, 6, 4, 4, rngs)

    for make, names, inputs in (
        (same, ("conv2.kernel", "conv2.bias"), (h,)),
        (attend, ("proj_out.kernel", "proj_out.bias"), (h, context)),
    ):
        module, _ = filled(make)
        assert distance(module(*inputs), h) > 0.1
        arrays, rebuild = take_apart(module)
        new = rebuild(arrays | as_new(make, *names))
        np.testing.assert_array_equal(new(*inputs), h)


def test_a_new_unet_predicts_zero():
    def make(rngs):
        return UNet(UNetConfig((8,), (True,), 1, 4, 4), 4, 2, 6, rngs)

    new = as_new(make, "conv_out.kernel", "conv_out.bias")
    assert sorted(array.shape for array in new.values()) == [(2,), (3, 3, 8, 2)]
    assert not any(array.any() for array in new.values())


def test_text_in_time_is_the_mean_token():
    """What the text layer makes of it, put into the bias of the time's features by hand, is the same."""
    config = UNetConfig((8,), (False,), 1, 4, 4, text_in_time=True)
    arrays, rebuild = take_apart(filled(lambda rngs: UNet(config, 4, 2, 6, rngs))[0])
    z_t, z_lq, context = normal(1, 4, 4, 2), normal(1, 4, 4, 2, seed=1), normal(1, 5, 6)
    ask = jax.jit(lambda arrays: rebuild(arrays)(z_t, z_lq, jnp.full(1, 3), jnp.asarray(context)))
    silent = {name: 0 * arrays[name] for name in ("text.kernel", "text.bias")}
    added = context[0].mean(0) @ np.asarray(arrays["text.kernel"]) + np.asarray(arrays["text.bias"])
    answer, without = ask(arrays), ask(arrays | silent)
    by_hand = ask(arrays | silent | {"time2.bias": arrays["time2.bias"] + added})
    assert distance(answer, by_hand) < 1e-5 and distance(answer, without) > 0.01


def test_a_new_model_answers_with_the_lq_photo():
    """Its UNet says 0, so at t = T (z_T holds no signal) the estimate of z_0 is z_LQ itself, or 0 without one."""
    arrays, rebuild = take_apart(random_model(SMOKE))
    silent = {n: 0 * arrays[n] for n in ("unet.conv_out.kernel", "unet.conv_out.bias")}
    model = rebuild(arrays | silent | {"spread": jnp.asarray([0.3, 0.5, 0.2, 0.9])})
    z_t, z_lq = jnp.asarray(normal(2, 2, 4, 4, 4))
    z_lq = z_lq.at[1].set(0)
    context = jnp.zeros((2, SMOKE.text.tokens, SMOKE.text.width))
    v = model.predict(z_t, z_lq, jnp.full(2, 999), context)
    z_0 = -v  # v = alpha eps - sigma z_0, and alpha is 0, sigma 1
    np.testing.assert_allclose(z_0, z_lq, atol=1e-6)
    mean, deviation, _ = model.prior(z_t, z_lq, jnp.full(2, 999))
    np.testing.assert_allclose(deviation[:, 0, 0], [[0.3, 0.5, 0.2, 0.9], [1, 1, 1, 1]], rtol=1e-6)
    plain = replace(SMOKE, unet=replace(SMOKE.unet, from_lq=False, gate=False))
    assert random_model(plain).prior(z_t, z_lq, jnp.full(2, 999)) == (0, 1, z_t)
    with pytest.raises(ValueError, match="v prediction"):
        LDM.abstract(replace(SMOKE, schedule=ScheduleConfig()))


def test_a_gate_is_another_spread():
    """A network that only says "factor f everywhere" answers as the prior of another spread would, where f is right.

    The UNet sees the innovation: it gives the same answers for two pairs with the same one.
    """
    config = replace(SMOKE, unet=replace(SMOKE.unet, from_lq=True, gate=True))
    arrays, rebuild = take_apart(random_model(config))
    t, c = jnp.full(1, 500), config.vae.latent_channels
    z_t, z_lq, shift = jnp.asarray(normal(3, 1, 4, 4, c))
    context = jnp.zeros((1, config.text.tokens, config.text.width))
    wide, narrow = (rebuild(arrays | {"spread": jnp.full(c, s)}) for s in (0.5, 0.1))
    mean, deviation, innovation = wide.prior(z_t, z_lq, t)
    other = narrow.prior(z_t, z_lq, t)[0]
    factor = float(((other - mean) / deviation / innovation).mean())
    answer = jnp.concatenate([jnp.zeros(c), jnp.full(c, factor)])
    says = {"unet.conv_out.kernel": 0 * arrays["unet.conv_out.kernel"], "unet.conv_out.bias": answer}
    told = rebuild(arrays | says | {"spread": jnp.full(c, 0.5)}).predict(z_t, z_lq, t, context)
    np.testing.assert_allclose(told, other, atol=1e-5)
    seen = []
    wide.unet = lambda z, *_: seen.append(z) or jnp.zeros((1, 4, 4, 2 * c))
    alpha = Schedule.make(config.schedule).alpha[500]
    for moved in (0, shift):
        wide.predict(z_t + alpha * moved, z_lq + moved, t, context)
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-5)
    with pytest.raises(ValueError, match="from_lq"):
        LDM.abstract(replace(SMOKE, unet=replace(SMOKE.unet, from_lq=False, gate=True)))


def test_take_apart_and_rebuild():
    block, arrays = filled(lambda rngs: Upsample(3, rngs))
    found, rebuild = take_apart(block)
    assert sorted(found) == ["conv.bias", "conv.kernel"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    h = jnp.asarray(normal(1, 2, 2, 3))
    np.testing.assert_array_equal(rebuild(found)(h), block(h))
    # The bias is added once to each of the 4 x 4 x 3 outputs, inside a compiled gradient as well.
    grads = jax.jit(jax.grad(lambda arrays: rebuild(arrays)(h).sum()))(found)
    np.testing.assert_allclose(grads["conv.bias"], 16)
    np.testing.assert_allclose(rebuild(found | {"conv.bias": found["conv.bias"] + 2})(h), block(h) + 2, atol=1e-6)
    with pytest.raises(KeyError, match="conv.kernel"):
        rebuild({"conv.bias": found["conv.bias"]})


def test_random_model_is_seeded():
    unet = UNetConfig(channels=(8,), attention=(True,), blocks=1, head_dim=4, groups=4)
    small = replace(SMOKE, vae=replace(TINY_VAE, mid_attention=False, decoder_blocks=2), unet=unet)
    one, again, other = (take_apart(random_model(small, seed))[0] for seed in (1, 1, 2))
    assert one.keys() == other.keys() == take_apart(LDM.abstract(small))[0].keys()
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
        if name in ("vae.shift", "vae.scale", "spread"):  # measured, so not drawn
            np.testing.assert_array_equal(one[name], other[name])
            continue
        assert np.isfinite(one[name]).all() and (np.asarray(one[name]) != 0).all(), name
        assert (np.asarray(one[name]) != np.asarray(other[name])).any(), name


# The autoencoder


def test_vae_shapes_and_normalisation():
    arrays, rebuild = take_apart(filled(lambda rngs: VAE(SMOKE.vae, rngs))[0])
    shift, scale = np.array([0.5, -1, 2, 0], np.float32), np.array([1, 2, 0.5, 4], np.float32)
    arrays |= {"shift": jnp.asarray(shift), "scale": jnp.asarray(scale)}
    x = np.random.default_rng(0).random((2, 16, 24, 3)).astype(np.float32)

    @jax.jit
    def all_of_it(arrays, x):
        vae = rebuild(arrays)
        z = vae.encode(x)
        return z, vae.encoder(2 * x - 1), vae.posterior(x), vae.decode(z), vae.decoder(z / scale + shift)

    z, (mean, log_variance), posterior, x_hat, raw = all_of_it(arrays, x)
    assert z.shape == (2, 4, 6, 4) and x_hat.shape == x.shape
    np.testing.assert_allclose(z, (np.asarray(mean) - shift) * scale, atol=1e-5)
    np.testing.assert_allclose(posterior[0], mean, atol=1e-5)
    np.testing.assert_allclose(posterior[1], log_variance, atol=1e-5)
    np.testing.assert_allclose(x_hat, (np.asarray(raw) + 1) / 2, atol=1e-5)
    far = arrays | {"encoder.quant.bias": jnp.asarray([0, 0, 0, 0, 100, 100, -100, -100.0])}
    _, (_, log_variance), *_ = all_of_it(far, x)
    assert (log_variance[..., :2] == 20).all() and (log_variance[..., 2:] == -30).all()  # no overflow


def test_a_given_scale_is_used():
    vae = as_new(lambda rngs: VAE(replace(TINY_VAE, scale=0.18215), rngs), "scale", "shift")
    np.testing.assert_allclose(vae["scale"], [0.18215, 0.18215], rtol=1e-6)
    np.testing.assert_array_equal(vae["shift"], [0, 0])


@pytest.mark.parametrize("size, count", [(4, 12), (4, 48), (2, 5)])
def test_patch_basis_is_orthonormal(size, count):
    basis = patch_basis(size, count)
    assert basis.shape == (size * size * 3, count)
    np.testing.assert_allclose(basis.T @ basis, np.eye(count), atol=1e-12)
    np.testing.assert_allclose(basis[:, 0], basis[0, 0], rtol=1e-12)  # smoothest: one grey
    # The second and third are half a cosine down or across, grey as well.
    half = np.cos(np.pi * (np.arange(size) + 0.5) / size)
    for column in basis.T[1:3]:
        patch = column.reshape(size, size, 3)
        np.testing.assert_allclose(patch[..., 0], patch[..., 2], atol=1e-12)
        profile = patch[..., 0].sum(0) + patch[..., 0].sum(1)
        np.testing.assert_allclose(profile / profile[0], half / half[0], atol=1e-12)


def test_patches_there_and_back():
    x = normal(2, 6, 8, 3)
    patches = to_patches(jnp.asarray(x), 2)
    assert patches.shape == (2, 3, 4, 12)
    for i in range(3):
        for j in range(4):
            square = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            np.testing.assert_array_equal(patches[:, i, j], square.reshape(2, 12))
    np.testing.assert_array_equal(from_patches(patches, 2), x)


def test_a_new_autoencoder_projects_onto_the_patch_basis():
    """With the shortcut, training starts from the best smooth copy of each 4-pixel patch."""

    def make(rngs):
        return VAE(replace(SMOKE.vae, latent_channels=12), rngs)

    arrays, rebuild = take_apart(filled(make)[0])
    started = [name for name in arrays if "shortcut" in name or "conv_out" in name or name in ("shift", "scale")]
    x = np.random.default_rng(1).random((1, 8, 8, 3)).astype(np.float32)

    @jax.jit
    def there_and_back(arrays, x):
        vae = rebuild(arrays)
        return vae.decode(vae.encode(x))

    x_hat = there_and_back(arrays | as_new(make, "encoder.quant.bias", *started), x)
    basis = patch_basis(4, 12)
    patches = np.asarray(to_patches(jnp.asarray(2 * x - 1), 4), np.float64)
    expected = (np.asarray(from_patches(jnp.asarray(patches @ basis @ basis.T), 4)) + 1) / 2
    np.testing.assert_allclose(x_hat, expected, atol=1e-5)
