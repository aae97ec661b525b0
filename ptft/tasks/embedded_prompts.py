"""In-context tasks on the embedded corpus: list documents that stop before the label of their last thing.

Each item draws its own two categories and its own two labels, a pair of labels that never share a list of the corpus.
With no shots, nothing tells which label means what: accuracy at k=0 is chance by construction.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

from ptft import rng
from ptft.corpus.embedded.draws import Draws, draws_for
from ptft.corpus.embedded.lists import labelled_sentence, list_text
from ptft.corpus.embedded.words import LABEL_PAIRS, POLARITIES, TOPIC_PAIRS, TOPICS, Category, Kind
from ptft.errors import RecipeError
from ptft.tasks.prompt_task import PromptItem, PromptTask

NUM_ITEMS = 200
MAX_SHOTS = 16

Pair = tuple[Category, Category]
_ANY_TOPICS: tuple[Pair, ...] = tuple(combinations(TOPICS, 2))
_UNLISTED_TOPICS: tuple[Pair, ...] = tuple((TOPICS[one], TOPICS[two]) for one, two in TOPIC_PAIRS)
_POLARITY: tuple[Pair, ...] = ((POLARITIES[0], POLARITIES[1]),)


def _word(draws: Draws, category: Category, word: str) -> str:
    return word


class WordsTopicL(PromptTask):
    """Sort nouns that occur in lists by topic."""

    name = "words_topic_L"
    summary = "embedded corpus: sort nouns by topic, nouns that occur in lists"

    def items(self, k: int, seed: int) -> list[PromptItem]:
        """Return 200 items of ``k`` shots (0 to 16)."""
        return _items(self.name, k, seed, _ANY_TOPICS, "L", _word)


class WordsTopicH(PromptTask):
    """Sort nouns that never occur in any list by topic: what is known of them comes from prose."""

    name = "words_topic_H"
    summary = "embedded corpus: sort nouns by topic, nouns that occur in no list"

    def items(self, k: int, seed: int) -> list[PromptItem]:
        """Return 200 items of ``k`` shots (0 to 16)."""
        return _items(self.name, k, seed, _ANY_TOPICS, "H", _word)


class WordsPolarityH(PromptTask):
    """Sort adjectives that never occur in any list by polarity: what is known of them comes from prose."""

    name = "words_polarity_H"
    summary = "embedded corpus: sort adjectives by polarity, adjectives that occur in no list"

    def items(self, k: int, seed: int) -> list[PromptItem]:
        """Return 200 items of ``k`` shots (0 to 16)."""
        return _items(self.name, k, seed, _POLARITY, "H", _word)


class SentencesTopic(PromptTask):
    """Sort sentences by topic, for two topics that never share a list."""

    name = "sentences_topic"
    summary = "embedded corpus: sort sentences by topic, two topics that share no list"

    def items(self, k: int, seed: int) -> list[PromptItem]:
        """Return 200 items of ``k`` shots (0 to 16)."""
        return _items(self.name, k, seed, _UNLISTED_TOPICS, "L", labelled_sentence)


class SentencesPolarityL(PromptTask):
    """Sort sentences by polarity, with adjectives that occur in lists."""

    name = "sentences_polarity_L"
    summary = "embedded corpus: sort sentences by polarity, adjectives that occur in lists"

    def items(self, k: int, seed: int) -> list[PromptItem]:
        """Return 200 items of ``k`` shots (0 to 16)."""
        return _items(self.name, k, seed, _POLARITY, "L", labelled_sentence)


def _items(
    name: str, k: int, seed: int, pairs: Sequence[Pair], kind: Kind, thing: Callable[[Draws, Category, str], str]
) -> list[PromptItem]:
    if not 0 <= k <= MAX_SHOTS:
        raise RecipeError(f"{name}: k is {k!r}; allowed: 0 to {MAX_SHOTS} shots; ask for fewer")
    streams = draws_for(NUM_ITEMS, rng.key_of("embedded prompts " + name), seed)
    return [_item(draws, number % 2, k, pairs, kind, thing) for number, draws in enumerate(streams)]


def _item(
    draws: Draws, gold: int, k: int, pairs: Sequence[Pair], kind: Kind, thing: Callable[[Draws, Category, str], str]
) -> PromptItem:
    categories = draws.sample(draws.pick(pairs), 2)
    labels = draws.sample(draws.pick(LABEL_PAIRS), 2)
    words = [draws.sample(category.words(kind), len(category.words(kind))) for category in categories]
    query = thing(draws, categories[gold], words[gold].pop())
    things = []
    given = []
    # All shots are drawn, whatever k is, so that fewer shots are the first of more. The labels take turns in rounds
    # of two, in random order: both have been shown as soon as k is 2, and the last one shown tells nothing.
    for turn in range(MAX_SHOTS // 2):
        for side in draws.sample((0, 1), 2):
            things.append(thing(draws, categories[side], words[side][turn % len(words[side])]))
            given.append(labels[side])
    context = list_text([*things[:k], query], given[:k])
    return PromptItem(context, tuple(f" {label}" for label in labels), gold, k)
