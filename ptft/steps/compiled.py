"""A corpus as a token store for one tokenizer: compiled once, then found by its content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from ptft.corpus.cleaning import Report
from ptft.corpus.sources import CorpusSettings, documents, fingerprint
from ptft.corpus.store import Encoded, TokenStore, compile_store
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
    joiner = {"space": " ", "newline": "\n"}[how.joiner] if how.is_causal else ""
    end_token = tokenizer.eos_token_id if how.is_causal else None
    evaluation = evaluation_texts(corpus, how.seed)
    content = fingerprint(corpus, split, how.seed, evaluation)
    stores_starts = how.needs_words and starting_ids(tokenizer) is None
    parts = ["store 3", content, tokenizer_hash(tokenizer), joiner, str(end_token), str(stores_starts)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    backend = tokenizer.backend_tokenizer

    def encode(texts: list[str]) -> Encoded:
        if not stores_starts:
            encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
            return Encoded([encoding.ids for encoding in encodings])
        encodings = backend.encode_batch(texts, add_special_tokens=False)
        return Encoded([encoding.ids for encoding in encodings], word_starts(encodings, texts))

    report = Report()
    texts = documents(corpus, split, how.seed, evaluation, report)
    joined = ([document[0], *(joiner + s for s in document[1:])] for document in texts) if joiner else texts
    folder = Path(how.cache).expanduser() / "stores"
    store = compile_store(
        joined, encode, folder, key, vocab_size=len(tokenizer), end_token=end_token, cleaning=report.plain
    )
    return store, content
