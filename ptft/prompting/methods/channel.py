"""The log-likelihood of the question after the choice."""

from collections.abc import Sequence

from jaxtyping import Float
from numpy import ndarray

from ptft.prompting.method import Answers, Asked, Method, Pair


class Channel(Method):
    """The other way round: how probable the text is after its label.

    The template's end and the word of a label come first, then the question; solved examples are turned round too.
    It costs as much as the plain question for each choice.

    Paper: Min et al. 2022, arXiv 2108.04106.
    """

    name = "channel"
    summary = "log-likelihood of the text after the label"
    needs_template = True
    needs_labels = True

    def wants(self, asked: Asked) -> Sequence[Sequence[Pair]]:
        """The text after each label, behind the shots."""
        template, example = asked.template, asked.example
        assert template is not None and example is not None, "it applies"
        solved = [template.label_first(str(shot.label)) + template.body(shot) for shot in asked.shots]
        firsts = [template.separator.join([*solved, template.label_first(label)]) for label in asked.labels]
        return [[(first, template.body(example))] for first in firsts]

    def scores(self, answers: Answers) -> Float[ndarray, "questions choices"]:
        """Of the text."""
        return answers.references[self.name][..., 0]
