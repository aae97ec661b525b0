"""The verb ``eval``: a pretrained model measured on a text, or a fine-tuned one on labelled rows."""

import json
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ptft.actions.action import Action, check_new_file
from ptft.compute import Compute, Precision
from ptft.config import Choice
from ptft.corpus.cleaning import summary
from ptft.corpus.sources import CorpusSettings, beginning, describe
from ptft.display import Display
from ptft.errors import RecipeError
from ptft.finetuning.evaluation import Evaluation, evaluate_labelled
from ptft.models.building import Head, check_length, max_positions, open_trained, read_config
from ptft.models.classifier import Classifier, is_decoder_config
from ptft.models.classifier_files import is_classifier, open_classifier
from ptft.objectives import OBJECTIVES
from ptft.objectives.objective import Objective
from ptft.objectives.rows import Vocabulary
from ptft.report.evaluation import confusion_table, figure_lines, mistake_table
from ptft.steps.compiled import How, compiled
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.tasks.table import read_labelled
from ptft.tasks.task import Example
from ptft.tokenization import check_pair, load_tokenizer, tokenizer_folder
from ptft.training.aside import write_text
from ptft.training.evaluation import evaluate
from ptft.training.work import PretrainingBatches, PretrainingModule

_USUAL_LENGTH = 128
_OF_TEXT = ("corpus", "objective", "rows", "joiner")
_OF_LABELS = ("text", "text_a", "text_b", "label", "choices", "mistakes", "calibrated", "out")


class Eval(Action):
    """Measure a pretrained model on a text, or a fine-tuned one on labelled rows.

    A pretrained model gives perplexity, masked accuracy or next-sentence accuracy on the text of ``corpus``. A
    fine-tuned one gives the figures of its problem with 95 % intervals on the rows of ``data``, how often each label
    got each answer, and the surest mistakes; labels are matched by their names.
    """

    name: ClassVar[str] = "eval"
    model: str
    """A pretrained or fine-tuned model: a run folder, a checkpoint folder or a Hub name."""
    corpus: CorpusSettings = CorpusSettings(valid_ratio=0)
    """The text, all of it."""
    data: str = ""
    """Labelled rows: a table, all of it, or the test rows of a folder, a task or a `datasets` name."""
    text: str = ""
    """Column of the text."""
    text_a: str = ""
    """Column of the first text of a pair."""
    text_b: str = ""
    """Column of the second text of a pair."""
    label: str = "label"
    """Column of the label."""
    choices: str = ""
    """Columns of the choices, by commas, or the one that holds lists of them; for a model of multiple choice."""
    mistakes: int = Field(10, ge=0)
    """How many mistakes to show."""
    calibrated: bool = True
    """Divide logits by the temperature that fine-tuning fitted, if it did; labels stay as they are."""
    out: str = ""
    """A .json file to write with all figures, counts and mistakes; must not exist."""
    objective: tuple[Annotated[Objective, Choice(OBJECTIVES)], ...] = ()
    """What to measure; empty takes what the model's class was pretrained with."""
    length: Annotated[int, Field(ge=8)] | Literal["model"] = "model"
    """Tokens of a row, special tokens included; model takes what it was fine-tuned with, for a text 128."""
    rows: int = Field(2048, ge=1)
    """At most so many rows."""
    joiner: Literal["space", "newline"] = "space"
    """What stands between the sentences of a document for causal LM."""
    precision: Precision = "auto"
    """Of matrix products."""
    cache: str = "~/.cache/ptft"
    """Folder for compiled corpora."""

    def check(self) -> None:
        """The model was made for what is measured, and the text or the rows can be read."""
        if self._is_labelled():
            self._opened_labelled()[0].input_length(self.length)
            return
        self._opened()
        evaluation_texts(self.corpus, 0)
        beginning(self.corpus, 0)

    def _is_labelled(self) -> bool:
        """Whether a fine-tuned model is measured; refuses settings that have no effect on what is."""
        if not self.data and is_classifier(self.model, read_config(self.model)):
            raise RecipeError(
                f"data: {self.model!r} was fine-tuned, so that it is measured on labelled rows; give data=TABLE"
            )
        for name in self.changed(*(_OF_TEXT if self.data else _OF_LABELS)):
            other = "a pretrained model on a text" if self.data else "a fine-tuned model on labelled rows"
            remedy = f"leave {name} out" if self.data else f"give data=TABLE, or leave {name} out"
            raise RecipeError(f"{name} has no effect here: it is for measuring {other}; {remedy}")
        return bool(self.data)

    def _opened_labelled(self) -> tuple[Classifier, dict[str, tuple[Example, ...]], list[str]]:
        if self.out:
            check_new_file(self.out)
        classifier = open_classifier(self.model)
        tests, notes = read_labelled(
            self.data, classifier.labels, problem=classifier.problem.name, text=self.text, text_a=self.text_a,
            text_b=self.text_b, label=self.label, choices=self.choices, pairs=classifier.reading.pairs,
        )  # fmt: skip
        return classifier, tests, notes

    def _do_labelled(self, display: Display) -> str:
        classifier, tests, notes = self._opened_labelled()
        for note in notes:
            display.say(note)
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        length = classifier.input_length(self.length)
        compute = Compute(self.precision)
        found = {
            name: evaluate_labelled(
                classifier, tokenizer, rows, length, compute, calibrated=self.calibrated,
                progress=lambda done, total: display.progress("evaluating", done, total),
            )
            for name, rows in tests.items()
        }  # fmt: skip
        if self.out:
            content = {"model": self.model, "data": self.data, "problem": classifier.problem.name}
            tables = {name: part.content(classifier.labels) for name, part in found.items()}
            temperature = classifier.calibration.temperature if self.calibrated else 1.0
            text = json.dumps({**content, "temperature": temperature, "tests": tables}, ensure_ascii=False, indent=1)
            write_text(Path(self.out), f"{text}\n")
        shown = [self._shown(name, part, classifier, several=len(found) > 1) for name, part in found.items()]
        return "\n\n".join([*shown, *([f"written to {self.out}"] if self.out else [])])

    def _shown(self, name: str, found: Evaluation, classifier: Classifier, *, several: bool) -> str:
        parts = [f"{self.data}, {name}" if several else self.data, figure_lines(found.figures)]
        if found.num_truncated:
            parts.append(f"{found.num_truncated} texts were cut; length=... reads more of them")
        if found.confusion.size:
            parts.append(confusion_table(found.confusion, classifier.labels))
        if found.mistakes and self.mistakes:
            parts.append(mistake_table(found.mistakes, self.mistakes, classifier.problem.mistake_size))
        return "\n\n".join(parts)

    def _length(self, positions: int) -> int:
        if self.length == "model":
            return min(_USUAL_LENGTH, positions)
        check_length(self.length, positions)
        return self.length

    def _opened(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[Objective, ...], Head]:
        config = read_config(self.model)
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        check_pair(tokenizer, config)
        is_decoder = is_decoder_config(config)
        objectives = self.objective or self._usual(config, tokenizer, is_decoder)
        for objective in objectives:
            if (objective.kind == "decoder") != is_decoder:
                raise RecipeError(
                    f"objective: {objective.name} measures {objective.kind}s, and {self.model!r} ({config.model_type}) "
                    "is none; leave objective out"
                )
            objective.check_architecture(config)
            if is_decoder and objective.needs_mask_token and tokenizer.mask_token_id is None:
                raise RecipeError(
                    f"objective: {objective.name} hides tokens, and the tokenizer of {self.model!r} has no mask token; "
                    "leave objective out"
                )
        pairs = any(objective.makes_pairs for objective in objectives)
        head: Head = "causal_lm" if is_decoder else "pretraining" if pairs else "masked_lm"
        return open_trained(self.model, head), tokenizer, objectives, head

    def do(self, display: Display) -> str:
        """One line a figure, and of a fine-tuned model tables below; the same bits at every call."""
        if self._is_labelled():
            return self._do_labelled(display)
        model, tokenizer, objectives, head = self._opened()
        display.say(f"corpus: {describe(self.corpus)}")
        needs_words = any(objective.needs_words for objective in objectives)
        how = How(head == "causal_lm", self.joiner, 0, self.cache, needs_words)
        store, _ = compiled(self.corpus, "train", tokenizer, how)
        if store.info.cleaning:
            display.say(f"cleaning: {summary(store.info.cleaning)}")
        vocabulary = Vocabulary.of(tokenizer)
        decides = next((objective for objective in objectives if objective.makes_pairs), objectives[0])
        rows = min(64, self.rows)
        length = self._length(max_positions(model.config))
        sampler = decides.sampler(store, vocabulary, length, rows, 0)
        source = PretrainingBatches(sampler, objectives, vocabulary, rows, is_evaluation=True)
        counts = np.bincount(store.tokens, minlength=vocabulary.size)
        counts[vocabulary.special] = 0
        compute = Compute(self.precision)
        module = PretrainingModule(model, objectives).to(compute.device)
        figures = evaluate(
            module, objectives, source, compute, steps=min(source.steps_per_epoch, max(1, self.rows // rows)),
            frequent_token=int(counts.argmax()),
        )  # fmt: skip
        return "\n".join(f"{name:<20} {value:.4f}" for name, value in figures.items())

    @staticmethod
    def _usual(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, is_decoder: bool) -> tuple[Objective, ...]:
        if is_decoder:
            is_hybrid = getattr(config, "trained_bidirectional", False) and tokenizer.mask_token_id is not None
            return (OBJECTIVES["hybrid" if is_hybrid else "causal_lm"](),)
        names = ["masked_lm"]
        if any(name.endswith("ForPreTraining") for name in config.architectures or []):
            names.append("next_sentence")
        return tuple(OBJECTIVES[name]() for name in names)
