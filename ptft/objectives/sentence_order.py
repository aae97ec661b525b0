"""Sentence-order prediction (Lan et al. 2020): are two neighbouring texts in their order, or exchanged?"""

from collections.abc import Iterator
from typing import ClassVar

from ptft.objectives.pair_objective import PairObjective
from ptft.objectives.pairs import Generator, Pair, PairRule, Sentences, draw_target, truncate_pair


class SentenceOrder(PairObjective):
    """Tell whether two neighbouring texts of a document are in their order: 0 if they are, 1 if exchanged.

    It makes the rows, ``[CLS] A [SEP] B [SEP]``, as ``next_sentence`` does, with both texts from one place.

    Paper: Lan et al. 2020, arXiv 1909.11942, section 3.1.
    """

    name: ClassVar[str] = "sentence_order"
    prefix: ClassVar[str] = "sop"

    @property
    def rule(self) -> PairRule:
        """Neighbours, half of them exchanged."""
        return neighbouring_pairs


def neighbouring_pairs(
    sentences: Sentences, document: int, bounds: list[int], max_tokens: int, short_ratio: float, generator: Generator
) -> Iterator[Pair]:
    """Chunks of sentences cut into A and B at a random sentence and exchanged with probability a half.

    Arguments as for :func:`ptft.objectives.pairs.document_pairs`. Differs from the published code: a chunk of a single
    sentence is left out, where that takes a second text from another document and says that it is exchanged.
    """
    target = draw_target(max_tokens, short_ratio, generator)
    begin, last = 0, len(bounds) - 2
    for index in range(last + 1):
        if index < last and bounds[index + 1] - bounds[begin] < target:
            continue
        size = index + 1 - begin
        if size >= 2:
            middle = bounds[begin + generator.randint(1, size - 1)]
            first = truncate_pair((bounds[begin], middle), (middle, bounds[index + 1]), max_tokens, generator)
            is_exchanged = generator.random() < 0.5
            yield Pair(*first[2:], *first[:2], 1) if is_exchanged else Pair(*first, 0)
        begin = index + 1
