"""Composition (Eq. 2), sampling, search (Eq. 3-4) and DownLQ, each against an oracle of its own."""

import functools
import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unires.compose import active, compose, down_lq
from unires.config import ScheduleConfig
from unires.models.ldm import take_apart
from unires.models.store import random_model
from unires.profiles import SMOKE
from unires.restore import Restorer
from unires.sample import ddim, predict_composed
from unires.schedule import Schedule, split_prediction
from unires.search import best_of, grid
from unires.tasks import EXPERTS, NAMES, SR, weights_dict, weights_vector

EPS = Schedule.make(ScheduleConfig())
V = Schedule.make(ScheduleConfig(prediction="v", zero_terminal_snr=True))
MIXTURE = np.array([0.2, 0.4, 0.6, -0.2, -0.4, 0.4], np.float32)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def distance(a, b) -> float:
    """Relative to the length of b."""
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


# Eq. 2


def test_compose():
    eps = normal(6, 2, 3, 4, 5)
    expected = sum(float(w) * np.asarray(e, np.float64) for w, e in zip(MIXTURE, eps, strict=True))
    np.testing.assert_allclose(compose(jnp.asarray(eps), MIXTURE), expected, atol=1e-6)


def composed_three_ways(w: np.ndarray, t: int) -> list:
    """z_0_hat from mixing the same six predictions as eps, as v and as x_0."""
    a, s = float(EPS.alpha[t]), float(EPS.sigma[t])
    z_t, eps = normal(1, 4, 4, 2), normal(6, 1, 4, 4, 2, seed=1)
    x_0 = (z_t - s * eps) / a
    v = a * eps - s * x_0
    by_eps, _ = split_prediction(z_t, compose(jnp.asarray(eps), w), a, s, "eps")
    by_v, _ = split_prediction(z_t, compose(jnp.asarray(v), w), a, s, "v")
    return [by_eps, by_v, compose(jnp.asarray(x_0), w)]


@pytest.mark.parametrize("t", [0, 500, 999])
def test_composing_eps_v_and_x0_agree(t):
    for one, other in itertools.combinations(composed_three_ways(MIXTURE, t), 2):
        assert distance(one, other) < 1e-5


def test_composing_needs_a_sum_of_one():
    """With another sum the three disagree: the constraint of Eq. 2 is no convention."""
    for one, other in itertools.combinations(composed_three_ways(1.5 * MIXTURE, 500), 2):
        assert distance(one, other) > 0.05


@pytest.fixture(scope="module")
def model():
    return random_model(SMOKE)


@pytest.fixture(scope="module")
def restorer(model):
    return Restorer(model, SMOKE)


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(3)
    ramp = np.linspace(0, 1, 32)[:, None, None]
    return np.clip(ramp + 0.2 * rng.standard_normal((32, 32, 3)), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def alone(restorer, model):
    """One expert without any composition: UNet and DDIM in one program, as a single-task model would run."""

    arrays, rebuild = take_apart(model)

    @jax.jit
    def sample(arrays, z_t, z_lq, context):
        network = rebuild(arrays)

        def predict(z, t):
            return network.predict(z, z_lq, jnp.full(1, t), context[None])

        return ddim(predict, z_t, restorer.schedule, SMOKE.sample.steps, SMOKE.sample.spacing)[0]

    return functools.partial(sample, arrays)


@pytest.mark.parametrize("k, expert", list(enumerate(EXPERTS)), ids=NAMES)
def test_one_hot_is_the_single_expert_bit_for_bit(k, expert, restorer, photo, alone):
    z_t = restorer.noise(32, 32, seed=5)
    z_0, _ = restorer.sample(photo, np.eye(6, dtype=np.float32)[k], z_t)
    z_lq = restorer.encode(down_lq(photo, expert.factor))
    np.testing.assert_array_equal(z_0, alone(z_t, z_lq, restorer.context[expert.name]))


def test_experts_differ(restorer, photo):
    """Otherwise the test above could not tell one expert from another."""
    z_t = restorer.noise(32, 32, seed=5)
    found = [np.asarray(restorer.sample(photo, w, z_t)[0]) for w in np.eye(6, dtype=np.float32)]
    assert min(distance(a, b) for a, b in itertools.combinations(found, 2)) > 1e-5


def test_only_weighted_experts_are_active():
    experts, w = active(np.array([0, 0.6, 0, 0, -0.2, 0.6], np.float32), EXPERTS)
    assert [e.name for e in experts] == ["SR", "DN", "DownLQ"]
    np.testing.assert_array_equal(w, np.array([0.6, -0.2, 0.6], np.float32))


def test_batched_experts_equal_a_loop(model):
    """Three experts on two photos in one batch, against one call an expert and a photo."""
    k, b, c = 3, 2, SMOKE.vae.latent_channels
    z_t, z_lq = normal(b, 8, 8, c), normal(k, b, 8, 8, c, seed=1)
    context = normal(k, SMOKE.text.tokens, SMOKE.text.width, seed=2)
    w = np.array([0.7, 0.5, -0.2], np.float32)
    t = jnp.asarray(400)
    batched = jax.jit(lambda *args: predict_composed(model, *args))(z_t, t, z_lq, context, w)
    once = jax.jit(model.predict)
    expected = np.zeros(z_t.shape)
    for i, j in itertools.product(range(k), range(b)):
        one = once(z_t[j : j + 1], z_lq[i, j : j + 1], t[None], context[i : i + 1])
        expected[j] += float(w[i]) * np.asarray(one[0], np.float64)
    assert distance(batched, expected) < 1e-5


# DDIM

MEAN, SPREAD = 0.8, 0.6


def optimal(schedule: Schedule):
    """The best possible prediction for z_0 ~ N(MEAN, SPREAD^2): a conditional mean, known exactly."""
    alpha, sigma = jnp.asarray(schedule.alpha), jnp.asarray(schedule.sigma)

    def predict(z, t):
        a, s = alpha[t], sigma[t]
        above = (z - a * MEAN) / (a**2 * SPREAD**2 + s**2)
        eps, z_0 = s * above, MEAN + a * SPREAD**2 * above
        return eps if schedule.config.prediction == "eps" else a * eps - s * z_0

    return predict


def closed_form(z_t: np.ndarray, schedule: Schedule, times: list[int]) -> np.ndarray:
    """DDIM multiplies the distance to the mean by one number a step; float64."""
    a = np.append(np.asarray(schedule.alpha, np.float64)[times], 1)
    s = np.append(np.asarray(schedule.sigma, np.float64)[times], 0)
    step = (a[:-1] * a[1:] * SPREAD**2 + s[:-1] * s[1:]) / (a[:-1] ** 2 * SPREAD**2 + s[:-1] ** 2)
    return MEAN + (z_t - a[0] * MEAN) * step.prod()


def probability_flow(z_t: np.ndarray, schedule: Schedule, t: int) -> np.ndarray:
    """Infinitely many steps: the map that keeps the number of standard deviations from the mean."""
    a, s = float(schedule.alpha[t]), float(schedule.sigma[t])
    return MEAN + SPREAD * (z_t - a * MEAN) / math.sqrt(a**2 * SPREAD**2 + s**2)


SAMPLERS = {
    "eps trailing": (EPS, "trailing", lambda n: [999 - i * 1000 // n for i in range(n)]),
    "eps leading": (EPS, "leading", lambda n: [1 + (n - 1 - i) * 1000 // n for i in range(n)]),
    "v trailing": (V, "trailing", lambda n: [999 - i * 1000 // n for i in range(n)]),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
@pytest.mark.parametrize("steps", [1, 8, 50])
def test_ddim_on_gaussian_data_has_its_closed_form(sampler, steps):
    schedule, spacing, times = sampler
    z_t = normal(1, 4, 4, 3)
    z_0, path = ddim(optimal(schedule), z_t, schedule, steps, spacing)
    np.testing.assert_allclose(z_0, closed_form(z_t, schedule, times(steps)), atol=2e-5)
    assert path.shape == (steps, 1, 4, 4, 3)
    np.testing.assert_allclose(path[-1], z_0, atol=1e-6)


@pytest.mark.parametrize("schedule", [EPS, V], ids=["eps", "v"])
def test_ddim_tends_to_the_probability_flow(schedule):
    z_t = normal(1, 4, 4, 3)
    flow = probability_flow(z_t, schedule, 999)
    found = [ddim(optimal(schedule), z_t, schedule, steps, "trailing")[0] for steps in (10, 100, 1000)]
    errors = [distance(z_0, flow) for z_0 in found]
    assert errors[0] > 5 * errors[1] > 10 * errors[2]
    assert errors[2] < 2e-3


# Eq. 3-4: search


def test_the_grid_has_1512_and_252_vectors():
    units = np.array(list(itertools.product(range(-1, 7), repeat=6)))  # all 8^6, in intervals of 0.2
    for low, count, least in ((-0.2, 1512, -1), (0.0, 252, 0)):
        found = grid(low)
        allowed = units[(units.sum(1) == 5) & ((units < 0).sum(1) <= 1) & (units.min(1) >= least)]
        assert found.shape == (count, 6) == allowed.shape
        assert {tuple(v) for v in np.rint(found * 5).astype(int)} == {tuple(v) for v in allowed}
        np.testing.assert_allclose(found, np.rint(found * 5) / 5, atol=1e-7)
        np.testing.assert_allclose(found.astype(np.float64).sum(1), 1, atol=1e-6)
        assert ((found < 0).sum(1) <= 1).all() and found.max() <= 1.2 + 1e-6
    assert math.comb(10, 5) == 252 and math.comb(10, 5) + 6 * math.comb(10, 4) == 1512


@pytest.mark.parametrize("interval, told", [(0.3, "multiples of the interval"), (0, "above 0"), (-0.2, "above 0")])
def test_bad_intervals_are_refused(interval, told):
    with pytest.raises(ValueError, match=told):
        grid(interval=interval)


def test_the_grid_of_other_settings():
    """Few experts can be counted by hand."""
    found = {tuple(v) for v in np.rint(grid(-0.5, 1.5, 0.5, experts=2, negatives=1) * 2).astype(int)}
    assert found == {(-1, 3), (0, 2), (1, 1), (2, 0), (3, -1)}
    assert len(grid(-0.5, 1.5, 0.5, experts=2, negatives=0)) == 3
    assert len(grid(-0.2, 1.2, 0.2, negatives=6)) > 1512


@pytest.mark.parametrize("low, high, interval", [(-0.1, 1.2, 0.2), (-0.2, 1.1, 0.2), (0.0, 0.9, 0.3)])
def test_a_grid_off_the_interval_is_refused(low, high, interval):
    with pytest.raises(ValueError, match=f"multiples of the interval {interval}"):
        grid(low, high, interval)


def test_best_of_finds_the_known_optimum():
    """Restoring paints the weights, and the score is their distance to a point of the grid."""
    candidates, wanted = grid(), np.array([0, 0, 0.6, 0, -0.2, 0.6], np.float32)
    choice = best_of(
        lambda w: np.broadcast_to(w.reshape(2, 3, 1), (2, 3, 3)).astype(np.float32),
        candidates,
        lambda photo: -float(np.abs(photo[..., 0].ravel() - wanted).sum()),
    )
    np.testing.assert_allclose(choice.weights, wanted, atol=1e-6)
    assert choice.score == max(choice.scores) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(choice.scores, -np.abs(candidates - wanted).sum(1), atol=1e-5)
    np.testing.assert_allclose(choice.photo[..., 1].ravel(), wanted, atol=1e-6)


def test_best_of_keeps_the_first_of_equals_and_needs_a_list():
    grey, calls = np.zeros((2, 2, 3), np.float32), []
    choice = best_of(lambda w: calls.append(w) or grey, np.eye(6)[[3, 1, 4]], lambda photo: 7.0)
    assert weights_dict(choice.weights) == {"DD": 1.0} and choice.scores == (7.0, 7.0, 7.0)
    assert len(calls) == 3
    scores = iter((np.nan, 1.0, 2.0))
    assert best_of(lambda w: grey, np.eye(6)[[3, 1, 4]], lambda photo: next(scores)).score == 2.0
    with pytest.raises(ValueError, match="no candidate weights"):
        best_of(lambda w: grey, [], lambda photo: 0.0)


def test_weights_are_checked():
    np.testing.assert_array_equal(weights_vector(None), [1, 0, 0, 0, 0, 0])
    mixed = {"MD": 0.6, "DN": -0.2, "DownLQ": 0.6}
    vector = weights_vector(mixed)
    np.testing.assert_array_equal(vector, np.array([0, 0, 0.6, 0, -0.2, 0.6], np.float32))
    assert weights_dict(vector) == mixed
    np.testing.assert_array_equal(weights_vector(np.full(6, 1 / 6)), np.full(6, 1 / 6, np.float32))
    np.testing.assert_array_equal(weights_vector({"SR": 1}, experts=(SR,)), [1])
    assert weights_vector({"SR": 0.99995})[1] == np.float32(0.99995)  # near enough
    for bad, message in (
        ({"XX": 1.0}, "unknown expert 'XX': choose from BR, SR, MD, DD, DN, DownLQ"),
        ({"SR": 0.5}, "sum to 1 .*0.5"),
        ({"SR": 0.9998}, "sum to 1 .*0.9998"),
        ({"SR": float("nan"), "MD": 1.0}, "finite"),
        ({"SR": float("inf"), "MD": float("-inf")}, "finite"),
        ({"SR": 1e39, "MD": -1e39}, "finite"),  # without a warning, too
        ({"SR": 3e38, "MD": 3e38}, "sum to 1 .*6e.38"),
        ({}, "sum to 1"),
        (np.full(5, 0.2), "6 numbers"),
    ):
        with pytest.raises(ValueError, match=message), warnings.catch_warnings():
            warnings.simplefilter("error")
            weights_vector(bad)


# DownLQ


def bicubic(n: int, m: int) -> np.ndarray:
    """The matrix [m, n] of bicubic resizing (a = -1/2), its kernel widened when it shrinks."""
    scale = n / m
    wide = max(scale, 1.0)
    centre = (np.arange(m) + 0.5) * scale
    x = np.abs((np.arange(n) + 0.5)[None] - centre[:, None]) / wide
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    kernel = np.where(x < 1, near, np.where(x < 2, far, 0))
    return kernel / kernel.sum(1, keepdims=True)


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_down_lq(factor):
    h, w = 36, 50
    y = np.random.default_rng(0).random((h, w, 3)).astype(np.float32)
    rows, columns = (bicubic(round(n / factor), n) @ bicubic(n, round(n / factor)) for n in (h, w))
    expected = np.einsum("ij,jkc,lk->ilc", rows, y, columns).clip(0, 1)
    found = down_lq(y, factor)
    assert found.shape == y.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_down_lq_loses_more_with_a_larger_factor():
    y = np.random.default_rng(1).random((64, 64, 3)).astype(np.float32)
    assert down_lq(y, 1) is y
    results = [down_lq(y, factor) for factor in (1, 2, 4, 8, 16)]
    spread = [float(x.std()) for x in results]
    error = [float(((x - y) ** 2).mean()) for x in results]
    assert spread == sorted(spread, reverse=True) and error == sorted(error)
    assert len(set(spread)) == len(set(error)) == 5
    np.testing.assert_allclose(down_lq(np.full_like(y, 0.25), 8), 0.25, atol=1e-6)  # nothing there to lose
    assert down_lq(y, 1000).std((0, 1)).max() < 1e-4  # one pixel is left


@pytest.mark.parametrize("factor", [0, -2])
def test_an_impossible_factor_is_refused(factor):
    with pytest.raises(ValueError, match=f"at least 1, not {factor}"):
        down_lq(np.zeros((8, 8, 3), np.float32), factor)
