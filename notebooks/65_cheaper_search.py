# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 65 Cheaper search
#
# **Question.** The exhaustive grid asks the network thousands of times for one photo. How few questions are enough
# to find nearly as good weights?
#
# **In:** one flawed photo, searched here and now over a coarse grid; and the committed table of `results/search`,
# for which the whole grid has really been run on held-out photos.
# **Out:** the cost and the gain of every strategy as points of one plot; rows in `rows.jsonl`.
#
# **Minutes:** smoke under 1 | demo about 1.

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
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from benchmarks import composition, grids, strategies, table_runs
from benchmarks.evaluate import Evaluation
from benchmarks.figures import label_points, pair_matrix, save_figure
from unires.engine import Engine, middle, unet_calls
from unires.record import not_run, read_rows, row, write_rows
from unires.score import metric_score
from unires.search import among, funnel, grid, one_hot, surrogate
from unires.trial import anchors, shares

sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
steps = evaluation.config.sample.steps

# %% [markdown]
# ## 1 What the grid costs when nothing is wasted
#
# A *call* is one expert's forward pass for one candidate in one step. The paper's grid has 1512 vectors of six
# weights, so a plain loop makes $9072\,S$ calls in S steps. Two savings are exact; nothing about the result changes:
#
# - A weight of 0 multiplies a prediction by 0: don't ask for it.
# - In the first step every candidate holds the same noise $z_T$. So six calls answer the first step for all.
#
# What is left is one call for each weight that isn't 0, in each step but the first.

# %%
omega = grid()
used = np.count_nonzero(omega)
assert unet_calls(omega, steps) == 6 + used * (steps - 1)
print(f"plain loop {9072 * steps} calls; {used} of 9072 weights are not 0: {unet_calls(omega, steps)} calls")

# %% [markdown]
# That is still far too much for a photo on a laptop. Everything below is *inexact*, so everything below must be
# compared with the grid itself.
#
# ## 2 Six restorations span the rest, nearly
#
# Write a sampling step as the linear thing that it is: DDIM mixes the latent with the composed prediction,
#
# $$z' = a\,z + b \sum_k w_k\, \epsilon_k(z),$$
#
# where $a$ and $b$ come from the schedule alone. Call $z^{(k)}$ the latent of expert $k$ working alone ($w$ is 1
# at $k$), and suppose that at this time the candidate's latent is the weighted sum of those:
#
# $$z = \sum_k w_k z^{(k)}.$$
#
# It is true at the start: all are $z_T$, and **the weights sum to 1**. Does it stay true? Expand each prediction
# around its own latent, $\epsilon_k(z) \approx \epsilon_k(z^{(k)}) + J\,(z - z^{(k)})$, with one slope $J$ for all
# experts. The correction is $J\,\big(\sum_k w_k\,z - \sum_k w_k z^{(k)}\big) = J\,(z - z) = 0$: it vanishes, again
# because the weights sum to 1. What is left is
#
# $$z' \approx \sum_k w_k \big(a\,z^{(k)} + b\,\epsilon_k(z^{(k)})\big) = \sum_k w_k\, z'^{(k)}.$$
#
# So the final latents of the six experts, mixed with the *same* weights, approximate the composed one. What was
# neglected is of second order: curvature, and slopes that differ between experts, each times how far the experts'
# latents lie apart. The more the experts agree, the better; one sampling step is exact. Then a candidate costs no
# call at all, only a decoding and a score.
#
# How near is near? We take one complex photo, sample a handful of vectors exactly, and compare latents.

# %%
item = evaluation.sets["complex"][0]
side = min(grids.METRICS["niqe"].smallest, item.y.shape[0])
engine = Engine(evaluation.restorer)
study = engine.study(middle(item.y, side), seed)
alone = np.concatenate([z for _, z in sorted(study.latents(one_hot()), key=lambda pair: pair[0])])
sizes = np.count_nonzero(omega, axis=1)
few = np.concatenate([omega[sizes == n][:: max(1, (sizes == n).sum() // 3)][:3] for n in range(2, 7)])
exact = np.concatenate([z for _, z in sorted(study.latents(few), key=lambda pair: pair[0])])
mixed = np.einsum("nk,khwc->nhwc", few, alone)


def decibel(a, b):
    """How far the error of b lies below the spread of a, for each latent of a list."""
    error = ((a - b) ** 2).mean((1, 2, 3))
    return 10 * np.log10(a.var((1, 2, 3)) / np.maximum(error, 1e-20))


near = pd.DataFrame({
    "active experts": np.count_nonzero(few, axis=1),
    "surrogate": decibel(exact, mixed),
    "best single expert": np.stack([decibel(exact, one[None]) for one in alone]).max(0),
})  # fmt: skip
near.groupby("active experts").mean().round(1)

# %% [markdown]
# Read it as signal over error in dB, larger is nearer. The second column must be well above the third: the mixture
# knows more than the expert that happens to lie nearest. With one step it would be exact, and we can ask for that:

# %%
one_step = [np.concatenate([z for _, z in sorted(study.latents(w, 1), key=lambda p: p[0])]) for w in (one_hot(), few)]
apart = np.abs(np.einsum("nk,khwc->nhwc", few, one_step[0]) - one_step[1]).max()
print(f"after one step the largest difference is {apart:.1e}")
assert apart < 1e-3 * np.abs(one_step[1]).max()
assert near["surrogate"].median() > near["best single expert"].median()

# %% [markdown]
# **One order more.** What is left over is a polynomial of second degree in $w$, at first. So let the guess be one:
# besides the six experts, sample every *pair* half and half, and draw the parabola through these points. On the plane
# where the weights sum to 1 it is
#
# $$z(w) \approx \sum_k w_k (2 w_k - 1)\, z^{(k)} + \sum_{i<j} 4\, w_i w_j\, z^{(ij)}.$$
#
# Check it by hand: at $w = e_k$ only $z^{(k)}$ is left, at a half-and-half pair only $z^{(ij)}$. The 15 pairs cost
# $2\,(S - 1)$ calls each. Does the second order pay?

# %%
nodes = anchors(6, curved=True)
points = np.concatenate([z for _, z in sorted(study.latents(nodes), key=lambda pair: pair[0])])
parabola = np.einsum("na,ahwc->nhwc", np.stack([shares(w, curved=True) for w in few]), points)
near["curved surrogate"] = decibel(exact, parabola)
print(f"anchors cost {unet_calls(one_hot(), steps)} calls for the plane, {unet_calls(nodes, steps)} for the parabola")
assert near["curved surrogate"].median() > near["surrogate"].median()
near.groupby("active experts").mean().round(1)

# %% [markdown]
# **Or learn from mistakes.** The parabola must be paid for before anything is known about where to look. The other way
# spends its calls on candidates: sample the most promising vector, look how far its score lies from its guess, and
# pass that error on to the vectors near it, for they are wrong in the same way. Then sample the next one. *Near* and
# *how much* is a Gaussian process over $w$: with $m$ vectors sampled so far and errors $e$, the guess at $w$ moves by
#
# $$k(w)^\top (K + \sigma^2 I)^{-1} e, \qquad k(w)_i = \exp\!\big(-\lVert w - w_i \rVert^2 / 2 r^2\big),$$
#
# where $K$ holds the same bells between the sampled vectors themselves, $r = 0.8$ is four intervals of the grid, and
# $\sigma^2 = 0.1$ keeps it from believing every wiggle. At the six experts the error is 0, so these are known from the
# start. A correction costs no call and no decoding: it is a product of small matrices.

# %% [markdown]
# **Or remember?** Programs that sample in fifty steps keep parts of the network's answer from one step to the next, because
# neighbours in time hardly differ. The plainest such cache keeps each expert's whole estimate of $z_0$. Then a step
# with kept answers changes nothing: the result is the estimate of the step before, for a third of the calls less.
# Ours are few steps and far apart. How near is that estimate to the result, beside a guess that costs no call at all?

# %%
some = few[np.count_nonzero(few, axis=1) == 3]
ends, kept = [], []
for w in some:
    z_0, estimates = evaluation.restorer.sample(evaluation.restorer.pad(study.y), w, study.z_t)
    ends.append(np.asarray(z_0[0]))
    kept.append(np.asarray(estimates[-2, 0]))
guess = np.einsum("nk,khwc->nhwc", some, alone)
print(f"kept from the step before: {decibel(np.stack(ends), np.stack(kept)).mean():.1f} dB")
print(f"the plain surrogate:       {decibel(np.stack(ends), guess).mean():.1f} dB")

# %% [markdown]
# Read it as above. Where the second line is the larger one, keeping answers between steps doesn't pay: it is dearer than
# the surrogate and further off. What *can* be kept without any error is kept already: the first step's answers,
# between candidates.

# %% [markdown]
# ## 3 A small exact comparison, here and now
#
# A coarse grid of interval 1/3 in the range [0, 1] is small enough to be searched exhaustively on this machine.
# Six strategies look at the same photo; each one's bill is its own, as if nothing had been known before:
#
# - **grid**: every vector, exactly.
# - **one-hot**: the six experts alone.
# - **surrogate**: rank all by mixed latents, then sample the best two exactly. Only the exact ones may win.
# - **curved surrogate**: the same with the parabola, and only the best one sampled.
# - **corrected surrogate**: the plain guess, two samples one after the other, the second with the first one's error.
# - **funnel**: successive halving. Try all with a single step (six calls for any number of vectors, for the first
#   step is shared), keep the better part, go on with the full number of steps.

# %%
coarse = grid(low=0, high=1, interval=1 / 3)
score = metric_score("niqe")
found = {
    "grid": among(engine.study(study.y, seed), coarse, score),
    "one-hot": among(engine.study(study.y, seed), one_hot(), score),
    "surrogate": surrogate(engine.study(study.y, seed), coarse, score, best=2),
    "curved surrogate": surrogate(engine.study(study.y, seed), coarse, score, best=1, curved=True),
    "corrected surrogate": surrogate(engine.study(study.y, seed), coarse, score, best=2, corrected=True),
    "funnel": funnel(engine.study(study.y, seed), coarse, score, steps=(1, steps), keep=(4,)),
}
for name, one in found.items():
    assert one.score <= found["grid"].score + 1e-3, name
assert found["grid"].unet_calls == unet_calls(coarse, steps) == found["grid"].paid
columns = ("unet_calls", "decodes", "score", "seconds")
pd.DataFrame({name: {c: getattr(one, c) for c in columns} for name, one in found.items()}).T.round(2)

# %% [markdown]
# The score is minus NIQE, larger is better; nobody can beat the grid on its own list. The calls obey the formula of
# section 1. Decodings are not free: with few calls left, they and the score are what a search spends its time on.
#
# **The landscape.** What is the grid climbing on? The paper's Figure 11 shows it for one photo: a curve of MUSIQ for
# every pair of experts, while one of them hands its weight over to the other. Here is ours, with minus NIQE. A curve
# that is highest at 0 or at 1 says that mixing this pair gains nothing; a hump between them, that two experts together
# know more than either; a star beyond them, that it helps to take one away from the other. The dashed line is the best
# single expert, the dotted one the best mixture of all that were tried, and the star is the best of its pair. (i, j)
# and (j, i) are one curve, seen from both sides.

# %%
tried = {line.weights: line.scores[score.key] for line in found["grid"].tried}
vectors, scores, label = np.array(list(tried)), np.array(list(tried.values())), f"minus NIQE, photo {item.image}"
assert len(vectors) == len(coarse) and np.isclose(scores.max(), found["grid"].score, atol=1e-3)
place, why = table_runs.grid_folder(evaluation)
if why is None:  # a finer grid, of another photo
    whole = grids.read(place)
    vectors, scores = whole.vectors, whole.score()[0]
    label = f"minus NIQE, photo {whole.story['test'][0]['image']}"
else:
    print(f"the coarse grid is drawn: {why}")
save_figure(pair_matrix(vectors, scores, label), run_dir, "65_pairs.png")
plt.show()

# %% [markdown]
# ## 4 Every strategy against the whole grid
#
# One photo and a coarse grid prove nothing. `benchmarks/grids.py` has run all 1512 vectors on held-out photos with
# the shipped model and kept every score; `benchmarks/strategies.py` has compared each strategy with it (a profile with
# other weights needs a table of its own):
#
# - **Lists of the paper**: the range [0, 1], each expert struck out, one-hot, the N most frequent optima, the average
#   optimum, a random forest that predicts weights. What is learned is learned on *other* photos.
# - **Covering sets** (ours): vectors chosen one after another, each for what the ones before leave to gain.
# - **Score prediction** (ours): a forest predicts how each vector of a list will do; only the most promising
#   are sampled. What it chooses was at least good for some photo; an average of good weights need not be.
# - **Surrogates** and **funnel** as above, over the whole grid.
#
# Tried with earlier weights and deleted: a walk uphill over guessed scores, from the best expert to neighbours on the
# grid. It needed only 50 decodings and 41 calls, but ended on a foothill (share .85; commit b0289b7 has code and rows).
# A few frequent or covering sets beside the surrogate's best eight changed nothing at all.
#
# **Share of the gain kept**, on one photo: how far the strategy's score lies on the way from the blind expert BR
# (0) to the best of the grid (1). It is below 0 where a strategy does worse than the blind expert.

# %%
rows = read_rows(place / "strategies.jsonl") if why is None else []
what = (strategies.SET, "all photos", strategies.GRID, strategies.SHARE)
if rows:
    lines = strategies.summary(rows)
    kept = [(name, line[strategies.SHARE], int(line["unet_calls"])) for name, line in lines.iterrows()]
    about = {"variant": f"mean share {strategies.SHARE_VARIANT}"}
    report = [row(*what[:2], name, what[3], value, unet_calls=calls, **about) for name, value, calls in kept]
else:
    lines = None
    report = [not_run(*what, why, variant=f"mean share {strategies.SHARE_VARIANT}")]
    print("not run:", why)
write_rows(run_dir, "65_cheaper_search", report)
lines if lines is None else lines.round(3)

# %% [markdown]
# One line a strategy, cheapest first; means over the photos, and the share on the worst photo. *Seconds* are given
# where the strategy was really run; lists were looked up in the grid's table. `of the grid` is the share of its calls.
#
# Now the plot. Left: the score that was searched, and in the middle the same from near. A strategy is worth having if
# nothing above it lies to its left (the stepped line joins those; they are numbered, and listed below). Right: LPIPS,
# which compares with the sharp photo and which nobody searched. A point that is high on the left and no better than its
# neighbours on the right has learned to please the judge.

# %%
FAMILIES = {"corrected": "corrected surrogate", "curved": "curved surrogate", "surrogate": "surrogate",
            "funnel": "funnel", "score prediction": "score prediction",
            "covering sets": "covering sets", "most frequent": "frequent sets", "without": "strike-out"}  # fmt: skip


def family(name):
    """The kind of a strategy, by what its name contains."""
    return next((kind for word, kind in FAMILIES.items() if word in name), "other list")


# %% [markdown]
# The kinds only colour the points. Drawing them:

# %%
NEAR = {"xlim": (20, 200), "ylim": (0.89, 1.01)}  # calls and shares of the middle plot


def front(lines):
    """The strategies that no cheaper one equals."""
    best = lines[strategies.SHARE].cummax()
    return list(lines.index[best > best.shift(fill_value=-np.inf)])


def scatter(axes, lines):
    """Each strategy as a point of its kind: share kept twice, then LPIPS."""
    lines = lines.assign(kind=[family(name) for name in lines.index])
    kinds = ["other list", *reversed(FAMILIES.values())]  # the last is drawn on top
    how = {"x": "unet_calls", "hue": "kind", "style": "kind", "hue_order": kinds, "style_order": kinds, "s": 60}
    for axis, column in zip(axes, (strategies.SHARE, strategies.SHARE, "lpips"), strict=True):
        sns.scatterplot(lines, y=column, ax=axis, legend=axis is axes[2], **how)
        axis.set(xscale="log", xlabel="UNet calls for one photo", ylabel="share of the gain kept")
    axes[2].set(ylabel="LPIPS")
    axes[2].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


# %% [markdown]
# The numbers stand beside the points of the stepped line, in the plot where there is room for them.

# %%
def pareto(lines):
    """Share kept, the same from near, and LPIPS, against calls; the stepped line is the best that any cheaper one keeps."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    scatter(axes, lines)
    best = lines[strategies.SHARE].cummax()
    for axis in axes[:2]:
        axis.step(lines["unet_calls"], best, where="post", color="grey", linewidth=1)
        axis.axvline(lines.loc[strategies.GRID, "unet_calls"] / 100, color="grey", linestyle=":")
    axes[1].set(**NEAR)
    axes[1].set_xticks([20, 50, 100, 200], [20, 50, 100, 200])
    axes[1].set_xticks([], minor=True)
    titles = ("searched (NIQE): higher is better", "from near", "not searched: lower is better")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
    points = {str(n): (lines.loc[name, "unet_calls"], best[name]) for n, name in enumerate(front(lines), 1)}
    (left, right), (low, high) = NEAR.values()
    near = {n: (x, y) for n, (x, y) in points.items() if left < x < right and low < y < high}
    label_points(axes[0], {n: point for n, point in points.items() if n not in near})
    label_points(axes[1], near)
    return figure


# %%
if lines is not None:
    save_figure(pareto(lines), run_dir, "65_pareto.png")
    plt.show()
    for n, name in enumerate(front(lines), 1):
        print(f"{n} {name}: {lines.loc[name, 'unet_calls']:.0f} calls, share {lines.loc[name, strategies.SHARE]:.3f}")

# %% [markdown]
# The dotted line marks a hundredth of the grid's calls. Which strategies keep nearly everything to the left of it?
# The cell below asks exactly that, and puts the paper's eight frequent sets beside them.

# %%
if lines is not None:
    cheap = lines[(lines["of the grid"] <= 0.01) | (lines.index == "8 most frequent")]
    shown = [strategies.SHARE, "worst share", "unet_calls", "decodes", "lpips", "psnr"]
    best = cheap.sort_values(strategies.SHARE, ascending=False)[shown].round(3)
    print(best.loc[list(dict.fromkeys([*best.index[:8], "8 most frequent"]))].to_string())
    assert lines.loc[strategies.GRID, strategies.SHARE] == 1 and lines.loc[strategies.BLIND, strategies.SHARE] == 0

# %% [markdown]
# Averages hide photos. A strategy that keeps nearly all on average may lose much on one photo; that is what
# *worst share* tells, and what each dot below shows.

# %%
if lines is not None:
    dots = pd.DataFrame([r for r in rows if r["metric"] == strategies.SHARE])
    shown = [name for name in lines.index if lines.loc[name, "of the grid"] <= 0.02]
    figure, axis = plt.subplots(figsize=(8, 0.28 * len(shown) + 1), layout="constrained")
    dots = dots[dots["method"].isin(shown)]
    np.random.seed(seed)  # of the dots' jitter
    sns.stripplot(dots, x="value", y="method", order=shown, hue="image", legend=False, ax=axis)
    axis.axvline(1, color="grey", linewidth=1)
    axis.set(xlabel="share of the gain kept, one dot a photo", ylabel="")
    save_figure(figure, run_dir, "65_photos.png")
    plt.show()

# %% [markdown]
# Strategies stand from cheap (top) to dear. A dot left of 0 is a photo on which the search did harm by its own
# score; the same colour is the same photo.
#
# ## 5 Does composition pay at all?
#
# All this searching is worth its calls only if a mixture can be better than the best single expert. The table of whole
# grids can tell, by LPIPS. *Best expert* is the best of the six for that very photo, which nobody knows beforehand, so
# the comparison is a hard one; *best fixed expert* is the one that is best on average. The *oracle* takes the best vector
# by LPIPS, looking at the sharp photo; *NIQE* takes its own favourite without looking, and so does *expected LPIPS*, the
# judge of notebook 85 that was fitted to these experts. The bars were set before the model was trained: the oracle ahead
# of the best expert by 5 %, and a score that sees no reference keeps half of that gain. They are printed whatever they are,
# over each kind of best expert.

# %%
if why is None:
    photos = composition.by_photo(grids.read(place))
    assert (photos["oracle, all 1512"] <= photos["oracle, [0, 1]"]).all()
    assert (photos["oracle, [0, 1]"] <= photos[composition.EXPERT]).all()
    print(photos.round(3).to_string())
    for over in (composition.EXPERT, composition.FIXED):
        print(composition.bars(photos, over).round(2).to_string(index=False))

# %% [markdown]
# The two asserts can't fail unless the table is broken: the six experts are among the 252 vectors, and these among the
# 1512. How *far* the columns lie apart is the finding. A negative share says that NIQE's choice is worse than the best
# expert: a search without a reference runs out of its judge first (notebook 85). And where even the oracle misses its
# bar, mixtures of these experts have little more to give.
#
# ## What to try
#
# 1. Where does the surrogate fail? Repeat section 2 with DownLQ at factor 16 (`unires.restore.with_factor`): the
#    experts' latents lie further apart, and the neglected terms grow with the square of that.
# 2. The surrogate needs no network for a new vector, so its score can be climbed: write the gradient of a smooth score
#    with respect to w, and project it on the plane where the weights sum to 1.
# 3. Use both: which vectors does the funnel's first round throw away that the surrogate would have kept?
# 4. Count decodings instead of calls in the plot. Which strategy wins on a machine with a fast network and a slow score?
