"""The config.json files of diffusers' layout: written for our models, and held against those of others.

Heads, activations and the prediction leave no trace in the shapes of arrays: only these files tell them.
"""

from dataclasses import replace
from pathlib import Path

from unires.config import Config
from unires.models.names import FOLDERS
from unires.models.store import CheckpointError, read_object

PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}
FREE = {"in_channels", "num_hidden_layers", "_class_name", "architectures", "model_type", "sample_size"}  # not compared


def settings(config: Config) -> dict[str, dict]:
    """What config.json says in each folder of diffusers' layout.

    Test: test_parity.py::test_diffusers_opens_what_we_export, test_convert.py::test_diffusers_samples_as_we_do
    """
    unet, vae, text = config.unet, config.vae, config.text
    kinds = ["CrossAttnDownBlock2D" if wanted else "DownBlock2D" for wanted in unet.attention]
    levels = len(vae.encoder_channels)
    return {
        "unet": {
            "_class_name": "UNet2DConditionModel",
            "act_fn": "silu",
            "attention_head_dim": [c // unet.head_dim for c in unet.channels],  # the number of heads, whatever it says
            "block_out_channels": list(unet.channels),
            "cross_attention_dim": text.width,
            "down_block_types": kinds,
            "up_block_types": [kind.replace("Down", "Up") for kind in reversed(kinds)],
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "in_channels": 2 * vae.latent_channels,
            "layers_per_block": unet.blocks,
            "norm_eps": 1e-5,
            "norm_num_groups": unet.groups,
            "out_channels": vae.latent_channels,
            "sample_size": config.sample.tile // vae.factor,
            "use_linear_projection": True,
        },
        "vae": {
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "block_out_channels": list(vae.encoder_channels),
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
            "in_channels": 3,
            "latent_channels": vae.latent_channels,
            "layers_per_block": vae.encoder_blocks,
            "norm_num_groups": vae.groups,
            "out_channels": 3,
            "sample_size": config.sample.tile,
            "scaling_factor": vae.scale,
        },
        "text_encoder": {
            "architectures": ["CLIPTextModel"],
            "hidden_act": "gelu",
            "hidden_size": text.width,
            "intermediate_size": 4 * text.width,
            "layer_norm_eps": 1e-5,
            "max_position_embeddings": text.tokens,
            "model_type": "clip_text_model",
            "num_attention_heads": text.heads,
            "num_hidden_layers": text.layers,
            "vocab_size": text.vocabulary,
        },
        "scheduler": {
            "_class_name": "DDIMScheduler",
            "beta_end": config.schedule.beta_end,
            "beta_schedule": "scaled_linear",
            "beta_start": config.schedule.beta_start,
            "clip_sample": False,
            "num_train_timesteps": config.schedule.steps,
            "prediction_type": PREDICTIONS[config.schedule.prediction],
            "rescale_betas_zero_snr": config.schedule.zero_terminal_snr,
            "set_alpha_to_one": True,  # the last step ends without noise, as `ddim_plan` does
            "steps_offset": 1,
            "timestep_spacing": config.sample.spacing,
        },
    }


def read_settings(folder: Path) -> dict[str, dict]:
    """The config.json files of a folder in diffusers' layout, those that are there.

    Raises: CheckpointError for one that is damaged.
    Test: test_convert.py::test_settings_that_no_shape_tells_are_compared
    """
    found = {}
    for part in (*FOLDERS.values(), "scheduler"):
        path = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
        if path.is_file():
            found[part] = read_object(path, "fetch it again")
    return found


def compare(found: dict[str, dict], config: Config) -> list[str]:
    """What a source's settings say other than ours: one complaint each. A setting that is left out is not compared.

    Test: test_convert.py::test_settings_that_no_shape_tells_are_compared
    """
    faults = []
    for part in FOLDERS.values():
        for name, ours in settings(config)[part].items():
            theirs = found.get(part, {}).get(name)
            if theirs is not None and name not in FREE and theirs != ours:
                faults.append(f"{part}/config.json has {name} {theirs!r}, the profile {config.name} has {ours!r}")
    for name in ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps"):
        ours, theirs = settings(config)["scheduler"][name], found.get("scheduler", {}).get(name)
        if theirs is not None and theirs != ours:
            faults.append(f"scheduler_config.json has {name} {theirs!r}, the profile {config.name} has {ours!r}")
    return faults


def with_prediction(config: Config, found: dict[str, dict], wanted: str | None = None) -> Config:
    """The config with the prediction (eps or v) that was asked for, or that the scheduler's file tells.

    Raises: CheckpointError if the two contradict each other, or the file names a prediction that we lack.
    Test: test_convert.py::test_the_prediction_comes_from_the_scheduler
    """
    told = found.get("scheduler", {}).get("prediction_type")
    by_name = {theirs: ours for ours, theirs in PREDICTIONS.items()}
    if told is not None and told not in PREDICTIONS.values():
        raise CheckpointError(f"scheduler_config.json has prediction_type {told!r}: known are {', '.join(by_name)}")
    if wanted is not None and told is not None and by_name[told] != wanted:
        raise CheckpointError(f"{wanted!r} prediction was asked for, but scheduler_config.json says {told!r}")
    prediction = wanted or by_name.get(told, config.schedule.prediction)
    zero = bool(found.get("scheduler", {}).get("rescale_betas_zero_snr", config.schedule.zero_terminal_snr))
    return replace(config, schedule=replace(config.schedule, prediction=prediction, zero_terminal_snr=zero))
