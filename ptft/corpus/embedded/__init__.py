"""The embedded corpus: documents in simple English, generated from counters, for a quickstart that downloads nothing.

``prose`` is unlabelled text for an encoder; ``lists`` mixes it with lists of labelled things for a decoder. What is
held out of labels (H words, some pairs of topics, some pairs of labels) is written down in :mod:`.words`.
"""

from collections.abc import Iterator

from ptft import rng
from ptft.corpus.embedded.draws import Draws, draws_for
from ptft.corpus.embedded.lists import list_document
from ptft.corpus.embedded.prose import prose
from ptft.errors import RecipeError
from ptft.family import nearest

NUM_DOCUMENTS = {
    ("prose", "train"): 16_384,
    ("prose", "valid"): 1_024,
    ("lists", "train"): 24_576,
    ("lists", "valid"): 1_024,
}
"""Documents of each kind and split: training sees each about twice in the quickstart's budget."""


def _lists_and_prose(draws: Draws) -> list[str]:
    return prose(draws) if draws.below(5) == 0 else list_document(draws)


_MAKERS = {"prose": prose, "lists": _lists_and_prose}


def documents(kind: str, split: str, seed: int) -> Iterator[list[str]]:
    """Yield the documents of one kind and split, each a list of its sentences, in order.

    The bytes depend on the arguments alone, on every machine; a document depends on its number and not on those
    before it.

    Args:
        kind: ``prose`` (reviews, stories, TL;DR; for an encoder) or ``lists`` (four fifths lists of labelled things,
            one fifth prose; for a decoder).
        split: ``train`` or ``valid``; the two are drawn from different counters.
        seed: Which world's worth of documents, >= 0.

    Raises:
        RecipeError: When ``kind`` or ``split`` is not one of those, or ``seed`` is negative.

    Example:
        >>> next(documents("lists", "train", seed=0))[0].count(" ; ") > 6
        True
    """
    for setting, value, known in (("kind", kind, ("prose", "lists")), ("split", split, ("train", "valid"))):
        if value not in known:
            raise RecipeError(f"embedded corpus: unknown {setting} {value!r}{nearest(value, known)}")
    if seed < 0:
        raise RecipeError(f"embedded corpus: seed is {seed!r}; allowed: integers >= 0; give another seed")
    draws = draws_for(NUM_DOCUMENTS[kind, split], rng.key_of("embedded corpus"), seed, *map(rng.key_of, (kind, split)))
    return map(_MAKERS[kind], draws)
