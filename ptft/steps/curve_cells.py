"""The cells of a curve: one method, one number of labels and one seed, measured on the test sets."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.compute import Compute, Precision, limit_threads
from ptft.display import Display
from ptft.finetuning.baselines import MostFrequent, TfidfRegression
from ptft.finetuning.texts import EncodedTexts, encode_examples
from ptft.models.building import open_trained
from ptft.models.classifier import Classifier
from ptft.prompting import evaluate_prompts
from ptft.steps.curve_settings import Count, CurveSettings, known_methods, part
from ptft.steps.finetune import Encoded, score, train_one
from ptft.tasks.metrics import classification_figures
from ptft.tasks.problems import PROBLEMS
from ptft.tasks.problems.classification import Classification
from ptft.tasks.task import Example, TaskData
from ptft.tokenization import load_tokenizer, tokenizer_folder

Record = dict[str, Any]


_Found = tuple[Record, Callable[[str], Record]]
"""What is to be told of a method's cell, and what gives the figures of a test set: flat, with ``failed``."""


class Cell(NamedTuple):
    """What is measured together.

    Attributes:
        method: A method's name.
        labels: Number of labelled training rows.
        seed: Of the rows, their order and the head.
        rates: Peak learning rates to choose from on the validation rows; methods that train no model take none.
    """

    method: str
    labels: Count
    seed: int
    rates: tuple[float, ...]

    @property
    def place(self) -> tuple[str, Count, int]:
        """What tells it from the others of a curve."""
        return self.method, self.labels, self.seed


class Workbench:
    """Measures cells in this process; what they share is read and tokenised once, when it is first wanted.

    Args:
        settings: The curve's.
        precision: Of matrix products, resolved: cells in other processes have the same.
        threads: Of this process; 0 leaves torch's choice.
        display: Shows sentences and the progress of a fine-tuning.
    """

    def __init__(self, settings: CurveSettings, precision: Precision, threads: int, display: Display) -> None:
        limit_threads(threads)
        self._settings = settings
        self._compute = Compute(precision, (), None, settings.deterministic)
        self._display = display
        self._data, _ = settings.read_data()

    def records(self, cell: Cell) -> list[Record]:
        """Measure a cell: one record a test set, which is scored once.

        ``failed`` is true where every test row got the same answer though the method could have told them apart.
        """
        some = part(self._data, cell.labels, cell.seed)
        measure = {
            "finetuned": self._finetuned, "tfidf": _tfidf, "majority": _majority, "prompted": self._prompted,
        }[known_methods()[cell.method]]  # fmt: skip
        found, figures_of = measure(cell, some)
        facts = {"task": some.name, "method": cell.method, "labels": len(some.train), "seed": cell.seed, **found}
        records = []
        for test in some.tests:
            figures = figures_of(test)
            records.append({**facts, "test": test, "metric": self._metric, "value": figures[self._metric], **figures})
        return records

    def _finetuned(self, cell: Cell, some: TaskData) -> _Found:
        """Fine-tune with each rate, and keep what is best on the validation rows: the tests see that alone."""
        settings = self._settings.cell_settings(cell.method)
        train = self._train if cell.labels == "all" else self._encoded(some.train)
        encoded = Encoded(some, train, self._valid, self._tests)
        what = f"{cell.method}, {cell.labels} labels, seed {cell.seed}"
        best: tuple[float, float, Classifier] | None = None
        for lr in cell.rates:
            classifier, _ = train_one(
                settings, encoded, self._tokenizer, cell.seed, self._compute, self._display, lr=lr, what=what
            )
            valid = score(classifier, some.valid, self._valid, self._compute)[0][self._metric]
            if best is None or valid > best[0]:
                best = valid, lr, classifier
        assert best is not None, "a cell has at least one rate"
        value, lr, chosen = best

        def figures_of(test: str) -> Record:
            figures, failed = score(chosen, some.tests[test], self._tests[test], self._compute)
            return {**figures, "failed": failed}

        note = settings.policy.note(chosen.model.config.num_hidden_layers, settings.epochs(len(some.train)))
        return {"lr": lr, f"valid_{self._metric}": value, **({"note": note} if note else {})}, figures_of

    def _prompted(self, cell: Cell, some: TaskData) -> _Found:
        """Ask the decoder, with the first of the cell's rows in the seed's order as shots: at most so many as fit."""
        tokenizer, model = self._decoder
        settings = self._settings
        template = settings.prompt_template(self._data)
        shots = min(settings.shots, _num_shots(some))

        def figures_of(test: str) -> Record:
            asked = replace(some, tests={test: some.tests[test]})
            result = evaluate_prompts(
                model,
                tokenizer,
                asked,
                k=(shots,),
                seeds=(cell.seed,),
                template=template,
                limit=settings.prompt_rows,
                methods=("raw",),
            )
            rows = [some.tests[test][document["index"]] for document in result.documents]
            predicted = np.array([some.labels.index(document["predicted"]) for document in result.documents])
            shown = float(np.mean([document["shots"] for document in result.documents]))
            return {**_scored(rows, predicted, some), "shots_shown": shown, "ties": result.records[0]["ties"]}

        return {"shots": shots, "template": template.text}, figures_of

    def _encoded(self, rows: Sequence[Example]) -> EncodedTexts:
        problem = PROBLEMS[self._data.problem]()
        return encode_examples(rows, problem, self._tokenizer, self._settings.length)

    @property
    def _metric(self) -> str:
        return PROBLEMS[self._data.problem].metric

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return self._settings.open_tokenizer(self._data)

    @cached_property
    def _train(self) -> EncodedTexts:
        return self._encoded(self._data.train)

    @cached_property
    def _valid(self) -> EncodedTexts:
        return self._encoded(self._data.valid)

    @cached_property
    def _tests(self) -> Mapping[str, EncodedTexts]:
        return {test: self._encoded(rows) for test, rows in self._data.tests.items()}

    @cached_property
    def _decoder(self) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
        name = self._settings.prompt_model
        model = open_trained(name, "causal_lm")
        model.to(self._compute.device)  # type: ignore[arg-type]
        return load_tokenizer(tokenizer_folder(name)), model


def _tfidf(cell: Cell, some: TaskData) -> _Found:
    fitted = TfidfRegression(some.train, some.valid, some.labels)
    facts = {"valid_accuracy": fitted.valid_accuracy, "inverse_penalty": fitted.inverse_penalty}
    return facts, lambda test: _scored(some.tests[test], fitted.predict(some.tests[test]), some)


def _majority(cell: Cell, some: TaskData) -> _Found:
    fitted = MostFrequent(some.train, some.labels)
    return {}, lambda test: {**_scored(some.tests[test], fitted.predict(some.tests[test]), some), "failed": False}


def _scored(rows: Sequence[Example], predicted: Int[ndarray, " rows"], data: TaskData) -> Record:
    """Figures of the predicted labels, by their indices."""
    gold = Classification().targets(rows, data.labels)
    failed = len(np.unique(predicted)) == 1 < len(rows)
    return {**classification_figures(gold, predicted, len(data.labels), seed=0), "failed": failed}


def _num_shots(some: TaskData) -> int:
    """How many different training rows there are for every test row, which is never its own shot."""
    rows = {(row.text, row.text_b, row.label) for row in some.train}
    same = Counter((text, text_b) for text, text_b, _ in rows)
    return len(rows) - max(same[row.text, row.text_b] for tests in some.tests.values() for row in tests)
