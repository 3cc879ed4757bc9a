# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 30 How four isolated tasks train one model
#
# **Question.** The experts of this course are not six networks: they are one network that was
# trained on four restoration tasks at once and told by a text prompt which task it is looking at.
# What exactly is drawn, what is compared with what, and why does that give six experts in the
# end?
#
# **In:** sharp photos that come with scikit-image, and the shipped autoencoder. **Out:** a short
# real training, its loss curve for each task beside the curves of the shipped model, and a
# restoration by the freshly trained one.
#
# The paper **fine-tunes** a public model. There is none of a size for laptops, so the small one is trained twice: a
# *base* from random weights (the profile `demo_base`), by Eq. 1 alone, and then `demo`, fine-tuned from it as the paper
# does, with one term more (section 5). The lesson below is a base's.
#
# **Minutes:** smoke under 1 | demo about 7.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"

# %%
import os
from pathlib import Path

if Path.cwd().name == "notebooks":  # Jupyter starts there; everything below is named from the project's root
    os.chdir("..")

# %%
import dataclasses
import functools
import hashlib
import inspect
import itertools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import skimage
from flax import nnx

from benchmarks.figures import save_figure, show_photos
from unires import loss, train
from unires.batches import batches
from unires.config import Stage

# %%
from unires.data import HELD_OUT, Photos, evaluation_set, pair_batch
from unires.metrics import measure
from unires.models.ldm import LDM, parameter_count, take_apart
from unires.models.store import WEIGHTS, load_model
from unires.models.text import tokenize
from unires.photo import read_photo, write_photo
from unires.profiles import CONTROLS, PROFILES
from unires.restore import Restorer
from unires.schedule import Schedule
from unires.tasks import BR, NEGATIVE, POSITIVE, TASKS

sns.set_theme(style="whitegrid", context="paper", font_scale=1.1)
shipped, config, story = load_model(PROFILES[profile])
base = CONTROLS.get(f"{profile}_base", config)  # what it is fine-tuned from; smoke is its own base
stage = base.train.stages[0]

# %% [markdown]
# ## 1. One network, four tasks
# Every training tuple is $(x, y, s_k)$: a sharp photo $x$, the same photo with **one** flaw $y$
# (LQ, "low quality"), and the prompt $s_k$ that names the flaw. Which flaw it is, is drawn anew
# for every tuple with the probabilities of the paper. Isolated flaws are easy to collect or to
# simulate; their mixtures are not, because the number of mixtures explodes. So the paper never
# trains on a mixture: it composes the experts afterwards (notebook 50).
#
# The draw is the first thing that `pair_batch` asks its random generator for, so we can repeat it
# for many steps without making a single photo. The shares of $n$ draws scatter around $p$ by
# $\sqrt{p(1-p)/n}$; the assert allows five of those.

# %%
table = pd.DataFrame([{"task": t.name, "prompt": t.prompt, "paper": t.probability} for t in TASKS])
table = table.set_index("task")


def tasks_at(step):
    rng = np.random.default_rng([seed, step, 1])
    return rng.choice(len(TASKS), stage.batch, p=table["paper"])


drawn = np.concatenate([tasks_at(step) for step in range(1000)])
table["drawn here"] = np.bincount(drawn, minlength=len(TASKS)) / len(drawn)
scatter = np.sqrt(table["paper"] * (1 - table["paper"]) / len(drawn))
assert abs(table["paper"].sum() - 1) < 1e-9
assert ((table["drawn here"] - table["paper"]).abs() < 5 * scatter).all()
table

# %% [markdown]
# ## 2. Photos for the lesson
# The shipped model saw 162 photos, which `python -m benchmarks.training_photos FOLDER` fetches. The lesson must run
# everywhere and at once, so it trains on a few pictures that scikit-image brings along: a retina, a galaxy
# field, stained tissue and gravel. That is far too little to learn photography from, and the
# curve will show what it *can* teach. (Only one of the package's grey textures is used: of two
# random crops `draw_crop` keeps the busier one, so textures would soon push colour out.)
#
# Training and test photos must never mix. The evaluation photos of this project come from the
# same package, so the rule is checked: no lesson file is in `HELD_OUT`, and `Photos.read` refuses
# a folder that holds such a file. (The second check compares file hashes and so sees copies only,
# not photos that were saved anew: hence the first. Nor would a hash notice
# `motorcycle_right.png`, nearly the same view as the held-out left one; judgement stays ours.)

# %%
LESSON = ("retina.jpg", "hubble_deep_field.jpg", "ihc.png", "gravel.png")
assert not set(LESSON) & {Path(inside).name for _, inside in HELD_OUT.values()}
folder = Path(run_dir) / "lesson_photos"
folder.mkdir(parents=True, exist_ok=True)
for name in LESSON:
    write_photo(folder / name, read_photo(Path(skimage.__file__).parent / "data" / name))
photos = Photos.read(folder, least=2 * stage.crop)
print(len(photos.names), "photos; sha256 of the folder", photos.manifest[:16])
assert len(photos.names) == len(LESSON)

# %% [markdown]
# A **batch** is made on the fly: crop, flaw, keep both. Each crop is flawed with a margin around
# it that is cut off afterwards, otherwise blur would have to invent what lies outside, and the
# model would learn that borders are odd. Below, the first pair of each task that this batch
# holds, and one more batch drawn at the same step: the same bytes.

# %%
look = Stage(crop=96, batch=24, steps=1)
batch = pair_batch(photos, look, seed, 0)
kinds = sorted(set(batch["task"].tolist()))
first = [int(np.argmax(batch["task"] == k)) for k in kinds]
figure = show_photos(
    [[batch["x"][i] for i in first], [batch["y"][i] for i in first]],
    [TASKS[k].name for k in kinds], names=["sharp x", "flawed y"], zoom=1.4,
)
save_figure(figure, run_dir, "30_pairs.jpg")
assert batch["x"].shape == batch["y"].shape == (24, 96, 96, 3)
assert all(np.array_equal(batch[k], again) for k, again in pair_batch(photos, look, seed, 0).items())

# %% [markdown]
# ## 3. Equation 1
# The autoencoder turns both photos into latents, $z_0$ from $x$ and $z_{LQ}$ from $y$ (notebook
# 20). Then noise is added to the sharp latent only,
# $$z_t = \alpha_t z_0 + \sigma_t \epsilon, \quad \epsilon \sim \mathcal N(0, I),
# \quad \alpha_t^2 + \sigma_t^2 = 1,$$
# and the network is asked which noise it was:
# $$\mathcal L = \mathbb E_{t, x, \epsilon} \| \epsilon - \epsilon_\theta(z_t, z_{LQ}, s) \|^2. \tag{Eq. 1}$$
#
# **Where it comes from.** A generative model wants to maximise the likelihood of sharp latents.
# DDPM bounds it from below by a sum over $t$ of Kullback-Leibler divergences between two
# Gaussians: the true step back $q(z_{t-1} \mid z_t, z_0)$, whose mean is a linear mix of $z_t$
# and $z_0$, and the network's step, which has the same mix with an estimate $\hat z_0$ in place
# of $z_0$. Gaussians of equal variance differ by the squared distance of their means, so every
# term is $c_t \| z_0 - \hat z_0 \|^2$. Put $\hat z_0 = (z_t - \sigma_t \hat\epsilon)/\alpha_t$:
# the term becomes $c_t (\sigma_t/\alpha_t)^2 \| \epsilon - \hat\epsilon
# \|^2$. DDPM drops the factor in front. What is left is Eq. 1: plain regression on the noise, with nothing
# adversarial and nothing to balance.
#
# **Which minimum.** A squared error is minimised by the conditional mean: $\epsilon_\theta \to
# \mathbb E[\epsilon \mid z_t, z_{LQ}, s]$. So the network does not learn *one* restoration; it
# learns the average over all sharp latents that fit what it sees. At high noise that average is a
# blur, and the sampler (notebook 40) makes it sharp step by step.
#
# **eps or v.** The paper predicts $\epsilon$. The small model here predicts $v = \alpha_t
# \epsilon - \sigma_t z_0$ (`unires.schedule.target`). Both say the same: $\hat z_0 = \alpha_t z_t
# - \sigma_t \hat v$. They differ in how an error of $\hat z_0$ is priced:
# $$\|\epsilon - \hat\epsilon\|^2 = \frac{\alpha_t^2}{\sigma_t^2}\|z_0 - \hat z_0\|^2, \qquad
# \|v - \hat v\|^2 = \frac{1}{\sigma_t^2}\|z_0 - \hat z_0\|^2,
# \qquad \frac{1}{\sigma_t^2} = 1 + \frac{\alpha_t^2}{\sigma_t^2}.$$
# At the noisiest time the price of $\epsilon$ falls to (nearly) zero: there the first of few
# sampling steps would be trained least. That is why $v$ is our choice for a sampler with few
# steps.

# %%
schedule = Schedule.make(config.schedule)
times = np.arange(1, config.schedule.steps)
snr = (schedule.alpha[times].astype(np.float64) / schedule.sigma[times]) ** 2
figure, axes = plt.subplots(figsize=(5.2, 2.6))
axes.semilogy(times, np.maximum(snr, 1e-6), label="predict eps: SNR")
axes.semilogy(times, 1 + snr, label="predict v: 1 + SNR")
axes.set(xlabel="time t (0 clean, T noise)", ylabel="price of an error of z_0_hat", ylim=(1e-6, None))
axes.legend()
save_figure(figure, run_dir, "30_price_of_errors.png")
assert np.allclose(1 + snr, 1 / schedule.sigma[times].astype(np.float64) ** 2, rtol=1e-3)

# %% [markdown]
# ### Starting from the flawed photo
# A small network with few steps has a dull first lesson: the sharp latent looks much like the flawed one, so it
# must learn to *copy*. A large pretrained network can afford that; ours is spared it. Say only this much in
# advance: $z_0$ is $z_{LQ}$ plus something of spread $s_c$ in channel $c$ (measured once, over a batch of all
# tasks). Together with $z_t = \alpha_t z_0 + \sigma_t \epsilon$ that is a textbook problem of two Gaussians, and
# Bayes' rule gives mean $m$ and deviation $d$ of $v$:
# $$m = \frac{\sigma_t\left(\alpha_t (1 - s_c^2)\, z_t - z_{LQ}\right)}{\sigma_t^2 + s_c^2 \alpha_t^2}, \qquad
# d = \frac{s_c}{\sqrt{\sigma_t^2 + s_c^2 \alpha_t^2}}, \qquad \hat v = m + d\,F_\theta(z_t, z_{LQ}, t, s).$$
# The network $F_\theta$ only says what this guess misses, in units of $d$ (`LDM.prior`, `LDM.predict`). Where the
# condition was dropped (section 4) there is nothing to start from: $z_{LQ} = 0$ and $s_c = 1$ give $m = 0$, $d = 1$,
# plain $v$. The paper's network needs none of this; its config leaves it off.
#
# Two things follow. A **new** network ($F_\theta = 0$) already answers with the flawed photo, so training starts at
# "do no harm". And the loss has a natural unit: each error is divided by the mean of $d^2$, so **1 means: no better
# than the start**, at every noise level. Why does no curve below come near 0? Near $t = 0$ the guess from
# $z_t$ is so good that only noise is left to say, and that part costs 1 for everyone, for ever.

# %%
spread = np.asarray(shipped.spread[...])
print("spread of z_0 around z_LQ, channel by channel:", spread.round(2))
example = np.array([0.3, 1.0])[:, None]
alpha, sigma = (np.float64(one) for one in (schedule.alpha, schedule.sigma))
deviation = example / np.sqrt(sigma**2 + example**2 * alpha**2)
assert np.allclose(deviation[1], 1) and np.isclose(deviation[0, -1], 0.3)  # plain v; at t = T v is -z_0
figure, axes = plt.subplots(figsize=(5.2, 2.4))
for s, line in zip(example[:, 0], deviation, strict=True):
    axes.plot(line, label=f"spread {s:g}")
axes.set(xlabel="time t (0 clean, T noise)", ylabel="what is left to say, d", ylim=(0, 1.05))
axes.legend()
save_figure(figure, run_dir, "30_left_to_say.png")

# %% [markdown]
# ### A gate: one spread does not fit all flaws
# The start believes in *one* spread for every photo. Noise, like slight defocus, moves a latent far less than low
# resolution and motion do, so for a noisy photo the start is wrong in a particular way: it takes too much of what
# sticks out of $z_t$ for detail, and carries the sampler's own noise into the picture. How wrong? Let the true spread
# be $s'$. With $n \sim \mathcal N(0, s'^2)$ and the evidence $e = \sigma_t^2 + s^2\alpha_t^2$, the start's error of $v$
# is $(s^2 \alpha_t\, \epsilon - \sigma_t\, n)/e$, up to its sign: its mean square is
# $(s^4\alpha_t^2 + s'^2\sigma_t^2)/e^2$, and whoever knows $s'$ pays only $s'^2/e'$. Left, the spreads, measured on one
# batch; right, both prices in the start's own unit, $s^2/e$, with that batch's ratio for noise.

# %%
lessons = pair_batch(photos, dataclasses.replace(stage, batch=32), seed + 1, 0)
residue = np.subtract(*(np.asarray(shipped.vae.encode(lessons[name])) for name in "xy"))
measured = [np.sqrt((residue[lessons["task"] == k] ** 2).mean()) for k in range(len(TASKS))]
s = np.sqrt((spread**2).mean())
narrow = s * measured[3] / np.sqrt(np.mean(np.square(measured)))  # DN is the last task
e, own = sigma**2 + s**2 * alpha**2, sigma**2 + narrow**2 * alpha**2
wrong = (s**4 * alpha**2 + narrow**2 * sigma**2) / e**2 * e / s**2
right = narrow**2 / own * e / s**2
figure, (left, axes) = plt.subplots(1, 2, figsize=(8, 2.6), width_ratios=(1, 1.6), layout="constrained")
left.bar([task.name for task in TASKS], measured, color=sns.color_palette("deep"))
left.axhline(s, color="0.3", ls="--", lw=1)
left.set(ylabel="rms of z_0 - z_LQ", title="dashed: the start's")
axes.plot(wrong, label="the start, with its own spread")
axes.plot(right, label="who knows the spread")
axes.set(xlabel="time t (0 clean, T noise)", ylabel="error of v; 1: as believed", ylim=(0, 1.05))
axes.legend()
save_figure(figure, run_dir, "30_one_spread.png")

# %% [markdown]
# The gap between the curves is no knowledge about photos, it is arithmetic; yet a plain UNet has to pass the
# noise of $z_t$ through all its layers, unharmed, to close it. There is a shorter way. The **innovation**
# $r = (z_t - \alpha_t z_{LQ})/\sqrt{e}$ is what $z_t$ says beyond the photo, in units of its own deviation, and the means
# of $v$ for two spreads differ by a multiple of $r$ alone. So let the network *see* $r$ in place of $z_t$, and give two
# answers at each place, a correction $a$ and a factor $g$ for the innovation:
# $$\hat v = m + d\,(a_\theta + g_\theta\, r).$$
# A constant $g$ is another spread; a $g$ that changes with the place believes in detail where there is texture and in
# noise where there is sky. Engineers know the same step from the Kalman filter. In the short trials of notebook 32
# nothing that keeps the start mattered as much. The cell draws latents with the narrow spread, and looks for the
# one factor at some time $t$ that a least-squares fit would choose: with it, the start's price falls to that of who
# knows.

# %%
t, rng = 500, np.random.default_rng(seed)
n, noise = narrow * rng.standard_normal(200_000), rng.standard_normal(200_000)  # with z_LQ = 0: z_0 = n
z_t, v = alpha[t] * n + sigma[t] * noise, alpha[t] * noise - sigma[t] * n
m, d, r = sigma[t] * alpha[t] * (1 - s**2) * z_t / e[t], s / np.sqrt(e[t]), z_t / np.sqrt(e[t])
g = (r * (v - m)).sum() / d / (r * r).sum()
price = {"start": np.mean((v - m) ** 2) / d**2, "gated": np.mean((v - m - d * g * r) ** 2) / d**2}
print({name: round(float(value), 3) for name, value in price.items()}, "factor", round(float(g), 3))
assert np.isclose(price["start"], wrong[t], rtol=0.02) and np.isclose(price["gated"], right[t], rtol=0.02)

# %% [markdown]
# ### Eq. 1 by hand
# A fresh network's last layer is zero, so its answer is known without running it: $\hat v = m$. Then the loss must be
# the mean of $(v - m)^2$ in its unit, and we can compute that with NumPy: the same batch, the same keys for $t$,
# $\epsilon$ and dropped photos, a few lines of arithmetic. `ldm_loss`, which runs the whole network, has to give the
# same number. (With `draws` above 1, each encoded pair is used for several draws of time, noise and dropped conditions,
# which saves encoding; the base takes one, see notebook 32; the fine-tuning four. The loss is the same expectation.) Three habits of
# the profile are switched off here and come back below: words in place of prompts, the sampler's own times, and weights
# of the tasks.

# %%
model = LDM(config, nnx.Rngs(seed))
model.vae, model.spread = shipped.vae, shipped.spread
arrays, rebuild = take_apart(model)
encode = functools.partial(jax.jit(lambda arrays, x: rebuild(arrays).vae.encode(x)), arrays)
ids = tokenize([expert.prompt for expert in (BR, *TASKS, POSITIVE, NEGATIVE)], config.text)
even = {"sampler_share": 0.0, "task_weights": (1.0,) * len(TASKS)}
plain = dataclasses.replace(config, words=0.0, train=dataclasses.replace(config.train, **even))
batch = pair_batch(photos, stage, seed, 0) | {"ids": ids}
key = jax.random.key(seed)
print(f"{parameter_count(model.unet):,} parameters in the UNet")
print(f"{parameter_count(model.text):,} in the text encoder")

# %%
k_t, k_eps, k_image, k_text, k_words, k_own = jax.random.split(key, 6)  # as ldm_loss splits it
latents = np.asarray(encode(np.concatenate([batch["x"], batch["y"]])), np.float64)
z_0, z_lq = (np.repeat(half, config.train.draws, axis=0) for half in np.split(latents, 2))
t = np.asarray(jax.random.randint(k_t, (len(z_0),), 0, config.schedule.steps))
alpha, sigma = (np.float64(s)[t][:, None, None, None] for s in (schedule.alpha, schedule.sigma))
eps = np.asarray(jax.random.normal(k_eps, z_0.shape), np.float64)
z_t = alpha * z_0 + sigma * eps  # add noise
target = alpha * eps - sigma * z_0  # v
keep = np.asarray(jax.random.bernoulli(k_image, 1 - config.drop_image, (len(z_0), 1, 1, 1)))
s = np.where(keep, np.float64(spread), 1.0)  # [b 1 1 c]
evidence = sigma**2 + s**2 * alpha**2
m = sigma * (alpha * (1 - s**2) * z_t - keep * z_lq) / evidence  # what a fresh network answers
unit = (s**2 / evidence).mean(-1, keepdims=True)
by_hand = np.mean((target - m) ** 2 / unit)

library, per_task = jax.jit(lambda a, b, k: loss.ldm_loss(rebuild(a), b, k, plain, schedule))(arrays, batch, key)
print(f"by hand {by_hand:.6f}   unires.loss {float(library):.6f}")
print(f"of v itself, in no units: {np.mean((target - m) ** 2):.6f}")
assert np.isclose(by_hand, library, rtol=1e-4)

# %% [markdown]
# A second known predictor: **the copyist**, who believes that the flawed latent is the sharp one,
# $\hat z_0 = z_{LQ}$. By the price list above its loss must be $\|z_0 - z_{LQ}\|^2 / \sigma_t^2$
# under $v$. `ldm_loss` only needs something with `vae`, `text`, `prior` and `predict`, so we hand it a
# stand-in (without a prior: mean 0, unit 1). Its condition is sometimes missing, see section 4: then the copyist
# sees zeros, and so does the formula. At small $t$ the copyist is punished hard, as the price list above says: there
# $z_t$ nearly shows $z_0$ already, and it ignores that. The start of above knows better: it weighs both hints.
# Compare the copyist with its last printed number; the first two are in units of what the flawed photo alone would cost.

# %%
def copyist(z_t, z_lq, t, context):
    a, s = (jnp.asarray(one)[t][:, None, None, None] for one in (schedule.alpha, schedule.sigma))
    eps_hat = (z_t - a * z_lq) / s
    return a * eps_hat - s * z_lq if config.schedule.prediction == "v" else eps_hat


vae = SimpleNamespace(encode=encode)


def text(ids):
    return jnp.zeros((*ids.shape, 1))


stand_in = SimpleNamespace(vae=vae, text=text, predict=copyist, prior=lambda z_t, *_: (0.0, 1.0, z_t))
price = 1 / sigma**2 if config.schedule.prediction == "v" else (alpha / sigma) ** 2
by_hand = np.mean(price * (z_0 - keep * z_lq) ** 2)
library, _ = loss.ldm_loss(stand_in, batch, key, plain, schedule)
print(f"by hand {by_hand:.5f}   unires.loss {float(library):.5f}")
assert np.isclose(by_hand, library, rtol=1e-3)

# %% [markdown]
# This is the whole training objective; it fits on a screen. Note `stop_gradient`: the autoencoder
# is frozen, so the network cannot make its job easy by shrinking the latents. The text encoder
# *is* trained (it is small and new).

# %%
print(inspect.getsource(loss.ldm_loss))

# %% [markdown]
# ## 4. Dropped conditions, and where the blind expert comes from
# In one tuple of ten the image condition is replaced by zeros, and independently in one of ten
# the text by the empty prompt, as InstructPix2Pix does. One network thereby learns four
# conditional means:
#
# | image | text | what is learned | used as |
# |---|---|---|---|
# | kept | kept | $\mathbb E[\epsilon \mid z_t, z_{LQ}, s_k]$ | SR, MD, DD, DN (and DownLQ) |
# | kept | dropped | $\mathbb E[\epsilon \mid z_t, z_{LQ}]$ | BR, blind restoration |
# | dropped | kept | $\mathbb E[\epsilon \mid z_t, s_k]$ | not used |
# | dropped | dropped | $\mathbb E[\epsilon \mid z_t]$ | not used: what photos look like |
#
# Without a prompt the network must average over what the flaw may be. By the law of total
# expectation
# $$\mathbb E[\epsilon \mid z_t, z_{LQ}]
# = \sum_k P(k \mid z_t, z_{LQ})\; \mathbb E[\epsilon \mid z_t, z_{LQ}, k].$$
# **The blind expert is itself a mix of the four experts**, with weights that are never negative,
# sum to one, and are set by how plausible each task is for this photo *under the training
# mixture*. On a photo with two flaws no single $k$ is right, and BR still hedges between single
# flaws. Eq. 2 takes the same sum and frees its weights. That is the idea of the paper in one
# line.

# %%
many = 20_000
no_image = ~np.asarray(jax.random.bernoulli(k_image, 1 - config.drop_image, (many,)))
no_text = np.asarray(jax.random.bernoulli(k_text, config.drop_text, (many,)))
share = pd.crosstab(no_image, no_text, normalize=True)
share.index, share.columns = ["image kept", "image dropped"], ["text kept", "text dropped"]
p = np.outer([1 - config.drop_image, config.drop_image], [1 - config.drop_text, config.drop_text])
assert np.allclose(share, p, atol=0.015)
share.round(3)

# %% [markdown]
# **Words.** One prompt in a hundred is replaced by praise ("photorealistic, clean, ..."), and one in a hundred by
# blame ("oil painting, blur, ...") *with the pair turned round*: from sharp to flawed. So the network learns what
# to move away from, and notebook 80 subtracts it (A.7 of the paper).
#
# **The sampler's own times.** A sampler of few steps only ever asks at a few times, the first of them pure noise. A
# part of the draws (`sampler_share`) goes to the times of a sampler of a few steps (four for the base, for the
# fine-tuning the three that the profile takes); the rest stays uniform, so that any number of steps works.
# **Weights of the tasks** (`task_weights`): heavy flaws leave large errors, whose gradients drown those of light ones. A task with its
# prompt keeps its own optimum: the weight only says whose turn it is. Without a prompt it is otherwise. The blind expert's
# optimum is the mean over the tasks *as weighted*, $p_k w_k$: the demo's weights lend noise .43 of it in place of .22, so
# its BR leans towards denoising. The shares, counted on the same keys as `ldm_loss` draws them:

# %%
words = np.asarray(jax.random.uniform(k_words, (many,)))
own_times = schedule.grid(config.train.sampler_steps, config.sample.spacing)
at_own = np.asarray(jax.random.bernoulli(jax.random.split(k_own)[0], config.train.sampler_share, (many,)))
counted = {"positive": words < config.words, "negative": words > 1 - config.words, "own times": at_own}
wanted = {"positive": config.words, "negative": config.words, "own times": config.train.sampler_share}
print("the favoured times are t =", own_times.tolist())
assert all(abs(counted[name].mean() - wanted[name]) < 0.02 for name in wanted)
pd.DataFrame({"counted": {name: c.mean() for name, c in counted.items()}, "wanted": wanted})

# %% [markdown]
# A toy that fits in one number shows the hedge. Task A hides $x = 2y$, task B hides $x = y/2$,
# and A comes up with probability 0.6. Told the task, a linear regression finds 2 and 1/2. Not
# told, it finds the average $0.6 \cdot 2 + 0.4 \cdot 0.5$, right for neither.

# %%
rng = np.random.default_rng(seed)
y, is_a = rng.standard_normal(100_000), rng.random(100_000) < 0.6
x = np.where(is_a, 2 * y, y / 2)
slope = {
    "told A": (x * y)[is_a].sum() / (y * y)[is_a].sum(),
    "told B": (x * y)[~is_a].sum() / (y * y)[~is_a].sum(),
    "blind": (x * y).sum() / (y * y).sum(),
}
print({name: round(float(value), 3) for name, value in slope.items()})
assert np.isclose(slope["told A"], 2) and np.isclose(slope["told B"], 0.5)
assert abs(slope["blind"] - (0.6 * 2 + 0.4 * 0.5)) < 0.03

# %% [markdown]
# ## 5. Decoded answers: what an eye would price
# Eq. 1 prices an answer by its squared error, place by place. Gravel two pixels to the left is almost all wrong by that
# price, and its blur, which an eye rejects at once, is cheaper. A sampler of fifty steps can live with that: the mean
# that the first steps give is a blur, and the later ones decide. With three steps there is little time to decide, and
# what the first answer lacks stays lacking.
#
# So the fine-tuning of the small model also *looks*. For a part of each batch the answer is turned into
# $\hat z_0 = \alpha_t z_t - \sigma_t \hat v$, decoded, and held against the decoded $z_0$ by **LPIPS**: the distance of
# the features that a network for photos, VGG16, finds in the two,
# $$\mathcal L' = \mathcal L + \lambda\, \mathbb E\, d\big(D(\hat z_0), D(z_0)\big).$$
# The gradient runs back through VGG16 and the frozen decoder. There is a price: where $d$ pulls, the best answer is no
# longer the conditional mean of Eq. 1 but something sharper, and PSNR falls a little. The judge of the tables is LPIPS
# by *another* network (AlexNet), and PSNR stands beside it. The paper has no such term; a model of its size, asked
# fifty times, needs none.
#
# Left to right: gravel, the same gravel moved, and blurred. The cell prices both answers by both judges.

# %%
whole = read_photo(folder / "gravel.png")[:100, :100]
looks = {"sharp": whole, "moved": np.roll(whole, 2, 1), "blurred": skimage.filters.gaussian(whole, 1.5, channel_axis=-1)}
looks = {name: one[2:-2, 2:-2] for name, one in looks.items()}
vgg16, sharp = loss.vgg16(), looks["sharp"]
prices = pd.DataFrame({
    "squared error": {n: np.mean((one - sharp) ** 2) for n, one in looks.items()},
    "LPIPS (VGG16)": {n: loss.perceptual_distance(vgg16, one[None], sharp[None])[0] for n, one in looks.items()},
}, dtype=float)
figure = show_photos([list(looks.values())], list(looks), zoom=1.4)
save_figure(figure, run_dir, "30_decoded_answers.jpg")
assert prices["squared error"].idxmax() == "moved" and prices["LPIPS (VGG16)"].idxmax() == "blurred"
prices.round(4)

# %% [markdown]
# ## 6. The optimiser's small print
# The learning rate climbs linearly (**warm-up**: the optimiser's first estimates are poor) and then falls along a
# cosine; gradients are clipped. The paper prints a rate and a batch size and nothing more, so the rest is our choice.
# At the paper's size that is AdamW. The small networks' hidden kernels are moved by **Muon**: the
# averaged gradient of a kernel, seen as a matrix $U \Sigma V^\top$, is replaced by $U V^\top$ (a few matrix products
# come near it), so that all its directions move equally far, not only the few that dominate. All else is
# left to AdamW, and the sizes of both updates are made alike. The profiles side by side (`perceptual` is $\lambda$):

# %%
sizes = {"demo_base": CONTROLS["demo_base"]} | PROFILES
settings = pd.DataFrame({name: dataclasses.asdict(one.train) for name, one in sizes.items()})
for fact, told in {"stages": "{s.steps} x ({s.batch} crops of {s.crop})", "perceptual": "{s.perceptual:g}"}.items():
    settings.loc[fact] = [", ".join(told.format(s=s) for s in one.train.stages) for one in sizes.values()]
print(config.schedule, "\n", config.unet, "\n", config.text, sep="")
settings

# %% [markdown]
# **EMA.** What is shipped is not the last state of the weights but their exponential moving
# average, $\bar\theta \leftarrow d\,\bar\theta + (1-d)\,\theta$. Steps with a noisy gradient
# scatter around the minimum, and the average of scattered points lies nearer to it than the last
# one. With $d = 0.999$ the average remembers about 1000 steps, which is bad at the start: after
# 60 steps it would still be mostly the random initial weights. Hence $d_s = \min(d,
# (1+s)/(10+s))$. The weight that the initial value has after $n$ such steps is the product of the
# $d_s$; for the ramp alone it telescopes to $n!\,9!/(n+9)!$. On the ramp the average remembers about the
# last ninth of all steps so far, and a training as short as ours never leaves it: $d$ is for longer ones.

# %%
steps = 60
ramp = (1 + np.arange(steps)) / (10 + np.arange(steps))
left = np.prod(np.minimum(base.train.ema, ramp))
closed = np.exp(sum(np.log(i) for i in range(1, 10)) - sum(np.log(steps + i) for i in range(1, 10)))
without = base.train.ema**steps
print(f"share of the initial weights after {steps} steps: {left:.1e}; without the ramp {without:.2f}")
d = base.train.ema
print(f"the ramp reaches d = {d:g} at step {(10 * d - 1) / (1 - d):,.0f}; the base's training ends at {base.train.steps:,}")
assert np.isclose(left, closed)

# %% [markdown]
# ## 7. A short real training
# The base's own first stage, shortened. Same network, same loss, same batch, same shipped
# autoencoder; only the number of steps, the warm-up (a quarter of them), the rate's fall at the end (left out here) and
# the photos differ. It is a `dataclasses.replace` away, because every setting is data.

# %%
lesson_steps = config.evaluation.lesson_steps
lesson = dataclasses.replace(
    config,
    train=dataclasses.replace(
        base.train,
        stages=(dataclasses.replace(stage, steps=lesson_steps),),
        warmup=max(1, lesson_steps // 4),
        decay=False,
    ),
)
rates = [float(train.rate(lesson.train)(s)) for s in range(lesson_steps + 1)]
assert rates[0] == 0 and np.isclose(max(rates), base.train.learning_rate)
print(lesson.train)

# %% [markdown]
# While it runs: `fit` writes one line a step into `loss.jsonl` and a checkpoint now and then. The folder's name ends in
# a hash of the settings, so that another lesson does not continue from this one. It starts near 1, with the flawed
# photo as the answer. Expect no more than first signs of learning; the total may even rise, because so few batches
# differ in their tasks.

# %%
out = Path(run_dir) / "lesson_training" / f"{profile}-{seed}-{hashlib.sha256(repr(lesson).encode()).hexdigest()[:8]}"
learned = train.train_ldm(lesson, shipped.vae, photos, out, seed)
lines = (out / "ldm" / "loss.jsonl").read_text().splitlines()
live = pd.DataFrame([json.loads(line) for line in lines])
assert list(live["step"]) == list(range(lesson_steps)) and np.isfinite(live["loss"]).all()
median, device = live["seconds"].median(), jax.devices()[0].device_kind
print(f"{lesson_steps} steps, the median one took {median:.3f} s on {device}")

# %% [markdown]
# ## 8. The curve, beside the shipped ones
# `results/training/demo_base_ldm_loss.jsonl` and `demo_ldm_loss.jsonl` are the committed records of the two trainings
# of the demo model: the loss at every step, in total and for each task. They are not made by this notebook,
# and are the same in every profile. Your curve stands on other photos, and under `smoke`
# it is another, tiny network in the latents of a random autoencoder: there compare shapes, not
# heights. The fine-tuning's curve begins where the base's ends, yet not at its height: it asks at the times of three
# steps in place of four, and the term of section 5 (left out of the tasks' curves) pulls as well.
#
# How to read it. (1) The steps are on a logarithmic axis: diffusion losses fall fast and then very slowly.
# (2) The curve never reaches 0 and must not: $\mathbb E[v \mid \dots]$ leaves the scatter of the
# sharp latents that fit the same input. (3) The tasks differ in height because some flaws hide
# more than others, and because the start is measured over all tasks: a heavy flaw lies further from it, and may
# begin above 1. (4) Visible improvement of samples goes on long after the curve looks flat.

# %%
def curve(axes, log, name, label, **look):
    smooth = log.dropna(subset=[name]).set_index("step")[name]
    smooth = smooth.rolling(min(len(smooth), max(10, len(smooth) // 30)), min_periods=1).mean()
    axes.plot(smooth.index + 1, smooth, label=label, **look)


logs, at = {f"lesson ({profile})": live}, 0
for name in ("demo_base", "demo"):
    record = Path(f"results/training/{name}_ldm_loss.jsonl")
    if record.is_file():
        logs[name] = pd.DataFrame([json.loads(line) for line in record.read_text().splitlines()])
        logs[name]["step"] += at
        at = logs[name]["step"].iloc[-1] + 1
    else:
        print(f"not run: the shipped model's curve, because {record} is not there")

# %%
figure, grid = plt.subplots(1, 4, figsize=(9.2, 2.7), sharey=True, layout="constrained")
for axes, task in zip(grid, TASKS, strict=True):
    for (name, log), color in zip(logs.items(), ("C1", "C0", "C2"), strict=False):
        curve(axes, log, task.name, name, color=color)
    axes.axhline(1, color="0.5", lw=0.8, ls="--")
    axes.set(xscale="log", ylim=(0, 2), title=f"{task.name}: {task.prompt}", xlabel="step")
    axes.tick_params(which="minor", labelbottom=False)
grid[0].set_ylabel("loss; 1: the LQ, over all tasks")
grid[0].legend(fontsize=8)
save_figure(figure, run_dir, "30_loss.png")
plt.show()

# %%
few = max(1, min(10, lesson_steps // 2))
ends = {}
for name, log in logs.items():
    ends[f"{name}, first {few} lines"] = log.head(few)
    ends[f"{name}, last {few} lines"] = log.tail(few)
pd.DataFrame({name: part[["loss", *table.index]].mean() for name, part in ends.items()}).T.round(4)

# %% [markdown]
# ## 9. The story of a checkpoint
# Weights without their story are worth little. Beside every `.safetensors` file lies a JSON file:
# which photos (one hash over the hashes of all files), how many steps, which device, how long,
# the final losses, the commit, what it started from, and the hash of the weights themselves, which is checked at every
# load. The shipped one:

# %%
path = WEIGHTS / "demo.json"
if path.is_file():
    told = json.loads(path.read_text())
    long = ("config", "train_vae", "train_ldm", "outcome_vae", "outcome_ldm")
    print(json.dumps({k: v for k, v in told.items() if k not in long}, indent=1))
    print("outcome_ldm:", json.dumps(told["outcome_ldm"]))
else:
    print(f"not run: the shipped checkpoint's story, because {path.name} is not there")
print("this profile's weights:", story.get("sha256"), "| photos:", story.get("photos"))

# %% [markdown]
# ## 10. A training that may be killed
# Long trainings die: the power, the scheduler, the disk. A training that continues *almost* as
# before cannot be compared with anything. Here the state after step $s$ is a function of the seed
# and $s$ alone:
# * the batch of step $s$ is drawn by a generator seeded with (seed, $s$), never by one that
#   remembers;
# * the noise key of step $s$ is `fold_in(key(seed), s)`;
# * a checkpoint holds weights, EMA and the optimiser's moments, all in float32; the loss log is cut
#   back to its step.
#
# So a killed run repeats the steps since its last checkpoint and arrives at the same losses
# (`tests/test_train.py` kills one to see). Below: four steps drawn twice, the second time
# backwards; a feed that starts at step 2; and a second call of the training, which finds itself
# finished and gives back the same weights.

# %%
def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


forwards = {step: pair_batch(photos, stage, seed, step) for step in range(4)}
assert all(same(pair_batch(photos, stage, seed, step), forwards[step]) for step in reversed(range(4)))
assert not same(forwards[0], forwards[1])
from_2 = list(itertools.islice(batches(pair_batch, photos, lesson.train, seed, start=lesson_steps - 2), 2))
assert same(from_2[1], pair_batch(photos, stage, seed, lesson_steps - 1))
keys = [jax.random.key_data(jax.random.fold_in(jax.random.key(seed), step)) for step in (2, 2, 3)]
assert np.array_equal(keys[0], keys[1]) and not np.array_equal(keys[0], keys[2])

# %%
again = train.train_ldm(lesson, shipped.vae, photos, out, seed)
mine, theirs = take_apart(learned)[0], take_apart(again)[0]
assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
assert (out / "ldm" / "loss.jsonl").read_text().splitlines() == lines
frozen = take_apart(shipped)[0]
assert all(np.array_equal(frozen[name], mine[name]) for name in mine if name.startswith("vae."))

# %% [markdown]
# ## 11. What did it learn?
# One held-out crop, restored by the lesson's network and by the profile's shipped one: same autoencoder, same noise,
# same prompt. Expect the lesson's answer to be the flawed photo with grain on it: the start says "$z_{LQ}$, give or
# take $s_c$", the sampler draws from that, and so young a network cannot say more. The distance to the shipped model is
# what the remaining steps and photos buy: look at the grain and the edges, for PSNR even prefers the lesson. (Under `smoke` both are noise:
# the shipped weights are random there.)

# %%
item = evaluation_set(config.evaluation.sets[0], config)[0]
answers = {"flawed (LQ)": item.y}
for name, one in {f"lesson, {lesson_steps} steps": learned, "shipped": shipped}.items():
    answers[name] = Restorer(one, config)(item.y, {item.set: 1.0}, seed=seed)
    print(f"{name:18} PSNR {measure('psnr', answers[name], item.x):.2f} dB")
    assert answers[name].shape == item.x.shape and 0 <= answers[name].min() <= answers[name].max() <= 1
answers["sharp"] = item.x
figure = show_photos([list(answers.values())], list(answers), zoom=154 / config.evaluation.crop)
save_figure(figure, run_dir, "30_learned.jpg")
plt.show()

# %% [markdown]
# ## 12. The same training at the paper's size
# The profile `paper` is the same loss and the same loop (`unires/fit.py`) with other numbers, and it does not begin with
# random weights: it **fine-tunes** the public text-to-image model (converted in notebook 25), UNet and text tower whole,
# the autoencoder kept. `--start CHECKPOINT` does the same with any other, as the shipped one on photos of your own.
# What changes besides is where things lie.
# * **Half precision.** As in the small model's fine-tuning, the networks compute in bfloat16; parameters, their average and Adam's two moments stay
#   float32. Those four are the *state*: sixteen bytes a trained number, whatever the batch.
# * **Micro-batches** (`accumulate`). The gradient of a batch is the mean of the gradients of its parts, so the parts go
#   one after the other. Each row keeps its own noise: the loss is that of the whole batch.
# * **Gradient checkpointing** (`remat`). The way back needs what the way there computed. Of every block only the input
#   is kept, and the inside is computed once more.
# * **A mesh of devices.** The axis `data` splits the batch; the axis `fsdp` splits the batch *and* the state, and each
#   device gathers the weights it needs. Several hosts run the same command, each with its `--process` number.
# * **Kept latents** (`--latents N`). The autoencoder is frozen, so N batches may be encoded once and trained on again
#   and again. Noise and times stay fresh; flaws and crops repeat, so this trades variety for speed.
#
# Checkpoints are written while training goes on, and a run may continue on another number of devices. The commands, and
# then the memory of one step on each device as the *compiler* tells it (no array is made). It is the CPU's compiler, on
# simulated devices: the state is exact; the rest is an estimate, rather too high, for it has no fused attention and
# computes bfloat16 in float32. Where the total exceeds the device, more micro-batches bring the work down, as long as
# a device has more than one row; after that, smaller crops or a larger `fsdp` axis.

# %%
command = "python -m unires train --profile paper --sources FILE.json --out SHARED_FOLDER"
print(command, "--accumulate 64")
print(command, "--mesh fsdp=8")
print(command, "--mesh data=4,fsdp=8 --coordinator HOST:PORT --processes 4 --process 0  # .. 3")
told = Path("results/paper/memory.json")
memory = json.loads(told.read_text()) if told.is_file() else {"rows": []}
rows = pd.DataFrame(memory["rows"], columns=["machine", "accumulate", "rows_on_a_device", "state", "work", "total"])
rows[["state", "work", "total"]] /= 1e9
assert (rows["state"] <= rows["total"]).all()
missing = {"1 x 80 GB", "8 x 80 GB", "32 x 16 GB"} - set(rows["machine"])
for machine in sorted(missing):
    print(f"not run: {machine}: python -m benchmarks.memory --machine '{machine}'")
print({name: fact for name, fact in memory.items() if name != "rows"})
rows.rename(columns={name: f"{name} (GB)" for name in ("state", "work", "total")}).round(1)

# %% [markdown]
# ## What to try
# 1. Set `drop_text=0` in the lesson's config. Which expert loses its training, and what does BR
#    answer then? Compare `Restorer(...)(item.y, {"BR": 1})` of both lessons.
# 2. Train the lesson with `from_lq=False` in the UNet's config. How many steps does it take until its answer is as
#    good as the flawed photo itself?
# 3. Train on one task only: `tasks=("MD",)` beside `decay` in the lesson's config. Does that
#    task's curve fall faster, for the same number of *its own* tuples?
# 4. Kill the kernel in the middle of section 7 with a small `save_every`, run again and compare
#    `loss.jsonl` with that of an unbroken run: `diff` should only find `seconds` and `images_per_second`.
