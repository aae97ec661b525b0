"""Leaves out documents in another script, which mostly means another language."""

import unicodedata
from collections import Counter
from functools import lru_cache
from typing import ClassVar, Literal

from pydantic import Field

from ptft.corpus.filters.filter import Filter

_FIRST_WORDS = {"han": ("CJK",), "kana": ("HIRAGANA", "KATAKANA"), "japanese": ("CJK", "HIRAGANA", "KATAKANA")}


class Script(Filter):
    """Keep documents whose letters are mostly of one script, as the Unicode names of the letters say."""

    name: ClassVar[str] = "script"
    script: Literal[
        "latin", "hangul", "han", "kana", "japanese", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai"
    ] = "latin"
    """The script; japanese is kana and Han."""
    at_least: float = Field(0.5, ge=0, le=1)
    """Share of the letters that are of it."""

    def keeps(self, document: list[str]) -> bool:
        """Whether enough letters are of the script; a document without letters stays."""
        counts = Counter("".join(document))
        letters = {character: count for character, count in counts.items() if character.isalpha()}
        wanted = _FIRST_WORDS.get(self.script, (self.script.upper(),))
        fitting = sum(count for character, count in letters.items() if _first_word(character) in wanted)
        return fitting >= self.at_least * sum(letters.values())


@lru_cache(1 << 16)
def _first_word(character: str) -> str:
    """The first word of a character's name, without what follows a dash: CJK UNIFIED IDEOGRAPH-4E00, HANGUL ..."""
    return unicodedata.name(character, "").partition(" ")[0]
