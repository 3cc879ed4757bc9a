"""FID: how far apart two folders of photos lie, as Gaussians over an Inception network's features.

The protocol is fixed: every photo that lies in the folder itself, in "clean" mode (Parmar et al., CVPR 2022): 8 bit,
each channel reduced to 299 x 299 by Pillow's bicubic in floating point, clipped to [0, 255]. Scores of folders of
different sizes don't compare: FID falls with the number of photos.

Paper: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from tqdm import tqdm

from unires.photo import PhotoError, read_photo, to_8_bit
from unires.pyiqa_metrics import import_pyiqa
from unires.shapes import Photo

SIDE = 299
BATCH = 8
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

Features = Float[np.ndarray, "_ d"]


def fid(folder: str | Path, reference: str | Path) -> float:
    """FID between two folders of photos; lower is better.

    Paper:  Table 6's FID.  Range: 0 upwards.
    Raises: PhotoError for a folder with fewer than two photos. ImportError: pyiqa or torch is not installed.
    Test:   test_fid.py::test_fid_is_pyiqas
    """
    network = _inception()
    return frechet(*(_features(network, photos_of(place)) for place in (folder, reference)))


def frechet(a: Features, b: Features) -> float:
    """Squared Fréchet distance of the Gaussians that fit two sets of features.

    With centred features A and B, tr((S_a S_b)^(1/2)) is the sum of the singular values of A B^T, scaled: exact, and
    without the root of a singular matrix that fewer photos than features would give.
    Paper: Dowson and Landau 1982, as Heusel et al. use it.  Range: 0 upwards, to rounding.
    Test:  test_fid.py::test_frechet_against_the_matrix_root, test_frechet_of_shifted_features
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    apart = a.mean(0) - b.mean(0)
    a, b = ((z - z.mean(0)) / np.sqrt(len(z) - 1) for z in (a, b))
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(0.0, apart @ apart + (a * a).sum() + (b * b).sum() - 2 * shared))


def photos_of(folder: str | Path) -> list[Path]:
    """The photos that lie in a folder itself, by name.

    Raises: PhotoError where there are fewer than two: one has no spread.
    Test:   test_fid.py::test_folders_are_checked
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PhotoError(f"{folder}: FID compares folders of photos, and this is none.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(found) < 2:
        raise PhotoError(f"{folder}: FID needs at least two photos, not {len(found)} ({', '.join(SUFFIXES)}).")
    return found


def clean(photo: Photo) -> Float[np.ndarray, "299 299 3"]:
    """Resize as clean-fid does.

    Range: 0 to 255.  Test: test_fid.py::test_fid_is_pyiqas
    """
    channels = [
        np.asarray(Image.fromarray(channel.astype(np.float32), "F").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for channel in np.moveaxis(to_8_bit(photo), -1, 0)
    ]
    return np.stack(channels, -1).clip(0, 255)


def _features(network, paths: list[Path]) -> Features:
    import torch

    found = []
    for first in tqdm(range(0, len(paths), BATCH), unit="batch", desc="FID", leave=False):
        photos = np.stack([clean(read_photo(path)) for path in paths[first : first + BATCH]])
        batch = torch.from_numpy(np.moveaxis((photos - 128) / 128, -1, 1).copy()).float()
        with torch.no_grad():
            found.append(network(batch, False, False)[0].flatten(1).numpy())
    return np.concatenate(found)


def _inception():
    import_pyiqa()
    from pyiqa.archs.inception import InceptionV3

    return InceptionV3().eval()
