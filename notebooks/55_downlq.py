# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 55 The DownLQ dial
#
# **Question.** What happens to a restoration when we tell the model *less* about the flawed photo? When does that
# bring lost detail back, and when does it make things up?
#
# **In:** the model, and a few held-out photos in three states: reduced and compressed (`SR`), with several flaws
# (`complex`), and without any flaw at all. **Out:** the paper's Figure 3 with factors 1 to 16, curves of fidelity and
# of detail over the factor, and mixtures of several positions of the dial: rows in `rows.jsonl`.
#
# **Minutes:** smoke under 1 | demo about 3.
#
# Words used below: *LQ* is the flawed photo y, *HQ* the sharp one x. **DownLQ** with factor f asks the question of
# super-resolution (SR), but the photo that it shows the network was first reduced f times in pixel space and then
# enlarged again. Notebook 50 tells what an expert is and how several are mixed.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"
photos = 3  # of each state

# %%
import os
from pathlib import Path

if Path.cwd().name == "notebooks":  # Jupyter starts there; everything below is named from the project's root
    os.chdir("..")

# %%
import inspect
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from benchmarks.evaluate import Evaluation, mean_table
from benchmarks.figures import down_lq_dial, save_figure, show_photos
from unires.compose import down_lq
from unires.engine import Engine, unet_calls
from unires.metrics import measure
from unires.record import row, write_rows
from unires.restore import restorer_of
from unires.tasks import down_lq_experts, weights_vector

sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
config = evaluation.config
photos = min(photos, config.evaluation.crops)
item = evaluation.sets["SR"][0]
print(f"first photo: {item.image}, flawed by {item.recipe.tasks}")

# %% [markdown]
# ## 1 Taking information away on purpose
#
# The network is trained on pairs: here is the flawed photo, this is what the sharp one looked like. It learns how much
# of the flawed photo to believe. Everything that it *sees* binds it; what it doesn't see, it fills in from what photos
# usually look like. So there is a way to loosen the bonds without any further training: hide something.
#
# DownLQ hides the fine detail. A reduction by f leaves of every f x f pixels one, and the bicubic way back adds no
# information. Factor 1 leaves the photo as it is. The detail that is left (mean gradient of the brightness) can
# only fall, and the large forms stay where they were:

# %%
print(inspect.getsource(down_lq))
FACTORS = (1, 2, 4, 8, 16)
shown = {factor: down_lq(item.y, factor) for factor in FACTORS}
slope = {factor: float(np.hypot(*np.gradient(photo.mean(-1))).mean()) for factor, photo in shown.items()}
print("mean gradient:", ", ".join(f"factor {factor}: {value:.4f}" for factor, value in slope.items()))
assert np.array_equal(shown[1], item.y) and slope[16] < slope[1]
assert all(np.abs(photo.mean((0, 1)) - item.y.mean((0, 1))).max() < 0.05 for photo in shown.values())

# %% [markdown]
# ## 2 Five positions of the dial are five experts
#
# An expert is a prompt and a condition. `down_lq_experts` makes one expert for each factor, all with the prompt of SR,
# and a `Restorer` takes any tuple of experts. So the whole dial is one list, and Eq. 2 can mix its positions as it
# mixes tasks. The sampler doesn't know that anything is new.
#
# The **engine** restores one photo with many weight vectors. A *study* encodes every condition once; in the first
# step all vectors hold the same noise, so the experts' answers are shared; experts with weight 0 are never asked.
# The vectors below are the five positions alone and three mixtures, which section 5 looks at. The calls that were
# really made must be those that the formula counts:

# %%
dial = down_lq_experts(FACTORS)
mixtures = (
    {"DownLQ1": 0.5, "DownLQ16": 0.5},  # the two ends
    {expert.name: 0.2 for expert in dial},  # all five
    {"DownLQ1": 1.2, "DownLQ16": -0.2},  # away from what was made up
)
alone = [{expert.name: 1.0} for expert in dial]
methods = {" ".join(f"{k}={v:g}" for k, v in weights.items()): weights for weights in (*alone, *mixtures)}
vectors = [weights_vector(weights, dial) for weights in methods.values()]
engine = Engine(restorer_of(config, dial)[0])


def restored(y):
    """The photo of every method, and the study that made them."""
    study = engine.study(y, seed)
    latents = dict(study.latents(vectors))
    return {name: study.photo(latents[i]) for i, name in enumerate(methods)}, study


first, study = restored(item.y)
print(f"{len(vectors)} vectors, {study.paid.unet_calls} UNet calls, {study.paid.decodes} decodes")
assert study.paid.unet_calls == unet_calls(vectors, config.sample.steps)

# %% [markdown]
# Two positions are old friends: factor 1 is the SR expert of the paper's six and factor 4 is its DownLQ expert.
# The photos must be the same, but for the rounding of floats, which stays far below one step of an 8-bit file:

# %%
for name, known in (("DownLQ1=1", "SR"), ("DownLQ4=1", "DownLQ")):
    apart = np.abs(first[name] - evaluation.restorer(item.y, {known: 1.0}, seed=seed)).max()
    print(f"{name} and {known}: largest difference {255 * apart:.3f} of 255")
    assert apart < 1 / 255

# %% [markdown]
# ## 3 The paper's Figure 3
#
# Above is what the network is shown, below what it makes of it. From left to right it knows less. At the left end it is
# bound to the flawed photo; at the right end it sees a few blots of colour. Does it paint there, or give back a blur?
# Look at one small thing, an edge or a line of letters, and follow it through the row: at which factor does it stop
# being *this* thing?

# %%
h, w = (side // 4 for side in item.y.shape[:2])
middle = np.s_[h : 3 * h, w : 3 * w]
zoom = 150 / (2 * w)  # the middle of a photo, 150 screen pixels wide
above = {factor: shown[factor][middle] for factor in FACTORS}
below = {factor: first[f"DownLQ{factor}=1"][middle] for factor in FACTORS}
save_figure(down_lq_dial(above, below, item.x[middle], zoom), run_dir, "55_figure3.jpg")
plt.show()

# %% [markdown]
# ## 4 Detail, right and wrong
#
# "More detail" is no praise by itself: noise is detail, too. Let $g$ be the gradient of the brightness, a long vector
# with two numbers a pixel. The *gradient energy* of a restored photo, relative to HQ, is $|\hat g|^2 / |g_x|^2$. We split
# $\hat g$ into the part along the true gradient $g_x$ and the rest, which is at a right angle to it:
#
# $$\hat g = a\,g_x + r, \qquad a = \frac{\hat g \cdot g_x}{|g_x|^2}, \qquad
#   \frac{|\hat g|^2}{|g_x|^2} = a^2 + b, \quad b = \frac{|r|^2}{|g_x|^2} .$$
#
# $a$ is the share of the true detail that is there (1 is all of it), and $b$ is the energy of detail that shouldn't be
# there: what was made up, what was left of the noise, or an edge in the wrong place. HQ itself has $a = 1$, $b = 0$; a
# grey photo has 0 and 0. The last equation is Pythagoras, and we can check it.

# %%
def detail(photo, x):
    """Gradient energy, the share of true detail a, and the wrong detail b, all relative to x."""
    ours, true = (np.stack(np.gradient(p.mean(-1, dtype=np.float64))).ravel() for p in (photo, x))
    energy = true @ true
    a = ours @ true / energy
    rest = ours - a * true
    return {"detail": ours @ ours / energy, "detail found": a, "detail wrong": rest @ rest / energy}


assert np.allclose(list(detail(item.x, item.x).values()), [1, 1, 0])
of_first = detail(first["DownLQ4=1"], item.x)
assert np.isclose(of_first["detail"], of_first["detail found"] ** 2 + of_first["detail wrong"])
print({name: round(float(value), 3) for name, value in of_first.items()})

# %% [markdown]
# Now the experiment, on photos in three states. In the set `SR` real detail is lost, and only the prior can bring it
# back. In `complex` several flaws come together, and the fine detail of LQ is partly noise: hiding it hides the noise
# as well. The third state is the sharp photo itself, handed in as if it were flawed. Nothing is lost there, so nothing
# can be gained: whatever the dial adds is invention. It is the control of the experiment.
#
# Rows carry the name of the photos that they were measured on, `SR[:3]` for the first three of the set.

# %%
states = {f"{name}[:{photos}]": evaluation.sets[name][:photos] for name in ("SR", "complex")}
states[f"sharp[:{photos}]"] = [replace(one, y=one.x) for one in states[f"SR[:{photos}]"]]
variant, steps, rows, kept = "gradient energy of the brightness, relative to HQ", config.sample.steps, [], {}
for state, items in states.items():
    for one in (replace(one, set=state) for one in items):
        results, _ = restored(one.y)
        for name, photo in {"LQ": one.y, **results}.items():
            cost = {"weights": methods[name], "unet_calls": len(methods[name]) * steps} if name in methods else {}
            rows += evaluation.measure(one, name, photo, **cost)
            for metric, value in detail(photo, one.x).items():
                rows.append(row(state, one.image, name, metric, value, variant=variant, **cost))
        kept[state, one.image] = (one, results)
write_rows(run_dir, "55_downlq", rows)
assert len(kept) == sum(map(len, states.values()))
table = mean_table(rows, ("psnr", "lpips", "niqe", "detail", "detail found", "detail wrong"))
table.round(3)

# %% [markdown]
# The curves run from the most faithful position on the left to the freest on the right. The dashed line is LQ (of the
# sharp photo it is perfect by definition, and left out). The paper's promise is that detail rises with the factor and
# fidelity falls.

# %%
panels = {"psnr": "PSNR (dB)", "lpips": "LPIPS", "detail found": "true detail found, a",
          "detail wrong": "wrong detail, b"}  # fmt: skip
figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex=True, layout="constrained")
for axis, (metric, label) in zip(axes.flat, panels.items(), strict=True):
    for i, state in enumerate(states):
        values = table.loc[state, metric]
        axis.plot(FACTORS, [values[f"DownLQ{factor}=1"] for factor in FACTORS], marker="o", color=f"C{i}", label=state)
        if not state.startswith("sharp"):
            axis.axhline(values["LQ"], color=f"C{i}", linestyle="--", linewidth=1)
    axis.set_xscale("log", base=2)
    axis.set(xticks=FACTORS, xticklabels=FACTORS, ylabel=label)
    axis.minorticks_off()
for axis in axes[1]:
    axis.set_xlabel("DownLQ factor")
axes[0, 0].legend(title="dashed: LQ", fontsize=9)
save_figure(figure, run_dir, "55_by_factor.png")
plt.show()

# %% [markdown]
# Does this model keep the promise? Printed, not asserted: a small model may lose its nerve when it sees nearly nothing
# and answer with a blurred photo, the mean of all that might be there. Then energy falls instead of rising.

# %%
for state in states:
    for metric, rises in (("detail", True), ("detail found", False), ("psnr", False)):
        values = [table.loc[(state, f"DownLQ{factor}=1"), metric] for factor in FACTORS]
        steps_kept = sum((after > before) == rises for before, after in zip(values, values[1:], strict=False))
        word = "rises" if rises else "falls"
        print(f"{state:12} {metric:12} {word} in {steps_kept} of {len(FACTORS) - 1} steps of the dial")

# %% [markdown]
# **Where it helps, where it hurts.** For each photo, take the factor with the lowest LPIPS (knowing the answer, so
# this is an oracle). Factor 1 means: what LQ shows is worth more than anything the prior could add. A higher factor
# means that the fine detail of LQ did more harm than good.

# %%
def distance(key, factor):
    """LPIPS to HQ at one position of the dial."""
    one, results = kept[key]
    return measure("lpips", results[f"DownLQ{factor}=1"], one.x)


lpips = pd.DataFrame({key: [distance(key, factor) for factor in FACTORS] for key in kept}, index=FACTORS).T
gain = lpips[1] - lpips[[2, 4, 8, 16]].min(axis=1)  # above 0: some reduction helps
winners = lpips.idxmin(axis=1).groupby(level=0, sort=False).value_counts().unstack(fill_value=0)
assert winners.to_numpy().sum() == len(kept)
winners.reindex(columns=FACTORS, fill_value=0).rename_axis(index="photos with this best factor", columns="factor")

# %% [markdown]
# The flawed photo with the most to gain from some reduction, however little that is, and the one that loses most at factor 16 (both by LPIPS;
# the sharp ones are out of the contest). In both, find detail that HQ has and the last columns lack, which is a blur,
# and detail that HQ *doesn't* have: that is what a hallucination looks like when a reference gives it away. Without HQ
# at the end of the row, would you have known?

# %%
flawed = [not state.startswith("sharp") for state, _ in gain.index]
loss = lpips[16] - lpips[1]
cases = {"most to gain": gain[flawed].idxmax(), "most to lose": loss[flawed].idxmax()}
picture = []
for label, key in cases.items():
    one, results = kept[key]
    picture.append([photo[middle] for photo in (one.y, *(results[f"DownLQ{f}=1"] for f in (1, 4, 16)), one.x)])
    print(f"{label}: {key[1]} of {key[0]}, {one.recipe.tasks}: best gain {gain[key]:+.3f}, at factor 16 {-loss[key]:+.3f}")
figure = show_photos(picture, ["LQ", "factor 1", "factor 4", "factor 16", "HQ"], list(cases), zoom=zoom)
save_figure(figure, run_dir, "55_help_and_harm.jpg")
plt.show()

# %% [markdown]
# ## 5 Several positions at once
#
# The dial has steps, but the weights of Eq. 2 are real numbers. Half of factor 1 and half of factor 16 is a model that
# believes the photo half of the time. That isn't the same as a factor in between: factor 4 hides the fine detail and
# keeps the middle; the mixture hides nothing and trusts everything less. And a negative weight walks the other way: 1.2
# of factor 1 and -0.2 of factor 16 takes away a little of what the model *would* answer if it saw nothing.
#
# The plane of true and wrong detail shows where each of them goes. To the right is more that is true, up is more that is
# wrong; the line is the dial, and a mixture below the line is worth having. HQ would stand at (1, 0).

# %%
names = [f"{' '.join(name.split()[:2])}{' ...' if len(name.split()) > 2 else ''}" for name in list(methods)[5:]]
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for axis, state in zip(axes, list(states)[:2], strict=True):
    points = table.loc[state][["detail found", "detail wrong"]]
    line = points.loc[[f"DownLQ{factor}=1" for factor in FACTORS]].to_numpy()
    axis.plot(*line.T, marker="o", color="grey", label="one position")
    for factor, at in zip(FACTORS, line, strict=True):
        axis.annotate(str(factor), at, (5, 5), textcoords="offset points", fontsize=9)
    for i, (method, label) in enumerate(zip(list(methods)[5:], names, strict=True)):
        axis.plot(*points.loc[method], "sD^"[i], color=f"C{i}", markersize=8, label=label)
    axis.set(title=state, xlabel="true detail found, a", ylabel="wrong detail, b")
    axis.locator_params(nbins=5)
axes[1].legend(fontsize=8)
save_figure(figure, run_dir, "55_mixtures.png")
plt.show()

# %% [markdown]
# And by the metrics: does a mixture beat *every* single position on one of them? There is a simple reason why it might. The
# mean of two guesses has a smaller squared error than the two have on average, as long as they err differently. The
# better one of the two may still be ahead of both. (The one with the negative weight is no mean: where
# it wins, this reason isn't why.)

# %%
for state in states:
    for metric, sign in (("psnr", 1), ("lpips", -1)):
        values = sign * table.loc[state, metric]
        single, mixed = values[list(methods)[:5]], values[list(methods)[5:]]
        verdict = "beats" if mixed.max() > single.max() else "doesn't beat"
        print(f"{state:12} {metric:5} {mixed.idxmax().split()[0]:13}... ({sign * mixed.max():.3f}) {verdict} "
              f"{single.idxmax()} ({sign * single.max():.3f})")  # fmt: skip

# %% [markdown]
# **Once at the end, or in every step?** Because the weights sum to 1, there is a cheap guess of each mixture: add up the
# *final* latents of the single positions, without asking the network again. It is right to first order in how much the
# experts differ. `unires.search.surrogate` ranks thousands of weights by such guesses and samples only the best few. How
# good is the guess here? PSNR between the two photos, the higher the closer; the ends of the dial differ most.

# %%
latents = dict(study.latents(vectors))
own = np.concatenate([latents[i] for i in range(len(dial))])
for method, w in list(zip(methods, vectors, strict=True))[len(dial) :]:
    guessed = study.photo(np.einsum("k,khwc->hwc", w, own)[None])
    composed = study.photo(latents[list(methods).index(method)])
    print(f"guess against composed: {measure('psnr', guessed, composed):.1f} dB for {method}")
    assert not np.array_equal(guessed, composed)

# %% [markdown]
# Whoever must stay true to the photo (a doctor, a court) stays at factor 1. A negative weight of a larger factor finds
# more true detail, and more wrong detail as well. With a model that invents when it sees little, whoever wants a pretty
# picture turns the dial until they see something wrong: no setting is right for both, and that is why the paper makes
# it a dial and gives its weight to the search of notebook 60. How far *this* model's dial reaches stands above.
#
# ## What to try
#
# 1. The reduction is bicubic. Replace it by a Gaussian blur of the same strength: is it the *missing* detail that sets
#    the model free, or the softness of what it sees?
# 2. Restore with three seeds at factors 1 and 16. Where the photos of the seeds differ, the model was guessing. Map the
#    deviation, and compare it with the wrong detail.
# 3. Combine the dial with a task: give the prompts of MD and DD reduced photos too (`Expert("MD4", "Motion-deblur", 4)`).
#    Was SR the right question for DownLQ?
# 4. Choose the factor by NIQE instead of LPIPS. Which position of the dial does it like, and why? (Notebook 85 goes on
#    there.)
