"""OID-Motion: paths of the published model, blur per object, recipes that replay."""

import json
from dataclasses import replace

import numpy as np
import pytest
from flaws import apply, moments, photo
from scipy import ndimage

from unires.degrade import codec, kernels, masks, motion, segments

SHAKE = {"jitter": 1.0, "pull": 60.0, "shakes": 1.0}
HANDS = [{"extent": extent, **SHAKE, "seed": seed} for seed, extent in enumerate((9.0, 14.0, 20.0, 5.0))]
STILL = {"extent": 0.0, **SHAKE, "seed": 0}
ALWAYS = replace(motion.OID_MOTION, moving=1.0)


def two_discs(height=60, width=75):
    row, column = np.mgrid[:height, :width]
    return [np.hypot(row - 28, column - 22) < 15, np.hypot(row - 32, column - 58) < 13]


def over_objects(x, hands, discs):
    return motion.shake_objects(x, hands, len(discs), 400, [masks.to_runs(disc) for disc in discs])


def spread(x, kernel):
    """Convolve every channel in float64, the photo mirrored at its border."""
    return np.stack([ndimage.convolve(c, kernel, mode="mirror") for c in np.moveaxis(x, -1, 0)], axis=-1)


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


@pytest.mark.parametrize("anxiety", [0.0003, 0.003])
def test_trajectory_is_the_published_walk(anxiety):
    # The walk as published, many walkers at once: 2000 steps of 0.03 pixels, speed restored after each.
    walkers, length, steps = 600, 60, 2000
    rng, stride = np.random.default_rng(2), length / (steps - 1)
    velocity = stride * np.exp(2j * np.pi * rng.random(walkers))
    place, path = np.zeros(walkers, complex), [np.zeros(walkers, complex)]
    for _ in range(steps - 1):
        abrupt = rng.random(walkers) < 0.2 * anxiety
        bump = np.where(abrupt, 2 * velocity * np.exp(1j * (np.pi + rng.uniform(-0.5, 0.5, walkers))), 0)
        jitter = 10 * (rng.standard_normal(walkers) + 1j * rng.standard_normal(walkers))
        velocity = velocity + bump + anxiety * (jitter - 0.7 * place) * stride
        velocity *= stride / np.abs(velocity)
        place = place + velocity
        path.append(place)
    published = np.array(path) / length
    share = anxiety / 0.003
    rates = {name: share * getattr(motion.OID_MOTION, name)[1] for name in ("jitter", "pull", "shakes")}
    ours = np.stack([motion.trajectory(**rates, seed=s) @ (1, 1j) for s in range(walkers)], axis=1)
    for measure in (lambda p: np.abs(p[-1]), lambda p: np.abs(p - p.mean(axis=0)).std(axis=0)):
        a, b = measure(published), measure(ours)
        assert abs(a.mean() - b.mean()) < 4 * np.sqrt((a.var() + b.var()) / walkers)


@pytest.mark.parametrize("extent", [1.0, 9.5, 31.0])
def test_shake_kernel(extent):
    kernel = motion.shake_kernel(extent, **SHAKE, seed=11)
    assert kernel.min() >= 0 and kernel.sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(moments(kernel)[0]).max() < 1e-10
    spans = [np.ptp(np.flatnonzero(kernel.sum(axis=axis))) for axis in (0, 1)]
    assert extent <= max(spans) < extent + 2  # rounding outwards adds less than a pixel on each side
    path = motion.trajectory(**SHAKE, seed=11)
    path = path * extent / np.ptp(path, axis=0).max()
    variance = np.cov(path.T, bias=True).trace()  # bilinear shares add at most 1/4 an axis
    assert variance <= moments(kernel)[1].trace() <= variance + 0.5


def test_kernels_fit_the_support():
    rng, widest = np.random.default_rng(0), 0
    for _ in range(200):
        kernel = motion.shake_kernel(**motion.draw_hand(rng, 1.0))
        widest = max(widest, *(np.ptp(np.flatnonzero(kernel.sum(axis=axis))) + 1 for axis in (0, 1)))
    assert 31 <= widest <= 33
    np.testing.assert_allclose(kernels.rasterise(np.zeros((5, 2))).max(), motion.shake_kernel(**STILL).max())


def test_linear_light():
    x, kernel = photo(40, 52), motion.shake_kernel(**HANDS[1])
    expected = spread(x.astype(np.float64) ** 2.2, kernel) ** (1 / 2.2)
    np.testing.assert_allclose(motion.shake(x, **HANDS[1]), expected, atol=2e-4)
    assert np.abs(spread(x.astype(np.float64), kernel) - expected).max() > 0.02  # display values would show


@pytest.mark.parametrize("value", [0, 7, 128, 255])
def test_flat_stays_flat(value):
    flat = np.full((60, 75, 3), value, np.float32) / np.float32(255)
    for y in (motion.shake(flat, **HANDS[0]), motion.lens(flat, 1.2), over_objects(flat, HANDS[:3], two_discs())):
        np.testing.assert_array_equal(codec.round8(y), flat)


def test_lens_is_a_gaussian():
    x = photo(40, 52)
    expected = ndimage.gaussian_filter(x.astype(np.float64) ** 2.2, (1.2, 1.2, 0), mode="mirror") ** (1 / 2.2)
    np.testing.assert_allclose(motion.lens(x, 1.2), expected, atol=2e-4)
    np.testing.assert_allclose(motion.lens(x, motion.OID_MOTION.lens[0]), x, atol=1e-5)


def test_layers_match_scipy():
    x, discs = photo(60, 75), two_discs()
    shares = [~discs[0] & ~discs[1], *discs]
    above, below = 0, 0
    for number, share in enumerate(shares):
        soft = ndimage.gaussian_filter(share.astype(np.float64), motion.FEATHER, mode="mirror", truncate=2)
        soft = soft[..., None] + (number == 0) * motion.BEHIND
        kernel = motion.shake_kernel(**HANDS[number])
        above, below = above + spread(soft * x.astype(np.float64) ** 2.2, kernel), below + spread(soft, kernel)
    light = over_objects(x, HANDS[:3], discs).astype(np.float64) ** 2.2
    np.testing.assert_allclose(light, above / below, atol=1e-5)


def test_blending_weights():
    # Layers of pure colours: each channel of the result is the weight of one layer.
    discs = two_discs()
    x = np.stack([discs[0], discs[1], ~discs[0] & ~discs[1]], axis=-1).astype(np.float32)
    weights = over_objects(x, HANDS[:3], discs).astype(np.float64) ** 2.2
    assert weights.min() >= 0 and weights.max() <= 1
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    assert (weights.max(axis=(0, 1)) > 0.99).all()


def test_every_pixel_has_a_value_where_all_layers_leave():
    # A path that turns round keeps its centroid off itself: a thin object leaves its own middle, and nobody comes.
    x, thin = photo(60, 75), np.zeros((60, 75), bool)
    thin[20:40, 36:41] = True
    arc = {"extent": 31.0, "jitter": 1.0, "pull": 3.0, "shakes": 0.0, "seed": 10}
    feathered = ndimage.binary_dilation(thin, np.ones((3, 3))).astype(np.float64)
    here = spread(feathered[..., None], motion.shake_kernel(**arc))[..., 0]
    nobody = ndimage.binary_erosion(thin, iterations=2) & (here < 1e-6)
    assert nobody.any()
    y = over_objects(x, [STILL, arc], [thin])
    np.testing.assert_allclose(y[nobody], x[nobody], atol=0.01)  # the still background shows what was there


def test_one_hand_for_all_is_a_shake():
    x = photo(96, 111)
    whole = motion.shake(x, **HANDS[1])
    assert segments.propose(x, 3, 400).max() == 3
    np.testing.assert_allclose(motion.shake_objects(x, [HANDS[1]] * 4, 3, 400), whole, atol=1e-5)
    discs = two_discs(96, 111)
    np.testing.assert_allclose(over_objects(x, [HANDS[1]] * 3, discs), whole, atol=1e-5)
    other = over_objects(x, HANDS[:3], discs)
    assert np.abs(other - whole).max() > 0.05
    np.testing.assert_array_equal(over_objects(x, HANDS, discs), other)  # a hand too many is unused
    np.testing.assert_array_equal(over_objects(x, HANDS[:1], discs), motion.shake(x, **HANDS[0]))


def test_sharp_object_on_a_moving_background():
    row, column = np.mgrid[:96, :96]
    disc = np.hypot(row - 48, column - 48) < 26
    x = np.random.default_rng(0).random((96, 96, 3), np.float32)
    inside, outside = np.hypot(row - 48, column - 48) < 26 - 20, np.hypot(row - 48, column - 48) > 26 + 3

    def energy(y, where):
        return sum(np.square(step[where]).sum() for step in np.gradient(y, axis=(0, 1)))

    moving = {**HANDS[2], "extent": 18.0}
    y = over_objects(x, [moving, STILL], [disc])
    assert energy(y, inside) > 0.98 * energy(x, inside) and energy(y, outside) < 0.1 * energy(x, outside)
    z = over_objects(x, [STILL, moving], [disc])
    assert energy(z, inside) < 0.1 * energy(x, inside)
    far = np.hypot(row - 48, column - 48) > 26 + 20
    np.testing.assert_allclose(z[far], x[far], atol=1e-3)  # a tenth of a level in light is more near black


def test_runs():
    rng = np.random.default_rng(0)
    for mask in (rng.random((7, 11)) < 0.5, np.zeros((3, 5), bool), np.ones((3, 5), bool), two_discs()[0]):
        runs = json.loads(json.dumps(masks.to_runs(mask)))
        inside = sum(runs[1::2])
        assert inside == mask.sum() and sum(runs) == mask.size
        np.testing.assert_array_equal(masks.from_runs(runs, mask.shape), mask)
    assert masks.to_runs(np.array([[True, False], [False, True]])) == [0, 1, 2, 1]
    with pytest.raises(ValueError, match="own size"):
        masks.from_runs([3, 2], (2, 3))


def test_masks_keep_the_rules():
    small, large = two_discs()[1], two_discs()[0]
    tiny = np.zeros_like(small)
    tiny[:3, :3] = True
    kept = masks.largest([small, tiny, large], 5, 400)
    assert [mask.sum() for mask in kept] == [large.sum(), small.sum()]
    assert len(masks.largest([small, tiny, large], 1, 400)) == 1 and masks.largest([tiny], 5, 400) == []
    front = np.zeros_like(large)
    front[20:30, 20:30] = True
    labels = masks.label([large, front], large.shape)
    assert (labels[front] == 2).all() and (labels[large & ~front] == 1).all() and not labels[~large & ~front].any()


@pytest.mark.parametrize("given", [False, True])
def test_recipes_replay(given):
    x = photo(60, 75)
    drawn = {"masks": two_discs()} if given else {}
    for seed in range(4):
        steps = motion.draw(x, np.random.default_rng(seed), None, ALWAYS, **drawn)
        assert [step["op"] for step in steps] == ["shake_objects", "lens", "sensor_noise", "jpeg"]
        assert ("masks" in steps[0]) is given and (not given or len(steps[0]["hands"]) == 3)
        text = json.dumps(steps)
        assert json.loads(text) == steps and len(text) < 5000
        before = x.copy()
        y = codec.round8(apply(steps, x))
        assert y.tobytes() == codec.round8(apply(json.loads(text), x.copy())).tobytes()
        np.testing.assert_array_equal(x, before)  # the sharp photo is left alone
        assert y.shape == x.shape and y.dtype == np.float32
    others = [json.dumps(motion.draw(x, np.random.default_rng(s), None, ALWAYS, **drawn)) for s in (0, 0, 1)]
    assert others[0] == others[1] != others[2]


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (61, 90), (90, 61), (1, 30)])
def test_odd_and_tiny_photos(size):
    x = photo(*size)
    for severity in (0.0, 1.0):
        steps = motion.draw(x, np.random.default_rng(1), severity, ALWAYS)
        y = codec.round8(apply(steps, x))
        assert y.shape == x.shape and y.dtype == np.float32 and 0 <= y.min() and y.max() <= 1
        if min(size) < 10:  # no object fits: the background's hand moves everything
            shaken = motion.shake_objects(x, **{k: v for k, v in steps[0].items() if k != "op"})
            np.testing.assert_array_equal(shaken, motion.shake(x, **steps[0]["hands"][0]))


def test_draws_keep_their_ranges():
    x, rng, spans = photo(8, 8), np.random.default_rng(0), motion.OID_MOTION
    seen = {name: [] for name in ("extent", "jitter", "pull", "shakes", "sigma", "a", "b", "quality")}
    for _ in range(1000):
        for step in motion.draw(x, rng, None):
            for part in step.get("hands", [step]):
                for name in part.keys() & seen.keys():
                    seen[name].append(part[name])
    spans = {
        **{"extent": (1, 31), "jitter": (0, 1.34), "pull": (0, 250), "shakes": (0, 1.2)},
        **{"sigma": (0.1, 1.2), "a": (1e-5, 2e-3), "b": (1e-8, 1.6e-5), "quality": (50, 95)},
    }
    for name, (low, high) in spans.items():
        values = np.array(seen[name])
        assert len(values) >= 1000 and values.min() >= low * (1 - 1e-9) and values.max() <= high * (1 + 1e-9), name
        covered = np.ptp(np.log(values) if name in "ab" else values)
        assert covered > 0.9 * (np.log(high / low) if name in "ab" else high - low), name
    assert all(isinstance(value, int) for value in seen["quality"])
    for severity in (0.0, 1.0):
        extents = [motion.draw_hand(rng, severity)["extent"] for _ in range(200)]
        assert (max(extents) <= 4) if severity == 0 else (min(extents) >= 28)


def test_probabilities(monkeypatch):
    monkeypatch.setattr(motion, "draw_hand", lambda *_: {})  # only their number counts here
    x, rng, n = photo(8, 8), np.random.default_rng(3), 10_000
    drawn = [motion.draw(x, rng, None)[0] for _ in range(n)]
    counts = np.bincount([len(step.get("hands", [0])) - 1 for step in drawn])
    expected = np.array([1 - motion.OID_MOTION.moving, *[motion.OID_MOTION.moving / 5] * 5])
    assert len(counts) == 6
    assert (np.abs(counts - n * expected) < 3 * np.sqrt(n * expected * (1 - expected))).all()
    for step in drawn:
        if step["op"] == "shake_objects":
            assert step["objects"] == len(step["hands"]) - 1 and step["least"] == 400


def test_refusals():
    x = photo(60, 75)
    with pytest.raises(ValueError, match="hands is empty"):
        motion.shake_objects(x, [], 5, 400)
    with pytest.raises(ValueError, match="own size"):
        motion.draw(x, np.random.default_rng(0), None, masks=[np.ones((75, 60), bool)])
    with pytest.raises(ValueError, match="own size"):
        over_objects(photo(60, 74), HANDS[:3], two_discs())
    no_objects = motion.draw(x, np.random.default_rng(0), None, ALWAYS, masks=[])
    assert no_objects[0]["op"] == "shake"
