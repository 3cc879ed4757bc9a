"""Scores of published weights that no package carries, by our own code: MUSIQ, and NIQE with its authors' prior."""

from functools import lru_cache
from pathlib import Path

from scipy.io import loadmat

from unires.models.musiq import OFFICIAL, PYIQA, score
from unires.models.musiq_weights import load_musiq
from unires.niqe import Prior, niqe
from unires.pyiqa_metrics import pyiqa_score
from unires.shapes import Photo
from unires.weight_files import WeightFile, needed

MODES = {"pyiqa": PYIQA, "official": OFFICIAL}
OURS = (WeightFile("unires", "koniq_ckpt.npz"), WeightFile("unires", "musiq_koniq_ckpt-e95806b9.safetensors"))
MUSIQ_FILES = {"official": OURS, "pyiqa": (*OURS, WeightFile("pyiqa", "musiq_koniq_ckpt-e95806b9.pth"))}
NIQE_PRIOR = WeightFile("pyiqa", "niqe_modelparameters.mat")


def musiq(photo: Photo, mode: str = "pyiqa", weights: str | Path | None = None) -> float:
    """MUSIQ with KonIQ's weights: our own network, or pyiqa's where only its .pth is there (mode "pyiqa").

    The modes are the two public codes: "official" the authors', "pyiqa" the port by which most tables were made.
    `weights` is an official .npz or a converted .safetensors; without it, one is looked for in the user's folder.

    Paper:  Ke et al. 2021; the score $Q$ of Eq. 3.  Range: about 0 to 100.
    Raises: ValueError: unknown mode. MissingWeights, CheckpointError: no file, or one that doesn't fit.
    Test:   test_contract.py::test_musiq_takes_the_file_it_finds
    """
    if mode not in MODES:
        raise ValueError(f"MUSIQ has the modes {', '.join(MODES)}, not {mode!r}.")
    if weights is None:
        ((weights, _),) = needed("MUSIQ", (MUSIQ_FILES[mode],)).values()
        if Path(weights).suffix == ".pth":
            return pyiqa_score("musiq")(photo)
    path = Path(weights)
    model = _musiq_model(path, mode, path.stat().st_mtime_ns if path.exists() else 0)
    return float(score(model, photo[None])[0])


@lru_cache(maxsize=2)
def _musiq_model(path: Path, mode: str, _changed: int):
    return load_musiq(path, MODES[mode])[0]


def niqe_official(photo: Photo) -> float:
    """NIQE with the authors' prior, so that it compares with papers.

    Paper:  Mittal et al. 2013.  Range: 0 upwards.
    Raises: MissingWeights: the authors' prior isn't there.
    Test:   test_calibration.py::test_published_scores
    """
    (path,) = (path for path, _ in needed("niqe-official", ((NIQE_PRIOR,),)).values())
    held = loadmat(path)
    return niqe(photo, Prior(held["mu_prisparam"].ravel(), held["cov_prisparam"], 0))
