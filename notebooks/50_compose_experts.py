# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 50 Compose experts
#
# **Question.** A photo that is blurred *and* noisy needs two experts at once. How do we mix what they say,
# and why is it allowed that one of them gets a *negative* weight?
#
# **In:** the model with its six experts (notebook 40 looked at them one by one) and the evaluation pairs.
# **Out:** two fixed mixtures from the paper and four even pairs of our own, measured on every photo of every
# set: rows in `rows.jsonl`, the strip of the paper's Figure 9, and the table that says whether mixing pays.
#
# **Minutes:** smoke under 1 | demo about 6 (restoring every photo with six mixtures is nearly all of it).
#
# Words used below: *LQ* is the flawed photo y, *HQ* the sharp one x. An *expert* is a question to one and the
# same network: blind restoration (BR, no text), super-resolution (SR), motion deblurring (MD), defocus
# deblurring (DD), denoising (DN), and DownLQ, which is SR shown a photo with less information in it.

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
import inspect

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from benchmarks.evaluate import EXPERT_METHODS, MIXTURES, PAIRS, Evaluation, mean_table
from benchmarks.figures import composition_curves, expert_composition, label_points, save_figure
from unires.compose import active, compose
from unires.metrics import measure
from unires.record import read_rows, write_rows
from unires.schedule import Schedule
from unires.tasks import EXPERTS, weights_vector

sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
config = evaluation.config
zoom = 150 / config.evaluation.crop  # photos 150 screen pixels wide
item = evaluation.sets["complex"][0]
print(f"first complex photo: {item.image}, flawed by {item.recipe.tasks}")

# %% [markdown]
# ## 1 Eq. 2, and why the weights sum to 1
#
# In every step of sampling the network looks at the noisy latent $z_t$ and the photo's own latent
# $z_\mathrm{LQ}$ and predicts the noise. Ask it K times, once with each prompt $s_k$, and mix the answers:
#
# $$\hat\epsilon(w) = \sum_k w_k\, \epsilon_\theta(z_t, z_\mathrm{LQ}, s_k), \qquad \sum_k w_k = 1. \tag{Eq. 2}$$
#
# The sum is no matter of taste. A network may be trained to say the noise $\epsilon$, the clean latent $z_0$ or
# the velocity $v = \alpha_t\epsilon - \sigma_t z_0$; they are three ways to write one belief, because
# $z_t = \alpha_t z_0 + \sigma_t \epsilon$ is known. From an expert's $\epsilon_k$ follow
#
# $$z_{0,k} = \frac{z_t - \sigma_t\,\epsilon_k}{\alpha_t}, \qquad
#   v_k = \frac{\epsilon_k - \sigma_t z_t}{\alpha_t} \quad\text{(with } \alpha_t^2 + \sigma_t^2 = 1\text{)}.$$
#
# Now mix the clean latents instead of the noises:
#
# $$\sum_k w_k z_{0,k} = \frac{\big(\sum_k w_k\big) z_t - \sigma_t \sum_k w_k \epsilon_k}{\alpha_t}
#   = \frac{z_t - \sigma_t\,\hat\epsilon(w)}{\alpha_t} \quad\text{only if } \sum_k w_k = 1 .$$
#
# The noisy latent $z_t$ belongs to nobody: all experts share it, so it must be counted exactly once. With a sum
# of 1 the mixture doesn't depend on what the network was trained to say. That is why the small model of this
# kit may predict v (better when steps are few) and the paper's predict $\epsilon$, on one code path.
#
# By hand, with random numbers in place of a network:

# %%
schedule = Schedule.make(config.schedule)
t = 600
alpha, sigma = schedule.alpha[t].astype(float), schedule.sigma[t].astype(float)
rng = np.random.default_rng(seed)
z_t, eps = rng.standard_normal((8, 8, 4)), rng.standard_normal((6, 8, 8, 4))  # one shared z_t, six opinions
z_0 = (z_t - sigma * eps) / alpha
v = alpha * eps - sigma * z_0


def three_mixes(w):
    """The clean latent that follows from mixing eps, v and z_0."""
    mixed = [np.tensordot(w, opinions, 1) for opinions in (eps, v, z_0)]
    return (z_t - sigma * mixed[0]) / alpha, alpha * z_t - sigma * mixed[1], mixed[2]


by_eps, by_v, by_z0 = three_mixes(np.array([0.1, 0.5, 0.7, 0, -0.2, -0.1]))  # sums to 1
assert np.allclose(by_eps, by_z0) and np.allclose(by_v, by_z0)
by_eps, by_v, by_z0 = three_mixes(np.array([0.1, 0.5, 0.7, 0, -0.2, 0.1]))  # sums to 1.2
print(f"sum 1.2: the three mixes differ by up to {np.abs(by_eps - by_z0).max():.2f} latent units")
assert not np.allclose(by_eps, by_z0)

# %% [markdown]
# The same with the real network. `Restorer.sample` returns the clean latent $\hat z_0$; with a single step it is
# one opinion at the noisiest time. Ask each expert alone, mix the three clean latents outside, and compare with
# the composition inside, where the network's own kind of prediction is mixed:

# %%
restorer = evaluation.restorer
print(f"this network predicts {config.schedule.prediction}")
noise = restorer.noise(*item.y.shape[:2], seed)
mixture = {"MD": 0.6, "DN": -0.2, "DownLQ": 0.6}
inside, _ = restorer.sample(item.y, weights_vector(mixture), noise, steps=1)
alone = {k: restorer.sample(item.y, weights_vector({k: 1.0}), noise, steps=1)[0] for k in mixture}
outside = sum(weight * alone[k] for k, weight in mixture.items())
gap, size = float(np.abs(inside - outside).max()), float(np.abs(inside).max())
print(f"largest difference {gap:.1e}, largest latent value {size:.1f}")
assert gap < 1e-3 * size

# %% [markdown]
# **Mixing in every step is not mixing photos.** After one step the two agree. But the network isn't linear: the
# mixed latent is what *all* experts see in the next step, so each can react to what the others did. Averaging
# two finished photos is a double exposure; composing is a conversation. With few steps it is a short one, and nothing
# promises that it pays on each photo. The distance between the two, as a PSNR (the higher, the closer), and what the
# judges say. Which of the two photos does each of them prefer?

# %%
half = {"SR": 0.5, "DN": 0.5}
composed = evaluation.restore(item, half).photo
exposed = sum(0.5 * evaluation.restore(item, {name: 1.0}).photo for name in half)
print(f"composed against averaged photos: {measure('psnr', composed, exposed):.1f} dB")
for name, photo in (("composed", composed), ("averaged", exposed)):
    psnr, lpips = (measure(metric, photo, item.x) for metric in ("psnr", "lpips"))
    print(f"{name}: {psnr:.2f} dB, LPIPS {lpips:.3f} to HQ")
assert np.abs(composed - exposed).max() > 0

# %% [markdown]
# ## 2 Only what is asked for is computed
#
# Six experts cost six passes through the UNet in each step. An expert with weight 0 adds nothing to the sum, so
# it isn't asked at all:

# %%
print(inspect.getsource(active))
for method, weights in MIXTURES.items():
    chosen, w = active(weights_vector(weights), EXPERTS)
    made = evaluation.restore(item, weights)
    print(f"{method}: {len(chosen)} experts x {config.sample.steps} steps = {made.unet_calls} UNet calls")
    assert made.unet_calls == len(chosen) * config.sample.steps and np.isclose(w.sum(), 1)

# %% [markdown]
# It follows that a *one-hot* weight vector (a single 1) is the single expert itself: not nearly, but bit for
# bit. We may name experts in a dictionary or give the vector of six numbers; no weights at all means blind
# restoration:

# %%
by_name = restorer(item.y, {"DN": 1.0}, seed=seed)
by_vector = restorer(item.y, np.array([0, 0, 0, 0, 1, 0], np.float32), seed=seed)
assert [expert.name for expert in EXPERTS][4] == "DN" and np.array_equal(by_name, by_vector)
assert np.array_equal(restorer(item.y, seed=seed), restorer(item.y, {"BR": 1.0}, seed=seed))
kept = evaluation.restore(item, {"DN": 1.0}).photo  # as its 8-bit file holds it
assert np.abs(by_name - kept).max() <= 0.5 / 255 + 1e-6
print("one-hot = the single expert, bit for bit")

# %% [markdown]
# ## 3 Negative weights: walking past the end of a line
#
# With two experts the mixtures $w\,a + (1-w)\,b$ are the points of the straight line through $a$ and $b$. For
# $0 \le w \le 1$ we stand between them; at $w = 1.2$ we have walked *past* $a$, away from $b$. A negative weight
# says: "and whatever this expert would do, do less of it than nothing". The paper's most frequent optimum is of
# this kind, DN = -0.2 with DownLQ = 1.2. Denoising smooths; a little of its opposite keeps the grain that looks
# like detail.
#
# A negative weight is no free lunch. It also multiplies what is *random* in a prediction: if the experts erred
# independently with variance 1, the mixture's variance would be $\sum_k w_k^2$, which is smallest for equal weights
# and grows beyond 1 as soon as we extrapolate. A reason to keep
# weights within bounds, as the paper does (-0.2 to 1.2). By hand, with random errors
# in place of experts:

# %%
errors = rng.standard_normal((6, 100_000))
trials = {"equal": [1 / 6] * 6, "one alone": [0, 1, 0, 0, 0, 0], "walked past": [0, 0, 0, 0, -0.2, 1.2]}
for name, w in trials.items():
    variance = float(compose(errors[:, None, :, None, None], np.array(w))[0].var())
    print(f"{name:12} variance {variance:.3f}, by the formula {np.square(w).sum():.3f}")
    assert np.isclose(variance, np.square(w).sum(), rtol=0.03)

# %% [markdown]
# *Classifier-free guidance*, the exaggeration that every text-to-image program uses, is such a walk: past SR, away from
# the blind expert. Notebook 80 shows it, together with prompts that say what a photo should *not* look like. And an
# expert needs no prompt of its own either: notebook 55 turns DownLQ, which only changes what the network is *shown*,
# into a dial with as many experts as it has positions.
#
# ## 4 From one expert to another in six steps
#
# The paper's Figure 9 walks from super-resolution to denoising. The two pull in opposite directions: SR has
# learnt to put detail where there is little, and takes noise for detail; DN has learnt to take grain away, and
# takes texture for grain. A photo that is both small and noisy needs a point between them. Ours was trained on small
# photos that are noisy, too (notebook 10), so its SR also denoises: watch whether the two judges want the same point.
# Below each photo lies its middle, enlarged four times by repeating pixels.

# %%
steps = np.linspace(1, 0, 6).round(1)
mixes = {f"SR={w:.1f} DN={1 - w:.1f}": {"SR": float(w), "DN": float(1 - w)} for w in steps}
walk = {method: evaluation.restore(item, weights).photo for method, weights in mixes.items()}
values = evaluation.measure(item, "LQ", item.y)
for method, weights in mixes.items():
    values += evaluation.measure(item, method, walk[method], weights=weights)
place = (item.set, item.image)
save_figure(expert_composition(values, {place: walk}, zoom), run_dir, "50_figure9.jpg")
plt.show()

# %% [markdown]
# Does the middle of the walk beat its ends? PSNR asks for the right values, LPIPS for the right look; they need
# not agree on the best point, and another photo has another best point. That is why notebook 60 searches for
# weights photo by photo.

# %%
save_figure(composition_curves(values, place), run_dir, "50_walk.png")
plt.show()

# %% [markdown]
# ## 5 Every photo of every set
#
# One photo proves nothing. We fix six mixtures beforehand: two of the paper's (the optimum that it shows for one
# photo in Figure 11, and the constant that was optimal most often) and four even pairs of our own. Each restores
# every photo of every set, with the same noise for all, and every value becomes a row.

# %%
rows = []
for method, weights in (MIXTURES | PAIRS).items():
    assert np.isclose(sum(weights.values()), 1)
    for pair in evaluation.items:
        rows += evaluation.evaluate(pair, method, weights)
write_rows(run_dir, "50_compose_experts", rows)
assert len({(row["set"], row["image"]) for row in rows}) == len(evaluation.items)
mean_table(rows).round(3)

# %% [markdown]
# ## 6 Was it worth it?
#
# On isolated flaws (SR, MD, DD, DN) the right single expert should be hard to beat: it was trained on exactly that. Is
# it, in the tables of notebook 90? The reason for composing are the `complex` photos. So we put the mixtures beside the
# flawed photos (rows of notebook 10) and the single experts (rows of notebook 40). The claim to test: *the best mixture
# is better than LQ, and better than the best single expert, on PSNR and on LPIPS*. It is printed, not asserted: a model
# that is too small or trained too briefly may well fail it.

# %%
known = read_rows(run_dir)
wanted = ("LQ", *EXPERT_METHODS, *MIXTURES, *PAIRS)
ours = [row for row in known if row["set"] == "complex" and row["method"] in wanted]
table = mean_table(ours).loc["complex"]
missing = [method for method in wanted if method not in table.index]
if missing:
    print("not in this run yet:", ", ".join(missing), "(notebooks 10 and 40 come first)")
table.loc[[method for method in wanted if method in table.index]].round(3)

# %%
groups = {"LQ": ["LQ"], "best single expert": list(EXPERT_METHODS), "best mixture": [*MIXTURES, *PAIRS]}
for metric, sign in (("psnr", 1), ("lpips", -1)):
    print(metric, "(up is better)" if sign > 0 else "(down is better)")
    for group, methods in groups.items():
        means = {method: table[metric][method] for method in methods if method in table.index}
        best = max(means, key=lambda method: sign * means[method], default=None)  # noqa: B023
        print(f"  {group:18}", f"{means[best]:7.3f}  {best}" if best else "not run")

# %% [markdown]
# Choosing the best of six mixtures by looking at the results flatters the mixtures a little, as choosing the
# best of six experts flatters the experts. What a search may know, and what it may not, is the subject of
# notebook 60.
#
# A restorer trades two things: *distortion* (PSNR, how far from the true values) and *perception* (LPIPS, how far
# from the true look). Plotted against each other, better lies to the lower right; beyond some line every method
# pays for one with the other, and the question is where an even mixture lands: between its parts, or beyond both?

# %%
shown = table.loc[[method for method in wanted if method in table.index]].reset_index()
groups = {**dict.fromkeys(EXPERT_METHODS, "one expert"), "LQ": "flawed photo"}
shown["kind"] = [groups.get(method, "mixture") for method in shown["method"]]
figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
sns.scatterplot(shown, x="psnr", y="lpips", hue="kind", style="kind", s=80, ax=axis)
axis.set(xlabel="mean PSNR on complex (dB)", ylabel="mean LPIPS on complex")
axis.margins(x=0.2, y=0.15)
label_points(axis, dict(shown.set_index("method")[["psnr", "lpips"]].T.items()), fontsize=7)
save_figure(figure, run_dir, "50_complex.png")
plt.show()

# %% [markdown]
# ## What to try
#
# 1. Walk past the ends: add w = 1.4 and w = -0.4 to the six steps of section 4. When does the photo break?
# 2. Which pair of experts differs most on this photo? Compare their clean latents after one step, all fifteen
#    pairs, and mix the two that are furthest apart.
# 3. Let the weights change with time: half of the steps with SR = 1, the other half with DN = 1, in both orders.
#    (`unires.sample.ddim` takes any function `predict(z, t)`.) Which order is better, and why?
# 4. Weights that sum to 1.2 are refused. Find where, and work out from section 1 what they would do to a model
#    that predicts v, and to one that predicts the noise.
