# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 74 Table 4: what each part is worth
#
# **Question.** Take one part away: one expert, the search, the range of its weights, the training on four tasks. What is
# lost, and which parts would nobody miss?
#
# **In:** the paper's Table 4 as printed; the single experts of notebook 40; the whole grid of weights, which
# `benchmarks.grids` has run on photos of its own, where its results are committed; the model.
# **Out:** the ablations side by side; DownLQ at four factors on the set `complex`; rows in `rows.jsonl`.
#
# **Minutes:** smoke under 1 | demo about 1 (some more where it must restore every candidate itself).

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
import json

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from benchmarks import controls, table_runs, tables
from benchmarks.evaluate import Evaluation
from benchmarks.figures import save_figure
from unires.record import write_rows
from unires.search import grid, strike_out
from unires.tasks import EXPERTS

sns.set_theme(style="whitegrid", context="notebook")
METRICS = ("psnr", "lpips", "niqe", "clipiqa", "musiq", "maniqa")
evaluation = Evaluation.start(run_dir, profile, seed)
paper, lines = tables.paper_table(4), tables.lines(4, evaluation.config.search)

# %% [markdown]
# ## 1 Six questions in one table
#
# An *ablation* takes a part out and measures again. The paper's Table 4 does it in six groups, all on DiversePhotos x1:
#
# - **UniRes**: everything, the search over the whole grid.
# - **SR-Only**: the same network, trained on super-resolution alone. Are four tasks worth more than one?
# - **Single-Task**: one expert does all the work. Is a mixture worth more than its best part?
# - **Strike-Out**: the search goes on, but some experts have weight 0. Is each expert needed?
# - **DownLQ**: the photo that DownLQ sees is reduced by 2 in place of 4. How much must be hidden?
# - **Search Grid**: no negative weights; or a short list; or a forest that guesses the weights and no search at all.

# %%
printed = paper.pivot_table(index="line", columns="metric", values="value", sort=False)
loss = (printed - printed.loc["UniRes, default"]).rename(columns=lambda metric: f"{metric}, against default")
assert (loss.loc["UniRes, default"] == 0).all()
pd.concat([printed, loss], axis=1).round(4)

# %% [markdown]
# Three things in these lines are worth more than a glance. Without BR nothing is lost: the expert without a prompt isn't
# needed where four with a prompt can be mixed. Without DownLQ a lot is lost, whatever else is kept. And the list of
# eight vectors is *ahead* of the whole grid in the two columns that weren't searched: fewer choices leave less room for
# pleasing MUSIQ at the cost of the others.

# %%
eight = loss.loc["Search Grid, 8 most frequent weight sets"]
assert (eight[["clipiqa, against default", "maniqa, against default"]] > 0).all()
assert eight["musiq, against default"] < 0
without_dial = [line for line in loss.index if "DownLQ=0" in line]
assert (loss.loc[without_dial].max() < loss.loc["Strike-Out, BR=0"]).all()
print(f"DownLQ struck out: MUSIQ {loss.loc[without_dial, 'musiq, against default'].min():.2f} to "
      f"{loss.loc[without_dial, 'musiq, against default'].max():.2f}")  # fmt: skip

# %% [markdown]
# **How much of the grid is left?** A struck-out expert must have weight 0, and the other weights still sum to 1. Counted
# by hand as in notebook 60, in units of 0.2 and with K experts: $\binom{5+K-1}{K-1}$ vectors without a negative weight, and
# $K\binom{6+K-2}{K-2}$ with one. So a loss has two causes that the table can't tell apart: the expert is gone, and the
# search has fewer tries.

# %%
from math import comb

omega = grid()
for names in ((), *tables.STRUCK):
    K = len(EXPERTS) - len(names)
    by_hand = comb(4 + K, K - 1) + K * comb(4 + K, K - 2)
    assert len(strike_out(omega, names, EXPERTS)) == by_hand
    print(f"{tables.without(names) if names else 'all experts':24} {by_hand:5} vectors")

# %% [markdown]
# ## 2 Ours
#
# Two sets of ours stand in for DiversePhotos, and the column *our photos* says which:
#
# - `complex`, for everything that must be restored: the single experts, DownLQ at the factors 2, 4, 8 and 16, and the
#   search through the short list. (DownLQ alone is factor 4.)
# - `grids`, for everything that is a choice among the 1512 vectors. Running them all takes hours, so it was done once
#   (`benchmarks.grids`), every score was kept, and an ablation is *looked up*: leave the struck-out vectors aside and
#   take the best of the rest. The score that chooses is NIQE. Where the table isn't committed, the lines say so.
#
# The paper's profile searches the whole grid on each photo anyway, by MUSIQ. There the grid, its range and the strike-outs
# are lines of `complex` or of DiversePhotos itself: the search's ledger knows every score, so each costs one restoration.
# One more line there puts the words of A.7 (notebook 80) on top of what the grid found; the paper's tables are without.
#
# The model that was trained on SR alone has a checkpoint of its own, `demo_sr_only`, which ships. It had an hour of a
# laptop after its base; the network that all other lines ask had minutes of a GPU, which is far more. Section 4 compares
# equals.

# %%
rows = table_runs.table_rows(evaluation, "74_table4", lines, METRICS)
searched = table_runs.grid_rows(evaluation, lines, METRICS)
own = table_runs.written_by(4, rows + table_runs.looked_up(searched), evaluation.config.search)
write_rows(run_dir, "74_table4", own)
print(f"{len(rows) + len(searched)} values in the table's lines, {len(own)} of them are this notebook's")

# %% [markdown]
# The rows of `benchmarks.strategies` are committed where they were made and aren't copied into this run. The strike-outs
# of several experts at once are only looked up here, so they are this notebook's.
#
# ## 3 Side by side
#
# Shaded are the best three of a column among lines on the same photos. So the lines of `complex` compete with each other,
# and those of `grids` with each other: two sets, two competitions.

# %%
ours = tables.ours(rows + searched)
table = tables.beside(ours, paper, lines, METRICS)
tables.save(table, run_dir, "74_table4")
assert set(table["our photos"]) <= {"complex", "grids", "DiversePhotos-x1"} | set(ours["photos"])
tables.shade_top(table)

# %%
pd.set_option("display.max_colwidth", None)
tables.reasons(ours, lines, METRICS)

# %% [markdown]
# ## 4 Experts alone, and the dial
#
# The picture shows our lines on `complex`. A dot is a line of the table; to the left is nearer to the sharp photo by LPIPS,
# in the right panel by NIQE, which knows no sharp photo. Look for three patterns. Does any *single* expert come near the
# search, which has all of them? Does DownLQ move steadily with its factor, as a dial should? And is there a line that is
# first by one judge and last by the other?

# %%
here = table[table["our photos"] == "complex"]
points = here[["ours lpips", "ours niqe"]].apply(pd.to_numeric, errors="coerce")
figure, axes = plt.subplots(1, 2, figsize=(9.5, 0.3 * len(points) + 1), sharey=True, layout="constrained")
for axis, column in zip(axes, points, strict=True):
    known = points[column].dropna()
    axis.scatter(known, known.index, color=["C1" if "DownLQ" in name else "C0" for name in known.index])
    axis.set(xlabel=f"{column.split()[1]}, lower is better")
axes[0].invert_yaxis()
figure.suptitle("our lines on complex; in orange what is shown a reduced photo", fontsize=10)
save_figure(figure, run_dir, "74_alone.png")
plt.show()

# %% [markdown]
# **Are four tasks worth more than one?** In the paper the network that was trained on super-resolution alone is worse on
# real photos than the same expert of the network that was trained on four tasks (by MUSIQ 47.76 against 53.54): flawed
# photos are not only small. What our table shows beside it is not fair: our SR-only network saw far fewer crops than the
# other. So two pairs of equals, of which only `demo_sr_only` ships, restored the set `complex` once (`benchmarks.controls`).
# Both of a pair saw the same photos, with the same seed, in as many steps; where SR was the only task, all steps went to it.
# The first pair is the two bases, the second what an hour of a laptop made of them.
#
# By PSNR the SR expert of four tasks is ahead in both pairs. By LPIPS the two are level, within half a hundredth: ahead
# among the bases, behind after the hour. DownLQ, which is super-resolution and nothing else, has the better LPIPS where nothing else was taught.

# %%
if controls.OUT.is_file():
    equals = controls.table([json.loads(line) for line in controls.OUT.read_text().splitlines()])
    display(equals.round(3))
    four, one = (equals.xs(tasks, level="taught") for tasks in ("SR, MD, DD, DN", "SR"))
    ahead = (four - one).unstack("method")
    assert (ahead["psnr", "SR=1"] > 0).all() and (ahead["lpips", "DownLQ=1"] > 0).all()
    assert ahead.loc["the base", ("lpips", "SR=1")] < 0 and ahead["lpips", "SR=1"].abs().max() < 0.01
else:
    print(f"{tables.NOT_RUN}: python -m benchmarks.controls")

# %% [markdown]
# ## 5 Which strike-out costs most, here and there?
#
# For the lines on the photos of the whole grid the same question as the paper's, with NIQE as the judge that searched
# (on `grids`) and LPIPS as the one that didn't. There a loss in NIQE is certain: fewer vectors can't contain a better
# one. A loss in LPIPS isn't, and where LPIPS *improves* because an expert was taken away, the search may have used that
# expert to please NIQE (mind the size of the step: a few thousandths over eight photos prove nothing).

# %%
whole = table.loc["UniRes, default"]
for line in table.index[table["our photos"] == whole["our photos"]]:
    values = pd.to_numeric(table.loc[line, ["ours niqe", "ours lpips"]], errors="coerce")
    if values.isna().any() or "Strike-Out" not in line:
        continue
    worse, judged = values["ours niqe"] - whole["ours niqe"], values["ours lpips"] - whole["ours lpips"]
    assert worse > -1e-3 or whole["our photos"] != "grids", line
    print(f"{line:34} NIQE {worse:+.3f}, LPIPS {judged:+.3f} against the whole grid (up is worse)")
if whole["ours niqe"] == tables.NOT_RUN:
    print(f"{tables.NOT_RUN}: section 3 says why")

# %% [markdown]
# ## What to try
#
# 1. Strike out one expert at a time in place of the paper's groups (`strategies.jsonl` has them). Which one alone is
#    missed most, and is it the one that the paper would name?
# 2. Make the comparison of section 1 fair: let the whole grid choose among as many vectors, drawn at random, as a strike-out
#    has left. How much of the loss remains?
# 3. Train the small model on noise alone, as `demo_sr_only` in `unires/profiles.py` does for SR. After how many steps does it
#    beat the DN expert of the four on noise, and does it ever on `complex`?
# 4. Put the factors 2 to 16 into one mixture and search *its* weights. Which factors does NIQE choose, and which LPIPS?
