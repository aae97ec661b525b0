"""A sample of a corpus that fits into memory: whole documents, drawn evenly, without knowing how many there will be."""

import heapq
from collections.abc import Iterable, Iterator, Sequence

from ptft import rng


class Sample:
    """The documents with the smallest random numbers whose text fits, in the order of the corpus.

    A document's number is drawn for its place in the corpus, so that the sample of a corpus is the same at every call,
    and that of a smaller limit lies in that of a larger one. One document always stays, however long.

    Args:
        documents: Each a list of lines; read once.
        most_bytes: Limit of the text in UTF-8.
        seed: Of the draws; >= 0.

    Attributes:
        text_bytes: Of the sample.
        num_documents: In the sample.
        all_bytes: Of the corpus.
        all_documents: In the corpus.
    """

    def __init__(self, documents: Iterable[Sequence[str]], most_bytes: int, seed: int) -> None:
        draws = rng.Stream(rng.key_of("sample of documents"), seed)
        kept: list[tuple[float, int, bytes]] = []  # a heap: the largest draw first
        limit = 1.0
        self.text_bytes = self.all_bytes = self.all_documents = 0
        for document in documents:
            text, draw = "\n".join(document).encode(), draws.random()
            self.all_bytes += len(text)
            self.all_documents += 1
            if draw < limit:
                heapq.heappush(kept, (-draw, self.all_documents, text))
                self.text_bytes += len(text)
            while self.text_bytes > most_bytes and len(kept) > 1:
                largest, _, dropped = heapq.heappop(kept)
                self.text_bytes -= len(dropped)
                limit = -largest
        self._texts = [text for _, _, text in sorted(kept, key=lambda item: item[1])]
        self.num_documents = len(kept)

    def __iter__(self) -> Iterator[str]:
        """The lines, as often as they are asked for."""
        for text in self._texts:
            yield from text.decode().split("\n")

    @property
    def is_all(self) -> bool:
        """Whether nothing was left out."""
        return self.num_documents == self.all_documents
