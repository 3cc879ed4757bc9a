"""The specialisation matrix: its sets, and its bars on rows whose answer is known."""

import dataclasses
import hashlib

import numpy as np
import pytest

from benchmarks import specialisation as s
from unires.data import evaluation_crops
from unires.models.store import load_model
from unires.profiles import SMOKE
from unires.record import not_run, row
from unires.restore import Restorer
from unires.tasks import TASKS

NAMES = ["LQ", "autoencoder", "BR=1", "SR=1", "MD=1", "DD=1", "DN=1", "DownLQ=1"]
# LPIPS of the means by hand; the matching expert of MD is 2 % above the best, that of DN is the best.
LPIPS = {
    "MD@0.7": [0.5, 0.5, 0.50, 0.55, 0.408, 0.40, 0.80, 0.1],
    "MD@1.0": [0.6, 0.6, 0.50, 0.55, 0.450, 0.46, 0.47, 0.1],
    "DN@1.0": [0.8, 0.8, 0.50, 0.70, 0.600, 0.60, 0.40, 0.9],
}
PSNR = {"MD@0.7": [20.0] * 8, "MD@1.0": [20, 21, 20, 20, 20.75, 20, 20, 20], "DN@1.0": [15, 16, 1, 1, 1, 1, 21, 1]}


def hand_made():
    """Two crops a set, half a step below and above the mean."""
    rows = [not_run("MD@1.0", "a", "LQ", "niqe", "too small")]
    for metric, means, step in (("lpips", LPIPS, 0.01), ("psnr", PSNR, 0.5)):
        for name, values in means.items():
            for method, value in zip(NAMES, values, strict=True):
                rows += [row(name, image, method, metric, value + d) for image, d in (("a", -step), ("b", step))]
    return rows


def test_bars_of_hand_made_rows():
    table = s.bars(hand_made())
    assert list(table.columns) == ["set", "what", "value", "goal", "reached"]
    found = {(line["set"], line["what"]): line for _, line in table.iterrows()}
    expected = {
        ("MD@0.7", "LPIPS above the best text expert"): (2.0, False),
        ("MD@0.7", "LPIPS below the worst text expert"): (49.0, True),
        ("MD@1.0", "LPIPS above the best text expert"): (0.0, True),
        ("MD@1.0", "LPIPS below the worst text expert"): (100 * 0.1 / 0.55, True),
        ("DN@1.0", "LPIPS above the best text expert"): (0.0, True),
        ("DN@1.0", "LPIPS below the worst text expert"): (100 * 0.3 / 0.7, True),
        ("MD@1.0", "LPIPS of the matching expert against LQ"): (-25.0, True),
        ("MD@1.0", "PSNR of the matching expert against LQ"): (0.75, False),
        ("DN@1.0", "LPIPS of the matching expert against LQ"): (-50.0, True),
        ("DN@1.0", "PSNR of the matching expert against LQ"): (6.0, True),
    }
    assert found.keys() == expected.keys(), "no own gain at the weaker severity"
    for key, (value, reached) in expected.items():
        assert (found[key]["value"], found[key]["reached"]) == (pytest.approx(value, abs=1e-6), reached), key
    assert found["MD@1.0", "PSNR of the matching expert against LQ"]["goal"] == "at least 1 dB"
    above = s.above_best(s.means(hand_made(), "lpips"))
    assert above.loc["MD=1", "MD@0.7"] == pytest.approx(2) and above.loc["DownLQ=1", "MD@0.7"] == pytest.approx(-75)
    assert s.relative_to_lq(s.means(hand_made(), "lpips")).loc["DN=1", "DN@1.0"] == pytest.approx(-50)
    skewed = [row("SR@1.0", f"{i}", "LQ", "psnr", value) for i, value in enumerate((1.0, 2.0, 9.0))]
    assert s.means(skewed, "psnr").loc["LQ", "SR@1.0"] == 4  # no median


def test_a_small_loss_of_the_autoencoder_is_forgiven():
    """SR and DD are compared with the photo that went through the autoencoder, not with LQ itself."""
    rows = []
    for metric, values in (("lpips", [0.4, 0.5, *[0.35] * 6]), ("psnr", [30.0, 25.0, *[26.0] * 6])):
        rows += [row("SR@1.0", "a", method, metric, v) for method, v in zip(NAMES, values, strict=True)]
    found = {line["what"]: line for _, line in s.bars(rows).iterrows()}
    assert found["PSNR of the matching expert against autoencoder"]["value"] == pytest.approx(1.0)
    gain = found["LPIPS of the matching expert against LQ"]
    assert gain["value"] == pytest.approx(-12.5) and not gain["reached"]


def test_a_missing_row_is_noticed():
    rows = hand_made()
    with pytest.raises(ValueError, match="psnr: not every set"):
        s.bars([r for r in rows if (r["set"], r["image"], r["method"], r["metric"]) != ("MD@1.0", "b", "DD=1", "psnr")])


def test_bars_of_down_lq():
    rows = []
    for factor, detail, psnr in ((1, 1.0, 24.0), (2, 1.5, 23.0), (4, 1.4, 22.5), (8, 3.0, 20.0)):
        rows.append(row("complex", "a", s.down_lq_method(factor), "detail", detail))
        rows.append(row("complex", "a", s.down_lq_method(factor), "psnr", psnr))
    found = s.down_lq_bars(rows[::-1])
    assert list(found["value"]) == pytest.approx([-0.1, -0.5])
    assert list(found["reached"]) == [False, True]


def test_detail_of_a_ramp():
    i, j = np.mgrid[:20, :30]
    ramp = (0.01 * i + 0.02 * j)[..., None].repeat(3, -1)
    assert s.detail(ramp) == pytest.approx(1000 * (0.01**2 + 0.02**2))
    assert s.detail(np.ones((8, 8, 3))) == 0


def test_sets_differ_in_flaw_and_strength_alone():
    config = dataclasses.replace(SMOKE, evaluation=dataclasses.replace(SMOKE.evaluation, matrix_crops=3))
    sets = {(t.name, v): s.matrix_set(t.name, v, config) for t in TASKS for v in (0.7, 1.0)}
    crops = [name for name, _ in evaluation_crops(3, 64, 32, 48)]
    for (task, severity), items in sets.items():
        assert [item.image for item in items] == crops
        assert {item.set for item in items} == {f"{task}@{severity}"}
        assert all(item.recipe.tasks == task and not np.array_equal(item.x, item.y) for item in items)
        assert s.task_of(items[0].set) == (task, severity)
    weak, strong = (np.mean([((i.x - i.y) ** 2).mean() for i in sets["DN", v]]) for v in (0.7, 1.0))
    assert weak < strong
    weak, strong = ([item.recipe.steps[0]["seed"] for item in sets["DN", v]] for v in (0.7, 1.0))
    assert weak == strong and len(set(weak)) == 3
    again = s.matrix_set("MD", 1.0, config)
    assert all(np.array_equal(a.y, b.y) for a, b in zip(again, sets["MD", 1.0], strict=True))
    assert s.sets_hash({"a": again}) == s.sets_hash({"a": sets["MD", 1.0]}) != s.sets_hash({"a": sets["MD", 0.7]})
    levels = [np.rint(255 * np.float64(photo)).astype(np.uint8) for item in again for photo in (item.x, item.y)]
    assert s.sets_hash({"a": again}) == hashlib.sha256(b"".join(one.tobytes() for one in levels)).hexdigest()


def test_each_expert_alone_is_what_the_restorer_makes():
    from unires.engine import Engine

    restorer = Restorer(load_model(SMOKE)[0], SMOKE)
    y = s.matrix_set("DN", 1.0, SMOKE)[0].y
    made = dict(s.alone(Engine(restorer).study(y, seed=3)))
    assert list(made) == NAMES[2:]
    for name in ("MD=1", "DownLQ=1"):
        assert np.allclose(made[name], restorer(y, {name[:-2]: 1.0}, seed=3), atol=1e-4)
    coded = s.through_autoencoder(restorer, y)
    assert coded.shape == y.shape and 0 <= coded.min() and coded.max() <= 1
    assert np.allclose(coded, np.clip(restorer.decode(restorer.encode(y)), 0, 1))
