"""The second-order pipeline draws what Real-ESRGAN published, and its kernels and noise follow their formulas."""

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from flaws import apply, photo
from scipy import ndimage
from scipy.integrate import quad
from scipy.special import j0
from skimage.data import astronaut

from unires.degrade import blur_kernels, codec, noise
from unires.degrade import super_resolution as sr

SETTINGS = {"Real-ESRGAN": sr.REAL_ESRGAN, "StableSR": sr.STABLE_SR}
HUGE = 40_000  # so large that a drawn ratio can be read off the drawn size
DRAWS = 10_000

# The published table, as (low, high): Real-ESRGAN, StableSR.
PUBLISHED = {
    "resize1": ((0.15, 1.5), (0.3, 1.5)),
    "noise1": ((1, 30), (1, 15)),
    "poisson1": ((0.05, 3), (0.05, 2)),
    "jpeg1": ((30, 95), (60, 95)),
    "resize2": ((0.3, 1.2), (0.6, 1.2)),
    "noise2": ((1, 25), (1, 12)),
    "poisson2": ((0.05, 2.5), (0.05, 1)),
    "jpeg2": ((30, 95), (60, 100)),
    "sigma1": ((0.2, 3), (0.2, 1.5)),
    "sigma2": ((0.2, 1.5), (0.2, 1)),
    "generalised": ((0.5, 4), (0.5, 2)),
    "plateau": ((1, 2), (1, 1.5)),
}
SECOND_BLUR = {"Real-ESRGAN": 0.8, "StableSR": 0.5}
CANVAS = {"Real-ESRGAN": (21, 21), "StableSR": (21, 11)}
KINDS = {"iso": 0.45, "aniso": 0.25, "generalised_iso": 0.12, "generalised_aniso": 0.03}
KINDS |= {"plateau_iso": 0.12, "plateau_aniso": 0.03}
DIRECTIONS = ({"up": 0.2, "down": 0.7, "keep": 0.1}, {"up": 0.3, "down": 0.4, "keep": 0.3})


def published(name, row):
    return PUBLISHED[row][list(SETTINGS).index(name)]


def read(steps):
    """Name the steps by their place: blur1, resize1, noise1, jpeg1, blur2, ..., final resize, sinc and JPEG."""
    steps, found = list(steps), {}
    for stage in "12":
        if steps[0]["op"] in ("blur", "sinc"):
            found["blur" + stage] = steps.pop(0)
        found["resize" + stage], found["noise" + stage] = steps.pop(0), steps.pop(0)
        if stage == "1":
            found["jpeg1"] = steps.pop(0)
    found["jpeg last"] = steps[-2]["op"] == "jpeg"
    found["jpeg2"] = steps.pop(-2 if found["jpeg last"] else 0)
    found["small"], found["enlarge"] = steps.pop(0), steps.pop()
    if steps:
        found["final sinc"] = steps.pop()
    assert not steps
    for name, op in [("resize1", "resize"), ("jpeg1", "jpeg"), ("resize2", "resize"), ("small", "resize")]:
        assert found[name]["op"] == op
    assert found["enlarge"] == {"op": "resize", "height": HUGE, "width": HUGE, "kind": "bicubic"}
    assert found["small"]["height"] == found["small"]["width"] == HUGE // 4
    return found


@cache
def draws(name):
    x, rng = np.broadcast_to(np.float32(0), (HUGE, HUGE, 3)), np.random.default_rng(1)
    return [read(sr.draw(x, rng, None, SETTINGS[name])) for _ in range(DRAWS)]


def ratio(drawn, stage):
    return drawn[f"resize{stage}"]["height"] / (HUGE, HUGE // 4)[stage - 1]


def direction(drawn, stage):
    return {1: "up", 0: "keep", -1: "down"}[np.sign(ratio(drawn, stage) - 1)]


def assert_share(outcomes, probability):
    """The share of true outcomes is within three standard deviations of the probability."""
    sigma = np.sqrt(probability * (1 - probability) / len(outcomes))
    assert abs(np.mean(outcomes) - probability) < 3 * sigma, (np.mean(outcomes), probability, len(outcomes))


def assert_uniform(values, low, high, resolution=0.0):
    """The values fill the range, and their mean is within three standard deviations of its middle."""
    values = np.array(values)
    assert len(values) > 100
    assert low - resolution <= values.min() and values.max() <= high + resolution
    assert np.ptp(values) > 0.9 * (high - low)
    assert abs(values.mean() - (low + high) / 2) < 3 * (high - low) / np.sqrt(12 * len(values))


BELLS = [("iso", (1.3, 1.3), 0.0, 1.0), ("aniso", (2.5, 0.4), 0.6, 1.0), ("generalised_iso", (1.0, 1.0), 0.0, 0.5)]
BELLS += [("generalised_aniso", (2.0, 0.7), -2.0, 3.0), ("plateau_iso", (0.2, 0.2), 0.0, 1.0)]
BELLS += [("plateau_aniso", (1.4, 0.5), 1.1, 1.7)]


@pytest.mark.parametrize(("kind", "sigma", "angle", "beta"), BELLS)
@pytest.mark.parametrize("size", [7, 21])
def test_bells_match_their_formulas(kind, sigma, angle, beta, size):
    kernel = blur_kernels.KINDS[kind](size, sigma, angle, beta)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag(np.square(sigma)) @ turn.T)
    expected = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            place = np.array([column - size // 2, row - size // 2])
            power = (place @ inverse @ place) ** beta
            expected[row, column] = 1 / (1 + power) if kind.startswith("plateau") else np.exp(-power / 2)
    np.testing.assert_allclose(kernel, expected / expected.sum(), atol=1e-12)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    with pytest.raises(ValueError, match="odd"):
        blur_kernels.KINDS[kind](size + 1, sigma, angle, beta)


@pytest.mark.parametrize("cutoff", [np.pi / 5, np.pi / 3, 0.8 * np.pi])
def test_sinc_is_a_low_pass(cutoff):
    small = blur_kernels.sinc(9, cutoff)
    assert small.sum() == pytest.approx(1, abs=1e-12)
    assert blur_kernels.sinc(21, cutoff).min() < 0
    # The inverse Hankel transform of a disc of frequencies, at every pixel.
    expected = np.empty((9, 9))
    for row in range(9):
        for column in range(9):
            r = np.hypot(row - 4, column - 4)
            expected[row, column] = quad(lambda w, r=r: w * j0(w * r) / (2 * np.pi), 0, cutoff)[0]
    np.testing.assert_allclose(small, expected / expected.sum(), atol=1e-10)

    size = 301
    response = np.abs(np.fft.fft2(blur_kernels.sinc(size, cutoff)))
    frequency = 2 * np.pi * np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency)
    np.testing.assert_allclose(response[radius < cutoff - 0.15], 1, atol=0.05)
    assert response[radius > cutoff + 0.15].max() < 0.05


def test_blurs_convolve():
    x = photo(48, 65)
    for step in (
        {"op": "blur", "kind": "aniso", "size": 15, "sigma": [2.5, 0.8], "angle": 0.6, "beta": 1.0},
        {"op": "sinc", "size": 21, "cutoff": 1.0},
    ):
        numbers = {key: value for key, value in step.items() if key != "op"}
        if step["op"] == "blur":
            kernel = blur_kernels.generalised_gaussian(15, (2.5, 0.8), 0.6, 1.0)
        else:
            kernel = blur_kernels.sinc(21, 1.0)
        expected = [ndimage.convolve(x[..., c], kernel, mode="mirror") for c in range(3)]
        np.testing.assert_allclose(sr.OPS[step["op"]](x, **numbers), np.stack(expected, axis=-1), atol=3e-6)


def test_resize_clips():
    edge = np.zeros((12, 12, 3), np.float32)
    edge[:, 6:] = 1
    for kind in sr.FILTERS:
        y = sr.resize(edge, 30, 30, kind)
        assert y.min() == 0 and y.max() == 1  # bicubic would overshoot
        np.testing.assert_array_equal(sr.resize(edge, 12, 12, kind), edge)


def test_gaussian_noise():
    x = np.full((200, 300, 3), 0.5, np.float32)
    added = noise.display_noise(x, 0.05, 3) - x
    assert added.dtype == np.float32
    assert added.std() == pytest.approx(0.05, rel=0.02) and abs(added.mean()) < 3 * 0.05 / np.sqrt(x.size)
    for flat in (0, 1):
        y = noise.display_noise(np.full_like(x, flat), 0.05, 3)
        assert y.min() >= 0 and y.max() <= 1


@pytest.mark.parametrize(("levels", "photons", "scale"), [((40, 216), 256, 0.5), ((100, 103), 4, 0.05)])
@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise(levels, photons, scale, grey):
    # Each column is one grey level, a little off it, so that rounding to 8 bit is seen if it moved the photo.
    value = np.arange(*levels) / 255
    x = np.broadcast_to((value + 0.3 / 255)[:, None], (3000, len(value), 3)).astype(np.float32)
    added = (noise.poisson_noise(x, scale, grey, 5) - x).astype(np.float64)
    assert added[..., 0].std() < 0.2  # far from clipping
    variance = scale**2 * value / photons
    samples = x.size // (3 if grey else 1)
    assert abs(added.mean()) < 3 * np.sqrt(variance.mean() / samples)
    measured = added.var(axis=(0, 2)) / variance
    assert measured.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / samples))
    # A Poisson count of mean m has the third central moment m; Gaussian noise has none.
    third = (added**3).mean() / np.mean(scale**3 * value / photons**2)
    assert third == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("op", ["display_noise", "poisson_noise"])
def test_grey_noise(op):
    x = np.clip(photo(), 0.3, 0.6)
    strength = {"sigma": 0.03} if op == "display_noise" else {"scale": 0.5}
    grey = sr.OPS[op](x, **strength, grey=True, seed=2) - x
    colour = sr.OPS[op](x, **strength, grey=False, seed=2) - x
    np.testing.assert_allclose(grey, grey[..., :1].repeat(3, axis=-1), atol=1e-6)
    assert grey.std() > 0.01
    assert abs(np.corrcoef(colour[..., 0].ravel(), colour[..., 1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_the_published_ones(name):
    settings = SETTINGS[name]
    assert settings.scale == 4 and dict(settings.kinds) == KINDS
    assert (settings.sinc, settings.final_sinc, settings.jpeg_last) == (0.1, 0.8, 0.5)
    assert settings.first.blur == 1 and settings.second.blur == SECOND_BLUR[name]
    for number, stage in enumerate((settings.first, settings.second), start=1):
        assert stage.directions == tuple(DIRECTIONS[number - 1].values())
        assert (stage.gaussian, stage.grey) == (0.5, 0.4)
        assert stage.canvas == CANVAS[name][number - 1]
        assert stage.resize == published(name, f"resize{number}")
        assert stage.noise_sigma == published(name, f"noise{number}")
        assert stage.poisson_scale == published(name, f"poisson{number}")
        assert stage.sigma == published(name, f"sigma{number}")
        assert stage.jpeg == published(name, f"jpeg{number}")[::-1]
    assert settings.generalised_beta == published(name, "generalised")
    assert settings.plateau_beta == published(name, "plateau")
    json.dumps(asdict(settings))


@pytest.mark.parametrize("name", SETTINGS)
def test_branches(name):
    drawn = draws(name)
    assert all("blur1" in d for d in drawn)
    assert_share(["blur2" in d for d in drawn], SECOND_BLUR[name])
    assert_share(["final sinc" in d for d in drawn], 0.8)
    assert_share([d["jpeg last"] for d in drawn], 0.5)
    assert_share([d["jpeg last"] for d in drawn if "final sinc" in d], 0.5)
    for place in ("resize1", "resize2", "small"):
        for kind in ("area", "bilinear", "bicubic"):
            assert_share([d[place]["kind"] == kind for d in drawn], 1 / 3)
    for stage in (1, 2):
        blurs = [d[f"blur{stage}"] for d in drawn if f"blur{stage}" in d]
        assert_share([b["op"] == "sinc" for b in blurs], 0.1)
        bells = [b["kind"] for b in blurs if b["op"] == "blur"]
        for kind, probability in KINDS.items():
            assert_share([b == kind for b in bells], probability)
        sizes = range(7, CANVAS[name][stage - 1] + 1, 2)
        assert {b["size"] for b in blurs} == set(sizes)
        for size in sizes:
            assert_share([b["size"] == size for b in blurs], 1 / len(sizes))
        for way, probability in DIRECTIONS[stage - 1].items():
            assert_share([direction(d, stage) == way for d in drawn], probability)
        steps = [d[f"noise{stage}"] for d in drawn]
        assert_share([s["op"] == "display_noise" for s in steps], 0.5)
        assert_share([s["grey"] for s in steps], 0.4)
        assert_share([s["grey"] for s in steps if s["op"] == "poisson_noise"], 0.4)


@pytest.mark.parametrize("name", SETTINGS)
def test_parameters_stay_in_their_ranges(name):
    drawn = draws(name)
    betas = {"generalised": [], "plateau": []}
    for stage in (1, 2):
        low, high = published(name, f"resize{stage}")
        ratios = np.array([ratio(d, stage) for d in drawn])
        assert_uniform(ratios[ratios > 1], 1, high, 1e-4)
        assert_uniform(ratios[ratios < 1], low, 1, 1e-4)
        steps = [d[f"noise{stage}"] for d in drawn]
        sigmas = [255 * s["sigma"] for s in steps if s["op"] == "display_noise"]
        assert_uniform(sigmas, *published(name, f"noise{stage}"), 1e-9)
        assert_uniform([s["scale"] for s in steps if "scale" in s], *published(name, f"poisson{stage}"))
        assert len({s["seed"] for s in steps}) > 0.999 * len(drawn)
        assert_uniform([d[f"jpeg{stage}"]["quality"] for d in drawn], *published(name, f"jpeg{stage}"))

        blurs = [d[f"blur{stage}"] for d in drawn if f"blur{stage}" in d]
        bells = [b for b in blurs if b["op"] == "blur"]
        for side in (0, 1):
            assert_uniform([b["sigma"][side] for b in bells], *published(name, f"sigma{stage}"))
        for b in bells:
            isotropic = not b["kind"].endswith("aniso")
            assert (b["sigma"][0] == b["sigma"][1]) == isotropic == (b["angle"] == 0)
            assert b["beta"] == 1 or b["kind"] not in ("iso", "aniso")
        assert_uniform([b["angle"] for b in bells if b["angle"]], -np.pi, np.pi)
        for shape, found in betas.items():
            found += [b["beta"] for b in bells if b["kind"].startswith(shape)]
        sincs = [b for b in blurs if b["op"] == "sinc"]
        assert_uniform([b["cutoff"] for b in sincs if b["size"] < 13], np.pi / 3, np.pi)
        large = [b["cutoff"] for b in sincs if b["size"] >= 13]
        low_sizes = {b["size"] for b in sincs if b["cutoff"] < np.pi / 3}
        assert low_sizes == set(range(13, CANVAS[name][stage - 1] + 1, 2))
        if large:
            assert_uniform(large, np.pi / 5, np.pi)

    generalised = np.array(betas["generalised"])
    low, high = published(name, "generalised")
    assert_share(generalised < 1, 0.5)
    assert_uniform(generalised[generalised < 1], low, 1)
    assert_uniform(generalised[generalised > 1], 1, high)
    plateau = np.array(betas["plateau"])
    assert_share(plateau == 1, 0.5)
    assert_uniform(plateau[plateau > 1], *published(name, "plateau"))

    final = [d["final sinc"] for d in drawn if "final sinc" in d]
    assert {s["size"] for s in final} == set(range(7, 22, 2))
    assert_uniform([s["cutoff"] for s in final], np.pi / 3, np.pi)
    strengths = [[d["jpeg1"]["quality"], d["jpeg2"]["quality"], d["resize1"]["height"]] for d in drawn]
    related = np.corrcoef(np.array(strengths).T)[np.triu_indices(3, 1)]
    assert np.abs(related).max() < 3 / np.sqrt(len(drawn))  # drawn independently


@pytest.mark.parametrize("pipeline", [sr.draw, sr.draw_single])
@pytest.mark.parametrize("size", [(96, 96), (61, 90), (8, 8)])
@pytest.mark.parametrize("severity", [None, 0.0, 1.0])
def test_steps_replay(pipeline, size, severity):
    x = photo(*size)
    before = x.copy()
    for seed in range(12):
        steps, again = (pipeline(x, np.random.default_rng(seed), severity, sr.REAL_ESRGAN) for _ in "12")
        assert steps == again != pipeline(x, np.random.default_rng(seed + 100), severity, sr.REAL_ESRGAN)
        text = json.dumps(steps)
        assert json.loads(text) == steps
        y = codec.round8(apply(steps, x))
        assert y.shape == x.shape and y.dtype == np.float32
        assert codec.round8(apply(json.loads(text), x)).tobytes() == y.tobytes()
    np.testing.assert_array_equal(x, before)  # the sharp photo is left alone


def test_the_small_file_has_the_rounded_size():
    for seed in range(10):
        steps = sr.draw(photo(61, 90), np.random.default_rng(seed), None)
        sizes = [(s["height"], s["width"]) for s in steps if s["op"] == "resize"]
        assert sizes[-2:] == [(15, 22), (61, 90)]


def test_single():
    for severity, least, most in ((0.0, 2.0, 2.2), (1.0, 3.8, 4.0), (None, 2.0, 4.0)):
        for seed in range(30):
            x = np.broadcast_to(np.float32(0), (HUGE, 2 * HUGE, 3))
            blur, shrink, enlarge = sr.draw_single(x, np.random.default_rng(seed), severity)
            assert [blur["op"], shrink["op"], enlarge["op"]] == ["blur", "shrink", "enlarge"]
            assert least - 1e-3 <= HUGE / shrink["height"] <= most + 1e-3
            assert shrink["width"] == pytest.approx(2 * shrink["height"], abs=1)
            assert (enlarge["height"], enlarge["width"], enlarge["kind"]) == (HUGE, 2 * HUGE, "bicubic")
            assert all(0.2 <= sigma <= 1.5 for sigma in blur["sigma"])


@pytest.mark.parametrize("pipeline", [sr.draw, sr.draw_single])
@pytest.mark.parametrize("name", SETTINGS)
def test_severity_is_monotone(pipeline, name):
    crops = [photo(top=t, left=s) for t in (0, 80, 200) for s in (40, 180, 300)]
    psnr = []
    for severity in (0, 0.25, 0.5, 0.75, 1):
        rngs = [np.random.default_rng(seed) for seed in range(len(crops))]
        pairs = [
            (x, codec.round8(apply(pipeline(x, r, severity, SETTINGS[name]), x)))
            for x, r in zip(crops, rngs, strict=True)
        ]
        psnr.append(np.mean([-10 * np.log10(np.square(x - y).mean()) for x, y in pairs]))
    assert (np.diff(psnr) < -0.5).all(), psnr


def test_bicubic_of_a_ramp_is_the_ramp():
    """Pixel centres of x4 lie at (i + 1/2) / 4 - 1/2."""
    i, j = np.mgrid[:12, :16].astype(np.float32)
    large = sr.resize(np.stack([0.3 + 0.02 * i, 0.3 + 0.01 * j, 0.2 + 0.01 * (i + j)], -1), 48, 64, "bicubic")
    high, wide = np.meshgrid((np.arange(48) + 0.5) / 4 - 0.5, (np.arange(64) + 0.5) / 4 - 0.5, indexing="ij")
    exact = np.stack([0.3 + 0.02 * high, 0.3 + 0.01 * wide, 0.2 + 0.01 * (high + wide)], -1)
    assert np.allclose(large[12:-12, 12:-12], exact[12:-12, 12:-12], atol=1e-5)


def test_resize():
    x = astronaut()[80:128, 180:244].astype(np.float32) / np.float32(255)
    blocks = x.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(sr.resize(x, 24, 32, "area"), blocks, atol=1e-6)
    for kind in sr.FILTERS:
        y = sr.resize(x, 17, 23, kind)
        assert y.shape == (17, 23, 3) and y.dtype == np.float32
        np.testing.assert_allclose(y.mean((0, 1)), x.mean((0, 1)), atol=0.01)
