"""The words of the embedded corpus: eight topics, two polarities, and what is held out of labels.

Each category (a topic with its nouns, a polarity with its adjectives) keeps two kinds of words. *L words* may carry a
label: in list documents and in labelled training sentences. *H words* occur in unlabelled prose only, so that whatever
a model knows about them it learned by pretraining.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["L", "H"]


@dataclass(frozen=True, slots=True)
class Category:
    """A topic with its nouns, or a polarity with its adjectives.

    Args:
        name: What the category is called as a label.
        labelled: The L words: they may stand beside a label.
        held_out: The H words: they stand in unlabelled prose only.
        verbs: For a topic, what people do with its nouns, in the past tense.
        places: For a topic, where they do it.
    """

    name: str
    labelled: tuple[str, ...]
    held_out: tuple[str, ...]
    verbs: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    def words(self, kind: Kind) -> tuple[str, ...]:
        """The L words or the H words."""
        return self.labelled if kind == "L" else self.held_out

    @property
    def all_words(self) -> tuple[str, ...]:
        """The L words, then the H words."""
        return self.labelled + self.held_out


def _category(name: str, labelled: str, held_out: str, verbs: str = "", places: str = "") -> Category:
    return Category(
        name,
        tuple(labelled.split()),
        tuple(held_out.split()),
        tuple(verbs.split()),
        tuple(places.split()),
    )


TOPICS = (
    _category(
        "kitchen",
        "bread pepper onion honey pancake salad lemon rice cheese gravy",
        "butter carrot garlic noodle pasta pickle",
        "baked tasted sliced served",
        "kitchen bakery diner",
    ),
    _category(
        "sea",
        "anchor rudder compass mast oar raft canoe hull buoy paddle",
        "sail rope deck ferry yacht net",
        "loaded steered moored",
        "harbor pier island",
    ),
    _category(
        "music",
        "piano drum flute banjo fiddle organ chorus waltz song tune",
        "guitar cello harp trumpet melody ballad",
        "played tuned practiced hummed",
        "stage theater studio",
    ),
    _category(
        "farm",
        "goat sheep cow duck lamb pony hen pig kitten rabbit",
        "horse donkey goose calf rooster puppy",
        "fed brushed washed stroked",
        "farm barn stable",
    ),
    _category(
        "garden",
        "tulip shovel rake seed compost ivy moss bulb hose weed",
        "daisy hedge fern vine petal bush",
        "planted watered trimmed",
        "garden meadow orchard",
    ),
    _category(
        "road",
        "train bus taxi van wagon scooter wheel tire brake motor",
        "ticket tram truck bicycle engine trailer",
        "repaired parked rented",
        "station garage highway",
    ),
    _category(
        "school",
        "pencil ruler notebook lesson chalk map exam quiz crayon globe",
        "eraser essay book poem atlas desk",
        "studied copied borrowed checked",
        "school library classroom",
    ),
    _category(
        "clothes",
        "shirt scarf glove button jacket sock boot belt sweater ribbon",
        "coat zipper skirt hat dress collar",
        "sewed ironed folded mended",
        "shop laundry attic",
    ),
)
"""The eight topics; no noun belongs to two of them."""

POLARITIES = (
    _category(
        "negative",
        "bad ugly dirty nasty horrid terrible dull broken crude clumsy faded flimsy foul harsh lousy poor shabby stale "
        "messy",
        "awful rotten dreadful gloomy bland cracked cheap dismal filthy grim rusty sloppy weak",
    ),
    _category(
        "positive",
        "good lovely perfect charming fine grand elegant wonderful brilliant sweet bright clean cozy noble solid tidy "
        "pretty gentle worthy",
        "great superb splendid pleasant nice neat graceful delightful fresh handsome proper sturdy marvelous",
    ),
)
"""The two polarities; nothing but the company it keeps in prose tells the polarity of an adjective."""

LABELS = ("red", "blue", "green", "yellow", "pink", "brown", "black", "white")
"""The label words of lists, drawn anew for each list: a label means nothing outside its document."""

TOPIC_PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7))
"""Indices into ``TOPICS``: the two topics of a pair never share a list."""

LABEL_PAIRS = (("red", "blue"), ("green", "yellow"), ("pink", "brown"), ("black", "white"))
"""The two labels of a pair never share a list."""

# fmt: off
NAMES = (
    "anna", "ben", "clara", "david", "emma", "frank", "helen", "igor", "jack", "kate", "leo", "maria",
    "nina", "oscar", "paul", "rita", "sam", "tina", "ursula", "victor", "wendy", "xavier", "yara", "zoe",
)
# fmt: on
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

CUES = (
    ("frowned", "smiled"),
    ("hated", "loved"),
    ("cried", "laughed"),
    ("sad", "happy"),
    ("angry", "glad"),
    ("cursed", "praised"),
    ("blamed", "thanked"),
    ("worst", "best"),
    ("disliked", "liked"),
)
"""(negative, positive) words that tell a review's polarity; they occur in prose only, never beside a label."""
