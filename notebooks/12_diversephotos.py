# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 12 DiversePhotos
#
# **Question.** On which photos does the paper judge itself, and how do we get the same ones?
#
# **In:** the list of the test set's photos, by name; no photo of it is needed. **Out:** the paper's Table 7 counted
# again, what became of every name on the list, and the builder of the test set at work on a miniature.
#
# **Minutes:** smoke under 1 | demo under 1.
#
# The test sets of notebook 10 begin with a sharp photo and break it. So we know what the restoration should be. The
# paper's own test set, **DiversePhotos**, begins at the other end: photos that people took and that came out badly,
# in at least two ways each: shaken *and* dark, small *and* out of focus. Nobody has a sharp version, because nobody
# took one. A second photo from the same spot a second later is another photo: the hand, the light and the people
# have moved.
#
# That is why no PSNR, SSIM or LPIPS can be computed here, all of which compare with a reference. What remains are
# **no-reference** metrics such as MUSIQ, ClipIQA and ManIQA: networks that have learned from people's scores what a
# good photo looks like. They see whether a restoration *looks* good. They cannot see whether it is *true*.

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
import pandas as pd
import seaborn as sns

from benchmarks.diversephotos_report import read_manifest
from benchmarks.figures import save_figure, show_photos

# %config InlineBackend.figure_formats = ["jpeg"]
sns.set_theme(style="whitegrid", font_scale=0.85)
PAPER = Path("benchmarks/paper")
manifest = pd.DataFrame(read_manifest())
manifest.groupby("source").head(2)

# %% [markdown]
# ## Where the photos come from
#
# The photos were picked out of three public data sets, which were made to study how people judge photos:
#
# - **SPAQ**: photos of smartphones, in many sizes;
# - **KonIQ-10k** (here `KONIQ`): photos from a large public collection, all of 1024 x 768 pixels;
# - **LIVE in the Wild** (here `LIVE`): photos of mobile devices, 500 x 500 pixels.
#
# Each photo has one **dominating degradation**: the flaw that its choosers found to weigh most. It is not the only
# one. The four names match the four tasks that the model is trained on: low resolution (SR), motion blur (MD),
# defocus blur (DD), noise (DN). The paper's Table 7 says how many photos of which kind came from where. We have the
# list, so we need not believe the table; we can count:

# %%
kinds = ["low_resolution", "motion_blur", "defocus_blur", "noise"]
printed = pd.read_csv(PAPER / "unires_table7.csv", index_col="source")
counted = pd.crosstab(
    manifest["source"], manifest["dominating_degradation"], margins=True, margins_name="sum"
).reindex(index=printed.index, columns=printed.columns)
assert (counted == printed).all(axis=None)
assert (counted.loc["sum", kinds] == 40).all() and counted.loc["sum", "sum"] == 160
counted

# %% [markdown]
# Every cell agrees, and the four degradations weigh the same. But the sources are not mixed evenly: look at the
# rows on the left, and at the columns on the right.

# %%
cells = counted.loc[counted.index != "sum", kinds].rename(columns=lambda kind: kind.replace("_", "\n"))
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 2.9), layout="constrained")
sns.heatmap(cells, annot=True, fmt="d", cmap="Blues", vmin=0, cbar=False, ax=left)
left.set(title="Table 7 (photos)", xlabel="dominating degradation", ylabel="source")
left.tick_params(axis="y", rotation=0)
cells.T.plot.bar(stacked=True, ax=right, width=0.7, color=sns.color_palette("deep", 3), rot=0)
right.set(title="the same, by degradation", xlabel="dominating degradation", ylabel="photos")
right.legend(title="source", loc="upper left", bbox_to_anchor=(1, 1))
save_figure(figure, run_dir, "12_table7.png");

# %% [markdown]
# Most shaken photos are from LIVE and SPAQ, few from KONIQ; noise is mostly SPAQ. So a method that does well on
# "motion blur" has also done well on photos of 500 x 500 pixels that were enlarged a little, and a difference
# between two degradations may be one between two cameras. In statistics this is **confounding**. The table alone
# cannot undo it. Whoever compares degradations should look at the sources one by one.

# %%
shares = (cells / cells.sum()).T.round(2)
assert shares["KONIQ"].idxmin() == "motion\nblur" and shares["SPAQ"].idxmax() == "noise"
shares.rename(index=lambda kind: kind.replace("\n", " "))

# %% [markdown]
# ## Six names that are not in any catalogue
#
# A photo's name is a number, and a list of many numbers, typed into a PDF, has misprints. Every name was looked up
# in the public index of its data set. Nearly all were there:

# %%
special = manifest[manifest["status"] != "found"].drop(columns="dominating_degradation")
print(manifest["status"].value_counts().to_string())
assert manifest["status"].value_counts().to_dict() == {"found": 154, "repaired": 3, "absent": 3}
assert set(special["source"]) == {"KONIQ"}
for row in special.itertuples():
    print(f"\n{row.printed_id} ({row.status}): {row.note}")

# %% [markdown]
# All six are KonIQ photos, whose names are long. What does each decision rest on?
#
# 1. `2 6393826`: a name with a blank in it is broken at sight. A figure of the paper shows the same photo with its
#    full name, and the index knows that name. This is the best kind of evidence: the authors themselves say it
#    elsewhere.
# 2. `315889745` and 3. `55711788`: not in the index, but each becomes one that is by putting a single digit in
#    front. Only one digit does it. This is weaker: we infer, nobody tells us.
# 4. `2443117568` and 5. `62480371`: not in the index, yet figures of the paper use these very names. The authors
#    had the photos, so these are no misprints. Perhaps they are in the larger pool that KonIQ-10k was chosen from.
# 6. `2950983139`: not in the index, and nothing else tells of it.
#
# A repair must be **unique and checkable**, or it is a guess. For the last three, one could find *some* photo with
# a similar number. Then the test set would hold a photo that nobody chose, and no report would show it. They stay
# missing, by name. The repairs can be checked by machine: what is printed must be the repaired name with some
# digits lost.

# %%
import itertools


def is_part_of(printed: str, full: str) -> bool:
    """Whether the printed digits are the full name with some left out."""
    kept = printed.replace(" ", "")
    return any("".join(some) == kept for some in itertools.combinations(full, len(kept)))


repaired = special[special["status"] == "repaired"]
for row in repaired.itertuples():
    print(f"{row.printed_id:>10} -> {row.image_id}, {len(row.image_id) - len(row.printed_id.replace(' ', ''))} lost")
    assert is_part_of(row.printed_id, row.image_id)
assert not is_part_of("2443117568", "2596393826")

# %% [markdown]
# ### Do three missing photos matter?
#
# Let $\bar m$ be the mean score over the photos that we have and $\bar m'$ the mean over those that we lack. Of
# $N$ photos, $n$ missing, the full mean is
#
# $$\frac{(N-n)\,\bar m + n\,\bar m'}{N} \;=\; \bar m + \frac{n}{N}\,(\bar m' - \bar m).$$
#
# MUSIQ runs from 0 to 100, so in the worst case $|\bar m' - \bar m|$ is 100. That bounds how far a mean over the
# rest can lie from the one that the paper would print. Set it beside the paper's lead over the next best method:

# %%
total, lacking = len(manifest), int((manifest["status"] == "absent").sum())
table2 = pd.read_csv(PAPER / "unires_table2.csv").query("test_set == 'DiversePhotos-x1'").set_index("method")
lead = table2.loc["UniRes", "musiq"] - table2["musiq"].drop("UniRes").max()
bound = lacking / total * 100
print(f"a mean over {total - lacking} photos is off by at most {bound:.2f}, and by {bound / 10:.2f} if the rest differ by 10")
print(f"printed lead of UniRes in MUSIQ: {lead:.2f}")
assert 2 * bound < lead  # even with both methods off by the worst case, in opposite directions

# %% [markdown]
# So the comparison of Table 2 can be repeated without those three. A difference of a tenth of a point cannot. The
# honest way is cheap: write "157 photos" beside every mean.
#
# ## The builder
#
# The photos are not ours to ship; the names are. Whoever has downloaded the three data sets makes the test set
# with one command (it needs the extra `paper`):
#
# ```
# python -m benchmarks.diversephotos photos/diverse-x1 --spaq SPAQ --koniq KONIQ --live LIVE
# python -m benchmarks.diversephotos photos/diverse-x4 --spaq SPAQ --koniq KONIQ --live LIVE --scale 4
# ```
#
# Each folder is the one that holds `TestImage/`, `1024x768/` or `Images/`, as they are published. Where a copy on
# the Hugging Face hub is at hand, `--hub KONIQ=owner/name` streams it and picks the photos by the names of their
# files. What comes out is a data set for `datasets.load_from_disk`, with a report in it.
#
# How a photo is cut decides what is measured. **x1**: 512 x 512 pixels out of the middle; LIVE, which is smaller than
# that, is resized by bicubic interpolation. **x4**: the 128 x 128 pixels in the middle of x1, to be restored to
# four times the size.

# %%
import inspect

from benchmarks.diversephotos import crop, gather

print(inspect.getsource(crop).partition('"""')[2].partition('"""')[2])

# %% [markdown]
# ### The builder at work
#
# For a look at it we need photos. We take the ones that ship in Python packages, bring them to the published
# sizes, and lay them out as SPAQ, KonIQ-10k and LIVE would, under names from the list. They only *play* the test
# set: nothing is measured on them here.

# %%
from tempfile import TemporaryDirectory

from PIL import Image

from unires.data import held_out_paths
from unires.degrade.super_resolution import resize
from unires.photo import read_photo, to_8_bit, write_photo

photos = {name: read_photo(path) for name, path in held_out_paths().items()}
miniature = TemporaryDirectory()
folders = {source: Path(miniature.name, source) for source in ("SPAQ", "KONIQ", "LIVE")}
spaq, koniq, live = (
    folders[source] / inside for source, inside in [("SPAQ", "TestImage"), ("KONIQ", "1024x768"), ("LIVE", "Images")]
)
for folder in (spaq, koniq, live):
    folder.mkdir(parents=True)

# %% [markdown]
# Five good photos: one from SPAQ, two from KonIQ (one of them has a misprinted name), two from LIVE, where some
# files are called `.JPG` and some `.bmp`. And two bad ones, as happens with downloads: a file that was cut short,
# and a photo from somebody's reduced copy.

# %%
write_photo(spaq / "00019.jpg", resize(photos["flower"], 854, 1280, "bicubic").clip(0, 1))
write_photo(koniq / "2596393826.jpg", resize(photos["china"][:, 35:604], 768, 1024, "bicubic").clip(0, 1))
write_photo(koniq / "1755366250.jpg", resize(photos["astronaut"][:384], 768, 1024, "bicubic").clip(0, 1))
write_photo(live / "110.JPG", photos["motorcycle"][:, :500])
Image.fromarray(to_8_bit(photos["astronaut"][:500, :500])).save(live / "723.bmp")

write_photo(spaq / "00043.jpg", photos["coffee"])
whole = (spaq / "00019.jpg").read_bytes()
(spaq / "00125.jpg").write_bytes(whole[: len(whole) // 2]);

# %%
x1, report = gather(folders)
print(report.text(most=3))
assert not report.complete
assert [entry.image_id for entry, _ in x1] == ["00019", "1755366250", "2596393826", "110", "723"]
assert report.named("repaired") == ["KONIQ 2 6393826 -> 2596393826"]
assert len(report.named("absent")) == 3 and len(report.named("missing")) == 160 - 3 - 5 - 2
assert "00125" in report.named("unreadable")[0] and "00043" in report.named("too small")[0]

# %% [markdown]
# Every name of the list is in exactly one line of the report. Three kinds of loss are kept apart, because each
# asks for another remedy: what is in **no public index** nobody can have; what is **missing on disk** is to be
# downloaded; what is **unreadable** is to be downloaded *again*. With the complete data sets, the first
# kind alone should remain, and the command ends well. With anything else lost it still writes what there is, but says so: in its
# exit status, in the report, and in the description that the data set carries with it.
#
# A half photo deserves a second look. Many programs read a file that was cut short without a word and fill the rest
# with grey. The score of a photo that is half grey is low, the mean moves, and nobody knows why. So here such a
# file is an error with a name.

# %%
x4, _ = gather(folders, scale=4)
names = [f"{entry.source} {entry.image_id}" for entry, _ in x1]
figure = show_photos([[photo / 255 for _, photo in x1]], names, ["x1, 512 px"], zoom=0.29)
save_figure(figure, run_dir, "12_miniature_x1.jpg")
figure = show_photos([[photo / 255 for _, photo in x4]], names, ["x4, 128 px"], zoom=1.16)
save_figure(figure, run_dir, "12_miniature_x4.jpg")
for (_, large), (_, small) in zip(x1, x4, strict=True):
    assert (large[192:320, 192:320] == small).all()

# %% [markdown]
# The middle of a photo is not the photo. How much of it is judged?

# %%
kept = {"SPAQ (this one)": 854 * 1280, "KONIQ": 768 * 1024, "LIVE": 500 * 500}
for source, pixels in kept.items():
    square = min(512 * 512, pixels)  # LIVE is kept whole
    print(f"{source}: x1 shows {square / pixels:.0%} of the photo, x4 {square / 16 / pixels:.1%}")
assert kept["KONIQ"] == 3 * 512 * 512
miniature.cleanup()

# %% [markdown]
# A third of each KonIQ photo, all of a LIVE photo, and of a large phone photo only a small part. A photo can
# be in the test set for a blur that lies outside the crop. And "x4" is no photo taken with a smaller camera: it is
# a small window of the same one, with the same pixels and flaws.
#
# ## What it means that a quarter comes from KonIQ-10k
#
# The paper restores each photo with many weights $w$ and keeps the one that MUSIQ scores best (notebook 60). It then
# reports MUSIQ. MUSIQ's default weights were **trained on KonIQ-10k**, with people's scores of those photos, and so
# were the weights of ManIQA in the variant that the tables seem to use. The source of a part of the test photos is
# thus the training data of the judge:

# %%
share = counted.loc["KONIQ"] / counted.loc["sum"]
print(share.rename("share of photos from KONIQ").to_string())
assert share["sum"] == 0.25
flattery = lead / share["sum"]
print(f"\nto explain a lead of {lead:.2f} alone, KONIQ photos would have to be flattered by {flattery:.1f} points")
assert flattery > 25

# %% [markdown]
# What follows from this, and what doesn't?
#
# - It need not be memory. MUSIQ has seen the *flawed* photos and their scores, not the restored ones; the paper
#   doesn't say which of the test photos were in the part of KonIQ-10k that MUSIQ was trained on.
# - The flattery needed above is large, and it would have to favour one method over the others. The quarter from
#   KonIQ alone hardly makes the lead.
# - But it isn't neutral either. A judge is surest about what it has seen, and the share differs from one
#   degradation to the next, so that a bias would show up as a difference *between degradations*.
# - The larger effect is another: a score that is maximised for every photo is no longer a measurement of it.
#   That holds for SPAQ and LIVE as well.
#
# The remedy is to report the sources one by one (the data set has a column `source`) and to add a metric that was
# neither searched nor trained on these photos. Without a reference there is no better proof. That is why this
# project also measures on photos that it flawed itself: their truth is known.
#
# ## What to try
#
# 1. You have 157 scores of two methods and want to know whether one is better. Which is the fairer test: two means,
#    or the 157 differences? What if the three missing photos were the hardest?
# 2. Write another name from the list into the miniature, with a photo of your own that you hold upright. Does the
#    builder turn it as your viewer does? Look for EXIF in `unires/photo.py`.
# 3. For `55711788`, how many one-digit repairs are possible? If names were random numbers of nine digits and the
#    index held ten thousand, how likely would one of them be in it by chance? How sure is the repair, then?
# 4. Suppose MUSIQ flatters KonIQ photos by 4 points. By how much does the mean of each degradation rise? Use
#    `share`.
# 5. Choose your own DiversePhotos: ten photos that went wrong in two ways. Let two people name the dominating
#    degradation. How often do they agree?
