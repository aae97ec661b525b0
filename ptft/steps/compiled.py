"""A corpus as a token store for one tokenizer: compiled once, then found by its content."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from ptft.corpus.cleaning import Report
from ptft.corpus.sources import CorpusSettings, Document, documents, fingerprint
from ptft.corpus.store import Encode, Encoded, TokenStore, compile_store, store_in_memory
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.tokenization import tokenizer_hash
from ptft.tokenization.words import starting_ids, word_starts


@dataclass(frozen=True)
class How:
    """What decides a store besides corpus and tokenizer.

    Attributes:
        is_causal: Whether sentences are joined to running text and each document is closed by the end-of-text token.
        joiner: What stands between the sentences of a document, if so.
        seed: Of what is held out.
        cache: Folder of all stores is ``stores`` below it.
        needs_words: Whether someone will ask where words begin.
    """

    is_causal: bool
    joiner: Literal["space", "newline"]
    seed: int
    cache: str
    needs_words: bool = False


def compiled(
    corpus: CorpusSettings, split: Literal["train", "valid"], tokenizer: PreTrainedTokenizerBase, how: How
) -> tuple[TokenStore, str]:
    """The store of one split of a corpus, and the hash of its text.

    Raises:
        DataError: The corpus cannot be read or gives no token.
    """
    encoding = _encoding(tokenizer, how)
    evaluation = evaluation_texts(corpus, how.seed)
    content = fingerprint(corpus, split, how.seed, evaluation)
    decisions = [encoding.joiner, str(encoding.end_token), str(encoding.stores_starts)]
    parts = ["store 3", content, tokenizer_hash(tokenizer), *decisions]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    report = Report()
    texts = documents(corpus, split, how.seed, evaluation, report)
    folder = Path(how.cache).expanduser() / "stores"
    store = compile_store(
        encoding.joined(texts), encoding.encode, folder, key,
        vocab_size=len(tokenizer), end_token=encoding.end_token, cleaning=report.plain,
    )  # fmt: skip
    return store, content


def compiled_in_memory(texts: Iterable[Document], tokenizer: PreTrainedTokenizerBase, how: How) -> TokenStore:
    """A few documents as a store that lies nowhere."""
    encoding = _encoding(tokenizer, how)
    joined = encoding.joined(texts)
    return store_in_memory(joined, encoding.encode, vocab_size=len(tokenizer), end_token=encoding.end_token)


@dataclass(frozen=True)
class _Encoding:
    """How the text of documents becomes tokens."""

    joiner: str
    end_token: int | None
    stores_starts: bool
    encode: Encode

    def joined(self, texts: Iterable[Document]) -> Iterable[Document]:
        """The documents, with the joiner before each sentence but the first."""
        if not self.joiner:
            return texts
        return ([document[0], *(self.joiner + s for s in document[1:])] for document in texts)


def _encoding(tokenizer: PreTrainedTokenizerBase, how: How) -> _Encoding:
    backend = tokenizer.backend_tokenizer
    stores_starts = how.needs_words and starting_ids(tokenizer) is None

    def encode(texts: list[str]) -> Encoded:
        if not stores_starts:
            encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
            return Encoded([encoding.ids for encoding in encodings])
        encodings = backend.encode_batch(texts, add_special_tokens=False)
        return Encoded([encoding.ids for encoding in encodings], word_starts(encodings, texts))

    joiner = {"space": " ", "newline": "\n"}[how.joiner] if how.is_causal else ""
    return _Encoding(joiner, tokenizer.eos_token_id if how.is_causal else None, stores_starts, encode)
