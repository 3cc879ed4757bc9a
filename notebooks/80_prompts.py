# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 80 Prompts
#
# **Question.** A prompt is a text, and any text is an expert. What do words of praise and of blame do to a
# restoration, how does guidance fit in, and what does the network do with a prompt that it never heard in training?
#
# **In:** the model and a few photos with several flaws (`complex`). **Out:** restorations with the paper's positive
# and negative words at strength 0, 0.5 and 1 on top of four mixtures, with classifier-free guidance, and with four
# prompts that the paper doesn't have: rows with PSNR, LPIPS and NIQE in `rows.jsonl`, and figures.
#
# **Minutes:** smoke under 1 | demo about 2.
#
# Words used below: *LQ* is the flawed photo y, *HQ* the sharp one x. **BR** is the blind expert, the network without
# any text; **SR**, **MD**, **DD**, **DN** are the prompts of the four tasks, and **DownLQ** is SR that sees less
# (notebook 55). Notebook 50 tells how they are mixed.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"
photos = 3

# %%
import os
from pathlib import Path

if Path.cwd().name == "notebooks":  # Jupyter starts there; everything below is named from the project's root
    os.chdir("..")

# %%
import inspect
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from benchmarks.evaluate import MIXTURES, Evaluation, mean_table
from benchmarks.figures import save_figure, show_photos
from unires import tasks
from unires.engine import Engine, unet_calls
from unires.models.text import tokenize
from unires.record import row, write_rows
from unires.restore import restorer_of
from unires.score import metric_score
from unires.tasks import BR, EXPERTS, NEGATIVE, POSITIVE, Expert

# %%
sns.set_theme(style="whitegrid", context="notebook")
evaluation = Evaluation.start(run_dir, profile, seed)
config = evaluation.config
few = evaluation.sets["complex"][:photos]
name = f"complex[:{len(few)}]"
items = [replace(item, set=name) for item in few]
print(f"{len(items)} photos, the first is {items[0].image}, flawed by {items[0].recipe.tasks}")

# %% [markdown]
# ## 1 How a text gets in
#
# A prompt is cut into words, each word is hashed to a number, a small encoder turns the numbers into vectors, and the
# UNet looks at them in its attention and adds their mean to the time (notebook 40). So *every* text has an answer. Whether the answer means anything
# depends on what training said about these words.
#
# The paper's appendix (A.7) teaches the network two more texts beside the tasks. In one pair of a hundred the
# task's prompt is replaced by **positive** words. In another one of a hundred it is replaced by **negative** words,
# and there LQ and HQ trade places: the network learns to make a photo *worse* when it hears them. Then the difference
# between the two predictions is a direction, from bad to good.
#
# (Whether a checkpoint was taught these words is a matter of its training; section 3 measures what came of it.)
#
# The four **strangers** below are prompts of ours. The table counts their *new words*, whose number occurs in none of the
# paper's prompts. A small vocabulary has collisions: two words may share a number by chance. (A checkpoint that keeps the
# paper's prompts in place of its text encoder can't be asked anything else: there the strangers are left out.)

# %%
STRANGERS = (
    Expert("both tasks", "Denoise and motion-deblur"),  # known words but for "and", never heard together
    Expert("rain", "Remove the rain"),
    Expert("cat", "A photograph of a cat"),
    Expert("nonsense", "Xyzzy plugh"),
)
tower = any(array.startswith("text.") for array in evaluation.restorer.arrays)
STRANGERS = STRANGERS if tower else ()
experts = (*EXPERTS, POSITIVE, NEGATIVE, *STRANGERS)
trained = [expert for expert in experts if expert.prompt and expert not in STRANGERS and expert.factor == 1]

# %%
asked = experts if tower else ()
ids = dict(zip(asked, tokenize([expert.prompt for expert in asked], config.text), strict=True))
read = [expert for expert in trained if expert in ids]
heard = {int(i) for expert in read for i in ids[expert]} | {0, 1, 2}  # padding, start and end
lines = [(e.name, e.prompt, int((ids[e] > 2).sum()), sum(int(i) not in heard for i in ids[e])) for e in ids]
known = pd.DataFrame(lines, columns=["expert", "prompt", "words read", "new words"]).set_index("expert")
assert (known.loc[[expert.name for expert in read], "new words"] == 0).all()
known

# %% [markdown]
# The experts of this list go into a `Restorer` as they are. Nothing in the sampler, in Eq. 2 or in the engine knows how
# many there are or what they say. That is the whole recipe for adding a task: write its prompt down.
#
# ## 2 One list of vectors
#
# What we want to try is written as weights, and the engine restores all of it in one go: it shares the first sampling
# step among all vectors, and asks only experts whose weight isn't 0. Three groups:
#
# - **Words on top.** The paper adds +1 of the positive and -1 of the negative words to weights that were *searched
#   before*, without them. The sum stays 1. `strength` turns the pair up or down.
# - **Guidance**, section 4.
# - **Each text alone**, the strangers too, section 5.

# %%
print(inspect.getsource(tasks.with_words), inspect.getsource(tasks.guidance), sep="\n")

# %%
STRENGTHS, SCALES = (0.0, 0.5, 1.0), (1.0, 2.0, 4.0)
bases = {"BR=1": {"BR": 1.0}, "SR=1": {"SR": 1.0}, **MIXTURES}
methods = {}
for base, weights in bases.items():
    for strength in STRENGTHS:
        vector = tasks.with_words(tasks.weights_vector(weights), strength)
        methods[f"{base} words {strength:g}"] = tasks.weights_dict(vector, experts[: len(vector)])
methods |= {f"guidance {scale:g}": tasks.guidance(scale) for scale in SCALES}
methods["negative prompt"] = tasks.guidance(1.0, POSITIVE.name, NEGATIVE.name)
spoken = [expert for expert in experts if expert.prompt and expert.factor == 1]
methods |= {f"{expert.name}=1": {expert.name: 1.0} for expert in spoken}
methods["MD=0.5 DN=0.5"] = {"MD": 0.5, "DN": 0.5}
vectors = [tasks.weights_vector(weights, experts) for weights in methods.values()]
assert all(np.isclose(vector.sum(), 1) for vector in vectors)
print(f"{len(methods)} mixtures of {len(experts)} experts")

# %% [markdown]
# A *study* is one photo on the engine's table. The calls that it makes are counted, and must be what the formula says.
# Strength 0 adds nothing, so the photo must be the one that the paper's six experts make without knowing of any words;
# only the rounding of floats may differ, which stays far below one step of an 8-bit file.

# %%
engine = Engine(restorer_of(config, experts)[0])
made = []
for item in items:
    study = engine.study(item.y, seed)
    latents = dict(study.latents(vectors))
    made.append({method: study.photo(latents[i]) for i, method in enumerate(methods)})
    assert study.paid.unet_calls == unet_calls(vectors, config.sample.steps)
print(f"{study.paid.unet_calls} UNet calls a photo for {len(vectors)} mixtures")
for base, weights in bases.items():
    six = evaluation.restorer(items[-1].y, weights, seed=seed)
    assert np.abs(made[-1][f"{base} words 0"] - six).max() < 1 / 255

# %% [markdown]
# Every photo gets its rows. One more base is the *searched* one: of the four, the mixture whose restoration without
# words has the best NIQE, photo by photo. That is the paper's order: search first, then add the words.

# %%
score, rows, steps = metric_score("niqe"), [], config.sample.steps
for item, results in zip(items, made, strict=True):
    searched = max(bases, key=lambda base: score(results[f"{base} words 0"]))  # noqa: B023
    print(f"{item.image}: {item.recipe.tasks}, NIQE chose {searched}")
    for strength in STRENGTHS:
        results[f"searched words {strength:g}"] = results[f"{searched} words {strength:g}"]
    rows += evaluation.measure(item, "LQ", item.y)
    for method, photo in results.items():
        weights = methods.get(method, methods[method.replace("searched", searched)])
        rows += evaluation.measure(item, method, photo, weights=weights, unet_calls=len(weights) * steps)
table = mean_table(rows).loc[name]
assert set(methods) < set(table.index)

# %% [markdown]
# ## 3 Words of praise and of blame
#
# Three things may happen as the strength grows. If training taught the words, detail and contrast should come out, the
# photo leaves LQ, PSNR falls and the scores that ask for a natural look improve. If it taught them badly, the two
# predictions differ by noise, and the noise is added. If it never taught them, both texts are only strange, and their
# difference is whatever the encoder makes of strange words. The curves say which; down is better for LPIPS and NIQE.

# %%
kinds = [*bases, "searched"]
labels = {"psnr": "PSNR (dB)", "lpips": "LPIPS", "niqe": "NIQE"}
panels = [metric for metric in labels if metric in table]
figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.4), layout="constrained")
for axis, metric in zip(axes, panels, strict=True):
    for i, kind in enumerate(kinds):
        values = [table.loc[f"{kind} words {strength:g}", metric] for strength in STRENGTHS]
        axis.plot(STRENGTHS, values, marker="osD^v"[i], linestyle="--" if kind == "searched" else "-", label=kind)
    axis.axhline(table.loc["LQ", metric], color="grey", linestyle=":", label="LQ")
    axis.set(xlabel="strength of the words", ylabel=f"mean {labels[metric]}", xticks=STRENGTHS)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
save_figure(figure, run_dir, "80_words.png")
plt.show()

# %%
words = [[f"{kind} words {strength:g}" for strength in STRENGTHS] for kind in kinds]
table.loc[["LQ", *np.ravel(words)]].round(3)

# %% [markdown]
# Look at the first photo: blind restoration above, the searched mixture below.

# %%
h, w = (side // 4 for side in items[0].y.shape[:2])
middle = np.s_[h : 3 * h, w : 3 * w]
zoom = 170 / (2 * w)  # the middle of a photo, 170 screen pixels wide
picture = [
    [photo[middle] for photo in (items[0].y, *(made[0][f"{kind} words {s:g}"] for s in STRENGTHS), items[0].x)]
    for kind in ("BR=1", "searched")
]
titles = ["LQ", *(f"strength {s:g}" for s in STRENGTHS), "HQ"]
figure = show_photos(picture, titles, ["BR", "searched"], zoom=zoom)
save_figure(figure, run_dir, "80_words.jpg")
plt.show()

# %% [markdown]
# How strong are the words? A restoration is moved by them by so many 8-bit levels (root mean square). Twice the strength
# would be twice the way if the network were linear; it needn't be, for every step starts where the last one ended.

# %%
def levels(a, b):
    """Root mean square difference in 8-bit levels."""
    return float(255 * np.sqrt(np.mean((a - b) ** 2)))


for base in bases:
    half, full = (
        np.mean([levels(results[f"{base} words {s:g}"], results[f"{base} words 0"]) for results in made])
        for s in STRENGTHS[1:]
    )
    print(f"{base:26} moved {half:5.2f} levels at strength 0.5, {full:5.2f} at 1: {full / half:.2f} times as far")
    assert half > 0 and full > 0

# %% [markdown]
# ## 4 Guidance is a composition
#
# Every text-to-image program exaggerates the prediction with text against the one without it, *classifier-free
# guidance*: $\epsilon_\varnothing + g\,(\epsilon_s - \epsilon_\varnothing)$ with a factor $g = 1 + \text{scale}$. Sort the
# terms, and it is Eq. 2 with two experts:
#
# $$\epsilon_\varnothing + g\,(\epsilon_\mathrm{SR} - \epsilon_\varnothing)
#   = \underbrace{g}_{w_\mathrm{SR}}\,\epsilon_\mathrm{SR} + \underbrace{(1-g)}_{w_\mathrm{BR}}\,\epsilon_\varnothing .$$
#
# The weights sum to 1, and one is negative as soon as $g > 1$. That a blind expert exists at all comes from training,
# where the text is dropped now and then. The *negative prompt* of those programs is the same with other words in the
# second place: there the negative text stands where the empty one was. And the paper's +1 and -1 on top are guidance
# once more, added to a mixture: the direction is from negative to positive, the start is the searched mixture.
#
# With one sampling step the network is asked once, so the identity must hold in the final latent itself:

# %%
asked = [tasks.weights_vector(weights, experts) for weights in ({"BR": 1.0}, {"SR": 1.0}, tasks.guidance(1.0))]
once = dict(study.latents(asked, steps=1))
g = 2.0
guided = once[0] + g * (once[1] - once[0])  # as every text-to-image program writes it
print(f"largest difference to Eq. 2: {np.abs(guided - once[2]).max():.1e}, scale 1 is g = {g:g}")
assert np.allclose(guided, once[2], atol=1e-4 * np.abs(guided).max())
assert tasks.guidance(0.0)["SR"] == 1 and tasks.guidance(0.0)["BR"] == 0

# %% [markdown]
# What guidance does to a picture you may know, too: more of what the text asks for, and too much of it looks burnt. At
# what scale does the photo break? The paper's grid stops at 1.2, which is scale 0.2.

# %%
walk = ["BR=1 words 0", "SR=1 words 0", *(f"guidance {scale:g}" for scale in SCALES)]
titles = ["LQ", "BR", "SR (scale 0)", *(f"scale {scale:g}" for scale in SCALES), "HQ"]
photos_of = (items[0].y, *(made[0][method] for method in walk), items[0].x)
figure = show_photos([[photo[middle] for photo in photos_of]], titles, zoom=150 / (2 * w))
save_figure(figure, run_dir, "80_guidance.jpg")
plt.show()
table.loc[[*walk, "negative prompt"]].round(3)

# %% [markdown]
# ## 5 Prompts that nobody trained
#
# The strangers were added by one line each. Does the network obey? A prompt that means nothing to it should leave it
# where it is without any prompt: at the **blind** restoration. So the honest measure is how far each text moves the
# photo from blind, beside what the trained texts do, and whether that way leads anywhere (LPIPS to HQ, against blind's).
#
# Nothing forces an unknown word to be harmless, even where it turns out so. Its vector is the random one that training
# started from, and the attention looks at it all the same. A long way from blind is therefore no proof of
# understanding: *nonsense* is the control. A stranger has understood something only if it moves the photo another way
# than nonsense does, and to a better place.

# %%
for item, results in zip(items, made, strict=True):
    for expert in spoken:
        apart = levels(results[f"{expert.name}=1"], results["BR=1 words 0"])
        variant = "root mean square, 8-bit levels"
        rows.append(row(name, item.image, f"{expert.name}=1", "way from blind", apart, variant=variant))
write_rows(run_dir, "80_prompts", rows)
alone = mean_table(rows, ("way from blind", "psnr", "lpips", "niqe")).loc[name]
alone = alone.loc[[f"{expert.name}=1" for expert in spoken]]
assert (alone["way from blind"] >= 0).all() and (alone["way from blind"] > 0).any()
alone.round(3)

# %%
texts = [expert.name for expert in spoken]
colours = ["C1" if expert in STRANGERS else "C0" for expert in spoken]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
axes[0].barh(texts, alone["way from blind"], color=colours)
axes[0].set(xlabel="way from the blind restoration\n(8-bit levels)")
axes[1].barh(texts, alone["lpips"] - table.loc[f"{BR.name}=1 words 0", "lpips"], color=colours)
axes[1].axvline(0, color="black", linewidth=1)
axes[1].set(xlabel="LPIPS minus blind's\n(left is better than blind)")
axes[1].locator_params(axis="x", nbins=5)
axes[0].invert_yaxis()
axes[0].set_title("blue: the paper's prompts", fontsize=10)
axes[1].set_title("orange: strangers", fontsize=10)
save_figure(figure, run_dir, "80_strangers.png")
plt.show()

# %% [markdown]
# The texts on the photo where the strangers go furthest. Compare each with *blind* and with *nonsense*.

# %%
ways = [[levels(one[f"{e.name}=1"], one["BR=1 words 0"]) for e in STRANGERS] for one in made]
far = max(range(len(items)), key=lambda i: max(ways[i], default=0))
item, results = items[far], made[far]
shown = [results[f"{expert.name}=1"] for expert in STRANGERS]
titles = ["LQ", "blind", *(expert.name for expert in STRANGERS), "HQ"]
figure = show_photos(
    [[photo[middle] for photo in (item.y, results["BR=1 words 0"], *shown, item.x)]], titles, zoom=150 / (2 * w)
)
save_figure(figure, run_dir, "80_strangers.jpg")
plt.show()

# %% [markdown]
# Where does a stranger end up? We look for the nearest of the blind restoration and the paper's own prompts, and print
# how far it still is. A stranger that stands close to a task has been *taken for* it, whatever it meant to say.

# %%
known_texts = ["BR=1 words 0", *(f"{expert.name}=1" for expert in trained)]
for expert in STRANGERS:
    way = {k: np.mean([levels(results[f"{expert.name}=1"], results[k]) for results in made]) for k in known_texts}
    nearest = min(way, key=way.get)
    print(f"{expert.prompt:26} is nearest to {nearest.split('=')[0]:9} {way[nearest]:.2f} levels apart")
    assert way[nearest] <= way["BR=1 words 0"]

# %% [markdown]
# **Write it or compose it?** If a photo is noisy and shaken, why not simply *say* so in one prompt? Because no training
# pair ever had both: the sentence with the words of two tasks is new to the network, while its two halves are not.
# Eq. 2 asks both questions in words that the network knows, and mixes the answers. That is the paper's argument. The
# comparison below can't prove it, with so few photos that have both flaws:

# %%
pair = table.loc[["MD=1", "DN=1", *(["both tasks=1"] if tower else []), "MD=0.5 DN=0.5"]]
said, composed = (pair.loc[method] for method in pair.index[-2:])
for metric, sign in (("psnr", 1), ("lpips", -1)) if tower else ():
    verdict = "better" if sign * (composed[metric] - said[metric]) > 0 else "NOT better"
    print(f"{metric}: composed is {verdict} than said in one prompt ({composed[metric]:.3f}, {said[metric]:.3f})")
apart = [levels(results["both tasks=1"], results["MD=0.5 DN=0.5"]) for results in made] if tower else []
print(f"the two differ by {np.mean(apart):.2f} levels on average" if tower else "no text encoder: not asked")
pair.round(3)

# %% [markdown]
# Prompts are cheap to add and hard to teach. A text of unknown words is a small random push;
# with enough pairs it is an expert, and the sampler needs no change for either. To make *rain* a task one needs rainy
# photos and dry ones.
#
# ## What to try
#
# 1. Search *with* the words: let the weights of POSITIVE and NEGATIVE take part in the grid. Does the best strength
#    differ from photo to photo?
# 2. Leave one side out: +1 positive and -1 blind, or +1 blind and -1 negative. Which of the two does the work?
# 3. Put your own words into STRANGERS: a synonym ("Noise reduction"), a typing error ("Denoize"), another language.
#    Which would a *pre-trained* text encoder understand, and this one not?
# 4. Add rain: write a flaw that draws streaks, teach the prompt with `unires.fit.fit`, which takes the shipped weights
#    to start from, for some hundred steps, and look at its bar in section 5 again.
