"""Are our networks the public ones? The same random weights in both, in float32. Writes results/paper/parity.json.

    python -m benchmarks.paper_parity [--parts unet vae text] [--side 16] [--out FILE]

diffusers' UNet2DConditionModel and AutoencoderKL, and transformers' CLIPTextModel, at the paper's full width. One part
after the other, so that about 8 GB of memory are enough. Needs pip install unires[dev].
"""

import argparse
import gc
import importlib.metadata
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks.peers import import_torchvision
from unires.config import Config
from unires.files import write_beside
from unires.models.convert import Entry, Source, convert
from unires.models.ldm import LDM, take_apart
from unires.models.names import FOLDERS, PARTS
from unires.models.settings import settings
from unires.profiles import PAPER
from unires.schedule import Schedule, add_noise, split_prediction
from unires.shapes import AnyArray, Photo

OUT = Path("results/paper/parity.json")
BOUND = 1e-4  # of the relative error, in float32


def import_peers() -> SimpleNamespace:
    """torch, diffusers and transformers, also where torchvision's own operators can't be loaded.

    Raises: ImportError if one of them is not installed.
    Test: test_parity.py::test_whole_networks_are_the_public_ones
    """
    try:
        import torch

        import_torchvision()
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel
    except ImportError as missing:
        raise ImportError(f"{missing.name} is needed for this comparison: pip install unires[dev]") from missing
    return SimpleNamespace(
        torch=torch, unet=UNet2DConditionModel, vae=AutoencoderKL, text=CLIPTextModel, text_config=CLIPTextConfig
    )


def their_module(peers: SimpleNamespace, part: str, config: Config, seed: int | None = 0):
    """One of their networks at a config's size, every weight drawn anew (nothing zero, no norm trivial).

    Test: test_parity.py::test_whole_networks_are_the_public_ones
    """
    said = {k: v for k, v in settings(config)[FOLDERS[part]].items() if not k.startswith(("_", "arch", "model_type"))}
    if part == "text":
        module = peers.text(peers.text_config(**said, bos_token_id=0, eos_token_id=1, pad_token_id=0))
    else:
        module = getattr(peers, part)(**said)
    if seed is not None:
        draw = peers.torch.Generator().manual_seed(seed)
        with peers.torch.no_grad():
            for name, array in module.named_parameters():
                fan_in = max(1, array[0].numel())
                deviation = fan_in**-0.5 if array.ndim > 1 and "embedding" not in name else 0.3
                array.normal_(0, deviation, generator=draw)
                if array.ndim == 1 and name.endswith("weight"):
                    array += 1
    return module.eval()


def our_module(module, part: str, config: Config):
    """The same network of ours, and its weights: converted from their state dict.

    Test: test_parity.py::test_whole_networks_are_the_public_ones
    """
    found = {}
    for name, array in module.state_dict().items():
        read = lambda array=array: array.numpy()  # noqa: E731
        found[f"{FOLDERS[part]}/{name}"] = Entry(tuple(array.shape), "F32", read)
    arrays, _ = convert(Source("diffusers", found, {}, {}), config, (part,), "state dict")
    _, rebuild = take_apart(getattr(LDM.abstract(config), part))
    return {name.partition(".")[2]: array for name, array in arrays.items()}, rebuild


def inputs(part: str, config: Config, side: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Seeded inputs of one network, ours in layout: maps have their channels last.

    Test: test_parity.py::test_whole_networks_are_the_public_ones
    """
    rng, c, text = np.random.default_rng(seed), config.vae.latent_channels, config.text

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    if part == "unet":
        maps = {"z_t": normal(1, side, side, c), "z_lq": normal(1, side, side, c)}
        return maps | {"t": np.array([321]), "context": normal(1, text.tokens, text.width)}
    if part == "vae":
        pixels = config.vae.factor * side
        return {"x": rng.random((1, pixels, pixels, 3)).astype(np.float32), "z": normal(1, side, side, c)}
    return {"ids": rng.integers(2, text.vocabulary, (1, text.tokens)).astype(np.int32)}


def their_answers(peers: SimpleNamespace, module, part: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What their network makes of the inputs, with channels last.

    Test: test_parity.py::test_whole_networks_are_the_public_ones
    """

    def first(x):
        return peers.torch.tensor(np.ascontiguousarray(np.moveaxis(x, -1, 1)))

    def last(x):
        return np.moveaxis(x.numpy(), 1, -1)

    with peers.torch.no_grad():
        if part == "unet":
            z = first(np.concatenate([given["z_t"], given["z_lq"]], -1))
            t, context = peers.torch.tensor(given["t"]), peers.torch.tensor(given["context"])
            return {"unet": last(module(z, t, encoder_hidden_states=context).sample)}
        if part == "vae":
            mean = module.encode(first(2 * given["x"] - 1)).latent_dist.mean
            scale = module.config.scaling_factor
            x_hat = module.decode(first(given["z"]) / scale).sample
            return {"vae encoder": last(mean) * scale, "vae decoder": (last(x_hat) + 1) / 2}
        ids = peers.torch.tensor(given["ids"], dtype=peers.torch.long)
        return {"text": module(ids).last_hidden_state.numpy()}


def our_answers(arrays: dict, rebuild, part: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What our network makes of the inputs.

    Test: test_parity.py::test_whole_networks_are_the_public_ones
    """
    if part == "unet":
        return {"unet": np.asarray(jax.jit(lambda a, given: rebuild(a)(**given))(arrays, given))}
    if part == "vae":
        found = jax.jit(lambda a, given: (rebuild(a).encode(given["x"]), rebuild(a).decode(given["z"])))(arrays, given)
        return dict(zip(("vae encoder", "vae decoder"), map(np.asarray, found), strict=True))
    return {"text": np.asarray(jax.jit(lambda a, ids: rebuild(a)(ids))(arrays, given["ids"]))}


def distance(ours, theirs) -> float:
    """Length of the difference, relative to theirs.

    Test: test_parity.py::test_the_gelu_is_the_exact_one
    """
    ours, theirs = (np.asarray(x, np.float64) for x in (ours, theirs))
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def compare(config: Config, parts: tuple[str, ...] = PARTS, side: int = 16) -> list[dict]:
    """One row a network: parameters, relative error, seconds of one call (ours with its compilation).

    Test: test_parity.py::test_whole_networks_are_the_public_ones
    """
    peers, rows = import_peers(), []
    for part in tqdm(parts, desc="parity", unit="network"):
        module, given = their_module(peers, part, config), inputs(part, config, side)
        began = time.perf_counter()
        theirs = their_answers(peers, module, part, given)
        seconds = time.perf_counter() - began
        arrays, rebuild = our_module(module, part, config)
        count = sum(array.numel() for array in module.parameters())
        del module
        gc.collect()
        began = time.perf_counter()
        ours = our_answers(arrays, rebuild, part, given)
        row = {"part": part, "parameters": count, "their_seconds": round(seconds, 2), "side": side}
        row |= {"our_seconds": round(time.perf_counter() - began, 2)}
        rows += [row | {"network": name, "relative_error": distance(ours[name], theirs[name])} for name in theirs]
    return rows


def where_numbers_are(config: Config) -> list[dict]:
    """Millions of learned numbers in each array of the UNet, with the level of its maps and the kind of its block.

    Test: test_parity.py::test_every_number_is_somewhere
    """
    rows, levels = [], len(config.unet.channels)
    for name, leaf in take_apart(LDM.abstract(config).unet)[0].items():
        head, level, *rest = name.split(".")
        place = "middle" if head.startswith("middle") else "ends"
        if head in ("down", "downs", "up", "ups"):
            halvings = int(level) if head.startswith("down") else levels - 1 - int(level)
            place = f"1/{2**halvings}"
        transformer = head == "middle" or (head in ("down", "up") and rest[1] == "1")
        kind = "transformers" if transformer else "convolutions, time"
        rows.append({"level": place, "part": kind, "millions": math.prod(leaf.shape) / 1e6})
    return rows


def noise_left(model: LDM, config: Config, context: AnyArray, photo: Photo, seed: int = 0, t: int = 500) -> float:
    """Mean square of what the network misses of the noise in a photo's latent; 1 if it knows nothing.

    Test: test_parity.py::test_a_silent_network_finds_no_noise
    """
    arrays, rebuild = take_apart(model)
    schedule, times = Schedule.make(config.schedule), jnp.array([t])
    alpha, sigma = jnp.asarray(schedule.alpha)[times], jnp.asarray(schedule.sigma)[times]
    z_0 = jax.jit(lambda arrays, x: rebuild(arrays).vae.encode(x))(arrays, photo[None])
    eps = jax.random.normal(jax.random.key(seed), z_0.shape)
    z_t = add_noise(z_0, eps, alpha, sigma)
    ask = jax.jit(lambda arrays, *given: rebuild(arrays).predict(*given))
    output = ask(arrays, z_t, z_0, times, context[None])
    _, found = split_prediction(z_t, output, alpha, sigma, config.schedule.prediction)
    return float(((found - eps) ** 2).mean())


def main(argv: list[str] | None = None, config: Config = PAPER) -> int:
    """Compare and write.

    Test: test_parity.py::test_the_script_writes_its_table
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_parity", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--side", type=int, default=16, help="of the latents (default 16)")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    rows = compare(config, tuple(arguments.parts), arguments.side)
    names = ("jax", "flax", "torch", "diffusers", "transformers")
    told = {"profile": config.name, "bound": BOUND, "device": jax.devices()[0].device_kind, "rows": rows}
    told["versions"] = {name: importlib.metadata.version(name) for name in names}
    write_beside(arguments.out, (json.dumps(told, indent=1, sort_keys=True) + "\n").encode())
    for row in rows:
        print(f"{row['network']}: {row['parameters']:,} parameters, relative error {row['relative_error']:.1e}")
    return int(any(row["relative_error"] > BOUND for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
