"""What a user would pick instead: classical restorers of scikit-image, Real-ESRGAN on the CPU, a regression network.

Every function takes a photo and returns one of the same size. Their parameters are plain ones, fixed beforehand and
never tuned on the photos that are judged: a user has no sharp photo to tune them on.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.complex11 import NAME, Pair, measure_pair
from benchmarks.evaluate import frame
from benchmarks.peers import import_realesrgan
from benchmarks.specialisation import bar
from unires.config import Config
from unires.degrade.kernels import gaussian
from unires.degrade.super_resolution import resize
from unires.metrics import METRICS, measure
from unires.models.store import CheckpointError
from unires.photo import as_photo, to_8_bit
from unires.profiles import CONTROLS
from unires.record import Row, not_run, row
from unires.restore import restorer_of
from unires.shapes import Photo

TV_WEIGHT = 0.1  # scikit-image's default
BLUR = 1.5  # pixels: the standard deviation of the Gaussian that is taken back
ITERATIONS = 10  # of Richardson-Lucy; more would ring
REAL_ESRGAN = "Real-ESRGAN x4plus"
REGRESSION = "regression network"
MEASURED = ("psnr", "lpips", "niqe")


def identity(y: Photo) -> Photo:
    """The photo as it is: what every restoration must beat.

    Test: test_baselines.py::test_identity
    """
    return np.array(y, np.float32)


def noise_level(photo: Photo) -> float:
    """Standard deviation of the noise: median of the diagonal Haar details over that of a standard normal.

    Paper: Donoho and Johnstone 1994, with the shortest wavelet.  Range: as the photo; for white noise.
    Test: test_baselines.py::test_noise_level
    """
    y = np.asarray(photo, np.float64)
    h, w = (side - side % 2 for side in y.shape[:2])
    details = (y[0:h:2, 0:w:2] - y[1:h:2, 0:w:2] - y[0:h:2, 1:w:2] + y[1:h:2, 1:w:2]) / 2
    return float(np.median(np.abs(details)) / 0.674490)


def total_variation(y: Photo) -> Photo:
    """Least total variation near the photo: flat areas between sharp edges.

    Paper: Chambolle 2004.
    Test: test_baselines.py::test_noise_becomes_less
    """
    from skimage.restoration import denoise_tv_chambolle

    return _photo(denoise_tv_chambolle(y, weight=TV_WEIGHT, channel_axis=-1))


def non_local_means(y: Photo) -> Photo:
    """Mean of the places whose surroundings look alike; strength by the noise that was estimated.

    Paper: Buades et al. 2005; h = 0.8 sigma, patches 5, reach 6, as in scikit-image's own example.
    Test: test_baselines.py::test_noise_becomes_less
    """
    from skimage.restoration import denoise_nl_means

    sigma = max(noise_level(y), 1 / 255)
    options = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": -1}
    return _photo(denoise_nl_means(y, h=0.8 * sigma, sigma=sigma, **options))


def wavelet(y: Photo) -> Photo:
    """Soft thresholds for wavelet coefficients, in luma and chroma, each by its own spread.

    Paper: BayesShrink, Chang et al. 2000.
    Raises: ImportError: PyWavelets is not installed.
    Test: test_baselines.py::test_noise_becomes_less
    """
    from skimage.restoration import denoise_wavelet

    try:
        restored = denoise_wavelet(
            y, method="BayesShrink", mode="soft", convert2ycbcr=True, rescale_sigma=True, channel_axis=-1
        )
    except ImportError as missing:
        raise ImportError("BayesShrink needs PyWavelets: pip install unires[peers]") from missing
    return _photo(restored)


def richardson_lucy(y: Photo) -> Photo:
    """Denoise by non-local means, then take a small Gaussian blur back, channel by channel.

    Paper: Richardson 1972, Lucy 1974. The blur is a guess: a user does not know it.
    Test: test_baselines.py::test_blur_becomes_less
    """
    from skimage.restoration import richardson_lucy as deconvolve

    kernel = np.asarray(gaussian(BLUR), np.float64)
    edge = kernel.shape[0]
    calm = np.pad(non_local_means(y), [(edge, edge), (edge, edge), (0, 0)], mode="symmetric")
    sharp = [deconvolve(calm[..., c], kernel, num_iter=ITERATIONS) for c in range(3)]
    return _photo(np.stack(sharp, -1)[edge:-edge, edge:-edge])


def unsharp(y: Photo) -> Photo:
    """Add the difference from a blurred photo once more.

    Test: test_baselines.py::test_blur_becomes_less
    """
    from skimage.filters import unsharp_mask

    return _photo(unsharp_mask(y, radius=BLUR, amount=1.0, channel_axis=2))  # -1: scikit-image 0.26 cuts along rows


def real_esrgan() -> Callable[[Photo], Photo]:
    """Real-ESRGAN x4plus through ncnn on the CPU, its result reduced by 4 so that the size stays.

    Paper: Wang et al. 2021; the network of their release.
    Raises: ImportError, saying what to install.
    Test: test_baselines.py::test_real_esrgan_keeps_the_size
    """
    model = import_realesrgan().Realesrgan(gpuid=-1, model=4)

    def restore(y: Photo) -> Photo:
        large = np.asarray(model.process_pil(Image.fromarray(to_8_bit(y))))
        return _photo(resize(as_photo(large), *y.shape[:2], "area"))

    return restore


def regression_network(config: Config) -> Callable[[Photo], Photo]:
    """The profile's own network, trained on the same pairs to answer in one step with their mean: the honest control.

    It knows no noise levels, prompts or experts; what ours is better by is owed to diffusion and composition.
    Its checkpoint doesn't ship (three networks are too large for a package): train it and it is found.
    Raises: CheckpointError where it was not trained.
    Test: test_baselines.py::test_the_regression_network_takes_one_step
    """
    name = f"{config.name}_regression"
    if name not in CONTROLS:
        raise CheckpointError(f"profile {config.name} has no regression network")
    where = CONTROLS[name].checkpoint
    if where is not None and not Path(where).is_file():
        raise CheckpointError(f"{where} is not there: python -m unires train --profile {name} --photos FOLDER")
    restorer, _ = restorer_of(CONTROLS[name])
    return lambda y: restorer(y, {"BR": 1.0})


CLASSICAL = {
    "TV (Chambolle)": total_variation,
    "non-local means": non_local_means,
    "BayesShrink wavelet": wavelet,
    "non-local means + Richardson-Lucy": richardson_lucy,
    "unsharp mask": unsharp,
}


def spread(lines: list, count: int) -> list:
    """`count` entries, evenly spread over a list.

    Raises: ValueError where there are not so many.
    Test: test_baselines.py::test_a_spread_of_complex11_has_every_mixture
    """
    if not 1 <= count <= len(lines):
        raise ValueError(f"there are {len(lines)} pairs, {count} asked for")
    return [lines[i * len(lines) // count] for i in range(count)]


def rows_of(pair: Pair, method: str, photo: Photo, **cost) -> list[Row]:
    """PSNR, LPIPS and NIQE of one photo of Complex11."""
    about = {"mixture": pair.mixture, "severity": pair.severity, "size": pair.size}
    niqe = row(NAME, pair.id, method, "niqe", measure("niqe", photo), variant=METRICS["niqe"].variant, **about, **cost)
    return [*measure_pair(pair, method, photo, **cost), niqe]


def missing_rows(pair: Pair, method: str, reason: str) -> list[Row]:
    """The rows of a method that is not installed."""
    return [not_run(NAME, pair.id, method, metric, reason, variant=METRICS[metric].variant) for metric in MEASURED]


def table(rows: list[Row]) -> pd.DataFrame:
    """Methods x (means of the metrics, median seconds a photo), in the order of the rows.

    Test: test_baselines.py::test_table_and_bars
    """
    values = frame(rows)
    means = values.pivot_table(index="method", columns="metric", values="value", aggfunc="mean", sort=False)
    seconds = values[values["metric"] == "psnr"].groupby("method")["seconds"].median()
    return means[list(MEASURED)].join(seconds.astype(float))


def bars(rows: list[Row], ours: list[str]) -> pd.DataFrame:
    """Is each of ours ahead of the best other method on LPIPS, and five times faster than Real-ESRGAN?

    Test: test_baselines.py::test_table_and_bars
    """
    means = table(rows)
    best, lines = means["lpips"].drop(ours).idxmin(), []
    for method in ours:
        value = 100 * (means.loc[method, "lpips"] / means.loc[best, "lpips"] - 1)
        line = bar(method, f"LPIPS against the best other, {best}", value, 0.0, "%", False)
        lines.append({**line, "goal": "below 0 %", "reached": bool(value < 0)})
        if REAL_ESRGAN in means.index:
            value = means.loc[REAL_ESRGAN, "seconds"] / means.loc[method, "seconds"]
            lines.append(bar(method, f"times faster than {REAL_ESRGAN}", value, 5.0, "times", True))
    return pd.DataFrame(lines).rename(columns={"set": "method"})


def _photo(x: np.ndarray) -> Photo:
    return np.clip(np.nan_to_num(x), 0, 1).astype(np.float32)
