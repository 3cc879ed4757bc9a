"""The engine: the same latents as a plain loop, for exactly as many UNet calls as the formula says."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear import CONFIG, LinearRestorer

from unires.compose import down_lq
from unires.engine import Engine, middle, pack, unet_calls
from unires.models.store import random_model
from unires.profiles import SMOKE
from unires.restore import Restorer
from unires.search import grid
from unires.tasks import (
    BR,
    EXPERTS,
    NAMES,
    NEGATIVE,
    POSITIVE,
    SR,
    down_lq_experts,
    guidance,
    weights_vector,
    with_words,
)

STEPS = 3


def distance(a, b) -> float:
    """Relative to the length of b."""
    a, b = (np.asarray(x, np.float64).ravel() for x in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(3)
    ramp = np.linspace(0, 1, 64)[:, None, None]
    return np.clip(ramp + 0.2 * rng.standard_normal((64, 64, 3)), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def restorer():
    return Restorer(random_model(SMOKE), SMOKE)


@pytest.fixture(scope="module")
def study(restorer, photo):
    return Engine(restorer).study(photo, seed=5)


@pytest.fixture(scope="module")
def naive(restorer, photo):
    """One candidate, one expert, one step at a time; everything but the network in float64."""
    once = jax.jit(lambda arrays, *given: restorer.rebuild(arrays).predict(*given))
    z_lq = [restorer.encode(down_lq(photo, expert.factor)) for expert in EXPERTS]
    a, s = (np.append(x, last) for x, last in ((restorer.schedule.alpha, 1.0), (restorer.schedule.sigma, 0.0)))

    def predict(z, k, t):
        context = restorer.context[EXPERTS[k].name][None]
        return np.asarray(once(restorer.arrays, jnp.asarray(z, "f4"), z_lq[k], jnp.full(1, t), context), np.float64)

    def sample(compose):
        z, times = np.asarray(restorer.noise(64, 64, 5), np.float64), [999, 666, 332]
        for t, after in zip(times, [*times[1:], 1000], strict=True):
            v = compose(z, t)
            z = a[after] * (a[t] * z - s[t] * v) + s[after] * (s[t] * z + a[t] * v)
        return z

    sample.predict = predict
    return sample


def test_batches_equal_a_naive_loop(study, naive):
    """Eleven vectors with each number of active experts; random weights, nothing zero in the network."""
    rng, vectors = np.random.default_rng(0), grid()
    used = (vectors != 0).sum(1)
    picked = np.concatenate([rng.permutation(vectors[used == n])[:11] for n in range(1, 7)])  # six are one-hot
    assert picked.shape == (61, 6) and set((picked != 0).sum(1)) == {1, 2, 3, 4, 5, 6}
    before = replace(study.paid)
    found = dict(study.latents(picked, STEPS))
    assert sorted(found) == list(range(61))
    called = 0
    for index, w in enumerate(picked):

        def compose(z, t, w=w):
            return sum(float(w[k]) * naive.predict(z, k, t) for k in np.flatnonzero(w))

        called += int((w != 0).sum()) * (STEPS - 1)
        assert distance(found[index], naive(compose)) < 1e-5, w
    assert study.paid.unet_calls - before.unet_calls == 6 + called == unet_calls(picked, STEPS)


def test_experts_answer_differently(study):
    """Otherwise the test above would pass with the experts mixed up."""
    found = [z for _, z in sorted(study.latents(np.eye(6, dtype=np.float32), STEPS), key=lambda pair: pair[0])]
    assert min(distance(found[i], found[j]) for i in range(6) for j in range(i)) > 1e-4


def test_the_first_step_is_asked_for_once(study):
    list(study.latents(np.eye(6, dtype=np.float32), 1))
    before = study.paid.unet_calls
    list(study.latents(grid()[:40], 1))
    assert study.paid.unet_calls == before
    list(study.latents([weights_vector({"SR": 0.5, "MD": 0.5})], 2))
    assert study.paid.unet_calls == before + 2


@pytest.mark.parametrize("scale", [0.0, 0.5, 6.5])
def test_guidance_is_a_composition(scale, study, naive):
    weights = guidance(scale)
    ((_, found),) = study.latents([weights_vector(weights)], STEPS)
    conditional, unconditional = NAMES.index(SR.name), NAMES.index(BR.name)

    def usual(z, t):
        free = naive.predict(z, unconditional, t)
        return free + (1 + scale) * (naive.predict(z, conditional, t) - free)

    assert distance(found, naive(usual)) < 1e-5
    with pytest.raises(ValueError, match="two experts"):
        guidance(1.0, "SR", "SR")


# What follows runs on a network that is a line: the engine is the same, the calls are cheap.


def test_a_study_restores_as_the_restorer_does(photo):
    config = replace(CONFIG, sample=replace(CONFIG.sample, colour="adain"))
    restorer = LinearRestorer(slopes=np.linspace(0, 0.3, 6), config=config)
    small, w = photo[:50, :41], weights_vector({"SR": 1.2, "DownLQ": -0.2})
    study = Engine(restorer).study(small, seed=2)
    ((_, z_0),) = study.latents([w])
    np.testing.assert_allclose(study.photo(z_0), restorer(small, w, seed=2), atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_whole_grid_costs_what_the_formula_says(steps, photo, monkeypatch):
    engine, seen = Engine(LinearRestorer()), []
    predict = engine._predict

    def count(arrays, z, z_lq, context, candidate, expert, t):
        seen.append(len(set(zip(candidate.tolist(), expert.tolist(), strict=True))))  # padding repeats a pair
        return predict(arrays, z, z_lq, context, candidate, expert, t)

    monkeypatch.setattr(engine, "_predict", count)
    study = engine.study(photo)
    assert len(list(study.latents(grid(), steps))) == 1512
    assert sum(seen) == study.paid.unet_calls == unet_calls(grid(), steps) == 6 + 5796 * (steps - 1)
    assert study.paid.padding < 0.03 * study.paid.unet_calls + 6
    assert predict._cache_size() <= 2  # a program for the experts alone, one for all batches


def test_packing_loses_nobody_and_hardly_a_row():
    sizes = (grid() != 0).sum(1).tolist()
    batches = pack(sizes, 12)
    assert sorted(index for batch in batches for index in batch) == list(range(1512))
    assert max(sum(sizes[index] for index in batch) for batch in batches) <= 12
    assert len(batches) <= 1.03 * sum(sizes) / 12
    assert pack([], 12) == []
    with pytest.raises(ValueError, match="13 active experts"):
        pack([13], 12)


def test_a_candidate_that_blows_up_harms_no_other(photo):
    engine = Engine(LinearRestorer())
    z, w = jnp.ones((2, 4, 4, 4)), np.array([[1, 0], [0.5, 0.5]], np.float32)
    output = jnp.stack([jnp.full((4, 4, 4), np.nan), jnp.ones((4, 4, 4)), jnp.ones((4, 4, 4))])
    row = np.array([[0, 0], [1, 2]], np.int32)
    now = tuple(np.float32(x) for x in (0, 0.6, 0.8, 0.8, 0.6))
    found = engine._advance(z, output, row, w, now)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], 0.8 * (0.6 - 0.8) + 0.6 * (0.8 + 0.6), atol=1e-6)


def test_any_list_of_experts(photo):
    """Factors 2 to 16 and words beside the paper's experts: every one with its own condition and context."""
    experts = (SR, BR, *down_lq_experts(), POSITIVE, NEGATIVE)
    assert [e.factor for e in experts] == [1, 1, 2, 4, 8, 16, 1, 1]
    restorer = LinearRestorer(experts)
    study = Engine(restorer).study(photo)
    w = with_words(np.array([0.5, -0.2, 0.1, 0.2, 0.3, 0.1], np.float32))
    ((_, z_0),) = study.latents([w], 1)
    a, s = (float(x[999]) for x in (restorer.schedule.alpha, restorer.schedule.sigma))
    z_t = np.asarray(study.z_t, np.float64)
    v = 0.1 * z_t + np.einsum("k,khwc->hwc", w, np.asarray(restorer.arrays["patterns"]))
    for weight, expert in zip(w, experts, strict=True):
        v = v + float(weight) * np.asarray(restorer.encode(down_lq(photo, expert.factor))) / 4
    assert distance(z_0, a * z_t - s * v) < 1e-5
    assert study.paid.unet_calls == 8


def test_words_are_added_on_top():
    one = with_words(np.array([0.4, 0.6], np.float32))
    np.testing.assert_array_equal(one, np.array([0.4, 0.6, 1, -1], np.float32))
    many = with_words(grid(), strength=0.5)
    assert many.shape == (1512, 8) and (many[:, 6:] == [0.5, -0.5]).all()
    np.testing.assert_allclose(many.sum(1), 1, atol=1e-5)
    assert POSITIVE.prompt.startswith("photorealistic, clean") and NEGATIVE.prompt.endswith("over-smooth.")


def test_large_photos_are_searched_in_the_middle():
    photo = np.random.default_rng(0).random((130, 70, 3), np.float32)
    engine = Engine(LinearRestorer())
    with pytest.raises(ValueError, match="one tile, 64 pixels, not 130 x 70"):
        engine.study(photo)
    cut = middle(photo, 64)
    np.testing.assert_array_equal(cut, photo[33:97, 3:67])
    engine.study(cut)
    assert middle(photo, 200).shape == photo.shape


def test_the_fingerprint_follows_the_weights():
    first, second = Engine(LinearRestorer()), Engine(LinearRestorer())
    assert first.fingerprint == second.fingerprint and len(first.fingerprint) == 64
    second.restorer.arrays = {"patterns": first.restorer.arrays["patterns"].at[0, 0, 0, 0].add(1e-3)}
    assert first.fingerprint != Engine(second.restorer).fingerprint


def test_the_identity_follows_all_that_a_photo_depends_on(photo):
    def told(photo=photo, seed=0, shift=0.0, part="sample", **changes):
        restorer = LinearRestorer(config=replace(CONFIG, **{part: replace(getattr(CONFIG, part), **changes)}))
        restorer.arrays = {"patterns": restorer.arrays["patterns"] + shift}
        return json.dumps(Engine(restorer).study(photo, seed).identity, sort_keys=True)

    others = [
        told(photo=1 - photo),
        told(seed=1),
        told(shift=1.0),
        told(colour="adain"),
        told(spacing="leading"),
        told(steps=4),
        told(part="schedule", beta_end=0.02),
        told(part="unet", blocks=2),
        told(part="vae", groups=2),
        told(part="text", layers=3),
    ]
    assert told() == told() and len({told(), *others}) == 1 + len(others)
