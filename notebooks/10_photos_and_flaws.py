# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 10 Photos and flaws
#
# **Question.** How does a photo go bad, can we make it go bad on purpose, and how bad is it then?
#
# **In:** sharp photos that ship inside Python packages. **Out:** flawed copies with a recipe each, the test sets
# that every later notebook restores, and the first rows of numbers: what the flawed photos score as they are.
#
# **Minutes:** smoke under 1 | demo under 1.
#
# Restoration is learned from pairs: a sharp photo $x$ and a flawed one $y$. Nobody has both of the same moment, so
# we take sharp photos and break them. What the model can repair later is decided here: it will know exactly the
# flaws that we show it. The better our imitation of lens, hand and sensor, the better it does on real photos.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"

# %%
import os
from pathlib import Path

if Path.cwd().name == "notebooks":  # Jupyter starts there; everything below is named from the project's root
    os.chdir("..")

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from benchmarks.evaluate import Evaluation, frame, mean_table
from benchmarks.figures import save_figure, show_photos
from unires.data import evaluation_crops, held_out_paths
from unires.degrade import Recipe, degrade, replay

# %config InlineBackend.figure_formats = ["jpeg"]
sns.set_theme(style="whitegrid", font_scale=0.85)
photos = dict(evaluation_crops(8, 256))  # for the lessons; the test sets follow below
show_photos([[*photos.values()][:4], [*photos.values()][4:]], [""] * 4, zoom=0.5);

# %% [markdown]
# ## Where the photos come from
#
# These crops are cut from photos inside scikit-image and scikit-learn: everybody who installs the project has
# them, to the byte. Which crop is used is a rule, not a taste: every photo is cut along a grid, the two crops with
# most texture (the largest mean gradient) stay. Flat sky would make every method look good.
#
# **Nothing that is evaluated is ever trained on.** Training reads another folder of sharp photos
# (`python -m unires train --photos DIR`) and refuses to start if one of these photos lies in it. The refusal
# compares hashes of file contents, so renaming does not help. Let us try to cheat:

# %%
import shutil
import tempfile

from unires.data import PhotoError, Photos

with tempfile.TemporaryDirectory() as folder:
    shutil.copy(held_out_paths()["chelsea"], Path(folder, "my_holidays.png"))
    try:
        Photos.read(Path(folder), least=64)
    except PhotoError as error:
        refusal = str(error)
print(refusal.replace(folder, "DIR"))
assert "held-out photo chelsea" in refusal

# %% [markdown]
# ## Light and numbers
#
# A file does not hold light. Between sensor and file lies a curve, the *gamma*: display value = light$^{1/2.2}$.
# It spends the 256 levels where eyes see differences, in the dark. Lenses and shaking hands mix **light**, not
# display values, so blur belongs before the curve. The difference is not small: half a pixel of full light mixed
# with half a pixel of none is bright grey, not middle grey. That is why blurred highlights glow.

# %%
from unires.degrade.codec import to_display, to_linear

black_and_white = np.array([0.0, 1.0], np.float32)
wrong = black_and_white.mean()
right = float(to_display(to_linear(black_and_white).mean()))
print(f"mixed as display values {wrong:.2f}, mixed as light {right:.2f}")
assert right > wrong
assert np.allclose(to_display(to_linear(photos["china-0-0"])), photos["china-0-0"], atol=1e-5)

# %% [markdown]
# ## DD: a lens out of focus
#
# A point of the scene should become a point in the photo. Out of focus, the cone of light from the lens meets the
# sensor before or behind its tip, and the point becomes the image of the aperture: a **disc**. The flawed photo is
# the sum of all those discs, a convolution with a kernel $k$:
#
# $$y = \left(k * x^{2.2}\right)^{1/2.2}, \qquad \sum k = 1.$$
#
# The sum is 1 because defocus moves light and loses none. The rim of the disc covers pixels in part; each gets
# its covered share.

# %%
from unires.degrade.defocus import defocus
from unires.degrade.kernels import disc

x = photos["china-0-0"]
radii = (1.0, 2.5, 5.0)
blurred = [x] + [defocus(x, radius) for radius in radii]
show_photos([[photo[20:180, 90:250] for photo in blurred]], ["sharp"] + [f"radius {r:g} px" for r in radii])
figure, axes = plt.subplots(1, 3, figsize=(5.5, 1.9), layout="constrained")
for axis, radius in zip(axes, radii, strict=True):
    axis.imshow(disc(radius), cmap="gray", vmin=0)
    axis.set(title=f"kernel, radius {radius:g} px", xticks=[], yticks=[])
assert all(np.isclose(disc(radius).sum(), 1) for radius in radii)

# %% [markdown]
# ## MD: a hand that shakes
#
# While the shutter is open, the camera wanders. Every point of the scene draws the same curve on the sensor, and
# the photo is again a convolution; this time the kernel is the **camera's path**, brighter where the camera
# lingered. The path is a random walk with character: the velocity is jittered, pulled back to the start (a hand
# corrects itself), and now and then thrown round. A calm hand draws nearly a line, a nervous one a knot.

# %%
from unires.degrade.kernels import rasterise
from unires.degrade.motion import shake, trajectory

hands = {
    "calm": {"jitter": 0.1, "pull": 5.0, "shakes": 0.0, "seed": 3},
    "usual": {"jitter": 1.0, "pull": 60.0, "shakes": 0.3, "seed": 5},
    "nervous": {"jitter": 1.3, "pull": 200.0, "shakes": 1.2, "seed": 8},
}
figure, axes = plt.subplots(2, 3, figsize=(5.5, 3.6), layout="constrained")
for (name, hand), above, below in zip(hands.items(), *axes, strict=True):
    path = trajectory(**hand)
    path = path * (15 / np.ptp(path, axis=0).max())
    above.plot(path[:, 1], -path[:, 0])
    above.set(title=name, aspect="equal", xlabel="pixels", ylabel="pixels")
    below.imshow(rasterise(path), cmap="gray")
    below.set(xticks=[], yticks=[])
    assert np.isclose(rasterise(path).sum(), 1)

# %% [markdown]
# Above the path, below the kernel that it leaves on the pixel grid: every point of the path is shared among its
# four nearest pixels, so that a path may lie between pixels. The same three hands on a photo:

# %%
x = photos["motorcycle-0-256"]
shaken = [x] + [shake(x, extent=15, **hand) for hand in hands.values()]
show_photos([[photo[90:250, 60:220] for photo in shaken]], ["sharp", *hands]);

# %% [markdown]
# ## DN: too little light
#
# Light arrives in photons, and photons arrive at random. A pixel that expects $n$ of them counts $n \pm \sqrt{n}$:
# the variance of the count is the count itself (Poisson). Reading the sensor adds noise that does not care about
# the light. Together, in linear light $u$:
#
# $$\operatorname{var}(u) = a\,u + b,$$
#
# $a$ the light of one photo-electron, $b$ the read-out. Noise of one constant strength, as in many textbooks,
# leaves out that bright areas carry more of it. Do the simulated photons follow the line? We take grey cards of known
# light, add noise to each, and measure:

# %%
from unires.degrade.noise import poisson_gaussian

x = photos["coffee-0-0"]
noisy, recipe = degrade("DN", x, np.random.default_rng(seed), severity=0.75)
sensor = recipe.steps[0]
light = np.linspace(0.02, 0.95, 12)
cards = [poisson_gaussian(np.full((150, 150, 3), u, np.float32), sensor["a"], sensor["b"], seed) for u in light]
measured = np.array([card.var() for card in cards])
drawn = sensor["a"] * light + sensor["b"]
assert np.allclose(measured, drawn, rtol=0.05)

# %% [markdown]
# They do. In the file it looks the other way round: the gamma curve is steep in the dark, so the smaller noise of
# dark areas is stretched most. Hence the right-hand plot, and hence grainy shadows in night photos. (At the bright
# end it falls once more: a full pixel cannot get fuller, so noise that would go beyond white is cut off.)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.7), layout="constrained")
left.plot(light, drawn, label="a u + b")
left.plot(light, measured, "o", label="measured")
left.set(xlabel="light u (0 to 1)", ylabel="variance (light²)", title="on the sensor")
left.legend()
right.plot(to_display(light), [to_display(card).std() for card in cards], "o-", color="C2")
right.set(xlabel="display value (0 to 1)", ylabel="standard deviation", title="in the file", ylim=(0, None))
save_figure(figure, run_dir, "10_noise.png")
show_photos([[x, noisy]], ["sharp", f"DN, a = {sensor['a']:.2g}, b = {sensor['b']:.2g}"], zoom=0.8);

# %% [markdown]
# ## SR: too few pixels, and the file format
#
# A small photo, seen large. First it is softened, then shrunk, then disturbed and written as JPEG, then enlarged to
# the old size by bicubic interpolation. What the shrinking removed is gone: no filter can bring it back, it can
# only be *made up* plausibly. This is where a generative model differs from a sharpening filter.
#
# JPEG cuts a photo in blocks of 8 x 8, describes each by cosine waves and rounds the strengths. Low quality means
# coarse rounding: flat blocks, ringing at edges. Colour is stored at half the resolution.

# %%
from unires.degrade.codec import jpeg
from unires.degrade.super_resolution import resize

x = photos["astronaut-256-0"][60:188, 120:248]
files = [x] + [jpeg(x, quality) for quality in (90, 40, 10)]
show_photos([files], ["sharp", "JPEG 90", "JPEG 40", "JPEG 10"], zoom=1.4)
small = resize(x, 32, 32, "bicubic")
large = [resize(small, 128, 128, kind) for kind in ("area", "bilinear", "bicubic")]
show_photos([[x, *large]], ["sharp", "x4 by area", "x4 by bilinear", "x4 by bicubic"], zoom=1.4)
assert small.shape == (32, 32, 3)

# %% [markdown]
# ## How strong: severity
#
# Each flaw has one knob, **severity**, from 0 (almost none) to 1 (the heaviest in training). Training draws it
# uniformly: a model that only knows heavy flaws damages photos that are nearly fine. The same crop, four tasks,
# three severities:

# %%
from unires.tasks import TASKS

x = photos["china-0-0"]
levels = (0.2, 0.6, 1.0)
grid = [
    [degrade(task.name, x, np.random.default_rng(seed), level)[0] for level in levels] for task in TASKS
]
shown = [[x[20:180, 90:250]] + [photo[20:180, 90:250] for photo in row] for row in grid]
names = [task.name for task in TASKS]
figure = show_photos(shown, ["sharp"] + [f"severity {level:g}" for level in levels], names, zoom=0.9)
save_figure(figure, run_dir, "10_severity.jpg");

# %% [markdown]
# More severity means a larger distance from the sharp photo. For a single crop, task and seed that is a fact to
# assert:

# %%
for task, row in zip(TASKS, grid, strict=True):
    errors = [float(np.abs(photo - x).mean()) for photo in row]
    print(f"{task.name}: mean error {' < '.join(f'{error:.3f}' for error in errors)}")
    assert errors == sorted(errors)

# %% [markdown]
# ## The recipe
#
# A flawed photo alone cannot be argued about. So `degrade` returns a second thing, the **recipe**: every step with
# every number, including the seeds of the noise, as plain JSON. Whoever has the sharp photo and the recipe has the
# flawed photo, to the byte. That makes a test set a text file.

# %%
y, recipe = degrade("SR", x, np.random.default_rng(seed), severity=0.6)
for step in recipe.steps:
    print(step)
again = replay(Recipe.from_json(recipe.to_json()), x)
assert again.tobytes() == y.tobytes()

# %% [markdown]
# ## Several flaws at once, in physical order
#
# The paper's hard case, the *complex degradation*. The order of steps is not free: light passes the **lens**, then
# the **hand** moves, then **pixels** sample it, then **photons** are counted, then a **file** is written, and in
# the end somebody enlarges it for viewing. What goes wrong with another order? Noise that is added *before* a blur
# is averaged away by it: no real camera makes such photos, and a model trained on them would look for the wrong
# thing.

# %%
from unires.degrade.noise import sensor_noise

card = np.full((128, 128, 3), 0.5, np.float32)
grain = {"a": sensor["a"], "b": sensor["b"], "seed": seed}
physical = sensor_noise(defocus(card, 3.0), **grain).std()
reversed_ = defocus(sensor_noise(card, **grain), 3.0).std()
print(f"grain left on a grey card: blur then noise {physical:.3f}, noise then blur {reversed_:.3f}")
assert reversed_ < physical / 3

# %% [markdown]
# A blur over $n$ pixels divides the deviation of independent noise by about $\sqrt n$; a disc of radius 3 covers
# some 28 pixels. Whatever order the tasks are named in, `degrade` applies their steps in the physical one. Here is
# a mixture of three, step by step (the small photos are drawn at the size of the large ones):

# %%
x = photos["motorcycle-0-256"]
y, recipe = degrade("DN+SR+MD", x, np.random.default_rng(seed), severity=0.5)
order = [step["op"] for step in recipe.steps]
print(" -> ".join(order))
assert order.index("shake") < order.index("shrink") < order.index("sensor_noise") < order.index("jpeg")
stages = [replay(Recipe(recipe.tasks, recipe.severity, recipe.steps[: n + 1]), x) for n in range(len(order))]
after = {op: stage for op, stage in zip(order, stages, strict=True)}  # of a step done twice, the last
picked = ("shake", "shrink", "sensor_noise", "jpeg", "enlarge")
figure = show_photos([[x] + [after[op] for op in picked]], ["sharp", *picked], zoom=0.62)
save_figure(figure, run_dir, "10_mixture_step_by_step.jpg")
assert stages[-1].tobytes() == y.tobytes()

# %% [markdown]
# The sensor's noise comes twice: a shaken photo brings a slight read-out of its own, DN the heavy grain. But only
# one JPEG happens, on the small photo: a photo is usually written once. And noise looks coarse at the end,
# because it was enlarged together with the photo. Isolated training data never shows that: an expert for noise
# knows grain of one pixel. This is precisely the gap that composing experts is meant to bridge.
#
# ## The test sets
#
# Five sets on the same sharp crops: one for each task, and `complex`, where each crop gets its own mixture of two
# or three. Severity is fixed within a set, because a lottery of severities would drown the difference between
# methods. Every crop of every set has its own seed, and one hash over all pairs goes into the run's record: a
# changed flaw or photo is a changed hash.

# %%
evaluation = Evaluation.start(run_dir, profile, seed)
for name, items in evaluation.sets.items():
    print(f"{name}: {len(items)} pairs of {items[0].x.shape[0]} px: {', '.join(i.recipe.tasks for i in items)}")
    assert all(item.x.shape == item.y.shape for item in items)
    assert all(replay(item.recipe, item.x).tobytes() == item.y.tobytes() for item in items)

# %%
for name, items in evaluation.sets.items():
    pairs = [[item.x for item in items], [item.y for item in items]]
    size = items[0].x.shape[0]
    titles = [item.recipe.tasks for item in items]
    figure = show_photos(pairs, titles, [f"{name} HQ", f"{name} LQ"], zoom=112 / size)
    save_figure(figure, run_dir, f"10_set_{name}.jpg")

# %% [markdown]
# ## How bad are they?
#
# Four metrics, each with its own opinion:
#
# - **PSNR**, in decibels, higher is better: the mean squared error on a logarithmic scale. It likes caution: a
#   blurry guess in the middle of all possibilities has the smallest expected error.
# - **SSIM**, up to 1, higher is better: compares local brightness, contrast and structure.
# - **LPIPS**, from 0, *lower* is better: the distance between features of a network trained on photos. It sees
#   texture and dislikes blur.
# - **NIQE**, *lower* is better, needs no reference: how unlike pristine photos are the local statistics? It is the
#   only one of the four that can be asked about a photo whose sharp version nobody has.
#
# The first three need the sharp photo. Every metric rounds to 8 bits first, so that a photo in memory scores like
# its file. The method is called `LQ`: nothing is restored. For SR that means bicubic enlargement. Whatever a
# restoration scores later, this is what it must beat.

# %%
from unires.record import write_rows

rows = [row for item in evaluation.items for row in evaluation.measure(item, "LQ", item.y)]
write_rows(run_dir, "10_photos_and_flaws", rows)
missing = {(row["metric"], row["reason"]) for row in rows if row["status"] == "not run"}
print(f"{len(rows)} rows; not run: {sorted(missing) or 'none'}")
mean_table(rows).round(3)

# %% [markdown]
# A mean hides who it is made of. Each point below is one photo. Look how far photos of one set lie apart, although
# the severity is the same: a smooth photo survives blur better than a detailed one. So compare methods photo by
# photo, never by two means of different photos.

# %%
table = frame(rows)
shown = [metric for metric in ("psnr", "lpips", "niqe") if metric in set(table["metric"])]
units = {"psnr": "PSNR (dB), higher is better", "lpips": "LPIPS, lower is better", "niqe": "NIQE, lower is better"}
figure, axes = plt.subplots(1, len(shown), figsize=(3.2 * len(shown), 2.8), layout="constrained")
for axis, metric in zip(axes, shown, strict=True):
    values = table[table["metric"] == metric]
    sns.stripplot(values, x="set", y="value", hue="set", jitter=False, alpha=0.7, ax=axis, legend=False)
    axis.set(xlabel="test set", ylabel=units[metric])
save_figure(figure, run_dir, "10_lq_scores.png")
assert len(table) + sum(row["status"] == "not run" for row in rows) == len(rows)

# %% [markdown]
# ## What to try
#
# 1. Which flaw costs most PSNR, and which most LPIPS? They need not agree. Look at the photos and decide whom you
#    believe.
# 2. Blur in display values instead of light (`convolve(x, disc(5))`) and subtract: where is the difference, and
#    what would a model trained on it do to street lamps?
# 3. Draw a recipe, change one number in its JSON, and replay. Can you make a photo that only differs in its grain?
# 4. A real photo out of focus has near and far objects. Sketch how a depth map would enter `defocus`, and which
#    border effects you would have to treat.
