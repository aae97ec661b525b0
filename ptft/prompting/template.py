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

    @property
    def _end(self) -> int:
        """Where the last field ends."""
        return max(piece.end() for piece in _PIECE.finditer(self.text) if piece.group(1) is not None)

    @property
    def cue(self) -> str:
        """What stands after the last field and announces the label word, without white space around it."""
        return filled(self.text[self._end :], None).strip()

    def body(self, example: Example) -> str:
        """The filled form up to its last field, without white space at its end."""
        return filled(self.text[: self._end], example).rstrip()

    def label_first(self, label: str) -> str:
        """The cue, the word of a label and white space: what comes before the body where the label is given first."""
        after = self.text[self._end :]
        return f"{self.cue}{self.choice(label)}".lstrip() + (after[: len(after) - len(after.lstrip())] or " ")

    def choice(self, label: str) -> str:
        """What follows a query if its label is ``label``: white space and the label's word."""
        space = self.text[len(self.text.rstrip()) :] or " "
        return space + self.words.get(label, label).strip()

    def answer(self, example: Example) -> str:
        """What follows an example's query: the word of its label, or the right one of its own choices."""
        label = str(example.label)
        return self.choice(example.choices[int(label)] if example.choices else label)

    def item(self, example: Example, labels: Sequence[str], shots: Sequence[Example]) -> PromptItem:
        """The prompt that asks for the label of ``example``, or for one of its own choices, after ``shots``."""
        shown = [self.query(shot) + self.answer(shot) for shot in shots]
        return PromptItem(
            context=self.separator.join([*shown, self.query(example)]),
            choices=tuple(self.choice(name) for name in example.choices or labels),
            gold=int(str(example.label)) if example.choices else labels.index(str(example.label)),
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


def filled(form: str, example: Example | None) -> str:
    """A form, or a part of one, with its fields replaced by the texts of an example; without fields it needs none."""

    def value(piece: re.Match[str]) -> str:
        if piece.group(1) is None or example is None:
            return piece.group()[0]
        return example.text_b if piece.group(1) == "text_b" else example.text

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
    """The form used if none is given: the text or both texts on lines of their own, then ``Label:`` or ``Answer:``.

    Where examples bring choices of their own, an answer is asked for.

    Raises:
        DataError: There is no example.
    """
    if not examples:
        raise DataError("there is no example to make a prompt from; give at least one labelled row")
    pair = any(example.text_b for example in examples)
    cue = "Answer:" if examples[0].choices else "Label:"
    return Template(f"{{text_a}}\n{{text_b}}\n{cue}" if pair else f"{{text}}\n{cue}")
