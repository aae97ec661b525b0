import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest

from ptft.corpus import store as store_module
from ptft.corpus.store import Encoded, compile_store, open_store
from ptft.errors import DataError

DOCUMENTS = [["a bc", "d"], ["efg"], ["h i j k", "", "l"]]


def encode(texts):
    """One token a letter."""
    return Encoded([[ord(letter) for letter in text if letter.isalpha()] for text in texts])


def encode_with_starts(texts):
    """Also: a letter begins a word unless a letter stands before it."""
    ids = encode(texts).ids
    pieces = [[re.sub(r"[^a-z]", "", word) for word in text.split()] for text in texts]
    return Encoded(ids, np.array([n == 0 for words in pieces for w in words for n in range(len(w))], bool))


def compiled(folder, documents=DOCUMENTS, key="key", vocab_size=1000, end_token=None, encode=encode):
    return compile_store(documents, encode, folder, key, vocab_size=vocab_size, end_token=end_token)


def as_texts(store):
    """Documents as lists of sentences, read back through both indices."""
    tokens = "".join(map(chr, store.tokens.tolist()))
    bounds = [store.sentence_bounds(document) for document in range(store.num_documents)]
    return [[tokens[begin:end] for begin, end in itertools.pairwise(sentences)] for sentences in bounds]


def test_tokens_lie_in_order_with_sentence_and_document_ends(tmp_path):
    store = compiled(tmp_path)
    assert as_texts(store) == [["abc", "d"], ["efg"], ["hijk", "l"]]
    assert store.num_documents == 3
    assert store.document_ends.tolist() == [4, 7, 12]


def test_counts(tmp_path):
    info = compiled(tmp_path, [["ab 한글", "c"]]).info
    assert (info.documents, info.sentences, info.tokens, info.words) == (1, 2, 5, 3)
    assert info.text_bytes == len("ab 한글c".encode())
    assert info.key == "key"


def test_sentences_and_documents_without_a_token_leave_no_trace(tmp_path):
    store = compiled(tmp_path, [["12", "a", "3"], ["4"], [], ["5", "b"]])
    assert as_texts(store) == [["a"], ["b"]]


def test_the_end_token_closes_each_document_once(tmp_path):
    store = compiled(tmp_path, [["ab", "c"], ["1"], ["d", "2"]], end_token=ord("!"))
    assert as_texts(store) == [["ab", "c!"], ["d!"]]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1000, "uint16"), (65_536, "uint16"), (65_537, "uint32")])
def test_ids_are_as_wide_as_the_vocabulary_needs(tmp_path, vocab_size, dtype):
    highest = vocab_size - 1
    store = compiled(tmp_path, vocab_size=vocab_size, encode=lambda texts: Encoded([[0, highest] for _ in texts]))
    assert store.tokens.dtype == store.info.dtype == dtype
    assert store.tokens[:2].tolist() == [0, highest]


def test_batches_of_documents_join_without_a_seam(tmp_path, monkeypatch):
    documents = [[chr(97 + (n + s) % 26) * (n % 3 + s) for s in range(n % 4)] for n in range(50)]
    whole = compiled(tmp_path / "whole", documents, end_token=ord("!"))
    monkeypatch.setattr(store_module, "_CHARACTERS_PER_BATCH", 300)
    parts = compiled(tmp_path / "parts", documents, end_token=ord("!"))
    assert parts.info == whole.info


def test_batches_keep_their_order_whichever_is_encoded_first(tmp_path, monkeypatch):
    def slow_at_first(texts):
        time.sleep(0.05 if texts[0] == "a" else 0)
        return encode(texts)

    monkeypatch.setattr(store_module, "_CHARACTERS_PER_BATCH", 1)
    store = compiled(tmp_path, [[letter] for letter in "abcdefgh"], encode=slow_at_first)
    assert as_texts(store) == [[letter] for letter in "abcdefgh"]


def test_checksums_are_those_of_the_files(tmp_path):
    info = compiled(tmp_path).info
    for name, checksum in info.checksums.items():
        assert hashlib.sha256((tmp_path / "key" / f"{name}.bin").read_bytes()).hexdigest() == checksum
    assert compiled(tmp_path, [["abc", "e"], *DOCUMENTS[1:]], key="other").info.checksums != info.checksums


def test_reopened_it_is_the_same(tmp_path):
    store, again = compiled(tmp_path), open_store(tmp_path / "key")
    assert asdict(again.info) == asdict(store.info)
    for name in ("tokens", "document_ends", "end_bits"):
        assert np.array_equal(getattr(again, name), getattr(store, name))


def test_it_cannot_be_written_to(tmp_path):
    with pytest.raises(ValueError, match="read-only"):
        compiled(tmp_path).tokens[0] = 1


def test_a_compiled_corpus_is_not_read_again(tmp_path):
    compiled(tmp_path)

    def unread():
        raise AssertionError("the documents are read again")
        yield

    assert as_texts(compiled(tmp_path, unread()))[1] == ["efg"]


@pytest.mark.parametrize("documents", [[], [[]], [["", " "], ["123"]]])
def test_an_empty_corpus_is_refused(tmp_path, documents):
    with pytest.raises(
        DataError, match=r"^the corpus is empty: no document gives a token; check the path and the text column$"
    ):
        compiled(tmp_path, documents)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tokens", "document_ends", "end_bits", "start_bits"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_cut_files_are_named(tmp_path, name, damage):
    compiled(tmp_path, encode=encode_with_starts)
    path = tmp_path / "key" / f"{name}.bin"
    size = path.stat().st_size
    if damage == "cut":
        os.truncate(path, size - 1)
    else:
        path.unlink()
    with pytest.raises(
        DataError, match=rf"{name}\.bin is damaged: it should have {size} bytes; delete .*key to compile"
    ):
        compiled(tmp_path)


@pytest.mark.parametrize("name", ["tokens", "document_ends", "end_bits", "start_bits"])
def test_a_changed_byte_is_noticed_and_named(tmp_path, name):
    compiled(tmp_path, encode=encode_with_starts)
    path = tmp_path / "key" / f"{name}.bin"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}\.bin is damaged: its SHA-256 is .* but .* was written; delete .*key"):
        compiled(tmp_path)


def test_a_large_store_is_compared_again_only_if_a_file_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_CHECKED_BYTES", 0)
    compiled(tmp_path)
    path = tmp_path / "key" / "tokens.bin"
    times = path.stat()
    content = path.read_bytes()
    path.write_bytes(content[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    open_store(tmp_path / "key")
    os.utime(path)
    with pytest.raises(DataError, match=r"tokens\.bin is damaged"):
        open_store(tmp_path / "key")


@pytest.mark.parametrize("per_batch", [1, 250, 1 << 20])
def test_word_starts_are_kept_as_bits(tmp_path, monkeypatch, per_batch):
    monkeypatch.setattr(store_module, "_CHARACTERS_PER_BATCH", per_batch)
    documents = [["ab cd", "e"], ["fgh i jkl", "mn"], ["o"]]
    store = compiled(tmp_path, documents, encode=encode_with_starts, end_token=ord("!"))
    assert "".join(map(chr, store.tokens)) == "abcde!fghijklmn!o!"
    expected = [letter in "acefijmo!" for letter in "abcde!fghijklmn!o!"]
    assert store.starts(np.arange(18)).tolist() == expected
    assert store.starts(np.array([[0, 1], [17, 2]])).tolist() == [[True, False], [True, True]]
    assert compiled(tmp_path, documents, key="without").starts(np.arange(3)) is None


@pytest.mark.parametrize("content", ["", '{"key": "key"', '{"key": "key"}', None])
def test_a_damaged_description_is_named(tmp_path, content):
    compiled(tmp_path)
    path = tmp_path / "key" / "store.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=r"store\.json is missing or damaged; delete .*key to compile it again"):
        open_store(tmp_path / "key")


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"^cannot write the token store below '.*cache': "):
        compiled(tmp_path / "cache")


def test_a_corpus_that_cannot_be_read_to_its_end_is_not_taken_for_a_full_disk(tmp_path):
    def torn():
        yield DOCUMENTS[0]
        raise OSError(5, "Input/output error", "corpus.txt")

    message = r"^cannot read the corpus: \[Errno 5\] Input/output error: 'corpus\.txt'; make it readable"
    with pytest.raises(DataError, match=message):
        compiled(tmp_path, torn())
    assert not (tmp_path / "key").exists()


def test_the_faster_of_two_processes_wins(tmp_path):
    def slow():
        yield DOCUMENTS[0]
        compiled(tmp_path)  # another process is done meanwhile
        yield from DOCUMENTS[1:]

    assert as_texts(compile_store(slow(), encode, tmp_path, "key", vocab_size=9, end_token=None))[1] == ["efg"]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_failure_leaves_nothing(tmp_path):
    def failing():
        yield DOCUMENTS[0]
        raise DataError("line 2 is no text")

    with pytest.raises(DataError, match="line 2 is no text"):
        compiled(tmp_path, failing())
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from ptft.corpus import store

def documents():
    yield ["ab", "c"]
    if sys.argv[2] == "reading":
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "renaming":
    Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store._CHARACTERS_PER_BATCH = 1
cache = Path(sys.argv[1])
encode = lambda texts: store.Encoded([[1, 2] for _ in texts])
store.compile_store(documents(), encode, cache, "key", vocab_size=9, end_token=None)
"""


@pytest.mark.parametrize("moment", ["reading", "renaming"])
def test_killed_while_compiling_nothing_opens_and_the_next_try_succeeds(tmp_path, moment):
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "key").exists()
    assert list(tmp_path.glob(".key.*.partial/tokens.bin")), "the test did not interrupt anything"
    with pytest.raises(DataError):
        open_store(tmp_path / "key")
    assert as_texts(compiled(tmp_path)) == [["abc", "d"], ["efg"], ["hijk", "l"]]
    assert json.loads((tmp_path / "key" / "store.json").read_text())["documents"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_what_another_corpus_left_when_it_was_killed_is_deleted_once_a_store_is_opened(tmp_path):
    compiled(tmp_path)
    (tmp_path / ".other.0.partial").mkdir()
    (tmp_path / ".other.0.partial" / "tokens.bin").write_bytes(b"half")
    (tmp_path / ".other.0.lock").touch()
    compiled(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_batch_holds_so_much_text_that_memory_does_not_grow_with_long_sentences(tmp_path):
    most = 0

    def watched(texts):
        nonlocal most
        most = max(most, sum(map(len, texts)))
        return encode(["a"] * len(texts))

    compiled(tmp_path, ([["x" * 100_000]] * 50), encode=watched)
    assert most <= (1 << 20) + 100_000
