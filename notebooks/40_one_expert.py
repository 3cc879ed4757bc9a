# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 40 One expert restores one photo
#
# **Question.** How does a network that can only guess noise turn a flawed photo into a sharp one,
# and how good is each of the six experts alone, on each kind of flaw?
#
# **In:** the evaluation pairs (notebook 10), the trained model (notebook 30). **Out:** every step
# from pure noise $z_T$ to the restored photo $\hat x$ (`x_hat`), and rows for all six experts on
# every pair: the baseline that the compositions of the next notebooks have to beat.
#
# **Minutes:** smoke under 1 | demo about 4.

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
import inspect

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from benchmarks.evaluate import EXPERT_METHODS, Evaluation, frame, mean_table
from benchmarks.figures import save_figure, show_photos
from unires import sample
from unires.colour import adain
from unires.compose import down_lq
from unires.data import held_out_paths

# %%
from unires.degrade import degrade
from unires.metrics import METRICS, measure
from unires.photo import read_photo
from unires.record import read_rows, write_rows
from unires.restore import feather, restorer_of, starts
from unires.tasks import EXPERTS, weights_vector

sns.set_theme(style="white", context="paper", font_scale=1.1)
evaluation = Evaluation.start(run_dir, profile, seed)
config, restorer = evaluation.config, evaluation.restorer
item = evaluation.sets["complex"][0]
weights = {"SR": 1.0}
print(f"{item.image}, flawed by {item.recipe.tasks}")
print(f"{len(evaluation.items)} pairs in {len(evaluation.sets)} sets")

# %% [markdown]
# ## 1. From noise to a photo: DDIM
# Training (notebook 30) gave a function that looks at a noisy latent $z_t$, the flawed photo's
# latent $z_{LQ}$ and a prompt $s$, and estimates the noise in $z_t$. Sampling runs this
# backwards. Suppose that we stand at time $t$, with
# $$z_t = \alpha_t z_0 + \sigma_t \epsilon .$$
# The prediction $\hat\epsilon$ implies an estimate of the clean latent, by solving for $z_0$:
# $$\hat z_0 = \frac{z_t - \sigma_t \hat\epsilon}{\alpha_t}.$$
# DDPM would now draw the next latent at random from the posterior $q(z_{t-1} \mid z_t, \hat z_0)$
# and needs its hundreds of small steps. DDIM asks for less: the next latent, at *any* earlier
# time $s < t$, only has to look as if it had been made from $\hat z_0$ by adding noise. Song et
# al. (2021) show that there is a whole family of such reverse processes with the same marginals
# $q(z_t \mid z_0)$, hence the same training loss, hence the same network. They differ in how much
# of the noise is drawn afresh. The member that draws none at all keeps the noise that it has just
# estimated:
# $$z_s = \alpha_s \hat z_0 + \sigma_s \hat\epsilon . \tag{DDIM}$$
#
# Three consequences. (1) The path from $z_T$ to $z_0$ is **deterministic**: the seed chooses
# $z_T$ and nothing else. (2) Steps can be **large**, for the formula does not need $s = t - 1$.
# (3) At the end $\alpha_s = 1$ and $\sigma_s = 0$, so the result *is* the last estimate $\hat
# z_0$.
#
# **The same thing seen as an ODE.** Divide the two formulas by their $\alpha$ and write $\bar z =
# z/\alpha$ and $\rho = \sigma/\alpha$ (noise per signal). DDIM becomes
# $$\bar z_s = \bar z_t + (\rho_s - \rho_t)\,\hat\epsilon,$$
# which is Euler's method for $\mathrm d \bar z / \mathrm d \rho = \hat\epsilon(\bar z, \rho)$.
# Euler's error comes from the curvature of the path: if $\hat\epsilon$ were constant along it,
# one step would do. It is nearly constant where the condition $z_{LQ}$ determines the photo and
# bends where the network has to decide between several photos. That is why restoration needs far
# fewer steps than the generation of photos from text. (Where $\alpha_T = 0$, $\rho$ is infinite:
# the formula is for understanding; the sampler uses the one above it.)
#
# The library's sampler is these lines. `split_prediction` turns the network's output (eps or v)
# into the pair $(\hat z_0, \hat\epsilon)$; `lax.scan` makes the loop one compiled program.

# %%
print(inspect.getsource(sample.ddim))

# %% [markdown]
# A test that needs no trained network: an **oracle** that knows $z_0$ and answers with the exact
# prediction. DDIM must then land on $z_0$ from any noise, whether in 1 step or in 7. (Its answer
# under v is $v = (\alpha_t z_t - z_0)/\sigma_t$: solve $z_t = \alpha_t z_0 + \sigma_t \epsilon$
# for $\epsilon$ and put it into $v = \alpha_t\epsilon - \sigma_t z_0$.) All errors of a real
# sampler come from a real network's estimates and from moving along them in steps that are too
# large.

# %%
z_T = restorer.noise(*item.y.shape[:2], seed)
z_0 = restorer.encode(item.x)


def oracle(z_t, t):
    a, s = jnp.asarray(restorer.schedule.alpha)[t], jnp.asarray(restorer.schedule.sigma)[t]
    return (a * z_t - z_0) / s if config.schedule.prediction == "v" else (z_t - a * z_0) / s


for steps in (1, 7):
    landed, _ = sample.ddim(oracle, z_T, restorer.schedule, steps, config.sample.spacing)
    assert np.allclose(landed, z_0, atol=1e-2), "the oracle's sampler must arrive"
print("latent", z_0.shape, "for a photo", item.x.shape)

# %% [markdown]
# ## 2. Which times?
# With few steps it matters where they lie. **Leading** (Stable Diffusion's habit) takes every
# $T/n$-th time starting near 0, and so its first step is *not* at $T$: the sampler begins with
# pure noise, but tells the network that a bit of photo is already in it. Brightness suffers most,
# since the mean of a photo is the last thing that noise hides. **Trailing** counts back from the
# end and starts at the noisiest time. Together with a schedule whose last $\alpha$ is exactly 0
# (zero terminal signal-to-noise ratio) the start of sampling is what training has seen at $T$.
# Both grids have the same number of network calls; the plot shows what they spend them on.

# %%
schedule, n = restorer.schedule, 8
grids = {spacing: schedule.grid(n, spacing) for spacing in ("trailing", "leading")}
figure, axes = plt.subplots(figsize=(5.6, 2.6))
axes.plot(schedule.alpha, color="0.5", lw=1, label="alpha_t: share of the photo")
for (spacing, times), mark in zip(grids.items(), "ov", strict=True):
    axes.plot(times, schedule.alpha[times], mark, label=f"{spacing}, {n} steps")
axes.set(xlabel="time t", ylabel="alpha_t")
axes.legend()
save_figure(figure, run_dir, "40_time_grids.png")
assert grids["trailing"][0] == config.schedule.steps - 1 and grids["trailing"][-1] > 0
assert grids["leading"][0] < grids["trailing"][0] and len(grids["leading"]) == n
assert all((np.diff(times) < 0).all() for times in grids.values())

# %% [markdown]
# ## 3. The film
# `Restorer.sample` returns the final latent and the estimate $\hat z_0$ after every step;
# decoding each makes a film strip. The first estimate sees nothing in $z_T$ and rests on $z_{LQ}$
# alone: it is near the conditional mean, the safe and soft answer. Each later one has a $z_t$ that
# already commits to some details, and so it may be sharper. The lower row shows how far each
# picture is from the last estimate (brighter: further): coarse shapes are settled first, texture
# last.
#
# Why the mean? Eq. 1 is a squared error, whose best answer is $\hat z_0 = \mathbb E[z_0 \mid z_t, z_{LQ},
# s]$. (The shipped model's fine-tuning also looked at the decoded answers, notebook 30, which makes them somewhat
# sharper than that.) Think of an edge that may lie in either of two places. At $t = T$ both are possible and the
# mean shows a soft ramp. As noise is taken away, $z_t$ drifts a little towards one of the two,
# the expectation follows, and the next step goes further the same way: a small accident of the
# seed is amplified into a decision. The details are plausible, not known.

# %%
w = weights_vector(weights)
z_0_hat, path = restorer.sample(item.y, w, z_T)
film = [restorer.decode(z) for z in path]
assert len(path) == config.sample.steps
assert np.allclose(z_0_hat, path[-1], atol=1e-4)  # alpha = 1, sigma = 0 at the end
again, _ = restorer.sample(item.y, w, z_T)
assert np.array_equal(z_0_hat, again)  # nothing is drawn on the way

# %%
half = config.evaluation.crop // 2
middle = np.s_[half // 2 : half // 2 + half, half // 2 : half // 2 + half]
own_pixels = max(1, 128 // half)
chosen = np.unique(np.linspace(0, len(film) - 1, 6).round().astype(int))
strip = [item.y, *(film[i].clip(0, 1) for i in chosen), item.x]
far = [np.abs(photo - film[-1].clip(0, 1)).mean(-1, keepdims=True).repeat(3, -1) * 4 for photo in strip]
titles = ["flawed (LQ)", *(f"after step {i + 1}" for i in chosen), "sharp x"]
rows = [[photo[middle] for photo in row] for row in (strip, far)]
figure = show_photos(rows, titles, names=["photo", "4 x distance"], zoom=own_pixels)
save_figure(figure, run_dir, "40_film.jpg")
plt.show()

# %% [markdown]
# The two kinds of metric disagree about the film, and they are both right. **PSNR** (pixel error,
# higher is better) rewards the conditional mean, because a mean has the smallest squared error.
# **LPIPS** (distance of deep features, lower is better) punishes blur. Keep this in mind for
# every table that follows: a restoration method chooses a point between *distortion* and
# *perception*.

# %%
pd.DataFrame(
    [
        {"after step": i + 1, **{m: measure(m, p.clip(0, 1), item.x) for m in ("psnr", "lpips")}}
        for i, p in enumerate(film)
    ]
).set_index("after step").round(4)

# %% [markdown]
# ## 4. Seeds
# The same seed gives the same bytes, always: that is what makes a table reproducible. Another
# seed starts at another $z_T$ and ends at another photo that fits the same LQ. The map of the
# standard deviation over seeds is a map of **what the model made up**: it is bright where the LQ
# does not determine the answer.

# %%
seeds = [seed + i for i in range(4)]
drawn = np.stack([restorer(item.y, weights, seed=s) for s in seeds])
assert restorer(item.y, weights, seed=seed).tobytes() == drawn[0].tobytes()
assert all(not np.array_equal(drawn[0], other) for other in drawn[1:])
spread = 255 * drawn.std(0).mean(-1)
figure, axes = plt.subplots(1, 3, figsize=(7.6, 2.6), layout="constrained")
for one, photo, title in zip(axes, (item.y, drawn[0]), ("flawed (LQ)", f"seed {seeds[0]}"), strict=False):
    one.imshow(photo[middle])
    one.set_title(title)
shown = axes[2].imshow(spread[middle], cmap="magma")
axes[2].set_title(f"deviation over {len(seeds)} seeds")
figure.colorbar(shown, ax=axes[2], label="8-bit levels")
for one in axes:
    one.set(xticks=[], yticks=[])
save_figure(figure, run_dir, "40_seeds.jpg")
plt.show()

# %% [markdown]
# What if we average the seeds? Pixel error is convex, so by Jensen's inequality the mean photo's
# squared error is never larger than the mean squared error of the single photos. The average
# looks worse (blur) and scores better (PSNR): the same trade once more, this time as a theorem
# that we can assert. The gain is the variance over seeds, exactly.

# %%
mse = ((drawn - item.x) ** 2).mean((1, 2, 3), dtype=np.float64)
mse_of_mean = ((drawn.mean(0, dtype=np.float64) - item.x) ** 2).mean()
variance = drawn.var(0, dtype=np.float64).mean()
psnr, psnr_of_mean = -10 * np.log10(mse), -10 * np.log10(mse_of_mean)
print(f"PSNR of single seeds {psnr.round(2)} dB, of their mean {psnr_of_mean:.2f} dB")
assert mse_of_mean <= mse.mean()
assert np.isclose(mse.mean() - mse_of_mean, variance, rtol=1e-3)

# %% [markdown]
# ## 5. How many steps?
# The paper does not say how many DDIM steps it takes; ours is a choice between the two metrics above. One step is a
# regression: one network call, an answer near the conditional mean. More steps pay more network calls for more committed detail, and a
# small network commits to wrong details too. Which column gets worse with every step, and does the other stop
# improving? (The profile's number was chosen on validation photos, which are in no test set: notebook 32.)
#
# The price list: a restoration costs (steps) x (experts with a weight other than zero) passes
# through the UNet. For one expert in this notebook that is the number of steps; a composition of
# six pays six times as much, and a search over 1512 weight vectors pays that 1512 times. Whatever
# is saved on steps here is saved in every later notebook.

# %%
counts = [n for n in (1, 2, 3, 4, 8) if n <= 3 * config.sample.steps]
by_steps = {n: restorer(item.y, weights, seed=seed, steps=n) for n in counts}
figure = show_photos(
    [[item.y[middle], *(p[middle] for p in by_steps.values()), item.x[middle]]],
    ["flawed (LQ)", *(f"steps: {n}" for n in counts), "sharp x"], zoom=own_pixels,
)
save_figure(figure, run_dir, "40_steps.jpg")
pd.DataFrame(
    [{"steps": n, **{m: measure(m, p, item.x) for m in ("psnr", "lpips")}} for n, p in by_steps.items()]
).set_index("steps").round(4)

# %% [markdown]
# ## 6. The prompt matters
# Same photo, same noise, same network: only the words differ, and for **DownLQ** the condition. DownLQ asks with the
# words of super-resolution, but shows the network an LQ photo that was first reduced and enlarged again. It knows less,
# so it should make up more (notebook 55 looks whether it does). **BR** hears no words at all and guesses the flaw
# itself.
#
# How do words enter? The text encoder turns the prompt into a few token vectors; in every
# transformer block each place of the latent asks them (cross-attention) and adds what it hears to
# its features. There is no switch inside that turns one network into another, so experts share
# nearly all of what they know. The figure shows how far the words alone steer. The assert only
# says that the six answers differ; whether each does what its name says is for the tables.

# %%
for expert in EXPERTS:
    print(f"{expert.name:7} prompt {expert.prompt!r:18} condition: LQ reduced by {expert.factor}")

answers = {name: evaluation.restore(item, mix).photo for name, mix in EXPERT_METHODS.items()}
figure = show_photos(
    [[item.y[middle], *(p[middle] for p in answers.values()), item.x[middle]]],
    ["flawed (LQ)", *answers, "sharp x"], zoom=own_pixels,
)
save_figure(figure, run_dir, "40_prompts.jpg")
pairs = [(a, b) for i, a in enumerate(answers) for b in list(answers)[:i]]
assert all(not np.array_equal(answers[a], answers[b]) for a, b in pairs)

# %%
conditions = [down_lq(item.y, factor) for factor in (1, 2, 4, 8)]
figure = show_photos(
    [[photo[middle] for photo in conditions]], [f"factor {f}" for f in (1, 2, 4, 8)], zoom=own_pixels
)
assert np.array_equal(conditions[0], item.y)
assert all(np.abs(c.mean((0, 1)) - item.y.mean((0, 1))).max() < 0.05 for c in conditions)

# %% [markdown]
# ## 7. Colour: AdaIN
# Diffusion can drift: a little too dark, a little too grey, because the mean of a latent is a
# handful of numbers in a loss of thousands. Our flaws hardly touch the mean of a channel and change its contrast by
# little, so both are copied from the LQ photo, as StableSR does and the paper with it (AdaIN,
# adaptive instance normalisation):
# $$\hat x \leftarrow \frac{\hat x - \mu(\hat x)}{\sigma(\hat x)}\,\sigma(y) + \mu(y)
# \quad\text{for each channel}.$$
# The price: a flaw that *does* change contrast (strong blur lowers it, strong noise raises it) is
# copied as well. On this photo the price is paid: the restored photo had won back some contrast, and AdaIN takes it away.
# Where a colour cast differs from place to place one mean is too little; `colour="wavelet"` in the profile's
# `SampleConfig` takes the coarse scales of a wavelet transform from LQ in place of two moments.

# %%
raw = restorer.decode(z_0_hat)
matched = adain(raw, item.y)
moments = {
    name: [*p.mean((0, 1)), *p.std((0, 1))]
    for name, p in {"LQ": item.y, "before": raw, "after": matched, "sharp x": item.x}.items()
}
figure = show_photos(
    [[p[middle] for p in (item.y, raw, matched, item.x)]],
    ["flawed (LQ)", "before AdaIN", "after AdaIN", "sharp x"], zoom=own_pixels,
)
save_figure(figure, run_dir, "40_adain.jpg")
assert np.allclose(matched, drawn[0], atol=1e-3)  # so the whole restorer is: encode, sample, decode, AdaIN
for name, photo in (("before", raw), ("after", matched)):
    print(f"PSNR {name} AdaIN {measure('psnr', photo.clip(0, 1), item.x):.2f} dB")
pd.DataFrame(moments, index=[f"{what} {c}" for what in ("mean", "deviation") for c in "RGB"]).T.round(4)

# %% [markdown]
# ## 8. Photos larger than the network: tiles
# Attention and normalisation look at the whole picture, and memory grows with it. So a large
# photo is cut into overlapping tiles, each is restored alone, and the overlaps are blended. Two
# details decide whether seams show:
# * **one field of noise**: every tile takes its part of the same $z_T$, so in an overlap two
#   tiles make up the same details;
# * **feathering**: a tile's weight falls towards its border, where it knows least of its
#   surroundings.
#
# The weight of a pixel at distance $d$ from the tile's border is $\sin^2(\frac{\pi}{2} \min(d/o,
# 1))$ with the overlap $o$: where two tiles overlap by exactly $o$, the two weights are $\sin^2$
# and $\cos^2$ of one angle and sum to 1. In general the sum is divided out.
#
# They do not make tiles equal to one large pass: a tile's normalisation sees other statistics.
# The map shows where.

# %%
print(inspect.getsource(starts), inspect.getsource(feather), sep="\n")

# %%
tile, overlap = config.sample.tile, config.sample.overlap
size = (tile * 5 // 4, tile * 7 // 4)
china = read_photo(held_out_paths()["china"])
short = [(0, max(0, part - whole)) for whole, part in zip(china.shape, size, strict=False)]
china = np.pad(china, [*short, (0, 0)], mode="symmetric")  # mirrored, where the tile is larger than the photo
top, left = ((whole - part) // 2 for whole, part in zip(china.shape, size, strict=False))
sharp = china[top : top + size[0], left : left + size[1]]
large, _ = degrade("SR+DN", sharp, np.random.default_rng(seed), 0.45)
tops, lefts = (starts(s, tile, overlap, restorer.multiple) for s in size)
share = np.zeros((*size, 1))
for top in tops:
    for left in lefts:
        share[top : top + tile, left : left + tile] += feather(tile, tile, overlap)
print(f"photo {size}, tiles of {tile} at rows {tops} and columns {lefts}")
assert large.shape == (*size, 3) and share.min() > 0  # every pixel belongs to some tile

# %%
once = dataclasses.replace(config, sample=dataclasses.replace(config.sample, tile=max(size)))
tiled = restorer(large, weights, seed=seed)
whole = restorer_of(once)[0](large, weights, seed=seed)
difference = np.abs(tiled - whole).mean(-1)
print(f"mean difference {255 * difference.mean():.2f} levels, largest {255 * difference.max():.0f}")
assert tiled.shape == whole.shape == large.shape

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.6, 2.6), layout="constrained")
for one, photo, title in zip(axes, (large, tiled), ("flawed (LQ)", "restored in tiles"), strict=False):
    one.imshow(photo)
    one.set_title(title)
shown = axes[2].imshow(255 * difference, cmap="magma", vmax=255 * np.quantile(difference, 0.995))
axes[2].set_title("|tiles - one pass|")
figure.colorbar(shown, ax=axes[2], label="8-bit levels", shrink=0.8)
for i, (top, left) in enumerate((top, left) for top in tops for left in lefts):
    for one in axes[1:]:
        box = plt.Rectangle((left, top), tile - 1, tile - 1, fill=False, edgecolor=f"C{i}", lw=1.5)
        one.add_patch(box)
for one in axes:
    one.set(xticks=[], yticks=[])
save_figure(figure, run_dir, "40_tiles.jpg")
plt.show()

# %% [markdown]
# ## 9. Every expert on every set
# Now the measurement that the rest of the course refers to. Each of the six experts restores each
# pair of each set, with the same seed. Photos are kept in `restored/` of the run, as 8-bit files:
# the metrics see what a user would see, and later notebooks that ask for the same photo get it
# from there. A metric that a crop is too small for is a row that says so.
#
# | metric | asks | better |
# |---|---|---|
# | PSNR | how far are the pixels from the sharp photo's? | higher |
# | SSIM | do local means, contrasts and patterns agree? | higher |
# | LPIPS | do a vision network's features agree? | lower |
# | NIQE | do the statistics look natural? (knows no sharp photo) | lower |
#
# On the four isolated sets there is a **matching** expert, the one whose prompt names the flaw.
# On `complex` there is none, and that is the problem the paper starts from.

# %%
rows = [
    row
    for pair in evaluation.items
    for method, mix in EXPERT_METHODS.items()
    for row in evaluation.evaluate(pair, method, mix)
]
write_rows(run_dir, "40_one_expert", rows)
assert len(rows) == len(evaluation.items) * len(EXPERT_METHODS) * len(METRICS)
assert all(row["unet_calls"] == config.sample.steps for row in rows)
mean_table(rows).round(4)

# %% [markdown]
# The yardstick is the flawed photo itself: a restoration that scores below its own input would
# better have done nothing. Notebook 10 has measured it; if that was not part of this run, it is
# measured here, for the comparison only.

# %%
try:
    kept = [r for r in read_rows(run_dir) if r["method"] == "LQ" and r["set"] in evaluation.sets]
except FileNotFoundError:
    kept = []
have = {(r["set"], r["image"]) for r in kept}
missing = [i for i in evaluation.items if (i.set, i.image) not in have]
lq = kept + [r for i in missing for r in evaluation.measure(i, "LQ", i.y)]
table = frame(lq + rows).pivot_table(index=["set", "image"], columns=["metric", "method"], values="value")
gain = {m: table[m][list(EXPERT_METHODS)].sub(table[m]["LQ"], axis=0) for m in ("lpips", "psnr")}
assert all(len(one) == len(evaluation.items) and one.notna().all(axis=None) for one in gain.values())

# %% [markdown]
# The heat maps show each expert's mean difference to the LQ. Colours are turned so that **green
# is better than doing nothing, in both**, and so the two maps can be compared at a glance: an
# expert that is green on the left and red on the right looks better and is less true to the
# pixels.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9.6, 0.8 + 0.45 * len(evaluation.sets)), layout="constrained")
for one, (metric, values) in zip(axes, gain.items(), strict=True):
    mean = values.groupby("set", sort=False).mean().loc[list(evaluation.sets)]
    mean.columns = [name.removesuffix("=1") for name in mean.columns]
    better = "RdYlGn" if METRICS[metric].higher_is_better else "RdYlGn_r"
    most, digits = mean.abs().max(axis=None), ".3f" if metric == "lpips" else ".2f"
    sns.heatmap(mean, ax=one, cmap=better, vmin=-most, vmax=most, annot=True, fmt=digits)
    unit = "dB, higher is better" if metric == "psnr" else "lower is better"
    one.set(title=f"{metric.upper()} minus that of the LQ ({unit})", xlabel="expert alone", ylabel="set")
save_figure(figure, run_dir, "40_experts_by_set.png")
plt.show()

# %% [markdown]
# In words, for every set: which expert wins on the mean, and does the matching one beat the LQ?
# The number of photos is small, so the count of photos on which it does is printed beside the
# mean; a mean can be one photo's doing.

# %%
for metric, values in gain.items():
    sign = 1 if METRICS[metric].higher_is_better else -1
    for name in evaluation.sets:
        here = sign * values.loc[name]  # positive: better than the LQ
        line = f"{metric:5} {name:7} best expert {here.mean().idxmax():9} ({sign * here.mean().max():+.3f})"
        if f"{name}=1" in here:
            own = here[f"{name}=1"]
            verdict = "beats" if own.mean() > 0 else "does not beat"
            line += f"; {name}=1 {verdict} the LQ ({sign * own.mean():+.3f}"
            line += f", better on {(own > 0).sum()} of {len(own)} photos)"
        print(line)

# %% [markdown]
# Read the row of `complex` with care. Some expert is best on the mean there too, but ask whether
# it is the same one for each photo: the table below counts the winners. If no single expert wins
# everywhere, choosing *per photo* has something to gain, and mixing per photo may have more. That
# is where notebooks 50 and 60 go on.

# %%
pick = {metric: "idxmax" if METRICS[metric].higher_is_better else "idxmin" for metric in gain}
winners = pd.DataFrame(
    {m: values.loc["complex"].agg(pick[m], axis=1).value_counts() for m, values in gain.items()}
)
assert (winners.sum() == len(evaluation.sets["complex"])).all()
winners.reindex(list(EXPERT_METHODS)).fillna(0).astype(int)

# %% [markdown]
# ## What to try
# 1. Change `weights` to the wrong expert for the photo of the film. At which step does the path
#    part from the right one?
# 2. Replace `spacing="trailing"` by `"leading"` with `dataclasses.replace`, and `steps` by 2 and by 50. Where does the difference go, and what happens to the brightness before AdaIN?
# 3. Average 2, 4, 8 and 16 seeds. Plot PSNR over the number and compare with the formula of
#    section 4: how would the PSNR of infinitely many seeds follow from two?
# 4. Give each tile a seed of its own in section 8, with a loop over `restorer(tile)`, and look
#    for the seams.
