"""Noise arises on the raw sensor: the way there and back, the filters, and the noise itself."""

import json

import numpy as np
import pytest
from flaws import apply, photo
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from unires.degrade import codec, raw, sensor
from unires.degrade.raw import Camera

PLAIN = Camera(1.0, 1.0, np.eye(3).tolist())
CAMERAS = [PLAIN, *(sensor.draw_camera(np.random.default_rng(seed)) for seed in range(6))]
CAMERAS += [Camera(2.4, 1.5, raw.mix_matrix(one)) for one in np.eye(4)]

# Malvar, He and Cutler 2004, figure 2, in eighths: green at red or blue; red at green in a red row; red at blue.
GREEN = [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]
ROW = [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
CORNERS = [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]


def grey(value, size=200):
    return np.full((size, size, 3), value, np.float32)


def noisy(x, shot, read, seed=0, camera=CAMERAS[1]):
    return sensor.raw_noise(x, shot, read, seed, camera.red, camera.blue, camera.matrix)


def test_tone_curve():
    x = np.linspace(0, 1, 1001, dtype=np.float32)
    np.testing.assert_allclose(raw.tone(x), 3.0 * x**2 - 2.0 * x**3, atol=1e-6)
    assert raw.untone(x).min() >= 0 and raw.untone(x).max() <= 1
    np.testing.assert_allclose(raw.tone(raw.untone(x)), x, atol=1e-6)
    np.testing.assert_allclose(raw.untone(np.float32([0, 0.5, 1])), [0, 0.5, 1], atol=1e-6)


def test_srgb_curve():
    # 8-bit levels and their linear light to five digits, as tables of sRGB print them.
    levels = np.float32([0, 1, 10, 11, 64, 128, 186, 255]) / np.float32(255)
    light = [0, 0.00030, 0.00304, 0.00335, 0.05127, 0.21586, 0.49102, 1]
    np.testing.assert_allclose(raw.decode(levels), light, atol=6e-6)
    x = np.linspace(0, 1, 1001, dtype=np.float32)
    np.testing.assert_allclose(raw.encode(raw.decode(x)), x, atol=2e-6)


def test_cameras_keep_grey():
    for seed in range(200):
        camera = sensor.draw_camera(np.random.default_rng(seed))
        np.testing.assert_allclose(np.sum(camera.matrix, axis=1), 1, atol=1e-9)
        assert 1.9 <= camera.red <= 2.4 and 1.5 <= camera.blue <= 1.9
        assert np.diag(camera.matrix).min() > 1  # a sensor's colours are paler than sRGB's
    # One camera by hand: sRGB's primaries as seen by the first one, from the chromaticities of ITU-R BT.709.
    xy = np.array([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06], [0.3127, 0.3290]])
    xyz = np.column_stack([xy, 1 - xy.sum(1)]) / xy[:, 1:]
    primaries = xyz[:3].T * np.linalg.solve(xyz[:3].T, xyz[3])
    seen = raw.CAMERAS[0] @ primaries
    expected = np.linalg.inv(seen / seen.sum(1, keepdims=True))
    np.testing.assert_allclose(raw.mix_matrix(np.array([1.0, 0, 0, 0])), expected, atol=1e-3)


@pytest.mark.parametrize("camera", CAMERAS)
def test_process_undoes_unprocess(camera):
    values = np.linspace(0, 1, 24, dtype=np.float32)
    x = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(24, -1, 3)
    linear = raw.unprocess(x, camera)
    assert linear.dtype == np.float32 and linear.max() <= 1 and linear.min() > -0.3
    y = raw.process(linear, camera)
    assert y.dtype == np.float32 and 0 <= y.min() and y.max() <= 1
    dim = x.max(-1) < 0.97  # the sensor saturates above
    np.testing.assert_allclose(y[dim], x[dim], atol=1e-3)
    assert np.abs(y - x).max() < 0.04 and np.abs(y - x).mean() < 1e-4


def test_unprocess_inverts_the_gains():
    linear = raw.unprocess(grey(0.5, 4), Camera(2.0, 1.6, np.eye(3).tolist()))
    light = ((0.5 + 0.055) / 1.055) ** 2.4  # the tone curve keeps one half
    expected = np.array([light / 2, light, light / 1.6]) / 1.25
    np.testing.assert_allclose(linear, np.broadcast_to(expected, linear.shape), rtol=1e-5)


def test_white_stays_white():
    for camera in CAMERAS:
        np.testing.assert_allclose(raw.unprocess(grey(1, 4), camera), 1, atol=1e-5)
        np.testing.assert_allclose(raw.process(grey(1, 4), camera), 1, atol=1e-5)
        means = noisy(grey(1), 1.2e-2, 2e-4, camera=camera).mean((0, 1))
        assert means.min() > 0.995  # no tint, even in the heaviest noise


def test_mosaic():
    rgb = np.stack([np.full((3, 5), value, np.float32) for value in (1, 2, 3)], axis=-1)
    np.testing.assert_array_equal(raw.mosaic(rgb), [[1, 2, 1, 2, 1], [2, 3, 2, 3, 2], [1, 2, 1, 2, 1]])


@pytest.mark.parametrize("size", [(16, 18), (17, 15), (8, 8), (3, 3)])
def test_demosaic_matches_scipy(size):
    plane = np.random.default_rng(0).random(size, np.float32)
    row, column = np.mgrid[: size[0], : size[1]] % 2
    green, beside, above, corners = (
        ndimage.convolve(plane.astype(np.float64), np.array(kernel) / 8, mode="mirror")
        for kernel in (GREEN, ROW, np.transpose(ROW), CORNERS)
    )
    at_red, at_blue = (row == 0) & (column == 0), (row == 1) & (column == 1)
    red = np.select([at_red, at_blue, row == 0], [plane, corners, beside], above)
    blue = np.select([at_blue, at_red, row == 1], [plane, corners, beside], above)
    expected = np.stack([red, np.where(row == column, green, plane), blue], axis=-1)
    result = raw.demosaic(plane)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("size", [(20, 24), (21, 23)])
def test_demosaic_is_exact_on_ramps(size):
    row, column = np.mgrid[: size[0], : size[1]].astype(np.float32)
    flat = np.broadcast_to(np.float32([0.2, 0.5, 0.9]), (*size, 3))
    np.testing.assert_allclose(raw.demosaic(raw.mosaic(flat)), flat, atol=1e-6)
    ramp = np.stack([0.01 * row + 0.02 * column, 0.5 - 0.02 * row, 0.3 + 0.01 * row - 0.005 * column], axis=-1)
    inner = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(raw.demosaic(raw.mosaic(ramp))[inner], ramp[inner], atol=1e-6)


@pytest.mark.parametrize("severity", [0.3, 0.9])
def test_raw_noise_variance(severity):
    shot, read = sensor.draw_noise(np.random.default_rng(1), severity)
    read *= 20  # seen beside the shot noise
    light = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6])
    variance = []
    for seed, level in enumerate(light):
        plane = raw.mosaic(sensor.expose(grey(level, 500), shot, read, seed))
        assert abs(plane.mean(dtype=np.float64) - level) < 5 * plane.std() / np.sqrt(plane.size)
        variance.append(plane.var(dtype=np.float64))
    # A sample variance's error is proportional to the variance, so weigh by its inverse.
    slope, intercept = np.polyfit(light, variance, 1, w=1 / np.array(variance))
    assert slope == pytest.approx(shot, rel=0.03)
    assert intercept == pytest.approx(read, rel=0.03)


def test_the_sensor_saturates():
    assert sensor.expose(grey(0.99), 0.01, 1e-4, 0).max() == 1
    dark = sensor.expose(grey(0), 0.01, 1e-4, 0)  # negative read-out is kept, so black stays black on average
    assert dark.min() < 0 and abs(dark.mean()) < 1e-4


def test_deviation_after_processing():
    # Read-out noise alone, too small to bend any curve. Green is read at half of the pixels; where red or blue is
    # read, the squares of the published weights sum to (16 + 4) / 64 of their own colour and 16 / 64 of green.
    camera, read = Camera(2.0, 1.6, np.eye(3).tolist()), 1e-8
    result = noisy(grey(0.5, 600), 0.0, read, camera=camera)[..., 1].std(dtype=np.float64)
    share = 0.5 + 0.25 * (20 / 64 * 2.0**2 + 16 / 64) + 0.25 * (20 / 64 * 1.6**2 + 16 / 64)
    light = ((0.5 + 0.055) / 1.055) ** 2.4
    slope = 1.5 * 1.055 / 2.4 * light ** (1 / 2.4 - 1)  # of the tone curve and of sRGB's
    assert result == pytest.approx(1.25 * slope * np.sqrt(read * share), rel=0.01)


def test_noise_is_correlated_by_demosaicing():
    def neighbours(noise):
        noise = noise - noise.mean()
        return [(noise[:, 1:] * noise[:, :-1]).mean() / noise.var(), (noise[1:] * noise[:-1]).mean() / noise.var()]

    before = raw.mosaic(sensor.expose(grey(0.2, 400), 1e-3, 1e-6, 0))
    assert np.abs(neighbours(before)).max() < 0.01
    after = noisy(grey(0.5, 400), 1e-3, 1e-6)
    for channel in range(3):
        assert min(neighbours(after[..., channel])) > 0.1


def test_iso_line():
    rng = np.random.default_rng(0)
    drawn = np.log([sensor.draw_noise(rng) for _ in range(10_000)])
    ends = np.log([2e-5, 1.2e-2])
    assert ends[0] <= drawn[:, 0].min() and drawn[:, 0].max() <= ends[1]
    assert abs(drawn[:, 0].mean() - ends.mean()) < 3 * np.ptp(ends) / np.sqrt(12 * len(drawn))
    scatter = drawn[:, 1] - (2.18 * drawn[:, 0] + 1.20)
    assert abs(scatter.mean()) < 3 * 0.26 / np.sqrt(len(drawn))
    assert abs(scatter.std() - 0.26) < 3 * 0.26 / np.sqrt(2 * len(drawn))
    power = np.polyfit(drawn[:, 0], drawn[:, 1], 1)[0]
    assert abs(power - 2.18) < 3 * 0.26 / (drawn[:, 0].std() * np.sqrt(len(drawn)))


@pytest.mark.parametrize("value", [0, 7, 128, 255])
def test_flat_stays_flat(value):
    flat = grey(np.float32(value) / np.float32(255), 21)
    for camera in CAMERAS:
        np.testing.assert_array_equal(codec.round8(noisy(flat, 0.0, 0.0, camera=camera)), flat)


def test_noise_alone_changes_a_photo():
    x = photo()  # sharp: demosaicing would soften it
    np.testing.assert_allclose(noisy(x, 0.0, 0.0), x, atol=0.02)
    assert peak_signal_noise_ratio(x, noisy(x, 0.0, 0.0), data_range=1) > 60


def test_deviation_on_mid_grey():
    def deviation(severity):
        drawn = [sensor.draw(grey(0.5), np.random.default_rng(seed), severity) for seed in range(6)]
        return np.mean([codec.round8(apply(steps, grey(0.5))).std() for steps in drawn])

    assert 0.003 < deviation(0) < 0.007
    assert 0.11 < deviation(1) < 0.15


def test_replay():
    x = photo(61, 90)
    before = x.copy()
    for severity in (0, 0.5, 1, None):
        steps = sensor.draw(x, np.random.default_rng(5), severity)
        assert [step["op"] for step in steps] == ["raw_noise", "jpeg"]
        read = json.loads(json.dumps(steps))
        assert read == steps
        y = apply(steps, x)
        assert y.shape == x.shape and y.dtype == np.float32
        assert apply(read, x).tobytes() == y.tobytes()
        assert steps == sensor.draw(x, np.random.default_rng(5), severity)
        assert steps != sensor.draw(x, np.random.default_rng(6), severity)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 2), (1, 1), (1, 6), (5, 1)])
def test_small_and_odd_photos(size):
    x = np.full((*size, 3), 0.5, np.float32)
    y = np.stack([noisy(x, 1e-3, 1e-5, seed) for seed in range(40)])
    assert y.shape == (40, *size, 3)
    spread = y.std(0)  # every pixel, also on the border, gets noise in every colour
    assert spread.min() > 0.3 * spread.mean() and np.abs(y.mean(0) - 0.5).max() < 0.05
    np.testing.assert_allclose(noisy(x, 0.0, 0.0), x, atol=1e-5)


def test_refusals():
    for size in ((1, 6), (6, 1)):
        with pytest.raises(ValueError, match="2 x 2"):
            raw.demosaic(np.zeros(size, np.float32))
