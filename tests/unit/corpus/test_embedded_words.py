"""The word world: no word has two roles, and nothing is missing from it."""

from collections import Counter

from ptft.corpus.embedded.words import CUES, DAYS, LABEL_PAIRS, LABELS, NAMES, POLARITIES, TOPIC_PAIRS, TOPICS


def test_no_word_has_two_roles():
    roles = [word for category in (*TOPICS, *POLARITIES) for word in category.all_words]
    roles += [*NAMES, *DAYS, *LABELS, *(word for cue in CUES for word in cue)]
    roles += [verb for topic in TOPICS for verb in topic.verbs]
    assert [word for word, count in Counter(roles).items() if count > 1] == []


def test_no_place_or_verb_belongs_to_two_topics():
    words = [word for topic in TOPICS for word in topic.verbs + topic.places]
    assert len(words) == len(set(words))


def test_sizes_are_those_the_experiments_asked_for():
    assert [len(topic.labelled) for topic in TOPICS] == [10] * 8
    assert [len(topic.held_out) for topic in TOPICS] == [6] * 8
    assert [len(polarity.labelled) for polarity in POLARITIES] == [19, 19]
    assert [len(polarity.held_out) for polarity in POLARITIES] == [13, 13]
    assert (len(NAMES), len(DAYS), len(CUES), len(LABELS)) == (24, 7, 9, 8)


def test_all_words_are_plain_lower_case():
    words = [word for category in (*TOPICS, *POLARITIES) for word in (*category.all_words, *category.places)]
    assert all(word.isascii() and word.isalpha() and word.islower() for word in (*words, *NAMES, *DAYS, *LABELS))


def test_the_pairs_held_apart_cover_each_topic_and_each_label_once():
    assert sorted(topic for pair in TOPIC_PAIRS for topic in pair) == list(range(len(TOPICS)))
    assert sorted(label for pair in LABEL_PAIRS for label in pair) == sorted(LABELS)


def test_words_of_a_kind():
    assert TOPICS[0].words("L") == TOPICS[0].labelled
    assert TOPICS[0].words("H") == TOPICS[0].held_out
