"""DN: a sensor that saw too little light, seen through the camera's own processing."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from unires.degrade.draws import Span, between, draw_seed, log_between
from unires.degrade.noise import poisson_gaussian
from unires.degrade.raw import CAMERAS, Camera, Matrix, demosaic, mix_matrix, mosaic, process, unprocess
from unires.shapes import Photo


@dataclass(frozen=True)
class DNSettings:
    """Which cameras and how much noise: published numbers unless marked as ours.

    The variance of raw light u in [0, 1] is shot * u + read. Shot noise grows linearly with ISO; read-out
    variance roughly with its square, since most of it is amplified with the signal: the fitted power is 2.18.
    If ISO 100 has a shot noise of 1e-4, the span ends at ISO 12,000.

    Paper: our stand-in for SIDD; the line is that of Brooks et al. 2019, fitted to the Darmstadt data set.
    Test:  test_raw.py::test_iso_line
    """

    shot: Span = (2e-5, 1.2e-2)  # published from 1e-4 on; ours starts where a photo is almost clean
    read_power: float = 2.18  # log read = power * log shot + offset + N(0, scatter)
    read_offset: float = 1.20
    read_scatter: float = 0.26
    red: Span = (1.9, 2.4)
    blue: Span = (1.5, 1.9)
    quality: Span = (95, 80)  # ours: cameras write good JPEGs


RAW_NOISE = DNSettings()


def raw_noise(x: Photo, shot: float, read: float, seed: int, red: float, blue: float, matrix: Matrix) -> Photo:
    """Add sensor noise to a photo where it arises, before white balance, demosaicing and colour.

    Only the noise is demosaiced, not the photo: SIDD's clean photo went through the same demosaicing as its
    noisy one, so the pair differs by noise alone.
    Paper: our stand-in for SIDD, after Brooks et al. 2019.  Range: [0, 1]; shot and read as variances.
    Test:  test_raw.py::test_flat_stays_flat, test_raw.py::test_noise_is_correlated_by_demosaicing
    """
    camera = Camera(red, blue, matrix)
    linear = unprocess(x, camera)
    thin = [(0, int(size == 1)) for size in x.shape[:2]]  # one row alone has no blue, one column no red or blue
    plane = mosaic(np.pad(linear, [*thin, (0, 0)], mode="edge"))
    gains = mosaic(np.broadcast_to(camera.gains, (*plane.shape, 3)))
    noise = demosaic((expose(plane, shot, read, seed) - plane) * gains)
    noise = noise[: x.shape[0], : x.shape[1]] / camera.gains
    return process(linear + noise, camera)


def expose(linear: Float[np.ndarray, "*pixels"], shot: float, read: float, seed: int) -> Float[np.ndarray, "*pixels"]:
    """Read a sensor's light out, with noise; it saturates at 1, and black lies above the lowest number.

    Paper: the raw-sensor model of Foi et al. 2008.  Range: at most 1; negative light counts as none.
    Test:  test_raw.py::test_raw_noise_variance
    """
    light = np.maximum(linear, 0)
    return np.minimum(linear + (poisson_gaussian(light, shot, read, seed) - light), 1)


def draw_camera(rng: np.random.Generator, settings: DNSettings = RAW_NOISE) -> Camera:
    """Draw a camera: a mix of the known ones, under some daylight.

    Paper: Brooks et al. 2019; all mixes are equally likely, which is our choice.
    Test:  test_raw.py::test_cameras_keep_grey
    """
    weights = rng.dirichlet(np.ones(len(CAMERAS)))
    return Camera(between(rng, settings.red), between(rng, settings.blue), mix_matrix(weights))


def draw_noise(
    rng: np.random.Generator, severity: float | None = None, settings: DNSettings = RAW_NOISE
) -> tuple[float, float]:
    """Draw shot and read noise from the ISO line; the scatter about it belongs to the camera, not to severity.

    Paper: Brooks et al. 2019.
    Test:  test_raw.py::test_iso_line
    """
    shot = log_between(rng, settings.shot, severity)
    log_read = settings.read_power * np.log(shot) + rng.normal(settings.read_offset, settings.read_scatter)
    return shot, float(np.exp(log_read))


def draw(x: Photo, rng: np.random.Generator, severity: float | None, settings: DNSettings = RAW_NOISE) -> list[dict]:
    """Draw the steps of one noisy photo: noise on the raw sensor, then the camera's JPEG.

    Paper: DN expert's data, our stand-in for SIDD.  Range: severity in [0, 1], or None for the whole span.
    Test:  test_raw.py::test_replay, test_degrade.py::test_severity_is_monotone
    """
    camera = draw_camera(rng, settings)
    shot, read = draw_noise(rng, severity, settings)
    steps = [{"op": "raw_noise", "shot": shot, "read": read, "seed": draw_seed(rng), **asdict(camera)}]
    return [*steps, {"op": "jpeg", "quality": round(between(rng, settings.quality, severity))}]


OPS = {"raw_noise": raw_noise}
