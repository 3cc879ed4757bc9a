"""The experts: which prompt and which condition each one sees, and how often training draws its task."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unires.shapes import AnyArray, Weights


@dataclass(frozen=True)
class Expert:
    """One way to ask the same UNet for a noise prediction.

    `factor` reduces the LQ photo in pixel space and brings it back (DownLQ); 1 leaves it as it is.
    """

    name: str
    prompt: str
    factor: int = 1
    probability: float = 0.0  # of its task in training


BR = Expert("BR", "")  # blind restoration: no text
SR = Expert("SR", "Super-resolution", probability=0.32)
MD = Expert("MD", "Motion-deblur", probability=0.28)
DD = Expert("DD", "Defocus-deblur", probability=0.18)
DN = Expert("DN", "Denoise", probability=0.22)
DOWNLQ = Expert("DownLQ", SR.prompt, factor=4)

# Words added on top of searched weights, +1 and -1 (paper, A.7).
POSITIVE = Expert(
    "positive",
    "photorealistic, clean, high-resolution, ultra-high definition, 4k detail, 8k resolution, masterpiece, "
    "cinematic, highly detailed.",
)
NEGATIVE = Expert(
    "negative",
    "oil painting, cartoon, blur, dirty, messy, low quality, deformation, low resolution, over-smooth.",
)

TASKS = (SR, MD, DD, DN)
EXPERTS = (BR, SR, MD, DD, DN, DOWNLQ)
NAMES = tuple(expert.name for expert in EXPERTS)


def weights_vector(weights: dict[str, float] | Weights | None, experts: tuple[Expert, ...] = EXPERTS) -> Weights:
    """Turn {"MD": 0.6, "DN": 0.4} into a vector in the experts' order; experts not named get 0.

    None means blind restoration alone.
    Paper: Eq. 2.  Range: dimensionless, sums to 1.
    Raises: ValueError for an unknown expert, a weight that is not finite in float32, or a sum other than 1.
    Test: test_equations.py::test_weights_are_checked
    """
    names = [expert.name for expert in experts]
    if weights is None:
        weights = {BR.name: 1.0}
    if isinstance(weights, dict):
        unknown = [name for name in weights if name not in names]
        if unknown:
            raise ValueError(f"unknown expert {', '.join(map(repr, unknown))}: choose from {', '.join(names)}")
        weights = [weights.get(name, 0.0) for name in names]
    with np.errstate(over="ignore"):  # too large for float32 is infinite, which is refused below
        vector = np.asarray(weights, np.float32)
    if vector.shape != (len(names),):
        raise ValueError(f"weights must be {len(names)} numbers, one for each of {', '.join(names)}")
    if not np.isfinite(vector).all():
        raise ValueError("weights must be finite numbers")
    if abs((total := vector.sum(dtype=np.float64)) - 1) > 1e-4:
        raise ValueError(f"weights must sum to 1 (Eq. 2), these sum to {total:.4g}")
    return vector


def weights_dict(vector: Weights, experts: tuple[Expert, ...] = EXPERTS) -> dict[str, float]:
    """The non-zero weights by name, rounded to 1e-4; the inverse of `weights_vector`.

    Test: test_equations.py::test_weights_are_checked
    """
    return {
        e.name: round(float(w), 4) for e, w in zip(experts, np.asarray(vector), strict=True) if abs(float(w)) > 1e-6
    }


def down_lq_experts(factors: tuple[int, ...] = (2, 4, 8, 16)) -> tuple[Expert, ...]:
    """DownLQ at several factors, each an expert of its own: DownLQ2, DownLQ4 and so on.

    Paper: Figure 3's factors.
    Test: test_engine.py::test_any_list_of_experts
    """
    return tuple(Expert(f"DownLQ{factor}", SR.prompt, factor) for factor in factors)


def with_words(vectors: Weights | Float[AnyArray, "n k"], strength: float = 1.0) -> Float[AnyArray, "..."]:
    """Vectors for the same experts followed by POSITIVE and NEGATIVE, which get +strength and -strength.

    The sum stays 1.
    Paper: A.7, with strength 1.
    Test: test_engine.py::test_words_are_added_on_top
    """
    vectors = np.asarray(vectors, np.float32)
    words = np.broadcast_to(np.array([strength, -strength], np.float32), (*vectors.shape[:-1], 2))
    return np.concatenate([vectors, words], axis=-1)


def guidance(scale: float, conditional: str = SR.name, unconditional: str = BR.name) -> dict[str, float]:
    """Classifier-free guidance as weights: (1 + scale) of the prompt's expert, -scale of the one without text.

    Paper: section 3, guidance as a special case of composition.
    Raises: ValueError if both are the same expert.
    Test: test_engine.py::test_guidance_is_a_composition
    """
    if conditional == unconditional:
        raise ValueError(f"guidance needs two experts, not {conditional!r} twice")
    return {conditional: 1 + scale, unconditional: -scale}
