"""The flaws are what their formulas say, and every pair can be explained and replayed."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio

from unires.degrade import Recipe, codec, degrade, kernels, mix, motion, noise, replay, sensor
from unires.degrade import super_resolution as sr

TASKS = ["SR", "MD", "DD", "DN", "SR+MD", "DD+MD", "DD+MD+SR+DN"]
SHAKE = {"jitter": 1.0, "pull": 60.0, "shakes": 1.0}
ANY_SHAKE = {"extent": 20.0, **SHAKE, "seed": 3}


def photo(height=96, width=96, top=80, left=180):
    return astronaut()[top : top + height, left : left + width].astype(np.float32) / np.float32(255)


def moments(kernel):
    """Centroid and covariance of a kernel, as (row, column) about its middle."""
    half = len(kernel) // 2
    place = np.stack(np.mgrid[-half : half + 1, -half : half + 1]).reshape(2, -1)
    centroid = place @ kernel.ravel()
    return centroid, (place * kernel.ravel()) @ place.T - np.outer(centroid, centroid)


ALL_KERNELS = {
    "gaussian": lambda: kernels.gaussian((1.3, 1.3)),
    "anisotropic": lambda: kernels.gaussian((2.5, 0.8), 0.6),
    "narrow": lambda: kernels.gaussian((0.2, 0.08), 1.0),
    "disc": lambda: kernels.disc(3.3),
    "point": lambda: kernels.disc(0.5),
    "shake": lambda: kernels.rasterise(20 * motion.trajectory(**SHAKE, seed=3)),
}


@pytest.mark.parametrize("name", ALL_KERNELS)
def test_kernels_are_weights(name):
    kernel = ALL_KERNELS[name]()
    assert kernel.shape[0] == kernel.shape[1] and len(kernel) % 2 == 1
    assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(moments(kernel)[0]).max() < 1e-10


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_gaussian_matches_scipy(sigma):
    kernel = kernels.gaussian((sigma, sigma))
    point = np.zeros(kernel.shape)
    point[len(point) // 2, len(point) // 2] = 1
    np.testing.assert_allclose(kernel, ndimage.gaussian_filter(point, sigma, mode="constant"), atol=1e-12)


def test_gaussian_covariance():
    sigma, angle = (3.0, 1.2), 0.6
    along = np.array([np.sin(angle), np.cos(angle)])  # (row, column)
    across = np.array([np.cos(angle), -np.sin(angle)])
    expected = sigma[0] ** 2 * np.outer(along, along) + sigma[1] ** 2 * np.outer(across, across)
    np.testing.assert_allclose(moments(kernels.gaussian(sigma, angle))[1], expected, rtol=0.01)


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.7, 5.0])
def test_disc_area(radius):
    coverage = kernels.disc_coverage(radius)
    half = len(coverage) // 2
    assert coverage.sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    row, column = np.abs(np.mgrid[-half : half + 1, -half : half + 1])
    assert (coverage[np.hypot(row + 0.5, column + 0.5) <= radius] == 1).all()
    assert (coverage[np.hypot(np.maximum(row - 0.5, 0), np.maximum(column - 0.5, 0)) > radius] == 0).all()
    if radius > 2:  # a uniform disc has variance radius^2 / 4 along each axis, a pixel adds 1 / 12
        covariance = moments(kernels.disc(radius))[1] / (radius**2 / 4 + 1 / 12)
        np.testing.assert_allclose(covariance, np.eye(2), atol=0.02)


def test_rasterise_shares():
    # Two points 2.5 pixels apart: the centred points lie at columns -1.25 and 1.25.
    kernel = kernels.rasterise(np.array([[7.0, 1.0], [7.0, 3.5]]))
    row = kernel[len(kernel) // 2]
    half = len(row) // 2
    assert kernel.sum() == row.sum()
    np.testing.assert_allclose(row[half - 2 : half + 3], [0.125, 0.375, 0, 0.375, 0.125])


def test_trajectory():
    path = motion.trajectory(**SHAKE, seed=5)
    np.testing.assert_allclose(np.linalg.norm(np.diff(path, axis=0), axis=1), 1 / motion.STEPS)
    line = motion.trajectory(jitter=0, pull=0, shakes=0, seed=5)
    assert np.linalg.norm(line[-1] - line[0]) == pytest.approx(1)

    def reach(**change):
        calm = {"jitter": 0.3, "pull": 0.0, "shakes": 0.0} | change
        ends = [np.linalg.norm(motion.trajectory(**calm, seed=s)[-1]) for s in range(30)]
        return np.mean(ends)

    calm = reach()
    assert reach(jitter=2.0) < calm and reach(pull=100.0) < calm and reach(shakes=2.0) < calm


@pytest.mark.parametrize("extent", [1.0, 9.5, 23.0])
def test_shake_kernel(extent):
    path = motion.trajectory(**SHAKE, seed=11)
    kernel = kernels.rasterise(path * extent / np.ptp(path, axis=0).max())
    spans = [np.ptp(np.flatnonzero(kernel.sum(axis=axis))) for axis in (0, 1)]
    assert extent <= max(spans) < extent + 2  # rounding outwards adds less than a pixel on each side
    centred = path * extent / np.ptp(path, axis=0).max()
    spread = np.cov(centred.T, bias=True).trace()  # bilinear shares add at most 1/4 an axis
    assert spread <= moments(kernel)[1].trace() <= spread + 0.5


def test_convolve_matches_scipy():
    x = photo(48, 65)
    kernel = np.random.default_rng(0).random((31, 31))  # asymmetric: tells convolution from correlation
    kernel /= kernel.sum()
    expected = np.stack([ndimage.convolve(x[..., c], kernel, mode="mirror") for c in range(3)], axis=-1)
    np.testing.assert_allclose(kernels.convolve(x, kernel), expected, atol=2e-6)


def test_linear_light():
    x = np.linspace(0, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(codec.to_linear(x), x.astype(np.float64) ** 2.2, atol=1e-6)
    np.testing.assert_allclose(codec.to_display(codec.to_linear(x)), x, atol=1e-6)
    # A stripe of white on black averages to half the light, so brighter than half the display value.
    stripes = np.zeros((48, 48, 3), np.float32)
    stripes[:, ::2] = 1
    blurred = kernels.blur_light(stripes, np.array([[0, 0, 0], [0.25, 0.5, 0.25], [0, 0, 0]]))
    np.testing.assert_allclose(blurred, 0.5 ** (1 / 2.2), atol=1e-5)


@pytest.mark.parametrize("value", [0, 7, 128, 255])
def test_flat_stays_flat(value):
    flat = np.full((48, 50, 3), value, np.float32) / np.float32(255)
    blurs = [
        sr.soften(flat, (2.0, 1.0), 0.3),
        kernels.blur_light(flat, kernels.disc(5)),
        motion.shake(flat, **ANY_SHAKE),
    ]
    for y in blurs:
        np.testing.assert_array_equal(codec.round8(y), flat)


def test_resize():
    x = photo(48, 64)
    blocks = x.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(sr.resize(x, 24, 32, "area"), blocks, atol=1e-6)
    for kind in sr.FILTERS:
        y = sr.resize(x, 17, 23, kind)
        assert y.shape == (17, 23, 3) and y.dtype == np.float32
        np.testing.assert_allclose(y.mean((0, 1)), x.mean((0, 1)), atol=0.01)


def drawn_noise(severity):
    return sensor.draw(photo(), np.random.default_rng(4), severity)[0]


@pytest.mark.parametrize("severity", [0.3, 0.9])
def test_noise_variance(severity):
    drawn = drawn_noise(severity)
    light = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1])
    variance = []
    for seed, level in enumerate(light):
        flat = np.full((400, 400, 3), level, np.float32)
        added = noise.poisson_gaussian(flat, drawn["a"], drawn["b"], seed) - flat
        assert abs(added.mean()) < 5 * added.std() / np.sqrt(added.size)
        variance.append(added.var(dtype=np.float64))
    # A sample variance's error is proportional to the variance, so weigh by its inverse.
    slope, intercept = np.polyfit(light, variance, 1, w=1 / np.array(variance))
    assert slope == pytest.approx(drawn["a"], rel=0.03)
    assert intercept == pytest.approx(drawn["b"], rel=0.03)


def test_noise_is_poisson():
    # The third central moment of a * Poisson(u / a) is a^2 u; Gaussian noise of equal variance has none.
    a, u = 0.02, 0.1
    flat = np.full((500, 500, 3), u, np.float32)
    added = noise.poisson_gaussian(flat, a, 1e-4, 0).astype(np.float64) - u
    assert (added**3).mean() == pytest.approx(a**2 * u, rel=0.05)


def test_noise_on_mid_grey():
    grey = np.full((300, 300, 3), 0.5, np.float32)
    for severity in (0, 0.5):
        drawn = drawn_noise(severity)
        expected = sensor.LIGHTEST * (sensor.HEAVIEST / sensor.LIGHTEST) ** severity
        assert noise.sensor_noise(grey, drawn["a"], drawn["b"], 0).std() == pytest.approx(expected, rel=0.03)
    heavy = drawn_noise(1)
    assert 0.12 < noise.sensor_noise(grey, heavy["a"], heavy["b"], 0).std() < 0.18
    assert noise.display_noise(grey, 0.05, 0).std() == pytest.approx(0.05, rel=0.02)


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
    assert read == recipe and set(read.severity) == set(tasks.split("+"))
    assert replay(read, x).tobytes() == y.tobytes()


@pytest.mark.parametrize("tasks", TASKS)
def test_severity_is_monotone(tasks):
    crops = [photo(top=t, left=s) for t in (0, 80, 200) for s in (40, 180, 300)]
    psnr = []
    for severity in (0, 0.25, 0.5, 0.75, 1):
        flawed = [degrade(tasks, x, np.random.default_rng(i), severity)[0] for i, x in enumerate(crops)]
        mse = [np.square(x - y).mean() for x, y in zip(crops, flawed, strict=True)]
        psnr.append(-10 * np.log10(np.maximum(mse, 1e-6)).mean())  # at most 60 dB: DD of 0 changes nothing
    assert (np.diff(psnr) < -0.3).all(), psnr
    if "SR" not in tasks:  # SR starts at half the size, the others at almost nothing
        assert psnr[0] > 34


def test_mixture_order():
    x = photo()
    ops = [s["op"] for s in degrade("DN+SR+MD+DD", x, np.random.default_rng(0))[1].steps]
    assert ops == (
        ["defocus", "shake", "soften", "shrink"]
        + 3 * ["sensor_noise"]
        + ["display_noise"]
        + ["jpeg", "enlarge", "round8"]
    )
    assert [s["op"] for s in mix(["DD", "MD"], x, np.random.default_rng(0))[1].steps].count("jpeg") == 1
    orders = [degrade(t, x, np.random.default_rng(3))[0].tobytes() for t in ("SR+MD", "MD+SR")]
    assert orders[0] == orders[1]


def test_refusals():
    x, rng = photo(), np.random.default_rng(0)
    for tasks in ("rain", "SR+rain", "", "SR+SR"):
        with pytest.raises(ValueError, match="DD, MD, SR, DN"):
            degrade(tasks, x, rng)
    for severity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="severity"):
            degrade("SR", x, rng, severity)
    with pytest.raises(ValueError, match="two to four"):
        mix(["SR"], x, rng)
