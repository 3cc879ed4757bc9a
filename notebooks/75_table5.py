# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 75 Table 5: what it costs
#
# **Question.** How many calls of the network and how many seconds does each way of choosing the weights take, and what
# does one get for them?
#
# **In:** the paper's Table 5 as printed, with the seconds of its machines; the strategies that `benchmarks.strategies` has
# compared with the whole grid, where its results are committed; our restorations of `complex`, which know their seconds.
# **Out:** calls, seconds and scores side by side; rows in `rows.jsonl`; two pictures of price and quality.
#
# **Minutes:** smoke under 1 | demo under 1 (some more where it must restore every candidate itself).

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

from benchmarks import table_runs, tables
from benchmarks.evaluate import Evaluation
from benchmarks.figures import label_points, save_figure
from benchmarks.searches import search_name
from unires.engine import unet_calls
from unires.record import write_rows
from unires.search import grid, one_hot

sns.set_theme(style="whitegrid", context="notebook")
METRICS = ("psnr", "lpips", "niqe", "clipiqa", "musiq", "maniqa")
COSTS = ("UNet calls", "seconds")
evaluation = Evaluation.start(run_dir, profile, seed)
SEARCH = search_name(evaluation.config.search)
paper, lines = tables.paper_table(5), tables.lines(5, evaluation.config.search)

# %% [markdown]
# ## 1 What the paper prints
#
# Seconds for one photo of DiversePhotos x1, with quality. Ten methods of others, measured with PyTorch on an A100, and
# eight ways to choose UniRes' weights, measured with JAX on a TPU v5. **Two machines in one column**: a ratio between the
# two groups says nothing about the methods. Inside a group it does.
#
# - *Grid search*: all 1512 vectors. *N most frequent*: the vectors that won most often on other photos, and no others.
# - *Average optimal*: the mean of the best vectors of other photos, for every photo. *Random forest*: weights guessed from
#   features of the flawed photo. Neither searches.

# %%
printed = paper.pivot_table(index="line", columns="metric", values="value", sort=False)
own = printed[printed.index.str.startswith("UniRes")]
each = own["seconds"] / own.index.str.extract(r"(\d+)")[0].astype(float).fillna(1).to_numpy()
print("seconds for one vector, as each line implies them:", ", ".join(f"{value:.3f}" for value in each))
assert np.allclose(each, each.median(), rtol=0.03)  # a list costs its length
printed.assign(**{"seconds a vector": each.round(3)}).map(lambda value: "" if pd.isna(value) else f"{value:g}")

# %% [markdown]
# The check shows what the seconds are: length of the list times one restoration (the paper says 2.332 s) with its MUSIQ
# score (0.1 s). So the line of the grid isn't a
# measurement that teaches anything new, and neither would ours be, if calls are counted right. That is why we put **calls**
# first: a *call* is one expert's pass through the UNet in one step. It is the same on each machine. Seconds aren't.
#
# And one more look at the printed numbers: from the grid down to one single vector for all photos, the time falls by a
# factor of 1512. How far does the quality fall, in the metric that was searched, and in the two that weren't?

# %%
for line in own.index[1:]:
    change = own.loc[line, ["musiq", "clipiqa", "maniqa"]] / own.iloc[0][["musiq", "clipiqa", "maniqa"]] - 1
    print(f"{line:38}", ", ".join(f"{metric} {value:+.1%}" for metric, value in change.items()))
one = own.loc["UniRes, 1 most frequent"] - own.iloc[0]
assert one["musiq"] < 0 < min(one["clipiqa"], one["maniqa"])

# %% [markdown]
# One vector for everybody, without any search, loses a little of the searched metric and is *ahead* in the other two. The
# two lines that look cleverest, the average and the forest, are behind it in all three. Averages of good weights need not
# be good weights: the mean of two peaks lies in the valley between them.
#
# ## 2 Ours
#
# - On `grids`: each strategy against the whole grid that was really run. Lists are *looked up*, so their calls are exact
#   and nobody waited for them. Where a strategy was really run its seconds are those of this project's machine (of both
#   its cores; the grid had one core a photo, two photos side by side). The paper's profile runs the grid on its photos, so
#   its line stands there.
# - On `complex`: the profile's search (in smoke and demo through our short list), the blind expert alone, and the classical
#   restorers, with seconds.
#
# The engine shares the first step among all vectors and doesn't ask experts with weight 0 (notebook 65), so the grid is
# cheaper here than its length says. By the formula:

# %%
steps = evaluation.config.sample.steps
whole = unet_calls(grid(), steps)
assert unet_calls(one_hot(), steps) == 6 * steps and whole < 9072 * steps
print(f"plain loop {9072 * steps} calls, engine {whole}: {whole / (9072 * steps):.0%}")
rows = table_runs.table_rows(evaluation, "75_table5", lines, METRICS)
searched = table_runs.grid_rows(evaluation, lines, METRICS)
mine = table_runs.written_by(5, rows + table_runs.looked_up(searched), evaluation.config.search)
write_rows(run_dir, "75_table5", mine)
print(f"{len(rows) + len(searched)} values in the table's lines, {len(mine)} of them are this notebook's")

# %% [markdown]
# ## 3 Side by side
#
# Calls and seconds first, then quality. Shaded are the best three of a column among lines on the same photos; for costs,
# less is better.

# %%
ours = tables.ours(rows + searched)
table = tables.beside(ours, paper, lines, (*COSTS, *METRICS))
tables.save(table, run_dir, "75_table5")
assert not [column for column in table if column.startswith("difference") and column.endswith(COSTS)]
tables.shade_top(table)

# %%
pd.set_option("display.max_colwidth", None)
tables.reasons(ours, lines, (*COSTS, *METRICS))

# %% [markdown]
# **Seconds that nobody waited for.** The list of eight wasn't run, but the whole grid was, on the same photos, with its
# seconds. So an estimate is possible: calls times the grid's seconds for a call. It is marked as one, for it forgets
# what doesn't grow with calls: loading, encoding, compiling, and above all decoding and scoring. Where a strategy
# guesses the whole grid, as the surrogates do, it is far too low: see the two columns. Where the grid's table isn't
# committed there is nothing to estimate from.

# %%
costs = table[["our photos", "ours UNet calls", "ours seconds"]].copy()
full = costs.loc[["UniRes, grid search (1512)"], ["ours UNet calls", "ours seconds"]].apply(pd.to_numeric, errors="coerce")
rate = float((full["ours seconds"] / full["ours UNet calls"]).iloc[0])
searches = costs[(costs["our photos"] == "grids") & (costs["ours UNet calls"] != tables.NOT_RUN)]
estimate = (searches["ours UNet calls"].astype(float) * rate).round(2).astype(object)
costs["seconds, estimated from calls"] = estimate.fillna(tables.NOT_RUN).reindex(costs.index, fill_value="")
costs[costs["ours UNet calls"] != tables.NOT_RUN]

# %% [markdown]
# ## 4 Price and quality
#
# Left the paper's lines, right ours on `complex`; the seconds are on a logarithmic axis, for they span powers of ten. Who is
# on the *front*, so that nothing else is at once quicker and better? In the left panel a dot further up is better (MUSIQ),
# in the right one too (LPIPS, with the axis turned round).

# %%
def points(table, x, y):
    """Lines that have both values."""
    return table[[x, y]].apply(pd.to_numeric, errors="coerce").dropna()


left = points(table, "paper seconds", "paper musiq")
right = points(table[table["our photos"] == "complex"], "ours seconds", "ours lpips")
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for axis, shown, label in zip(axes, (left, right), ("MUSIQ, paper", "LPIPS, ours"), strict=True):
    for name, (x, y) in shown.iterrows():
        axis.scatter(x, y, color="C1" if "UniRes" in name or name in ("BR=1", SEARCH) else "0.5")
    axis.set(xscale="log", xlabel="seconds for a photo", ylabel=label)
    axis.margins(x=0.3)
axes[1].invert_yaxis()
for axis, shown in zip(axes, (left, right), strict=True):  # of the frequent sets only their number
    short = shown.index.str.removeprefix("UniRes, ").str.removesuffix(" most frequent")
    label_points(axis, dict(shown.set_axis(short).T.items()), fontsize=7)
save_figure(figure, run_dir, "75_price.png")
plt.show()

# %% [markdown]
# In orange is what is UniRes; a bare number is the count of most frequent sets. On the left the dots of the short lists
# lie nearly as high as the grid's, and far to its left: there nearly the whole gain can be had for the price of a few
# restorations. On the right ask the sober question: what does a network buy over a filter that takes a third of the
# time, or less than a hundredth?
#
# ## What to try
#
# 1. The forest takes a little *less* time than one vector in the paper. How can that be, if it has to restore, too?
# 2. Measure `seconds` of BR=1 for the first photo of a fresh process and for the second. What is the difference, and why
#    does the table take medians?
# 3. Put the strategies of notebook 65 into the left panel by their *calls*, with the paper's seconds for a vector. Which of
#    them would be on its front?
# 4. An accelerator takes many vectors at once. Does that change the order of the lines in calls, in seconds, or in both?
