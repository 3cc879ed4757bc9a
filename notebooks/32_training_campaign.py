# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 32 The training campaign
#
# **Question.** A laptop trains the small model's base in two hours, and a GPU was at hand for five minutes, so not
# everything can be tried. Which choices make experts that differ, and how was that found out?
#
# **In:** the committed rows of short trainings (`results/training/trials.jsonl`), the shipped model's scores by number
# of sampling steps, and its loss at every step. **Out:** what each change did at equal compute, drawn task by task, and
# what the long run was built from.
#
# **Minutes:** smoke under 1 | demo under 1. Nothing is trained here; the trials are made anew by
# `python -m benchmarks.training_trials --photos DIR`.

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
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from benchmarks import training_trials
from benchmarks.figures import save_figure
from unires.config import ScheduleConfig
from unires.profiles import KNOWN
from unires.record import not_run, row, write_rows
from unires.schedule import Schedule
from unires.tasks import TASKS

sns.set_theme(style="whitegrid", context="paper", font_scale=1.1)
config = KNOWN[profile]

# %% [markdown]
# ## 1. What is fair?
#
# Three rules make short trainings comparable.
#
# 1. **Equal compute, not equal steps.** A wider network learns more from a step and takes longer for it. Each trial
#    has as many steps as fit into about the same time, and both steps and operations are written down. (Operations, as
#    JAX counts them, and not seconds: these depend on what else the machine does.)
# 2. **One change at a time**, from one common start: same autoencoder, same seed, same photos in the same order. One
#    trial changes nothing but the seed: what it differs by is chance, and a smaller difference between two other
#    trials means nothing.
# 3. **Photos that nobody trains on and nobody is tested on.** One photo in sixteen of the training folder, chosen by
#    its hash, is set aside for *validation*. Choices are made on these. The test photos of the tables stay unseen
#    until the choices are made; whoever looks at them ten times and keeps the best has trained on them.
#
# Two of the trials are longer than the others (1000 steps in place of 300). They ask whether what few steps show is still
# so after more. And two go on from the weights of another trial, with and without one term of the loss. The changes, as
# code:

# %%
print("MUON =" + inspect.getsource(training_trials).split("\nMUON =")[1].split("\n}\n")[0])

# %% [markdown]
# ## 2. What a change did
#
# For each trial and task, the matching expert restores the validation crops. Left: LPIPS beside that of the flawed
# photo (below 1: better than doing nothing). Right: how much worse the *worst* text expert is on the same crops (1: the
# experts are all alike, and mixing them cannot help). A short training is far from finished: look at the order of the
# points, not at their place.

# %%
trials = training_trials.read()
table = pd.DataFrame(training_trials.told(trials))
absent = [name for name in training_trials.TRIALS if name not in {trial["trial"] for trial in trials}]
print(f"{len(trials)} trials; not run: {', '.join(absent) or 'none'}")

# %%
if trials:
    figure, grid = plt.subplots(1, 2, figsize=(9.2, 0.5 + 0.36 * len(trials)), sharey=True, layout="constrained")
    for axes, name in zip(grid, ("LPIPS, own over LQ", "worst over own"), strict=True):
        sns.stripplot(table, x=name, y="trial", hue="task", palette="deep", size=7, jitter=False, ax=axes)
        axes.axvline(1, color="0.5", lw=0.8, ls="--")
        axes.set(ylabel="")
        axes.grid(axis="y")
    grid[0].set(xscale="log", xticks=(marks := (0.8, 1, 1.5, 2, 3)), xticklabels=marks)
    grid[0].minorticks_off()
    grid[0].get_legend().remove()
    sns.move_legend(grid[1], "upper left", bbox_to_anchor=(1, 1), frameon=False)
    save_figure(figure, run_dir, "32_trials.png")

# %% [markdown]
# The same in numbers, the mean over the four tasks, with what each trial cost. `parameters` are those of the UNet and
# the text encoder.

# %%
if trials:
    assert len({trial["photos"] for trial in trials}) == 1  # the same photos for everyone
    assert [trial["trial"] for trial in trials if trial["seed"] != training_trials.SEED] == ["another seed"]
    mean = table.groupby("trial", sort=False).mean(numeric_only=True)
    display(pd.DataFrame(training_trials.costs(trials)).set_index("trial").join(mean).round(3))

# %% [markdown]
# **What was learned.** First look at *base* and *another seed*: whatever moves less than these two differ is chance.
#
# - **The start from LQ** decides most of all changes to the base. Without it the network must first learn to copy what
#   it is shown, and after a short training it is several dB behind the base, for every flaw. The long run keeps the
#   start.
# - **v or $\epsilon$?** The start needs $v$, so $\epsilon$ is compared with $v$ without it, both on a schedule that ends with
#   some signal (at zero signal $\epsilon$ can't be asked for). $\epsilon$ is far behind, in three sampling steps and in twenty.
#   Its answer $\hat z_0 = (z_t - \sigma_t\hat\epsilon)/\alpha_t$ multiplies the network's error by $\sigma_t/\alpha_t$, almost 15 at $T$;
#   that of $v$ never by more than 1. A network must be very good before it can afford $\epsilon$; the public one was
#   trained for that long. Zero terminal SNR itself changes little here; notebook 20 shows what it is for.
# - **The tasks' weights** move both judges in opposite directions: with equal weights the heavy flaws (SR, MD) rule the
#   loss, the experts part a little more, and noise is taken away worse. The long run weighs.
# - **A gate** (notebook 30 derives it) is the other change that decides: with 300 steps it stands above the base after 1000,
#   by all three judges. The plain network has to undo, layer by layer, what the start does to a photo that is only
#   noisy; the gate does it with one factor. It costs 3,468 parameters.
# - **Muon** with a rate of 2e-3 gains a little LPIPS, and the experts part a little more, at the same operations; AdamW
#   at that rate gains neither LPIPS nor PSNR. Together with the gate, which leaves less to gain, it is hardly better
#   than the gate alone.
# - **How times are drawn, how text reaches the network, the rate, width and depth** stay within chance, or nearly so, after
#   so few steps. That is no proof that they don't matter, only that this budget can't tell. For these the long run follows
#   the reasons in section 3 and in notebook 30, not evidence.
# - **Light flaws first**, heavier ones later, makes an expert more careful: of the trials without a gate it harms PSNR
#   least, its LPIPS is no better, and the experts hardly part. An expert is wanted for what only it dares to do, so the
#   long run has no such course.
# - **More pairs, one draw each** has a better LPIPS than the base, by a little more than chance and for a fifth more
#   operations, and keeps its lead in the longer trials; with the gate LPIPS and PSNR are equal but for chance, and the
#   experts part a little less. Perhaps photos teach more than noises do.
# - **Fine-tuning** the last of these networks for as many steps again, with another judge beside Eq. 1 (**decoded answers**,
#   notebook 30) and without it. With it the experts part more than in any other trial, LPIPS gains a little more than
#   without, by hardly more than chance, and PSNR loses nothing; VGG16 makes a step five to seven times as costly. Three
#   hundred steps decide little here: the shipped model was fine-tuned for 2000, of 64 crops with four noises each (sections 3 and 4).
# - **Experts part late.** Without a gate the worst text expert of a short trial is only a few percent worse than the matching
#   one; with three times the steps it is more, and in the shipped model more still (notebook 45). Specialisation is
#   bought with steps, or with a network that needs fewer.
#
# The long run has the start, the gate, Muon, weighted tasks and one draw a pair; what it leaves is fine-tuned on decoded
# answers, on a GPU with four draws.

# %%
if trials:
    value = table.pivot(index="trial", columns="task")
    own, apart, gain = (value[n] for n in ("LPIPS, own over LQ", "worst over own", "PSNR gain (dB)"))
    assert (gain.loc["base"] - gain.loc["no start from LQ"] > 2).all()
    assert apart.loc["tasks of equal weight"].mean() > apart.loc[["base", "another seed"]].mean(axis=1).max()
    assert own.loc["tasks of equal weight", "DN"] > own.loc[["base", "another seed"], "DN"].max()
    v, eps = (own.loc[[f"no start, some signal at T{n}{s}" for s in ("", ", 20 steps")]] for n in ("", ", eps"))
    assert 1.3 * v.mean(axis=1).max() < eps.mean(axis=1).min()
    assert abs(own.loc["no start, some signal at T"] / own.loc["no start from LQ"] - 1).max() < 0.02  # zero SNR: little
    plain = Schedule.make(ScheduleConfig())
    assert 14 < plain.sigma[-1] / plain.alpha[-1] < 15
    longer = [name for name in own.index if name.endswith("longer")]
    tuned, decoded = (f"{training_trials.TUNED}{what}" for what in ("", ", decoded answers"))
    short = own.mean(axis=1).drop([*longer, tuned, decoded])
    gated = [name for name in own.index if name.startswith("a gate")]
    assert short[gated].max() < own.loc["base, longer"].mean() and apart.loc["a gate"].mean() > apart.loc["base, longer"].mean()
    assert gain.loc[gated].mean(axis=1).min() > gain.loc["base, longer"].mean()
    ungated, muon = short.drop(gated), "Muon, rate 2e-3"
    assert ungated.idxmin() == muon and (own.loc[muon] < own.loc[["base", "rate 2e-3"]].min()).all()
    assert ungated.drop(muon).idxmin() == "one draw a pair" == own.loc[longer].mean(axis=1).idxmin().removesuffix(", longer")
    assert apart.loc[ungated.index].max().max() < 1.07 and (apart.loc["base, longer"] > apart.loc["base"]).all()
    assert gain.mean(axis=1)[ungated.index].idxmax() == "light flaws first"
    both, chance = ["a gate, Muon", "a gate, Muon, one draw a pair"], ["base", "another seed"]
    assert all(np.ptp(n.loc[both].mean(axis=1)) < np.ptp(n.loc[chance].mean(axis=1)) for n in (own, gain))

# %%
if trials:
    assert apart.mean(axis=1).idxmax() == decoded and own.loc[decoded].mean() < own.loc[tuned].mean() < short.min()
    assert gain.loc[decoded].mean() >= gain.loc[tuned].mean() > gain.mean(axis=1).drop([tuned, decoded]).max()
    assert 5 < np.divide(*(t["operations"] for n in (decoded, tuned) for t in trials if t["trial"] == n)) < 7

# %% [markdown]
# ## 3. How the sampler sees the schedule
#
# A sampler of $S$ steps asks the network at $S$ times only, the first of them pure noise: there the network must answer
# from the flawed photo alone. Uniform draws of $t$ hit the neighbourhood of these few times rarely. The curves show
# the signal $\alpha_t$ and the noise $\sigma_t$; the dots are the few times that get their own share of the draws.

# %%
schedule = Schedule.make(config.schedule)
times = schedule.grid(config.train.sampler_steps, config.sample.spacing)
figure, axes = plt.subplots(figsize=(5.2, 2.4), layout="constrained")
for name, line in (("signal", schedule.alpha), ("noise", schedule.sigma)):
    axes.plot(line, label=name)
    axes.plot(times, line[times], "o", color=axes.lines[-1].get_color())
axes.set(xlabel="time t", ylabel="share in z_t")
axes.legend()
save_figure(figure, run_dir, "32_times.png")
assert times[0] == config.schedule.steps - 1 and abs(schedule.alpha[times[0]]) < 1e-6  # the first is noise alone
print(f"share of the draws at {times.tolist()}: {config.train.sampler_share:g}")

# %% [markdown]
# **How many steps?** Also a choice for the validation photos: the shipped model, and the base that it was fine-tuned from,
# restore their crops with several numbers of steps, each expert its own flaw (before AdaIN). At three steps the
# fine-tuning lowered LPIPS for every flaw; it had more steps, larger crops, other times and another judge at once, and this table
# can't tell which did how much. Fewer steps are nearer to the mean of what might have been,
# and PSNR likes that; more steps draw more detail, and LPIPS likes that until it is drawn wrong. The price grows with
# each step, and a search pays it hundreds of times. The third step still lowers the mean LPIPS, the fourth hardly, and
# every step costs PSNR: the profile takes three.

# %%
counts = [
    {"model": name, **line}
    for name, path in training_trials.SAMPLING.items()
    for line in training_trials.by_steps(training_trials.read(path))
]
if {line["model"] for line in counts} == set(training_trials.SAMPLING):
    both = pd.DataFrame(counts).pivot(index="steps", columns=["model", "task"], values=["psnr", "lpips"])
    both = both.swaplevel(0, 1, axis=1)[list(training_trials.SAMPLING)]
    display(both.reindex(columns=[task.name for task in TASKS], level=2).round(3))
    print(both.T.groupby(level=[0, 1]).mean().T.round(4).to_string())  # over the tasks
    by_steps, base = both["demo"], both["demo_base"]
    assert (by_steps.loc[3, "lpips"] < base.loc[3, "lpips"]).all()
    third, fourth = (by_steps.loc[n] - by_steps.loc[n - 1] for n in (3, 4))
    assert third["lpips"].mean() < 3 * fourth["lpips"].mean() < 0 and (fourth["psnr"] < 0).all() and (third["psnr"] < 0).all()
    print("the profile takes", KNOWN["demo"].sample.steps)
else:
    print("not run: python -m benchmarks.training_trials --photos DIR --sampling")

# %% [markdown]
# ## 4. The long run
#
# The loss by task, smoothed over 100 steps: left the base's training, and right two ways to fine-tune it. `demo_short` is
# an hour of a laptop; it shipped once, and is what the controls are compared with (notebook 74). `demo` is what ships now:
# five minutes of a GPU, two of them to compile. The loss is measured in units of what the flawed photo alone would cost,
# over all tasks; noise and slight defocus start below 1, low resolution and motion above. Where the crops grow (dashed),
# the curves scatter more: 8 crops a step in place of 32. A curve that still falls at its end says that the compute ended
# before the learning did.
#
# Most curves on the right begin a little higher than they end on the left, for they ask at the times of three steps, not
# four; and the total counts another term too, the distance of decoded answers (`perceptual`). In the laptop's hour it stays where it was. The
# GPU sees 64 crops of 128 pixels a step, each with four noises, 46 times as much in all: there the distance falls by an
# eighth and is still falling at the end, while the tasks' own curves hardly move. Eq. 1 is nearly learned; what an eye
# sees is not.

# %%
logs = {name: Path(f"results/training/{name}_ldm_loss.jsonl") for name in ("demo_base", "demo_short", "demo")}
if all(log.is_file() for log in logs.values()):
    figure, grid = plt.subplots(1, 3, figsize=(9.2, 3), sharey=True, layout="constrained")
    shown, ends = [*(task.name for task in TASKS), "perceptual"], {}
    for axes, (name, log) in zip(grid, logs.items(), strict=True):
        losses = pd.DataFrame([json.loads(line) for line in log.read_text().splitlines()])
        for one in losses.columns.intersection(shown, sort=False):
            axes.plot(losses["step"], losses[one].rolling(100, min_periods=20).mean(), label=one)
        for stage in np.cumsum([stage.steps for stage in KNOWN[name].train.stages])[:-1]:
            axes.axvline(stage, color="0.5", lw=0.8, ls="--")
        axes.set(xlabel="step", ylabel="loss; 1: the LQ, over all tasks", ylim=(0, 2.5), title=name)
        for when, part in (("first", losses.head(200)), ("last", losses.tail(200))):
            ends[f"{name}, {when} 200"] = part.mean(numeric_only=True).reindex(["loss", *shown])
    axes.legend(ncols=2)
    save_figure(figure, run_dir, "32_long_run.png")
    display((ends := pd.DataFrame(ends)).T.round(3))
    items = {n: sum(s.steps * s.batch * s.crop**2 for s in KNOWN[n].train.stages) * KNOWN[n].train.draws for n in logs}
    print(f"pixels that the GPU's run looked at over the laptop's: {items['demo'] / items['demo_short']:.0f}")
    falls = {n: ends.loc["perceptual", f"{n}, last 200"] / ends.loc["perceptual", f"{n}, first 200"] for n in list(logs)[1:]}
    assert 0.98 < falls["demo_short"] < 1.04 and falls["demo"] < 0.89

# %% [markdown]
# ## 5. Rows
#
# The trials' values go into this run's rows, so that a changed trial is noticed like any other number.

# %%
rows = [
    row("validation", line["task"], line["trial"], name, value)
    for line in training_trials.told(trials)
    for name, value in line.items()
    if name not in ("trial", "task")
] + [
    row("validation", line["task"], f"{line['model']}, {line['steps']} steps", metric, line[metric])
    for line in counts
    for metric in ("psnr", "lpips")
]
rows = rows or [not_run("validation", "all", "all", "lpips", f"{training_trials.OUT} is not there: run benchmarks.training_trials")]
write_rows(run_dir, "32_training_campaign", rows)
print(len(rows), "rows")

# %% [markdown]
# ## What to try
#
# 1. Add a trial of your own to `TRIALS` (another rate, fewer channels) and run it with `--only`. What would it have to
#    show before you spent an hour on it?
# 2. Give SR a weight of zero in `task_weights`. Does MD learn faster, at the same number of its own pairs?
# 3. One other seed is one sample of chance. Change `SEED` in `training_trials`, repeat two trials into another file, and
#    look: do they keep their order?
