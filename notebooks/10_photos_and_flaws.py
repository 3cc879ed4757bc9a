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

from benchmarks import complex11
from benchmarks.evaluate import Evaluation, frame, mean_table
from benchmarks.figures import motion_samples, save_figure, show_photos
from unires.data import PhotoError, Photos, evaluation_crops, held_out_paths
from unires.degrade import SETTINGS, Recipe, degrade, replay
from unires.metrics import METRICS, measure
from unires.tasks import TASKS

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
# sensor before or behind its tip, and the point becomes the image of the **aperture**: a disc when the lens is wide
# open, a polygon when its blades close. The flawed photo is the sum of all those images, a convolution with a
# kernel $k$:
#
# $$y = \left(k * x^{2.2}\right)^{1/2.2}, \qquad \sum k = 1.$$
#
# The sum is 1 because defocus moves light and loses none. Lamps in the night show the kernel itself; photographers
# call it *bokeh*. A polygon gets the area of its disc, so both let the same light through.

# %%
from unires.degrade.aperture import aperture
from unires.degrade.defocus import composite, defocus, defocus_layers, depth_layers
from unires.degrade.kernels import convolve, rasterise

rng = np.random.default_rng(4)
lamps = np.zeros((160, 160, 3), np.float32)  # light of 60 to 120 times white, each in one pixel
lamps[rng.integers(14, 146, 12), rng.integers(14, 146, 12)] = rng.uniform(60, 120, (12, 3))
kernels = {"disc": aperture(8.0), "5 blades": aperture(8.0, 5), "6 blades": aperture(8.0, 6, angle=0.3)}
x = photos["china-0-0"][20:180, 90:250]
views = [to_display(convolve(lamps, kernel)) for kernel in kernels.values()] + [x, defocus(x, 2.0), defocus(x, 5.0)]
show_photos([views], [*kernels, "sharp", "radius 2 px", "radius 5 px"])
assert all(np.isclose(kernel.sum(), 1) for kernel in kernels.values())
assert np.allclose([kernel.max() for kernel in kernels.values()], 1 / (np.pi * 8**2), rtol=0.01)  # 1 / area

# %% [markdown]
# ### Near over far
#
# A real scene has depth, and each depth has its own radius. May we give each pixel the blur of its own depth? No.
# Take a sharp white disc in front of a dark, blurred background. A background pixel beside the disc would average
# over its neighbours, some of which are white: a **halo** of light that no lens makes, since the disc itself is in
# focus. And the other way round: a near object *out of* focus spreads over the sharp background behind it.
#
# So the scene is cut into **layers**. Each is blurred together with its opacity, what it hides is guessed from
# around, and then the nearer are laid over the farther. Both ways on one scene:

# %%
row, column = np.mgrid[:256, :256]
distance = np.hypot(row - 120, column - 128)
near = distance < 42
scene = np.where(near[..., None], np.float32(1), 0.4 * photos["flower-0-256"])
pixelwise = np.where(near[..., None], scene, defocus(scene, 7.0))
radii = np.array([-7.0, 0.0]), np.array([0.0, 7.0])  # of the far and the near layer
light = [composite(to_linear(scene).transpose(2, 0, 1), near.astype(np.int32), both) for both in radii]
near_sharp, far_sharp = (to_display(u[:3]).transpose(1, 2, 0) for u in light)
views = [photo[50:190, 58:198] for photo in (scene, pixelwise, near_sharp, far_sharp)]
show_photos([views], ["scene", "each pixel its own blur", "layers, near in focus", "layers, far in focus"], zoom=1.4)
beside = (distance > 44) & (distance < 47)
print(f"beside the disc: pixel by pixel {pixelwise[beside].mean():.2f}, layers {near_sharp[beside].mean():.2f}")
assert pixelwise[beside].mean() > 2 * near_sharp[beside].mean()

# %% [markdown]
# Nobody measured the depth of our photos. `depth_layers` guesses a scene: a tilted ground, and objects on it that a
# segmentation proposes. The guess is often wrong about *this* photo. But what a model must learn is that blur
# changes along the borders of things, and that holds. Some of the training photos are still blurred as a whole.

# %%
x = photos["astronaut-256-256"]
guess = {"tilt": 0.5, "direction": 0.0, "layers": 4, "objects": 5, "least": 400, "offset": 0.5, "seed": 3}
depth = depth_layers(x, **guess)
far, near = (defocus_layers(x, 6.0, focus, **guess) for focus in (0.0, 1.0))
grey = np.repeat(depth[..., None] / depth.max(), 3, axis=-1)
titles = ["sharp", "layers, white is near", "far in focus", "near in focus", "uniform"]
figure = show_photos([[x, grey, far, near, defocus(x, 6.0)]], titles, zoom=0.78)
save_figure(figure, run_dir, "10_depth.jpg")
for layer, better, worse in ((depth == depth.max(), near, far), (depth == depth.min(), far, near)):
    assert np.abs(better - x)[layer].mean() < np.abs(worse - x)[layer].mean()

# %% [markdown]
# ## MD: a hand that shakes
#
# While the shutter is open, the camera wanders. Every point of the scene draws the same curve on the sensor, and
# the photo is again a convolution; this time the kernel is the **camera's path**, brighter where the camera
# lingered. The path is a random walk with character: the velocity is jittered, pulled back to the start (a hand
# corrects itself), and now and then thrown round. A calm hand draws nearly a line, a nervous one a knot.

# %%
from unires.degrade.motion import shake, shake_kernel, shake_objects, trajectory

hands = {
    "calm": {"jitter": 0.1, "pull": 5.0, "shakes": 0.0, "seed": 3},
    "usual": {"jitter": 1.0, "pull": 60.0, "shakes": 0.3, "seed": 5},
    "nervous": {"jitter": 1.3, "pull": 200.0, "shakes": 1.2, "seed": 8},
}
x = photos["motorcycle-0-256"]
figure, axes = plt.subplots(3, 3, figsize=(6, 5.6), layout="constrained", height_ratios=(1, 1, 1.5))
for (name, hand), above, middle, below in zip(hands.items(), *axes, strict=True):
    path = trajectory(**hand)
    path = path * (15 / np.ptp(path, axis=0).max())
    above.plot(path[:, 1], -path[:, 0])
    above.set(title=name, aspect="equal", xlabel="pixels", ylabel="pixels")
    middle.imshow(rasterise(path), cmap="gray")
    below.imshow(shake(x, extent=15, **hand)[90:250, 60:220])
    middle.set(xticks=[], yticks=[]), below.set(xticks=[], yticks=[])
    assert np.isclose(rasterise(path).sum(), 1)

# %% [markdown]
# Above the path; then the kernel that it leaves on the pixel grid, where every point of the path is shared among
# its four nearest pixels; and what it does to a photo.
#
# ### Things that move by themselves
#
# Cars and cats do not wait for the shutter. The paper's training data, OID-Motion, gives every object of a photo a
# path of its own. Here the objects are proposed by a segmentation; whoever has masks can hand them over.
#
# Every layer is blurred together with its mask. But masks that were blurred differently no longer add up to 1:
# where things move apart there is a gap, where they meet there is too much. So the sum of light is **divided by
# the sum of the blurred masks**. The test: a grey card, cut into the same objects, must stay a grey card.

# %%
from unires.degrade.masks import to_runs
from unires.degrade.segments import propose

labels = propose(x, objects=3, least=400)
paths = [{**hands["calm"], "extent": 2.0}] + [{**hands["usual"], "extent": 15.0, "seed": n} for n in (1, 2, 3)]
masks = [np.repeat((labels == n)[..., None], 3, axis=-1).astype(np.float32) for n in range(4)]  # 0: background
total = sum(convolve(mask, shake_kernel(**path)) for mask, path in zip(masks, paths, strict=True))
moved, shaken = shake_objects(x, paths, 3, 400), shake(x, **paths[1])
views = [x, np.repeat(labels[..., None] / 3, 3, axis=-1), total / 2, moved, shaken]
titles = ["sharp", "objects", "sum of blurred masks", "objects move", "the camera moves"]
show_photos([[view[76:236, 60:220] for view in views]], titles, zoom=1.2)
card = np.full_like(x, 0.5)
flat = shake_objects(card, paths, 3, 400, masks=[to_runs(labels == n) for n in (1, 2, 3)])
print(f"sum of the masks: {total.min():.2f} to {total.max():.2f}; the card: {flat.min():.3f} to {flat.max():.3f}")
assert total.min() < 0.8 and total.max() > 1.2 and np.allclose(flat, 0.5, atol=1e-3)

# %% [markdown]
# After the motion, the pipeline adds a slightly soft lens, some photon noise and a JPEG: a shaken photo is never
# shaken alone. Figure 13 of the paper shows such pairs, from heavy to almost none. Ours:

# %%
levels = (1.0, 0.75, 0.5, 0.25, 0.0)
sharp = [*photos.values()]
pairs = []
for i, line in enumerate((sharp[:5], sharp[5:] + sharp[:2])):
    shaken = [degrade("MD", x, np.random.default_rng([2, i, j]), levels[j])[0] for j, x in enumerate(line)]
    pairs.append(list(zip(shaken, line, strict=True)))
save_figure(motion_samples(pairs, levels, zoom=0.75), run_dir, "10_oid_motion.jpg")
heavy, almost_none = (np.abs(np.subtract(*pairs[0][j])).mean() for j in (0, -1))
print(f"mean error: heavy {heavy:.3f}, almost none {almost_none:.3f}")
assert almost_none < heavy / 2

# %% [markdown]
# ## DN: too little light
#
# Light arrives in photons, and photons arrive at random. A pixel that expects $n$ of them counts $n \pm \sqrt{n}$:
# the variance of the count is the count itself (Poisson). Reading the sensor adds noise that does not care about
# the light. Together, for light $u$ **on the sensor**:
#
# $$\operatorname{var}(u) = a\,u + b,$$
#
# $a$ the light of one photo-electron, $b$ the read-out. The recipe calls them `shot` and `read`. Do the simulated
# photons follow the line? We expose grey cards of known light and measure:

# %%
from unires.degrade.noise import sensor_noise
from unires.degrade.sensor import draw, expose, raw_noise

noisy, recipe = degrade("DN", photos["coffee-0-0"], np.random.default_rng(seed), severity=0.75)
sensor = {name: value for name, value in recipe.steps[0].items() if name != "op"}
light = np.linspace(0.02, 0.7, 12)
cards = [expose(np.full((250, 250), u, np.float32), sensor["shot"], sensor["read"], seed) for u in light]
measured = np.array([card.var() for card in cards])
drawn = sensor["shot"] * light + sensor["read"]
assert np.allclose(measured, drawn, rtol=0.05)

# %% [markdown]
# They do. But a file does not hold what the sensor saw. A sensor sees **one colour in each pixel**, through a
# pattern of filters. The camera fills in the two others (*demosaicing*), balances white, turns its colours into
# those of a screen, and bends the values by two curves. To put noise where it arises, we must walk back:
# *unprocess* (undo curves, colours, gains) → *mosaic* → **noise** → *demosaic* → *process*.
#
# The way back and forth must change nothing by itself, or the model would learn to undo our camera. Only near
# white, where a sensor saturates, a little is lost:

# %%
from unires.degrade.raw import Camera, mosaic, process, unprocess

camera = Camera(sensor["red"], sensor["blue"], sensor["matrix"])
photo = np.stack([*photos.values()])
error = np.abs(process(unprocess(photo, camera), camera) - photo)
away = photo.max(axis=-1) < 0.97
print(f"largest error: {error[away].max():.1g} away from white, {error.max():.3f} near it")
assert error[away].max() < 1e-3 and error.max() < 0.04
x = photos["astronaut-256-0"][88:128, 112:152]
linear = unprocess(x, camera)
filters = np.stack([mosaic(np.broadcast_to(np.eye(3)[c], x.shape)) for c in range(3)], axis=-1)  # RGGB
planes = [mosaic(linear), expose(mosaic(linear), sensor["shot"], sensor["read"], seed)]
views = [x, to_display(linear), *(to_display(3 * p)[..., None] * filters for p in planes), raw_noise(x, **sensor)]
titles = ["photo", "light, camera's colours", "what the sensor sees", "and with noise", "the noisy photo"]
show_photos([views], titles, zoom=4.8);

# %% [markdown]
# (The three in the middle are brightened for us.) Only the noise is demosaiced, not the photo: in the real pairs
# that we imitate (SIDD), the clean photo went through the same demosaicing as the noisy one.
#
# What does the detour buy? Two things that noise added to the file would not have. The missing colours are filled
# in **from neighbours**, so neighbours share their noise: it becomes blotchy and coloured. And the camera's curves
# stretch the dark and press the bright, so that in the file the noise is stronger **in the darker half**, although
# on the sensor it grows with the light. (In the deepest black another curve hides it.) Grey cards show both:

# %%
display = np.linspace(0.05, 0.95, 13)
spread = [raw_noise(np.full((120, 120, 3), d, np.float32), **sensor).std() for d in display]
card = np.full((256, 256, 3), 0.35, np.float32)
grain = {"raw": raw_noise(card, **sensor), "pixel by pixel": sensor_noise(card, sensor["shot"], sensor["read"], seed)}
alike = {k: np.corrcoef(photo[:, :-1].ravel(), photo[:, 1:].ravel())[0, 1] for k, photo in grain.items()}
print(", ".join(f"{name}: correlation of neighbours {value:.2f}" for name, value in alike.items()))
assert alike["raw"] > 0.2 and abs(alike["pixel by pixel"]) < 0.03
assert np.mean(spread[:6]) > np.mean(spread[7:])  # below and above a display value of 0.5
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.7), layout="constrained")
left.plot(light, drawn, label="a u + b")
left.plot(light, measured, "o", label="measured")
left.set(xlabel="light u (0 to 1)", ylabel="variance (light²)", title="on the sensor")
left.legend()
right.plot(display, spread, "o-", color="C2")
right.set(xlabel="display value (0 to 1)", ylabel="standard deviation", title="in the file", ylim=(0, None))
save_figure(figure, run_dir, "10_noise.png")
views = [photos["coffee-0-0"], noisy, *(0.5 + 0.1 * (p - p.mean()) / p.std() for p in grain.values())]
titles = ["sharp", "DN", "raw noise", "pixel by pixel"]  # the two cards at equal strength
show_photos([[view[120:200, 150:230] for view in views]], titles, zoom=3);

# %% [markdown]
# ## SR: too few pixels, and the file format
#
# A small photo, sent around twice and then seen large. The field's imitation is the **second-order** pipeline of
# Real-ESRGAN: blur, resize, noise, JPEG, and all of it again; then the photo is enlarged to its old size. What the
# shrinking removed is gone: no filter can bring it back, it can only be *made up* plausibly. This is where a
# generative model differs from a sharpening filter. One draw, step by step:

# %%
x = photos["astronaut-256-0"]
y, recipe = degrade("SR", x, np.random.default_rng(seed), severity=0.6)
for step in recipe.steps:
    print({name: round(value, 3) if isinstance(value, float) else value for name, value in step.items()})
order = [step["op"] for step in recipe.steps]
assert order.count("jpeg") == 2 and order.count("resize") >= 3
assert sum(op in ("display_noise", "poisson_noise") for op in order) == 2

# %% [markdown]
# Three of its parts deserve a look of their own.
#
# - A **sinc** keeps the low frequencies and cuts the others sharply. That is what sharpening and cheap resizing do,
#   and it *rings*: ghost lines beside edges, brighter than white and darker than black. A Gaussian blur never does.
# - **JPEG** cuts a photo in blocks of 8 x 8, describes each by cosine waves and rounds the strengths. Low quality
#   means coarse rounding: flat blocks. Colour is stored at half the resolution.
# - **Shrinking** by 4 keeps one number of sixteen.

# %%
from unires.degrade.blur_kernels import blur, sinc_filter
from unires.degrade.codec import jpeg
from unires.degrade.super_resolution import resize

part = x[60:188, 120:248]
soft = blur(part, "iso", size=21, sigma=(2.0, 2.0), angle=0.0, beta=1.0)
ringing = sinc_filter(part, size=21, cutoff=np.pi / 3)
small = resize(part, 32, 32, "bicubic")
views = [part, soft, ringing, jpeg(part, 40), jpeg(part, 10), resize(small, 128, 128, "bicubic")]
show_photos([views], ["sharp", "Gaussian", "sinc", "JPEG 40", "JPEG 10", "shrunk by 4"], zoom=1.35)
assert soft.max() <= part.max() + 1e-4 and ringing.max() > part.max() and ringing.min() < part.min()
assert small.size * 16 == part.size

# %% [markdown]
# Two sets of numbers are published for this pipeline: **Real-ESRGAN**'s and, lighter, **StableSR**'s. The small
# model of this project trains on the lighter ones. Four draws of each, over the whole published range:

# %%
draws = {
    name: [degrade("SR", x, np.random.default_rng(number), None, settings)[0] for number in range(8)]
    for name, settings in SETTINGS.items()
}
figure = show_photos([[x, *ys[:4]] for ys in draws.values()], ["sharp", *["a draw"] * 4], [*draws], zoom=0.75)
save_figure(figure, run_dir, "10_sr_settings.jpg")
errors = {name: float(np.mean([np.abs(y - x).mean() for y in ys])) for name, ys in draws.items()}
print(", ".join(f"{name}: mean error {error:.3f}" for name, error in errors.items()))
assert errors["stablesr"] < errors["real-esrgan"]

# %% [markdown]
# ## How strong: severity
#
# Training leaves `severity` at `None`: **every parameter is drawn over its whole span, each for itself**. So
# strong noise may meet a good JPEG, and a model never learns that one flaw announces another. A number between 0
# (almost none) and 1 (the heaviest in training) narrows all of them to a tenth of their span on either side. Test
# sets and figures use that: a lottery of severities would drown the difference between methods. We draw DN often
# and look at two of its parameters, the noise and the quality of the JPEG:

# %%
settings = SETTINGS["stablesr"].DN
for severity, least, most in ((None, 0.95, 1.0), (0.25, 0.15, 0.21), (0.75, 0.15, 0.21)):
    rng = np.random.default_rng(seed)
    draws = [draw(x, rng, severity, settings) for _ in range(500)]
    shot, quality = np.array([(np.log(noise["shot"]), file["quality"]) for noise, file in draws]).T
    share, together = np.ptp(shot) / np.ptp(np.log(settings.shot)), np.corrcoef(shot, quality)[0, 1]
    print(f"severity {severity}: noise over {share:.0%} of its span, correlation with quality {together:.2f}")
    assert least < share < most and abs(together) < 0.2

# %% [markdown]
# One photo under all four pipelines. More severity means a larger distance from the sharp photo; for a single
# photo, task and seed that is a fact to assert:

# %%
x, levels = photos["china-0-0"], (0.2, 0.6, 1.0)
names = [task.name for task in TASKS]
grid = [[degrade(name, x, np.random.default_rng(seed), level)[0] for level in levels] for name in names]
views = [[photo[20:180, 90:250] for photo in (x, *row)] for row in grid]
figure = show_photos(views, ["sharp"] + [f"severity {level:g}" for level in levels], names, zoom=1.2)
save_figure(figure, run_dir, "10_severity.jpg")
for name, row in zip(names, grid, strict=True):
    errors = [float(np.abs(photo - x).mean()) for photo in row]
    print(f"{name}: mean error {' < '.join(f'{error:.3f}' for error in errors)}")
    assert errors == sorted(errors)

# %% [markdown]
# ## The recipe
#
# A flawed photo alone cannot be argued about. So `degrade` returns a second thing, the **recipe**: every step with
# every number, including the seeds of the noise, as plain JSON. Whoever has the sharp photo and the recipe has the
# flawed photo, to the byte on the same kind of processor. That makes a test set a text file.

# %%
y, recipe = degrade("DD", x, np.random.default_rng(seed), severity=0.6)
print(recipe.to_json())
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
card = np.full((128, 128, 3), 0.5, np.float32)
physical = raw_noise(defocus(card, 3.0), **sensor).std()
reversed_ = defocus(raw_noise(card, **sensor), 3.0).std()
print(f"grain left on a grey card: blur then noise {physical:.3f}, noise then blur {reversed_:.3f}")
assert reversed_ < physical / 2

# %% [markdown]
# Whatever order the tasks are named in, `degrade` applies their steps in the physical one. And one camera made the
# photo: there is **one noise and one JPEG**, however many flaws bring one along. Of several the strongest stays;
# the raw noise of DN replaces the slight read-out of the others. SR, too, is simpler in company: one blur and one
# shrinking. Step by step (the small photos are drawn at the size of the large ones):

# %%
x = photos["motorcycle-0-256"]
y, recipe = degrade("DN+SR+MD", x, np.random.default_rng(seed), severity=0.5)
order = [step["op"] for step in recipe.steps]
print(" -> ".join(order))
assert order[0].startswith("shake") and order.index("shrink") < order.index("raw_noise") < order.index("jpeg")
stages = [replay(Recipe(recipe.tasks, recipe.severity, recipe.steps[: n + 1]), x) for n in range(len(order))]
picked = (order[0], "shrink", "raw_noise", "jpeg", "enlarge")
views = [x] + [stages[order.index(op)] for op in picked]
figure = show_photos([views], ["sharp", *picked], zoom=0.66)
save_figure(figure, run_dir, "10_mixture_step_by_step.jpg")
assert stages[-1].tobytes() == y.tobytes()

# %% [markdown]
# Noise looks coarse at the end, because it was enlarged together with the photo. Isolated training data never shows
# that: an expert for noise knows the grain of a full-size photo. This is precisely the gap that composing experts
# is meant to bridge.
#
# ## Complex11: a benchmark with the truth at hand
#
# The paper measures complex degradations only on photos without a sharp version, so no PSNR and no LPIPS can be
# computed. **Complex11** fills the gap: all eleven mixtures of two to four flaws, each *mild* and *heavy*, at 256
# and 384 pixels. It is a text file of recipes (`benchmarks/complex11.jsonl`). Its sharp photos come with pip. Each
# line holds the hash of the photo and of the flawed pixels, and the builder refuses to hand out anything else. One
# exception: another kind of processor rounds a power differently in its last bit, and where that makes one photon more
# of one less, all noise after it is drawn anew. There a photo is accepted by its PSNR, and said to be not exact:

# %%
lines = complex11.read_manifest()
print(f"{len(lines)} pairs of {len(complex11.MIXTURES)} mixtures: {', '.join(complex11.MIXTURES)}")
assert len(complex11.MIXTURES) == 11 and {line["severity"] for line in lines} == {"mild", "heavy"}
noises = {"raw_noise", "sensor_noise", "display_noise", "poisson_noise"}
for line in lines:
    order = [step["op"] for step in line["recipe"]["steps"]]
    assert order.count("jpeg") == 1 and sum(op in noises for op in order) == 1  # one camera, one file
some = lines[:: len(lines) // 8]
once, twice = ([*complex11.build(some)] for _ in range(2))
assert all(first.y.tobytes() == second.y.tobytes() for first, second in zip(once, twice, strict=True))
for line, pair in zip(some, once, strict=True):
    assert pair.exact or abs(measure("psnr", pair.y, pair.x) - line["lq_psnr"]) <= complex11.ROUNDING
print(f"{sum(pair.exact for pair in once)} of {len(once)} as recorded to the byte")

# %% [markdown]
# Here are the eleven, a crop of each, mild above heavy. The sharp crops stand last.

# %%
pairs = [*complex11.build(line for line in lines if line["crop"][2] == 256 and line["seed"][-1] == 1)]
views = [(pair.mixture, pair.severity, pair.y) for pair in pairs]
views += [("sharp", kind, pair.x) for kind, pair in zip(("mild", "heavy"), pairs[::2], strict=False)]
figure, axes = plt.subplots(4, 6, figsize=(10.8, 7.6), layout="constrained")
for n, (mixture, kind, photo) in enumerate(views):
    axis = axes[n // 12 * 2 + n % 2, n // 2 % 6]
    axis.imshow(photo[30:190, 90:250])
    axis.set(xticks=[], yticks=[], title="" if n % 2 else mixture, ylabel=kind if n // 2 % 6 == 0 else "")
save_figure(figure, run_dir, "10_complex11.jpg")
psnr = {s: np.mean([measure("psnr", p.y, p.x) for p in pairs if p.severity == s]) for s in complex11.SEVERITIES}
print(f"PSNR of the pairs shown: mild {psnr['mild']:.1f} dB, heavy {psnr['heavy']:.1f} dB")
assert len(pairs) == 22 and psnr["heavy"] < psnr["mild"]

# %% [markdown]
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
from tqdm import tqdm

from benchmarks.report import write_table
from unires.record import write_rows

rows = [row for item in evaluation.items for row in evaluation.measure(item, "LQ", item.y)]
n = evaluation.config.evaluation.complex11
chosen = lines[:: max(1, len(lines) // n)][:n]  # spread evenly over the manifest
built = tqdm(complex11.build(chosen), total=len(chosen), unit="pair")
mixed = [row for pair in built for row in complex11.measure_pair(pair, "LQ", pair.y)]
write_rows(run_dir, "10_photos_and_flaws", rows + mixed)
missing = {(row["metric"], row["reason"]) for row in rows if row["status"] == "not run"}
print(f"{len(rows + mixed)} rows; not run: {sorted(missing) or 'none'}")
mean_table(rows + mixed).round(3)

# %% [markdown]
# And Complex11 by mixture. (The smallest profile measures two of its pairs only.) Heavy must be worse than mild by
# every metric, or the severities would be names without a meaning:

# %%
by_mixture = complex11.by_mixture(mixed)
flat = by_mixture.set_axis([" ".join(map(str, name)) for name in by_mixture], axis=1)  # such as "psnr 256 mild"
write_table(flat, run_dir, "complex11")
means = frame(mixed).pivot_table(index="metric", columns="severity", values="value")
for metric, mean in means.reindex(columns=["mild", "heavy"]).dropna().iterrows():
    print(f"{metric}: mild {mean['mild']:.3f}, heavy {mean['heavy']:.3f}")
    assert (mean["heavy"] < mean["mild"]) == METRICS[metric].higher_is_better
by_mixture.round(3)

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
# 2. Draw a recipe, change one number in its JSON, and replay. Can you make two photos that only differ in their
#    grain? Two where only the camera differs (`red`, `blue`, `matrix`)?
# 3. Outline one object of a photo of yours as a mask and hand it to `shake_objects`. Compare with the proposed
#    objects: does a wrong outline make the blur look wrong, or does nobody notice?
# 4. In Complex11, take the two-flaw mixtures apart: what is the PSNR of each flaw alone, with the same steps? Does
#    the mixture cost as much as both together?
