"""Entities in rows of tags, as the CoNLL shared tasks and seqeval's default find them."""

from collections.abc import Sequence

_SAME = {"L": "E", "U": "S"}  # BILOU's names for what BIOES calls end and single
_INSIDE, _OPEN, _PREFIXES = {"I", "E"}, {"B", "I"}, {"B", "I", "E", "S"}

Chunk = tuple[str, int, int]
"""Type, first word, word behind the last."""


def tags_entities(labels: Sequence[str]) -> bool:
    """Whether labels are the tags of entities: one begins with ``B-`` or ``I-``."""
    return any(label.startswith(("B-", "I-")) for label in labels)


def chunks(tags: Sequence[str]) -> set[Chunk]:
    """Find the entities of one sentence, whatever the scheme: IOB1, IOB2, BIOES or BILOU.

    A word goes on with the entity of the word before it if its tag is an I- or E- of the same type and the other a B-
    or I-; with any other tag than O a new one begins, so that an I- behind another type or behind O begins one too.

    Paper: Tjong Kim Sang and De Meulder 2003 (conlleval). Differs: L- and U- are read as E- and S-; a tag of no
    scheme is outside.

    Example:
        >>> sorted(chunks(["B-PER", "I-PER", "O", "I-LOC", "I-ORG"]))
        [('LOC', 3, 4), ('ORG', 4, 5), ('PER', 0, 2)]
    """
    found: set[Chunk] = set()
    before, kind_before, start = "O", "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        prefix = _SAME.get(prefix, prefix)
        if prefix in _INSIDE and before in _OPEN and kind == kind_before:
            before = prefix
            continue
        if before != "O":
            found.add((kind_before, start, place))
        before, kind_before, start = prefix if prefix in _PREFIXES else "O", kind, place
    return found
