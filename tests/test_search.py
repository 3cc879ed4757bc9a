"""The strategies: each finds what is known to be best, and its bill is what the formulas say."""

from dataclasses import replace

import numpy as np
import pytest
from linear import LinearRestorer, engine, study

from unires import weight_files
from unires.engine import Engine, unet_calls
from unires.metrics import METRICS
from unires.score import Score, guarded, metric_score
from unires.search import among, automatic, funnel, grid, interpolate, one_hot, short_list, strike_out, surrogate
from unires.tasks import EXPERTS, weights_dict, weights_vector
from unires.trial import Trial, anchors, shares

WANTED = weights_vector({"MD": 0.6, "DN": -0.2, "DownLQ": 0.6})
AT = int(np.abs(grid() - WANTED).sum(1).argmin())
GRID = grid()[AT % 6 :: 6]  # a sixth of it, with the optimum
SLOPES = (0.08, 0.09, 0.1, 0.11, 0.12, 0.13)
UNLIKE = (0, 0.1, 0.2, 0.3, 0.4, 0.6)


def near(study, wanted) -> Score:
    """Minus the distance to the photo that `wanted` gives: best there, and nowhere else."""
    ((_, z_0),) = study.latents([wanted])
    goal = study.photo(z_0)
    return Score("near", "1", lambda photo: float(np.sqrt(((photo - goal) ** 2).mean())), higher_is_better=False)


def away(vector, wanted) -> float:
    return float(np.abs(np.asarray(vector) - wanted).max())


def test_a_score_has_a_name_and_a_direction():
    grey = np.full((4, 4, 3), 0.5, np.float32)
    up, down = (Score("mean", "1", lambda photo: float(photo.mean()), b) for b in (True, False))
    assert up(grey) == 0.5 and down(grey) == -0.5 and up.key == "mean (1)"
    assert Score("bad", "1", lambda photo: float("nan"), False)(grey) == -np.inf


def test_metrics_are_scores(tmp_path, monkeypatch):
    x = np.random.default_rng(0).random((64, 64, 3), np.float32)
    psnr, niqe = metric_score("psnr", x), metric_score("niqe")
    assert psnr(np.clip(x + 0.1, 0, 1)) < psnr(np.clip(x + 0.01, 0, 1)) < psnr(x)
    wide = np.pad(x, [(0, 32), (0, 32), (0, 0)], mode="symmetric")
    assert niqe(x) == -METRICS["niqe"].function(np.rint(wide * 255) / np.float32(255)) < 0
    assert niqe(np.zeros((64, 64, 3), np.float32)) == -np.inf  # flat: nothing to look at
    assert niqe.key.startswith("niqe (BT.601 luma")
    (tmp_path / "niqe.npz").write_bytes(b"another prior")  # another judge, whose scores a ledger keeps apart
    monkeypatch.setattr(weight_files, "SHIPPED", tmp_path)
    assert metric_score("niqe").key != niqe.key
    assert metric_score("psnr", x).key == psnr.key != metric_score("psnr", 1 - x).key  # another reference, too
    with pytest.raises(ValueError, match="pass the sharp photo"):
        metric_score("psnr")
    with pytest.raises(ValueError, match="unknown metric 'musique'"):
        metric_score("musique")


def test_a_guard_prefers_what_agrees_with_the_flawed_photo():
    rng = np.random.default_rng(0)
    y = rng.random((32, 32, 3), np.float32)
    score = Score("contrast", "1", lambda photo: float(photo.std()))
    guard = guarded(score, y, weight=2.0)
    other = np.clip(1.3 * (1 - y), 0, 1)
    assert score(other) > score(y) and guard(other) < guard(y) == score(y)
    shifted = np.clip(y, 0.1, 0.8) + 0.1  # rms at a quarter of the size, by hand
    small = [p.reshape(8, 4, 8, 4, 3).mean((1, 3)) for p in (y, shifted)]
    expected = score(shifted) - 2 * np.sqrt(np.mean((small[0] - small[1]) ** 2))
    assert guard(shifted) == pytest.approx(expected, abs=2e-3)
    assert len({score.key, *(guarded(score, y, *given).key for given in ((1.0,), (2.0,), (1.0, 8)))}) == 4
    with pytest.raises(ValueError, match="at least 0"):
        guarded(score, y, -1)


def test_strike_out_and_one_hot():
    vectors = strike_out(grid(), ["SR", "DownLQ"], EXPERTS)
    assert (vectors[:, [1, 5]] == 0).all() and len(vectors) == len(grid(experts=4))
    assert len(strike_out(grid(), [], EXPERTS)) == 1512
    assert [weights_dict(w) for w in one_hot()] == [{e.name: 1.0} for e in EXPERTS]
    twelve = short_list()
    np.testing.assert_array_equal(twelve[:6], one_hot())
    assert twelve.shape == (12, 6) and len(np.unique(twelve, axis=0)) == 12
    np.testing.assert_allclose(twelve.sum(1), 1, atol=1e-6)
    few = short_list(tuple(expert for expert in EXPERTS if expert.name in ("BR", "MD", "DN")))
    np.testing.assert_allclose(few, [*one_hot(3), [0, 0.5, 0.5]])
    with pytest.raises(ValueError, match="unknown expert 'XX': choose from BR"):
        strike_out(grid(), ["XX"], EXPERTS)


LISTS = {
    "grid": (GRID, WANTED),
    "range": (grid(low=0), weights_vector({"MD": 0.4, "DD": 0.6})),
    "strike-out": (strike_out(grid(), ["BR", "DD"], EXPERTS), WANTED),
    "one-hot": (one_hot(), one_hot()[3]),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_find_the_known_optimum(name):
    vectors, wanted = LISTS[name]
    here = study(SLOPES)
    score, watch = near(here, wanted), Score("mean", "1", lambda photo: float(photo.mean()))
    before = here.paid.unet_calls
    found = among(here, vectors, [score, watch], strategy=name)
    assert found.strategy == name and away(found.weights, wanted) < 1e-6
    assert found.score == pytest.approx(0, abs=1e-5) == max(line.scores[score.key] for line in found.tried)
    assert found.scores == {score.key: found.score, watch.key: pytest.approx(found.photo.mean(), abs=1e-5)}
    assert found.unet_calls == unet_calls(vectors, 3)
    assert found.paid == here.paid.unet_calls - before
    assert found.decodes == found.score_calls == len(found.tried) == len(vectors) and found.seconds > 0
    second = sorted(line.scores[score.key] for line in found.tried)[-2]
    assert second < -1e-4  # no other vector is as good


def test_equals_go_to_the_first_and_nothing_is_refused():
    here, flat = study(), Score("flat", "1", lambda photo: 7.0)
    found = among(here, GRID[[40, 3, 9]], flat)
    assert away(found.weights, GRID[40]) == 0 and found.score == 7.0
    with pytest.raises(ValueError, match="no candidate weights"):
        among(here, GRID[:0], flat)
    with pytest.raises(ValueError, match="at least one score"):
        among(here, GRID, [])
    with pytest.raises(ValueError, match="sum to 1"):
        among(here, np.full((1, 6), 0.2, np.float32), flat)


def latents(here, vectors, steps=3):
    return np.concatenate([z for _, z in sorted(here.latents(vectors, steps), key=lambda pair: pair[0])])


@pytest.mark.parametrize("slopes, exact", [(0.1, True), (UNLIKE, False)], ids=["same", "unlike"])
def test_the_surrogate_is_exact_for_a_linear_network(slopes, exact):
    """With equal slopes z_0 is affine in w. With unlike ones w also multiplies z_t: the sum is only near."""
    here, vectors = study(slopes), GRID[::20]
    mixed = np.einsum("nk,khwc->nhwc", vectors, latents(here, one_hot()))
    sampled = latents(here, vectors)
    worst = np.abs(mixed - sampled).max() / np.abs(sampled).max()
    assert bool(worst < 1e-5) is exact
    assert np.abs(mixed - sampled).max() / np.abs(sampled).max() < 0.5
    one_step = np.einsum("nk,khwc->nhwc", vectors, latents(here, one_hot(), 1))
    np.testing.assert_allclose(one_step, latents(here, vectors, 1), atol=1e-5)  # one step is always affine


@pytest.mark.parametrize("curved", [False, True])
def test_shares_of_the_anchors(curved):
    """Right at every anchor, and for every polynomial of its degree."""
    nodes, vectors = anchors(6, curved).astype(np.float64), GRID.astype(np.float64)
    assert len(nodes) == (21 if curved else 6) and np.allclose(nodes.sum(1), 1)
    table = np.stack([shares(w, curved) for w in nodes])
    np.testing.assert_allclose(table, np.eye(len(nodes)), atol=1e-12)
    rng = np.random.default_rng(0)
    square, line = rng.standard_normal((6, 6)) * curved, rng.standard_normal(6)
    value = lambda w: np.einsum("ni,ij,nj->n", w, square, w) + w @ line + 3  # noqa: E731
    guessed = np.stack([shares(w, curved) for w in vectors]) @ value(nodes)
    np.testing.assert_allclose(guessed, value(vectors), atol=1e-5)


def test_the_curved_surrogate_is_exact_for_two_steps():
    """Unlike slopes: after two steps z_0 is a polynomial of second degree in w, and no longer of first."""
    here, vectors = study(UNLIKE), GRID[::20]
    sampled = latents(here, vectors, 2)
    for curved, exact in ((True, True), (False, False)):
        of_anchors = latents(here, anchors(6, curved), 2)
        guessed = np.einsum("na,ahwc->nhwc", np.stack([shares(w, curved) for w in vectors]), of_anchors)
        assert bool(np.abs(guessed - sampled).max() < 1e-5 * np.abs(sampled).max()) is exact
    new = study(UNLIKE)
    found = surrogate(new, GRID, near(here, WANTED), best=1, steps=2, curved=True)
    pairs = [line for line in found.tried if line.kind == "sampled" and sorted(line.weights)[-2:] == [0.5, 0.5]]
    assert len(pairs) == 15 and found.strategy == "curved surrogate"
    assert {line.kind for line in found.tried} == {"sampled", "curved"}
    assert found.unet_calls == 6 + 6 + 15 * 2 + np.count_nonzero(found.weights) * (max(found.weights) != 1)
    assert found.paid == found.unet_calls  # no anchor is sampled twice


def test_the_surrogate_finds_the_known_optimum():
    here = study(SLOPES)
    found = surrogate(here, GRID, near(here, WANTED), best=4)
    assert away(found.weights, WANTED) < 1e-6 and found.strategy == "surrogate"
    sampled = np.array([line.weights for line in found.tried if line.kind == "sampled"])
    mixed = [line for line in found.tried if line.kind == "mixed"]
    assert len(sampled) <= 6 + 4 and found.unet_calls == unet_calls(sampled, 3) <= 6 * 3 + 4 * 6 * 2
    assert found.decodes == len(sampled) + len(mixed) and len(mixed) == len(GRID)
    with pytest.raises(ValueError, match="at least 1"):
        surrogate(here, GRID, near(here, WANTED), best=0)


def test_the_corrected_surrogate_learns_where_it_was_wrong(monkeypatch):
    """Mixtures of SR and DD are guessed too good. Ranked once, they come first; told of its errors, it turns away."""
    here = study(SLOPES)
    score, mix = near(here, WANTED), Trial.mix

    def misled(trial, vectors, latents, steps):
        lines, bump = mix(trial, vectors, latents, steps), 0.6 * vectors[:, 1] * vectors[:, 3]  # 0 for an expert alone
        return [
            replace(o, scores={k: v + float(b) for k, v in o.scores.items()}) for o, b in zip(lines, bump, strict=True)
        ]

    monkeypatch.setattr(Trial, "mix", misled)
    plain, found = (surrogate(here, GRID, score, best=10, corrected=c) for c in (False, True))
    assert away(found.weights, WANTED) < 1e-6 < away(plain.weights, WANTED)
    sampled = [line.weights for line in found.tried if line.kind == "sampled"]
    assert len(sampled) == len(set(sampled)) == 6 + 10 and found.unet_calls == unet_calls(np.array(sampled), 3)
    assert found.strategy == "corrected surrogate"
    few = surrogate(here, GRID[:3], score, best=10, corrected=True)  # a list that is soon at its end
    assert {line.weights for line in few.tried if line.kind == "sampled"} == {
        tuple(w) for w in [*one_hot().tolist(), *GRID[:3].tolist()]
    }


def test_interpolation_against_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    known, values = GRID[::25], np.random.default_rng(0).standard_normal(len(GRID[::25]))
    oracle = GaussianProcessRegressor(RBF(0.3), alpha=0.05, optimizer=None).fit(known, values)
    np.testing.assert_allclose(interpolate(GRID, known, values, 0.3, 0.05), oracle.predict(GRID), atol=1e-5)
    assert np.abs(interpolate(GRID[:1] + 9, known, values)).max() < 1e-9  # far away nothing is known


def test_the_funnel_narrows():
    here = study(SLOPES)
    found = funnel(here, GRID, near(here, WANTED), steps=(1, 2, 3), keep=(40, 6))
    assert away(found.weights, WANTED) < 1e-6
    rounds = {n: np.array([line.weights for line in found.tried if line.steps == n]) for n in (1, 2, 3)}
    assert [len(rounds[n]) for n in (1, 2, 3)] == [len(GRID), 40, 6]
    used = {n: int((rounds[n] != 0).sum()) for n in (2, 3)}
    assert found.unet_calls == 6 + used[2] + 2 * used[3]  # all rounds share the first step
    assert {tuple(w) for w in rounds[3]} <= {tuple(w) for w in rounds[2]}
    with pytest.raises(ValueError, match="need 2 falling numbers"):
        funnel(here, GRID, near(here, WANTED), steps=(1, 2, 3), keep=(6, 40))
    with pytest.raises(ValueError, match="need 1 falling numbers"):
        funnel(here, GRID, near(here, WANTED), steps=(1, 3))
    evenly = funnel(here, GRID[::20], near(here, WANTED), keep=(6, 2))  # from one step to the profile's three
    assert [sum(line.steps == n for line in evenly.tried) for n in (1, 2, 3)] == [len(GRID[::20]), 6, 2]


def test_automatic_searches_the_middle_and_restores_the_whole():
    wide = np.random.default_rng(2).random((80, 100, 3), np.float32)
    score = near(engine(SLOPES).study(wide[16:64, 26:74]), WANTED)  # the middle 48 pixels
    x_hat, found = automatic(engine(SLOPES), wide, score, vectors=GRID, side=48)
    assert away(found.weights, WANTED) < 1e-6 and found.photo.shape == (48, 48, 3)
    np.testing.assert_array_equal(x_hat, engine(SLOPES).restorer(wide, WANTED))
    small, found = automatic(engine(SLOPES), wide[:48, :48], score, vectors=GRID, side=48)
    assert small is found.photo


@pytest.mark.parametrize("shape", [(64, 64, 3), (80, 100, 3)])
def test_automatic_hands_on_what_it_is_asked(shape):
    y = np.random.default_rng(2).random(shape, np.float32)
    score = Score("mean", "1", lambda photo: float(photo.mean()))
    x_hat, found = automatic(engine(SLOPES), y, score, vectors=GRID, seed=3, steps=2, best=2)
    assert {line.steps for line in found.tried} == {2} and found.strategy == "corrected surrogate"
    assert sum(line.kind == "sampled" for line in found.tried) == 6 + 2
    np.testing.assert_allclose(x_hat, engine(SLOPES).restorer(y, found.weights, seed=3, steps=2), atol=1e-5)


def test_automatic_tries_the_short_list():
    y = np.random.default_rng(2).random((64, 64, 3), np.float32)
    here = engine(SLOPES).study(y, 3)
    wanted = weights_vector({"MD": 0.6, "DN": -0.2, "DownLQ": 0.6})
    x_hat, found = automatic(engine(SLOPES), y, near(here, wanted), seed=3)
    assert found.strategy == "list" and away(found.weights, wanted) < 1e-6
    assert {line.weights for line in found.tried} == {tuple(map(float, w)) for w in short_list()}
    assert found.unet_calls == 6 + 2 * np.count_nonzero(short_list())
    np.testing.assert_allclose(x_hat, engine(SLOPES).restorer(y, wanted, seed=3), atol=1e-5)


def test_automatic_takes_other_experts():
    few = Engine(LinearRestorer(EXPERTS[:3], slopes=SLOPES[:3]))
    score = Score("mean", "1", lambda photo: float(photo.mean()))
    _, found = automatic(few, np.random.default_rng(2).random((64, 64, 3), np.float32), score)
    assert len(found.weights) == 3 and len(found.tried) == 4  # SR and MD together


def test_automatic_is_blind_where_there_is_nothing_to_look_at():
    flat = Score("nothing", "1", lambda photo: float("nan"))
    _, found = automatic(engine(SLOPES), np.full((64, 64, 3), 0.5, np.float32), flat)
    assert weights_dict(found.weights) == {"BR": 1.0} and found.score == -np.inf
