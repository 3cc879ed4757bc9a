"""MD: a hand that shook during the exposure."""

import numpy as np

from unires.degrade.kernels import Path, blur_light, rasterise
from unires.degrade.noise import draw_read_noise, draw_seed
from unires.shapes import Photo

STEPS = 200


def trajectory(jitter: float, pull: float, shakes: float, seed: int) -> Path:
    """Walk a camera path of length 1 that starts at the origin, at constant speed.

    The camera's velocity is bent by Gaussian jitter and by a pull back to the start; now and then a big
    shake reverses it. Speed is restored after every step, so only the direction wanders.

    Paper: Boracchi and Foi 2012, with rates per whole path in place of their 2000 small steps.
    Range: jitter is the turn in radians over the path, pull the turn rate a unit of distance,
           shakes the expected number of reversals.
    Test:  test_degrade.py::test_trajectory
    """
    rng = np.random.default_rng(seed)
    velocity = complex(np.exp(2j * np.pi * rng.random()))
    turns = rng.standard_normal((2, STEPS)) * jitter / np.sqrt(STEPS)
    kicks = (turns[0] + 1j * turns[1]).tolist()
    reverse = -2 * np.exp(1j * rng.uniform(-0.5, 0.5, STEPS))  # turns round within half a radian
    bumps = np.where(rng.random(STEPS) < shakes / STEPS, reverse, 0).tolist()
    place, path = 0j, [0j]
    for kick, bump in zip(kicks, bumps, strict=True):
        velocity += bump * velocity + kick - pull / STEPS * place
        velocity /= abs(velocity)
        place += velocity / STEPS
        path.append(place)
    return np.array(path).view(np.float64).reshape(-1, 2)


def shake(x: Photo, extent: float, jitter: float, pull: float, shakes: float, seed: int) -> Photo:
    """Blur a photo along a camera path whose longer side measures `extent` pixels, in linear light.

    Paper: camera shake of the OID-Motion data.  Range: extent in pixels; the rest as in `trajectory`.
    Test:  test_degrade.py::test_flat_stays_flat
    """
    path = trajectory(jitter, pull, shakes, seed)
    return blur_light(x, rasterise(path * (extent / np.ptp(path, axis=0).max())))


def draw(x: Photo, rng: np.random.Generator, severity: float) -> list[dict]:
    """Draw the steps of one shaken photo: a blur of 1 pixel (severity 0) to 23 pixels (1).

    Two more pixels of sub-pixel weights make kernels of about 3 to 25 pixels.

    Paper: MD expert's data; one kernel a photo. The largest rates are those of Boracchi and Foi over a
    path of 2000 steps and 60 pixels: jitter 10, pull 0.7, shakes 0.2, each times an anxiety of 0.003.
    Range: severity in [0, 1].
    Test:  test_degrade.py::test_severity_is_monotone
    """
    anxiety = np.exp(rng.uniform(np.log(0.03), 0))  # from a calm hand, nearly a line, to a nervous one
    return [
        {
            "op": "shake",
            "extent": 1 + 22 * severity,
            "jitter": float(1.34 * anxiety * rng.random()),
            "pull": float(250 * anxiety * rng.random()),
            "shakes": float(1.2 * anxiety * rng.random()),
            "seed": draw_seed(rng),
        },
        draw_read_noise(rng, severity),
    ]
