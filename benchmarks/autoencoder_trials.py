"""Which autoencoder should the small model stand on? Train a few briefly, at the same number of steps.

    python -m benchmarks.autoencoder_trials --photos DIR [--only NAME ...]

Writes one row a candidate to results/training/autoencoder.jsonl: reconstruction PSNR and LPIPS on textured
held-out crops, and the seconds that one restored 256-pixel photo costs on this machine. Candidates are other
networks, and then other losses of the network that ships.
"""

import argparse
import json
import re
import time
from dataclasses import asdict, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from unires.config import Config, Stage, VAELoss
from unires.data import Photos, evaluation_crops
from unires.files import write_beside
from unires.metrics import measure
from unires.models.ldm import LDM, take_apart
from unires.profiles import DEMO
from unires.train import train_vae

OUT = Path("results/training/autoencoder.jsonl")
STEPS = 300
NETWORKS = {  # name: (widths, latent channels, patch that the first layer sees as one position)
    "f4 c12": ((16, 32, 64), 12, 1),
    "f4 c16": ((16, 32, 64), 16, 1),
    "f4 c8": ((16, 32, 64), 8, 1),
    "f4 c4": ((16, 32, 64), 4, 1),
    "f8 c32": ((16, 32, 64, 96), 32, 1),
    "f8 c64": ((16, 32, 64, 96), 64, 1),
    "f4 c12 p4": ((64,), 12, 4),
    "f8 c64 p4": ((64, 96), 64, 4),
}
SHIPPED = "f4 c12 p4"
LOSSES = {  # of the shipped network
    "no gradients": VAELoss(gradient=0.0),
    "frequencies": VAELoss(frequency=1.0),
    "VGG16": VAELoss(perceptual=0.1),
}
CANDIDATES = (*NETWORKS, *LOSSES)


def candidate(name: str) -> Config:
    """The demo config with another autoencoder or another loss, trained briefly.

    Test: test_training_trials.py::test_autoencoder_rows_are_of_todays_candidates
    """
    widths, channels, patch = NETWORKS.get(name, NETWORKS[SHIPPED])
    sizes = {"encoder_channels": widths, "decoder_channels": widths, "latent_channels": channels, "patch": patch}
    vae = replace(DEMO.vae, **sizes)
    train = replace(DEMO.train_vae, stages=(Stage(64, 8, STEPS),))
    return replace(DEMO, vae=vae, train_vae=train, vae_loss=LOSSES.get(name, DEMO.vae_loss))


def seconds_per_photo(config: Config, vae: nnx.Module, size: int = 256) -> float:
    """Encode, one UNet call a sampling step, decode: the median of three runs after a warm-up."""
    model = LDM(config, nnx.Rngs(0))
    model.vae = vae
    context = jnp.zeros((1, config.text.tokens, config.text.width))

    arrays, rebuild = take_apart(model)

    @jax.jit
    def restore(arrays, x):
        model = rebuild(arrays)
        z_lq = model.vae.encode(x)
        z = jax.lax.fori_loop(
            0, config.sample.steps, lambda i, z: model.unet(z, z_lq, jnp.full(1, i), context), jnp.zeros_like(z_lq)
        )
        return model.vae.decode(z)

    times = []
    for _ in range(4):
        began = time.perf_counter()
        restore(arrays, jnp.full((1, size, size, 3), 0.5)).block_until_ready()
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def trial(name: str, photos: Photos, out: Path) -> dict:
    """One row: train, reconstruct the held-out crops, measure."""
    config = candidate(name)
    vae = train_vae(config, photos, out / re.sub(r"\W+", "_", name))
    arrays, rebuild = take_apart(vae)

    @jax.jit
    def there_and_back(arrays, x):
        return jnp.clip(rebuild(arrays).decode(rebuild(arrays).encode(x)), 0, 1)

    values = {"psnr": [], "lpips": []}
    for _, x in evaluation_crops(8, 256):
        x_hat = np.asarray(there_and_back(arrays, x[None])[0])
        for metric, found in values.items():
            found.append(measure(metric, x_hat, x))
    return {
        "candidate": name,
        "factor": config.vae.factor,
        "channels": config.vae.latent_channels,
        "patch": config.vae.patch,
        "loss": asdict(config.vae_loss),
        "steps": config.train_vae.steps,
        "seed": 0,
        "device": jax.devices()[0].device_kind,
        "photos": photos.manifest,
        "psnr": [round(v, 3) for v in values["psnr"]],
        "lpips": [round(v, 4) for v in values["lpips"]],
        "seconds_per_photo": None if name in LOSSES else round(seconds_per_photo(config, vae), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=CANDIDATES)
    parser.add_argument("--work", type=Path, default=Path("results/runs/autoencoder_trials"))
    given = parser.parse_args()
    photos = Photos.read(given.photos, least=128)
    rows = {row["candidate"]: row for row in map(json.loads, OUT.read_text().splitlines())} if OUT.is_file() else {}
    for name in tqdm(given.only, desc="trials"):
        rows[name] = trial(name, photos, given.work)
        ordered = [rows[n] for n in CANDIDATES if n in rows]
        write_beside(OUT, "".join(json.dumps(row, sort_keys=True) + "\n" for row in ordered).encode())


if __name__ == "__main__":
    main()
