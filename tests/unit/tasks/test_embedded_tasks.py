"""The labelled and in-context tasks on the embedded corpus: what is held out, and what is balanced."""

import hashlib
import re
from collections import Counter
from itertools import islice

import pytest

from ptft.corpus.embedded import documents
from ptft.corpus.embedded.words import CUES, LABEL_PAIRS, LABELS, POLARITIES, TOPIC_PAIRS, TOPICS
from ptft.errors import RecipeError
from ptft.tasks import PROMPT_TASKS, TASKS

CATEGORIES = {"topic": TOPICS, "polarity": POLARITIES}
WORDS = {"L": set(), "H": set()}
for category in (*TOPICS, *POLARITIES):
    WORDS["L"].update(category.labelled)
    WORDS["H"].update(category.held_out)
CUE_WORDS = {word for cue in CUES for word in cue}
TOPIC_WORDS = {word for topic in TOPICS for word in (*topic.verbs, *topic.places)}
PROMPTS = ("words_topic_L", "words_topic_H", "words_polarity_H", "sentences_topic", "sentences_polarity_L")


def words_of(text):
    return set(re.findall(r"[a-z]+", text))


def category_of(text):
    """The name of the one category whose words the text holds."""
    (found,) = [c.name for c in (*TOPICS, *POLARITIES) if not words_of(text).isdisjoint(c.all_words)]
    return found


def shots_of(item):
    """The solved examples of a prompt, as (thing, label), and the query."""
    *shots, query = item.context.split(" ; ")
    return [tuple(shot.rsplit(" ", 1)) for shot in shots], query


@pytest.fixture(scope="module")
def data():
    return {name: TASKS[name]().data(seed=5) for name in CATEGORIES}


def all_rows(task_data):
    return (*task_data.train, *task_data.valid, *task_data.tests["L"], *task_data.tests["H"])


@pytest.mark.parametrize("name", CATEGORIES)
def test_sizes(data, name):
    sizes = len(data[name].train), len(data[name].valid), *(len(rows) for rows in data[name].tests.values())
    assert sizes == (2048, 256, 500, 500)
    assert list(data[name].tests) == ["L", "H"]


@pytest.mark.parametrize("name", CATEGORIES)
def test_the_label_is_the_category_of_the_only_category_word(data, name):
    assert data[name].labels == tuple(category.name for category in CATEGORIES[name])
    assert [row for row in all_rows(data[name]) if category_of(row.text) != row.label] == []


@pytest.mark.parametrize("name", CATEGORIES)
def test_h_words_are_in_test_set_h_only(data, name):
    seen_in_training = (*data[name].train, *data[name].valid, *data[name].tests["L"])
    assert all(words_of(row.text).isdisjoint(WORDS["H"]) for row in seen_in_training)
    assert all(words_of(row.text).isdisjoint(WORDS["L"]) for row in data[name].tests["H"])


@pytest.mark.parametrize("name", CATEGORIES)
def test_no_cue_verb_or_place_gives_a_label_away(data, name):
    assert all(words_of(row.text).isdisjoint(CUE_WORDS | TOPIC_WORDS) for row in all_rows(data[name]))


@pytest.mark.parametrize("name", CATEGORIES)
def test_no_sentence_occurs_twice(data, name):
    assert max(Counter(row.text for row in all_rows(data[name])).values()) == 1


@pytest.mark.parametrize("name", CATEGORIES)
def test_labels_are_balanced_in_every_set(data, name):
    for rows in (data[name].train, data[name].valid, *data[name].tests.values()):
        counts = Counter(row.label for row in rows)
        assert set(counts) == set(data[name].labels)
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", CATEGORIES)
@pytest.mark.parametrize("num_rows", [5, 16, 64, 100])
def test_the_first_training_rows_are_balanced(data, name, num_rows):
    counts = Counter(row.label for row in data[name].train[:num_rows])
    assert max(counts.values()) - min(counts[label] for label in data[name].labels) <= 1


@pytest.mark.parametrize("name", CATEGORIES)
def test_label_order_does_not_repeat(data, name):
    labels = [row.label for row in data[name].train]
    size = len(data[name].labels)
    assert len({tuple(labels[at : at + size]) for at in range(0, 64 * size, size)}) > 1


@pytest.mark.parametrize("name", CATEGORIES)
def test_the_seed_keys_the_rows(data, name):
    assert TASKS[name]().data(seed=5) == data[name]
    assert TASKS[name]().data(seed=6).train[:8] != data[name].train[:8]


@pytest.mark.parametrize("name", CATEGORIES)
def test_every_word_of_a_row_occurs_in_unlabelled_prose(data, name):
    known = set().union(*(words_of(" ".join(document)) for document in islice(documents("prose", "train", 1), 4096)))
    assert set().union(*(words_of(row.text) for row in all_rows(data[name]))) <= known


@pytest.mark.parametrize("name", CATEGORIES)
def test_a_row_says_where_it_stands(data, name):
    assert data[name].train[16].where == f"{name}, L row 17"


def test_the_family_holds_the_in_context_tasks():
    assert set(PROMPTS) <= set(PROMPT_TASKS)


@pytest.mark.parametrize("name", PROMPTS)
def test_shots_are_nested(name):
    items = {k: PROMPT_TASKS[name]().items(k, seed=5) for k in (0, 1, 4, 16)}
    longest = [shots_of(item) for item in items[16]]
    for k, fewer in items.items():
        for item, (all_shots, query) in zip(fewer, longest, strict=True):
            assert shots_of(item) == (all_shots[:k], query)
            assert item.shots == k
    assert [(i.choices, i.gold) for i in items[0]] == [(i.choices, i.gold) for i in items[16]]


@pytest.mark.parametrize("name", PROMPTS)
def test_gold_and_the_last_label_shown_are_balanced(name):
    items = PROMPT_TASKS[name]().items(1, seed=5)
    assert len(items) == 200
    assert Counter(item.gold for item in items) == {0: 100, 1: 100}
    repeats = sum(shots_of(item)[0][-1][1] == item.choices[item.gold].strip() for item in items)
    assert 70 <= repeats <= 130


@pytest.mark.parametrize("name", PROMPTS)
def test_both_labels_are_shown_equally_often(name):
    for item in PROMPT_TASKS[name]().items(16, seed=5):
        shots, _ = shots_of(item)
        assert {label for _, label in shots[:2]} == {choice.strip() for choice in item.choices}
        assert set(Counter(label for _, label in shots).values()) == {8}


@pytest.mark.parametrize("name", PROMPTS)
def test_the_gold_label_is_that_of_the_query_category(name):
    for item in PROMPT_TASKS[name]().items(16, seed=5):
        shots, query = shots_of(item)
        labels = {category_of(thing): label for thing, label in shots}
        assert len(labels) == 2
        assert item.choices[item.gold] == " " + labels[category_of(query)]


@pytest.mark.parametrize("name", PROMPTS)
def test_the_query_word_is_in_no_shot(name):
    for item in PROMPT_TASKS[name]().items(16, seed=5):
        shots, query = shots_of(item)
        (word,) = words_of(query) & (WORDS["L"] | WORDS["H"])
        assert all(word not in thing.split() for thing, _ in shots)


@pytest.mark.parametrize("name", PROMPTS)
def test_label_pairs_are_those_that_share_no_list(name):
    pairs = Counter(frozenset(map(str.strip, item.choices)) for item in PROMPT_TASKS[name]().items(0, seed=5))
    assert set(pairs) == set(map(frozenset, LABEL_PAIRS))


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_use_the_kind_of_words_their_name_says(name):
    other = WORDS["L"] if name.endswith("_H") else WORDS["H"]
    contexts = [item.context for item in PROMPT_TASKS[name]().items(16, seed=5)]
    assert all(words_of(context).isdisjoint(other | CUE_WORDS) for context in contexts)


def test_sentences_topic_asks_about_topics_that_share_no_list():
    unlisted = {frozenset((TOPICS[one].name, TOPICS[two].name)) for one, two in TOPIC_PAIRS}
    items = PROMPT_TASKS["sentences_topic"]().items(2, seed=5)
    asked = {frozenset(category_of(thing) for thing, _ in shots_of(item)[0]) for item in items}
    assert asked == unlisted


@pytest.mark.parametrize("name", PROMPTS)
def test_sixteen_shots_fit_in_128_words(name):
    assert max(len(item.context.split()) for item in PROMPT_TASKS[name]().items(16, seed=5)) < 120


@pytest.mark.parametrize("k", [-1, 17])
def test_too_many_shots_are_refused(k):
    with pytest.raises(RecipeError, match=rf"words_topic_H: k is {k}; allowed: 0 to 16 shots"):
        PROMPT_TASKS["words_topic_H"]().items(k, seed=5)


def test_a_prompt_reads_like_a_list_document():
    item = PROMPT_TASKS["words_topic_H"]().items(2, seed=5)[0]
    assert re.fullmatch(r"[a-z]+ [a-z]+ ; [a-z]+ [a-z]+ ; [a-z]+", item.context)
    assert all(choice.startswith(" ") and choice[1:] in LABELS for choice in item.choices)


def test_rows_and_prompts_are_the_same_on_every_machine(data):
    lines = [row.text + row.label for name in sorted(data) for row in all_rows(data[name])]
    lines += [item.context for name in PROMPTS for item in PROMPT_TASKS[name]().items(16, seed=5)]
    assert (
        hashlib.sha256("\n".join(lines).encode()).hexdigest()
        == "9cf7cfe09e738aa381b6ea40b2b0a9de016722efbebf81d6208e8d0ca00c0b72"
    )
