"""What the public layouts call our modules: diffusers' folders, and Stable Diffusion's single file.

One table of three columns serves reading and writing. Names of diffusers carry their folder: "unet/conv_in".
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from unires.config import Config, TextConfig, UNetConfig, VAEConfig
from unires.models.ldm import LDM, STATISTICS, take_apart

LAYOUTS = ("diffusers", "single")
PARTS = ("unet", "vae", "text")
FOLDERS = {"unet": "unet", "vae": "vae", "text": "text_encoder"}

RES = (  # a residual block of the UNet: ours, diffusers, single file
    ("norm1", "norm1", "in_layers.0"),
    ("conv1", "conv1", "in_layers.2"),
    ("time", "time_emb_proj", "emb_layers.1"),
    ("norm2", "norm2", "out_layers.0"),
    ("conv2", "conv2", "out_layers.3"),
    ("skip", "conv_shortcut", "skip_connection"),
)
VAE_RES = tuple((name, name, name) for name in ("norm1", "conv1", "norm2", "conv2"))
VAE_RES += (("skip", "conv_shortcut", "nin_shortcut"),)
BLOCK = "transformer_blocks.0."
TRANSFORMER = (  # the same in both
    ("norm", "norm"),
    ("proj_in", "proj_in"),
    *((f"norm{n}", f"{BLOCK}norm{n}") for n in (1, 2, 3)),
    *((f"self_attention.{x}", f"{BLOCK}attn1.to_{x}") for x in "qkv"),
    ("self_attention.out", f"{BLOCK}attn1.to_out.0"),
    *((f"cross_attention.{x}", f"{BLOCK}attn2.to_{x}") for x in "qkv"),
    ("cross_attention.out", f"{BLOCK}attn2.to_out.0"),
    ("mlp_in", f"{BLOCK}ff.net.0.proj"),
    ("mlp_out", f"{BLOCK}ff.net.2"),
    ("proj_out", "proj_out"),
)
MIDDLE = (  # of the autoencoder
    ("norm", "attentions.0.group_norm", "attn_1.norm"),
    *((f"attention.{x}", f"attentions.0.to_{x}", f"attn_1.{x}") for x in "qkv"),
    ("attention.out", "attentions.0.to_out.0", "attn_1.proj_out"),
)
LAYER = (  # of the text encoder
    ("norm1", "layer_norm1", "ln_1"),
    *((f"attention.{x}", f"self_attn.{x}_proj", f"attn.in_proj_{x}") for x in "qkv"),
    ("attention.out", "self_attn.out_proj", "attn.out_proj"),
    ("norm2", "layer_norm2", "ln_2"),
    ("mlp_in", "mlp.fc1", "mlp.c_fc"),
    ("mlp_out", "mlp.fc2", "mlp.c_proj"),
)

Names = tuple[str, str, str]


def _inside(parents: Names, table) -> Iterator[Names]:
    for names in table:
        yield tuple(f"{parent}.{name}" for parent, name in zip(parents, (*names, names[-1])[:3], strict=True))


def _unet(config: UNetConfig) -> Iterator[Names]:
    for n, single in (("1", "time_embed.0"), ("2", "time_embed.2")):
        yield f"time{n}", f"time_embedding.linear_{n}", single
    yield "conv_in", "conv_in", "input_blocks.0.0"
    last, place = len(config.channels) - 1, 1
    for i in range(last + 1):
        for j in range(config.blocks):
            yield from _inside((f"down.{i}.{j}.0", f"down_blocks.{i}.resnets.{j}", f"input_blocks.{place}.0"), RES)
            names = (f"down.{i}.{j}.1", f"down_blocks.{i}.attentions.{j}", f"input_blocks.{place}.1")
            yield from _inside(names, TRANSFORMER)
            place += 1
        if i < last:
            yield f"downs.{i}", f"down_blocks.{i}.downsamplers.0.conv", f"input_blocks.{place}.0.op"
            place += 1
    yield from _inside(("middle1", "mid_block.resnets.0", "middle_block.0"), RES)
    yield from _inside(("middle", "mid_block.attentions.0", "middle_block.1"), TRANSFORMER)
    yield from _inside(("middle2", "mid_block.resnets.1", "middle_block.2"), RES)
    place = 0
    for i in range(last + 1):
        for j in range(config.blocks + 1):
            yield from _inside((f"up.{i}.{j}.0", f"up_blocks.{i}.resnets.{j}", f"output_blocks.{place}.0"), RES)
            names = (f"up.{i}.{j}.1", f"up_blocks.{i}.attentions.{j}", f"output_blocks.{place}.1")
            yield from _inside(names, TRANSFORMER)
            place += 1
        if i < last:  # the last entry of the level's last place, behind its transformer if it has one
            entry = 2 if config.attention[last - i] else 1
            yield f"ups.{i}.conv", f"up_blocks.{i}.upsamplers.0.conv", f"output_blocks.{place - 1}.{entry}.conv"
    yield "norm", "conv_norm_out", "out.0"
    yield "conv_out", "conv_out", "out.2"


def _vae(config: VAEConfig) -> Iterator[Names]:
    yield "encoder.quant", "quant_conv", "quant_conv"
    yield "decoder.quant", "post_quant_conv", "post_quant_conv"
    last = len(config.encoder_channels) - 1
    for side in ("encoder", "decoder"):
        for name, single in (("conv_in", "conv_in"), ("norm", "norm_out"), ("conv_out", "conv_out")):
            yield f"{side}.{name}", f"{side}.{'conv_norm_out' if name == 'norm' else name}", f"{side}.{single}"
        for n in (1, 2):
            names = (f"{side}.middle.block{n}", f"{side}.mid_block.resnets.{n - 1}", f"{side}.mid.block_{n}")
            yield from _inside(names, VAE_RES)
        yield from _inside((f"{side}.middle", f"{side}.mid_block", f"{side}.mid"), MIDDLE)
    for i in range(last + 1):
        for j in range(config.encoder_blocks):
            names = (f"encoder.levels.{i}.{j}", f"encoder.down_blocks.{i}.resnets.{j}", f"encoder.down.{i}.block.{j}")
            yield from _inside(names, VAE_RES)
        for j in range(config.decoder_blocks):  # the single file counts from the finest level
            theirs = f"decoder.up.{last - i}.block.{j}"
            yield from _inside((f"decoder.levels.{i}.{j}", f"decoder.up_blocks.{i}.resnets.{j}", theirs), VAE_RES)
        if i < last:
            yield (
                f"encoder.downs.{i}",
                f"encoder.down_blocks.{i}.downsamplers.0.conv",
                f"encoder.down.{i}.downsample.conv",
            )
            theirs = f"decoder.up.{last - i}.upsample.conv"
            yield f"decoder.ups.{i}.conv", f"decoder.up_blocks.{i}.upsamplers.0.conv", theirs


def _text(config: TextConfig) -> Iterator[Names]:
    yield "tokens", "embeddings.token_embedding", "token_embedding"
    yield "positions", "embeddings.position_embedding", "positional_embedding"
    for i in range(config.layers):
        names = (f"layers.{i}", f"encoder.layers.{i}", f"transformer.resblocks.{i}")
        yield from _inside(names, LAYER)
    yield "norm", "final_layer_norm", "ln_final"


SINGLE = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text": "cond_stage_model.model."}


class Place(NamedTuple):
    """Where one of our arrays stands in a layout: name and shape there, and the axes that lead to ours."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]


@lru_cache(maxsize=4)
def shapes(config: Config) -> dict:
    """Our names and abstract arrays, what is measured left out.

    Test: test_convert.py::test_every_array_has_its_own_place
    """
    arrays, _ = take_apart(LDM.abstract(config))
    return {name: like for name, like in arrays.items() if name not in STATISTICS}


@lru_cache(maxsize=8)
def places(config: Config, layout: str) -> dict[str, Place]:
    """The place of each of our arrays in a layout, "diffusers" or "single".

    PyTorch keeps a kernel's outputs first. In the single file the three projections of a text layer's attention are
    one array; here they are `attn.in_proj_q` and so on, and the reader cuts it.
    Raises: ValueError for a config that the public model has no names for, or an unknown layout.
    Test: test_convert.py::test_every_array_has_its_own_place
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}: choose one of {', '.join(LAYOUTS)}")
    extra = [f"unet.{name}" for name in ("from_lq", "gate", "text_in_time") if getattr(config.unet, name)]
    extra += ["vae.shortcut"] * config.vae.shortcut + ["vae.patch"] * (config.vae.patch != 1)
    if extra:
        raise ValueError(
            f"the config {config.name!r} has {', '.join(extra)}, which the public model lacks: its weights have no "
            "names in the public layouts; use the profile paper, or one of its form"
        )
    column = LAYOUTS.index(layout)
    modules = {}
    for part, table in (("unet", _unet(config.unet)), ("vae", _vae(config.vae)), ("text", _text(config.text))):
        before = SINGLE[part] if layout == "single" else FOLDERS[part] + "/"
        modules |= {f"{part}.{names[0]}": before + names[1 + column] for names in table}
    found = {}
    for ours, like in shapes(config).items():
        module, _, leaf = ours.rpartition(".")
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(like.ndim) if leaf == "kernel" else None
        shape = like.shape if axes is None else tuple(like.shape[n] for n in axes)
        back = {None: tuple(range(like.ndim)), (3, 2, 0, 1): (2, 3, 1, 0), (1, 0): (1, 0)}[axes]
        ending = ".bias" if leaf == "bias" else ".weight"
        name = modules[module] + ("" if modules[module].endswith("positional_embedding") else ending)
        found[ours] = Place(name, shape, back)
    return found
