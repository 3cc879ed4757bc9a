# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 20 Latents
#
# **Question.** The model never sees a pixel: it works on *latents*. What are they, what do they save, and what do
# they cost in quality?
#
# **In:** held-out sharp crops, the profile's autoencoder, the measurements of the autoencoders that were tried.
# **Out:** reconstructions and their error (rows of the method `autoencoder`: the ceiling of everything that
# follows), a look at single channels, the reading of the choice, and latents at every noise level.
#
# **Minutes:** smoke under 1 | demo under 1. In smoke the weights are random: there, only shapes and identities mean
# anything, and the pictures show it.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"

# %%
import os
from pathlib import Path

if Path.cwd().name == "notebooks":  # Jupyter starts there; everything below is named from the project's root
    os.chdir("..")

import dataclasses
import inspect

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

import unires.config
import unires.profiles
from benchmarks.evaluate import Evaluation, frame, mean_table
from benchmarks.figures import label_points, save_figure, show_photos

# %%
# %config InlineBackend.figure_formats = ["jpeg"]
sns.set_theme(style="whitegrid", font_scale=0.85)
evaluation = Evaluation.start(run_dir, profile, seed)
restorer = evaluation.restorer
first_set = next(iter(evaluation.sets.values()))
crops = [item.x for item in first_set]

# %% [markdown]
# ## Why not pixels?
#
# A diffusion model calls its network once a step, many steps a photo. In pixels, most of that work goes into grain
# that no one will look at. So the work is split: an **autoencoder** turns the photo into a small stack of feature
# maps, the **latent** $z = E(x)$, and back, $x \approx D(z)$. It deals with fine texture. Diffusion happens on the
# latent and deals with content.
#
# What is saved? An encoder of factor $f$ divides the number of positions by $f^2$. Convolutions cost in proportion
# to positions, and self-attention compares every position with every other, so it costs their square:

# %%
side = 256
cost = pd.DataFrame({"factor": [1, 2, 4, 8]})
cost["positions"] = (side // cost["factor"]) ** 2
cost["convolutions, relative"] = cost["positions"] / side**2
cost["attention, relative"] = cost["convolutions, relative"] ** 2
assert cost["positions"].iloc[2] * 16 == side**2
cost

# %% [markdown]
# ## The KL autoencoder
#
# The encoder gives two numbers for every latent value: a mean $\mu$ and a variance $\sigma^2$. In training, the decoder
# is handed a random draw $z = \mu + \sigma\,\xi$ and must still rebuild the photo. Our loss:
#
# $$\underbrace{|\hat x - x|_1}_{\text{pixels}} + \underbrace{|\nabla\hat x - \nabla x|_1}_{\text{edges}} +
# \beta\,\underbrace{\tfrac12\left(\mu^2 + \sigma^2 - 1 - \log\sigma^2\right)}_{\text{KL to a standard normal}}$$
#
# The **KL term** pulls the latents towards one common cloud around zero. Without it the encoder could put every
# photo on an island of its own, and a diffusion model would have to hit islands. Its weight $\beta$ is tiny: enough
# to keep order, too little to blur. After training only $\mu$ is used. The same lines in code:

# %%
from unires.loss import vae_loss

print(inspect.getsource(vae_loss))

# %% [markdown]
# ## A linear start
#
# Small patches of natural photos are mostly smooth, so even a *linear* autoencoder is a fair one: write each patch
# as a sum of a few fixed patterns, keep the weights. The best patterns are found by principal component analysis,
# and for natural photos they look like **cosine waves**, in brightness first and in colour later (JPEG builds on the
# same fact). The small model's encoder and decoder each have such a path beside their convolutions; training starts
# from a blurry but correct picture, and the convolutions learn what is missing. These are the patterns, one a
# channel, of this profile's factor:

# %%
from unires.models.vae import patch_basis

vae = restorer.config.vae
basis = patch_basis(vae.factor, vae.latent_channels)
assert np.allclose(basis.T @ basis, np.eye(vae.latent_channels), atol=1e-6)  # orthonormal: nothing said twice
patterns = [p.reshape(vae.factor, vae.factor, 3) / (2 * np.abs(p).max()) + 0.5 for p in basis.T]
show_photos([patterns], [str(n) for n in range(len(patterns))], zoom=64 / vae.factor);

# %% [markdown]
# ## There and back
#
# Shapes first. The latent of a photo $[h\ w\ 3]$ is $[h/f\ w/f\ c]$; both sides must be multiples of $f$.

# %%
x = crops[0]
z = restorer.encode(x)
x_hat = restorer.decode(z)
h, w = x.shape[:2]
print(f"photo {x.shape} has {x.size:,} numbers, latent {z.shape[1:]} has {z.size:,}")
assert z.shape == (1, h // vae.factor, w // vae.factor, vae.latent_channels)
assert x_hat.shape == x.shape and np.isfinite(x_hat).all()
assert np.array_equal(restorer.encode(x), z)  # the mean, not a draw: no chance is involved

# %% [markdown]
# Now what comes back. On the right the error, five times enlarged; black means none. Expect it where texture is
# finest: lettering, twigs, fur. Flat areas should be black. Where the error is itself coloured, colour was lost: it is
# kept more coarsely than brightness, in the small model as in our eyes.

# %%
rebuilt = [np.clip(restorer.decode(restorer.encode(photo)), 0, 1) for photo in crops]
grid = [[photo, again, 5 * np.abs(again - photo)] for photo, again in zip(crops[:3], rebuilt[:3], strict=False)]
figure = show_photos(grid, ["original", "decode(encode(x))", "error x 5"], zoom=160 / h)
save_figure(figure, run_dir, "20_reconstruction.jpg");

# %% [markdown]
# ## What a channel holds
#
# Each channel of the latent is a small grey picture. Some still look like the photo in miniature (brightness, a
# colour difference), others show only edges of one direction: the finer cosine waves. Grey is zero, and each
# channel is stretched to a contrast of its own.

# %%
maps = np.moveaxis(np.asarray(z[0]), -1, 0)
gallery = [np.repeat((one / (6 * one.std() + 1e-6) + 0.5)[..., None], 3, axis=-1) for one in maps]
per_row = min(6, len(gallery))
rows_of = [gallery[i : i + per_row] for i in range(0, len(gallery), per_row)]
figure = show_photos(rows_of, [""] * per_row, zoom=112 / maps.shape[1])
save_figure(figure, run_dir, "20_channels.jpg");

# %% [markdown]
# A diffusion model adds noise of variance 1 to the latents. That only makes sense if the latents themselves are of
# that size: were they ten times smaller, the first pinch of noise would bury them. The public large model multiplies
# its latents by one constant. Ours shifts each channel to mean zero and divides it by the square root of its spread
# (scaled so that the average variance is 1), both measured once after training. So a strong channel stays stronger
# than a weak one: sampling settles coarse brightness first, when the noise is still high, and detail later.

# %%
latents = np.concatenate([np.asarray(restorer.encode(photo)) for photo in crops])
channels = pd.DataFrame({"mean": latents.mean((0, 1, 2)), "deviation": latents.std((0, 1, 2))})
channels.index.name = "channel"
print(f"average variance over the channels {latents.var((0, 1, 2)).mean():.2f} on held-out crops")
assert len(channels) == vae.latent_channels and np.isfinite(latents).all()
channels.T.round(2)

# %% [markdown]
# ## The ceiling
#
# Whatever the diffusion model does, its last act is $D(z)$. If it found the sharp photo's latent *exactly*, the
# result would still be $D(E(x))$ and no better. So this reconstruction is measured like a method of its own, on
# the sharp photos (set `HQ`), and later tables are to be read against it.

# %%
from unires.record import write_rows

sharp = [dataclasses.replace(item, set="HQ") for item in first_set]
rows = []
for item, again in zip(sharp, rebuilt, strict=True):
    rows += evaluation.measure(item, "autoencoder", again)
write_rows(run_dir, "20_latents", rows)
assert {row["image"] for row in rows} == {item.image for item in first_set}
mean_table(rows).round(3)

# %% [markdown]
# The ceiling has a consequence that surprises: a photo with a *slight* flaw can be nearer to the sharp one than the
# autoencoder's reconstruction. Restoring it then loses PSNR, even if every step of the diffusion is perfect. How
# often does that happen in the test sets?

# %%
from unires.metrics import measure

best = frame(rows).query("metric == 'psnr'").set_index("image")["value"]
lq = pd.DataFrame(
    {name: {item.image: measure("psnr", item.y, item.x) for item in items} for name, items in evaluation.sets.items()}
)
above = lq.gt(best, axis=0).sum()
summary = pd.DataFrame({"PSNR of LQ (dB)": lq.mean(), "ceiling (dB)": best.mean(), "photos above the ceiling": above})
summary.round(2)

# %% [markdown]
# The sets are flawed enough. But a photo that is nearly fine? Here is the mildest noise that exists in training:

# %%
from unires.degrade import degrade

mild, _ = degrade("DN", x, np.random.default_rng(seed), severity=0.0)
print(f"LQ {measure('psnr', mild, x):.1f} dB, ceiling {best.iloc[0]:.1f} dB")

# %% [markdown]
# ## Which autoencoder?
#
# Two dials: the factor $f$ (how small the latent is) and the number of channels $c$ (how much each position may
# hold). A small $f$ keeps detail, and every UNet call becomes dearer. More channels keep detail at hardly any cost
# in time, but the diffusion model must then predict more numbers, among them ones that are close to noise. So we
# did not guess: `python -m benchmarks.autoencoder_trials --photos DIR` trained each candidate for the same number
# of steps and wrote down quality on held-out crops and the seconds that one restored photo costs.

# %%
from benchmarks import autoencoder_trials

every = pd.read_json(autoencoder_trials.OUT, lines=True).set_index("candidate", drop=False)
for metric in ("psnr", "lpips"):
    assert every[metric].map(len).nunique() == 1  # the same crops for everyone
    every[metric] = every[metric].map(np.mean)
assert every["steps"].nunique() == 1 and every["photos"].nunique() == 1
trials = every.loc[list(autoencoder_trials.NETWORKS)]
figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.3), layout="constrained")
for axis, metric, label in zip(axes, ("psnr", "lpips"), ("PSNR (dB), higher is better", "LPIPS, lower is better"), strict=True):
    sns.scatterplot(trials, x="seconds_per_photo", y=metric, hue="factor", palette="deep", s=60, ax=axis, legend=False)
    axis.set(xlabel="seconds a restored photo, 256 px", ylabel=label)
    axis.margins(x=0.2, y=0.12)
axes[1].set_yscale("log")  # the best lie close together
for axis, metric in zip(axes, ("psnr", "lpips"), strict=True):
    label_points(axis, dict(trials.set_index("candidate")[["seconds_per_photo", metric]].T.items()))
save_figure(figure, run_dir, "20_which_autoencoder.png");

# %% [markdown]
# How to read it. A candidate is out of the race if another one *of the same share* (see below) is better and quicker;
# `f8 c64 p4` beats ours in both, at a larger share. Beware of such a winner: the more numbers a latent keeps, the
# better the reconstruction, always. A position stands for $3f^2$ numbers of the photo; an autoencoder with $c = 3f^2$
# channels loses nothing by merely sorting pixels anew, and diffusion on it would be diffusion on pixels again. So the
# honest question is quality at an equal **share** $c / 3f^2$, and how small a share still leaves a ceiling that we can
# live with.
#
# A second trap is the diffusion model that comes after. A convolution learns one filter for all positions. With a
# factor of 4 it sees four times as many positions of the same photos as with 8, and what it learns at one holds at the
# others; with 8, the same blur looks different in each of the 64 numbers of a patch and must be learned for each. On a
# laptop's budget that is our reason for the smaller factor; it is an argument, not measured here.
#
# So the rule: of the candidates that reach 30 dB and LPIPS 0.10 on these textured crops, the one with the smallest share
# of the smallest factor, and of equals the quickest. What reconstruction gains by a larger share, the diffusion model
# has to predict. The quick ones (p4) have no layer at full resolution: their first convolution sees a patch of 4 x 4
# pixels as one position with 48 numbers.

# %%
trials["share"] = trials["channels"] / (3 * trials["factor"] ** 2)
bases = [patch_basis(f, c).reshape(f * f, 3, c) for f, c in zip(trials["factor"], trials["channels"], strict=True)]
trials["colour patterns"] = [int((one.std(1) > 1e-6).any(0).sum()) for one in bases]
trials["good enough"] = (trials["psnr"] >= 30) & (trials["lpips"] <= 0.10)
ranking = trials.sort_values(["good enough", "factor", "share", "seconds_per_photo"], ascending=[False, True, True, True], ignore_index=True)
small = unires.profiles.PROFILES["demo"].vae
own = {"factor": small.factor, "channels": small.latent_channels, "patch": small.patch}
used = (ranking[list(own)] == pd.Series(own)).all(axis=1)
ranking["used"] = np.where(used, "yes", "")
assert used[0], "the small model's autoencoder is not the one that the rule chooses"
shown = ["candidate", "good enough", "share", "colour patterns", "psnr", "lpips", "seconds_per_photo", "used"]
ranking[shown].round(3)

# %% [markdown]
# **And which loss?** The same network, trained as briefly with other terms: without the gradients' term, with an L1 of the
# Fourier transform, with the distance of VGG16's features (LPIPS; the judge of this table asks another network, AlexNet).

# %%
losses = every.loc[[autoencoder_trials.SHIPPED, *autoencoder_trials.LOSSES]]
terms = pd.DataFrame(losses["loss"].tolist(), index=losses.index)
display(terms.join(losses[["psnr", "lpips"]]).round(4))
assert np.ptp(losses["psnr"]) < 1 and (losses["lpips"] < 0.02).all()

# %% [markdown]
# Little depends on it: all four are within a decibel, and their LPIPS lies far below the mean of any flawed set
# in the later tables. A ceiling so high is not what limits the small model, so its loss stayed the plain one. It
# may be otherwise where the share is small (the paper's latents keep one number of 48); that was not tried.
#
# ## Noise on latents
#
# Diffusion needs latents at every noise level between photo and pure noise. Time $t$ runs from 0 to $T-1$ and
#
# $$z_t = \alpha_t\,z_0 + \sigma_t\,\epsilon, \qquad \alpha_t^2 + \sigma_t^2 = 1, \qquad \epsilon \sim N(0, 1).$$
#
# The squares sum to 1, so $z_t$ keeps unit size at every $t$: the network always sees inputs of one scale. Decoded, a
# noisy latent is no photo with grain. Noise on a channel of cosine weights becomes blotches of the patch's size. And
# notice *what* drowns first: fine texture; large shapes and overall brightness last the longest.

# %%
from unires.schedule import Schedule, add_noise

schedule = restorer.schedule
assert np.allclose(schedule.alpha**2 + schedule.sigma**2, 1, atol=1e-6)
last = len(schedule.alpha) - 1
times = np.round(np.linspace(0, last, 6)).astype(int)
shown = crops[:2]
eps = jax.random.normal(jax.random.key(seed), z.shape)
grid = []
for photo in shown:
    z_0 = restorer.encode(photo)
    noisy = [add_noise(z_0, eps, schedule.alpha[[t]], schedule.sigma[[t]]) for t in times]
    grid.append([photo] + [np.clip(restorer.decode(z_t), 0, 1) for z_t in noisy])
figure = show_photos(grid, ["photo"] + [f"t = {t}" for t in times], zoom=120 / h)
save_figure(figure, run_dir, "20_noise_levels.jpg");

# %% [markdown]
# ## Zero terminal SNR
#
# The signal-to-noise ratio is $\alpha_t^2/\sigma_t^2$. In Stable Diffusion's schedule it is small at the last $t$, but not
# zero. That sounds harmless. It is not: a mean over $N$ positions averages the noise down by $\sqrt N$, so the *mean
# brightness* still shines through $z_T$. Training teaches the network to trust it; sampling then starts from pure noise,
# whose mean is always zero, and every result drifts to a medium brightness.
#
# The cure is to shift and stretch $\alpha_t$ so that it ends at exactly 0.

# %%
plain = Schedule.make(unires.config.ScheduleConfig(prediction="v"))
zero = Schedule.make(unires.config.ScheduleConfig(prediction="v", zero_terminal_snr=True))
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.7), layout="constrained")
for name, one in (("as in Stable Diffusion", plain), ("zero terminal SNR", zero)):
    left.plot(one.alpha, label=name)
    right.plot(20 * np.log10(one.alpha[:-1] / one.sigma[:-1]), label=name)
left.set(xlabel="time t", ylabel="signal alpha_t")
right.set(xlabel="time t (the last one left out)", ylabel="signal-to-noise ratio (dB)", ylim=(-60, None))
left.legend()
save_figure(figure, run_dir, "20_schedule.png")
assert zero.alpha[-1] == 0 and plain.alpha[-1] > 0 and np.isclose(zero.alpha[0], plain.alpha[0])

# %% [markdown]
# How far does the mean stick out at the last $t$? In units of the noise's own deviation, for each crop the channel
# that gives most away; everything well above 1 can be read off the "pure" noise.

# %%
positions = latents.shape[1] * latents.shape[2]
means = np.abs(latents.mean((1, 2))).max(-1)
for name, one in (("as in Stable Diffusion", plain), ("zero terminal SNR", zero)):
    leak = one.alpha[-1] * means / (one.sigma[-1] / np.sqrt(positions))
    print(f"{name}: {', '.join(f'{value:.1f}' for value in leak)}")
assert (leak == 0).all()

# %% [markdown]
# There is a price. At $\alpha_T = 0$ the input is nothing but noise, so "which noise is in it?" is answered by copying
# the input: $\epsilon$ prediction learns nothing there, and $z_0 = (z_t - \sigma_t\epsilon)/\alpha_t$ divides by zero.
# The small model therefore predicts $v = \alpha_t\epsilon - \sigma_t z_0$, which at the last $t$ is $-z_0$: exactly the
# question that matters. The paper's model keeps $\epsilon$ and the plain schedule of its public weights; asking for
# both is refused:

# %%
from unires.schedule import target

z_0 = latents[:1]
assert np.allclose(target(z_0, eps, zero.alpha[[-1]], zero.sigma[[-1]], "v"), -z_0)
try:
    Schedule.make(unires.config.ScheduleConfig(prediction="eps", zero_terminal_snr=True))
except ValueError as error:
    refusal = str(error)
print(refusal)
assert "zero terminal SNR needs v prediction" in refusal

# %% [markdown]
# ## What to try
#
# 1. Set one channel of `z` to zero and decode. Which channels change the whole photo, which only its texture? Order
#    them by the PSNR that they cost.
# 2. Decode `(z_a + z_b) / 2` for two crops. Why is that not a blend of two photos, and what does the KL term have to
#    do with it?
# 3. Fit principal components to 4 x 4 patches of the crops and compare them with `patch_basis`. Where do they differ?
# 4. Compute the ceiling for a photo that was shrunk by 2 before encoding. Is the autoencoder better or worse there,
#    and what does this say about photos at other scales than the training crops?
