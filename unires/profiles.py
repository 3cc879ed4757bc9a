"""The value of every setting for every size, as data: `PROFILES["smoke" | "demo" | "paper"]`.

One UNet, one autoencoder and one text encoder serve all sizes; a profile only changes the numbers below.
"""

from collections import ChainMap
from dataclasses import replace

from unires.config import (
    Config,
    EvaluationConfig,
    SampleConfig,
    ScheduleConfig,
    SearchConfig,
    Stage,
    TextConfig,
    TrainConfig,
    UNetConfig,
    VAEConfig,
)

SETS = ("SR", "MD", "DD", "DN", "complex")
KEPT = "results/runs/train-{0}/{0}.safetensors"  # where training leaves a checkpoint that does not ship

DEMO_BASE = Config(  # what the small model is fine-tuned from, as the paper's is from a public one
    name="demo_base",
    vae=VAEConfig((64,), (64,), latent_channels=12, shortcut=True, patch=4),
    unet=UNetConfig(
        (64, 128, 192),
        (False, False, True),
        blocks=1,
        head_dim=32,
        groups=16,
        from_lq=True,
        gate=True,
        text_in_time=True,
    ),
    text=TextConfig(vocabulary=1024, tokens=32, width=128, layers=2, heads=4),
    schedule=ScheduleConfig(prediction="v", zero_terminal_snr=True),
    train_vae=TrainConfig(stages=(Stage(64, 16, 1_200),), learning_rate=1e-3),
    train=TrainConfig(
        stages=(Stage(64, 32, 4_500), Stage(128, 8, 1_500)),
        learning_rate=2e-3,
        optimiser="muon",
        sampler_share=0.7,
        task_weights=(0.75, 0.75, 1.5, 2.5),  # about one over each task's error at the start
    ),
    sample=SampleConfig(steps=3, spacing="trailing", tile=320, overlap=64),
    evaluation=EvaluationConfig(crop=256, crops=8, sets=SETS, lesson_steps=60, complex11=132),
    checkpoint=KEPT.format("demo_base"),
)

DEMO = replace(
    DEMO_BASE,
    name="demo",
    train_vae=replace(DEMO_BASE.train_vae, stages=()),
    train=replace(  # five minutes of a data centre's GPU, two of them to compile; it wants many --workers
        DEMO_BASE.train,
        stages=(Stage(128, 64, 2_000, perceptual=3.0),),
        decay_steps=2_400,
        draws=4,
        ema=0.998,
        dtype="bfloat16",
        sampler_steps=3,
        save_every=1_000,
    ),
    checkpoint="demo",
    start=KEPT.format("demo_base"),
)

SHORT = replace(  # the same for a laptop, which takes an hour: what the controls are tuned with, and compared with
    DEMO,
    name="demo_short",
    train=replace(
        DEMO_BASE.train,
        stages=(Stage(64, 32, 700, perceptual=3.0), Stage(128, 8, 700, perceptual=3.0)),
        learning_rate=1e-3,
        warmup=100,
        ema=0.995,
        sampler_steps=3,
    ),
    checkpoint=KEPT.format("demo_short"),
)

SMOKE = replace(
    DEMO_BASE,
    name="smoke",
    vae=VAEConfig((8, 8, 8), (8, 8, 8), latent_channels=4, shortcut=True, groups=4),
    unet=UNetConfig((16, 16), attention=(False, True), blocks=1, head_dim=8, groups=4, from_lq=True, gate=True),
    text=TextConfig(vocabulary=64, tokens=8, width=16, layers=1, heads=2),
    train_vae=TrainConfig(stages=(Stage(32, 4, 8),), learning_rate=1e-3, warmup=2, save_every=4),
    train=TrainConfig(
        stages=(Stage(32, 4, 8), Stage(64, 2, 4)), learning_rate=1e-3, optimiser="muon", warmup=2, save_every=4
    ),
    sample=SampleConfig(steps=2, spacing="trailing", tile=64, overlap=16),
    evaluation=EvaluationConfig(
        64,
        2,
        ("SR", "complex"),
        lesson_steps=4,
        complex11=2,
        most=2,
        matrix_crops=2,
        matrix_stride=32,
        baseline_pairs=1,
    ),
    checkpoint=None,
)

# Sizes of the public 865M model; sampling steps, EMA and schedule of the rate are our choice (not in the paper).
PAPER = Config(
    name="paper",
    degradations="real-esrgan",
    vae=VAEConfig(
        encoder_channels=(128, 256, 512, 512),
        decoder_channels=(128, 256, 512, 512),
        latent_channels=4,
        encoder_blocks=2,
        decoder_blocks=3,
        mid_attention=True,
        groups=32,
        scale=0.18215,
    ),
    unet=UNetConfig((320, 640, 1280, 1280), (True, True, True, False), blocks=2, head_dim=64, groups=32),
    text=TextConfig(vocabulary=49_408, tokens=77, width=1024, layers=23, heads=16, tokenizer="openclip"),
    schedule=ScheduleConfig(),
    train_vae=TrainConfig(stages=(), learning_rate=0.0),  # none: the public model is fine-tuned, its autoencoder kept
    train=TrainConfig(
        stages=(Stage(512, 256, 200_000),),
        learning_rate=8e-5,
        ema=0.9999,
        decay=False,
        dtype="bfloat16",
        remat=True,
        accumulate=8,  # the most that 32 devices can split a batch of 256 into
    ),
    sample=SampleConfig(steps=50, spacing="leading", tile=512, overlap=64),
    evaluation=EvaluationConfig(crop=256, crops=8, sets=SETS, lesson_steps=0, complex11=132, most=None),
    search=SearchConfig(score="musiq", vectors="grid"),
    checkpoint="paper",
    start="sd2",  # the public model, converted
)

PROFILES = {config.name: config for config in (SMOKE, DEMO, PAPER)}


def alone(config: Config, name: str, **places: str) -> Config:
    """Super-resolution is the only task (Table 4).  Test: test_config.py::test_a_control_differs_in_its_tasks_alone"""
    return replace(config, name=name, train=replace(config.train, tasks=("SR",)), **places)


# What a profile is compared with: the same network, photos and steps. No notebook runs at one.
CONTROLS = {
    "paper_sr_only": alone(PAPER, "paper_sr_only", checkpoint="paper_sr_only"),
    "demo_base": DEMO_BASE,
    "demo_short": SHORT,
    "demo_sr_only_base": alone(DEMO_BASE, "demo_sr_only_base", checkpoint=KEPT.format("demo_sr_only_base")),
    "demo_sr_only": alone(SHORT, "demo_sr_only", checkpoint="demo_sr_only", start=KEPT.format("demo_sr_only_base")),
    "demo_regression": replace(  # no diffusion, no prompts: pure noise beside the photo, one step, the mean answer
        SHORT,
        name="demo_regression",
        drop_text=1.0,
        drop_image=0.0,
        words=0.0,
        train=replace(
            SHORT.train,
            stages=tuple(replace(stage, perceptual=0.0) for stage in SHORT.train.stages),  # LPIPS would not be the mean
            sampler_steps=1,
            sampler_share=1.0,
        ),
        sample=replace(SHORT.sample, steps=1),
        checkpoint=KEPT.format("demo_regression"),
    ),
}

KNOWN = ChainMap(CONTROLS, PROFILES)  # all of them, in the order of the second, then the first


def profile(name: str) -> Config:
    """The settings of one profile, or of a control that a profile is compared with.

    Raises: ValueError naming the known ones.  Test: test_config.py::test_unknown_profile_is_refused
    """
    if name not in KNOWN:
        raise ValueError(f"unknown profile {name!r}: choose one of {', '.join(KNOWN)}")
    return KNOWN[name]
