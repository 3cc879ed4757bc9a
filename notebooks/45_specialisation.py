# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 45 Specialisation
#
# **Question.** Six experts share one network and differ by a few words. Is each of them really the best at its own
# flaw, and by how much?
#
# **In:** the trained model (notebook 30), held-out photos flawed by one task at a time, mild and heavy.
# **Out:** a matrix, experts by flaws: rows of PSNR and LPIPS, two heat maps, and a table of bars with what was
# measured beside each goal, reached or not.
#
# **Minutes:** smoke under 1 | demo about 20. It runs on request: `python -m benchmarks.run --profile demo --only
# 45_specialisation`. Notebook 40 looks at eight photos of each set; a claim needs more.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"
factors = (1, 2, 4, 8)  # of DownLQ, section 6

# %%
import os
from pathlib import Path

if Path.cwd().name == "notebooks":  # Jupyter starts there; everything below is named from the project's root
    os.chdir("..")

# %%
import inspect
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from tqdm import tqdm

from benchmarks import specialisation
from benchmarks.evaluate import EXPERT_METHODS, Evaluation, frame
from benchmarks.figures import save_figure, show_photos, side_by_side
from benchmarks.report import write_table
from unires.compose import down_lq
from unires.data import texture
from unires.engine import Engine
from unires.metrics import METRICS, measure
from unires.record import row, write_rows, write_run
from unires.restore import restorer_of
from unires.tasks import TASKS, down_lq_experts

sns.set_theme(style="white", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
config, restorer = evaluation.config, evaluation.restorer
engine = Engine(restorer)

# %% [markdown]
# ## 1 Why a matrix
#
# "The deblurring expert improves blurred photos" is a weak claim. Perhaps every expert does: they share all
# weights, and a network that only learnt to sharpen would help everywhere a little. Composing such experts would be
# pointless, for a mix of equals is one of them. The claim that composition stands on is stronger: *the experts
# disagree, and each is right about something else*. It has a shape that one can see. Put the experts in the rows of a
# table and the flaws in its columns; then the diagonal must win, column by column.
#
# Two ways to fail look alike in a list and differ in the matrix. If all rows are the same, the words have no effect.
# If one row wins everywhere, the words have an effect, but there is one best expert and no reason to mix.
#
# ## 2 The sets
#
# One flaw at a time (SR low resolution, MD motion, DD defocus, DN noise), at two severities: 1 is the heaviest that
# training has drawn, the other is what notebook 40 shows. All columns share the same crops. They come from the held-out
# photos, on a grid whose neighbours overlap: seven photos have few crops side by side, and a mean over few crops is
# easily one lucky crop. Overlapping crops are no independent witnesses, so they make the mean steadier,
# but less so than as many separate photos would. The most textured are taken, by mean gradient.

# %%
e = config.evaluation
names = [task.name for task in TASKS]
sets = {
    specialisation.set_name(task, severity): specialisation.matrix_set(task, severity, config)
    for severity, task in product(e.matrix_severities, names)
}
crops = {item.image: item.x for item in next(iter(sets.values()))}
write_run(run_dir, data={"matrix": specialisation.sets_hash(sets)})
detailed = [texture(x) for x in crops.values()]
print(f"{len(sets)} sets of {len(crops)} crops, {e.crop} pixels, a grid of {e.matrix_stride}")
print(pd.Series([name.split("-")[0] for name in crops]).value_counts().to_dict())
print(f"mean gradient {min(detailed):.4f} to {max(detailed):.4f}")
assert len(crops) == e.matrix_crops and len(sets) == 4 * len(e.matrix_severities)
assert all([item.image for item in items] == list(crops) for items in sets.values())

# %% [markdown]
# The two severities of a crop share their seed: the same kinds of blur, the same pattern of noise, only stronger.
# So a difference between them is a difference in strength, not in luck.

# %%
shown = [[sets[specialisation.set_name(task, s)][0].y for task in names] for s in e.matrix_severities]
zoom = 200 / e.crop
figure = show_photos(shown, names, [f"severity {s:g}" for s in e.matrix_severities], zoom=zoom)
save_figure(figure, run_dir, "45_sets.jpg")
plt.show()

# %% [markdown]
# ## 3 Restore and measure
#
# `alone` restores one photo with each of its experts. All start from the same noise, so the first step of all six is
# one batch; the later steps run in one batch as well, a row an expert. Nothing else is shared: the answers
# are those of the plain restorer.
#
# Two more methods restore nothing. `LQ` is the flawed photo. `autoencoder` is the flawed photo, coded and decoded:
# what a model in latent space pays at the door. An expert that leaves the photo as it is would score like that, so
# PSNR of the experts that must invent detail (SR, DD) is compared with it. The set `HQ` is the *sharp* photo, coded and
# decoded: no restoration with this autoencoder can be expected to do better.

# %%
print(inspect.getsource(specialisation.alone))
rows = []
for name, items in sets.items():
    for item in tqdm(items, desc=name, unit="crop"):
        rows += specialisation.rows_of(item, specialisation.LQ, item.y)
        coded = specialisation.through_autoencoder(restorer, item.y)
        rows += specialisation.rows_of(item, specialisation.AUTOENCODER, coded)
        for method, photo in specialisation.alone(engine.study(item.y, seed)):
            assert photo.shape == item.x.shape and np.isfinite(photo).all()
            cost = {"weights": EXPERT_METHODS[method], "unet_calls": config.sample.steps}
            rows += specialisation.rows_of(item, method, photo, **cost)
expected = len(sets) * len(crops) * (len(EXPERT_METHODS) + 2) * 2
assert len(rows) == expected, "a row for every set, crop, method and metric"
for image, x in crops.items():
    for metric in ("psnr", "lpips"):
        value = measure(metric, specialisation.through_autoencoder(restorer, x), x)
        rows.append(row("HQ", image, "autoencoder", metric, value, variant=METRICS[metric].variant))
write_rows(run_dir, "45_specialisation", rows)

# %%
matrix = [one for one in rows if one["set"] in sets]
psnr, lpips = (specialisation.means(matrix, metric) for metric in ("psnr", "lpips"))
for metric, table in (("psnr", psnr), ("lpips", lpips)):
    write_table(table, run_dir, f"45_{metric}")
ceiling = frame([one for one in rows if one["set"] == "HQ"]).groupby("metric")["value"].mean()
print(f"HQ through the autoencoder: {ceiling['psnr']:.2f} dB, LPIPS {ceiling['lpips']:.3f}")
pd.concat({"psnr": psnr.round(2), "lpips": lpips.round(3)})

# %% [markdown]
# ## 4 Two heat maps
#
# On the left, LPIPS of each expert in percent of the flawed photo's: how much is *gained*. Below zero the expert helps,
# above it harms. On the right, how far each expert lies above the best one of its column: who *wins*. There the
# matching expert should be at zero. The five upper experts differ by words alone and are compared with each other;
# DownLQ also sees another condition, and so it may be below zero: better than all five. A frame marks the matching
# expert. Colours end at 60 % on the left and at 20 % on the right: beyond that it no longer matters by how much.

# %%
gain, above = specialisation.relative_to_lq(lpips), specialisation.above_best(lpips)
figure, axes = plt.subplots(1, 2, figsize=(13, 4), layout="constrained", sharey=True)
maps = (
    (gain, "LPIPS against LQ, %", {"vmin": -60, "vmax": 60}),
    (above, "LPIPS above the best, %", {"vmin": 0, "vmax": 20}),
)
for axis, (table, title, limits) in zip(axes, maps, strict=True):
    palette = "rocket_r" if limits["vmin"] == 0 else "vlag"
    sns.heatmap(table, annot=True, fmt=".1f", cmap=palette, ax=axis, annot_kws={"size": 9}, **limits)
    for column, name in enumerate(table):
        line = list(table.index).index(f"{specialisation.task_of(name)[0]}=1")
        axis.add_patch(plt.Rectangle((column, line), 1, 1, fill=False, lw=2, ec="black"))
    axis.set(title=title, xlabel="", ylabel="")
    axis.tick_params(axis="x", rotation=45)
save_figure(figure, run_dir, "45_matrix.png")
plt.show()
assert np.isfinite(gain).all(axis=None) and (above.loc[list(specialisation.TEXT_EXPERTS)].min() == 0).all()

# %% [markdown]
# How to read it. A dark column on the right says that the experts disagree about this flaw: words matter there. A pale
# column says that any expert will do. A row that is pale everywhere is a generalist; the blind expert BR, which
# has seen all flaws without being told which, is the natural candidate. If it were the best everywhere, the words
# would be noise. Compare the two severities of a flaw. One might expect a mild flaw to leave less to disagree about; in
# the demo's run the experts differ *more* on mild flaws, most clearly on noise and hardly on motion. Perhaps a heavy flaw makes all answers
# alike, and a mild one leaves more that a wrong expert can spoil.
#
# ## 5 The bars
#
# What "specialised" means was written down before the model was trained:
#
# 1. On every set the matching expert has the best LPIPS of the five, or is within 1 % of the best, and it is at least
#    5 % better than the worst.
# 2. At the stronger severity the matching expert gains over the flawed photo: SR and DD 25 % of LPIPS, and no less PSNR
#    than the flawed photo that went through the autoencoder; MD 1 dB and 20 %; DN 5 dB and 50 %.
#
# Nothing here is asserted. A bar that isn't reached stands in the table with its value.

# %%
print(inspect.getsource(specialisation.bars))
bars = specialisation.bars(matrix)
write_table(bars.set_index(["set", "what"]), run_dir, "45_bars")
print(f"{bars['reached'].sum()} of {len(bars)} bars reached")
bars.round(2)

# %% [markdown]
# Numbers are opinions; look. One crop for each flaw at the stronger severity, at its own pixels: the input, the
# matching expert, of the others the one with the worst mean LPIPS, and the sharp photo. Which crop is a rule: spread
# evenly over the crops in order of texture, not chosen by result. Look for what a mean hides: a pattern of small
# squares, a change of colour, skin and fur that became plastic, lines drawn where there were none. LPIPS stands in each
# corner. (The paper's Figures 4 to 7 set photos side by side like this.)

# %%
strong = max(e.matrix_severities)
shown, labels = {}, []
for i, task in enumerate(names):
    name = specialisation.set_name(task, strong)
    item = sets[name][i * len(crops) // len(names)]
    worst = lpips.loc[list(specialisation.TEXT_EXPERTS), name].drop(f"{task}=1").idxmax()
    made = dict(specialisation.alone(engine.study(item.y, seed)))
    shown[name, item.image] = {"LQ": item.y} | {m: made[m] for m in (f"{task}=1", worst)} | {"HQ": item.x}
    labels.append(f"{task}; worst: {worst}")
titles = ["LQ", "matching expert", "worst expert", "HQ"]
figure = side_by_side(rows, shown, titles, labels, zoom=max(1, 192 / e.crop))
save_figure(figure, run_dir, "45_examples.jpg")
plt.show()

# %% [markdown]
# ## 6 DownLQ: told less, does it invent more?
#
# The sixth expert has the words of super-resolution but sees a condition that was reduced and enlarged again. The paper
# calls this a dial from fidelity to quality (its Figure 3): the larger the factor, the less the network is told, the
# more it must make up. Two things should follow on complex photos. **Detail**, the mean squared gradient of the
# restored photo, should rise with the factor, though the *condition* has less and less of it. And **PSNR** should fall,
# since detail that was made up is in the wrong place. Factor 1 is SR itself.

# %%
dial = Engine(restorer_of(config, down_lq_experts(tuple(factors)))[0])
items, told = evaluation.sets["complex"], []
for item in items:
    answers = dict(specialisation.alone(dial.study(item.y, seed)))
    for factor in factors:
        photo = answers[f"DownLQ{factor}=1"]
        method = specialisation.down_lq_method(factor)
        about = {"factor": factor, "unet_calls": config.sample.steps}
        told += specialisation.rows_of(item, method, photo, **about)
        value = specialisation.detail(photo)
        told.append(row(item.set, item.image, method, specialisation.DETAIL, value,
                        variant=specialisation.DETAIL_VARIANT, **about))  # fmt: skip
write_rows(run_dir, "45_specialisation", rows + told)
assert len(told) == 3 * len(items) * len(factors)
print({f: round(float(np.mean([specialisation.detail(down_lq(i.y, f)) for i in items])), 4) for f in factors})

# %% [markdown]
# (Printed: the detail of the condition itself, by factor. It can only fall.) The lines below are means over the complex
# photos, the band is the spread of the mean under resampling; the dashed line is the detail of the sharp photos.

# %%
table = frame(told)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
titles = {specialisation.DETAIL: "detail (gradient energy)", "psnr": "PSNR, dB", "lpips": "LPIPS"}
for axis, (metric, title) in zip(axes, titles.items(), strict=True):
    sns.lineplot(table[table["metric"] == metric], x="factor", y="value", marker="o", seed=seed, ax=axis)
    axis.set(title=title, xlabel="DownLQ factor", ylabel="", xscale="log", xticks=factors, xticklabels=factors)
    axis.minorticks_off()
axes[0].axhline(np.mean([specialisation.detail(item.x) for item in items]), ls="--", color="0.5")
save_figure(figure, run_dir, "45_downlq.png")
down = specialisation.down_lq_bars([one for one in told if one["metric"] != "lpips"])
write_table(down.set_index(["set", "what"]), run_dir, "45_downlq_bars")
down.round(4)

# %% [markdown]
# In the demo's run detail still rises a little at a factor of 2, though the condition has less of it; from 4 on it falls:
# told less than it can make up for, the network blurs in place of inventing. The skill to invent is learned, and ours has
# learned some of it; the paper's network came with it from its pre-training on a world of photos.

# %% [markdown]
# ## What to try
#
# 1. Read the matrix with PSNR instead of LPIPS. Do the same experts win? Which expert gains most from the change
#    of judge, and why must it be that one?
# 2. Set `factors = (1, 2, 4, 8, 16)`. Where does detail stop rising? What is left of the photo there?
# 3. Judge crop by crop: on how many crops of each set is the matching expert the best? A mean can be won by a
#    few crops. The rows hold all that you need.
# 4. Which two columns of the right heat map look most alike? Their flaws are alike to this network. Does a photo that
#    has both need both experts?
