"""Spans are drawn as their ends and the severity say."""

import numpy as np
import pytest

from unires.degrade.draws import SPREAD, between, log_between


@pytest.mark.parametrize("span", [(0.2, 3.0), (95.0, 30.0)])
def test_between(span):
    rng = np.random.default_rng(0)
    shares = np.array([(between(rng, span) - span[0]) / (span[1] - span[0]) for _ in range(10_000)])
    assert 0 <= shares.min() and shares.max() <= 1
    assert abs(shares.mean() - 0.5) < 3 * np.sqrt(1 / 12 / len(shares))
    counts = np.histogram(shares, 10, (0, 1))[0]
    assert (np.abs(counts - 1000) < 4 * np.sqrt(900)).all()
    for severity in (0, 0.5, 1):
        near = np.array([(between(rng, span, severity) - span[0]) / (span[1] - span[0]) for _ in range(200)])
        assert near.min() >= max(0, severity - SPREAD) - 1e-9 and near.max() <= min(1, severity + SPREAD) + 1e-9
        assert near.std() > 0
    logs = np.log([log_between(rng, span) for _ in range(10_000)])
    middle = np.log(span).mean()
    assert abs(logs.mean() - middle) < 3 * abs(np.log(span[1] / span[0])) / np.sqrt(12 * len(logs))
