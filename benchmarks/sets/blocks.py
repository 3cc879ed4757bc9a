"""SIDD's validation blocks as PNG files: `python -m benchmarks.sets.blocks DIR`.

DIR holds the two published .mat files; the blocks go to input_crops/ and gt_crops/ below it, numbered image by image
(40 images of 32 blocks) as other projects number them.
"""

import argparse
import os
import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

FILES = {"input_crops": "ValidationNoisyBlocksSrgb", "gt_crops": "ValidationGtBlocksSrgb"}


def write_blocks(folder: str | Path) -> int:
    """Write the blocks of both files; returns how many each held.

    Raises: FileNotFoundError, ValueError: a .mat file is missing or is not what it should be.
    Test:   test_sets.py::test_blocks_are_written_image_by_image
    """
    from scipy.io import loadmat

    folder, counts = Path(folder), set()
    for name in FILES.values():
        if not (folder / f"{name}.mat").exists():
            raise FileNotFoundError(f"{folder / name}.mat: no such file; it comes with SIDD's validation data.")
    for place, name in FILES.items():
        blocks = loadmat(folder / f"{name}.mat").get(name)
        if blocks is None or blocks.ndim != 5 or blocks.shape[-1] != 3 or blocks.dtype != "uint8":
            raise ValueError(f"{name}.mat: holds no 8-bit array {name} [image block height width 3]; get it again.")
        (folder / place).mkdir(exist_ok=True)
        blocks = blocks.reshape(-1, *blocks.shape[2:])
        counts.add(len(blocks))
        for number, block in enumerate(tqdm(blocks, desc=place, leave=False)):
            path = folder / place / f"ValidationBlocksSrgb_{number}.png"
            Image.fromarray(block).save(path.with_suffix(".part"), format="PNG")
            os.replace(path.with_suffix(".part"), path)
    if len(counts) > 1:
        raise ValueError(f"{folder}: the two .mat files hold {sorted(counts)} blocks; get them again.")
    return counts.pop()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sets.blocks", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds the two .mat files")
    print(f"{write_blocks(parser.parse_args(argv).folder)} pairs of blocks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
