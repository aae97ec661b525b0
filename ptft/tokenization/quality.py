"""How well a vocabulary fits a text: compression, words in pieces and unknown tokens, for each script."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, islice
from typing import Any

from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

MEASURED_BYTES = 2_000_000
"""How much text says enough of a tokenizer."""
_SCRIPTS = {
    "Latin": "a-zA-Z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a",
    "Hangul": "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff",
    "Han": "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "Kana": "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d",
    "Cyrillic": "\u0400-\u052f\u1c80-\u1c8f",
    "digits": "0-9",
}
_LETTER = re.compile(r"[^\W_]")
_WORD = re.compile(r"\S+")
_CORE = re.compile(r"\w(?:\S*\w)?")  # a word without the marks around it
_TEXTS_AT_ONCE = 1000
_FREQUENT_WORDS = 1000
_SHOWN_WORDS = 5


def script_of(word: str) -> str:
    """The script of a word's first letter or digit: Latin, Hangul, Han, Kana, Cyrillic, digits or other.

    Example:
        >>> [script_of(word) for word in ("(don't)", "한국어", "漢字", "2024년", "--")]
        ['Latin', 'Hangul', 'Han', 'digits', 'other']
    """
    found = _LETTER.search(word)
    return _script_of_letter(found[0]) if found else "other"


@cache
def _script_of_letter(letter: str) -> str:
    return next((script for script, letters in _SCRIPTS.items() if re.match(f"[{letters}]", letter)), "other")


@dataclass
class Sums:
    """What is counted of the words of one script, or of all.

    Attributes:
        words: Their number; a word is what stands between spaces.
        text_bytes: Of them, in UTF-8.
        tokens: Of them.
        unknown: How many of these are the unknown token.
        cores: How often each word, the marks around it left out, was found in so many pieces.
    """

    words: int = 0
    text_bytes: int = 0
    tokens: int = 0
    unknown: int = 0
    cores: Counter[tuple[str, int]] = field(default_factory=Counter)

    def figures(self) -> dict[str, float]:
        """Give ``bytes_per_token``, ``fertility`` (tokens a word), ``unknown_ratio`` and ``split_ratio`` (of words).

        A word counts as split if its letters, the marks around it left out, are several tokens.
        """
        split = sum(number for (_, pieces), number in self.cores.items() if pieces > 1)
        return {
            "bytes_per_token": self.text_bytes / max(self.tokens, 1),
            "fertility": self.tokens / max(self.words, 1),
            "unknown_ratio": self.unknown / max(self.tokens, 1),
            "split_ratio": split / max(self.cores.total(), 1),
        }

    def most_split(self) -> str:
        """Of the thousand most frequent words those in most pieces, with their numbers."""
        frequent = sorted(self.cores.items(), key=lambda item: (-item[1], item[0]))[:_FREQUENT_WORDS]
        ranked = sorted((-pieces, -number, word) for (word, pieces), number in frequent if pieces > 1)
        return ", ".join(f"{word} {-pieces}" for pieces, _, word in ranked[:_SHOWN_WORDS])


class Quality:
    """A tokenizer measured on a text.

    Args:
        tokenizer: Any fast tokenizer.
        texts: Lines of text; a word does not go over the end of a line.

    Attributes:
        scripts: What was counted, by script of the word's first letter (see :func:`script_of`).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> None:
        self.scripts: dict[str, Sums] = {}
        self._text_bytes = self._tokens = 0
        # GPT-2 names its end of text as the unknown token too, though every byte is known.
        unknown = tokenizer.unk_token_id
        self._unknown = -1 if unknown is None or unknown == tokenizer.eos_token_id else unknown
        rest = iter(texts)
        while some := list(islice(rest, _TEXTS_AT_ONCE)):
            encodings = tokenizer.backend_tokenizer.encode_batch(some, add_special_tokens=False)
            for text, encoding in zip(some, encodings, strict=True):
                self._add(text, encoding)

    def _add(self, text: str, encoding: Encoding) -> None:
        self._text_bytes += len(text.encode())
        self._tokens += len(encoding.ids)
        ends = [end for _, end in encoding.offsets]
        unknown_before = [0, *accumulate(token == self._unknown for token in encoding.ids)]
        # A token belongs to the first word that ends with it or behind it: a space to the word that follows.
        first = 0
        for word in _WORD.finditer(text):
            after = bisect_right(ends, word.end(), first)
            some = self.scripts.setdefault(script_of(word[0]), Sums())
            some.words += 1
            some.text_bytes += len(word[0].encode())
            some.tokens += after - first
            some.unknown += unknown_before[after] - unknown_before[first]
            if core := _CORE.search(word[0]):
                begin = bisect_right(ends, word.start() + core.start(), first, after) if core.start() else first
                end = bisect_right(ends, word.start() + core.end(), first, after)
                some.cores[core[0], end - begin] += 1
            first = after

    @property
    def total(self) -> Sums:
        """All words and the spaces between them."""
        parts = self.scripts.values()
        cores: Counter[tuple[str, int]] = Counter()
        for part in parts:
            cores.update(part.cores)
        words, unknown = sum(part.words for part in parts), sum(part.unknown for part in parts)
        return Sums(words, self._text_bytes, self._tokens, unknown, cores)

    def figures(self) -> dict[str, float]:
        """The figures of the whole text; empty if it has no word."""
        return self.total.figures() if self.scripts else {}

    def records(self, name: str) -> list[dict[str, Any]]:
        """A record for all words, then one for each script, the one with most words first.

        Returns:
            ``tokenizer`` (``name``), ``script``, ``words``, the figures of these words, and ``most_split``.
        """
        ranked = sorted(self.scripts.items(), key=lambda item: (-item[1].words, item[0]))
        rows = [("all", self.total), *ranked] if ranked else []
        return [
            {
                "tokenizer": name,
                "script": script,
                "words": sums.words,
                **sums.figures(),
                "most_split": sums.most_split(),
            }
            for script, sums in rows
        ]
