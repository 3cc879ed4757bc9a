"""The judge without reference: its features against LPIPS, its network against NumPy, its choice against the truth."""

import json
from dataclasses import replace
from math import erf

import numpy as np
import pytest
from linear import LinearRestorer, engine

from benchmarks import fit_judge
from unires import judge
from unires.engine import Engine
from unires.files import sha256_of
from unires.metrics import measure
from unires.models.store import WEIGHTS, read_story
from unires.profiles import PROFILES
from unires.restore import with_factor
from unires.search import automatic, grid, one_hot
from unires.tasks import EXPERTS

SLOPES = (0.08, 0.09, 0.1, 0.11, 0.12, 0.13)


def photos(count: int, side: int = 64) -> list:
    rng, ramp = np.random.default_rng(5), np.linspace(0.2, 0.8, side)[:, None, None]
    return [np.clip(ramp + 0.03 * (n + 1) * rng.standard_normal((side, side, 3)), 0, 1) for n in range(count)]


def member_shapes(members: int, width: int) -> dict[str, tuple[int, ...]]:
    sides = {"members": members, "width": width}
    shapes = {name: tuple(sides.get(side, side) for side in shape) for name, shape in judge.SHAPES.items()}
    return {name: shape for name, shape in shapes.items() if shape[0] == members}


def constant(place: np.ndarray) -> judge.Judge:
    """A judge that answers `place` [layers k], whatever it sees."""
    zeros = {name: np.zeros(shape) for name, shape in member_shapes(1, 4).items()}
    return judge.Judge(np.zeros(judge.INPUTS), np.ones(judge.INPUTS), zeros | {"b3": place.reshape(1, -1)}, "constant")


def random_products(count: int, rng, hidden=None) -> np.ndarray:
    """Inner products of eight random points in every layer, the eighth where `hidden` says, among the seven."""
    products = []
    for _ in range(count):
        points = rng.standard_normal((judge.LAYERS, judge.KNOWN, 30)) * 0.1
        points *= rng.uniform(0.2, 1, (1, judge.KNOWN, 1))
        sharp = points.mean(1) if hidden is None else points[:, hidden(points)]
        points = np.concatenate([points, sharp[:, None]], 1)
        products.append(points @ points.swapaxes(1, 2))
    return np.array(products, np.float32)


def test_squared_distances_are_lpips():
    """Against the metric, which is tested against PyTorch's."""
    a, b, c = photos(3)
    found = judge.features([a, b, c])
    apart = np.asarray(judge.distances(judge.gram(found, found))).sum(0)
    for i, one in enumerate((a, b, c)):
        for j, other in enumerate((a, b, c)):
            assert apart[i, j] == pytest.approx(measure("lpips", one, other), abs=2e-5)
    assert apart[0, 1] > 0.01 and [x.shape[0] for x in found] == [3] * judge.LAYERS


def test_small_photos_are_mirrored():
    small = photos(1)[0][:20, :1]
    wide = np.pad(small, [(0, 12), (0, 31), (0, 0)], mode="symmetric")
    for one, other in zip(judge.features([small]), judge.features([wide]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_network_against_numpy():
    rng = np.random.default_rng(2)
    members = {n: 0.3 * rng.standard_normal(shape).astype(np.float32) for n, shape in member_shapes(2, 5).items()}
    mean, deviation = rng.standard_normal(judge.INPUTS) - 3, rng.uniform(0.1, 2, judge.INPUTS)
    products = random_products(1, rng)[0][:, : judge.KNOWN, : judge.KNOWN].astype(np.float64)
    given = [
        np.log(max(layer[i, i] + layer[j, j] - 2 * layer[i, j], judge.NEAREST))
        for layer in products
        for i in range(judge.KNOWN)
        for j in range(i + 1, judge.KNOWN)
    ]
    given = np.clip((np.array(given) - mean) / deviation, -3, 3)
    assert (np.abs(given) == 3).any() and (np.abs(given) < 3).any()

    def gelu(z):  # exact; JAX's own form by tanh differs by up to 5e-4
        return z * np.vectorize(lambda v: (1 + erf(v / 2**0.5)) / 2)(z)

    answers = []
    for n in range(2):
        one = {name: array[n].astype(np.float64) for name, array in members.items()}
        z = gelu(gelu(given @ one["w1"] + one["b1"]) @ one["w2"] + one["b2"])
        answers.append((z @ one["w3"] + one["b3"]).reshape(judge.LAYERS, judge.KNOWN))
    found = judge.Judge(mean, deviation, members, "random").coefficients(products)
    np.testing.assert_allclose(found, np.mean(answers, 0), atol=5e-3)
    assert np.abs(np.mean(answers, 0)).max() > 0.1


def test_a_judge_that_knows_the_place_ranks_as_lpips():
    """A place on the sharp photo itself gives LPIPS; a place half-way gives the mean of two LPIPS, less a constant."""
    known, tried = photos(7), [np.clip(photo + 0.1, 0, 1) for photo in photos(4)]
    place = np.zeros((judge.LAYERS, judge.KNOWN), np.float32)
    place[:, 3] = 1
    score = constant(place).score(known)
    for photo in tried:
        assert score(photo) == pytest.approx(-measure("lpips", photo, known[3]), abs=2e-5)
    assert not score.higher_is_better and score.name == judge.NAME
    place[:, 3], place[:, 5] = 0.5, 0.5
    half = constant(place).score(known)
    means = [(measure("lpips", photo, known[3]) + measure("lpips", photo, known[5])) / 2 for photo in tried]
    assert (
        np.ptp([half(photo) + mean for photo, mean in zip(tried, means, strict=True)]) < 5e-5 and np.ptp(means) > 0.01
    )
    assert half.version != constant(place).score([*known[:6], tried[0]]).version
    with pytest.raises(ValueError, match="needs 7 photos, y and one of each expert, not 6"):
        constant(place).score(known[:6])


def test_what_is_foretold_is_the_score():
    seven, x = photos(7), photos(8)[-1]
    place = np.random.default_rng(4).uniform(-0.3, 0.6, (judge.LAYERS, judge.KNOWN)).astype(np.float32)
    found = judge.features([*seven, x])
    told = np.asarray(fit_judge.foretold(place[None], judge.gram(found, found)[None]))[0]
    score = constant(place).score(seven)
    assert (
        np.ptp([one + score(photo) for one, photo in zip(told, seven[1:], strict=True)]) < 5e-5 and np.ptp(told) > 0.01
    )
    truth = fit_judge.lpips_of(judge.gram(found, found)[None])[0]
    np.testing.assert_allclose(truth, [measure("lpips", photo, x) for photo in seven[1:]], atol=2e-5)


def test_a_fitted_judge_finds_the_hidden_place():
    """The sharp point is hidden on that of the first two restorations which lies nearer to y: distances tell it."""

    def hidden(points):
        apart = ((points[:, :1] - points) ** 2).sum((0, 2))
        return 1 if apart[1] < apart[2] else 2

    rng = np.random.default_rng(8)
    train, test = random_products(600, rng, hidden), random_products(100, rng, hidden)
    arrays = fit_judge.fit(train, steps=300, members=2)
    shapes = {"mean": (judge.INPUTS,), "deviation": (judge.INPUTS,), **member_shapes(2, fit_judge.WIDTH)}
    assert {name: a.shape for name, a in arrays.items()} == shapes
    again = fit_judge.fit(train, steps=300, members=2)
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)

    def told(arrays):
        arrays = dict(arrays)
        return fit_judge.held_out(judge.Judge(arrays.pop("mean"), arrays.pop("deviation"), arrays, "fitted"), test)

    fresh = fit_judge.fit(train, steps=1, members=2)  # the mean of all
    assert told(arrays)["best expert of each"] < 1e-3
    assert (
        told(arrays)["judge"] < 0.3 * told(fresh)["judge"]
        and told(arrays)["judge"] < 0.3 * told(arrays)["best for all"]
    )


def test_a_study_is_judged():
    here = engine(SLOPES).study(photos(1)[0].astype(np.float32))
    place = np.zeros((judge.LAYERS, judge.KNOWN), np.float32)
    place[:, 4] = 1  # DD's own restoration, the fifth of the seven
    score = judge.expected_lpips(here, judge=constant(place))
    alone = [here.photo(z_0) for _, z_0 in sorted(here.latents(one_hot()))]
    assert int(np.argmax([score(photo) for photo in alone])) == 3 and score(alone[3]) == pytest.approx(0, abs=1e-5)
    found = automatic(engine(SLOPES), photos(1)[0], lambda study: judge.expected_lpips(study, judge=constant(place)))[1]
    assert found.weights[3] == 1
    few = Engine(LinearRestorer(EXPERTS[:3], slopes=SLOPES[:3]))
    with pytest.raises(ValueError, match="experts BR, SR, MD, DD, DN, DownLQ, not to BR, SR, MD"):
        judge.expected_lpips(few.study(photos(1)[0]))


def test_the_judge_has_the_word_where_it_knows_the_experts(monkeypatch):
    """Of the shipped experts, by name or path; NIQE has it of all others."""
    named = {name: replace(PROFILES["demo"], checkpoint=name) for name in ("demo", "demo_sr_only", None)}
    named["path"] = replace(PROFILES["smoke"], checkpoint=str(WEIGHTS / "demo.safetensors"))
    assert {name: judge.knows(config) for name, config in named.items()} == {
        "demo": True, "demo_sr_only": False, None: False, "path": True}  # fmt: skip
    assert judge.knows(named["demo"], with_factor(4))
    assert not judge.knows(named["demo"], with_factor(8)) and not judge.knows(named["demo"], EXPERTS[:3])
    y = photos(1, 96)[0]
    for known, name in ((True, "expected_lpips"), (False, "niqe")):
        monkeypatch.setattr("unires.search.knows", lambda *_, known=known: known)
        found = automatic(engine(SLOPES), y, steps=2)[1]
        assert [key.split()[0] for key in found.scores] == [name] and {line.steps for line in found.tried} == {2}


def test_the_experts_are_not_paid_twice():
    here, other = (engine(SLOPES).study(photos(1)[0].astype(np.float32)) for _ in range(2))
    judge.expected_lpips(here)
    paid = here.paid.unet_calls
    assert paid == 6 * engine(SLOPES).restorer.config.sample.steps
    vectors = np.concatenate([grid()[::300], one_hot(), grid()[100::300]])
    found, expected = (dict(study.latents(vectors)) for study in (here, other))
    assert here.paid.unet_calls - paid == other.paid.unet_calls - paid  # but for the six, whose cost was the judge's
    assert sorted(found) == list(range(len(vectors)))
    for place, z_0 in expected.items():
        np.testing.assert_allclose(found[place], z_0, atol=1e-5)


def test_a_missing_or_wrong_judge_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="judge is missing; fit one with"):
        judge.load_judge(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match="text.npz: not a judge"):
        judge.load_judge(tmp_path / "text.npz")
    with np.load(judge.SHIPS) as held:
        arrays = dict(held)
    np.savez(tmp_path / "short.npz", **{**arrays, "w2": arrays["w2"][:, :3]})
    with pytest.raises(ValueError, match=r"short.npz: not a judge \(w2 of another shape, or not finite"):
        judge.load_judge(tmp_path / "short.npz")
    np.savez(tmp_path / "broken.npz", **{**arrays, "b1": arrays["b1"] * np.nan})
    with pytest.raises(ValueError, match=r"\(b1 of another shape, or not finite"):
        judge.load_judge(tmp_path / "broken.npz")


def test_the_shipped_judge_is_of_the_shipped_experts():
    story = json.loads(judge.SHIPS.with_suffix(".json").read_text())
    assert story["sha256"] == sha256_of(judge.SHIPS) and judge.load_judge().version == story["sha256"][:8]
    experts = read_story(WEIGHTS / "demo.safetensors")
    assert story["experts"]["sha256"] == experts["sha256"] and story["photos"] == experts["photos"]
    told = story["held_out"]["LPIPS"]
    assert told["best expert of each"] < told["judge"] < told["best for all"]


def test_fitting_writes_a_judge_and_its_story(forty_photos, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_judge, "restorer_of", lambda config: (engine(SLOPES).restorer, {"sha256": "0" * 64}))
    monkeypatch.setattr(fit_judge, "STEPS", 3)
    monkeypatch.setattr(fit_judge.fit, "__defaults__", (3, 1, 0))
    out, kept = tmp_path / "judge.npz", tmp_path / "kept"
    given = ["--photos", str(forty_photos), "--side", "64", "--crops", "5", "--held-out", "2"]
    assert fit_judge.main([*given, "--out", str(out), "--kept", str(kept)]) == 0
    first, files = out.read_bytes(), sorted(kept.iterdir())
    assert len(files) == 7 and judge.load_judge(out).members["w1"].shape == (1, judge.INPUTS, fit_judge.WIDTH)
    story = json.loads(out.with_suffix(".json").read_text())
    assert story["sha256"] == sha256_of(out) and story["crops"] == 5 and set(story["held_out"]) == {"crops", "LPIPS"}

    def never(*given):
        raise AssertionError("measured twice")

    monkeypatch.setattr(fit_judge, "measure", never)
    assert fit_judge.main([*given, "--out", str(out), "--kept", str(kept)]) == 0
    assert out.read_bytes() == first
    (case,) = fit_judge.folder_cases(forty_photos, 1, 64, validation=False)
    products = np.load(min(files, key=lambda path: path.stat().st_mtime_ns))
    truth = [measure("lpips", photo, case.x) for photo in experts(case)]
    np.testing.assert_allclose(fit_judge.lpips_of(products[None])[0], truth, atol=2e-5)


def experts(case) -> list:
    """What each expert alone makes of a crop, by the restorer itself."""
    restorer = engine(SLOPES).restorer
    return [restorer(case.y, {expert.name: 1.0}) for expert in restorer.experts]
