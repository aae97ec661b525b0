"""What tests of several folders share: token stores without files, and small tokenizers."""

import itertools

import numpy as np
import pytest
import torch

from ptft.corpus.embedded import documents
from ptft.corpus.store import StoreInfo, TokenStore
from ptft.objectives.rows import Vocabulary
from ptft.tokenization import TokenizerSettings, train_tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small models are fastest on one thread, and sums come in one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def store_of():
    """Make a token store of documents, each a list of sentences, each a list of token ids."""

    def make(given):
        sentences = [sentence for document in given for sentence in document]
        tokens = np.array([token for sentence in sentences for token in sentence], np.uint16)
        document_ends = np.cumsum([sum(map(len, document)) for document in given])
        closes = np.zeros(len(tokens), bool)
        closes[np.cumsum([len(sentence) for sentence in sentences]) - 1] = True
        size = len(tokens)
        info = StoreInfo("made", "uint16", len(given), len(sentences), size, size, size, {})
        return TokenStore(tokens, document_ends, np.packbits(closes), info)

    return make


@pytest.fixture(scope="session")
def embedded_lines():
    """The first lines of the embedded corpus."""
    return [line for document in itertools.islice(documents("prose", "train", seed=0), 300) for line in document]


@pytest.fixture(scope="session")
def bert_tokenizer(embedded_lines):
    """A WordPiece tokenizer of 300 tokens."""
    settings = TokenizerSettings(kind="wordpiece", vocab_size=300)
    return train_tokenizer(embedded_lines, settings, model_max_length=64)


@pytest.fixture(scope="session")
def gpt_tokenizer(embedded_lines):
    """A byte-level BPE tokenizer of 400 tokens."""
    settings = TokenizerSettings(kind="bpe", vocab_size=400)
    return train_tokenizer(embedded_lines, settings, model_max_length=64)


@pytest.fixture(scope="session")
def embedded_store(store_of):
    """The first documents of the embedded corpus under a tokenizer."""

    def make(tokenizer, num_documents=200, end_token=None):
        given = []
        for document in itertools.islice(documents("prose", "train", seed=0), num_documents):
            sentences = [tokenizer(sentence, add_special_tokens=False)["input_ids"] for sentence in document]
            if end_token is not None:
                sentences[-1].append(end_token)
            given.append(sentences)
        return store_of(given)

    return make


@pytest.fixture(scope="session")
def vocabulary():
    """A made-up vocabulary of 1000 ids, of which the first five are special (the second is the unknown token)."""
    special = np.zeros(1000, bool)
    special[:5] = True
    return Vocabulary(size=1000, pad=0, unknown=1, cls=2, sep=3, mask=4, eos=-1, special=special)
