"""The corruptions that `benchmarks.mutations` makes: what, where, and the check that must notice."""

import json
from collections.abc import Callable
from dataclasses import dataclass

ROWS = "results/demo/rows.jsonl"
SMOKE = "check: smoke of 10_photos_and_flaws"


class Unfit(ValueError):
    """The list of corruptions doesn't fit the tree."""


@dataclass(frozen=True)
class Mutation:
    """One corruption: what it is, the file, the edit, and the check that must notice."""

    name: str
    file: str
    edit: Callable[[str], str]
    caught_by: str  # a test with its file, "pair", "compare" or SMOKE


def swap(old: str, new: str) -> Callable[[str], str]:
    """Replace a text that occurs exactly once.

    Test: test_mutations.py::test_a_text_that_is_not_there_is_refused
    """

    def edit(text: str) -> str:
        if text.count(old) != 1:
            raise Unfit(f"{old!r} occurs {text.count(old)} times, not once")
        return text.replace(old, new)

    return edit


def rows(change: Callable[[list[dict]], None]) -> Callable[[str], str]:
    """Change the PSNR and SSIM rows of the first measured image, in a run's rows.

    Test: test_mutations.py::test_rows_are_changed_by_hand
    """

    def edit(text: str) -> str:
        lines = [json.loads(line) for line in text.splitlines()]
        measured = [line for line in lines if line["status"] == "ok"]
        first = next(line for line in measured if line["metric"] == "psnr")
        alike = ("source", "set", "method")
        psnr = [one for one in measured if one["metric"] == "psnr" and all(one[k] == first[k] for k in alike)]
        ssim = next(one for one in measured if one["metric"] == "ssim" and one["image"] == first["image"])
        chosen = [psnr[0], psnr[1], ssim]
        change(chosen)
        kept = [line for line in lines if line is not psnr[0] or chosen[0] is not None]
        return "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in kept)

    return edit


def _lost(chosen):
    chosen[0] = None


def _off(chosen):
    chosen[0]["value"] += 0.02


def _cancel(chosen):
    chosen[0]["value"] += 1
    chosen[1]["value"] -= 1


def _swapped(chosen):
    chosen[0]["value"], chosen[2]["value"] = chosen[2]["value"], chosen[0]["value"]


def _variant(chosen):
    chosen[2]["variant"] = "on luma"


def _shifted(text: str) -> str:
    """The first crop of Complex11 starts one pixel further down."""
    lines = text.splitlines()
    first = json.loads(lines[0])
    first["crop"][0] += 1 if first["crop"][0] == 0 else -1
    return "\n".join([json.dumps(first), *lines[1:]]) + "\n"


METRICS, TASKS, DEGRADE = "unires/metrics.py", "unires/tasks.py", "unires/degrade"
TABLE4 = "benchmarks/paper/unires_table4.csv"
CURVE = "test_fit.py::test_steps_are_those_of_a_loop_in_numpy"
DRAWN = "test_complex11.py::test_the_manifest_is_what_the_seed_draws"

MUTATIONS = (
    Mutation(
        "PSNR looks at the green channel alone",
        METRICS,
        swap("np.asarray(x_hat, np.float64) - np.asarray(x, np.float64)) ** 2", "x_hat[..., 1] - x[..., 1]) ** 2"),
        "test_calibration.py::test_published_scores[psnr-official]",
    ),
    Mutation(
        "LPIPS is given photos in [0, 1] in place of [-1, 1]",
        METRICS,
        swap("x_hat[None] * 2 - 1, x[None] * 2 - 1", "x_hat[None], x[None]"),
        "test_calibration.py::test_lpips_is_to_the_printed_digit",
    ),
    Mutation(
        "luma weighs red as blue",
        "unires/niqe.py",
        swap("[0.299, 0.587, 0.114]", "[0.114, 0.587, 0.299]"),
        "test_calibration.py::test_published_scores[ssim-official]",
    ),
    Mutation(
        "FID forgets the covariances' common part",
        "unires/fid.py",
        swap("- 2 * shared", "- shared"),
        "test_fid.py::test_frechet_against_the_matrix_root",
    ),
    Mutation(
        "files are rounded down: an image off by one level",
        "unires/photo.py",
        swap("np.rint(np.asarray(photo, np.float64) * 255)", "np.floor(np.asarray(photo, np.float64) * 255)"),
        "test_photo.py::test_write_and_read_back",
    ),
    Mutation(
        "the schedule's last beta is .0125",
        "unires/config.py",
        swap("beta_end: float = 0.012", "beta_end: float = 0.0125"),
        "test_schedule.py::test_alphas_are_the_published_ones",
    ),
    Mutation(
        "v has the sign of its second term wrong",
        "unires/schedule.py",
        swap("* eps - sigma[:, None, None, None] * z_0", "* eps + sigma[:, None, None, None] * z_0"),
        "test_schedule.py::test_v_eps_and_x0_are_one_thing",
    ),
    Mutation(
        "DDIM's times are one too early",
        "unires/schedule.py",
        swap(".astype(np.int32) - 1", ".astype(np.int32) - 2"),
        "test_schedule.py::test_time_grids",
    ),
    Mutation(
        "composition takes the weights' sizes, not their signs",
        "unires/compose.py",
        swap('jnp.einsum("k,kbhwc->bhwc", w, eps)', 'jnp.einsum("k,kbhwc->bhwc", jnp.abs(w), eps)'),
        "test_equations.py::test_compose",
    ),
    Mutation(
        "the denoiser's prompt is another word",
        TASKS,
        swap('"Denoise"', '"Denoising"'),
        "test_config.py::test_what_the_paper_gives",
    ),
    Mutation(
        "DownLQ reduces by 2",
        TASKS,
        swap("SR.prompt, factor=4", "SR.prompt, factor=2"),
        "test_config.py::test_what_the_paper_gives",
    ),
    Mutation(
        "DownLQ brings a photo back by pixel areas",
        "unires/compose.py",
        swap('resize(small, h, w, "bicubic")', 'resize(small, h, w, "area")'),
        "test_equations.py::test_down_lq",
    ),
    Mutation(
        "AdaIN matches the mean and forgets the contrast",
        "unires/colour.py",
        swap("* gain + y.mean", "+ y.mean"),
        "test_colour.py::test_adain_matches_mean_and_deviation",
    ),
    Mutation(
        "AdaIN is left out of the restoration",
        "unires/restore.py",
        swap('"adain": adain', '"adain": lambda x_hat, y: np.clip(x_hat, 0, 1)'),
        "test_restore.py::test_a_restored_photo_has_the_colours_of_the_flawed_one",
    ),
    Mutation(
        "the evaluation photos' flaws are drawn by another seed",
        "unires/data.py",
        swap(
            "default_rng([evaluation.seed, known.index(name), i])",
            "default_rng([evaluation.seed + 1, known.index(name), i])",
        ),
        SMOKE,
    ),
    Mutation(
        "Complex11 is drawn by another seed",
        "benchmarks/complex11.py",
        swap("SEED = 11", "SEED = 12"),
        DRAWN,
    ),
    Mutation("a crop of Complex11 is shifted by one pixel", "benchmarks/complex11.jsonl", _shifted, DRAWN),
    Mutation(
        "JPEG writes one quality step better",
        f"{DEGRADE}/codec.py",
        swap("quality=quality,", "quality=quality + 1,"),
        "test_degrade.py::test_jpeg_is_pillows",
    ),
    Mutation(
        "Real-ESRGAN's noise reaches 31 of 255",
        f"{DEGRADE}/super_resolution.py",
        swap("noise_sigma=(1, 30)", "noise_sigma=(1, 31)"),
        "test_super_resolution.py::test_settings_are_the_published_ones",
    ),
    Mutation(
        "photons count half",
        f"{DEGRADE}/noise.py",
        swap("a * rng.poisson(u / a)", "a / 2 * rng.poisson(2 * u / a)"),
        "test_degrade.py::test_noise_is_poisson",
    ),
    Mutation(
        "the paper's columns MUSIQ and ManIQA are swapped",
        TABLE4,
        swap("clipiqa,musiq,maniqa", "clipiqa,maniqa,musiq"),
        "test_readme.py::test_the_papers_numbers_are_those_printed",
    ),
    Mutation(
        "a table rounds PSNR to one digit",
        "benchmarks/readme.py",
        swap('"psnr": 2', '"psnr": 1'),
        "test_readme.py::test_means_are_those_of_the_rows",
    ),
    Mutation(
        "a number of the paper's tables is copied wrong",
        TABLE4,
        swap("0.4173,47.76", "0.4713,47.76"),
        "test_committed.py::test_the_papers_numbers_are_as_they_were_copied",
    ),
    Mutation(
        "a number of a committed table is changed by hand",
        "results/demo/tables/complex.csv",
        swap("\nBR=1,8,2", "\nBR=1,8,3"),
        "test_committed.py::test_tables_are_made_from_the_rows[complex]",
    ),
    Mutation(
        "gradients are not clipped",
        "unires/fit.py",
        swap("optax.clip_by_global_norm(config.clip), step", "optax.identity(), step"),
        CURVE,
    ),
    Mutation(
        "the average of the weights has no ceiling",
        "unires/fit.py",
        swap("jnp.minimum(config.ema, (1 + step) / (10 + step))", "(1 + step) / (10 + step)"),
        CURVE,
    ),
    Mutation(
        "the comparison sees only what grew",
        "benchmarks/compare.py",
        swap("elif abs(moved) > gate", "elif moved > gate"),
        "test_compare.py::test_the_worst_comes_first",
    ),
    Mutation(
        "a notebook's text is changed in one half of its pair",
        "notebooks/50_compose_experts.py",
        swap("A photo that is blurred *and* noisy", "A photo that is blurred or noisy"),
        "pair",
    ),
    Mutation("a row is missing", ROWS, rows(_lost), "compare"),
    Mutation("a PSNR is off by 0.02 dB", ROWS, rows(_off), "compare"),
    Mutation("two errors cancel in the mean", ROWS, rows(_cancel), "compare"),
    Mutation("PSNR and SSIM of a photo are swapped", ROWS, rows(_swapped), "compare"),
    Mutation("a score's variant is another", ROWS, rows(_variant), "compare"),
)
