"""How a recipe's numbers are drawn: spans from harmless to harshest, narrowed by a severity."""

import numpy as np

Span = tuple[float, float]  # (harmless end, harshest end); the first may be the larger, as in JPEG quality
SPREAD = 0.1  # half the width of what a given severity leaves open, in shares of the span


def between(rng: np.random.Generator, span: Span, severity: float | None = None) -> float:
    """Draw a number from a span: anywhere (None), or close to one severity.

    None is training: every parameter is uniform over its published range, independently. A severity is for
    test sets and figures: all parameters lie within a tenth of the span around it.
    Paper: our choice.  Range: severity 0 is the harmless end of every span, 1 the harshest.
    Test:  test_draws.py::test_between
    """
    share = rng.random() if severity is None else np.clip(severity + SPREAD * rng.uniform(-1, 1), 0, 1)
    return float(span[0] + (span[1] - span[0]) * share)


def log_between(rng: np.random.Generator, span: Span, severity: float | None = None) -> float:
    """As `between`, uniform in the logarithm; both ends must be positive.

    Paper: our choice.
    Test:  test_draws.py::test_between
    """
    return float(np.exp(between(rng, (np.log(span[0]), np.log(span[1])), severity)))


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed that a recipe can carry: 32 bits, which every JSON reader keeps exact.

    Paper: our choice.
    Test:  test_degrade.py::test_replay
    """
    return int(rng.integers(2**32))
