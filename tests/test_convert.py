"""Public weights in and out: both layouts, every complaint, and the first convolution that grows."""

import hashlib
import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from public_models import SMALL, random_arrays, single_file
from safetensors.numpy import load_file, save_file

from benchmarks.peers import import_torchvision
from unires.__main__ import main
from unires.config import UNetConfig
from unires.models import names
from unires.models.convert import convert, convert_file, fetch, open_source
from unires.models.export import export
from unires.models.ldm import LDM, take_apart
from unires.models.names import FOLDERS, places, shapes
from unires.models.store import CheckpointError, load_checkpoint
from unires.profiles import DEMO, PAPER
from unires.sample import ddim
from unires.schedule import Schedule

TEXT = names.SINGLE["text"]
UNET = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def arrays():
    return random_arrays()


@pytest.fixture
def folder(arrays, tmp_path):
    """A source in diffusers' layout."""
    export(arrays, SMALL, tmp_path / "source")
    return tmp_path / "source"


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def edit(path, change):
    """Read a file's arrays, change them, write them back."""
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)


@pytest.mark.parametrize("layout", names.LAYOUTS)
def test_every_array_has_its_own_place(layout):
    found = places(SMALL, layout)
    assert found.keys() == shapes(SMALL).keys()
    assert len({place.name for place in found.values()}) == len(found)
    for name, like in shapes(SMALL).items():
        assert tuple(found[name].shape[n] for n in found[name].axes) == like.shape
    with pytest.raises(ValueError, match="unet.from_lq, unet.gate, unet.text_in_time, vae.shortcut, vae.patch"):
        places(DEMO, layout)
    with pytest.raises(ValueError, match="unknown layout 'jax'"):
        places(SMALL, "jax")


def test_published_names():
    """Some names of the public files, as their authors printed them in model cards and converters."""
    single = {place.name for place in places(PAPER, "single").values()}
    assert "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight" in single
    assert "model.diffusion_model.output_blocks.2.1.conv.weight" in single  # no transformer at the coarsest level
    assert "model.diffusion_model.output_blocks.5.2.conv.weight" in single
    assert "first_stage_model.decoder.up.3.upsample.conv.weight" in single
    assert TEXT + "positional_embedding" in single and TEXT + "transformer.resblocks.22.ln_2.bias" in single


def test_round_trip_is_bit_exact(arrays, folder):
    for kind in (None, "float16", "bfloat16"):
        export(arrays, SMALL, folder, kind)
        found, story = convert(open_source(folder), SMALL)
        dtype = {None: np.float32, "float16": np.float16, "bfloat16": jnp.bfloat16}[kind]
        wanted = {n: a if n.startswith(("vae.shift", "vae.scale")) else a.astype(dtype) for n, a in arrays.items()}
        same(found, wanted)
        assert story == {"widened": False, "unused": 0, "layout": "diffusers"}


def test_an_incomplete_model_is_not_exported(arrays, tmp_path):
    lame = {name: array for name, array in arrays.items() if name != "unet.norm.bias"}
    with pytest.raises(CheckpointError, match="lacks unet.norm.bias"):
        export(lame, SMALL, tmp_path)
    with pytest.raises(CheckpointError, match="each latent channel"):
        export(arrays | {"vae.scale": np.float32([1, 2, 3, 4])}, SMALL, tmp_path)
    assert not list(tmp_path.iterdir())


def test_diffusers_folders_are_read(arrays, folder):
    """Also with the older names of the autoencoder's attention, with a variant, and in shards."""
    vae = folder / "vae" / UNET
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(found):
        for name in list(found):
            for new, before in old.items():
                if f"attentions.0.{new}." in name:
                    found[name.replace(new, before)] = found.pop(name)

    edit(vae, rename)
    assert any(".query." in name for name in load_file(vae))
    text = folder / "text_encoder" / "model.safetensors"
    edit(text, lambda found: found.update({"text_model.embeddings.position_ids": np.arange(7)[None]}))
    unet = folder / "unet" / UNET
    weights = load_file(unet)
    unet.unlink()
    index = {}
    for n in range(2):
        part = {name: array for i, (name, array) in enumerate(sorted(weights.items())) if i % 2 == n}
        save_file(part, folder / "unet" / f"shard-{n}.safetensors")
        index |= dict.fromkeys(part, f"shard-{n}.safetensors")
    with pytest.raises(CheckpointError, match=r"shard-0.safetensors, shard-1.safetensors: name a variant"):
        open_source(folder)
    (folder / "unet" / f"{UNET}.index.json").write_text(json.dumps({"weight_map": index}))
    source = open_source(folder)
    found, story = convert(source, SMALL)
    same(found, arrays)
    assert story["unused"] == 1 and len(source.files) == 4
    half = {name: array.astype(np.float16) for name, array in weights.items()}
    save_file(half, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    (folder / "unet" / f"{UNET}.index.json").unlink()
    for part in ("vae/diffusion_pytorch_model", "text_encoder/model"):
        (folder / f"{part}.safetensors").rename(folder / f"{part}.fp16.safetensors")
    assert convert(open_source(folder, variant="fp16"), SMALL)[0]["unet.norm.bias"].dtype == np.float16


def test_the_single_file_is_read(arrays, tmp_path):
    """With all that such files hold besides: the 24th layer, averages, buffers of the schedule."""
    path, file = tmp_path / "model.safetensors", single_file(arrays)
    last = {name: array for name, array in file.items() if "resblocks.2." in name}
    file |= {name.replace("resblocks.2.", "resblocks.3."): array + 1 for name, array in last.items()}
    file |= {"betas": np.zeros(5), "model_ema.decay": np.zeros(1, np.float32), TEXT + "logit_scale": np.float32([1])}
    file[TEXT + "text_projection"] = np.zeros((16, 16), np.float32)
    save_file(file, path)
    found, story = convert(open_source(path), SMALL)
    same(found, arrays)
    assert story == {"widened": False, "unused": len(last) + 2 * 2 + 4, "layout": "single"}  # two fused ones are cut
    file |= {name.replace("resblocks.2.", "resblocks.4."): array for name, array in last.items()}
    save_file(file, path)
    with pytest.raises(CheckpointError, match="unexpected .*resblocks.4"):
        convert(open_source(path), SMALL)
    save_file({"conv_in.weight": np.zeros((1, 1), np.float32)}, path)
    with pytest.raises(CheckpointError, match="is it a UNet alone"):
        open_source(path)


def test_wrong_arrays_are_all_named(folder):
    """Three faults in three files, and one sentence that has them all."""

    def spoil(found):
        del found["conv_out.bias"]
        found["conv_out.bias_"] = np.zeros(4, np.float32)
        found["conv_in.weight"] = found["conv_in.weight"][:, :5]

    edit(folder / "unet" / UNET, spoil)
    edit(folder / "vae" / UNET, lambda found: found.update({"quant_conv.bias": np.zeros(8, np.int32)}))
    edit(folder / "text_encoder" / "model.safetensors", lambda f: f.pop("text_model.final_layer_norm.bias"))
    with pytest.raises(CheckpointError) as refusal:
        convert(open_source(folder), SMALL, file="source")
    said = str(refusal.value)
    assert said.startswith("source does not fit the profile small: ")
    assert sorted(said.split(": ", 1)[1].split("; ")) == [
        "missing text_encoder/final_layer_norm.bias",
        "missing unet/conv_out.bias",
        "unet/conv_in.weight has shape [16, 5, 3, 3], not [16, 8, 3, 3]",
        "unexpected unet/conv_out.bias_",
        "vae/quant_conv.bias has type I32, not one of F16, BF16, F32",
    ]
    (folder / "vae" / UNET).unlink()
    with pytest.raises(CheckpointError, match="missing everything under vae/; missing text_encoder/final"):
        convert(open_source(folder), SMALL)


def test_the_widened_model_is_the_narrow_one_bit_for_bit(arrays, folder):
    """Zeros for the LQ half: whatever z_LQ is, the answer is that of a first convolution of four channels."""
    config = replace(SMALL, unet=UNetConfig((16, 32), (True, False), blocks=1, head_dim=8, groups=8))
    arrays = random_arrays(config, seed=4)
    export(arrays, config, folder)
    edit(folder / "unet" / UNET, lambda f: f.update({"conv_in.weight": f["conv_in.weight"][:, :4].copy()}))
    found, story = convert(open_source(folder), config)
    assert story["widened"] and found["unet.conv_in.kernel"].shape == (3, 3, 8, 16)
    np.testing.assert_array_equal(found["unet.conv_in.kernel"][:, :, :4], arrays["unet.conv_in.kernel"][:, :, :4])

    class Narrow(nnx.Module):
        def __init__(self, kernel, bias):
            self.conv = nnx.Conv(4, 16, (3, 3), padding=[(1, 1)] * 2, rngs=nnx.Rngs(0))
            self.conv.kernel[...], self.conv.bias[...] = kernel, bias

        def __call__(self, h):
            return self.conv(h[..., :4])

    weights = {name.removeprefix("unet."): jnp.asarray(a) for name, a in found.items() if name.startswith("unet.")}
    _, rebuild = take_apart(LDM.abstract(config).unet)
    first = {name: arrays[f"unet.conv_in.{name}"] for name in ("kernel", "bias")}
    first["kernel"] = first["kernel"][:, :, :4]
    rng = np.random.default_rng(0)
    z_t, context = (
        rng.standard_normal((1, 8, 8, 4), np.float32),
        jnp.asarray(rng.standard_normal((1, 7, 16)), jnp.float32),
    )
    t = jnp.array([700])

    @jax.jit
    def ask_narrow(weights, first):
        unet = rebuild(weights)
        unet.conv_in = Narrow(**first)
        return unet(z_t, 0 * z_t, t, context)

    ask_wide = jax.jit(lambda weights, z_lq: rebuild(weights)(z_t, z_lq, t, context))
    expected = ask_narrow(weights, first)
    assert np.std(expected) > 0.01
    for size in (0, 1, 1e4):
        z_lq = np.float32(size) * rng.standard_normal(z_t.shape, np.float32)
        np.testing.assert_array_equal(ask_wide(weights, z_lq), expected)
    full = weights | {"conv_in.kernel": jnp.asarray(arrays["unet.conv_in.kernel"])}
    assert np.abs(ask_wide(full, z_lq) - expected).max() > 0.01  # z_LQ counts after training


def test_wrong_files_are_refused(arrays, folder, tmp_path):
    for name in ("model.ckpt", "weights.bin", "a.pt", "b.pth", "c.pkl"):
        with pytest.raises(CheckpointError, match=rf"{name} is a pickle.*[\s\S]*weights_only=True[\s\S]*save_file"):
            open_source(tmp_path / name)
    with pytest.raises(CheckpointError, match="nowhere.safetensors not found"):
        open_source(tmp_path / "nowhere.safetensors")
    path = tmp_path / "model.safetensors"
    save_file(single_file(arrays), path)
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[:50], b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="model.safetensors is truncated or no safetensors file"):
            open_source(path)
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=f"found model.safetensors {hashlib.sha256(whole).hexdigest()}"):
        convert_file(path, tmp_path / "out.safetensors", SMALL, sha256="0" * 64)
    with pytest.raises(CheckpointError, match="written as .safetensors"):
        convert_file(path, tmp_path / "out.npz", SMALL)
    with pytest.raises(CheckpointError, match="is not a folder"):
        open_source(path, "diffusers")
    unet = folder / "unet" / UNET
    unet.rename(unet.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="diffusion_pytorch_model.bin is a pickle"):
        open_source(folder)
    assert not (tmp_path / "out.safetensors").exists()


def test_settings_that_no_shape_tells_are_compared(folder):
    path = folder / "text_encoder" / "config.json"
    path.write_text(path.read_text().replace('"gelu"', '"quick_gelu"'))
    unet = folder / "unet" / "config.json"
    unet.write_text(json.dumps(json.loads(unet.read_text()) | {"attention_head_dim": 8}))
    with pytest.raises(
        CheckpointError, match="attention_head_dim 8, .*hidden_act 'quick_gelu', the profile small has 'gelu'"
    ):
        convert(open_source(folder), SMALL)


@pytest.mark.parametrize("text", [b"{", b"[]", b"null", b'{"a": "\xff"}'])
@pytest.mark.parametrize("name", ["unet/config.json", "scheduler/scheduler_config.json", f"unet/{UNET}.index.json"])
def test_damaged_settings_are_named(folder, name, text):
    if "index" in name:
        (folder / "unet" / UNET).unlink()
    (folder / name).write_bytes(text)
    with pytest.raises(CheckpointError, match=f"{name} (is not valid JSON .*|holds no JSON object): fetch it again"):
        open_source(folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {"a": []}}, {"weight_map": {"a": 1}}])
def test_an_index_without_shards_is_named(folder, index):
    (folder / "unet" / UNET).unlink()
    (folder / "unet" / f"{UNET}.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"{UNET}.index.json is no index of shards"):
        open_source(folder)


def test_the_prediction_comes_from_the_scheduler(arrays, folder, tmp_path):
    path, out = folder / "scheduler" / "scheduler_config.json", tmp_path / "out.safetensors"
    path.write_text(json.dumps({"prediction_type": "v_prediction"}))
    assert convert_file(folder, out, SMALL)["config"]["schedule"]["prediction"] == "v"
    with pytest.raises(CheckpointError, match="'eps' prediction was asked for, but .* 'v_prediction'"):
        convert_file(folder, out, SMALL, prediction="eps")
    for unknown in ("sample", ["x"]):
        path.write_text(json.dumps({"prediction_type": unknown}))
        with pytest.raises(CheckpointError, match=f"{re.escape(repr(unknown))}: known are epsilon, v_prediction"):
            convert_file(folder, out, SMALL)
    path.unlink()
    assert convert_file(folder, out, SMALL)["config"]["schedule"]["prediction"] == "eps"


def test_a_converted_file_is_a_checkpoint(arrays, folder, tmp_path):
    """In the source's own type, with the hashes of what it was made from."""
    export(arrays, SMALL, folder, "float16")
    out = tmp_path / "out" / "model.safetensors"
    story = convert_file(folder, out, SMALL)
    unet = hashlib.sha256((folder / "unet" / UNET).read_bytes()).hexdigest()
    assert story["files"][f"unet/{UNET}"] == unet and story["source"] == "source"
    assert load_file(out)["unet.norm.bias"].dtype == np.float16
    lean = convert_file(folder, tmp_path / "lean.safetensors", SMALL, prompts=["", "Denoise"])
    assert lean["prompts"]["prompts"] == ["", "Denoise"] and (tmp_path / "lean.prompts.safetensors").is_file()
    assert not any(name.startswith("text.") for name in load_file(tmp_path / "lean.safetensors"))
    model, config, again = load_checkpoint(out, SMALL)
    assert again == json.loads(json.dumps(story)) and config.vae == SMALL.vae
    for name, array in take_apart(model)[0].items():
        kept = arrays[name] if name.startswith(("vae.sh", "vae.sc")) else arrays[name].astype(np.float16)
        np.testing.assert_array_equal(array, kept.astype(np.float32))


@pytest.mark.parametrize("out", ["source.safetensors", "linked.safetensors", "sub/../source.safetensors"])
def test_the_source_is_not_replaced(arrays, tmp_path, out):
    """A single file; `linked` is another name of it, and may be given as the source too."""
    path, linked = tmp_path / "source.safetensors", tmp_path / "linked.safetensors"
    save_file(single_file(arrays), path)
    linked.symlink_to(path)
    before = sorted(tmp_path.rglob("*")), path.read_bytes()
    for source in (path, linked):
        with pytest.raises(CheckpointError, match=r"would replace a file of .*\.safetensors: give another OUT"):
            convert_file(source, tmp_path / out, SMALL)
    assert (sorted(tmp_path.rglob("*")), path.read_bytes()) == before


@pytest.mark.parametrize("out", [f"unet/{UNET}", "text_encoder/model.safetensors", "vae/config.safetensors"])
def test_no_file_of_a_source_is_replaced(folder, out):
    """The last would write its story over the autoencoder's config.json."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=f"{out} would replace a file of .*source: give another OUT"):
        convert_file(folder, folder / out, SMALL)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    convert_file(folder, folder / "beside.safetensors", SMALL)


def test_what_is_not_finite_is_not_converted(folder, tmp_path):
    def spoil(found):
        found["mid_block.resnets.0.norm1.bias"][3] = np.nan

    edit(folder / "unet" / UNET, spoil)
    with pytest.raises(CheckpointError, match="source: unet/mid_block.resnets.0.norm1.bias holds .* not finite: fetch"):
        convert_file(folder, tmp_path / "out" / "lean.safetensors", SMALL, prompts=["Denoise"])
    assert not (tmp_path / "out").exists()


def test_diffusers_samples_as_we_do(folder):
    """Its DDIM, from our scheduler_config.json, on Gaussian data, whose best prediction is a formula."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("diffusers")
    import_torchvision()
    from diffusers import DDIMScheduler

    schedule, mean, spread, steps = Schedule.make(PAPER.schedule), 0.4, 0.7, 50

    def predict(z, alpha, sigma):
        return sigma * (z - alpha * mean) / (alpha**2 * spread**2 + sigma**2)

    alpha, sigma = jnp.asarray(schedule.alpha), jnp.asarray(schedule.sigma)
    z_t = np.random.default_rng(0).standard_normal((1, 4, 4, 4), np.float32)
    ours, _ = ddim(lambda z, t: predict(z, alpha[t], sigma[t]), z_t, schedule, steps, PAPER.sample.spacing)
    sampler, z = DDIMScheduler.from_pretrained(str(folder / "scheduler")), torch.from_numpy(z_t)
    sampler.set_timesteps(steps)
    for t in sampler.timesteps:
        eps = predict(z, float(schedule.alpha[t]), float(schedule.sigma[t]))
        z = sampler.step(eps, t, z).prev_sample
    np.testing.assert_allclose(ours, z.numpy(), atol=1e-4)


def test_the_command_line(arrays, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("unires.__main__.profile", lambda name: SMALL)
    monkeypatch.setattr("unires.__main__.PROFILES", {"demo": SMALL, "paper": SMALL})
    out = tmp_path / "model.safetensors"
    assert main(["convert", str(folder), str(out)]) == 0
    assert "wrote" in capsys.readouterr().out and out.with_suffix(".json").is_file()
    assert main(["export", str(out), str(tmp_path / "again"), "--dtype", "float32"]) == 0
    for part, folder_name in FOLDERS.items():
        file = "model.safetensors" if part == "text" else UNET
        same(load_file(tmp_path / "again" / folder_name / file), load_file(folder / folder_name / file))
    assert main(["convert", str(tmp_path / "model.ckpt"), str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"unires: {tmp_path / 'model.ckpt'} is a pickle")


def test_the_hub_is_asked_for_a_pinned_commit(tmp_path, monkeypatch):
    asked, revision = [], "0123456789abcdef" * 2 + "01234567"

    def download(repo, file, *, revision, local_dir):
        asked.append((repo, file, revision))
        if file == "gone":
            raise OSError("offline")
        path = tmp_path / file
        path.write_bytes(b"weights")
        return str(path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert fetch("some/model", revision, {"a.safetensors": sha256}, tmp_path) == tmp_path
    assert asked == [("some/model", "a.safetensors", revision)]
    with pytest.raises(CheckpointError, match="revision 'main' can change"):
        fetch("some/model", "main", {"a.safetensors": sha256}, tmp_path)
    with pytest.raises(CheckpointError, match="a.ckpt is a pickle"):
        fetch("some/model", revision, {"a.ckpt": sha256}, tmp_path)
    with pytest.raises(
        CheckpointError, match="gone of some/model at 01234567 can't be fetched .OSError.: put the file"
    ):
        fetch("some/model", revision, {"gone": sha256}, tmp_path)
    with pytest.raises(CheckpointError, match="it was not kept"):
        fetch("some/model", revision, {"b.safetensors": "0" * 64}, tmp_path)
    assert not (tmp_path / "b.safetensors").exists()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"unires\[paper\]"):
        fetch("some/model", revision, {"a.safetensors": sha256}, tmp_path)
