"""Where words begin in a sequence of tokens, for any fast tokenizer and script."""

import json
import re

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
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_BEGINS_UNSPACED = re.compile(rf"\s*[{_UNSPACED}]")


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
        if token.startswith(prefix) and not _BEGINS_UNSPACED.match(token.removeprefix(prefix)):
            starts[number] = False
    return starts


def word_starts(encoding: Encoding, text: str) -> Bool[ndarray, " tokens"]:
    """For each token of an encoded text whether it begins a word.

    A word is what the pre-tokenizer makes one; in scripts written without spaces, where that may be a whole sentence,
    it is a token, the bytes of one character kept together.

    Args:
        encoding: With offsets, without special tokens.
        text: What was encoded.
    """
    words = np.array(encoding.word_ids, np.int64)
    starts = np.ones(len(words), bool)
    starts[1:] = words[1:] != words[:-1]
    if _HAS_UNSPACED.search(text):
        end = 0
        for index, (begin, stop) in enumerate(encoding.offsets):
            if begin >= end and _BEGINS_UNSPACED.match(text, begin):
                starts[index] = True
            end = max(end, stop)
    return starts
