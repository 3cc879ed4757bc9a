# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 60 Search weights
#
# **Question.** Every photo is flawed in its own way, so every photo has its own best weights. How do we find
# them without knowing what the photo should look like?
#
# **In:** the six experts alone (notebook 40) and the mixtures (notebook 50), already restored where those
# notebooks ran in this folder; a score that needs no sharp photo.
# **Out:** for every photo of every set the best of a list of weight vectors by that score, and beside it an
# *oracle* that was allowed to look at the answer: rows in `rows.jsonl`, and how much the search lost.
#
# **Minutes:** smoke under 1 | demo about 1 (much longer if it must restore every candidate itself).

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
from itertools import product
from math import comb

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy.stats import spearmanr

from benchmarks.evaluate import CANDIDATES, EXPERT_METHODS, Evaluation, mean_table
from benchmarks.figures import one_photo_every_expert, save_figure, side_by_side
from benchmarks.readme import ORACLE, SEARCH
from unires.metrics import METRICS, measure
from unires.record import write_rows
from unires.search import best_of, grid
from unires.tasks import NAMES, weights_dict, weights_vector

sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
config = evaluation.config
print(f"{len(evaluation.items)} photos in {', '.join(evaluation.sets)}; {len(CANDIDATES)} candidates")

# %% [markdown]
# ## 1 The paper's search: a grid of weights
#
# Let $g(x, w)$ be the whole restoration, all steps of sampling with weights $w$, and $Q$ a score of the finished
# photo. The paper takes the best vector of a finite set:
#
# $$w^* = \arg\max_{w \in \Omega}\, Q\big(g(x, w)\big), \tag{Eq. 3}$$
# $$\Omega = \Big\{ w \in [\gamma, \delta]^K : \textstyle\sum_k w_k = 1 \Big\}, \tag{Eq. 4}$$
#
# on a grid of interval 0.2 with $\gamma = -0.2$, $\delta = 1.2$, K = 6 experts and at most one negative weight.
#
# **Counting by hand.** Measure in units of 0.2: six whole numbers $n_k$ that sum to 5.
#
# - *None negative.* Lay 5 stars in a row and put 5 bars between them: the bars cut the row into six parts, and
#   each cutting is one vector. Of 10 places choose 5 for the bars: $\binom{10}{5}$. These are all vectors of the
#   range [0, 1], the paper's smaller grid.
# - *Exactly one negative.* It can only be $-1$ unit. Choose who it is (6 ways); the other five must sum to 6:
#   six stars, four bars, $\binom{10}{4}$. No part exceeds 6 units = 1.2, so the upper bound cuts nothing off.

# %%
none_negative = comb(10, 5)
one_negative = 6 * comb(10, 4)
omega = grid()
assert len(grid(low=0, high=1)) == none_negative == 252
assert len(omega) == none_negative + one_negative == 1512
by_force = [n for n in product(range(-1, 7), repeat=6) if sum(n) == 5 and sum(m < 0 for m in n) <= 1]
assert np.allclose(np.array(sorted(by_force)) / 5, np.array(sorted(omega.tolist())))
print(f"{none_negative} + {one_negative} = {len(omega)} vectors; the brute-force list is the same")

# %% [markdown]
# It is worth looking at the corners of a search space before searching it. Each vector sums to 1, the bounds are
# reached, no vector has two negative weights; the experts alone and the paper's favourite are inside.

# %%
sums, negatives = omega.sum(1), (omega < 0).sum(1)
print(f"weights {omega.min():.1f} to {omega.max():.1f}; sums {sums.min():.6f} to {sums.max():.6f}")
for count in (0, 1):
    print(f"{(negatives == count).sum():5} vectors with {count} negative weights")
assert np.allclose(sums, 1) and negatives.max() == 1
assert np.isclose(omega.min(), -0.2) and np.isclose(omega.max(), 1.2)
for name in NAMES:
    assert (np.abs(omega - weights_vector({name: 1.0})).max(1) < 1e-6).sum() == 1
at = np.abs(omega - weights_vector({"DN": -0.2, "DownLQ": 1.2})).max(1).argmin()
print("the paper's most frequent optimum is vector", at, weights_dict(omega[at]))

# %% [markdown]
# ## 2 Why not simply try them all?
#
# One vector costs up to K passes through the UNet in each of S sampling steps: $1512 \cdot 6 \cdot S = 9072\,S$
# passes a photo. Leaving out experts with weight 0 (notebook 50) saves a part. The paper reports about an hour a
# photo on an accelerator. For this machine we measure what one pass costs, as the median over photos restored
# with one mixture, and multiply:

# %%
made = [evaluation.restore(item, {"DN": -0.2, "DownLQ": 1.2}) for item in evaluation.items]
second = float(np.median([one.seconds / one.unet_calls for one in made]))
steps = config.sample.steps
needed = np.count_nonzero(omega) * steps
assert len(omega) * 6 * steps == 9072 * steps > needed
listed = sum(len(weights) for weights in CANDIDATES.values()) * steps
print(f"whole grid {9072 * steps} passes, {needed} without zero weights; our list {listed}")
minutes = needed * second / 60
print(f"at {second:.3f} s a pass: grid {minutes:.1f} minutes a photo, list {listed * second:.1f} s")

# %% [markdown]
# The paper itself shows the way out (Table 5): learn on other photos which vectors win often, and try only those.
# Eight vectors lose almost nothing against all 1512. We have no such history, so our list is written down by
# reason: the six experts, the paper's two mixtures, and even mixes of pairs. It was fixed before any result.

# %%
print(inspect.getsource(best_of))
pd.DataFrame([weights_vector(w) for w in CANDIDATES.values()], CANDIDATES, NAMES).round(1)

# %% [markdown]
# ## 3 A score that knows no answer
#
# The paper's Q is MUSIQ, a network trained on people's opinions. No package carries its weights, so it can't run
# here. We take **NIQE**: the distance between the local statistics of this photo and those of pristine photos.
# Lower is better, so the score to maximise is minus NIQE.
#
# How it works: divide out local brightness and contrast; what is left of a natural photo has a very regular
# histogram. Describe histograms of blocks, at two scales and of neighbouring pixels too, by 36 numbers; their mean
# and covariance over pristine photos are the *prior*, over this photo's blocks the *sample*. NIQE is the distance of
# the two Gaussians. Blur narrows the histograms, noise widens them, JPEG bends them: each moves the sample away.
#
# Know your judge. NIQE was told what *natural* looks like, never what *this* photo should look like: it
# happily prefers an over-sharpened photo to the true one. Any score that a search maximises gets exploited in
# this way (the paper's Figure 12 shows a photo where the highest MUSIQ isn't the best picture). So the score that
# searches must never be the score that judges: **LPIPS**, which compares with the sharp photo and which the
# search never sees, is our held-out judge.
#
# NIQE needs a block of a certain size. Smaller photos are mirrored at their borders up to it, which keeps
# the local statistics nearly as they are; candidates of one photo stay comparable with each other.

# %%
smallest = METRICS["niqe"].smallest


def no_reference_score(photo):
    """Minus NIQE; a photo that is too small is mirrored first."""
    missing = [max(0, smallest - side) for side in photo.shape[:2]]
    return -measure("niqe", np.pad(photo, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric"))


item = evaluation.sets["complex"][0]
print(f"photos of {item.y.shape[0]} pixels, NIQE from {smallest}")
print(item.image, item.recipe.tasks)
print(f"score of LQ {no_reference_score(item.y):.2f}, of HQ {no_reference_score(item.x):.2f}")
assert no_reference_score(item.y) == no_reference_score(item.y.copy())

# %% [markdown]
# ## 4 One photo, twelve candidates
#
# `best_of` restores with each candidate and keeps the best. Photos that earlier notebooks of this run have
# restored are read from the run's folder; nothing is sampled twice. The oracle is the same search with another
# score, minus LPIPS to the sharp photo. It is no method: nobody has the sharp photo of a flawed one. It tells how
# good the *list* is, and so how much a better score could still win.

# %%
names, vectors = list(CANDIDATES), [weights_vector(weights) for weights in CANDIDATES.values()]


def search(item, score):
    """The best of the list for one photo."""
    return best_of(lambda w: evaluation.restore(item, weights_dict(w)).photo, vectors, score)


def oracle_score(item):
    """Minus LPIPS to the sharp photo: knows the answer."""
    return lambda photo: -measure("lpips", photo, item.x)


choice, oracle = search(item, no_reference_score), search(item, oracle_score(item))
assert len(choice.scores) == len(names) and choice.score == max(choice.scores)
again = search(item, no_reference_score)
assert np.array_equal(again.weights, choice.weights) and again.scores == choice.scores

# %% [markdown]
# If the score were a good judge, the dots of each candidate would lie equally far left on both sides. Left is
# better; the chosen candidate is dark.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
labels = ("NIQE (decides)", "LPIPS to HQ (judges)")
for axis, found, label in zip(axes, (choice, oracle), labels, strict=True):
    values = -np.array(found.scores)
    colours = ["C0" if value == values.min() else "#a9bcd8" for value in values]
    axis.scatter(values, names, c=colours)
    axis.set(xlabel=f"{label}, lower is better")
    axis.grid(axis="y", visible=False)
axes[0].invert_yaxis()
agreement = spearmanr(choice.scores, oracle.scores).statistic
axes[0].set_title(f"{item.image}, {item.recipe.tasks}", fontsize=10)
axes[1].set_title(f"rank correlation with NIQE: {agreement:.2f}", fontsize=10)
save_figure(figure, run_dir, "60_scores.png")
plt.show()

# %% [markdown]
# (The axes don't begin at 0, so that near ties can be seen: compare the order of the dots, not their distances.) The
# rank correlation says how far the two agree on the order: 1 the same order, 0 none, -1 the opposite one.
#
# ## 5 Every photo of every set
#
# Now the same for all photos. A row's cost is the cost of the whole search: UNet calls and seconds summed over
# the candidates, whoever made them. The second method carries its warning in its name (both names live in
# `benchmarks.readme`, because the report prints them too).

# %%
rows, found = [], []
for pair in evaluation.items:
    choices = {SEARCH: search(pair, no_reference_score), ORACLE: search(pair, oracle_score(pair))}
    costs = [evaluation.restore(pair, weights) for weights in CANDIDATES.values()]
    calls, seconds = sum(one.unet_calls for one in costs), sum(one.seconds for one in costs)
    for method, best in choices.items():
        cost = {"weights": weights_dict(best.weights), "unet_calls": calls, "seconds": seconds}
        rows += evaluation.measure(pair, method, best.photo, **cost)
    picked = {method: int(np.argmax(best.scores)) for method, best in choices.items()}
    found.append({"pair": pair, "lpips": -np.array(choices[ORACLE].scores), "picked": picked,
                  "rank": spearmanr(*(best.scores for best in choices.values())).statistic})  # fmt: skip
write_rows(run_dir, "60_search_weights", rows)
assert all(row["unet_calls"] == listed for row in rows)
mean_table(rows).round(3)

# %% [markdown]
# **Regret** is what the choice lost against the oracle: its LPIPS minus the lowest LPIPS on the list. It can't be
# negative. Two yardsticks belong beside it, for a search that can't beat them isn't worth its UNet calls: a
# candidate drawn at random (the mean over the list), and the *same* candidate for every photo, the best such
# constant in hindsight.

# %%
lpips = np.stack([one["lpips"] for one in found])
chosen = lpips[range(len(found)), [one["picked"][SEARCH] for one in found]]
best = lpips.min(1)
regret = pd.DataFrame({
    "set": [one["pair"].set for one in found],
    "by NIQE": chosen - best,
    "random": lpips.mean(1) - best,
    "rank correlation": [one["rank"] for one in found],
})  # fmt: skip
for name in evaluation.sets:
    rows_of = regret["set"] == name
    constant = lpips[rows_of].mean(0).argmin()
    regret.loc[rows_of, "best constant"] = lpips[rows_of, constant] - best[rows_of]
    print(f"{name:8} best constant in hindsight: {names[constant]}")
assert (regret["by NIQE"] >= 0).all()
regret.groupby("set", sort=False).mean().round(4)

# %% [markdown]
# Read the columns as LPIPS lost, smaller is better: does NIQE beat chance in each set? Does it beat the constant?
# The last column but one tells a part of why: a rank correlation near 1 would mean that NIQE orders the candidates as LPIPS
# does; near 0 it knows nothing about them; below 0 it prefers what LPIPS rejects.
#
# ## 6 Who wins, and what it looks like
#
# If one candidate won everywhere, the search would be a constant with extra steps. That is no idle worry: in the paper
# one vector, DN = -0.2 with DownLQ = 1.2, is the optimum of two photos in five, and used alone it is only a little worse
# than the search. How often does each candidate win here, by NIQE and by the oracle? A wide gap between the two bars
# of a candidate is a prejudice of the judge.

# %%
kinds = {SEARCH: "by NIQE", ORACLE: "by the oracle"}
wins = [(names[one["picked"][method]], kind) for one in found for method, kind in kinds.items()]
wins = pd.DataFrame(wins, columns=["candidate", "chosen"])
figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
sns.countplot(wins, y="candidate", hue="chosen", order=names, hue_order=list(kinds.values()), ax=axis)
axis.set(xlabel=f"photos won (of {len(found)})", ylabel="")
save_figure(figure, run_dir, "60_wins.png")
plt.show()

# %% [markdown]
# A point below is a photo; on the diagonal NIQE found what the oracle found, and the height above it is the
# regret. No point can lie below.

# %%
figure, axis = plt.subplots(figsize=(5, 4.2), layout="constrained")
sns.scatterplot(x=best, y=chosen, hue=list(regret["set"]), style=list(regret["set"]), s=60, ax=axis)
ends = [best.min(), chosen.max()]
axis.plot(ends, ends, color="grey", linewidth=1)
axis.set(xlabel="LPIPS of the oracle's choice", ylabel="LPIPS of NIQE's choice")
save_figure(figure, run_dir, "60_regret.png")
plt.show()

# %% [markdown]
# Numbers are opinions; look. From the complex photos we show the one with the largest regret, where NIQE's
# taste and LPIPS's taste differ most, and the one with the smallest.

# %%
complex_ = [i for i, one in enumerate(found) if one["pair"].set == "complex"]
order = sorted(complex_, key=lambda i: -(chosen - best)[i])
photos, labels, values = {}, [], list(rows)
for i in (order[0], order[-1]):
    pair, picked = found[i]["pair"], found[i]["picked"]
    both = {method: evaluation.restore(pair, CANDIDATES[names[picked[method]]]).photo for method in kinds}
    photos[pair.set, pair.image] = {"LQ": pair.y, **both, "HQ": pair.x}
    values += evaluation.measure(pair, "LQ", pair.y)
    labels.append(pair.recipe.tasks)
    print(f"{pair.image}: NIQE chose {names[picked[SEARCH]]}, the oracle {names[picked[ORACLE]]}")
zoom = 150 / config.evaluation.crop
titles = ["LQ", "NIQE's choice", "oracle's choice", "HQ"]
figure = side_by_side(values, photos, titles, labels, ("lpips", "niqe"), zoom)
save_figure(figure, run_dir, "60_choices.jpg")
plt.show()

# %% [markdown]
# The oracle's column is the best that this list can offer. Where it, too, falls short of HQ, no score will help:
# then the list must grow, or the model must get better.
#
# And once more the photo of section 4, as in the paper's Figure 10: the same flawed photo by every expert alone, and
# by the weights that the search has found for it. Do the experts differ to your eye? Is the found one better than
# each of them, or only better by NIQE?

# %%
line = {"LQ": item.y} | {m: evaluation.restore(item, weights).photo for m, weights in EXPERT_METHODS.items()}
line |= {SEARCH: choice.photo, "HQ": item.x}
values = [one for method, photo in line.items() if method != "HQ" for one in evaluation.measure(item, method, photo)]
figure = one_photo_every_expert(values, {(item.set, item.image): line}, zoom=1.6 * zoom)
save_figure(figure, run_dir, "60_every_expert.jpg")
plt.show()

# %% [markdown]
# ## What to try
#
# 1. Allow two negative weights (`grid(negatives=2)`). Count the vectors by hand first.
# 2. All candidates start from the same noise $z_T$: in the *first* step the six predictions are the same for all
#    1512 vectors. How many passes does sharing them save? And why does sharing end after that step?
# 3. Cheat on purpose: sharpen a restored photo with an unsharp mask until NIQE is lowest. What does LPIPS say?
# 4. Search coarse to fine: from the best of the list take steps of 0.2 from one expert to another as long as the
#    score rises. How many restorations does that need, and where does it end when started elsewhere?
