"""Weights in: the public model's safetensors, in diffusers' folders or in one file, under our names.

No array is used before every name and shape has been compared, and nothing is downloaded unless `fetch` is called.
Weights out: `unires.models.export`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from unires.config import Config
from unires.files import sha256_of
from unires.models.names import FOLDERS, PARTS, SINGLE, Place, places, shapes
from unires.models.settings import compare, read_settings, with_prediction
from unires.models.store import CheckpointError, read_object, refuse_pickle, save_checkpoint

KINDS = ("F16", "BF16", "F32")
FIRST = "unet.conv_in.kernel"  # the one array that the LQ latent makes larger

# In public files, but of no use here: buffers of the schedule, averages, and what CLIP does with images.
UNUSED = re.compile(
    r"model_ema\.|(alphas|betas|sqrt|log_one|posterior|logvar|scale_factor)|first_stage_model\.loss\."
    r"|.*(position_ids|text_projection(\.weight)?|logit_scale|attn_mask)$"
)
FILES = {part: ("model" if part == "text" else "diffusion_pytorch_model") for part in PARTS}


class Entry(NamedTuple):
    """One array of a source, not read yet."""

    shape: tuple[int, ...]
    kind: str
    read: Callable[[], np.ndarray]


class Source(NamedTuple):
    """What a file or folder holds: arrays by the layout's names, hashes by file, and the config.json files."""

    layout: str
    entries: dict[str, Entry]
    files: dict[str, str]
    settings: dict[str, dict]


def read_file(path: Path) -> dict[str, Entry]:
    """The arrays of one safetensors file, by name.

    Raises: CheckpointError for a pickle, or a file that is missing or damaged.
    Test: test_convert.py::test_wrong_files_are_refused
    """
    refuse_pickle(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path} not found: give the path of a .safetensors file, or of a folder in diffusers' layout"
        )
    try:
        file = safe_open(path, framework="np")
        found = {}
        for name in file.keys():
            part = file.get_slice(name)
            found[name] = Entry(tuple(part.get_shape()), part.get_dtype(), lambda name=name: file.get_tensor(name))
        return found
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is truncated or no safetensors file ({error}): fetch it again") from error


def open_source(path: str | Path, layout: str = "auto", variant: str | None = None) -> Source:
    """A file or folder of public weights: names and shapes now, arrays when they are asked for.

    `variant` picks among several files of a folder, as in diffusion_pytorch_model.fp16.safetensors.
    Raises: CheckpointError as `read_file`, and for a folder without the wanted files.
    Test: test_convert.py::test_diffusers_folders_are_read, test_the_single_file_is_read
    """
    path = Path(path)
    if layout == "auto":
        layout = "diffusers" if path.is_dir() else "single"
    if layout == "single":
        entries = _modern(read_file(path))
        if not any(name.startswith(SINGLE["unet"]) for name in entries):
            raise CheckpointError(
                f"{path.name} has no array under {SINGLE['unet']}: is it a UNet alone? Give the folder that holds unet/"
            )
        return Source(layout, entries, {path.name: sha256_of(path)}, {})
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is not a folder: diffusers' layout is a folder with {', '.join(FOLDERS.values())}"
        )
    entries, files = {}, {}
    for part, folder in FOLDERS.items():
        for file in _files_of(path / folder, FILES[part], variant):
            entries |= {f"{folder}/{name}": entry for name, entry in read_file(file).items()}
            files[f"{folder}/{file.name}"] = sha256_of(file)
    return Source(layout, _modern(entries), files, read_settings(path))


def _files_of(folder: Path, stem: str, variant: str | None) -> list[Path]:
    """The weights of one folder: the plain file, the variant, the shards of an index, or the only one there is."""
    name = f"{stem}.{variant}" if variant else stem
    if (folder / f"{name}.safetensors").is_file():
        return [folder / f"{name}.safetensors"]
    index = folder / (f"{stem}.safetensors.index" + (f".{variant}" if variant else "") + ".json")
    if index.is_file():
        try:
            shards = set(read_object(index, "fetch it again")["weight_map"].values())
            return [folder / shard for shard in sorted(shards)]
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is no index of shards ({error!r}): fetch it again") from error
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1 and not variant:
        return found
    if found:
        names = ", ".join(file.name for file in found)
        raise CheckpointError(f"{folder} has no {name}.safetensors but {names}: name a variant")
    for file in sorted(folder.glob("*")):
        refuse_pickle(file)
    return []  # a whole part is missing: reported with every other missing name


def _modern(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Older spellings as today's, and the fused projections of the single file cut into three."""
    old = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    found = {}
    for name, entry in entries.items():
        name = name.replace("text_encoder/text_model.", "text_encoder/")
        if name.startswith("vae/"):
            name = re.sub(r"(attentions\.0\.)(query|key|value|proj_attn)\.", lambda m: m[1] + old[m[2]] + ".", name)
        if name.startswith(SINGLE["text"]) and ".attn.in_proj_" in name and entry.shape and entry.shape[0] % 3 == 0:
            width, (stem, _, leaf) = entry.shape[0] // 3, name.rpartition("in_proj_")
            for n, x in enumerate("qkv"):
                cut = slice(n * width, (n + 1) * width)
                read = lambda entry=entry, cut=cut: entry.read()[cut]  # noqa: E731
                found[f"{stem}in_proj_{x}.{leaf}"] = Entry((width, *entry.shape[1:]), entry.kind, read)
            continue
        found[name] = entry
    return found


def convert(source: Source, config: Config, parts: tuple[str, ...] = PARTS, file: str = "source") -> tuple[dict, dict]:
    """Public weights as our arrays, each in the type of the source, and what there is to tell.

    A first convolution of the text-to-image model gets zeros for the LQ half: at first z_LQ changes nothing. One that
    has all channels (noisy latent first) is taken as it is. A 24th layer of the text tower is left out: the public
    model reads the 23rd.
    Paper: section 3; only the first convolution grows.
    Raises: CheckpointError that lists each missing, unexpected or wrongly shaped array, and each other setting; or
        for one that is not finite.
    Test: test_convert.py::test_wrong_arrays_are_all_named, test_the_widened_model_is_the_narrow_one_bit_for_bit,
          test_what_is_not_finite_is_not_converted
    """
    wanted = {n: p for n, p in places(config, source.layout).items() if n.partition(".")[0] in parts}
    known = {place.name for place in places(config, source.layout).values()}
    unused = {name for name in source.entries.keys() - known if _is_unused(name, source.layout, config)}
    faults = compare({k: v for k, v in source.settings.items() if k in {"scheduler", *map(FOLDERS.get, parts)}}, config)
    faults += _missing(source, wanted, parts)
    faults += [f"unexpected {name}" for name in sorted(source.entries.keys() - known - unused)]
    for ours, place in wanted.items():
        entry = source.entries.get(place.name)
        if entry and not _fits(entry.shape, place) and not (ours == FIRST and entry.shape == _narrow(place)):
            faults.append(f"{place.name} has shape {list(entry.shape)}, not {list(place.shape)}")
        if entry and entry.kind not in KINDS:
            faults.append(f"{place.name} has type {entry.kind}, not one of {', '.join(KINDS)}")
    if faults:
        raise CheckpointError(f"{file} does not fit the profile {config.name}: " + "; ".join(faults))
    arrays, widened = {}, False
    for ours, place in wanted.items():
        array = source.entries[place.name].read()
        if not np.isfinite(array).all():
            raise CheckpointError(f"{file}: {place.name} holds numbers that are not finite: fetch it again")
        if ours == FIRST and array.shape == _narrow(place):
            array, widened = np.concatenate([array, np.zeros_like(array)], axis=1), True
        array = array.reshape(place.shape).transpose(place.axes)
        arrays[ours] = np.ascontiguousarray(array).reshape(shapes(config)[ours].shape)
    if "vae" in parts:
        c = config.vae.latent_channels
        arrays |= {"vae.shift": np.zeros(c, np.float32), "vae.scale": np.full(c, config.vae.scale or 1.0, np.float32)}
    return arrays, {"widened": widened, "unused": len(unused), "layout": source.layout}


def _missing(source: Source, wanted: dict[str, Place], parts: tuple[str, ...]) -> list[str]:
    """Every array that is not there; a network of which there is nothing is one complaint."""
    before = SINGLE if source.layout == "single" else {part: f"{folder}/" for part, folder in FOLDERS.items()}
    absent = [before[part] for part in parts if not any(name.startswith(before[part]) for name in source.entries)]
    names = sorted({place.name for place in wanted.values()} - source.entries.keys())
    alone = [f"missing {name}" for name in names if not name.startswith(tuple(absent))]
    return [f"missing everything under {prefix}" for prefix in absent] + alone


def _narrow(place: Place) -> tuple[int, ...]:
    """The first convolution's shape without the LQ latent."""
    return (place.shape[0], place.shape[1] // 2, *place.shape[2:])


def _fits(shape: tuple[int, ...], place: Place) -> bool:
    """Whether a shape is the place's; a 1 x 1 convolution may stand for a matrix."""
    return shape == place.shape or (len(place.shape) == 2 and shape == (*place.shape, 1, 1))


def _is_unused(name: str, layout: str, config: Config) -> bool:
    """Whether an array of a public file is one that we know and leave out."""
    over = {"diffusers": "text_encoder/encoder.layers.{}.", "single": SINGLE["text"] + "transformer.resblocks.{}."}
    return bool(UNUSED.match(name)) or name.startswith(over[layout].format(config.text.layers))


def convert_file(
    path: str | Path,
    out: Path,
    config: Config,
    *,
    layout: str = "auto",
    variant: str | None = None,
    prediction: str | None = None,
    sha256: str | None = None,
    prompts: list[str] | None = None,
) -> dict:
    """Public weights to a checkpoint of ours, with its story (source and hashes) beside it; returns the story.

    With `prompts`, their embeddings are written to OUT.prompts.safetensors and the text tower is left out.
    Raises: CheckpointError as `open_source` and `convert`, for a hash that is not the given one, and for an `out` that
        would replace the source.
    Test: test_convert.py::test_a_converted_file_is_a_checkpoint, test_the_source_is_not_replaced,
          test_no_file_of_a_source_is_replaced, test_prompts.py::test_no_text_tower_is_needed
    """
    path, out = Path(path), Path(out)
    if out.suffix != ".safetensors":
        raise CheckpointError(f"{out.name}: checkpoints are written as .safetensors")
    read = {file.resolve() for file in (path.glob("*/*") if path.is_dir() else [path])}
    if not read.isdisjoint(file.resolve() for file in (out, out.with_suffix(".json"))):
        raise CheckpointError(f"{out} would replace a file of {path}: give another OUT")
    source = open_source(path, layout, variant)
    check_hash(source.files, sha256)
    config = with_prediction(config, source.settings, prediction)
    arrays, story = convert(source, config, file=path.name)
    story |= {"source": path.name, "files": source.files, "profile": config.name}
    if prompts is not None:
        from unires.models.prompts import embed, prompts_path, save_prompts

        text = {name: array for name, array in arrays.items() if name.startswith("text.")}
        story["prompts"] = save_prompts(prompts_path(out), embed(text, config, prompts), config)
        story["without"] = ["text"]
        arrays = {name: array for name, array in arrays.items() if name not in text}
    return save_checkpoint(out, arrays, config, story, dtype=None)


def check_hash(files: dict[str, str], sha256: str | None) -> None:
    """Refuse a source of one file whose sha256 is not the wanted one.

    Test: test_convert.py::test_wrong_files_are_refused
    """
    if sha256 is not None and list(files.values()) != [sha256.lower()]:
        found = ", ".join(f"{name} {value}" for name, value in files.items())
        raise CheckpointError(f"sha256 {sha256} was asked for, found {found}: the file is damaged or is another one")


def fetch(repo: str, revision: str, files: Mapping[str, str], folder: Path) -> Path:
    """Files of a Hub repository at a pinned commit, each held to its sha256, in a folder of ours; returns the folder.

    Raises: CheckpointError for a revision that is no commit, a pickle, a file that can't be had, or a wrong hash;
        ImportError if huggingface_hub is not installed.
    Test: test_convert.py::test_the_hub_is_asked_for_a_pinned_commit
    """
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise CheckpointError(f"revision {revision!r} can change under you: give the commit's 40 hexadecimal digits")
    for file in files:
        refuse_pickle(Path(file))
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as missing:
        raise ImportError("huggingface_hub is needed to fetch weights: pip install unires[paper]") from missing
    for file, sha256 in files.items():
        try:
            path = Path(hf_hub_download(repo, file, revision=revision, local_dir=str(folder)))
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{file} of {repo} at {revision[:8]} can't be fetched ({type(error).__name__}): put the file into "
                f"{folder} by other means and convert that folder"
            ) from error
        if (found := sha256_of(path)) != sha256:
            path.unlink()
            raise CheckpointError(f"{file} of {repo} has sha256 {found}, wanted {sha256}: it was not kept")
    return Path(folder)
