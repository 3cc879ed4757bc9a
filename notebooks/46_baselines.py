# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 46 Baselines
#
# **Question.** What would a user pick instead, how good is it on photos with several flaws at once, and how long does
# it take on this processor?
#
# **In:** pairs of Complex11 (notebook 10), the trained model (notebook 30), scikit-image, and Real-ESRGAN where it is
# installed (`pip install unires[peers]`).
# **Out:** rows of PSNR, LPIPS, NIQE and seconds for every method, a table, one picture, and bars with what was
# measured beside each goal.
#
# **Minutes:** smoke about 1 | demo about 33. It runs on request: `python -m benchmarks.run --profile demo --only
# 46_baselines`. Let nothing else run beside it: it measures seconds.

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
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from tqdm import tqdm

from benchmarks import baselines, complex11
from benchmarks.evaluate import CANDIDATES, Evaluation
from benchmarks.figures import label_points, save_figure, side_by_side
from benchmarks.report import write_table
from unires.data import sha256
from unires.engine import Engine
from unires.judge import expected_lpips, knows
from unires.models.store import CheckpointError
from unires.record import write_rows, write_run
from unires.score import metric_score
from unires.search import automatic, grid

sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
config, restorer = evaluation.config, evaluation.restorer
engine = Engine(restorer)

# %% [markdown]
# ## 1 The photos
#
# A new method is easily compared with nothing, or with its own weaker versions. A user compares it with what can be
# had today. So we take photos that none of the methods was made for, from Complex11: held out from our training, two
# to four flaws each, mild and heavy, with the sharp photo to judge by. The subset is spread evenly over the benchmark,
# so that each mixture comes once before any comes twice.
#
# One thing is unequal and can't be helped. Our model was trained on flaws from the same families as those of Complex11
# (other photos, other draws); Real-ESRGAN was trained on flaws of its authors', among them blur, noise and
# JPEG but no motion; the classical methods were not trained at all. A win here is a win on this
# kind of flaw, not on every photo in the world.

# %%
lines = baselines.spread(complex11.read_manifest(), config.evaluation.baseline_pairs)
pairs = list(complex11.build(lines))
write_run(run_dir, data={"complex11": sha256(complex11.MANIFEST)})
pd.DataFrame([{"mixture": p.mixture, "severity": p.severity, "pixels": p.size} for p in pairs])

# %% [markdown]
# ## 2 The classical methods
#
# - **Total variation** (TV) looks for a photo near this one whose gradients sum to little. Small gradients cost more
#   than a few large ones of the same sum allow: areas become flat and edges stay.
# - **Non-local means** replaces a pixel by a mean over pixels whose *surroundings* look alike, wherever they are. It
#   must know how strong the noise is; we estimate that from the finest diagonal details, where a photo has little.
# - **BayesShrink** writes the photo as wavelets and moves coefficients towards zero, each band by a threshold that
#   suits its own spread: where there is mostly noise, much.
# - **Richardson-Lucy** undoes a *known* blur by repeated correction. The blur of these photos is not known; a small
#   Gaussian is a user's guess. It amplifies noise, so non-local means comes first.
# - **Unsharp mask** adds what a blur takes away. It is in every photo program, and it knows nothing about flaws.
#
# All parameters are the packages' defaults or their own examples', fixed beforehand. Tuning them on these photos would
# make them look better than they are for somebody who has no sharp photo; so would tuning ours.

# %%
for function in (baselines.noise_level, baselines.non_local_means, baselines.richardson_lucy):
    print(inspect.getsource(function))

# %% [markdown]
# ## 3 Networks
#
# **Real-ESRGAN** is the restorer that most programs for enlarging photos carry: a network trained to undo a long random
# chain of blur, noise, resizing and JPEG (the chain that our SR flaws imitate, notebook 10). It enlarges by 4, so its
# result is reduced by 4 again, by area, and the size stays. It runs through ncnn on the processor, with all cores, as a
# user without a graphics card would run it.
#
# **A regression network** is the honest control: our own network, fine-tuned from the same base on the same kind of pairs to
# answer in one step with the mean of the sharp photos that fit. No noise levels, no prompts, no experts, and no look at
# decoded answers, which would pull it off the mean. It has the budget of `demo_short`, an hour of a laptop; what ships
# has seen 46 times as many pixels on a GPU. So what ours is better by is owed to diffusion, composition, that look and
# more training, together. Three networks are too large for one package, so this one does not ship: `python -m unires
# train --profile demo_regression --photos FOLDER` makes it, and it is found where that leaves it.
#
# What can't be loaded is left out, and its rows say `not run` and why.

# %%
peers, absent = {}, {}
makers = {
    baselines.REAL_ESRGAN: baselines.real_esrgan,
    baselines.REGRESSION: lambda: baselines.regression_network(config),
}
for name, make in makers.items():
    try:
        peers[name] = make()
    except (ImportError, CheckpointError) as missing:
        absent[name] = str(missing)
print("loaded:", ", ".join(peers) or "none")

# %% [markdown]
# ## 4 Ours
#
# First a second control: our own model in **one step**. At the first step it sees pure noise beside the flawed photo, so
# all it can give is one answer near the mean of the sharp latents that fit, as the regression network does; but it has
# prompts and later steps to keep in mind, and its fine-tuning looked at decoded answers, which that network's didn't. It
# counts among the others below.
#
# Then the ways to use the model, all fixed beforehand. The **blind** expert alone: no choice to make. **Fixed
# mixtures**: the paper's example and an even mix of the experts against motion and noise, the same for every photo.
# And weights that are **searched** for each photo, in its middle; the whole is restored with what was found. No search
# sees the sharp photo, and all its seconds count. *Automatic* is what `--weights auto` does: it samples a short list of
# twelve vectors, and the judge of notebook 85 chooses, who was fitted to these experts (NIQE where it knows them not).
# *Search* is `--weights search`: all 1512 vectors of the paper's grid are ranked by guesses (notebook 65), by either judge.

# %%
mixtures = ("MD=0.6 DN=-0.2 DownLQ=0.6", "MD=0.5 DN=0.5")
searches = {"automatic": {}, "search by NIQE": {"vectors": grid(), "scores": metric_score("niqe")}}
if knows(config):
    searches["search by expected LPIPS"] = {"vectors": grid(), "scores": expected_lpips}
control = {"one step: a regression": lambda y: restorer(y, {"BR": 1.0}, seed=seed, steps=1)}
ours = {name: lambda y, w=CANDIDATES[name]: restorer(y, w, seed=seed) for name in ("BR=1", *mixtures)}
ours |= {name: lambda y, how=how: automatic(engine, y, seed=seed, **how)[0] for name, how in searches.items()}
methods = {"LQ": baselines.identity, **baselines.CLASSICAL, **peers, **control, **ours}
print(inspect.getsource(automatic).split('"""')[-1])

# %% [markdown]
# ## 5 Restore, measure, take the time
#
# Seconds are from the photo in memory to the restored photo in memory. The first call of ours compiles, and a median
# forgets that. Models are loaded before the clock starts: a user loads once.

# %%
rows, restored = [], {}
for pair in tqdm(pairs, unit="photo"):
    for method, function in methods.items():
        began = time.perf_counter()
        try:
            photo = function(pair.y)
        except ImportError as missing:
            absent[method] = str(missing)
            continue
        seconds = time.perf_counter() - began
        assert photo.shape == pair.x.shape and np.isfinite(photo).all(), method
        restored[pair.id, method] = photo
        rows += baselines.rows_of(pair, method, photo, seconds=seconds, weights=CANDIDATES.get(method))
    for method, why in absent.items():
        rows += baselines.missing_rows(pair, method, why)
write_rows(run_dir, "46_baselines", rows)
assert len(rows) == len(pairs) * len({*methods, *absent}) * len(baselines.MEASURED)

# %%
table = baselines.table(rows)
write_table(table, run_dir, "46_baselines")
for method, why in absent.items():
    print(f"not run: {method}: {why}")
table.round({"psnr": 2, "lpips": 3, "niqe": 2, "seconds": 2})

# %% [markdown]
# Up is better for PSNR, down for LPIPS and NIQE. Expect the judges to disagree. PSNR favours caution: the mean of all
# photos that might have been is smooth. But smoothing alone doesn't win it; see where total variation stands. LPIPS asks
# whether the result looks like the sharp photo.
# NIQE asks whether it looks like *any* natural photo, so whoever paints crisp detail pleases it, right or wrong; and
# one of our methods has chosen its weights by it, so NIQE can't judge that one. The judge that chooses by *expected* LPIPS
# was fitted to what LPIPS says of other photos: LPIPS flatters it, though it has seen none of these.
#
# Now the same table as a picture: left is faster, low is closer to the sharp photo.

# %%
groups = dict.fromkeys(methods, "classical") | dict.fromkeys(peers | control, "network") | dict.fromkeys(ours, "ours")
shown = table.drop("LQ").reset_index()
shown["kind"] = shown["method"].map(groups)
figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
sns.scatterplot(shown, x="seconds", y="lpips", hue="kind", style="kind", s=90, ax=axis)
axis.axhline(table.loc["LQ", "lpips"], color="0.5", ls="--", lw=1)
axis.set(xscale="log", xlabel="seconds a photo (median)", ylabel="mean LPIPS; dashed: the flawed photo")
axis.margins(x=0.3, y=0.15)
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
label_points(axis, dict(shown.set_index("method")[["seconds", "lpips"]].T.items()))
save_figure(figure, run_dir, "46_baselines.png")
plt.show()

# %% [markdown]
# ## 6 The bars
#
# Set before the model was trained: ours is ahead on LPIPS, and at least five times faster than Real-ESRGAN. Each of
# ours is compared with the best of the *others*, found by looking at these results: that flatters the others, which is
# the right direction for an error. Printed whatever they are.

# %%
bars = baselines.bars(rows, list(ours))
write_table(bars.set_index(["method", "what"]), run_dir, "46_bars")
print(f"{bars['reached'].sum()} of {len(bars)} bars reached")
bars.round(2)

# %% [markdown]
# And look. The first three photos of 256 pixels: the flawed photo, the classical method with the best mean LPIPS,
# Real-ESRGAN where it ran, our best by the same measure, and the sharp photo. (The paper's Figures 4 to 7 compare methods
# in this way.) LPIPS stands in each corner.

# %%
means = table["lpips"]
classical = means[[name for name in baselines.CLASSICAL if name in means.index]].idxmin()
columns = ["LQ", classical, *(name for name in peers if name in means.index), means[list(ours)].idxmin()]
some = [pair for pair in pairs if pair.size == min(p.size for p in pairs)][:3]
shown = {(complex11.NAME, p.id): {m: restored[p.id, m] for m in columns} | {"HQ": p.x} for p in some}
figure = side_by_side(rows, shown, names=[f"{pair.mixture} {pair.severity}" for pair in some], zoom=0.8)
save_figure(figure, run_dir, "46_photos.jpg")
plt.show()

# %% [markdown]
# ## What to try
#
# 1. Chain two classical methods, a denoiser and the unsharp mask. In which order is LPIPS lower, and why?
# 2. Give Richardson-Lucy the true blur: the recipe in Complex11's manifest has it. How much of its trouble was the
#    guess, and how much the noise?
# 3. Reduce Real-ESRGAN's *input* by 2 before it enlarges by 4. When is that better, and what does it tell about the
#    flaws that it was trained on?
# 4. Group the rows by severity. Is there a method that you would use on mild photos and not on heavy ones?
