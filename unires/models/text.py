"""Prompts to tokens to context: the small text encoder, trained with the model."""

import re
import zlib

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Int

from unires.config import TextConfig
from unires.models import bpe
from unires.models.blocks import Attention, Tokens
from unires.shapes import AnyArray

PAD, START, END = 0, 1, 2


def tokenize(prompts: list[str], config: TextConfig) -> Int[np.ndarray, "b n"]:
    """Word ids: each lower-case word is hashed into the vocabulary, so that any prompt has tokens.

    With the tokenizer "openclip", byte pairs in the public text tower's vocabulary instead; its padding is 0 as well.
    Paper: our choice for the small model; the paper's size uses the vocabulary of its public text encoder.
    Shapes: [b, config.tokens]; a longer prompt is cut.
    Raises: ValueError for an unknown tokenizer; ImportError where the vocabulary is not installed.
    Test: test_models.py::test_tokens_are_stable_and_distinct,
        test_prompts.py::test_tokens_are_those_of_the_public_tokenizers
    """
    if config.tokenizer == "openclip":
        ids = np.full((len(prompts), config.tokens), PAD, np.int32)
        for row, prompt in zip(ids, prompts, strict=True):
            codes = bpe.encode(prompt)[: config.tokens - 2]
            row[: len(codes) + 2] = [bpe.START, *codes, bpe.END]
        return ids
    if config.tokenizer != "hash":
        raise ValueError(f"unknown tokenizer {config.tokenizer!r}: 'hash' and 'openclip' are known")
    ids = np.full((len(prompts), config.tokens), PAD, np.int32)
    for row, prompt in zip(ids, prompts, strict=True):
        words = re.findall(r"[a-z0-9]+", prompt.lower())[: config.tokens - 2]
        codes = [3 + zlib.crc32(word.encode()) % (config.vocabulary - 3) for word in words]
        row[: len(codes) + 2] = [START, *codes, END]
    return ids


class Layer(nnx.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.attention = Attention(width, width, heads, rngs, qkv_bias=True)
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.mlp_in = nnx.Linear(width, 4 * width, rngs=rngs)
        self.mlp_out = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, h: Tokens) -> Tokens:
        h = h + self.attention(self.norm1(h), causal=True)
        return h + self.mlp_out(nnx.gelu(self.mlp_in(self.norm2(h)), approximate=False))


class TextEncoder(nnx.Module):
    """Token ids to context vectors for the UNet's cross-attention.

    Paper: the text condition s of Eq. 1-2.
    Test: test_models.py::test_text_encoder_is_causal
    """

    def __init__(self, config: TextConfig, rngs: nnx.Rngs):
        self.tokens = nnx.Embed(config.vocabulary, config.width, rngs=rngs)
        self.positions = nnx.Embed(config.tokens, config.width, rngs=rngs)
        self.layers = nnx.List([Layer(config.width, config.heads, rngs) for _ in range(config.layers)])
        self.norm = nnx.LayerNorm(config.width, epsilon=1e-5, rngs=rngs)

    def __call__(self, ids: Int[AnyArray, "b n"]) -> Tokens:
        h = self.tokens(ids) + self.positions(jnp.arange(ids.shape[1]))
        for layer in self.layers:
            h = layer(h)
        return self.norm(h)
