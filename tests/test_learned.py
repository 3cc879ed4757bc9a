"""What is learned from other photos: counts by hand, and predictors that must find a planted rule."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from unires.learned import ScorePredictor, WeightForest, average, covering_sets, frequent_sets, image_features
from unires.niqe import features, grey
from unires.tasks import weights_dict, weights_vector

A, B, C = (weights_vector(w) for w in ({"DN": -0.2, "DownLQ": 1.2}, {"SR": 1.0}, {"MD": 0.6, "DD": 0.4}))


def test_frequent_sets():
    optima = np.stack([B, A, C, A, C, A])
    assert [weights_dict(w) for w in frequent_sets(optima, 2)] == [weights_dict(A), weights_dict(C)]
    assert len(frequent_sets(optima, 8)) == 3
    np.testing.assert_array_equal(frequent_sets(np.stack([C, B, A]), 3), np.stack([C, B, A]))  # ties: first photo
    with pytest.raises(ValueError, match="one photo"):
        frequent_sets(optima[:0], 2)


def test_covering_sets():
    """The second set is the one that helps where the first doesn't, not the second most frequent."""
    scores = np.array([[5, 4.9, 0], [5, 4.9, 0], [5, 4.9, 0], [4.8, 5, 0], [4.8, 5, 0], [0, 0, 3.0]])
    assert [weights_dict(w) for w in covering_sets(np.stack([A, B, C]), scores, 2)] == [
        weights_dict(B),
        weights_dict(C),
    ]
    assert len(covering_sets(np.stack([A, B, C]), scores, 9)) == 3
    with pytest.raises(ValueError, match="2 vectors need a score each"):
        covering_sets(np.stack([A, B]), scores, 1)


def test_the_average_sums_to_one():
    np.testing.assert_allclose(average(np.stack([A, B])), [0, 0.5, 0, 0, -0.1, 0.6], atol=1e-6)
    rounded = np.stack([A, B]) * 0.9  # optima that were rounded in a table
    assert average(rounded).sum() == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        average(np.zeros((0, 6), np.float32))


def photos(rng, count):
    """Blurred or noisy textures, and which they are."""
    found = []
    for n in range(count):
        x = gaussian_filter(rng.standard_normal((96, 96)), 1.0)
        x = 0.5 + 0.15 * x / x.std()
        noisy = n % 2 == 1
        x = x + 0.08 * rng.standard_normal(x.shape) if noisy else gaussian_filter(x, 1.0 + 0.5 * rng.random())
        found.append((np.repeat(x[..., None], 3, 2).clip(0, 1).astype(np.float32), noisy))
    return found


def test_features_see_noise_and_blur():
    made = photos(np.random.default_rng(0), 8)
    rows = np.stack([image_features(photo) for photo, _ in made])
    assert rows.shape == (8, 72) and np.isfinite(rows).all()
    alike = rows[:, 3]  # mean product of neighbours: blur ties them together, noise sets them apart
    noisy = np.array([flag for _, flag in made])
    assert alike[~noisy].min() > alike[noisy].max()
    assert (image_features(np.zeros((40, 200, 3), np.float32)) == 0).all()


def test_features_are_mean_and_spread_over_blocks():
    contrast = np.repeat([0.05, 0.2], 96)[None, :, None]  # two blocks, the second with more of it
    photo = 0.5 + contrast * np.random.default_rng(0).standard_normal((96, 192, 1))
    photo = np.repeat(photo.clip(0, 1), 3, 2).astype(np.float32)
    (a, b), _ = features(grey(photo))
    expected = np.concatenate([(a + b) / 2, np.abs(a - b) / 2])
    np.testing.assert_allclose(image_features(photo), expected, rtol=1e-5, atol=1e-6)


def test_the_forest_predicts_weights():
    made = photos(np.random.default_rng(0), 24)
    given = np.stack([image_features(photo) for photo, _ in made])
    optima = np.stack([A if noisy else B for _, noisy in made])
    forest = WeightForest.fit(given, optima, np.random.default_rng(1))
    for photo, noisy in photos(np.random.default_rng(5), 6):
        w = forest(photo)
        assert w.sum() == pytest.approx(1, abs=1e-5)
        assert np.abs(w - (A if noisy else B)).max() < 0.35 < np.abs(w - (B if noisy else A)).max()
    again = WeightForest.fit(given, optima, np.random.default_rng(1))
    np.testing.assert_array_equal(again(made[0][0]), forest(made[0][0]))


def test_predicted_scores_beat_one_set_for_all():
    rng = np.random.default_rng(0)
    made, vectors = photos(rng, 24), np.stack([A, B, C])
    given = np.stack([image_features(photo) for photo, _ in made])
    level = 50 * rng.random((24, 1))  # photos differ more than vectors do
    scores = level + np.array([[2.0, 0, 1] if noisy else [0, 2.0, 1] for _, noisy in made])
    predictor = ScorePredictor.fit(given, vectors, scores, np.random.default_rng(1))
    right = [int(predictor(photo).argmax()) == (0 if noisy else 1) for photo, noisy in photos(rng, 10)]
    assert np.mean(right) >= 0.9
    with pytest.raises(ValueError, match="24 photos and 2 vectors"):
        ScorePredictor.fit(given, vectors[:2], scores, rng)
