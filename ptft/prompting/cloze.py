"""Cloze questions to a masked language model: which label word fills the gap in a form best."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.errors import RecipeError
from ptft.prompting.masked import MaskedRequest, check_masked, encode_spans, score_masked
from ptft.prompting.request import Scored
from ptft.prompting.template import Template, default_template, filled
from ptft.tasks.prompt_task import PromptItem
from ptft.tasks.task import Example

_PIECE = re.compile(r"\{\{|\}\}|\{mask\}")


@dataclass(frozen=True)
class ClozeTemplate:
    r"""A form with fields and the gap ``{mask}``, and a word for each label.

    Solved examples before the question are forms whose gap holds their label's word ("priming").

    Example:
        >>> template = ClozeTemplate("{text} It was {mask}.", words={"pos": "good", "neg": "bad"})
        >>> template.question(Example(text="A joy.", label="pos"), shots=[Example(text="Dull.", label="neg")])
        ('Dull. It was bad.\n\nA joy. It was ', '.')

    Raises:
        RecipeError: There is no gap or more than one, or as :class:`Template` says.

    Paper: Schick and Schuetze 2021, arXiv 2001.07676 (pattern and verbalizer) and 2009.07118 (several masks, priming).
    """

    text: str
    """The form, with ``{mask}`` and the fields of :class:`Template`; ``{{`` and ``}}`` are literal braces."""
    words: Mapping[str, str] = field(default_factory=dict)
    """The word that fills the gap for each label; if empty, each label stands for itself."""
    separator: str = "\n\n"
    """What stands between two shots, and between the last shot and the question."""

    def __post_init__(self) -> None:
        gaps = sum(piece.group() == "{mask}" for piece in _PIECE.finditer(self.text))
        if gaps != 1:
            raise RecipeError(
                f"the template {self.text!r} has {gaps or 'no'} gap{'s' * (gaps > 1)}; write {{mask}} once, where the "
                "label word belongs"
            )
        self._form()

    def word(self, label: str) -> str:
        """What fills the gap for a label."""
        return self.words.get(label, label).strip()

    def question(self, example: Example, shots: Sequence[Example] = ()) -> tuple[str, str]:
        """The text before and after the gap for an example, after solved ones."""
        before, after = self._halves()
        shown = [filled(before, shot) + self.word(str(shot.label)) + filled(after, shot) for shot in shots]
        return self.separator.join([*shown, filled(before, example)]), filled(after, example)

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields that the form uses."""
        return self._form().fields

    def item(self, example: Example, labels: Sequence[str], shots: Sequence[Example]) -> PromptItem:
        """The question for the label of ``example`` after ``shots``: what is before the gap, words, the rest."""
        before, after = self.question(example, shots)
        words = tuple(self.word(label) for label in labels)
        return PromptItem(before, words, labels.index(str(example.label)), len(shots), after)

    def check(self, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse label words that do not fit the labels, or that the tokenizer cannot tell apart.

        Raises:
            RecipeError: As :meth:`Template.check`.
        """
        self._form().check(labels, tokenizer)

    def _form(self) -> Template:
        """The form with a line for its gap, to which the rules of a decoder's templates apply."""
        return Template("___".join(self._halves()), self.words, self.separator)

    def _halves(self) -> tuple[str, str]:
        gap = next(piece for piece in _PIECE.finditer(self.text) if piece.group() == "{mask}")
        return self.text[: gap.start()], self.text[gap.end() :]


def cloze_loglikelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    gaps: Sequence[tuple[str, str, str]],
    *,
    tokens_per_batch: int = 8192,
) -> list[Scored]:
    """Score how probable each word is in its gap, in the order of ``gaps``, in nats.

    The filled text is tokenized as a whole. A word of one token scores log P(token) at a mask in its place. A word of
    several has as many masks, which are filled from left to right: the sum over its tokens of log P(token | the text,
    the word's tokens before it), so a word is a sequence of decisions as for a decoder. Words of as many tokens share
    the forward pass of their first token. A token across the border of the gap is scored whole.

    Args:
        model: A masked language model; its training or evaluation mode is as before afterwards.
        tokenizer: The fast tokenizer it was pretrained with.
        gaps: (text before, text after, word); white space at the end of the text before counts for the word.
        tokens_per_batch: Upper bound for rows times length of one forward pass, at least one row.

    Raises:
        RecipeError: ``tokens_per_batch`` is below 1.
        CheckpointError: The model is no masked language model, or the tokenizer does not serve.
        DataError: A word has no token, or a text is longer than the model's positions.

    Paper: Schick and Schuetze 2021, arXiv 2009.07118, section 3.1. Differs: there the most probable of the word's
    tokens is filled first; a fixed order makes the score a log-probability of the word.
    """
    check_masked(model, tokenizer)
    return score_masked(model, tokenizer, encode_gaps(tokenizer, gaps), tokens_per_batch=tokens_per_batch)


def encode_gaps(tokenizer: PreTrainedTokenizerBase, gaps: Sequence[tuple[str, str, str]]) -> list[MaskedRequest]:
    """Turn (text before, text after, word) into ids, as :func:`cloze_loglikelihoods` does.

    Raises:
        DataError: A word has no token.
    """
    spans = [(before, word, after) for before, after, word in gaps]
    return encode_spans(tokenizer, spans, grouping="left_to_right")


def default_cloze(examples: Sequence[Example]) -> ClozeTemplate:
    """The form used if none is given: that of a decoder with a gap behind it.

    Raises:
        DataError: There is no example.
    """
    return ClozeTemplate(f"{default_template(examples).text} {{mask}}")
