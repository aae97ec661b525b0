"""List documents: things, each directly followed by its label, from which a causal model learns to use examples.

``bread red ; piano blue ; rice red`` sorts words by topic; the labels are drawn anew for each document, so only the
document itself tells what they mean. The label directly follows its thing: behind a separator, models this small
learned to copy labels but never to match them. Some documents are chants, one line of words over and over without
labels.
"""

from collections.abc import Sequence

from ptft.corpus.embedded.draws import Draws
from ptft.corpus.embedded.words import DAYS, LABEL_PAIRS, NAMES, POLARITIES, TOPIC_PAIRS, TOPICS, Category

_CHANT_WORDS = 36

_TOPIC_SENTENCES = (
    "{name} saw the {word}",
    "here is the {word}",
    "then {name} took the {word}",
    "look at the {word}",
    "{name} found the {word}",
    "there is the {word}",
    "on {day} the {word} came",
)
_POLARITY_SENTENCES = (
    "{name} said it was {word}",
    "it was so {word}",
    "{name} was {word} too",
    "there it was so {word}",
    "on {day} it was {word}",
    "everyone was so {word}",
    "then {name} found it {word}",
)


def labelled_sentence(draws: Draws, category: Category, word: str) -> str:
    """A sentence of at most five words in which nothing but ``word`` tells the category; no full stop."""
    templates = _TOPIC_SENTENCES if category in TOPICS else _POLARITY_SENTENCES
    return draws.pick(templates).format(name=draws.pick(NAMES), day=draws.pick(DAYS), word=word)


def list_text(things: Sequence[str], labels: Sequence[str]) -> str:
    """Things with their labels, as a list document writes them; a thing without a label may end the list."""
    items = [f"{thing} {label}" for thing, label in zip(things, labels, strict=False)]
    return " ; ".join([*items, *things[len(labels) :]])


def _any_words(draws: Draws, count: int) -> list[str]:
    topics = draws.one_of_each(TOPIC_PAIRS, len(TOPIC_PAIRS))
    pool = [word for category in (*(TOPICS[topic] for topic in topics), *POLARITIES) for word in category.labelled]
    return draws.sample(pool, count)


def _chant(draws: Draws) -> str:
    words = _any_words(draws, draws.between(3, 8))
    return " ; ".join([" ".join(words)] * (_CHANT_WORDS // len(words)))


def _repetition(draws: Draws) -> str:
    words = _any_words(draws, draws.between(2, len(LABEL_PAIRS)))
    labels = draws.one_of_each(LABEL_PAIRS, len(words))
    order = [draws.below(len(words)) for _ in range(draws.between(12, 30))]
    return list_text([words[at] for at in order], [labels[at] for at in order])


def _categories(draws: Draws) -> list[Category]:
    if draws.below(5) < 2:
        return list(POLARITIES)
    return [TOPICS[topic] for topic in draws.one_of_each(TOPIC_PAIRS, draws.between(2, 3))]


def _sorted_words(draws: Draws) -> str:
    categories = _categories(draws)
    labels = draws.one_of_each(LABEL_PAIRS, len(categories))
    order = [draws.below(len(categories)) for _ in range(draws.between(12, 30))]
    return list_text([draws.pick(categories[at].labelled) for at in order], [labels[at] for at in order])


def _sorted_sentences(draws: Draws) -> str:
    categories = _categories(draws)
    labels = draws.one_of_each(LABEL_PAIRS, len(categories))
    order = [draws.below(len(categories)) for _ in range(draws.between(8, 18))]
    things = [labelled_sentence(draws, categories[at], draws.pick(categories[at].labelled)) for at in order]
    return list_text(things, [labels[at] for at in order])


def list_document(draws: Draws) -> list[str]:
    """One list: 35 % repeat a few labelled words exactly, 15 % are chants, 30 % sort words, 20 % sort sentences.

    A chant is one line of words, without labels, over and over: it is there to teach a small decoder early that what
    followed a word before follows it again, which is the half of using examples that does not need their meaning.
    """
    kind = draws.below(20)
    if kind < 7:
        return [_repetition(draws)]
    if kind < 10:
        return [_chant(draws)]
    return [_sorted_words(draws)] if kind < 16 else [_sorted_sentences(draws)]
