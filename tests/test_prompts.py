"""Prompts of the paper's size: the public vocabulary, and contexts that are kept so that no tower is needed."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from unires.models import bpe
from unires.models.ldm import take_apart
from unires.models.prompts import embed, load_prompts, prompts_path, save_prompts
from unires.models.store import CheckpointError, random_model, save_checkpoint
from unires.models.text import tokenize
from unires.profiles import PAPER, SMOKE
from unires.restore import Restorer, _load, load
from unires.tasks import EXPERTS, NEGATIVE, POSITIVE

PHRASES = [
    "Super-resolution", "Motion-deblur", "Defocus-deblur", "Denoise", POSITIVE.prompt, NEGATIVE.prompt, "",
    "  It's   the photographer's 2nd café: naïve, ½ off & don't!! ", "你好 мир 🙂 caf\u0065\u0301", "&amp;lt; ÂµÃ©",
    "<|startoftext|> a <|endoftext|>", "supercalifragilisticexpialidocious " * 30,
]  # fmt: skip
PROMPTS = [expert.prompt for expert in EXPERTS]


def theirs():
    """OpenAI's tokenizer, out of its file: the package itself would import torchvision."""
    spec = importlib.util.find_spec("clip")
    if spec is None:
        pytest.skip("openai-clip is not installed")
    path = Path(spec.submodule_search_locations[0]) / "simple_tokenizer.py"
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("simple_tokenizer", path))
    module.__spec__.loader.exec_module(module)
    return module.SimpleTokenizer()


def needs_vocabulary():
    try:
        bpe.vocabulary_file()
    except ImportError as error:
        pytest.skip(str(error))


def test_tokens_are_those_of_the_public_tokenizers():
    tokenizer = theirs()
    assert len(bpe.vocabulary()[0]) == PAPER.text.vocabulary == len(tokenizer.encoder)
    assert bpe.vocabulary()[0] == tokenizer.encoder
    assert bpe.byte_letters() == tokenizer.byte_encoder
    ids = tokenize(PHRASES, PAPER.text)
    for row, phrase in zip(ids, PHRASES, strict=True):
        expected = [49406, *tokenizer.encode(phrase)[:75], 49407]
        assert row.tolist() == expected + [0] * (77 - len(expected)), phrase
    assert ids[-1, -1] == 49407 and ids.shape == (len(PHRASES), 77)  # the longest is cut, and ends


def test_published_ids():
    """The example of OpenAI's model card, and of every tutorial since."""
    needs_vocabulary()
    assert tokenize(["a photo of a cat"], PAPER.text)[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]


def test_a_missing_vocabulary_names_the_extra(monkeypatch):
    monkeypatch.setattr(bpe, "PACKAGES", ("nobody_ships_this",))
    with pytest.raises(ImportError, match=r"unires\[paper\]"):
        bpe.vocabulary_file()
    with pytest.raises(ValueError, match="unknown tokenizer 'words'"):
        tokenize([""], replace(SMOKE.text, tokenizer="words"))


@pytest.fixture(scope="module")
def model():
    return random_model(SMOKE, seed=2)


def test_kept_prompts_are_the_towers(model, tmp_path):
    arrays = take_apart(model)[0]
    kept = embed(arrays, SMOKE, PROMPTS)
    assert list(kept) == list(dict.fromkeys(PROMPTS))  # SR and DownLQ share one
    for prompt in kept:
        np.testing.assert_allclose(kept[prompt], model.text(tokenize([prompt], SMOKE.text))[0], atol=1e-5)
    told = save_prompts(tmp_path / "some.prompts.safetensors", kept, SMOKE)
    again = load_prompts(tmp_path / told["file"], SMOKE, told["sha256"])
    assert list(again) == told["prompts"] == list(kept)
    for prompt in kept:
        np.testing.assert_array_equal(again[prompt], kept[prompt])


def test_wrong_prompt_files_are_refused(tmp_path):
    path = tmp_path / "some.prompts.safetensors"
    with pytest.raises(CheckpointError, match="missing beside"):
        load_prompts(path, SMOKE)
    shape = (SMOKE.text.tokens, SMOKE.text.width)
    told = save_prompts(path, {"": np.zeros(shape)}, SMOKE)
    with pytest.raises(CheckpointError, match="not the file"):
        load_prompts(path, SMOKE, "0" * 64)
    with pytest.raises(CheckpointError, match=r"\(77, 1024\)"):
        load_prompts(path, PAPER, told["sha256"])
    with pytest.raises(CheckpointError, match="context of 'x'"):
        save_prompts(path, {"x": np.zeros((2, 3))}, SMOKE)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="damaged"):
        load_prompts(path, SMOKE)


def test_no_text_tower_is_needed(model, tmp_path):
    """A checkpoint without its text arrays restores exactly as the whole one, but knows its prompts alone."""
    arrays, path = take_apart(model)[0], tmp_path / "small.safetensors"
    arrays = {name: array.astype(jnp.bfloat16).astype(jnp.float32) for name, array in arrays.items()}
    story = {"prompts": save_prompts(prompts_path(path), embed(arrays, SMOKE, PROMPTS), SMOKE), "without": ["text"]}
    bare = {name: array for name, array in arrays.items() if not name.startswith("text.")}
    save_checkpoint(path, bare, SMOKE, story)
    save_checkpoint(tmp_path / "whole.safetensors", arrays, SMOKE, {})
    photo = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    mix = {"MD": 0.6, "DN": -0.2, "DownLQ": 0.6}
    lean, whole = load(path), load(tmp_path / "whole.safetensors")
    assert lean.arrays.keys() == bare.keys() and whole.arrays.keys() == arrays.keys()
    np.testing.assert_allclose(lean(photo, mix, steps=1), whole(photo, mix, steps=1), atol=1e-5)
    with pytest.raises(ValueError, match="'Make it blue' is not among the kept prompts"):
        Restorer(lean.rebuild(lean.arrays), lean.config, (replace(EXPERTS[0], prompt="Make it blue"),), {})
    large = tmp_path / "large.safetensors"
    save_checkpoint(large, bare, SMOKE, story | {"profile": "paper"})
    assert load(large).config.sample == PAPER.sample != lean.config.sample  # as its story says
    prompts_path(path).unlink()
    _load.cache_clear()
    with pytest.raises(CheckpointError, match="small.prompts.safetensors is missing"):
        load(path)
