"""List documents: things, each directly followed by its label, from which a causal model learns to use examples.

``bread red ; piano blue ; rice red`` sorts words by topic; the labels are drawn anew for each document, so only the
document itself tells what they mean. The label directly follows its thing: behind a separator, models this small
learned to copy labels but never to match them.
"""

from collections.abc import Sequence

from ptft.corpus.embedded.draws import Draws
from ptft.corpus.embedded.words import DAYS, LABEL_PAIRS, NAMES, POLARITIES, TOPIC_PAIRS, TOPICS, Category

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


def _repetition(draws: Draws) -> str:
    topics = draws.one_of_each(TOPIC_PAIRS, len(TOPIC_PAIRS))
    pool = [word for category in (*(TOPICS[topic] for topic in topics), *POLARITIES) for word in category.labelled]
    num_words = draws.between(2, 4)
    words = draws.sample(pool, num_words)
    labels = draws.one_of_each(LABEL_PAIRS, num_words)
    order = [draws.below(num_words) for _ in range(draws.between(20, 40))]
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
    """One list: 60 % repeat a few words exactly, 25 % sort words, 15 % sort sentences.

    The many long lists of few words are there to be matched from early; not every seed's decoder learns it in the
    quickstart's budget (``benchmarks/results/quickstart.json`` has each seed).
    """
    kind = draws.below(20)
    if kind < 12:
        return [_repetition(draws)]
    return [_sorted_words(draws)] if kind < 17 else [_sorted_sentences(draws)]
