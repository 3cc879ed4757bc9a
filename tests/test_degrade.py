"""The door and the composer: every pair can be explained and replayed, in the order of physics."""

import dataclasses
import io

import numpy as np
import pytest
from flaws import photo
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from unires.degrade import SETTINGS, Recipe, Settings, codec, degrade, noise, replay
from unires.degrade.mixture import RANK

# The least fall a step, the PSNR above which severity 0 lies (SR starts with a reduction), and that below which 1 lies.
BOUNDS = {"SR": (0.5, 0, 60), "MD": (0.3, 34, 23), "DN": (1, 34, 22)}
TASKS = ["SR", "MD", "DD", "DN", "SR+MD", "DD+MD", "DD+MD+SR+DN"]


def test_noise_is_poisson():
    # The third central moment of a * Poisson(u / a) is a^2 u; Gaussian noise of equal variance has none.
    a, u = 0.02, 0.1
    flat = np.full((500, 500, 3), u, np.float32)
    added = noise.poisson_gaussian(flat, a, 1e-4, 0).astype(np.float64) - u
    assert (added**3).mean() == pytest.approx(a**2 * u, rel=0.05)


def test_sensor_noise():
    # On mid grey, to first order: sigma_display = sigma_light / (d light / d display).
    grey, a, b = np.full((300, 300, 3), 0.5, np.float32), 2e-4, 1e-5
    sigma = np.sqrt(a * 0.5**2.2 + b) / (2.2 * 0.5**1.2)
    noisy = noise.sensor_noise(grey, a, b, 0)
    assert noisy.std() == pytest.approx(sigma, rel=0.03) and abs(noisy.mean() - 0.5) < 0.002


def test_jpeg_is_pillows():
    x = photo()
    file = io.BytesIO()
    Image.fromarray((x * 255).round().astype(np.uint8)).save(file, "JPEG", quality=60, subsampling="4:2:0")
    np.testing.assert_array_equal(codec.jpeg(x, 60), np.asarray(Image.open(file)).astype(np.float32) / 255)
    quality = [peak_signal_noise_ratio(x, codec.jpeg(x, q), data_range=1) for q in (20, 60, 95)]
    assert quality == sorted(quality)


@pytest.mark.parametrize("tasks", TASKS)
@pytest.mark.parametrize("size", [(48, 48), (61, 90)])
def test_output_is_an_8_bit_photo(tasks, size):
    x = photo(*size)
    before = x.copy()
    for severity in (0, 1, None):
        y, _ = degrade(tasks, x, np.random.default_rng(7), severity)
        assert y.shape == x.shape and y.dtype == np.float32
        levels = np.rint(y * 255)
        assert levels.min() >= 0 and levels.max() <= 255
        np.testing.assert_array_equal(y, levels.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(x, before)  # the sharp photo is left alone


@pytest.mark.parametrize("tasks", TASKS)
def test_same_seed_same_bytes(tasks):
    x = photo()
    first, again, other = (degrade(tasks, x, np.random.default_rng(s))[0].tobytes() for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("tasks", TASKS)
def test_replay(tasks):
    x = photo(64, 80)
    y, recipe = degrade(tasks, x, np.random.default_rng(9))
    read = Recipe.from_json(recipe.to_json())
    assert read == recipe and read.tasks == tasks and read.severity is None
    assert replay(read, x).tobytes() == y.tobytes()


@pytest.mark.parametrize("tasks", TASKS)
def test_severity_is_monotone(tasks):
    crops = [photo(top=t, left=s) for t in (0, 80, 200) for s in (40, 180, 300)]
    psnr = []
    for severity in (0, 0.25, 0.5, 0.75, 1):
        flawed = [degrade(tasks, x, np.random.default_rng(i), severity)[0] for i, x in enumerate(crops)]
        mse = [np.square(x - y).mean() for x, y in zip(crops, flawed, strict=True)]
        psnr.append(-10 * np.log10(np.maximum(mse, 1e-6)).mean())  # at most 60 dB: DD of 0 changes nothing
    fall, mild, heavy = BOUNDS.get(tasks, (0.3, 0 if "SR" in tasks else 32, 60))
    assert (np.diff(psnr) < -fall).all() and psnr[0] > mild and psnr[-1] < heavy, psnr


@pytest.mark.parametrize("tasks", ["DN+SR+MD+DD", "SR+DN", "DD+MD", "MD+SR"])
@pytest.mark.parametrize("seed", range(4))
def test_mixture_order(tasks, seed):
    recipe = degrade(tasks, photo(), np.random.default_rng(seed), 0.6)[1]
    ops = [step["op"] for step in recipe.steps]
    assert [RANK[op] for op in ops] == sorted(RANK[op] for op in ops)
    kinds = {"DD": "defocus", "MD": "shake", "SR": "shrink", "DN": "raw_noise"}
    physical = [kinds[t] for t in ("DD", "MD", "SR", "DN") if t in tasks.split("+")]
    found = [next(k for k in kinds.values() if op.startswith(k)) for op in ops if op.startswith(tuple(kinds.values()))]
    assert found == physical
    assert ops.count("jpeg") == 1 and ops.count("raw_noise") + ops.count("sensor_noise") == 1
    assert ("enlarge" in ops) == ("SR" in tasks) and ops[-1] == "round8"
    if "SR" in tasks:
        assert ops.index("shrink") < ops.index("jpeg") < ops.index("enlarge")


def test_the_order_of_names_does_not_matter():
    first, second = (degrade(t, photo(), np.random.default_rng(3))[0].tobytes() for t in ("SR+MD", "MD+SR"))
    assert first == second


def test_settings_are_used():
    assert SETTINGS["stablesr"] == Settings() != SETTINGS["real-esrgan"]
    quiet = dataclasses.replace(Settings(), DN=dataclasses.replace(Settings().DN, quality=(11.0, 11.0)))
    steps = degrade("DN", photo(), np.random.default_rng(0), None, quiet)[1].steps
    assert [s["quality"] for s in steps if s["op"] == "jpeg"] == [11]


def test_refusals():
    x, rng = photo(), np.random.default_rng(0)
    for tasks in ("rain", "SR+rain", "", "SR+SR"):
        with pytest.raises(ValueError, match="DD, MD, SR, DN"):
            degrade(tasks, x, rng)
    for severity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="severity"):
            degrade("SR", x, rng, severity)
