# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 90 Report
#
# **Question.** What did this run find out, how sure may we be, and where do the numbers come from?
#
# **In:** `rows.jsonl` and `run.json`, as the earlier notebooks left them in this run's folder. Nothing is
# measured here.
# **Out:** a table for each set and a summary in `tables/`, the table *ours (demo) | paper*, the picture on the front
# page (`figures/front.jpg`), and the run's provenance.
#
# **Minutes:** smoke under 1 | demo under 1.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Image

from benchmarks.evaluate import CANDIDATES, EXPERT_METHODS, MIXTURES, PAIRS, Evaluation
from benchmarks.figures import save_figure, show_photos
from benchmarks.readme import NOT_RUN, ORACLE, SEARCH, ours_and_paper, settings
from unires.metrics import METRICS
from unires.models.store import write_beside
from unires.record import FIELDS, read_rows, read_run
from unires.tasks import TASKS

sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
path = Path(run_dir, "rows.jsonl")
rows = read_rows(path) if path.exists() else []
records = pd.DataFrame(rows, columns=list(FIELDS))
measured = records[records["status"] == "ok"].astype({"value": float})
print(f"{len(rows)} rows, {len(measured)} of them measured, of {len(evaluation.items)} photos")

# %% [markdown]
# ## 1 What is there, and what isn't
#
# A report that quietly leaves out what failed is advertising. So the first thing to print is what is *missing*:
# methods without rows and the notebook that makes them, and rows that carry a reason in place of a value.

# %%
present = set(measured["method"])
for setting in settings():
    if setting.method not in present and setting.notebook != "none":
        print(f"{NOT_RUN}: {setting.method} (made by notebook {setting.notebook})")
unmeasured = records[records["status"] != "ok"]
for (metric, reason), group in unmeasured.groupby(["metric", "reason"]):
    print(f"{NOT_RUN}: {metric} in {len(group)} rows: {reason}")
assert unmeasured["value"].isna().all() and measured["value"].notna().all()

# %% [markdown]
# ## 2 One table for each set
#
# Means over the photos of a set, with their number n. PSNR (dB) and SSIM compare pixels and small windows with
# the sharp photo; LPIPS compares deep features with it; NIQE looks at the photo alone. Up is better for the
# first two, down for the last two. Tables are made from rows and from nothing else: an assert adds up one
# mean by hand.

# %%
NAMES = ["LQ", *CANDIDATES, SEARCH, ORACLE]


def set_table(name):
    """Methods x metrics: means, and the number of photos."""
    ours = measured[measured["set"] == name]
    table = ours.pivot_table(index="method", columns="metric", values="value", aggfunc="mean")
    table.insert(0, "n", ours.groupby("method")["image"].nunique())
    known = [method for method in NAMES if method in table.index]
    others = [method for method in table.index if method not in NAMES]
    return table.reindex(index=known + others, columns=["n", *METRICS])


def write_table(table, name):
    """One CSV in the run's tables/."""
    text = table.to_csv(float_format="%.6g", na_rep=NOT_RUN)
    write_beside(Path(run_dir, "tables", f"{name}.csv"), text.encode())


tables = {name: set_table(name) for name in evaluation.sets}
for name, table in tables.items():
    write_table(table, name)
    for method in table.index[:1]:
        one = [r["value"] for r in rows if (r["set"], r["method"], r["metric"]) == (name, method, "psnr")]
        assert np.isclose(table.loc[method, "psnr"], sum(one) / len(one))
shown = pd.concat(tables, names=["set"]).astype(float)
shown.round({"n": 0, "psnr": 2, "ssim": 3, "lpips": 3, "niqe": 2}).map(lambda value: NOT_RUN if pd.isna(value) else f"{value:g}")

# %% [markdown]
# ## 3 The claims
#
# Two claims carry the method, and both can fail:
#
# 1. *An expert is an expert*: on its own kind of flaw it beats leaving the photo as it is, on PSNR or on LPIPS.
# 2. *Composing pays*: on `complex` photos the best fixed mixture beats LQ on PSNR and on LPIPS, and the best
#    single expert too.
#
# "Best" is found by looking at these very results, among a handful of methods; that flatters it a little. The search
# doesn't look at them, the oracle does nothing else.

# %%
GROUPS = {"LQ": ["LQ"], "best expert": list(EXPERT_METHODS), "best mixture": [*MIXTURES, *PAIRS],
          "search": [SEARCH], "oracle": [ORACLE]}  # fmt: skip


def best(name, group, metric):
    """The method of a group with the best mean in a set, or None."""
    column = tables[name][metric].reindex(GROUPS[group]).dropna()
    if column.empty:
        return None
    return column.idxmax() if METRICS[metric].higher_is_better else column.idxmin()


lines = []
for name in evaluation.sets:
    for group in GROUPS:
        line = {"set": name, "who": group}
        for metric in ("psnr", "lpips"):
            method = best(name, group, metric)
            line[metric] = tables[name].loc[method, metric] if method else None
            line[f"{metric} by"] = method or NOT_RUN
        lines.append(line)
summary = pd.DataFrame(lines).set_index(["set", "who"])
write_table(summary, "summary")
summary.astype({"psnr": float, "lpips": float}).round(3)

# %%
def verdict(name, method, other):
    """Does a method beat another in a set, metric by metric?"""
    words = []
    for metric in ("psnr", "lpips"):
        ours, theirs = tables[name][metric].reindex([method, other])
        if pd.isna(ours) or pd.isna(theirs):
            words.append(f"{metric} {NOT_RUN}")
        else:
            better = ours > theirs if METRICS[metric].higher_is_better else ours < theirs
            words.append(f"{metric} {'better' if better else 'NOT better'} ({ours:.3f} and {theirs:.3f})")
    print(f"{name:8} {method} against {other}: {', '.join(words)}")


for task in TASKS:
    if task.name in tables:
        verdict(task.name, f"{task.name}=1", "LQ")
for metric in ("psnr", "lpips"):
    mixture = best("complex", "best mixture", metric) or "a mixture"
    for other in ("LQ", best("complex", "best expert", metric) or "an expert"):
        verdict("complex", mixture, other)

# %% [markdown]
# ## 4 How sure?
#
# A mean over a handful of photos is a weak witness: one photo can make it. Two remedies. Look at every photo, and
# ask how far the mean *difference* would move if we had drawn other photos: the bootstrap draws n photos with
# replacement again and again from those that we have. Differences are taken photo by photo, because photos
# differ from each other far more than methods do.

# %%
def by_photo(method, metric, name="complex"):
    """One value a photo."""
    found = measured.query("set == @name and method == @method and metric == @metric")
    return found.drop_duplicates("image").set_index("image")["value"]


rng = np.random.default_rng(seed)
pairs = [("best mixture", "LQ"), ("best mixture", "best expert"), ("search", "best mixture")]
for metric in ("psnr", "lpips"):
    for pair in pairs:
        ours, theirs = (by_photo(best("complex", group, metric), metric) for group in pair)
        gain, what = ours - theirs, f"{metric}: {' minus '.join(pair)}"
        if gain.empty:
            print(f"{what}: {NOT_RUN}")
            continue
        means = rng.choice(gain.to_numpy(), (2000, len(gain))).mean(1)
        low, high = np.quantile(means, [0.025, 0.975])
        assert low <= gain.mean() <= high or np.isclose(low, high)
        print(f"{what}: {gain.mean():+.3f}, 95 % of draws {low:+.3f} to {high:+.3f}")

# %% [markdown]
# An interval that holds 0 says: with these photos nobody can tell. And every photo by itself, one line a photo from
# the flawed input to the restorations:

# %%
parts = {"LQ": "LQ", **{group: best("complex", group, "lpips") for group in list(GROUPS)[1:]}}
columns = [by_photo(method, "lpips").rename(who) for who, method in parts.items()]
lines = pd.concat(columns, axis=1).dropna(axis=1)
figure, axis = plt.subplots(figsize=(8, 3.8), layout="constrained")
for image, line in lines.iterrows():
    axis.plot(line.index, line.to_numpy(), marker="o", linewidth=1, label=image)
axis.set(ylabel="LPIPS to HQ, lower is better", xlabel="methods of section 3, best by LPIPS; set complex")
if not lines.empty:
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
save_figure(figure, run_dir, "90_every_photo.png")
plt.show()

# %% [markdown]
# ## 5 Ours beside the paper's
#
# The same settings, in two worlds: our small model on our held-out photos, and the paper's numbers as printed. They
# **can't be compared across**: other model, other photos, other metrics. The paper judges complex photos without
# a reference (MUSIQ, ClipIQA, ManIQA), because real flawed photos have no sharp twin; ours are flawed on purpose and
# do. No package carries the weights of those three networks, so ours say `not run`. What can be compared is the
# *order* down each column: do the same settings win?

# %%
table = pd.DataFrame(ours_and_paper(rows)).set_index("setting")
write_table(table, "ours_and_paper")
assert table.loc["DN=-0.2 DownLQ=1.2", "paper musiq"] == "66.44"  # as printed in Table 5
table.drop(columns="made by").map(lambda value: f"{value:.3f}" if isinstance(value, float) else value)

# %% [markdown]
# Quality has a price. UNet calls are what a restoration costs on any machine; seconds are this machine's, as a median
# over photos (the mean would be that of the first call, which compiles).

# %%
cost = measured.drop_duplicates(["set", "image", "method"]).dropna(subset=["unet_calls"])
cost = cost.groupby("method")[["unet_calls", "seconds"]].median().astype(float)
cost = cost.reindex([method for method in NAMES if method in cost.index])
write_table(cost, "cost")
cost.round(2)

# %% [markdown]
# ## 6 The picture
#
# What a reader sees first must not be a lucky find. The rule: the first crop of each photo in the complex set (the
# set is ordered by texture), at most three; the single expert and the mixture with the best mean LPIPS over the
# *whole* set, the same for every row. Photos at their own pixels.

# %%
expert = best("complex", "best expert", "lpips") or next(iter(EXPERT_METHODS))
mixture = best("complex", "best mixture", "lpips") or next(iter(MIXTURES))
first = {item.image.split("-")[0]: item for item in reversed(evaluation.sets["complex"])}
items = [item for item in evaluation.sets["complex"] if item in first.values()][:3]
grid = [
    [item.y, *(evaluation.restore(item, CANDIDATES[method]).photo for method in (expert, mixture)), item.x]
    for item in items
]
titles = ["LQ", f"one expert: {expert}", f"composed: {mixture}", "HQ"]
figure = show_photos(grid, titles, [item.recipe.tasks for item in items])
front = save_figure(figure, run_dir, "front.jpg")
plt.close(figure)
Image(filename=str(front))

# %% [markdown]
# ## 7 Where the numbers come from
#
# A number without a story is a rumour. `run.json` holds the commit and whether files differed from it, versions,
# device, and hashes: of the checkpoint, and of every evaluation photo, sharp and flawed. A run that was started
# by hand, notebook by notebook, holds less; then it says so.

# %%
run = read_run(run_dir)
for name in ("profile", "seed", "commit", "dirty", "python"):
    print(f"{name:12} {run.get(name, 'not recorded: start the run with python -m benchmarks.run')}")
device = run.get("device", {})
print(f"{'device':12} {device.get('kind', 'not recorded')}, {device.get('cores', '?')} cores")
print(f"{'versions':12} {', '.join(f'{k} {v}' for k, v in run.get('versions', {}).items()) or 'not recorded'}")
for what in ("checkpoints", "data"):
    for name, digest in run.get(what, {}).items():
        print(f"{what:12} {name}: sha256 {digest or 'none (seeded random weights)'}")
for name, state in sorted(run.get("notebooks", {}).items()):
    print(f"{'notebook':12} {name}: {state.get('seconds') or 'running'} s, {state.get('status')}")
assert len(run["data"]["evaluation"]) == 64

# %% [markdown]
# To judge another run against the committed one, image by image and with a tolerance for each metric:
# `python -m benchmarks.compare results/demo RUN`.
#
# ## What to try
#
# 1. Change one value in a copy of `rows.jsonl` and run `benchmarks.compare`. What does it say? Then change one by
#    less than its gate in `benchmarks/gates.toml`.
# 2. Replace the mean by the median in section 2. Which claim of section 3 changes its verdict?
# 3. How many photos would it take to make the interval of section 4 half as wide? Test your answer by drawing half of
#    the photos.
# 4. Rank the settings of section 5 by our LPIPS and by the paper's MUSIQ, and compute the rank correlation.
#    What would have to be the same before you called it evidence?
