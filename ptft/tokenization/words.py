"""Where words begin in a sequence of tokens, for any fast tokenizer and script."""

import json
import re
import unicodedata
from collections.abc import Sequence
from itertools import chain

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

# Scripts written without spaces: Thai, Lao, Myanmar, Khmer, Hiragana, Katakana, Han with its marks and extensions.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U000323af"
)
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
# Where pre-tokenizers go wrong: those, and scripts with combining marks, at which GPT-2's cuts a word.
_NEEDS_A_LOOK = re.compile(f"[{_UNSPACED}\u0300-\u036f\u0590-\u0dff\u0f00-\u0fff]")


def starting_ids(tokenizer: PreTrainedTokenizerBase) -> Bool[ndarray, " vocabulary"] | None:
    """For each id whether it begins a word, where ids tell: a WordPiece token does unless it begins with ``##``.

    In scripts written without spaces every token begins a word, since what spaces divide is a sentence there.
    None for other tokenizers, whose ids do not tell: see :func:`word_starts`.
    """
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] != "WordPiece":
        return None
    prefix: str = model["continuing_subword_prefix"]
    starts = np.ones(len(tokenizer), bool)
    for token, number in tokenizer.get_vocab().items():
        if token.startswith(prefix):
            starts[number] = _begins(token.removeprefix(prefix), 0, usual=False)
    return starts


def word_starts(encodings: Sequence[Encoding], texts: Sequence[str]) -> Bool[ndarray, " tokens"]:
    """For each token of encoded texts, one text after the other, whether it begins a word.

    A word is what the pre-tokenizer makes one. In scripts written without spaces, where that may be a whole sentence,
    it is a token, with the bytes and marks of a letter kept together; nor does a mark inside of a word divide it.

    Args:
        encodings: With offsets, without special tokens.
        texts: What was encoded.
    """
    lengths = np.array([len(encoding) for encoding in encodings], np.int64)
    words = np.fromiter(chain.from_iterable(encoding.word_ids for encoding in encodings), np.int64, int(lengths.sum()))
    starts = np.ones(len(words), bool)
    starts[1:] = words[1:] != words[:-1]
    firsts = np.cumsum(lengths) - lengths
    starts[firsts[lengths > 0]] = True
    for first, encoding, text in zip(firsts, encodings, texts, strict=True):
        if not text.isascii() and _NEEDS_A_LOOK.search(text):
            end = 0
            for index, (begin, stop) in enumerate(encoding.offsets, first):
                starts[index] = index == first or (begin >= end and _begins(text, begin, usual=bool(starts[index])))
                end = max(end, stop)
    return starts


def _begins(text: str, place: int, *, usual: bool) -> bool:
    """Whether the token at ``place`` begins a word; ``usual`` is what the pre-tokenizer says."""
    first = text[place : place + 1]
    before = text[place - 1 : place]
    letter = text[place:].lstrip()[:1]
    if unicodedata.category(first or " ").startswith("M"):
        return False
    if _IS_UNSPACED.match(letter) or _IS_UNSPACED.match(before):
        return True
    if before and unicodedata.category(before).startswith("M") and first.isalpha():
        return False
    return usual
