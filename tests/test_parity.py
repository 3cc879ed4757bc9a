"""Our networks against diffusers' and transformers', with shared random weights at reduced width."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from public_models import SMALL, random_arrays, single_file

from benchmarks import paper_parity
from benchmarks.paper_parity import BOUND, distance
from unires.models.blocks import Transformer
from unires.models.ldm import take_apart
from unires.models.names import FOLDERS, PARTS, SINGLE, places
from unires.models.store import random_model
from unires.models.unet import time_features
from unires.profiles import PAPER


@pytest.fixture(scope="module")
def peers():
    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("diffusers")
    return paper_parity.import_peers()


@pytest.fixture(scope="module")
def pairs(peers):
    """Each network twice: theirs, and ours with its weights."""
    found = {}
    for part in PARTS:
        theirs = paper_parity.their_module(peers, part, SMALL)
        arrays, rebuild = paper_parity.our_module(theirs, part, SMALL)
        found[part] = theirs, arrays, rebuild
    return found


def normal(*shape, seed=0, size=1.0):
    return size * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("part", PARTS)
def test_whole_networks_are_the_public_ones(peers, pairs, part):
    theirs, arrays, rebuild = pairs[part]
    given = paper_parity.inputs(part, SMALL, 8)
    expected = paper_parity.their_answers(peers, theirs, part, given)
    found = paper_parity.our_answers(arrays, rebuild, part, given)
    for name in expected:
        assert np.std(expected[name]) > 0.01
        assert distance(found[name], expected[name]) <= BOUND, name


def ask(peers, module, h, *others, **named):
    """A block of theirs on a feature map."""
    tensor = peers.torch.tensor
    with peers.torch.no_grad():
        out = module(tensor(np.moveaxis(h, -1, 1).copy()), *map(tensor, others), **named)
    out = out[0] if isinstance(out, tuple) else getattr(out, "sample", out)
    return np.moveaxis(out.numpy(), 1, -1)


# Ours, theirs, channels of the input; each block of the UNet and of the autoencoder alone.
RES = [("down.0.0.0", "down_blocks.0.resnets.0", 16), ("up.1.2.0", "up_blocks.1.resnets.2", 64)]
TRANSFORMERS = [("down.1.0.1", "down_blocks.1.attentions.0", 32), ("middle", "mid_block.attentions.0", 32)]
SCALINGS = [
    ("unet", "downs.0", "down_blocks.0.downsamplers.0", 16),
    ("unet", "ups.0", "up_blocks.0.upsamplers.0", 32),
    ("vae", "encoder.downs.1", "encoder.down_blocks.1.downsamplers.0", 16),
    ("vae", "decoder.ups.0", "decoder.up_blocks.0.upsamplers.0", 16),
]


def inside(module, name: str):
    for part in name.split("."):
        module = module[int(part)] if part.isdigit() else getattr(module, part)
    return module


@pytest.mark.parametrize("ours, theirs, channels", RES)
def test_a_residual_block_alone(peers, pairs, ours, theirs, channels):
    module, arrays, rebuild = pairs["unet"]
    h, time = normal(1, 6, 4, channels, size=0.01), normal(1, 64, seed=1)
    out = jax.jit(lambda a, *given: inside(rebuild(a), ours)(*given))(arrays, h, time)
    assert distance(out, ask(peers, module.get_submodule(theirs), h, time)) <= BOUND


@pytest.mark.parametrize("ours, theirs, channels", TRANSFORMERS)
def test_a_transformer_alone(peers, pairs, ours, theirs, channels):
    module, arrays, rebuild = pairs["unet"]
    h, context = normal(1, 6, 4, channels, size=0.01), normal(1, 7, 16, seed=1)
    out = jax.jit(lambda a, *given: inside(rebuild(a), ours)(*given))(arrays, h, context)
    expected = ask(peers, module.get_submodule(theirs), h, encoder_hidden_states=peers.torch.tensor(context))
    assert distance(out, expected) <= BOUND


@pytest.mark.parametrize("part, ours, theirs, channels", SCALINGS)
def test_down_and_upsampling_alone(peers, pairs, part, ours, theirs, channels):
    module, arrays, rebuild = pairs[part]
    h = normal(1, 6, 4, channels)
    out = jax.jit(lambda a, h: inside(rebuild(a), ours)(h))(arrays, h)
    assert distance(out, ask(peers, module.get_submodule(theirs), h)) <= BOUND


def test_the_autoencoders_attention_alone(peers, pairs):
    module, arrays, rebuild = pairs["vae"]
    h = normal(1, 6, 4, 16, size=0.01)

    @jax.jit
    def attend(arrays, h):
        middle = rebuild(arrays).encoder.middle
        return h + middle.attention(middle.norm(h).reshape(1, 24, 16)).reshape(h.shape)

    assert distance(attend(arrays, h), ask(peers, module.encoder.mid_block.attentions[0], h)) <= BOUND


def test_the_time_embedding_alone(peers, pairs):
    module, arrays, rebuild = pairs["unet"]
    t = np.array([0, 1, 500, 999])

    @jax.jit
    def embed(arrays, t):
        unet = rebuild(arrays)
        return unet.time2(nnx.silu(unet.time1(time_features(t, unet.features))))

    out = embed(arrays, t)
    with peers.torch.no_grad():
        expected = module.time_embedding(module.time_proj(peers.torch.tensor(t)))
    assert distance(out, expected.numpy()) <= BOUND


def faint_transformer(peers, pairs):
    """A faint input, where eps counts, and gates near -2.5, where the two GELUs differ most."""
    module, arrays, rebuild = pairs["unet"]
    h, context = normal(1, 6, 4, 32, size=0.01), normal(1, 7, 16, seed=1)
    theirs = copy.deepcopy(module.mid_block.attentions[0])
    mlp = theirs.transformer_blocks[0].ff.net
    with peers.torch.no_grad():
        mlp[0].proj.weight *= 0.3
        mlp[0].proj.bias[128:] = -2.5  # the gates' half
        mlp[2].weight *= 100
    expected = ask(peers, theirs, h, encoder_hidden_states=peers.torch.tensor(context))
    bias = arrays["middle.mlp_in.bias"].copy()
    bias[128:] = -2.5
    scaled = arrays | {"middle.mlp_in.kernel": 0.3 * arrays["middle.mlp_in.kernel"], "middle.mlp_in.bias": bias}
    scaled["middle.mlp_out.kernel"] = 100 * arrays["middle.mlp_out.kernel"]

    def error(change=lambda block: None):
        def answer(arrays, h, context):
            block = rebuild(arrays).middle
            change(block)
            return block(h, context)

        return distance(jax.jit(answer)(scaled, h, context), expected)

    return error


def test_the_gelu_is_the_exact_one(peers, pairs, monkeypatch):
    """With the tanh approximation, as two other ports have it, the bound is broken."""
    error = faint_transformer(peers, pairs)
    assert error() <= BOUND
    exact = nnx.gelu
    monkeypatch.setattr(nnx, "gelu", lambda x, approximate: exact(x, approximate=True))
    assert error() > 10 * BOUND


def test_the_epsilon_is_that_of_the_transformers(peers, pairs):
    """With the 1e-5 of the residual blocks, the bound is broken."""
    error = faint_transformer(peers, pairs)

    def spoil(block):
        assert isinstance(block, Transformer) and block.norm.epsilon == 1e-6
        block.norm.epsilon = 1e-5

    assert error() <= BOUND and error(spoil) > 10 * BOUND


def test_full_size_names_and_shapes_are_theirs(peers):
    """On the device that holds no numbers: every name of the full-size networks, and its shape."""
    known = {place.name: place.shape for place in places(PAPER, "diffusers").values()}
    found = {}
    for part in PARTS:
        with peers.torch.device("meta"):
            module = paper_parity.their_module(peers, part, PAPER, seed=None)
        for name, array in module.state_dict().items():
            found[f"{FOLDERS[part]}/{name.removeprefix('text_model.')}"] = tuple(array.shape)
    assert found == known


def test_the_single_files_names_are_those_of_diffusers_own_reader(peers):
    """diffusers reads a single file of ours and finds each array where its own layout has it."""
    from diffusers.loaders import single_file_utils as theirs

    arrays = random_arrays()
    file = {name: peers.torch.tensor(array) for name, array in single_file(arrays).items()}
    text = paper_parity.their_module(peers, "text", SMALL, seed=None)
    said = {part: paper_parity.settings(SMALL)[part] for part in ("unet", "vae")}
    found = {
        "unet": theirs.convert_ldm_unet_checkpoint(dict(file), said["unet"]),
        "vae": theirs.convert_ldm_vae_checkpoint(dict(file), said["vae"]),
        "text": theirs.convert_open_clip_checkpoint(text, dict(file), prefix=SINGLE["text"]),
    }
    wanted = places(SMALL, "diffusers")
    for part in PARTS:
        ours = {n: p for n, p in wanted.items() if n.startswith(part + ".")}
        there = {f"{FOLDERS[part]}/{name.removeprefix('text_model.')}": a.numpy() for name, a in found[part].items()}
        assert there.keys() == {place.name for place in ours.values()}
        for name, place in ours.items():
            array = there[place.name].reshape(place.shape).transpose(place.axes).reshape(arrays[name].shape)
            np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_the_script_writes_its_table(peers, tmp_path, capsys):
    out = tmp_path / "parity.json"
    assert paper_parity.main(["--parts", "text", "--side", "8", "--out", str(out)], SMALL) == 0
    assert '"relative_error"' in out.read_text() and "text: " in capsys.readouterr().out


def test_diffusers_opens_what_we_export(peers, pairs, tmp_path):
    """from_pretrained on our folders, with our config.json: the same answers."""
    from unires.models.export import export

    arrays = {f"{part}.{name}": array for part in PARTS for name, array in pairs[part][1].items()}
    export(arrays, SMALL, tmp_path)
    for part in ("unet", "vae", "text"):
        again = getattr(peers, part).from_pretrained(str(tmp_path / FOLDERS[part])).eval()
        kept, found = pairs[part][0].state_dict(), again.state_dict()
        assert kept.keys() == found.keys() and all(peers.torch.equal(kept[name], found[name]) for name in kept)
        given = paper_parity.inputs(part, SMALL, 8)
        expected = paper_parity.their_answers(peers, pairs[part][0], part, given)
        found = paper_parity.their_answers(peers, again, part, given)
        for name in expected:
            assert distance(found[name], expected[name]) < 1e-5


def test_every_number_is_somewhere():
    rows = paper_parity.where_numbers_are(PAPER)
    assert {row["level"] for row in rows} == {"1/1", "1/2", "1/4", "1/8", "middle", "ends"}
    assert sum(row["millions"] for row in rows) * 1e6 == pytest.approx(865_922_244, rel=1e-9)
    coarsest = [row for row in rows if row["level"] == "1/8"]
    assert coarsest and all(row["part"] == "convolutions, time" for row in coarsest)  # no transformer there


def test_a_silent_network_finds_no_noise():
    arrays, rebuild = take_apart(random_model(SMALL))
    silent = {name: 0 * arrays[name] for name in ("unet.conv_out.kernel", "unet.conv_out.bias")}
    photo, context = np.random.default_rng(0).random((64, 64, 3), np.float32), jnp.ones((7, 16))
    eps = jax.random.normal(jax.random.key(5), (1, 8, 8, 4))
    left = paper_parity.noise_left(rebuild(arrays | silent), SMALL, context, photo, seed=5)
    assert left == pytest.approx(float((eps**2).mean()), rel=1e-5)
