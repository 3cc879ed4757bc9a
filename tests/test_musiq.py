"""MUSIQ against pyiqa's module with the same weights, its definitions in NumPy, and files of the published layouts."""

import hashlib
import math
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from benchmarks.speed import musiq as speed
from unires.models.ldm import take_apart
from unires.models.musiq import (
    OFFICIAL,
    PYIQA,
    RESIZE,
    EncoderLayer,
    Musiq,
    StdConv,
    Stem,
    gaussian_matrix,
    hashed_positions,
    resize,
    scales,
    score,
    standardise,
    to_patches,
)
from unires.models.musiq_weights import convert, load_musiq, places
from unires.models.store import CheckpointError

SMALL = dict(depth=2, width=96, heads=3, mlp=128)
THEIR_SMALL = dict(num_layers=2, hidden_size=96, num_heads=3, mlp_dim=128)
TINY = dict(SMALL, depth=1, lengths=(64, 96))
THEIR_TINY = dict(THEIR_SMALL, num_layers=1, longer_side_lengths=[64, 96])


@pytest.fixture(scope="module")
def pyiqa():
    """The module of pyiqa that MUSIQ lies in."""
    pytest.importorskip("torch").set_num_threads(1)
    try:
        return sys.modules[speed.their_musiq().__module__]
    except ImportError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def patches_of_pyiqa(pyiqa):
    return pytest.importorskip("pyiqa.data.multiscale_trans_util")


def drawn(shapes: dict[str, tuple], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights with nothing zero and no norm trivial, at the scale that keeps activations about 1."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in sorted(shapes.items()):
        noise = rng.standard_normal(shape).astype(np.float32)
        if len(shape) in (2, 4) and not name.endswith("_emb"):
            noise *= np.float32(math.prod(shape[1:]) ** -0.5)
        else:
            noise = np.float32(0.3) * noise + np.float32("weight" in name)
        found[name] = noise
    return found


def pair(pyiqa, ours: dict, theirs: dict, variant=PYIQA):
    """Our model and pyiqa's, with the same random weights."""
    import torch

    module = pyiqa.MUSIQ(pretrained=False, **theirs).eval().requires_grad_(False)
    state = drawn({name: tuple(value.shape) for name, value in module.state_dict().items()})
    module.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    config = replace(variant, **ours)
    _, rebuild = take_apart(Musiq.abstract(config))
    return rebuild(convert(state, config)), module, state


@pytest.fixture(scope="module")
def small(pyiqa):
    return pair(pyiqa, SMALL, THEIR_SMALL)


@pytest.fixture(scope="module")
def tiny(pyiqa):
    return pair(pyiqa, TINY, THEIR_TINY)


def photos(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Two photos that look different: noise, and waves under a flat black corner."""
    i, j = np.mgrid[:height, :width] / 9
    waves = np.stack([np.sin(i), np.cos(j), np.sin(i + 2 * j)], axis=-1) / 2 + 0.5
    waves[: height // 2, : width // 2] = 0
    noise = np.random.default_rng(seed).random((height, width, 3))
    return np.stack([noise, waves]).astype(np.float32)


def to_torch(x: np.ndarray):
    """Channels first."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 1)))


def compiled(call, module: nnx.Module, *x):
    """call(module, *x) in one compilation: quicker than an operation at a time."""
    graph, state = nnx.split(module)
    return jax.jit(lambda state, *x: call(nnx.merge(graph, state), *x))(state, *map(jnp.asarray, x))


def distance(a, b) -> float:
    """Relative to the length of b."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("height, width", [(96, 96), (201, 333), (300, 37)])
def test_scores_are_pyiqas(small, height, width):
    model, module, _ = small
    x = photos(height, width)
    ours, theirs = np.asarray(score(model, x)), module(to_torch(x)).numpy()[:, 0]
    assert abs(theirs[0] - theirs[1]) > 0.05 * np.abs(theirs).max(), "the score must depend on the photo"
    assert np.abs(ours / theirs - 1).max() < 1e-4


def test_full_size_is_pyiqas(pyiqa):
    model, module, _ = pair(pyiqa, {}, {})
    assert sum(leaf.size for leaf in take_apart(model)[0].values()) == 27_125_825
    x = photos(70, 129)
    ours, theirs = np.asarray(score(model, x)), module(to_torch(x)).numpy()[:, 0]
    assert abs(theirs[0] - theirs[1]) > 0.05 * np.abs(theirs).max()
    assert np.abs(ours / theirs - 1).max() < 1e-4


def test_stem_is_pyiqas(small):
    model, module, _ = small
    x = photos(64, 32)[:, :32] * 2 - 1
    ours = compiled(Stem.__call__, model.stem, x)
    theirs = module.block1(module.root_pool(module.gn_root(module.conv_root(to_torch(x)))))
    assert ours.shape == (2, 8, 8, 256)
    assert distance(ours, np.moveaxis(theirs.numpy(), 1, -1)) < 1e-5


def test_embeddings_are_pyiqas(small, patches_of_pyiqa):
    model, module, _ = small
    x = photos(90, 130)
    packed = patches_of_pyiqa.get_multiscale_patches(to_torch(2 * x - 1), max_seq_len_from_original_res=-1)
    b, n = packed.shape[:2]
    h = module.conv_root(packed[..., :-3].reshape(-1, 3, 32, 32))
    h = module.block1(module.root_pool(module.gn_root(h))).permute(0, 2, 3, 1).reshape(b, n, -1)
    encoder = module.transformer_encoder
    h = encoder.posembed_input(module.embedding(h), packed[..., -3])
    h = encoder.scaleembed_input(h, packed[..., -2])
    ours = compiled(Musiq.tokens, model, x)
    real = packed[0, :, -1].numpy() == 1
    assert real.sum() < n, "pyiqa pads the small scales of this photo"
    assert ours.shape == (2, 1 + real.sum(), 96)
    assert distance(ours[:, 1:], h.numpy()[:, real]) < 1e-5
    assert distance(ours[0, 0], encoder.cls[0, 0].numpy()) == 0


@pytest.mark.parametrize("tanh", [False, True])
def test_encoder_layer_is_pyiqas(small, tanh):
    import torch

    model, module, _ = small
    block = module.transformer_encoder.transformer["encoderblock_1"]
    h = np.random.default_rng(1).standard_normal((2, 11, 96)).astype(np.float32)

    def theirs(kind):
        block.mlp.act = torch.nn.GELU(approximate=kind)
        return block(torch.from_numpy(h), torch.ones(2, 11)).numpy()

    exact, approximate = theirs("none"), theirs("tanh")
    block.mlp.act = torch.nn.GELU()
    model.layers[1].tanh = tanh
    ours = compiled(EncoderLayer.__call__, model.layers[1], h)
    model.layers[1].tanh = False
    right, wrong = (approximate, exact) if tanh else (exact, approximate)
    assert distance(ours, right) < 1e-6 < 2e-5 < distance(ours, wrong)


@pytest.mark.parametrize("size", [(224, 224), (30, 384), (101, 57)])
def test_bicubic_resize_is_torchs(size):
    torch = pytest.importorskip("torch")
    x = photos(97, 150)
    theirs = torch.nn.functional.interpolate(to_torch(x), size, mode="bicubic", align_corners=False)
    assert distance(resize(x, size, "bicubic"), np.moveaxis(theirs.numpy(), 1, -1)) < 1e-5


def brute_gaussian(line: np.ndarray, new: int) -> np.ndarray:
    """One output pixel after another, from the definition: exp(-x^2 / (2 * 0.5^2)) within 1.5 pixels."""
    out, old = [], len(line)
    for i in range(new):
        centre = (i + 0.5) * old / new
        total = value = 0.0
        for j in range(old):
            x = abs(j + 0.5 - centre)
            weight = math.exp(-(x**2) / 0.5) if x < 1.5 - 1e-9 else 0.0
            total, value = total + weight, value + weight * float(line[j])
        out.append(value / total)
    return np.array(out)


@pytest.mark.parametrize("new, old", [(7, 16), (12, 16), (21, 8), (5, 31), (10, 9)])
def test_gaussian_resize_is_its_definition(new, old):
    lines = np.random.default_rng(new).random((3, old))
    wanted = np.stack([brute_gaussian(line, new) for line in lines])
    assert distance(lines @ gaussian_matrix(new, old).T, wanted) < 1e-6
    x = np.broadcast_to(np.float32(lines[:, None, :, None]), (3, 4, old, 3))
    columns = resize(x, (4, new), "gaussian")
    assert distance(columns[:, 2, :, 1], wanted) < 1e-6  # rows are alike, so blurring them changes nothing


def test_an_unchanged_size_is_not_blurred():
    x = photos(24, 40)
    assert (resize(x, (24, 40), "gaussian") == x).all()
    assert distance(x @ np.eye(3), np.einsum("ij,bhjc->bhic", gaussian_matrix(40, 40), x)) > 1e-2


@pytest.mark.parametrize("kind", RESIZE)
def test_resize_keeps_a_flat_photo(kind):
    x = np.full((1, 50, 33, 3), 0.3, np.float32)
    assert np.abs(resize(x, (20, 47), kind) - 0.3).max() < 1e-6


def test_hashed_positions_are_pyiqas(patches_of_pyiqa):
    for rows, columns in [(1, 1), (7, 5), (12, 12), (16, 23), (10, 20), (31, 64)]:
        theirs = patches_of_pyiqa.get_hashed_spatial_pos_emb_index(10, rows, columns)
        assert (hashed_positions(rows, columns, 10) == theirs.numpy()[0]).all()


@pytest.mark.parametrize("height, width", [(64, 96), (33, 70), (5, 31)])
def test_patches_are_pyiqas(patches_of_pyiqa, height, width):
    x = photos(height, width)
    theirs = patches_of_pyiqa.extract_image_patches(to_torch(x), 32, 32).numpy()
    ours = np.moveaxis(np.asarray(to_patches(jnp.asarray(x), 32)), -1, 2)
    assert (ours.reshape(*ours.shape[:2], -1) == theirs.swapaxes(1, 2)).all()


@pytest.mark.parametrize("variant", [OFFICIAL, PYIQA])
def test_token_counts(variant):
    def count(height, width):
        x = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        arrays, rebuild = take_apart(Musiq.abstract(variant))
        return jax.eval_shape(lambda arrays, x: rebuild(arrays).tokens(x), arrays, x).shape[1]

    assert count(512, 512) == 49 + 144 + 256 + 1 == 450
    assert scales(300, 401, variant) == [(168, 224), (287, 384), (300, 401)]
    assert count(300, 401) == 6 * 7 + 9 * 12 + 10 * 13 + 1


def test_thin_photos_are_refused():
    with pytest.raises(ValueError, match="3 x 4000 is too thin"):
        scales(3, 4000, OFFICIAL)


def test_the_two_deviations_differ_as_their_definitions_say():
    kernel = np.random.default_rng(0).normal(0.1, 1e-3, (3, 3, 2, 5)).astype(np.float32)  # small: the epsilon counts
    n, centred = 18, kernel.astype(np.float64) - kernel.astype(np.float64).mean(axis=(0, 1, 2))
    variance = (centred**2).sum(axis=(0, 1, 2))
    for ddof in (0, 1):
        wanted = centred / (np.sqrt(variance / (n - ddof)) + 1e-5)
        assert distance(standardise(jnp.asarray(kernel), ddof), wanted) < 1e-4
    both = [np.asarray(standardise(jnp.asarray(1e3 * kernel), ddof)) for ddof in (0, 1)]
    assert distance(both[0], both[1] * math.sqrt(n / (n - 1))) < 1e-4


def test_what_the_choices_of_a_variant_change(tiny):
    _, _, state = tiny
    x, found, roots = photos(48, 70), {}, {}
    for name in ("none", "resize", "ddof", "tanh_gelu"):
        config = replace(PYIQA, **TINY, **({} if name == "none" else {name: getattr(OFFICIAL, name)}))
        model = take_apart(Musiq.abstract(config))[1](convert(state, config))
        found[name], roots[name] = np.asarray(score(model, x)), compiled(StdConv.__call__, model.stem.conv, x)
    apart = {name: distance(value, found["none"]) for name, value in found.items()}
    assert apart["resize"] > 1e-3 and apart["tanh_gelu"] > 1e-5
    assert distance(roots["ddof"], roots["none"] * math.sqrt(147 / 146)) < 1e-5
    assert apart["ddof"] < 1e-5, "a group norm follows each convolution and takes the common factor away again"


def test_gradient_is_the_slope(tiny):
    import torch

    model, module, _ = tiny
    x = 0.2 + 0.6 * photos(48, 70)[:1]
    gradient = np.asarray(jax.grad(lambda x: score(model, x)[0])(jnp.asarray(x)))
    given = to_torch(x).requires_grad_(True)
    with torch.enable_grad():
        (theirs,) = torch.autograd.grad(module(given).sum(), given)
    assert distance(gradient, np.moveaxis(theirs.numpy(), 1, -1)) < 1e-3
    length = np.linalg.norm(gradient)
    step = 1e-2 * gradient / length
    slope = float((score(model, x + step) - score(model, x - step))[0]) / 2e-2
    assert slope == pytest.approx(length, rel=0.03)


def test_a_batch_is_its_photos(tiny):
    model, _, _ = tiny
    x = photos(48, 70)
    alone = np.concatenate([score(model, x[:1]), score(model, x[1:])])
    assert np.asarray(score(model, x)) == pytest.approx(alone, rel=1e-5)


def test_names_are_pyiqas(pyiqa):
    import torch

    with torch.device("meta"):
        state = pyiqa.MUSIQ(pretrained=False).state_dict()
    found = places(PYIQA, "pyiqa").values()
    assert {place.name for place in found} == set(state)
    for place in found:
        given = tuple(state[place.name].shape)
        assert place.shape == given or (1,) * (len(given) - len(place.shape)) + place.shape == given


def official_shapes(depth: int, width: int, heads: int, mlp: int) -> dict[str, tuple]:
    """The published files' layout, written out from the authors' public code."""
    found = {"conv_root/kernel": (7, 7, 3, 64)}
    for name, shape in (("conv1", (1, 1, 64, 64)), ("conv2", (3, 3, 64, 64)), ("conv3", (1, 1, 64, 256))):
        found[f"block1/unit1/{name}/kernel"] = shape
    found["block1/unit1/conv_proj/kernel"] = (1, 1, 64, 256)
    for name, c in (
        ("gn_root", 64),
        *((f"block1/unit1/gn{n}", 64 if n in "12" else 256) for n in ("1", "2", "3", "_proj")),
    ):
        found |= {f"{name}/scale": (1, 1, 1, c), f"{name}/bias": (1, 1, 1, c)}
    found |= {"embedding/kernel": (16384, width), "embedding/bias": (width,)}
    found |= {"head/kernel": (width, 1), "head/bias": (1,), "Transformer/cls": (1, 1, width)}
    found["Transformer/posembed_input/pos_embedding"] = (1, 100, width)
    found["Transformer/scaleembed_input/scale_embedding"] = (1, 3, width)
    norms = ["encoder_norm", *(f"encoderblock_{i}/LayerNorm_{n}" for i in range(depth) for n in (0, 2))]
    for name in norms:
        found |= {f"Transformer/{name}/scale": (width,), f"Transformer/{name}/bias": (width,)}
    for i in range(depth):
        start = f"Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/"
        for name in ("query", "key", "value"):
            found |= {
                f"{start}{name}/kernel": (width, heads, width // heads),
                f"{start}{name}/bias": (heads, width // heads),
            }
        found |= {f"{start}out/kernel": (heads, width // heads, width), f"{start}out/bias": (width,)}
        start = f"Transformer/encoderblock_{i}/MlpBlock_3/"
        found |= {f"{start}Dense_0/kernel": (width, mlp), f"{start}Dense_0/bias": (mlp,)}
        found |= {f"{start}Dense_1/kernel": (mlp, width), f"{start}Dense_1/bias": (width,)}
    return {f"opt/target/{name}": shape for name, shape in found.items()}


@pytest.fixture(scope="module")
def official() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        name: np.float32(rng.standard_normal(shape) * 0.1 + name.endswith("/scale"))
        for name, shape in official_shapes(**SMALL).items()
    }


def save_official(path, arrays):
    np.savez(path, **arrays, **{"opt/state/step": np.int32(7)})  # the published files hold more than weights
    return path


def test_official_files_round_trip(official, tmp_path):
    path = save_official(tmp_path / "koniq.npz", official)
    model, sha256 = load_musiq(path, replace(OFFICIAL, **SMALL))
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    start = "opt/target/Transformer/encoderblock_1/"
    w = {name.removeprefix(start): value.astype(np.float64) for name, value in official.items()}

    def dense(h, name, sum_):
        return np.einsum(sum_, h, w[f"{name}/kernel"]) + w[f"{name}/bias"]

    def norm(h, name):
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
        return h * w[f"{name}/scale"] + w[f"{name}/bias"]

    h = np.random.default_rng(0).standard_normal((5, 96))
    x, attention = norm(h, "LayerNorm_0"), "MultiHeadDotProductAttention_1"
    q, k, v = (dense(x, f"{attention}/{name}", "nd,dhe->nhe") for name in ("query", "key", "value"))
    similar = np.exp(np.einsum("nhe,mhe->hnm", q, k) / math.sqrt(32))
    mixed = np.einsum("hnm,mhe->nhe", similar / similar.sum(-1, keepdims=True), v)
    out = h + dense(mixed, f"{attention}/out", "nhe,hed->nd")
    m = dense(norm(out, "LayerNorm_2"), "MlpBlock_3/Dense_0", "nd,dm->nm")
    m = m / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (m + 0.044715 * m**3)))
    out = out + dense(m, "MlpBlock_3/Dense_1", "nm,md->nd")
    assert distance(compiled(EncoderLayer.__call__, model.layers[1], np.float32(h[None]))[0], out) < 1e-5

    for name, array in (("conv_root/kernel", model.stem.conv.kernel), ("head/kernel", model.head.kernel)):
        assert (np.asarray(array[...]) == official[f"opt/target/{name}"]).all()
    for name, array in (
        ("posembed_input/pos_embedding", model.positions),
        ("scaleembed_input/scale_embedding", model.scales),
    ):
        assert (np.asarray(array[...]) == official[f"opt/target/Transformer/{name}"][0]).all()
    values = np.asarray(score(model, photos(40, 50)))
    assert np.isfinite(values).all() and values[0] != values[1]


def test_safetensors_round_trip(small, tmp_path):
    model, _, state = small
    path = tmp_path / "koniq.safetensors"
    save_file(state, path)
    again, sha256 = load_musiq(path, replace(PYIQA, **SMALL))
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    ours, read = take_apart(model)[0], take_apart(again)[0]
    assert ours.keys() == read.keys() and all((ours[name] == read[name]).all() for name in ours)


def test_wrong_arrays_are_named(official, tmp_path):
    config = replace(OFFICIAL, **SMALL)
    wrong = dict(official)
    wrong["opt/target/Transformer/more"] = wrong.pop("opt/target/Transformer/encoder_norm/bias")
    wrong["opt/target/embedding/kernel"] = wrong["opt/target/embedding/kernel"].T
    wrong["opt/target/head/kernel"] = np.zeros((96, 10), np.float32)  # as of the weights trained on AVA
    del wrong["opt/target/head/bias"]
    with pytest.raises(CheckpointError) as caught:
        load_musiq(save_official(tmp_path / "wrong.npz", wrong), config)
    faults = str(caught.value).partition(": ")[2].split("; ")
    assert faults == [
        "missing opt/target/Transformer/encoder_norm/bias",
        "missing opt/target/head/bias",
        "unexpected opt/target/Transformer/more",
        "opt/target/embedding/kernel has shape [96, 16384], not [16384, 96]",
        "opt/target/head/kernel has shape [96, 10], not [96, 1]",
    ]


def test_damaged_files_are_refused(official, tmp_path):
    config = replace(OFFICIAL, **SMALL)
    whole = save_official(tmp_path / "koniq.npz", official).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    save_file({"a": np.zeros(50, np.float32)}, tmp_path / "b.safetensors")
    np.savez(tmp_path / "object.npz", **{"opt/target/head/bias": np.array([{}], object)})
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(bytes(flipped))
    (tmp_path / "text.npz").write_bytes(b"not weights")
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes()[:-9])
    for name in ("object.npz", "half.npz", "flipped.npz", "text.npz", "half.safetensors"):
        with pytest.raises(CheckpointError, match=f"{name} is damaged"):
            load_musiq(tmp_path / name, config)
    with pytest.raises(CheckpointError, match=r"none.npz not found"):
        load_musiq(tmp_path / "none.npz", config)
    with pytest.raises(CheckpointError, match=r"koniq.h5: MUSIQ's weights are"):
        load_musiq(tmp_path / "koniq.h5", config)


def test_pickles_are_refused_with_the_cure(pyiqa, tmp_path, monkeypatch):
    import torch

    module = pyiqa.MUSIQ(pretrained=False, **THEIR_TINY)
    path = tmp_path / "weights.pth"
    torch.save(module.state_dict(), path)
    with pytest.raises(CheckpointError, match=r"weights.pth is a pickle") as caught:
        load_musiq(path)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(line.strip() for line in str(caught.value).splitlines()[1:]), {})  # the cure works as printed
    model, _ = load_musiq(tmp_path / "weights.safetensors", replace(PYIQA, **TINY))
    assert (np.asarray(model.head.kernel[...]) == module.head.weight.detach().numpy().T).all()


def test_the_speed_script_runs(pyiqa):
    found = speed.compare([32], batch=2, turns=1, depth=1)
    assert found["32"]["ours, images a second"] > 0 and found["32"]["largest relative difference"] < 1e-4
    model, x = Musiq(PYIQA, nnx.Rngs(0)), np.zeros((1, 512, 512, 3), np.float32)
    tokens = 1 + 16**2 + 12**2 + 7**2
    dense = 2 * tokens * (4 * 384**2 + 2 * 384 * 1152) * PYIQA.depth  # the transformers' linear layers alone
    assert dense < speed.flops(model, x) < 3 * dense
