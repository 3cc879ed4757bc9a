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
# page (`figures/front.jpg`), failure cases, and one page with everything: `report.html`, and the same as `report.md`.
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
import inspect
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Image

from benchmarks import report, report_page
from benchmarks.evaluate import CANDIDATES, Evaluation
from benchmarks.figures import drawn, failure_cases, most_harmed, save_figure, side_by_side
from benchmarks.readme import NOT_RUN, ours_and_paper, settings
from unires.record import read_rows, read_run
from unires.tasks import TASKS

sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
path = Path(run_dir, "rows.jsonl")
rows = read_rows(path) if path.exists() else []
values = report.measured(rows)
print(f"{len(rows)} rows, {len(values)} of them measured, of {len(evaluation.items)} photos")

# %% [markdown]
# A row is one value of one photo: which notebook made it, set, photo, method, weights, metric and the metric's
# exact variant, the value, what it cost, and whether it could be measured at all. Everything below is arithmetic
# on such rows. So the report can be made again at any time, and anybody can make another one.
#
# ## 1 What is there, and what isn't
#
# A report that quietly leaves out what failed is advertising. So the first thing to print is what is *missing*:
# methods without rows and the notebook that makes them, and rows that carry a reason in place of a value.

# %%
present = set(values["method"])
for setting in settings():
    if setting.method not in present and setting.notebook != "none":
        print(f"{NOT_RUN}: {setting.method} (made by notebook {setting.notebook})")
reasons = Counter((r["metric"], r["reason"]) for r in rows if r["status"] != "ok")
for (metric, reason), count in reasons.items():
    print(f"{NOT_RUN}: {metric} in {count} rows: {reason}")
assert all((r["value"] is None) == (r["status"] != "ok") for r in rows)

# %% [markdown]
# ## 2 One table for each set
#
# Means over the photos of a set, with their number n. PSNR (dB) and SSIM compare pixels and small windows with
# the sharp photo; LPIPS compares deep features with it; NIQE looks at the photo alone. Up is better for the
# first two, down for the last two. One mean is added up by hand, so that the table isn't taken on trust:

# %%
tables = {name: report.set_table(values, name) for name in evaluation.sets}
for name, table in tables.items():
    report.write_table(table, run_dir, name)
    for method in table.index[:1]:
        one = [r["value"] for r in rows if (r["set"], r["method"], r["metric"]) == (name, method, "psnr")]
        assert np.isclose(table.loc[method, "psnr"], sum(one) / len(one))
shown = pd.concat(tables, names=["set"]).astype(float)
digits = {"n": 0, "psnr": 2, "ssim": 3, "lpips": 3, "niqe": 2}
shown.round(digits).map(lambda value: NOT_RUN if pd.isna(value) else f"{value:g}")

# %% [markdown]
# Before you look for winners, look at the first line of each set: LQ is the flawed photo left as it is. A
# restoration that scores below it did harm, by that metric. It is normal that metrics disagree: removing noise
# by smoothing raises PSNR and may ruin LPIPS; invented detail does the reverse.
#
# ## 3 The claims
#
# Two claims carry the method, and both can fail:
#
# 1. *An expert is an expert*: on its own kind of flaw it beats leaving the photo as it is, on PSNR or on LPIPS.
# 2. *Composing pays*: on `complex` photos the best fixed mixture beats LQ on PSNR and on LPIPS, and the best
#    single expert too.
#
# "Best" is found by looking at these very results, among a handful of methods; that flatters it a little. The
# search doesn't look at them (it sees NIQE only), the oracle does nothing else.

# %%
summary = report.summary(tables)
report.write_table(summary, run_dir, "summary")
summary.round(3)

# %%
print(inspect.getsource(report.verdict))
for task in TASKS:
    if task.name in tables:
        words = [report.verdict(tables[task.name], f"{task.name}=1", "LQ", metric) for metric in ("psnr", "lpips")]
        print(f"{task.name}: its expert against LQ: {', '.join(words)}")
table = tables["complex"]
for metric in ("psnr", "lpips"):
    mixture, expert = (report.best(table, group, metric) for group in ("best mixture", "best expert"))
    for other in ("LQ", expert):
        print(f"complex: {mixture} against {other}: {report.verdict(table, mixture, other, metric)}")

# %% [markdown]
# ## 4 How sure?
#
# A mean over a handful of photos is a weak witness: one photo can make it. Two remedies. Look at every photo, and
# ask how far the mean *difference* would move if we had drawn other photos: the *bootstrap* draws n photos with
# replacement, again and again, from those that we have, and watches the mean. Differences are taken photo by photo,
# because photos differ from each other far more than methods do: the same restorer does far better on a sky than
# on foliage, and that mustn't count for or against anybody.

# %%
rng = np.random.default_rng(seed)
for metric in ("psnr", "lpips"):
    for pair in (("best mixture", "LQ"), ("best mixture", "best expert"), ("search", "best mixture")):
        methods = [report.best(table, group, metric) for group in pair]
        ours, theirs = (report.by_photo(values, "complex", method, metric) for method in methods)
        gains, what = (ours - theirs).dropna(), f"{metric}: {' minus '.join(pair)}"
        if gains.empty:
            print(f"{what}: {NOT_RUN}")
            continue
        low, high = report.interval(gains.to_numpy(), rng)
        assert low <= high
        print(f"{what}: {gains.mean():+.3f}, 95 % of draws {low:+.3f} to {high:+.3f}")

# %% [markdown]
# An interval that holds 0 says: with these photos nobody can tell. And every photo by itself, one line a photo
# from the flawed input to the restorations. Lines that cross mean that a method helps one photo and harms another:

# %%
parts = {group: report.best(table, group, "lpips") for group in report.GROUPS}
columns = [report.by_photo(values, "complex", method, "lpips").rename(who) for who, method in parts.items()]
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
both = pd.DataFrame(ours_and_paper(rows)).set_index("setting")
report.write_table(both, run_dir, "ours_and_paper")
assert both.loc["DN=-0.2 DownLQ=1.2", "paper musiq"] == "66.44"  # as printed in Table 5
both.drop(columns="made by").map(lambda value: f"{value:.3f}" if isinstance(value, float) else value)

# %% [markdown]
# Quality has a price. UNet calls are what a restoration costs on any machine; seconds are this machine's, as a
# median over photos (a mean would remember the first call, which had to compile).

# %%
cost = report.cost(values)
report.write_table(cost, run_dir, "cost")
cost.round(2)

# %% [markdown]
# ## 6 The picture
#
# What a reader sees first must not be a lucky find. The rule: the first crop of each photo in the complex set (the
# set is ordered by texture), at most three; the single expert and the mixture with the best mean LPIPS over the
# *whole* set, the same for every row. Photos at their own pixels.

# %%
expert = report.best(table, "best expert", "lpips") or "BR=1"
mixture = report.best(table, "best mixture", "lpips") or "DN=-0.2 DownLQ=1.2"


def first_crops(name):
    """The first crop of each photo of a set."""
    found = {}
    for item in evaluation.sets[name]:
        found.setdefault(item.image.split("-")[0], item)
    return list(found.values())


def line(item, methods):
    """A photo with its restorations by some methods, from the run's folder if they were made before."""
    made = {method: evaluation.restore(item, CANDIDATES[method]).photo for method in methods}
    return {"LQ": item.y, **made, "HQ": item.x}


def keep(figure, name):
    """Save a figure and show it as it was saved."""
    path = save_figure(figure, run_dir, name)
    plt.close(figure)
    return Image(filename=str(path))


# %%
items = first_crops("complex")[:3]
photos = {(item.set, item.image): line(item, (expert, mixture)) for item in items}
titles = ["LQ", f"one expert: {expert}", f"composed: {mixture}", "HQ"]
keep(side_by_side(rows, photos, titles, [item.recipe.tasks for item in items], metrics=()), "front.jpg")

# %% [markdown]
# The same for single flaws, each on another photo: of the first set the first photo, of the second the second, and so on.
# They are restored blindly and by the expert for the flaw. LPIPS, in the corners, is against the sharp photo; lower is
# better.

# %%
zoom = 200 / evaluation.config.evaluation.crop
crops = [first_crops(task.name) for task in TASKS if task.name in evaluation.sets]
singles = [items[n % len(items)] for n, items in enumerate(crops)]
photos = {(item.set, item.image): line(item, ("BR=1", f"{item.set}=1")) for item in singles}
titles, names = ["LQ", "blind", "its own expert", "HQ"], [item.set for item in singles]
keep(side_by_side(rows, photos, titles, names, zoom=zoom), "90_isolated.jpg")

# %% [markdown]
# **Where it fails.** The paper shows failure cases (its Figure 8), and a report should. Ours are found by a rule, again:
# of all photos of all sets, those where the front page's mixture is furthest *behind the flawed photo itself* by LPIPS.
# If there are none, nothing is drawn, and that is printed.

# %%
ours = [row for row in rows if row["set"] in evaluation.sets]
by_name = {(item.set, item.image): item for item in evaluation.items}
harmed = [place for place in most_harmed(ours, mixture) if place in by_name]
print(f"{len(most_harmed(ours, mixture, count=len(by_name)))} of {len(by_name)} photos are worse off with {mixture}")
failures = {place: line(by_name[place], (mixture,)) for place in harmed}
keep(failure_cases(ours, failures, zoom=zoom), "90_failures.jpg") if failures else None

# %% [markdown]
# ## 7 Where the numbers come from
#
# A number without a story is a rumour. `run.json` holds the commit and whether files differed from it, versions,
# device, and hashes: of the `demo` checkpoint, and of every evaluation photo, sharp and flawed. A run that was started
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
    took = f"{state['seconds']} s, {state['status']}" if state.get("seconds") else "not finished"
    print(f"{'notebook':12} {name}: {took}")
assert len(run["data"]["evaluation"]) == 64  # a sha256

# %% [markdown]
# (This notebook itself is not finished while it prints that list.)
#
# ## 8 The paper's figures
#
# Which of the paper's figures this project draws again, with which function, and whether this run has it. Ours show
# other photos than the paper's, so look for the same *effect*, not for the same picture.

# %%
pd.set_option("display.max_colwidth", None)
pd.DataFrame(drawn(run_dir)).set_index("figure")

# %% [markdown]
# ## 9 One page
#
# All of the above on one page for a browser and a projector: what was not run first, then every table and every figure of
# this run's folder, and where they come from. It is plain HTML with its pictures beside it; the same page as Markdown is
# for a terminal or a code host. Both are made from the run's folder alone, so a table that another notebook adds later is
# on the page as soon as it is written again: `python -m benchmarks.report_page RUN`.

# %%
page = report_page.collect(run_dir)
for written in report_page.write(run_dir):
    print(f"{written.name}: {written.stat().st_size / 1000:.0f} kB")
print(f"{len(page.tables)} tables, {len(page.figures)} figures, {len(page.not_run)} lines of what was not run")
assert len(page.figures) >= len(list(Path(run_dir, "figures").glob("*.*")))

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
