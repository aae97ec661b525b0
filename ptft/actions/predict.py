"""The verb ``predict``: labels and probabilities for a file of texts."""

import csv
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ptft.actions.action import Action, check_new_file
from ptft.compute import Compute, Precision
from ptft.display import Display
from ptft.errors import DataError
from ptft.finetuning.classification import predict_probabilities
from ptft.finetuning.texts import encode_examples
from ptft.models.classifier import Classifier
from ptft.models.classifier_files import open_classifier
from ptft.tasks.table import read_inputs
from ptft.tasks.task import Example
from ptft.tokenization import load_tokenizer, tokenizer_folder
from ptft.training.aside import file_written_aside


class Predict(Action):
    """Write the most probable label, and the probability of each, for every text of a file."""

    name: ClassVar[str] = "predict"
    model: str
    """A fine-tuned model: a run folder, a checkpoint folder or a Hub name."""
    data: str
    """The texts: a table, or a .txt file with a text a line."""
    text: str = ""
    """Column of the text."""
    text_a: str = ""
    """Column of the first text of a pair."""
    text_b: str = ""
    """Column of the second text of a pair."""
    choices: str = ""
    """Columns of the choices, by commas, or the one that holds lists of them; for a model of multiple choice."""
    out: str
    """The file to write, a .csv with text, label and probability.LABEL columns; must not exist."""
    length: Annotated[int, Field(ge=4)] | Literal["model"] = "model"
    """Longest input in tokens, longer texts are cut; model takes what it was fine-tuned with."""
    calibrated: bool = True
    """Divide logits by the temperature that fine-tuning fitted, if it did; labels stay as they are."""
    precision: Precision = "auto"
    """Of matrix products."""

    def check(self) -> None:
        """There is a place to write, something to read, and a classifier."""
        self._opened()[1].input_length(self.length)

    def _opened(self) -> tuple[list[Example], Classifier]:
        check_new_file(self.out)
        classifier = open_classifier(self.model)
        rows = read_inputs(
            self.data, problem=classifier.problem.name, text=self.text, text_a=self.text_a, text_b=self.text_b,
            choices=self.choices, pairs=classifier.reading.pairs,
        )  # fmt: skip
        if not rows:
            raise DataError(f"{self.data!r} holds no text to predict; give a file with rows")
        return rows, classifier

    def do(self, display: Display) -> str:
        """Predict every row, empty texts included, in the order of the file."""
        rows, classifier = self._opened()
        out = Path(self.out)
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        length = classifier.input_length(self.length)
        texts = encode_examples(rows, classifier.problem, tokenizer, length)
        found = predict_probabilities(
            classifier, texts, rows, Compute(self.precision), calibrated=self.calibrated,
            progress=lambda done, total: display.progress("predicting", done, total),
        )  # fmt: skip
        answers = classifier.problem.answers(rows, found, classifier.labels)
        is_pair = any(row.text_b for row in rows)
        with file_written_aside(out) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*(["text_a", "text_b"] if is_pair else ["text"]), *answers[0]])
            for row, answer in zip(rows, answers, strict=True):
                writer.writerow([row.text, *([row.text_b] if is_pair else []), *answer.values()])
        cut = f"; {texts.num_truncated} were cut to {length} tokens" if texts.num_truncated else ""
        return f"{len(rows)} texts -> {out}{cut}"
