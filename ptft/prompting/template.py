"""How an example becomes a prompt: a text form with fields, a word for each label, and what stands between shots."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from ptft.errors import DataError, RecipeError
from ptft.family import nearest
from ptft.tasks.prompt_task import PromptItem
from ptft.tasks.task import Example

FIELDS = ("text", "text_a", "text_b")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


@dataclass(frozen=True)
class Template:
    r"""A text form with fields and label words; a shot is the filled form, a space and the word of its label.

    Fields are replaced as they stand, without format specifications or code; ``{{`` and ``}}`` are literal braces.
    White space at the end of the form comes before each label word in place of the space.

    Example:
        >>> template = Template("Review: {text}\nSentiment:", words={"pos": "good", "neg": "bad"})
        >>> template.query(Example(text="A joy.", label="pos")) + template.choice("pos")
        'Review: A joy.\nSentiment: good'

    Raises:
        RecipeError: A field is unknown, a brace is alone, no field is used, or a label word is empty or used twice.

    Paper: Schick and Schuetze 2021 (pattern and verbalizer), arXiv 2001.07676.
    """

    text: str
    """The form, with the fields {text} (or {text_a}, the same) and {text_b}."""
    words: Mapping[str, str] = field(default_factory=dict)
    """The word that stands for each label; if empty, each label stands for itself."""
    separator: str = "\n\n"
    """What stands between two shots, and between the last shot and the query."""

    def __post_init__(self) -> None:
        if not self.fields:
            raise RecipeError(
                f"the template {self.text!r} has no field, so every prompt would be the same; use {{text}}, or "
                "{text_a} and {text_b}"
            )
        _check_distinct({label: word.strip() for label, word in self.words.items()}, "the same word")

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields that the form uses."""
        found = set()
        for piece in _PIECE.finditer(self.text):
            name = piece.group(1)
            if name is None:
                if piece.group() in "{}":
                    raise RecipeError(
                        f"the template {self.text!r} has a {piece.group()!r} that belongs to no field at character "
                        f"{piece.start() + 1}; write {piece.group() * 2!r} for the character itself"
                    )
            elif name in FIELDS:
                found.add(name)
            else:
                raise RecipeError(f"the template {self.text!r} has an unknown field {name!r}{nearest(name, FIELDS)}")
        return frozenset(found)

    def query(self, example: Example) -> str:
        """The filled form, without white space at its end."""
        return filled(self.text, example).rstrip()

    def choice(self, label: str) -> str:
        """What follows a query if its label is ``label``: white space and the label's word."""
        space = self.text[len(self.text.rstrip()) :] or " "
        return space + self.words.get(label, label).strip()

    def item(self, example: Example, labels: Sequence[str], shots: Sequence[Example]) -> PromptItem:
        """The prompt that asks for the label of ``example`` after ``shots``."""
        shown = [self.query(shot) + self.choice(str(shot.label)) for shot in shots]
        return PromptItem(
            context=self.separator.join([*shown, self.query(example)]),
            choices=tuple(self.choice(label) for label in labels),
            gold=labels.index(example.label),
            shots=len(shots),
        )

    def check(self, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse label words that do not fit the labels, or that the tokenizer cannot tell apart.

        Raises:
            RecipeError: A label has no word, a word has no label, or two words are equal as tokens.
        """
        for label in self.words:
            if label not in labels:
                raise RecipeError(f"a label word is given for {label!r}, which is no label{nearest(label, labels)}")
        missing = [label for label in labels if self.words and label not in self.words]
        if missing:
            raise RecipeError(
                f"label words are given for {', '.join(self.words)} but not for {', '.join(missing)}; give one for "
                "every label, or none to use the labels themselves"
            )
        choices = [self.choice(label) for label in labels]
        encoded = tokenizer(choices, add_special_tokens=False)["input_ids"]
        _check_distinct(
            {label: tuple(ids) for label, ids in zip(labels, encoded, strict=True)}, "words with the same tokens"
        )


def filled(form: str, example: Example) -> str:
    """A form, or a part of one, with its fields replaced by the texts of an example."""
    values = {"text": example.text, "text_a": example.text, "text_b": example.text_b}

    def value(piece: re.Match[str]) -> str:
        return piece.group()[0] if piece.group(1) is None else values[piece.group(1)]

    return _PIECE.sub(value, form)


def _check_distinct(words: Mapping[str, str] | Mapping[str, tuple[int, ...]], same: str) -> None:
    """Refuse an empty word, and the same word or the same token ids for two labels."""
    owner: dict[str | tuple[int, ...], str] = {}
    for label, word in words.items():
        if not word:
            raise RecipeError(f"the label word of {label!r} is empty; give a word that the model can continue with")
        if word in owner:
            raise RecipeError(f"the labels {owner[word]!r} and {label!r} have {same}; give each label its own word")
        owner[word] = label


def default_template(examples: Sequence[Example]) -> Template:
    """The form used if none is given: the text or both texts on lines of their own, then ``Label:``.

    Raises:
        DataError: There is no example.
    """
    if not examples:
        raise DataError("there is no example to make a prompt from; give at least one labelled row")
    pair = any(example.text_b for example in examples)
    return Template("{text_a}\n{text_b}\nLabel:" if pair else "{text}\nLabel:")
