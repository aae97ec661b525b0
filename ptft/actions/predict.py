"""The verb ``predict``: labels and probabilities for a file of texts."""

import csv
import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from ptft.actions.action import Action
from ptft.compute import Compute, Precision
from ptft.display import Display
from ptft.errors import DataError, RecipeError
from ptft.finetuning.classification import predict_probabilities
from ptft.finetuning.texts import encode_texts
from ptft.models.building import check_length, max_positions
from ptft.models.classifier import Classifier, open_classifier
from ptft.tasks.table import read_texts
from ptft.tokenization import load_tokenizer, tokenizer_folder


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
    out: str
    """The file to write, a .csv with text, label and probability.LABEL columns; must not exist."""
    length: int = Field(128, ge=4)
    """Longest input in tokens; longer texts are cut."""
    precision: Precision = "auto"
    """Of matrix products."""

    def check(self) -> None:
        """There is a place to write, something to read, and a classifier."""
        self._opened()

    def _opened(self) -> tuple[list[tuple[str, str, str]], Classifier]:
        out = Path(self.out)
        if out.exists():
            raise RecipeError(f"out: {self.out!r} exists already; name another file")
        if not out.absolute().parent.is_dir():
            raise RecipeError(f"out: the folder {str(out.parent)!r} does not exist; make it first")
        if not os.access(out.absolute().parent, os.W_OK | os.X_OK):
            raise RecipeError(f"out: no permission to write in {str(out.absolute().parent)!r}; name another file")
        rows = read_texts(self.data, self.text, self.text_a, self.text_b)
        if not rows:
            raise DataError(f"{self.data!r} holds no text to predict; give a file with rows")
        return rows, open_classifier(self.model)

    def do(self, display: Display) -> str:
        """Predict every row, empty texts included, in the order of the file."""
        rows, classifier = self._opened()
        out = Path(self.out)
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        positions = max_positions(classifier.model.config)
        if self.length != type(self).model_fields["length"].default:
            check_length(self.length, positions)
        length = min(self.length, positions)
        texts = encode_texts([(first, second) for _, first, second in rows], tokenizer, length)
        probabilities = predict_probabilities(
            classifier, texts, Compute(self.precision),
            progress=lambda done, total: display.progress("predicting", done, total),
        )  # fmt: skip
        pair = any(second for _, _, second in rows)
        header = ["text_a", "text_b"] if pair else ["text"]
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*header, "label", *(f"probability.{label}" for label in classifier.labels)])
            for (_, first, second), row in zip(rows, probabilities, strict=True):
                best = classifier.labels[int(row.argmax())]
                writer.writerow([first, *([second] if pair else []), best, *(f"{p:.6f}" for p in row)])
        cut = f"; {texts.num_truncated} were cut to {length} tokens" if texts.num_truncated else ""
        return f"{len(rows)} texts -> {out}{cut}"
