"""Any checkpoint that spandrel loads, as a baseline: restore a folder, keep the images, measure them into rows.

    python -m benchmarks.spandrel_baseline CHECKPOINT.safetensors --inputs LQ [--references HQ] --name NAME --set SET
        [--scale 1] [--metrics psnr lpips ...] --out RUN

A network that enlarges (ESRGAN, SwinIR, HAT, ...) gives scale x input pixels; where less is asked for by --scale, its
result is reduced by area, so that a x4 network can be compared on photos that keep their size. Restored images go to
RUN/baselines/NAME, rows to RUN/rows.jsonl, the checkpoint's sha256 to RUN/run.json.
Exit status: 0 done, 1 the checkpoint or the folders don't fit.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.folder_baseline import FolderError, add_arguments, images, measure_folder
from benchmarks.peers import import_spandrel
from unires.data import sha256
from unires.degrade.super_resolution import resize
from unires.photo import PhotoError, read_photo, write_photo
from unires.record import write_run
from unires.shapes import Photo


class PeerError(ValueError):
    """The checkpoint can't be used; the message says what to do."""


@dataclass(frozen=True)
class Peer:
    """A network that takes a photo and gives one `scale` times as large."""

    restore: Callable[[Photo], Photo]
    scale: int
    architecture: str


def load(checkpoint: str | Path) -> Peer:
    """Read a checkpoint of another project.

    Raises: PeerError: it is no safetensors file, spandrel doesn't know its network, or that isn't photo to photo in
            colour; ImportError: spandrel is not installed.
    Test:   test_spandrel_baseline.py::test_pickle_is_refused, test_what_is_no_restorer_is_refused
    """
    path = Path(checkpoint)
    if path.suffix.lower() != ".safetensors":
        raise PeerError(
            f"{path.name} may hold a pickle, which runs code when it is opened. Convert it where you trust it, and "
            "pass the .safetensors file: safetensors.torch.save_file(weights, 'x.safetensors') with weights = "
            "torch.load(PATH, weights_only=True), or its 'params_ema', 'params' or 'state_dict' where it has one"
        )
    if not path.is_file():
        raise PeerError(f"{path} does not exist")
    spandrel = import_spandrel()
    try:
        model = spandrel.ModelLoader(device="cpu").load_from_file(path)
    except Exception as error:  # spandrel's, torch's and safetensors' own errors share no class
        raise PeerError(f"{path.name} can't be loaded by spandrel: {type(error).__name__}: {error}") from error
    if not isinstance(model, spandrel.ImageModelDescriptor):
        raise PeerError(f"{path.name} is a {type(model).__name__}, not a network from one photo to one photo")
    if (model.input_channels, model.output_channels) != (3, 3):
        raise PeerError(
            f"{path.name} takes {model.input_channels} channels and gives {model.output_channels}: photos here have 3"
        )
    return Peer(_photo_to_photo(model.eval()), int(model.scale), str(getattr(model.architecture, "name", "unknown")))


def restored(peer: Peer, y: Photo, scale: int = 1) -> Photo:
    """One photo, `scale` times as large as the flawed one; what is larger is reduced by area.

    Raises: PeerError: the network enlarges less than that.
    Test:   test_spandrel_baseline.py::test_a_large_result_is_reduced_by_area
    """
    if peer.scale < scale:
        raise PeerError(f"the network enlarges by {peer.scale}, --scale {scale} was asked for")
    return resize(np.clip(peer.restore(y), 0, 1), scale * y.shape[0], scale * y.shape[1], "area")


def restore_folder(peer: Peer, inputs: Path, folder: Path, scale: int = 1) -> None:
    """Restore every image of a folder into another one, as PNG of the same names.

    Test: test_spandrel_baseline.py::test_a_checkpoint_becomes_rows
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in tqdm(images(inputs).items(), unit="image", desc="restore"):
        write_photo(folder / f"{name}.png", restored(peer, read_photo(path), scale))


def _photo_to_photo(model) -> Callable[[Photo], Photo]:
    import torch

    def restore(y: Photo) -> Photo:
        with torch.no_grad():
            told = model(torch.from_numpy(np.ascontiguousarray(y.transpose(2, 0, 1), np.float32))[None])
        return told[0].cpu().numpy().transpose(1, 2, 0)

    return restore


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spandrel_baseline", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a .safetensors file")
    parser.add_argument("--name", required=True, help="the method's name in tables, as SwinIR")
    add_arguments(parser)
    given = parser.parse_args(argv)
    try:
        peer, folder = load(given.checkpoint), given.out / "baselines" / given.name
        restore_folder(peer, given.inputs, folder, given.scale)
        about = {"architecture": peer.architecture}
        said = measure_folder(folder, given, given.name, f"spandrel {given.name}", **about)
    except (PeerError, FolderError, PhotoError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    write_run(given.out, checkpoints={given.name: sha256(given.checkpoint)})
    print(f"{peer.architecture}, x{peer.scale}: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
