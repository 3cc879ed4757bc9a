"""Published scores of five photo pairs: what can run here equals them, what can't says which file it lacks."""

import importlib.metadata

import pytest

from benchmarks import calibration
from benchmarks.calibration import Published, agree, pairs, published, scores
from unires.metrics import EVERY, METRICS, measure
from unires.weight_files import MissingWeights, needed


@pytest.fixture(scope="module")
def photos():
    try:
        importlib.metadata.version("pyiqa")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pyiqa's package carries the pairs")
    return pairs()


def runs_here(name: str) -> bool:
    try:
        needed(name, EVERY[name].needs)
    except MissingWeights:
        return False
    return True


@pytest.mark.parametrize("one", published(), ids=lambda one: f"{one.metric}-{one.by}")
def test_published_scores(one, photos):
    if runs_here(one.metric):
        assert scores(one, photos) == pytest.approx(one.scores, rel=one.relative, abs=1e-4)
    else:
        with pytest.raises(MissingWeights, match=f"^{one.metric} needs .* in /.*nothing is downloaded"):
            scores(one, photos)


def test_what_needs_no_file_was_compared():
    """NIQE alone of the metrics of every run has a prior of our own, and no published score; its code is compared."""
    compared = {one.metric for one in published()}
    assert METRICS.keys() - compared == {"niqe"} and "niqe-official" in compared
    assert all(runs_here(name) for name in METRICS)


def test_lpips_is_to_the_printed_digit(photos):
    values = [round(measure("lpips", *pair), 4) for pair in photos.values()]
    assert values == [0.7237, 0.2572, 0.0508, 0.0521, 0.4253]


def test_ssim_on_rgb_is_pyiqas_ssimc(photos, pyiqa):
    """But for windows whose structures oppose each other: pyiqa counts them as 0, Wang et al. as negative."""
    import torch

    theirs = {name: pyiqa.create_metric(name, device="cpu") for name in ("ssimc", "psnr")}
    for image, pair in photos.items():
        tensors = [torch.from_numpy(photo.transpose(2, 0, 1)[None].copy()) for photo in pair]
        assert measure("psnr", *pair) == pytest.approx(float(theirs["psnr"](*tensors)), abs=1e-3), image
        assert measure("ssim", *pair) == pytest.approx(float(theirs["ssimc"](*tensors)), abs=1e-3), image


def test_a_wrong_score_is_noticed():
    one = Published("psnr", "official", "RGB", 0.001, (20.0, 30.0))
    assert agree(one, [20.01, 29.98]) and not agree(one, [20.01, 29.9])


def test_the_command_says_what_it_could_not_run(photos, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    few = [one for one in published() if one.metric in ("psnr", "niqe-official")]
    monkeypatch.setattr(calibration, "published", lambda: few)
    assert calibration.main([]) == 0
    printed = capsys.readouterr().out
    assert "psnr, official: agrees: 21.1136 (21.11)" in printed
    assert f"niqe_modelparameters.mat in {tmp_path}/hub/pyiqa" in printed
    monkeypatch.setattr(calibration, "measure", lambda name, *pair: 0.0)
    assert calibration.main([]) == 1
    assert "psnr, official: DIFFERS" in capsys.readouterr().out
