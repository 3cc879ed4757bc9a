# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 77 Table 7: what the photos are made of
#
# **Question.** Which flaws, and how many of each, are in the test set on which the paper judges itself, and in the ones on
# which we judge ourselves?
#
# **In:** the paper's Table 7 as printed, and its list of 160 names; the manifest of our benchmark Complex11; the recipes of
# our set `complex`. No photo is restored.
# **Out:** the paper's table counted again from its list, the misprints by name, and the same count for our sets.
#
# **Minutes:** smoke under 1 | demo under 1.

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

from benchmarks import complex11, tables
from benchmarks.diversephotos_report import read_manifest
from benchmarks.evaluate import Evaluation
from benchmarks.figures import save_figure

sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
KINDS = {"low_resolution": "SR", "motion_blur": "MD", "defocus_blur": "DD", "noise": "DN"}

# %% [markdown]
# ## 1 Counting again
#
# A table of counts is the one kind of table that a reader can check without any model. The paper lists the 160 names of
# DiversePhotos in its appendix, sorted by source and by the flaw that dominates. So we count the list and subtract:

# %%
printed = tables.paper_table(7).pivot_table(index="line", columns="metric", values="value", sort=False)
printed = printed[[*KINDS, "sum"]]
manifest = pd.DataFrame(read_manifest())
cells = (manifest["source"], manifest["dominating_degradation"])
counted = pd.crosstab(*cells, margins=True, margins_name="sum").reindex(index=printed.index, columns=printed.columns)
difference = counted - printed
assert (difference == 0).all(axis=None) and counted.loc["sum", "sum"] == len(manifest) == 160
parts = {"ours": counted, "paper": printed, "difference": difference}
table = pd.concat(parts, axis=1).astype(int).swaplevel(axis=1)[[*printed.columns]]
table.columns = [f"{part} {kind.replace('_', ' ')}" for kind, part in table.columns]
tables.save(table, run_dir, "77_table7")
table

# %% [markdown]
# No cell differs. The counts say nothing about the *names*, though: a name with a wrong digit counts as one, too. Of the 160
# names most are in the public indexes of their sources as printed; the others are these. Some can be repaired in exactly
# one way, and some are in no index at all (notebook 12 tells how each was decided). A test set that is built from the list
# has fewer photos than the table says, and a mean over it must say so.

# %%
misprints = manifest[manifest["status"] != "found"][["source", "dominating_degradation", "printed_id", "image_id", "status"]]
there = manifest[manifest["status"] != "absent"]
short = counted - pd.crosstab(there["source"], there["dominating_degradation"], margins=True, margins_name="sum")
print(f"{len(manifest) - len(there)} photos can't be had:", short.loc["sum", list(KINDS)].to_dict())
assert short.loc["sum", "sum"] == (manifest["status"] == "absent").sum()
assert set(misprints["source"]) == {"KONIQ"}
misprints

# %% [markdown]
# ## 2 The same count for ours
#
# DiversePhotos names *one* flaw for each photo, the dominating one, though each has at least two. Nobody can say more of a
# photo that came out badly by itself. Ours were flawed on purpose, so for each the whole list is known. One photo counts in
# as many columns as it has flaws, and the rows don't add up to the number of photos; that is the point of such a set.
#
# - **Complex11**: all eleven mixtures of two to four flaws, each mild and heavy, at two sizes. A manifest of ours, on photos
#   that come with Python packages.
# - **complex**: the small set on which most notebooks of this course work.

# %%
def flaws(mixtures):
    """How many photos have each flaw, how many there are, and how many flaws one has on average."""
    lists = [mixture.split("+") for mixture in mixtures]
    held = {kind: sum(name in one for one in lists) for kind, name in KINDS.items()}
    return held | {"photos": len(lists), "flaws a photo": sum(map(len, lists)) / max(1, len(lists))}


eleven = [line["mixture"] for line in complex11.read_manifest()]
here = [item.recipe.tasks for item in evaluation.sets.get("complex", [])]
names = {"Complex11, any flaw": eleven, "complex, any flaw": here}
ours = pd.DataFrame({name: flaws(mixtures) for name, mixtures in names.items()}).T
listed = {**counted.loc["sum", list(KINDS)].to_dict(), "photos": 160}
both = pd.concat([pd.DataFrame({"DiversePhotos, dominating flaw": listed}).T, ours])
tables.save(both, run_dir, "77_flaws")
both.round(2).astype(object).where(both.notna(), "at least 2")

# %% [markdown]
# Check one of these numbers by hand. Of the eleven mixtures of two to four flaws out of four, how many contain a given one?
# All of them together are $\binom{4}{2} + \binom{4}{3} + \binom{4}{4} = 11$; those with a given flaw choose the rest from
# three others: $\binom{3}{1} + \binom{3}{2} + \binom{3}{3} = 7$. So each flaw must be in seven elevenths of Complex11:

# %%
whole = ours.loc["Complex11, any flaw"]
assert (whole[list(KINDS)] * 11 == whole["photos"] * 7).all()
assert len(set(eleven)) == 11 and len({frozenset(one.split("+")) for one in eleven}) == 11
print(f"each flaw in {whole['noise']:.0f} of {whole['photos']:.0f} photos; {whole['flaws a photo']:.2f} flaws a photo")

# %% [markdown]
# ## 3 Which flaws come together?
#
# For mixing experts it matters more which flaws *meet* than how many there are: a mixture of motion and noise asks for other
# weights than one of defocus and smallness. The table of the paper can't say it. For ours a count of pairs does: in the
# matrix, the diagonal is a flaw's own count and the other cells are photos that have both.

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
shares = counted.loc[counted.index != "sum", list(KINDS)]
sns.heatmap(shares, annot=True, fmt="d", cmap="Blues", cbar=False, ax=axes[0], xticklabels=list(KINDS.values()))
axes[0].set(title="DiversePhotos: source, dominating flaw", ylabel="", xlabel="")
for axis, (name, mixtures) in zip(axes[1:], names.items(), strict=True):
    meet = pd.DataFrame(0, list(KINDS.values()), list(KINDS.values()))
    for mixture in mixtures:
        for a in mixture.split("+"):
            for b in mixture.split("+"):
                meet.loc[a, b] += 1
    sns.heatmap(meet, annot=True, fmt="d", cmap="Blues", cbar=False, ax=axis)
    axis.set_title(f"{name.split(',')[0]}: photos with both")
    assert np.array_equal(meet, meet.T) and list(np.diag(meet)) == list(ours.loc[name, list(KINDS)])
save_figure(figure, run_dir, "77_flaws.png")
plt.show()

# %% [markdown]
# In Complex11 every pair weighs the same, by construction; that makes means over it easy to read. In DiversePhotos the four
# dominating flaws weigh the same, too, but the *sources* don't: most noise is from one source and most motion blur from two.
# Source means camera, size and motif. So "this method is weak on motion" and "this method is weak on photos of 500 pixels"
# can't be told apart there. How unequal is it? If source and flaw had nothing to do with each other, a cell would hold its
# row's sum times its column's sum over all photos. What is above that and what is below:

# %%
expected = np.outer(shares.sum(axis=1), shares.sum()) / shares.to_numpy().sum()
surplus = (shares - expected).round(1)
assert np.allclose((shares - expected).sum(), 0) and np.allclose((shares - expected).sum(axis=1), 0)
print(f"chi-square {((shares - expected) ** 2 / expected).to_numpy().sum():.1f} with {2 * 3} degrees of freedom")
surplus

# %% [markdown]
# With six degrees of freedom chance alone would exceed 16.8 in one of a hundred tables. Compare the printed value.
#
# ## What to try
#
# 1. Draw 160 photos of your own phone and name the dominating flaw of each, twice, a week apart. How often do you agree with
#    yourself? What would that mean for the columns of Table 7?
# 2. Leave LIVE out. Are the four flaws still balanced, and which comparison between methods would you no longer believe?
# 3. Real flaws come together by cause: dark means noise *and* motion. Weigh Complex11's mixtures so that such pairs
#    count more. Which methods of notebook 46 change places?
# 4. How many photos with a *given pair* of flaws has Complex11? Count by hand first, as above.
