"""The command line: `python -m unires restore IN OUT`, `train --photos DIR`, `convert SOURCE OUT`, `export IN DIR`."""

import argparse
import os
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from unires.config import check_seed
from unires.photo import FORMATS, PhotoError, named_as_photo, read_photo, write_photo
from unires.profiles import KNOWN, PROFILES, profile
from unires.restore import silent
from unires.tasks import NAMES, weights_dict, weights_vector


def parse_weights(text: str) -> dict[str, float]:
    """ "MD=0.6,DN=-0.2,DownLQ=0.6" to a dictionary, checked to be a mix.

    Raises: ValueError naming the part that is not NAME=NUMBER or is given twice, or what is wrong with the mix.
    Test: test_cli.py::test_weights_are_parsed
    """
    weights = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if (name := name.strip()) in weights:
            raise ValueError(f"{name} is given twice: give each expert one weight")
        try:
            weights[name] = float(number)
        except ValueError:
            raise ValueError(f"{part!r} is not NAME=NUMBER, as in MD=0.6 (names: {', '.join(NAMES)})") from None
    weights_vector(weights)
    return weights


def whole(text: str) -> int:
    """A whole number of at least 1.

    Raises: ValueError, which argparse turns into a usage error.
    Test: test_mesh.py::test_bad_words_are_one_sentence
    """
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def seed(text: str) -> int:
    """A seed, from 0 to 2**32 - 1.

    Raises: ValueError or ArgumentTypeError, which argparse turns into a usage error.
    Test: test_cli.py::test_seeds_are_checked
    """
    number = int(text)
    try:
        check_seed(number)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return number


def pair_up(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Each photo to restore, and the file it becomes.

    Raises: PhotoError for an IN that is not there, a folder without photos, an OUT that is no .png or .jpg, or one
            that would lose a photo.
    Test: test_cli.py::test_bad_input_is_one_sentence, test_a_folder_with_bad_photos, test_nothing_is_overwritten
    """
    if not source.exists():
        raise PhotoError(f"{source}: no such file or folder: check the path")
    if source.is_dir():
        files = sorted(p for p in source.iterdir() if named_as_photo(p) and not p.is_dir())
        others = sorted(p.name for p in source.iterdir() if p.is_file() and not named_as_photo(p) and p.name[0] != ".")
        if others:
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            print(f"unires: not named as photos, passed over: {', '.join(others[:5])}{more}", file=sys.stderr)
        if not files:
            raise PhotoError(f"{source} holds no photo: none of its names ends in .png, .jpg, .tif or the like")
        if alike := sorted({p.name for p in files if sum(p.stem == other.stem for other in files) > 1}):
            raise PhotoError(f"{', '.join(alike)} would be written to the same .png: give them names of their own")
        jobs = [(p, target / f"{p.stem}.png") for p in files]
    elif target.suffix.lower() not in FORMATS:
        raise PhotoError(f"{target}: photos are written as {', '.join(FORMATS)}; the name must end so.")
    else:
        jobs = [(source, target)]
    if any(os.path.realpath(path) == os.path.realpath(out) for path, out in jobs):
        raise PhotoError(f"{target} would replace the flawed photos of {source}: give another OUT")
    return jobs


def restore_files(arguments: argparse.Namespace) -> int:
    """Restore one photo, or every photo of a folder; one that can't be read or written is reported, the others go on.

    Raises: PhotoError as `pair_up`; ValueError for weights that are no mix; CheckpointError; OSError for OUT's folder.
    Test: test_cli.py::test_a_folder_with_bad_photos, test_weights_are_searched, test_words_are_handed_on,
          test_a_search_by_the_judge
    """
    from unires.restore import load

    searched = arguments.weights in ("auto", "search")
    if arguments.score and not searched:
        raise ValueError("--score is what a search goes by: give it with --weights auto or search")
    weights = None if searched or arguments.weights is None else parse_weights(arguments.weights)
    jobs = pair_up(Path(arguments.IN), Path(arguments.OUT))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        restorer = load(arguments.checkpoint, arguments.down_lq, dtype=arguments.dtype)
    for warning in told:
        print(f"unires: warning: {warning.message}", file=sys.stderr)
    jobs[0][1].parent.mkdir(parents=True, exist_ok=True)  # the same one for all
    if searched:
        from unires.engine import Engine
        from unires.judge import expected_lpips, knows
        from unires.score import metric_score
        from unires.search import automatic, grid

        if arguments.score == "expected_lpips" and not knows(restorer.config, restorer.experts):
            print("unires: warning: expected_lpips was fitted to other experts", file=sys.stderr)
        by = {"niqe": metric_score("niqe"), "expected_lpips": partial(expected_lpips, steps=arguments.steps)}
        how = {"vectors": grid() if arguments.weights == "search" else None}  # None: the short list
        how |= {"seed": arguments.seed, "steps": arguments.steps}
        engine = Engine(restorer, rows=len(restorer.experts))  # one program: its compilation is part of the wait
    failed = 0
    for path, out in tqdm(jobs, desc="photos", unit="photo", disable=silent(len(jobs) == 1)):
        try:
            photo = read_photo(path)
            if searched:
                x_hat, found = automatic(engine, photo, by.get(arguments.score), **how)
                mix = ",".join(f"{name}={w:g}" for name, w in weights_dict(found.weights).items())
                write_photo(out, x_hat)
                print(f"{path.name}: --weights {mix}")  # last: what cannot be printed loses no photo
            else:
                write_photo(out, restorer(photo, weights, seed=arguments.seed, steps=arguments.steps))
        except (PhotoError, OSError) as error:
            print(f"unires: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def train_profile(arguments: argparse.Namespace) -> int:
    """Train a profile's model; run the same command again to continue where it stopped.

    Test: test_train.py::test_killed_run_resumes_exactly, test_sources_are_refused_where_photos_are_needed,
          test_fine_tuning_begins_where_the_checkpoint_ended,
          test_mesh.py::test_two_processes_train_as_one, test_stream.py::test_training_is_fed_as_asked
    """
    import jax

    from unires.mesh import parse_mesh
    from unires.sources import read_sources
    from unires.train import train

    config, sizes = profile(arguments.profile), parse_mesh(arguments.mesh) if arguments.mesh else {}
    given = {name: value for name in ("accumulate", "latents") if (value := getattr(arguments, name)) is not None}
    config = replace(config, train=replace(config.train, **given))
    if arguments.start is not None:  # fine-tune: its autoencoder is there already
        config = replace(config, start=arguments.start, train_vae=replace(config.train_vae, stages=()))
    several = (arguments.coordinator, arguments.process, arguments.processes)
    if any(value is not None for value in several):
        if None in several:
            raise ValueError("several processes need all of --coordinator, --process and --processes")
        jax.distributed.initialize(arguments.coordinator, arguments.processes, arguments.process)
    out = arguments.out or Path("results/runs") / f"train-{config.name}"
    if arguments.workers is not None:
        sizes["workers"] = arguments.workers
    path = train(config, arguments.photos or read_sources(arguments.sources), out, arguments.seed, **sizes)
    if jax.process_index() == 0:
        print(f"wrote {path} and {path.with_suffix('.json').name}")
    return 0


def convert_weights(arguments: argparse.Namespace) -> int:
    """Public weights of the paper's size to a checkpoint of ours.

    Test: test_convert.py::test_the_command_line
    """
    from unires.models.convert import convert_file
    from unires.tasks import EXPERTS, NEGATIVE, POSITIVE

    prompts = [expert.prompt for expert in (*EXPERTS, POSITIVE, NEGATIVE)] if arguments.prompts else None
    story = convert_file(
        arguments.SOURCE,
        arguments.OUT,
        profile(arguments.profile),
        layout=arguments.layout,
        variant=arguments.variant,
        prediction=arguments.prediction,
        sha256=arguments.sha256,
        prompts=prompts,
    )
    widened = ", first convolution widened with zeros" if story["widened"] else ""
    print(f"wrote {arguments.OUT} and its .json: {story['parameters']:,} numbers{widened}")
    return 0


def export_weights(arguments: argparse.Namespace) -> int:
    """A checkpoint of ours in diffusers' layout.

    Test: test_convert.py::test_the_command_line
    """
    from unires.models.export import export
    from unires.models.ldm import take_apart
    from unires.models.store import load_checkpoint

    model, config, _ = load_checkpoint(arguments.IN, profile(arguments.profile))
    for path in export(take_apart(model)[0], config, arguments.FOLDER, arguments.dtype):
        print(f"wrote {path}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Parse and run; an error of the user's input is one sentence and exit code 2, Ctrl-C is one line and 130.

    Test: test_cli.py::test_bad_input_is_one_sentence, test_ctrl_c_is_one_line
    """
    parser = argparse.ArgumentParser(prog="python -m unires", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("restore", help="restore a photo, or a folder of photos")
    one.add_argument("IN")
    one.add_argument("OUT", help="a .png or .jpg file; a folder if IN is one")
    one.add_argument(
        "--weights",
        help="a mix that sums to 1, as in MD=0.6,DN=-0.2,DownLQ=0.6; auto: the best of twelve for "
        "this photo; search: of the paper's 1512; default BR=1",
    )
    one.add_argument(
        "--score",
        choices=("niqe", "expected_lpips"),
        help="what auto and search go by (default: "
        "expected_lpips for the shipped experts, which need unires[metrics] then; niqe for others)",
    )
    one.add_argument("--down-lq", type=int, default=4, help="factor of DownLQ (default 4)")
    one.add_argument("--checkpoint", default="demo", help="a shipped name or a .safetensors path")
    one.add_argument("--steps", type=whole, help="sampling steps")
    one.add_argument("--seed", type=seed, default=0)
    one.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="what the networks compute in")
    one.set_defaults(run=restore_files)
    two = commands.add_parser("train", help="train the autoencoder and the diffusion model, or fine-tune a checkpoint")
    two.add_argument("--profile", default="demo", choices=sorted(KNOWN))
    given = two.add_mutually_exclusive_group(required=True)
    given.add_argument("--photos", type=Path, metavar="DIR", help="a folder of sharp photos")
    given.add_argument(
        "--sources", type=Path, metavar="FILE.json", help="sources, for a profile without own autoencoder"
    )
    two.add_argument(
        "--start", metavar="CHECKPOINT", help="fine-tune a shipped name or a .safetensors path; its autoencoder stays"
    )
    two.add_argument("--out", type=Path, help="checkpoints and result (default results/runs/train-PROFILE)")
    two.add_argument("--seed", type=seed, default=0)
    two.add_argument("--mesh", metavar="data=4,fsdp=2", help="devices: data splits batches, fsdp parameters as well")
    two.add_argument("--accumulate", type=whole, metavar="N", help="micro-batches a step (default: the profile's)")
    two.add_argument("--latents", type=whole, metavar="N", help="encode N batches once and train on these alone")
    two.add_argument("--workers", type=whole, metavar="N", help="processes that make batches (of sources: threads)")
    two.add_argument("--coordinator", metavar="HOST:PORT", help="of several processes: where the first one listens")
    two.add_argument("--process", type=int, metavar="I", help="of several processes: which one this is, from 0")
    two.add_argument("--processes", type=int, metavar="N", help="how many processes train together")
    two.set_defaults(run=train_profile)
    three = commands.add_parser("convert", help="read public Stable Diffusion 2 weights (safetensors)")
    three.add_argument("SOURCE", type=Path, help="a folder in diffusers' layout, or a single .safetensors file")
    three.add_argument("OUT", type=Path, help="the checkpoint to write, .safetensors")
    three.add_argument("--layout", default="auto", choices=("auto", "diffusers", "single"))
    three.add_argument("--variant", help="of the files in a folder, as in fp16")
    three.add_argument("--prediction", choices=("eps", "v"), help="default: as the source says, or eps")
    three.add_argument("--sha256", help="that a single file must have")
    three.add_argument("--prompts", action="store_true", help="keep the prompts' embeddings, leave the text tower out")
    three.add_argument("--profile", default="paper", choices=sorted(PROFILES))
    three.set_defaults(run=convert_weights)
    four = commands.add_parser("export", help="write a checkpoint in diffusers' layout")
    four.add_argument("IN", help="a shipped name or a .safetensors path")
    four.add_argument("FOLDER", type=Path)
    four.add_argument("--dtype", default="float32", choices=("float16", "bfloat16", "float32"))
    four.add_argument("--profile", default="paper", choices=sorted(PROFILES))
    four.set_defaults(run=export_weights)
    arguments = parser.parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that a terminal's encoding lacks
    try:
        return arguments.run(arguments)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"unires: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("unires: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
