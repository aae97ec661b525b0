"""Sentences by rule, for text that is not cut into lines of one sentence each."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

Language = Literal["none", "auto", "en", "ko", "zh", "ja"]

_CLOSERS = r"[\"'”’»)\]」』）】》〉]*"
_OPENERS = "\"'“‘«([「『（【《〈"
_STOP = re.compile(rf"[.!?…]+{_CLOSERS}\s+")
_WIDE_STOP = re.compile(rf"[。！？｡]+[。！？!?…]*{_CLOSERS}\s*|[.!?…]+{_CLOSERS}\s+")
_FINAL_B = "".join(chr(code) for code in range(0xAC00, 0xD7A4) if (code - 0xAC00) % 28 == 17)  # 습, 입, 합, ...
# A verb in a polite final form ends a sentence even where the stop was left out. Plain forms (했다, 간다) do not: 왔다
# 갔다, 한다 해도 and the like would be cut. A stop without a space behind it is common in text from the web.
_KOREAN_STOP = re.compile(
    rf"[.!?…]+{_CLOSERS}\s+|(?<=[다요죠])\.(?=[가-힣])"
    rf"|(?:(?<=[{_FINAL_B}]니[다까])|(?<=[세에예어아해네지까군나든]요)|(?<=죠))\s+(?!\()"
)
_KOREAN_NUMBER = re.compile(r"(?:^|\d\.\s+|\d\.\d+\.)\d+$")  # 1. as of an item, 2020. 3. 5. or 2020.3.5. as a date


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TITLES = _listed(
    "mr mrs ms mx dr prof st rev hon gen col maj capt lt sgt cpl gov sen rep pres messrs mme mlle mt ft fr sr "
    "vs viz cf eg ie e.g i.e al fig figs eq eqs vol vols ch pp no nos op ed eds trans approx esp incl resp"
)
"""Short forms that more of the sentence follows."""
_ENDS = _listed(
    "etc inc co corp ltd bros jr u.s u.k u.n u.s.a d.c a.m p.m b.c a.d ph.d m.d b.a m.a dept assn ave blvd rd jan feb "
    "mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat sun est"
)
"""Short forms that may end a sentence: they do if a word follows that mostly begins one."""
_STARTERS = _listed(
    "the a an this that these those he she it we you they i there here his her its our their my your but and or so if "
    "in on at as by for from with when while after before since although though because however what who how why where "
    "no not one some many most all both each every another such now then yet also meanwhile"
)
_JUDGED_BY = 40  # characters before and behind a stop
_INITIAL = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_KANA, _HANGUL, _HAN = re.compile("[\u3040-\u30ff]"), re.compile("[가-힣]"), re.compile("[\u4e00-\u9fff]")


def split_document(document: list[str], language: Language) -> list[str]:
    """Cut each line of a document into sentences; ``none`` leaves the lines as they are.

    Args:
        document: Lines, such as paragraphs.
        language: Whose rules apply; ``auto`` looks at the script of each line and takes English for all but Hangul,
            kana and Han.
    """
    return document if language == "none" else [part for line in document for part in split_line(line, language)]


def split_line(line: str, language: Language) -> list[str]:
    """Cut one line into sentences.

    A sentence ends at stops and what closes after them. In English a stop is none behind a title, an initial or a
    number in a list, before a small letter, or behind a short form that no usual first word follows. In Korean a final
    verb ending ends it too. In Chinese and Japanese no space is needed, and in Japanese quotes stay whole.

    Example:
        >>> split_line("Dr. J. Kim paid $3.5 million. She left.", "en")
        ['Dr. J. Kim paid $3.5 million.', 'She left.']
    """
    ends = {"en": _english_ends, "ko": _korean_ends, "zh": _chinese_ends, "ja": _japanese_ends}
    places = [0, *ends[_language(line) if language == "auto" else language](line), len(line)]
    parts = (line[begin:end].strip() for begin, end in pairwise(places))
    return [part for part in parts if part]


def _language(line: str) -> str:
    if _HANGUL.search(line):
        return "ko"
    return "ja" if _KANA.search(line) else "zh" if _HAN.search(line) else "en"


def _english_ends(line: str) -> Iterator[int]:
    stops = [(match, line[match.end() : match.end() + _JUDGED_BY].lstrip(_OPENERS)) for match in _STOP.finditer(line)]
    small = sum(rest[:1].islower() for _, rest in stops)
    has_capitals = 2 * small <= len(stops)  # in text that has none, a small letter says nothing
    begin = 0
    for match, rest in stops:
        if has_capitals and rest[:1].islower():
            continue
        if match[0].startswith(".") and not match[0].startswith("..") and _is_short_form(line, begin, match, rest):
            continue
        yield match.end()
        begin = match.end()


def _end_of(line: str, begin: int, match: re.Match[str]) -> str:
    """The last characters of a sentence before a stop: enough to judge by, and a long line stays cheap."""
    return line[max(begin, match.start() - _JUDGED_BY) : match.start()]


def _is_short_form(line: str, begin: int, match: re.Match[str], rest: str) -> bool:
    """Whether the full stop belongs to the word before it and ends no sentence."""
    before = _end_of(line, begin, match).rsplit(None, 1)
    word = (before[-1] if before else "").lstrip(_OPENERS)
    if word.isdigit() and len(before) == 1:  # the number of an item stands before its sentence
        return True
    if word.lower() in _TITLES:
        return word.lower() != "no" or rest[:1].isdigit()
    if word.lower() in _ENDS or (_INITIAL.fullmatch(word) and word != "I"):
        first = re.match(r"[\w’']+", rest)
        return first is not None and first[0].lower() not in _STARTERS
    return False


def _korean_ends(line: str) -> Iterator[int]:
    begin = 0
    for match in _KOREAN_STOP.finditer(line):
        before, after = _end_of(line, begin, match), line[match.end() : match.end() + 1]
        if match[0].startswith(".") and before[-1:].isdigit() and (after.isdigit() or _KOREAN_NUMBER.search(before)):
            continue
        yield match.end()
        begin = match.end()


def _chinese_ends(line: str) -> Iterator[int]:
    return (match.end() for match in _WIDE_STOP.finditer(line))


def _japanese_ends(line: str) -> Iterator[int]:
    begin = depth = 0
    for match in _WIDE_STOP.finditer(line):
        piece, begin = line[begin : match.end()], match.end()
        depth += sum(piece.count(mark) for mark in "「『（") - sum(piece.count(mark) for mark in "」』）")
        if depth <= 0 and match[0].rstrip()[-1] not in "」』）":
            yield match.end()
