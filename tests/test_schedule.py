"""The forward process, against sums written out and values that others have published."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from unires.config import ScheduleConfig
from unires.schedule import Schedule, add_noise, split_prediction, target, v_from_lq

EPS = Schedule.make(ScheduleConfig())
V = Schedule.make(ScheduleConfig(prediction="v", zero_terminal_snr=True))


def alphas_by_hand(steps: int, start: float, end: float) -> list[float]:
    """sqrt(prod(1 - beta)), one factor at a time in Python's double precision."""
    alphas, product = [], 1.0
    for i in range(steps):
        root = math.sqrt(start) + (math.sqrt(end) - math.sqrt(start)) * i / (steps - 1)
        product *= 1 - root * root
        alphas.append(math.sqrt(product))
    return alphas


@pytest.mark.parametrize("steps, start, end", [(1000, 0.00085, 0.012), (10, 0.01, 0.2)])
def test_alphas_match_the_product_of_betas(steps, start, end):
    schedule = Schedule.make(ScheduleConfig(steps=steps, beta_start=start, beta_end=end))
    alpha = np.array(alphas_by_hand(steps, start, end))
    np.testing.assert_allclose(schedule.alpha, alpha, rtol=1e-6)
    np.testing.assert_allclose(schedule.sigma, np.sqrt(1 - alpha**2), rtol=1e-6)
    assert schedule.alpha.dtype == schedule.sigma.dtype == np.float32


def test_alphas_are_the_published_ones():
    """Stable Diffusion: sigma / alpha runs from 0.0292 to 14.6146 (the sampler k-diffusion prints both)."""
    assert EPS.alpha[-1] == pytest.approx(0.0683, abs=5e-5)
    assert EPS.sigma[0] / EPS.alpha[0] == pytest.approx(0.0292, abs=5e-5)
    assert EPS.sigma[-1] / EPS.alpha[-1] == pytest.approx(14.6146, rel=1e-5)


def test_zero_terminal_snr_moves_the_last_alpha_to_zero_and_keeps_the_first():
    assert V.alpha[-1] == 0 and V.sigma[-1] == 1
    assert V.alpha[0] == EPS.alpha[0]
    # In between it is a straight line of the old alphas: a line through the two ends.
    old = np.array(alphas_by_hand(1000, 0.00085, 0.012))
    np.testing.assert_allclose(V.alpha, np.interp(old[::-1], [old[-1], old[0]], [0, old[0]])[::-1], atol=1e-7)
    assert (np.diff(V.alpha) < 0).all() and (np.diff(V.sigma) > 0).all()


@pytest.mark.parametrize("schedule", [EPS, V], ids=["eps", "v"])
def test_variance_is_preserved(schedule):
    alpha, sigma = (np.asarray(a, np.float64) for a in (schedule.alpha, schedule.sigma))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=2e-7)


def test_time_grids():
    # Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", Table 2: 10 of 1000
    # steps, trailing, counted there from 1 and here from 0. Leading: with Stable Diffusion's offset of 1.
    assert EPS.grid(10, "trailing").tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert EPS.grid(10, "leading").tolist() == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert EPS.grid(8, "trailing").tolist() == [999, 874, 749, 624, 499, 374, 249, 124]
    assert EPS.grid(50, "leading").tolist() == list(range(981, 0, -20))
    assert EPS.grid(1, "trailing").tolist() == [999]
    assert EPS.grid(3, "trailing").tolist() == [999, 666, 332]  # 1000, 666.7, 333.3, rounded, less one


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_time_grids_fall_within_the_range(spacing):
    for steps in range(1, 1001):
        times = EPS.grid(steps, spacing)
        assert len(times) == steps and 0 <= times[-1] and times[0] <= 999
        assert (np.diff(times) < 0).all() or (spacing, steps) == ("leading", 1000)
        assert spacing == "leading" or times[0] == 999


@pytest.mark.parametrize("steps, spacing", [(0, "trailing"), (1001, "leading"), (-3, "leading"), (8, "even")])
def test_impossible_grids_are_refused(steps, spacing):
    with pytest.raises(ValueError, match="steps must lie in 1..1000|'trailing' or 'leading'"):
        EPS.grid(steps, spacing)


def test_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match="'eps' or 'v', not 'x0'"):
        Schedule.make(ScheduleConfig(prediction="x0"))
    with pytest.raises(ValueError, match="zero terminal SNR needs v prediction"):
        Schedule.make(ScheduleConfig(prediction="eps", zero_terminal_snr=True))


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_v_eps_and_x0_are_one_thing(prediction):
    """Whatever the UNet is asked for, the same z_0 and eps come out, at every kind of time."""
    rng = np.random.default_rng(0)
    z_0, eps = rng.standard_normal((2, 3, 4, 5, 2)).astype("f4")
    times = np.array([0, 500, 999])
    alpha, sigma = EPS.alpha[times], EPS.sigma[times]
    a, s = (np.asarray(x, np.float64).reshape(3, 1, 1, 1) for x in (alpha, sigma))
    alpha, sigma = jnp.asarray(alpha), jnp.asarray(sigma)
    z_t = add_noise(z_0, eps, alpha, sigma)
    np.testing.assert_allclose(z_t, a * z_0 + s * eps, atol=1e-6)
    output = target(z_0, eps, alpha, sigma, prediction)
    np.testing.assert_allclose(output, eps if prediction == "eps" else a * eps - s * z_0, atol=1e-6)
    for i in range(3):
        z_0_hat, eps_hat = split_prediction(z_t[i : i + 1], output[i : i + 1], alpha[i], sigma[i], prediction)
        # With eps, errors of rounding are divided by alpha, which is 0.07 at the end.
        np.testing.assert_allclose(z_0_hat[0], z_0[i], atol=2e-5)
        np.testing.assert_allclose(eps_hat[0], eps[i], atol=2e-5)


def test_v_is_the_velocity_of_the_circle():
    """With alpha = cos(phi), sigma = sin(phi): v is the derivative of z_t by phi (Salimans and Ho 2022)."""
    z_0, eps, phi, h = 0.7, -1.3, 0.9, 1e-6
    z = [z_0 * math.cos(p) + eps * math.sin(p) for p in (phi - h, phi + h)]
    one = np.ones((1, 1, 1, 1), np.float32)
    v = target(z_0 * one, eps * one, jnp.array([math.cos(phi)]), jnp.array([math.sin(phi)]), "v")
    assert float(v[0, 0, 0, 0]) == pytest.approx((z[1] - z[0]) / (2 * h), rel=1e-5)


def test_at_zero_snr_v_still_tells_the_photo():
    """Where alpha is 0, z_t is pure noise, and -v is z_0."""
    rng = np.random.default_rng(1)
    z_t, z_0 = rng.standard_normal((2, 1, 2, 2, 3)).astype("f4")
    z_0_hat, eps_hat = split_prediction(z_t, -z_0, V.alpha[-1], V.sigma[-1], "v")
    np.testing.assert_array_equal(z_0_hat, z_0)
    np.testing.assert_array_equal(eps_hat, z_t)


def test_v_from_lq_is_the_gaussian_posterior():
    """Two scalars, z_0 = z_LQ + spread n and z_t: their joint covariance, conditioned by linear algebra."""
    rng = np.random.default_rng(0)
    times = np.array([0, 200, 500, 800, 999])
    alpha, sigma = V.alpha[times], V.sigma[times]
    spread = rng.uniform(0.1, 1.5, (5, 2)).astype(np.float32)
    z_t, z_lq = rng.standard_normal((2, 5, 1, 1, 2)).astype(np.float32)
    mean, deviation, innovation = v_from_lq(*map(jnp.asarray, (z_t, z_lq, alpha, sigma, spread)))
    for b in range(5):
        a, s = float(alpha[b]), float(sigma[b])
        for c in range(2):
            # (v, z_t) = M (n_0, eps) + means, with n_0 of deviation `spread`
            M = np.array([[-s, a], [a, s]]) @ np.diag([spread[b, c], 1.0])
            covariance, centre = M @ M.T, z_lq[b, 0, 0, c] * np.array([-s, a])
            gain = covariance[0, 1] / covariance[1, 1]
            assert mean[b, 0, 0, c] == pytest.approx(centre[0] + gain * (z_t[b, 0, 0, c] - centre[1]), abs=1e-4)
            rest = covariance[0, 0] - gain * covariance[0, 1]
            assert float(deviation[b, 0, 0, c]) == pytest.approx(math.sqrt(rest), rel=1e-3)
            surprise = (z_t[b, 0, 0, c] - centre[1]) / math.sqrt(covariance[1, 1])
            assert float(innovation[b, 0, 0, c]) == pytest.approx(surprise, rel=1e-4, abs=1e-5)


def test_another_spread_is_a_multiple_of_the_innovation():
    """Two spreads, one photo: the means of v differ by one factor at every place."""
    z_t, z_lq = jnp.asarray(np.random.default_rng(4).standard_normal((2, 1, 6, 6, 1)), jnp.float32)
    for time in (200, 666):
        alpha, sigma = jnp.asarray(V.alpha[[time]]), jnp.asarray(V.sigma[[time]])
        mean, deviation, innovation = v_from_lq(z_t, z_lq, alpha, sigma, jnp.full((1, 1), 0.5))
        other = v_from_lq(z_t, z_lq, alpha, sigma, jnp.full((1, 1), 0.1))[0]
        factor = ((other - mean) / deviation / innovation).ravel()
        evidence = {s: float(sigma[0]) ** 2 + s**2 * float(alpha[0]) ** 2 for s in (0.1, 0.5)}
        gain = {s: s**2 * float(alpha[0]) / evidence[s] for s in evidence}  # of z_t in the mean of z_0
        expected = (gain[0.5] - gain[0.1]) * evidence[0.5] / (float(sigma[0]) * 0.5)
        np.testing.assert_allclose(factor, expected, rtol=1e-3)


def test_v_from_nothing_is_plain_v():
    """Without an LQ photo (z_LQ = 0, spread 1), nothing is known: mean 0, deviation 1."""
    z_t = jnp.asarray(np.random.default_rng(1).standard_normal((2, 3, 3, 4)), jnp.float32)
    alpha, sigma = jnp.asarray(V.alpha[[100, 900]]), jnp.asarray(V.sigma[[100, 900]])
    mean, deviation, innovation = v_from_lq(z_t, 0 * z_t, alpha, sigma, jnp.ones((1, 4)))
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_allclose(deviation, 1, rtol=1e-6)
    np.testing.assert_allclose(innovation, z_t, rtol=1e-6)
