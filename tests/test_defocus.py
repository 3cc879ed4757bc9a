"""Defocus is the image of the aperture, layer by layer, and nearer things hide farther ones."""

import json

import numpy as np
import pytest
from flaws import apply, moments, photo
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from unires.degrade import defocus as dd
from unires.degrade.aperture import aperture, polygon
from unires.degrade.kernels import disc

SCENE = {"tilt": 0.6, "direction": 0.2, "layers": 4, "objects": 5, "least": 200, "offset": 0.5, "seed": 3}
REACH = 9  # pixels that a border of layers may slide and soften


def noise_photo(shape=(64, 80), seed=0, low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, (3, *shape)).astype(np.float32)


def blurred(light, kernel):
    return np.stack([ndimage.convolve(plane, kernel, mode="mirror") for plane in light])


def two_halves(width=96, height=48, edge=48):
    """A far layer on the left and a near one on the right."""
    return np.repeat((np.arange(width) >= edge)[None].astype(np.int32), height, axis=0)


def edge_spread(distance, radius):
    """Share of a disc that lies beyond a straight edge, in closed form."""
    t = np.clip(distance / radius, -1, 1)
    return 0.5 - (t * np.sqrt(1 - t**2) + np.arcsin(t)) / np.pi


@pytest.mark.parametrize("blades", [5, 6, 7, 8, 9])
@pytest.mark.parametrize("radius", [0.8, 2.3, 5.0])
def test_polygon_area(radius, blades):
    kernel = polygon(radius, blades, 0.3)
    assert kernel.shape[0] == kernel.shape[1] and len(kernel) % 2 == 1
    assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1, abs=1e-12)
    # A pixel that is covered whole holds one part in the area, and the area is the disc's.
    if radius > 1:
        assert 1 / kernel.max() == pytest.approx(np.pi * radius**2, rel=0.01)


@pytest.mark.parametrize("blades", [5, 6, 7, 8, 9])
def test_polygon_symmetry(blades):
    radius, angle = 5.0, 0.3
    kernel = polygon(radius, blades, angle)
    np.testing.assert_allclose(polygon(radius, blades, angle + 2 * np.pi / blades), kernel, atol=1e-4)
    centroid, covariance = moments(kernel)
    # The closed form of a regular polygon with corners at distance c: c^2 (2 + cos(2 pi / n)) / 12 along any axis.
    turn = 2 * np.pi / blades
    corner = radius**2 * turn / np.sin(turn)
    expected = corner * (2 + np.cos(turn)) / 12 + 1 / 12
    assert np.abs(centroid).max() < 0.01
    np.testing.assert_allclose(covariance, expected * np.eye(2), atol=0.01 * expected)
    assert not np.allclose(polygon(radius, blades, angle + np.pi / blades), kernel, atol=1e-3)  # it is no disc


def test_many_blades_make_a_disc():
    apart = [np.abs(polygon(4.0, blades)[-9:, -9:] - disc(4.0)).sum() for blades in (8, 16, 64)]
    assert apart[0] > apart[1] > apart[2] and apart[2] < 0.01


def test_far_side_is_upside_down():
    near, far = aperture(4.0, 5, 0.2), aperture(-4.0, 5, 0.2)
    np.testing.assert_allclose(far, near[::-1, ::-1], atol=1e-4)
    assert np.abs(far - near).max() > 0.005
    np.testing.assert_array_equal(aperture(-3.0), disc(3.0))
    assert aperture(0.0, 7).shape == (1, 1) and aperture(0.5).shape == (1, 1)


@pytest.mark.parametrize("blades", [0, 7])
def test_flat_stays_flat(blades):
    for shape in [(48, 60, 3), (33, 35, 3)]:
        x = np.broadcast_to(np.float32([0.2, 0.5, 0.9]), shape)
        np.testing.assert_allclose(dd.defocus(x, 4.0, blades, 0.1), x, atol=1e-4)
        y = dd.defocus_layers(x, 5.0, 0.4, **SCENE, blades=blades, angle=0.1)
        np.testing.assert_allclose(y, x, atol=1e-4)


def test_linear_light():
    x = np.zeros((41, 41, 3), np.float32)
    x[20, 20] = 1
    y = dd.defocus(x, 3.0, 6, 0.2)
    np.testing.assert_allclose(y[17:24, 17:24, 0] ** 2.2, polygon(3.0, 6, 0.2)[-7:, -7:], atol=1e-5)
    assert (y.astype(np.float64) ** 2.2).sum() == pytest.approx(3, rel=1e-3)
    # The third of four layers has two thirds of the largest radius.
    x = np.zeros((161, 97, 3), np.float32)
    x[100, 48] = 1  # the middle of the third
    scene = {**SCENE, "objects": 0, "direction": 0.0}
    y = dd.defocus_layers(x, 6.0, 0.0, **scene)
    np.testing.assert_allclose(y[96:105, 44:53, 0] ** 2.2, disc(4.0), atol=1e-5)


def test_equal_layers_are_uniform():
    light = noise_photo()
    layers = np.random.default_rng(1).integers(0, 4, light.shape[1:]).astype(np.int32)
    result = dd.composite(light, layers, np.full(4, 3.0), 6, 0.3)
    np.testing.assert_allclose(result[:3], blurred(light, polygon(3.0, 6, 0.3)), atol=1e-5)
    x = light.transpose(1, 2, 0)
    whole = dd.defocus_layers(x, 3.0, 0.5, **{**SCENE, "tilt": 0.0, "objects": 0})  # a wall
    np.testing.assert_allclose(whole, dd.defocus(x, 3.0), atol=1e-4)


def test_weights_sum_to_one():
    light = noise_photo()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        layers = np.repeat(np.repeat(rng.integers(0, 4, (8, 10)), 8, axis=0), 8, axis=1).astype(np.int32)
        result = dd.composite(light, layers, np.array([-5.0, -2.0, 0.0, 3.0]))
        np.testing.assert_allclose(result[3], 1, atol=1e-5)
        assert result[:3].min() > -1e-5 and result[:3].max() < 1 + 1e-5


@pytest.mark.parametrize("radii", [(-4.0, 0.0), (0.0, 4.0), (-4.0, 2.5)])
def test_interiors(radii):
    light = noise_photo((48, 96))
    result = dd.composite(light, two_halves(), np.array(radii))[:3]
    margin = REACH + 5
    for radius, inside in zip(radii, (np.s_[:, :, : 48 - margin], np.s_[:, :, 48 + margin :]), strict=True):
        expected = blurred(light, disc(abs(radius))) if radius else light
        np.testing.assert_allclose(result[inside], expected[inside], atol=1e-5 if radius else 1e-6)


def test_sharp_object_keeps_its_edge():
    layers = two_halves()
    light = np.repeat(np.where(layers, 0.05, 0.9)[None].astype(np.float32), 3, axis=0)
    result = dd.composite(light, layers, np.array([-5.0, 0.0]))[:3]
    # No bright leak over the object, no dark rim on the background: a plain blur has both.
    np.testing.assert_allclose(result, light, atol=0.02)
    assert np.abs(blurred(light, disc(5.0)) - light).max() > 0.35


@pytest.mark.parametrize("radius", [2.0, 5.0])
def test_blurred_object_spreads(radius):
    layers = two_halves()
    texture = noise_photo((48, 96), low=0.0, high=0.2)
    light = np.where(layers, np.float32(0.9), texture)
    result = dd.composite(light, layers, np.array([0.0, radius]))[:3]
    place = np.arange(96) - 47.5  # the edge is between columns 47 and 48
    veil = edge_spread(-place, radius)
    expected = 0.9 * veil + (1 - veil) * light  # on the left the background is known
    left = np.s_[:, 10:-10, :48]
    np.testing.assert_allclose(result[left], expected[left], atol=0.06)
    assert np.abs(result - expected)[left].mean() < 0.01
    np.testing.assert_allclose(result[:, :, : 48 - REACH - 5], light[:, :, : 48 - REACH - 5], atol=1e-6)
    deep = result[:, 10:-10, 48:53].mean(axis=(0, 1))  # thin there: the guessed background shines through
    np.testing.assert_allclose(deep, 0.9 * veil[48:53] + 0.1 * (1 - veil[48:53]), atol=0.03)


def test_background_is_guessed_from_what_the_object_touches():
    # A third layer elsewhere, bright, must not turn up behind the object.
    layers = np.zeros((64, 128), np.int32)
    layers[:, 96:], layers[16:48, 16:48] = 1, 2
    light = np.repeat(np.choose(layers, [0.1, 1.0, 0.5])[None].astype(np.float32), 3, axis=0)
    result = dd.composite(light, layers, np.array([0.0, 2.0, 5.0]))[:3]
    assert result[:, :, :70].min() > 0.1 - 1e-3 and result[:, :, :70].max() < 0.5 + 1e-3


def test_circles():
    layers = np.repeat(np.arange(4), 4).reshape(4, 4).astype(np.int32)
    depth = 1 / np.array([0.1, 0.3, 0.5, 0.7])  # equal steps of inverse depth
    for focus, sharp in ((0.0, 0), (0.3, 1), (1.0, 3)):
        law = np.abs(1 / depth - 1 / depth[sharp])
        radii = dd.circles(layers, 4, focus, 5.0)
        np.testing.assert_allclose(np.abs(radii), 5 * law / law.max(), atol=1e-12)
        assert (np.diff(radii) > 0).all()
    np.testing.assert_allclose(dd.circles(layers[1:3], 4, 1.0, 5.0)[1:3], [-5, 0])  # only layers that are there
    np.testing.assert_allclose(dd.circles(layers[:1], 4, 1.0, 5.0), 5)


def test_ground_and_objects():
    plain = np.full((64, 64, 3), 0.5, np.float32)
    bands = dd.depth_layers(plain, **{**SCENE, "direction": 0.0})
    np.testing.assert_array_equal(bands, np.repeat(np.repeat(np.arange(4), 16)[:, None], 64, axis=1))
    turned = dd.depth_layers(plain, **{**SCENE, "direction": np.pi / 2})
    np.testing.assert_array_equal(turned, bands.T)
    x = plain.copy()
    x[8:40, 20:44] = (0.9, 0.1, 0.1)
    scene = {**SCENE, "direction": 0.0, "tilt": 1.0, "offset": 0.0}
    stands = dd.depth_layers(x, **scene)
    assert (stands[12:36, 24:40] == bands[38, 0]).all()  # upright, at the depth of its foot
    assert (stands[8:16, :12] == 0).all() and (stands[50:, :12] == 3).all()
    lifted = dd.depth_layers(x, **{**scene, "offset": 0.9})
    assert lifted[24, 32] >= stands[24, 32]


@pytest.mark.parametrize("shape", [(8, 8), (9, 7), (3, 40), (61, 47)])
def test_any_size(shape):
    x = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    for blades in (0, 5):
        for objects in (0, 5):
            y = dd.defocus_layers(x, 5.0, 0.3, **{**SCENE, "least": 9, "objects": objects}, blades=blades)
            assert y.shape == x.shape and y.dtype == np.float32
            assert np.isfinite(y).all() and y.min() >= 0 and y.max() <= 1
        assert dd.defocus(x, 5.0, blades).shape == x.shape


def test_replay():
    x, rng = photo(top=90), np.random.default_rng(0)
    seen = set()
    for _ in range(12):
        steps = dd.draw(x, rng, None)
        assert [s["op"] for s in steps][1:] == ["sensor_noise", "jpeg"]
        again = json.loads(json.dumps(steps))
        assert again == steps
        assert apply(again, x.copy()).tobytes() == apply(steps, x).tobytes()
        seen.add(steps[0]["op"])
    assert seen == {"defocus", "defocus_layers"}


def test_probabilities():
    x, rng, settings = np.zeros((8, 8, 3), np.float32), np.random.default_rng(0), dd.DEPTH_LAYERS
    count = 10_000
    draws = [dd.draw(x, rng, None) for _ in range(count)]
    lenses = [steps[0] for steps in draws]

    def near(flags, share):
        return abs(np.mean(flags) - share) < 3 * np.sqrt(share * (1 - share) / len(flags))

    assert near([s["op"] == "defocus" for s in lenses], settings.uniform)
    assert near([s["blades"] == 0 for s in lenses], settings.disc)
    polygons = [s["blades"] for s in lenses if s["blades"]]
    assert set(polygons) == {5, 6, 7, 8, 9} and all(near(np.equal(polygons, n), 0.2) for n in range(5, 10))
    layered = [s for s in lenses if s["op"] == "defocus_layers"]
    assert all(near([s["objects"] == n for s in layered], 1 / 6) for n in range(6))
    spans = {
        settings.radius: [s["radius"] for s in lenses],
        (0.0, 1.0): [s["focus"] for s in layered],
        settings.read_noise: [steps[1]["b"] ** 0.5 for steps in draws],
    }
    for span, values in spans.items():
        assert min(span) <= min(values) and max(values) <= max(span)
        assert abs(np.mean(values) - np.mean(span)) < 3 * np.ptp(span) / np.sqrt(12 * len(values))
    quality = [steps[2]["quality"] for steps in draws]
    assert set(quality) == set(range(75, 96))


def test_severity_is_monotone():
    crops = [photo(top=top, left=left) for top, left in ((60, 180), (200, 60), (300, 300), (20, 380))]
    means = []
    for severity in (0.0, 0.25, 0.5, 1.0):
        rng = np.random.default_rng(5)
        pairs = [(x, apply(dd.draw(x, rng, severity), x)) for x in crops for _ in range(6)]
        means.append(np.mean([peak_signal_noise_ratio(x, y, data_range=1) for x, y in pairs]))
    assert means[0] > 34 and (np.diff(means) < 0).all(), means
