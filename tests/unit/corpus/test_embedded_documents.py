"""The embedded corpus: its bytes, its proportions, and what it holds out of lists."""

import hashlib
import re
from itertools import islice

import pytest

from ptft.corpus.embedded import NUM_DOCUMENTS, documents
from ptft.corpus.embedded.draws import Draws
from ptft.corpus.embedded.words import CUES, LABEL_PAIRS, LABELS, POLARITIES, TOPIC_PAIRS, TOPICS
from ptft.errors import RecipeError

HELD_OUT = {word for category in (*TOPICS, *POLARITIES) for word in category.held_out}
LABEL_WORDS = set(LABELS)
CUE_WORDS = {word for cue in CUES for word in cue}

# The first 200 documents of seed 1. A change of these bytes is a change of every number measured on the corpus.
SHA256 = {
    ("prose", "train"): "fd8dff8278d61fa6c148fdc46c86559f61248b2903da2edf1708ab53147b62f4",
    ("prose", "valid"): "3427154584099d8e22045e0b400624a8849af5c9ee2eac43c35dbb3e0db1ee93",
    ("lists", "train"): "6c4a36614ef241c4a829652430a8f2e7ba010c8f26ae49ad09114798e9f2326d",
    ("lists", "valid"): "ac2e25b354e5db951e08bd6e7318716b1407da6540a2473069a71c9c2d621511",
}


def words_of(document):
    return set(re.findall(r"[a-z]+", " ".join(document)))


@pytest.fixture(scope="module")
def corpus():
    return {key: list(documents(*key, seed=1)) for key in NUM_DOCUMENTS}


@pytest.fixture(scope="module")
def lists(corpus):
    everything = corpus["lists", "train"] + corpus["lists", "valid"]
    return [document[0] for document in everything if " ; " in document[0]]


@pytest.fixture(scope="module")
def labelled_lists(lists):
    return [text for text in lists if not LABEL_WORDS.isdisjoint(text.split())]


@pytest.fixture(scope="module")
def chants(lists):
    return [text for text in lists if LABEL_WORDS.isdisjoint(text.split())]


@pytest.mark.parametrize("key", SHA256, ids="-".join)
def test_bytes_are_the_same_on_every_machine(key):
    text = "\n".join(" ".join(document) for document in islice(documents(*key, seed=1), 200))
    assert hashlib.sha256(text.encode()).hexdigest() == SHA256[key]


def test_a_document_depends_on_the_seed():
    assert next(documents("prose", "train", 1)) != next(documents("prose", "train", 2))


def test_number_of_documents(corpus):
    assert {key: len(found) for key, found in corpus.items()} == NUM_DOCUMENTS


@pytest.mark.parametrize("kind", ["prose", "lists"])
def test_no_validation_document_is_a_training_document(corpus, kind):
    train = {tuple(document) for document in corpus[kind, "train"]}
    assert [document for document in corpus[kind, "valid"] if tuple(document) in train] == []


def test_prose_holds_no_label(corpus):
    assert all(words_of(document).isdisjoint(LABELS) for document in corpus["prose", "train"])


def test_prose_holds_every_word_of_every_category(corpus):
    seen = set().union(*map(words_of, corpus["prose", "valid"]))
    assert [word for c in (*TOPICS, *POLARITIES) for word in c.all_words if word not in seen] == []


def test_a_prose_document_keeps_to_one_topic_and_one_polarity(corpus):
    for document in corpus["prose", "valid"]:
        words = words_of(document)
        assert sum(not words.isdisjoint(topic.all_words) for topic in TOPICS) == 1
        polarities = {
            side
            for side in (0, 1)
            if not words.isdisjoint(POLARITIES[side].all_words) or not words.isdisjoint(cue[side] for cue in CUES)
        }
        assert len(polarities) <= 1


def test_prose_has_four_to_seven_sentences_of_few_words(corpus):
    for document in corpus["prose", "valid"]:
        assert 4 <= len(document) <= 7
        assert max(len(sentence.split()) for sentence in document) <= 15
        assert all(sentence.endswith(".") for sentence in document)


def test_tldr_sums_up_with_a_noun_of_the_first_sentence(corpus):
    summaries = [document for document in corpus["prose", "valid"] if document[-1].startswith("tl;dr: ")]
    assert len(summaries) == pytest.approx(len(corpus["prose", "valid"]) / 4, rel=0.2)
    for document in summaries:
        assert len(document) == 5
        assert document[-1].rstrip(".").split()[-1] in words_of(document[:1])


def test_four_fifths_of_the_decoder_corpus_are_lists(corpus, lists):
    documents_of_both = len(corpus["lists", "train"]) + len(corpus["lists", "valid"])
    assert len(lists) / documents_of_both == pytest.approx(0.8, abs=0.02)


def test_a_third_of_the_lists_repeat_exactly(lists, labelled_lists):
    def repeats(text):
        items = [item.rsplit(" ", 1) for item in text.split(" ; ")]
        return len({label for _, label in items}) == len({thing for thing, _ in items})

    assert sum(map(repeats, labelled_lists)) / len(lists) == pytest.approx(0.35, abs=0.02)


def test_a_seventh_of_the_lists_are_one_line_over_and_over(lists, chants):
    assert len(chants) / len(lists) == pytest.approx(0.15, abs=0.02)
    for text in chants:
        lines = text.split(" ; ")
        words = lines[0].split()
        assert set(lines) == {lines[0]}
        assert 3 <= len(set(words)) == len(words) <= 8
        assert 29 <= len(words) * len(lines) <= 36


def test_in_lists_a_label_directly_follows_each_thing(labelled_lists):
    for text in labelled_lists:
        for item in text.split(" ; "):
            thing, label = item.rsplit(" ", 1)
            assert label in LABELS
            assert 1 <= len(thing.split()) <= 5
            assert set(thing.split()).isdisjoint(LABELS)


def test_in_a_list_a_thing_keeps_its_label(labelled_lists):
    for text in labelled_lists:
        items = {tuple(item.rsplit(" ", 1)) for item in text.split(" ; ")}
        assert len(items) == len({thing for thing, _ in items})


def test_held_out_words_are_in_no_list(lists):
    assert [text for text in lists if not HELD_OUT.isdisjoint(text.split())] == []


def test_cues_are_in_no_list(lists):
    assert [text for text in lists if not CUE_WORDS.isdisjoint(text.split())] == []


def test_topic_pairs_held_apart_share_no_list(lists):
    for text in lists:
        words = set(text.split())
        topics = {at for at, topic in enumerate(TOPICS) if not words.isdisjoint(topic.all_words)}
        assert not any(topics >= set(pair) for pair in TOPIC_PAIRS)


def test_label_pairs_held_apart_share_no_list(lists):
    assert not any(set(text.split()) >= set(pair) for text in lists for pair in LABEL_PAIRS)


def test_all_other_label_pairs_share_lists(lists):
    found = {frozenset(words) for words in (set(text.split()) & LABEL_WORDS for text in lists) if len(words) == 2}
    assert len(found) == 28 - len(LABEL_PAIRS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prosa", "train", 1), r"embedded corpus: unknown kind 'prosa'; did you mean 'prose'\? Known: lists, prose"),
        (("lists", "test", 1), "embedded corpus: unknown split 'test'"),
        (("lists", "train", -1), "embedded corpus: seed is -1; allowed: integers >= 0"),
    ],
)
def test_unknown_arguments_are_refused(arguments, message):
    with pytest.raises(RecipeError, match=message):
        documents(*arguments)


def test_sample_draws_each_item_at_most_once():
    assert sorted(Draws([0.99, 0.5, 0.0]).sample("abc", 3)) == ["a", "b", "c"]


def test_between_reaches_both_ends():
    draws = Draws([0.0, 0.999])
    assert [draws.between(4, 7), draws.between(4, 7)] == [4, 7]


def test_one_of_each_never_draws_two_of_a_pair():
    assert set(Draws([0.1, 0.6, 0.9, 0.2]).one_of_each([("a", "A"), ("b", "B")], 2)) in (
        {"a", "b"},
        {"a", "B"},
        {"A", "b"},
        {"A", "B"},
    )
