"""FID against the matrix root, a closed form, and pyiqa's own on shared random weights."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from unires import fid as fid_module
from unires.fid import fid, frechet
from unires.photo import PhotoError, write_photo


def test_frechet_against_the_matrix_root():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (60, 7)) @ rng.normal(0, 1, (7, 7)), rng.normal(0.3, 2, (45, 7))
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_shifted_features():
    """Fewer photos than features: the covariances are singular, the distance is that of the means alone."""
    a = np.random.default_rng(0).normal(0, 1, (5, 40))
    assert frechet(a, a + 0.5) == pytest.approx(40 * 0.25)
    assert frechet(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(4 * np.var(a, axis=0, ddof=1).sum())


def test_folders_are_checked(tmp_path):
    write_photo(tmp_path / "one.png", np.zeros((8, 8, 3)))
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(PhotoError, match="at least two photos, not 1"):
        fid_module.photos_of(tmp_path)
    with pytest.raises(PhotoError, match="nowhere: FID compares folders"):
        fid_module.photos_of(tmp_path / "nowhere")


def test_fid_is_pyiqas(tmp_path, monkeypatch, pyiqa):
    """The whole way from files, with one network of random weights."""
    import torch
    from pyiqa.archs import fid_arch, inception

    monkeypatch.setattr(inception, "load_pretrained_network", lambda *arguments: None)
    torch.manual_seed(0)
    network = inception.InceptionV3().eval()
    monkeypatch.setattr(fid_module, "_inception", lambda: network)
    rng = np.random.default_rng(0)
    for folder, low in (("a", 0.0), ("b", 0.3)):
        (tmp_path / folder).mkdir()
        for number in range(3):
            write_photo(tmp_path / folder / f"{number}.png", rng.uniform(low, 1, (70, 320, 3)))
    features = [
        fid_arch.get_folder_features(
            str(tmp_path / folder), network, num_workers=0, device=torch.device("cpu"), mode="clean", verbose=False
        )
        for folder in "ab"
    ]
    expected = frechet(*features)
    assert fid(tmp_path / "a", tmp_path / "b") == pytest.approx(expected, rel=1e-3) and expected > 0
