"""The paper's size on one accelerator: ours beside PyTorch's, in bfloat16. Writes results/paper/speed.json.

    python -m benchmarks.speed.paper_size [--side 512] [--steps 3 50] [--turns 5] [--anyway]

diffusers' UNet and autoencoder get random weights, ours the same ones through the converter. Measured are one call of
the UNet with a row for each of the six experts, and a whole restoration with all six, from photo to photo: ours,
PyTorch eager, PyTorch compiled, in turns in one run. The error is relative to PyTorch's answer in float32. Without
an accelerator the file says that nothing was run (--anyway tries it on a CPU). Memory is the peak since the start for
JAX, of each measurement for PyTorch. Needs pip install unires[dev], and JAX and PyTorch for the same device.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks.paper_parity import distance, import_peers, our_module, their_module
from unires.compose import down_lq
from unires.config import Config
from unires.data import evaluation_crops
from unires.files import write_beside
from unires.models.ldm import LDM, cast, take_apart
from unires.profiles import DEMO, PAPER
from unires.record import commit
from unires.restore import COLOURS, Restorer, silent
from unires.sample import ddim_plan
from unires.shapes import Photo
from unires.tasks import EXPERTS

OUT = Path("results/paper/speed.json")
T = 501  # time of the single step
W = np.array([0.5, -0.2, 0.3, 0.3, -0.2, 0.3], np.float32)  # every expert takes part


def same_networks(peers: SimpleNamespace, config: Config, dtype: str) -> tuple[SimpleNamespace, Restorer]:
    """Their UNet and autoencoder in float32, and a restorer of ours with the same weights in `dtype`.

    Test: test_speed_paper_size.py::test_both_sides_restore_the_same
    """
    theirs, ours = SimpleNamespace(), {}
    for part in ("unet", "vae"):
        module = their_module(peers, part, config)
        setattr(theirs, part, module)
        arrays, _ = our_module(module, part, config)
        ours |= {f"{part}.{name}": array for name, array in arrays.items()}
    model = LDM.abstract(config)
    model.text = None
    _, rebuild = take_apart(model)
    arrays = {name: jnp.asarray(array) for name, array in cast(ours, dtype).items()}
    rng, shape = np.random.default_rng(0), (config.text.tokens, config.text.width)
    prompts = {expert.prompt: rng.standard_normal(shape).astype(np.float32) for expert in EXPERTS}
    return theirs, Restorer(rebuild(arrays), config, prompts=prompts, dtype=dtype)


def step_inputs(config: Config, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and LQ latents of the single step, a row an expert."""
    i, c = side // config.vae.factor, config.vae.latent_channels
    z_t, z_lq = np.random.default_rng(1).standard_normal((2, len(EXPERTS), i, i, c)).astype(np.float32)
    return z_t, z_lq


def our_calls(restorer: Restorer) -> tuple[Callable, Callable]:
    """`step(z_t, z_lq)` and `restore(photo, steps)` of ours.

    Test: test_speed_paper_size.py::test_both_sides_restore_the_same
    """
    context = jnp.stack([restorer.context[expert.name] for expert in restorer.experts])
    predict = jax.jit(lambda a, *given: restorer.rebuild(a).predict(*given))

    def step(z_t, z_lq):
        return np.asarray(predict(restorer.arrays, z_t, z_lq, jnp.full(len(z_t), T), context))

    return step, lambda photo, steps: restorer(photo, W, steps=steps)


def their_calls(torch, theirs: SimpleNamespace, restorer: Restorer, device: str, dtype) -> tuple[Callable, Callable]:
    """The same of theirs: the plain loop, all experts in one batch; padding, noise and colour are ours.

    Test: test_speed_paper_size.py::test_both_sides_restore_the_same
    """
    config, scale = restorer.config, theirs.vae.config.scaling_factor
    context = np.stack([np.asarray(restorer.context[e.name], np.float32) for e in restorer.experts])

    def tensor(x, kind=dtype):
        return torch.tensor(np.asarray(x)).to(device, kind)

    def first(x, kind=dtype):  # channels first
        return tensor(np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 1)), kind)

    def ask(z, z_lq, t, context):
        times = torch.full((len(z),), int(t), device=device)
        return theirs.unet(torch.cat([z, z_lq], 1), times, encoder_hidden_states=context).sample.float()

    def step(z_t, z_lq):
        with torch.no_grad():
            return np.moveaxis(ask(first(z_t), first(z_lq), T, tensor(context)).cpu().numpy(), 1, -1)

    def restore(photo, steps):
        k, y = len(restorer.experts), np.asarray(photo)
        with torch.no_grad():
            z_lq = {}
            for factor in {e.factor for e in restorer.experts}:
                x = first(2 * restorer.pad(down_lq(y, factor))[None] - 1)
                z_lq[factor] = theirs.vae.encode(x).latent_dist.mean * scale
            z_lq = torch.cat([z_lq[e.factor] for e in restorer.experts])
            z, s, w = first(restorer.noise(*y.shape[:2], 0), torch.float32), tensor(context), tensor(W, torch.float32)
            plan = ddim_plan(restorer.schedule, steps, config.sample.spacing_of(steps))
            for t, alpha, sigma, *after in zip(*plan, strict=True):
                output = ask(z.to(dtype).expand(k, -1, -1, -1), z_lq, t, s)
                eps = torch.einsum("k,kchw->chw", w, output)[None]
                z = float(after[0]) * (z - float(sigma) * eps) / float(alpha) + float(after[1]) * eps
            x_hat = (theirs.vae.decode((z / scale).to(dtype)).sample.float() + 1) / 2
        x_hat = np.moveaxis(x_hat[0].cpu().numpy(), 0, -1)
        return COLOURS[config.sample.colour](x_hat, y).astype(np.float32)

    return step, restore


def peaks(torch, device: str) -> dict[str, int | None]:
    """Peak memory of both sides in bytes, None where the device does not count."""
    ours = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {"ours": ours, "PyTorch": torch.cuda.max_memory_allocated() if device == "cuda" else None}


def compare(
    config: Config,
    side: int,
    steps: list[int],
    turns: int,
    device: str,
    dtype: str = "bfloat16",
    photo: Photo | None = None,
    compilers: dict[str, Callable] | None = None,
) -> list[dict]:
    """A row for each measurement and side: images a second, first call, memory, error against PyTorch's float32.

    `compilers` are ways to compile their UNet, by name; without it torch.compile.
    Test: test_speed_paper_size.py::test_both_sides_restore_the_same
    """
    peers = import_peers()
    torch = peers.torch
    torch.backends.cudnn.allow_tf32 = False  # the reference is float32
    theirs, restorer = same_networks(peers, config, dtype)
    photo = evaluation_crops(1, side)[0][1] if photo is None else photo
    for part in (theirs.unet, theirs.vae):
        part.to(device)
    given = {"UNet, six rows": step_inputs(config, side)}
    given |= {f"restoration, {count} steps": (photo, count) for count in steps}

    def call(pair, what):
        return pair[0 if what.startswith("UNet") else 1](*given[what])

    plain = their_calls(torch, theirs, restorer, device, torch.float32)
    wanted = {what: call(plain, what) for what in tqdm(given, desc="PyTorch in float32", disable=silent())}
    half = getattr(torch, dtype)
    for part in (theirs.unet, theirs.vae):
        part.to(device, half, memory_format=torch.channels_last)
    sides = {"ours": our_calls(restorer), "PyTorch, eager": their_calls(torch, theirs, restorer, device, half)}
    for name, compiler in ({"PyTorch, compiled": torch.compile} if compilers is None else compilers).items():
        other = SimpleNamespace(unet=compiler(theirs.unet), vae=theirs.vae)
        sides[name] = their_calls(torch, other, restorer, device, half)
    rows = []
    for what in tqdm(given, desc="measure", disable=silent()):
        begun, errors, times, memory = {}, {}, {name: [] for name in sides}, {}
        for turn in range(turns + 1):  # the first one compiles
            for name, pair in sides.items():
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                began = time.perf_counter()
                answer = call(pair, what)  # a NumPy array: the device is done
                took = time.perf_counter() - began
                memory[name] = peaks(torch, device)["ours" if name == "ours" else "PyTorch"]
                if turn == 0:
                    begun[name], errors[name] = took, distance(answer, wanted[what])
                else:
                    times[name].append(took)
        rows += [
            {
                "what": what,
                "side": side,
                "who": name,
                "images_per_second": float(f"{1 / median(times[name]):.4g}"),
                "times ours": round(median(b / a for a, b in zip(times["ours"], times[name], strict=True)), 3),
                "first_call_seconds": round(begun[name], 2),
                "peak_memory_bytes": memory[name],
                "relative_error": float(f"{errors[name]:.2e}"),
            }
            for name in sides
        ]
    return rows


def main(argv: list[str] | None = None, config: Config = PAPER) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.paper_size", description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512, help="pixels of the photo; at most a tile")
    parser.add_argument("--steps", type=int, nargs="+", default=[DEMO.sample.steps, 50])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--anyway", action="store_true", help="also without an accelerator, in float32")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(argv)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before JAX looks for devices: both share one
    accelerated = jax.default_backend() == "gpu"
    told = {**commit(), "profile": config.name, "side": given.side, "jax_device": jax.devices()[0].device_kind}
    if accelerated or given.anyway:
        torch = import_peers().torch
        if accelerated and not torch.cuda.is_available():
            raise SystemExit("JAX sees a GPU, PyTorch does not: install a PyTorch built for it")
        device, dtype = ("cuda", "bfloat16") if accelerated else ("cpu", "float32")
        told["torch_device"] = torch.cuda.get_device_name() if accelerated else "cpu"
        told |= {"dtype": dtype, "status": "ok", "jax": jax.__version__, "torch": torch.__version__}
        told["rows"] = compare(config, given.side, given.steps, given.turns, device, dtype)
    else:
        told |= {"status": "not run", "reason": "no accelerator", "rows": []}
    write_beside(given.out, (json.dumps(told, indent=1) + "\n").encode())
    print(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
