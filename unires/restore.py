"""Photo in, restored photo out: the one public call. Pads, tiles, samples, blends, corrects the colour."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from unires.budget import rows_that_fit
from unires.colour import adain, wavelet
from unires.compose import active, down_lq
from unires.config import Config, check_seed
from unires.models.ldm import LDM, cast, take_apart
from unires.models.prompts import prompts_beside
from unires.models.store import CheckpointError, find_checkpoint, load_model, read_story
from unires.models.text import tokenize
from unires.photo import as_photo
from unires.profiles import KNOWN, profile
from unires.sample import ddim, predict_composed
from unires.schedule import Schedule
from unires.shapes import AnyArray, Photo, Weights
from unires.tasks import EXPERTS, Expert, weights_vector

COLOURS = {"adain": adain, "wavelet": wavelet, "none": lambda x_hat, y: np.clip(x_hat, 0, 1)}
LEAST = 64  # pixels; smaller photos are mirrored up to this size


class Restorer:
    """A model ready to restore: compiled once a tile size and number of active experts.

    `prompts` are contexts by prompt that were computed before; the text tower is asked for the others alone.
    `dtype` is what the networks compute in, "float32" or "bfloat16"; all between them stays float32. The experts go
    through the UNet together where memory allows (`rows`), else in parts.
    Paper: Eq. 2 in every DDIM step, then AdaIN.
    Raises: ValueError for another dtype, for no experts, or for two of one name.
    Test: test_restore.py::test_any_size, test_tiles_leave_no_seam, test_tiles_share_one_field_of_noise,
          test_what_a_restorer_refuses
    """

    dtype = "float32"

    def __init__(
        self,
        model: LDM,
        config: Config,
        experts: tuple[Expert, ...] = EXPERTS,
        prompts: dict[str, AnyArray] | None = None,
        dtype: str = "float32",
    ):
        if dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype is float32 or bfloat16, not {dtype!r}")
        if not experts or len({expert.name for expert in experts}) < len(experts):
            raise ValueError(f"experts need names of their own, not {[expert.name for expert in experts]}")
        self.config, self.experts, self.dtype = config, experts, dtype
        arrays, rebuild = take_apart(model)
        self.arrays, self.rebuild = cast(arrays, dtype), rebuild
        self.schedule = Schedule.make(config.schedule)
        contexts = dict(prompts or {})
        if unknown := [e.prompt for e in experts if e.prompt not in contexts]:
            if model.text is None:
                kept = ", ".join(map(repr, contexts)) or "none"
                raise ValueError(f"no text tower, and {unknown[0]!r} is not among the kept prompts ({kept})")
            ids = tokenize(unknown, config.text)
            tokens = jax.jit(lambda arrays: rebuild(arrays).text(ids))(self.arrays)
            contexts |= dict(zip(unknown, tokens, strict=True))
        self.context = {e.name: jnp.asarray(contexts[e.prompt]) for e in experts}
        self.multiple = config.vae.factor * 2 ** (len(config.unet.channels) - 1)

        @jax.jit
        def encode(arrays, x):
            return rebuild(arrays).vae.encode(x)

        @jax.jit
        def decode(arrays, z):
            return rebuild(arrays).vae.decode(z)

        @partial(jax.jit, static_argnames=("steps", "most"))
        def sample(arrays, z_t, z_lq, context, w, steps, most):
            model = rebuild(arrays)

            def predict(z, t):
                return predict_composed(model, z, t, z_lq, context, w, most)

            return ddim(predict, z_t, self.schedule, steps, config.sample.spacing_of(steps))

        self._encode, self._decode, self._sample = encode, decode, sample

    def encode(self, x: Photo) -> AnyArray:
        """Latent [1 h w c] of one photo whose sides are multiples of the autoencoder's factor."""
        return self._encode(self.arrays, x[None])

    def decode(self, z: AnyArray) -> Photo:
        """Photo of one latent [1 h w c], not clipped."""
        return np.asarray(self._decode(self.arrays, z)[0])

    def sample(self, y: Photo, w: Weights, z_t: AnyArray, steps: int | None = None) -> tuple[AnyArray, AnyArray]:
        """z_0 and the estimate after each step, for one photo that fits the network.

        Shapes: y [h w 3], sides multiples of `self.multiple`; z_t [1 h/f w/f c]; w [k].
        """
        conditions = {e.factor: down_lq(y, e.factor) for e in active(w, self.experts)[0]}
        return self._sample_tile(conditions, w, z_t, steps)

    def _sample_tile(self, conditions: dict[int, Photo], w: Weights, z_t, steps):
        chosen, w = active(w, self.experts)
        z = {factor: self.encode(photo) for factor, photo in conditions.items()}
        z_lq = jnp.stack([z[expert.factor] for expert in chosen])
        context = jnp.stack([self.context[expert.name] for expert in chosen])
        f = self.config.vae.factor
        steps = self.config.sample.steps if steps is None else steps
        most = min(self.rows(f * z_lq.shape[2], f * z_lq.shape[3]), len(chosen))
        return self._sample(self.arrays, z_t, z_lq, context, w, steps, most)

    def rows(self, h: int, w: int) -> int:
        """Experts, of one candidate or of several, that go through the UNet at once at h x w pixels."""
        return rows_that_fit(self.config, h, w, self.dtype)

    def noise(self, h: int, w: int, seed: int) -> AnyArray:
        """z_T for a padded photo of h x w pixels. Drawn in one row: with four axes XLA compiles that far slower.

        Raises: ValueError for a seed that is not from 0 to 2**32 - 1.
        Test: test_restore.py::test_the_noise_is_jaxs_own, test_seeds_are_32_bits
        """
        check_seed(seed)
        f, c = self.config.vae.factor, self.config.vae.latent_channels
        row = jax.random.normal(jax.random.key(seed), (h // f * (w // f) * c,))
        return row.reshape(1, h // f, w // f, c)

    def __call__(
        self,
        photo: AnyArray,
        weights: dict[str, float] | Weights | None = None,
        *,
        seed: int = 0,
        steps: int | None = None,
    ) -> Photo:
        """Restore a photo of any size; see `restore`."""
        w = weights_vector(weights, self.experts)
        y = as_photo(photo)
        h, width = y.shape[:2]
        conditions = {e.factor: self.pad(down_lq(y, e.factor)) for e in active(w, self.experts)[0]}
        height, wide = next(iter(conditions.values())).shape[:2]
        size = (min(height, self.config.sample.tile), min(wide, self.config.sample.tile))
        noise, f = self.noise(height, wide, seed), self.config.vae.factor
        total = np.zeros((height, wide, 3), np.float32)
        share = np.zeros((height, wide, 1), np.float32)
        window = feather(*size, self.config.sample.overlap)
        places = [
            (top, left)
            for top in starts(height, size[0], self.config.sample.overlap, self.multiple)
            for left in starts(wide, size[1], self.config.sample.overlap, self.multiple)
        ]
        for top, left in tqdm(places, desc="restore", unit="tile", disable=silent(len(places) == 1)):
            here = np.s_[top : top + size[0], left : left + size[1]]
            z_t = noise[:, top // f : (top + size[0]) // f, left // f : (left + size[1]) // f]
            z_0, _ = self._sample_tile({k: c[here] for k, c in conditions.items()}, w, z_t, steps)
            total[here] += window * self.decode(z_0)
            share[here] += window
        x_hat = (total / share)[:h, :width]
        return COLOURS[self.config.sample.colour](x_hat, y).astype(np.float32)

    def pad(self, y: Photo) -> Float[np.ndarray, "padded_h padded_w 3"]:
        """Mirror the right and lower border up to a size that the network takes.

        Test: test_restore.py::test_borders_are_mirrored
        """
        sides = [max(LEAST, -(-side // self.multiple) * self.multiple) for side in y.shape[:2]]
        return np.pad(y, [(0, sides[0] - y.shape[0]), (0, sides[1] - y.shape[1]), (0, 0)], mode="symmetric")


def silent(alone: bool = False) -> bool | None:
    """What a progress bar's `disable` is: True for one thing alone or where TQDM_DISABLE is set, which tqdm itself
    would not look at again; else None, which hides the bar where there is no terminal.

    Test: test_cli.py::test_bars_are_for_terminals
    """
    return alone or bool(os.environ.get("TQDM_DISABLE")) or None


def starts(length: int, tile: int, overlap: int, multiple: int) -> list[int]:
    """Where tiles begin along one side: evenly spread, overlapping by `overlap` pixels or, as they begin at multiples
    of `multiple`, by up to one `multiple` less.

    Test: test_restore.py::test_tiles_cover_everything
    """
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [int(round(s / multiple)) * multiple for s in np.linspace(0, length - tile, count)]


def feather(h: int, w: int, overlap: int) -> np.ndarray:
    """Blending weights of a tile: 1 inside, falling towards the border as a squared sine, never 0.

    Test: test_restore.py::test_a_tile_fades_as_a_squared_sine, test_tiles_leave_no_seam
    """

    def ramp(n):
        edge = np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5
        return np.sin(np.minimum(edge / overlap, 1) * np.pi / 2) ** 2 + 1e-4

    return (ramp(h)[:, None] * ramp(w)[None, :])[..., None].astype(np.float32)


def untaught(story: dict) -> str | None:
    """Why a checkpoint can't restore yet, or None: a public model whose first convolution was widened with zeros and
    that was never fine-tuned doesn't look at the flawed photo at all.

    Test: test_restore.py::test_a_public_model_that_was_never_tuned_is_known
    """
    if not story.get("widened") or "outcome_ldm" in story:
        return None
    return "this checkpoint is a public model as converted: it never saw a flawed photo, fine-tune it (unires train)"


def restorer_of(
    config: Config, experts: tuple[Expert, ...] = EXPERTS, dtype: str = "float32", *, raw: bool = False
) -> tuple[Restorer, dict]:
    """The model of a profile or control, ready to restore, and its checkpoint's story.

    Prompts that are kept beside the checkpoint are read; a checkpoint without a text tower knows these alone.
    Raises: CheckpointError for a missing checkpoint, and without `raw` for one that was never taught to restore.
    Test: test_restore.py::test_a_profile_without_a_text_tower_restores,
          test_restore.py::test_a_public_model_that_was_never_tuned_is_known
    """
    path = None if config.checkpoint is None else find_checkpoint(config.checkpoint)
    if not raw and path is not None and (why := untaught(read_story(path))):
        raise CheckpointError(f"{path.name}: {why}")
    model, config, story = load_model(config)
    kept = {} if path is None else prompts_beside(path, story, config)
    return Restorer(model, config, experts, kept, dtype), story


def load(
    checkpoint: str | Path = "demo",
    down_lq: int = 4,
    experts: Sequence[Expert] | None = None,
    dtype: str = "float32",
) -> Restorer:
    """A shipped (or named) checkpoint as a `Restorer`, kept for the next call while its file stays the same.

    `experts` may be any list of prompts and DownLQ factors; without it, the six of the paper. `dtype`: see `Restorer`.
    A public model that was never fine-tuned is loaded with a warning.
    Raises: CheckpointError, naming the file and what to do.
    Test: test_restore.py::test_what_is_loaded_is_what_is_there, test_any_list_of_experts_loads,
          test_what_is_asked_for_reaches_the_model, test_a_checkpoint_that_is_not_there
    """
    path = find_checkpoint(checkpoint).absolute()
    if why := untaught(read_story(path)):
        warnings.warn(f"{path.name}: {why}", stacklevel=2)
    now = path.stat()
    experts = with_factor(down_lq) if experts is None else tuple(experts)
    return _load(path, now.st_mtime_ns, now.st_size, experts, dtype)


@lru_cache(maxsize=2)
def _load(path: Path, mtime_ns: int, size: int, experts: tuple[Expert, ...], dtype: str) -> Restorer:
    trained_as = read_story(path).get("profile")
    known = isinstance(trained_as, str) and trained_as in KNOWN
    config = replace(profile(trained_as if known else "demo"), checkpoint=str(path))
    return restorer_of(config, experts, dtype, raw=True)[0]


def with_factor(factor: int) -> tuple[Expert, ...]:
    """The six experts with another DownLQ factor.

    Test: test_restore.py::test_down_lq_factor_changes_only_that_expert
    """
    return tuple(Expert(e.name, e.prompt, factor if e.name == "DownLQ" else 1, e.probability) for e in EXPERTS)


def restore(
    photo: AnyArray,
    weights: dict[str, float] | Weights | None = None,
    *,
    checkpoint: str | Path = "demo",
    down_lq: int = 4,
    seed: int = 0,
    steps: int | None = None,
    dtype: str = "float32",
) -> Photo:
    """Restore a photo of any size with a mix of experts.

    `weights` maps experts (BR, SR, MD, DD, DN, DownLQ) to numbers that sum to 1, such as
    {"MD": 0.6, "DN": -0.2, "DownLQ": 0.6}; without it the blind expert works alone. Large photos are restored
    in overlapping tiles that share one field of noise. `dtype` "bfloat16" is for GPUs and TPUs: half the memory.
    Paper: Eq. 2 and Figure 11's optimum.
    Range: photo uint8 or float in [0, 1]; result float32 in [0, 1], same size.
    Raises: ValueError for weights that are not a mix or a seed outside [0, 2**32); PhotoError for what is not a
            photo; CheckpointError.
    Test: test_restore.py::test_what_is_loaded_is_what_is_there, test_what_is_asked_for_reaches_the_model
    """
    return load(checkpoint, down_lq, dtype=dtype)(photo, weights, seed=seed, steps=steps)
