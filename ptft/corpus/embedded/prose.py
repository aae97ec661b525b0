"""Unlabelled prose of the embedded corpus: reviews, stories and reviews with a TL;DR line.

Nearly every sentence names two nouns of its document's topic, or two adjectives of its polarity; in reviews beside a
cue such as ``smiled`` or ``frowned``. That is company enough for a small model to find out which words belong together.
"""

from ptft.corpus.embedded.draws import Draws
from ptft.corpus.embedded.words import CUES, DAYS, NAMES, POLARITIES, TOPICS, Category

_OPENINGS = (
    "on {day} {person} {verb} the {noun} and the {noun2}.",
    "at the {place} {person} {verb} the {noun} and the {noun2}.",
    "we went to the {place} for the {noun} and the {noun2}.",
)

# Each opinion has the cue of the same index, and two adjectives or two nouns beside it.
_OPINIONS = (
    "{person} {cue} at the {adjective} and {adjective2} {noun}.",
    "{person} {cue} the {noun} and the {noun2}.",
    "it was {adjective} and {adjective2} and {person} {cue}.",
    "the {adjective} and {adjective2} {noun} made us {cue}.",
    "{person} was {cue} about the {noun} and the {noun2}.",
    "everyone {cue} the {adjective} and {adjective2} {noun}.",
    "we {cue} them for the {noun} and the {noun2}.",
    "the {cue} {noun} was so {adjective} and {adjective2}.",
    "{person} {cue} the {noun} and the {noun2} too.",
)

_EVENTS = (
    "{person} {verb} the {noun} and the {noun2}.",
    "on {day} {person} took the {noun} to the {place}.",
    "then {other} came with the {noun} and the {noun2}.",
    "at the {place} we found the {noun} and the {noun2}.",
    "{other} {verb} the {noun} and then the {noun2} too.",
    "here is the {noun} and there is the {noun2}.",
    "{other} saw the {noun} next to the {noun2}.",
    "look at the {noun} and the {noun2}, said {person}.",
)

_TLDR = "tl;dr: {person} {cue} the {noun}."


# A document keeps coming back to this many nouns of its topic: pretraining learned next-sentence prediction first from
# what two halves repeat, and then from what they are about. With five nouns it compared no topics within 900 steps.
_NUM_NOUNS = 3


def _opening(draws: Draws, topic: Category, person: str, noun: str, noun2: str) -> str:
    return draws.pick(_OPENINGS).format(
        person=person,
        noun=noun,
        noun2=noun2,
        verb=draws.pick(topic.verbs),
        place=draws.pick(topic.places),
        day=draws.pick(DAYS),
    )


def _opinions(draws: Draws, nouns: list[str], polarity: int, person: str, count: int) -> list[str]:
    sentences = []
    for which in draws.sample(range(len(_OPINIONS)), count):
        noun, noun2 = draws.sample(nouns, 2)
        adjective, adjective2 = draws.sample(POLARITIES[polarity].all_words, 2)
        sentences.append(
            _OPINIONS[which].format(
                person=person,
                noun=noun,
                noun2=noun2,
                adjective=adjective,
                adjective2=adjective2,
                cue=CUES[which][polarity],
            )
        )
    return sentences


def _review(draws: Draws, num_opinions: int) -> tuple[list[str], str]:
    topic, polarity, person = draws.pick(TOPICS), draws.below(2), draws.pick(NAMES)
    nouns = draws.sample(topic.all_words, _NUM_NOUNS)
    opening = _opening(draws, topic, person, nouns[0], nouns[1])
    summary = _TLDR.format(person=person, cue=CUES[-1][polarity], noun=nouns[0])
    return [opening, *_opinions(draws, nouns, polarity, person, num_opinions)], summary


def review(draws: Draws) -> list[str]:
    """One person's opinion, of one polarity, on a few things of one topic: 4 to 7 sentences."""
    sentences, _ = _review(draws, draws.between(3, 6))
    return sentences


def review_with_tldr(draws: Draws) -> list[str]:
    """Four sentences of a review and a line that sums them up, about the noun named first."""
    sentences, summary = _review(draws, 3)
    return [*sentences, summary]


def story(draws: Draws) -> list[str]:
    """4 to 7 events around a few things of one topic, with one or two persons and no polarity."""
    topic = draws.pick(TOPICS)
    nouns = draws.sample(topic.all_words, _NUM_NOUNS)
    cast = draws.sample(NAMES, draws.between(1, 2))
    sentences = []
    for template in draws.sample(_EVENTS, draws.between(4, 7)):
        noun, noun2 = draws.sample(nouns, 2)
        sentences.append(
            template.format(
                person=cast[0],
                other=cast[-1],
                noun=noun,
                noun2=noun2,
                verb=draws.pick(topic.verbs),
                place=draws.pick(topic.places),
                day=draws.pick(DAYS),
            )
        )
    return sentences


def prose(draws: Draws) -> list[str]:
    """A story (one half), a review or a review with a TL;DR line (one quarter each)."""
    # With fewer stories, next-sentence prediction was learned from polarity alone and topics were never compared.
    kind = draws.below(4)
    if kind < 2:
        return story(draws)
    return review(draws) if kind == 2 else review_with_tldr(draws)
