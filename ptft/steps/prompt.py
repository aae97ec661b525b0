"""The step ``prompt``: what a pretrained model makes of questions, pairs of sentences and texts; nothing is trained."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.compute import Compute, is_main, limit_threads
from ptft.display import Display, Once
from ptft.errors import RecipeError
from ptft.models.building import open_trained, read_config
from ptft.models.classifier import is_decoder_config
from ptft.prompting import (
    ClozeTemplate,
    Template,
    default_template,
    evaluate_generation,
    evaluate_minimal_pairs,
    evaluate_perplexity,
    evaluate_prompts,
    loglikelihoods,
    pseudo_loglikelihoods,
)
from ptft.prompting.cloze import default_cloze
from ptft.prompting.evaluate import check_prompts
from ptft.prompting.generation import check_generation
from ptft.steps.folder import parent
from ptft.steps.seeds import seed_list
from ptft.steps.step import Place, Result, Step
from ptft.tasks import PROMPT_TASKS, TASKS
from ptft.tasks.minimal_pairs import read_minimal_pairs
from ptft.tasks.prompt_task import PromptTask
from ptft.tasks.references import read_references
from ptft.tasks.table import read_inputs, read_task, task_name
from ptft.tasks.table_source import refuse_given
from ptft.tasks.task import Example, TaskData
from ptft.tokenization import check_pair, load_tokenizer, tokenizer_folder, tokenizer_hash
from ptft.training.aside import write_text

FORMS_APART = "|||"
_QUESTION = ("shots", "text", "text_a", "text_b", "label", "k", "seeds", "template", "limit")
_OF_KIND = {
    "labels": (*_QUESTION, "choices", "words", "protocol", "sampler", "orders", "method", "methods"),
    "minimal_pairs": ("good", "bad", "pll", "limit"),
    "perplexity": ("text", "limit"),
    "generation": (*_QUESTION, "max_new_tokens", "stop"),
}


def check_prompted(key: str, model: str) -> PreTrainedTokenizerBase:
    """Refuse a checkpoint that cannot be prompted; gives its tokenizer.

    Raises:
        RecipeError: What ``key`` names is no decoder.
        CheckpointError: It cannot be opened, lacks weights, or does not go with its tokenizer.
    """
    config = read_config(model)
    if not is_decoder_config(config):
        raise RecipeError(
            f"{key}: {model!r} is no causal language model ({config.model_type}); prompting "
            "needs a decoder, pretrained with objective=causal_lm"
        )
    tokenizer = load_tokenizer(tokenizer_folder(model))
    check_pair(tokenizer, config)
    open_trained(model, "causal_lm", shapes_only=True)
    return tokenizer


class Found(NamedTuple):
    """What asking gave: flat figures, records, and lines of a file."""

    figures: dict[str, float]
    records: list[dict[str, Any]]
    lines: list[str]


class Work(NamedTuple):
    """What is to be asked, all of it read."""

    file: str
    """The name of the file of what was found for each row; empty for none."""
    notes: list[str]
    do: Callable[[PreTrainedModel, Compute, Display], Found]


def lines(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line of JSON for each document."""
    return [json.dumps(document, ensure_ascii=False) + "\n" for document in documents]


class Prompt(Step):
    """Ask a pretrained model to classify after 0 to k solved examples, to judge sentences, or to write; trains nothing.

    ``kind`` says what the rows of ``data`` are. ``labels``: which label, or which of a row's own choices, goes on a
    question; an encoder fills the gap ``{mask}`` of the template. ``minimal_pairs``: which of two sentences is more
    probable, as BLiMP asks; encoders score by pseudo-log-likelihood. ``perplexity``: bits per byte, of a decoder.
    ``generation``: what a decoder writes after the template, against references; for a summary template={text} TL;DR:
    """

    name: ClassVar[str] = "prompt"
    model: str
    """The pretrained model: a checkpoint folder, a run folder or a Hub name."""
    data: tuple[str, ...]
    """What to ask: in-context tasks or tasks by name, or a table, folder or `datasets` name."""
    kind: Literal["labels", "minimal_pairs", "perplexity", "generation"] = "labels"
    """What the rows are."""
    shots: str = ""
    """A table of examples to take shots from; empty takes the data's own training rows."""
    text: str = ""
    """Column of the text."""
    text_a: str = ""
    """Column of the first text of a pair."""
    text_b: str = ""
    """Column of the second text of a pair."""
    label: str = "label"
    """Column of the label, or of the reference for what is written."""
    choices: str = ""
    """Columns of the choices, by commas, or the one that holds lists of them, where each row brings its own."""
    good: str = "sentence_good"
    """Column of the acceptable sentences of minimal pairs."""
    bad: str = "sentence_bad"
    """Column of the unacceptable ones."""
    k: tuple[int, ...] = (0, 1, 2, 4, 8, 16)
    """Numbers of shots."""
    seeds: int | tuple[int, ...] = 3
    """How many seeds of the shots, or which ones."""
    template: str = ""
    """The form of a question with fields in braces, such as: Review: {text} Sentiment: - several with ||| between."""
    words: dict[str, str] = {}
    """The word for each label, such as words.pos=good; empty takes the labels themselves."""
    protocol: Literal["ptft", "lm_eval-0.4.13"] = "ptft"
    """The rules of prompts, token ids and figures: our own, or those of lm-eval, quirks included."""
    sampler: Literal["default", "first_n"] = "default"
    """Under lm-eval's rules: draw shots for each row from one stream (seed=1234 is its own), or take the first ones."""
    orders: int = Field(1, ge=1)
    """In how many orders the shots of each seed are shown."""
    method: str = "raw"
    """The scoring method of the figures: what choices are compared by."""
    methods: tuple[str, ...] = ()
    """Scoring methods of the records; empty takes all that apply but channel, which costs as much as all others."""
    pll: Literal["within_word_l2r", "original"] = "within_word_l2r"
    """What an encoder's pseudo-log-likelihood hides beside a token: the later ones of its word, or nothing."""
    max_new_tokens: int = Field(100, ge=1)
    """At most so many tokens are written."""
    stop: tuple[str, ...] = ()
    """Writing ends before any of these texts; empty is the line's end and what stands between shots."""
    limit: int = Field(0, ge=0)
    """Ask about so many rows only; 0 for all."""

    def check(self) -> None:
        """Read everything that can be read."""
        self._check_ignored()
        tokenizer = self._checked_model()
        if not self.data:
            raise RecipeError("data: name at least one task or table")
        for name in self.data:
            self._read(name, tokenizer)

    def _check_ignored(self) -> None:
        for name in self.changed(*{name for names in _OF_KIND.values() for name in names}):
            if name not in _OF_KIND[self.kind]:
                raise RecipeError(f"{name} has no effect with kind={self.kind}; leave it out")
        if self.changed("pll") and is_decoder_config(read_config(self.model)):
            raise RecipeError(f"pll has no effect on a decoder such as {self.model!r}; leave it out")

    def _checked_model(self) -> PreTrainedTokenizerBase:
        config = read_config(self.model)
        if is_decoder_config(config):
            return check_prompted("model", self.model)
        if self.kind in ("perplexity", "generation"):
            raise RecipeError(
                f"model: {self.model!r} is no causal language model ({config.model_type}); kind={self.kind} needs a "
                "decoder, pretrained with objective=causal_lm"
            )
        if named := [name for name in self.data if name in PROMPT_TASKS]:
            raise RecipeError(
                f"data: {named[0]} brings prompts for a decoder, and {self.model!r} ({config.model_type}) is none; "
                "name a table or another task, or a model pretrained with objective=causal_lm"
            )
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        check_pair(tokenizer, config)
        open_trained(self.model, "masked_lm", shapes_only=True)
        return tokenizer

    def _read(self, name: str, tokenizer: PreTrainedTokenizerBase) -> Work:
        """What is to be done with one name of ``data``, as far as it can be known without a model."""
        asker = {
            "labels": self._labels, "minimal_pairs": self._pairs, "perplexity": self._texts,
            "generation": self._references,
        }[self.kind]  # fmt: skip
        return asker(name, tokenizer)

    def _labels(self, name: str, tokenizer: PreTrainedTokenizerBase) -> Work:
        if name in PROMPT_TASKS:
            given = {"template": self.template, "words": ",".join(self.words), "shots": self.shots, "text": self.text}
            given["choices"] = self.choices
            refuse_given(given, f"{name} brings prompts of its own")
            task: TaskData | PromptTask = PROMPT_TASKS[name]()
            notes: list[str] = []
        else:
            task, notes = self._table(name)
        settings: dict[str, Any] = {
            "k": self.k, "seeds": self._seeds, "template": self._forms(task), "protocol": self.protocol,
            "sampler": self.sampler, "orders": self.orders, "method": self.method, "methods": self.methods,
            "limit": self.limit,
        }  # fmt: skip
        check_prompts(tokenizer, task, **settings)

        def do(model: PreTrainedModel, compute: Compute, display: Display) -> Found:
            progress = partial(display.progress, f"prompting, {task.name}")
            result = evaluate_prompts(
                model, tokenizer, task, **settings, compute=compute, progress=progress, say=display.say
            )
            return Found(result.figures, result.records, [record.line for record in result.choices])

        return Work("choices.jsonl", notes, do)

    def _table(self, name: str) -> tuple[TaskData, list[str]]:
        columns: dict[str, Any] = {"text": self.text, "text_a": self.text_a, "text_b": self.text_b, "label": self.label}
        if self.choices:
            columns |= {"choices": self.choices, "problem": "multiple_choice"}
        if self.shots and name in TASKS:
            raise RecipeError(
                f"shots: the task {name!r} brings its own examples; leave shots out, or name a table as data"
            )
        if self.shots:
            data, notes = read_task(self.shots, test=name, **columns)
        else:
            data, notes = read_task(name, **columns)
        return replace(data, name=task_name(name), train=data.train + data.valid), notes

    def _forms(self, task: TaskData | PromptTask) -> list[Template | ClozeTemplate]:
        if isinstance(task, PromptTask):
            return []
        if not is_decoder_config(read_config(self.model)):
            forms = self.template.split(FORMS_APART) if self.template else [default_cloze(task.train).text]
            return [ClozeTemplate(form, words=self.words) for form in forms]
        if not self.template and not self.words:
            return []
        forms = self.template.split(FORMS_APART) if self.template else [default_template(task.train).text]
        return [Template(form, words=self.words) for form in forms]

    def _pairs(self, name: str, tokenizer: PreTrainedTokenizerBase) -> Work:
        pairs, notes = read_minimal_pairs(name, good=self.good, bad=self.bad)
        title, asked = task_name(name), pairs[: self.limit or None]

        def do(model: PreTrainedModel, compute: Compute, display: Display) -> Found:
            if is_decoder_config(model.config):
                score = partial(loglikelihoods, model, tokenizer)
            else:
                score = partial(pseudo_loglikelihoods, model, tokenizer, method=self.pll)
            figures, records = evaluate_minimal_pairs(score, asked)
            means = {f"{title}.{name}": value for name, value in figures.items()}
            return Found(means, [{"task": title, "method": "minimal_pairs", **record} for record in records], [])

        return Work("", notes, do)

    def _texts(self, name: str, tokenizer: PreTrainedTokenizerBase) -> Work:
        rows = read_inputs(name, text=self.text)
        title, texts = task_name(name), [row.text for row in rows][: self.limit or None]

        def do(model: PreTrainedModel, compute: Compute, display: Display) -> Found:
            progress = partial(display.progress, f"scoring, {title}")
            result = evaluate_perplexity(
                model, tokenizer, texts, name=title, compute=compute, progress=progress, say=display.say
            )
            return Found(result.figures, result.records, lines(result.documents))

        return Work("documents.jsonl", [], do)

    def _references(self, name: str, tokenizer: PreTrainedTokenizerBase) -> Work:
        columns: dict[str, Any] = {"text": self.text, "text_a": self.text_a, "text_b": self.text_b, "label": self.label}
        rows, notes = read_references(name, **columns)
        pool: list[Example] = []
        if self.shots:
            pool, more = read_references(self.shots, split="train", **columns)
            notes = notes + more
        settings: dict[str, Any] = {
            "name": task_name(name), "k": self.k if self.shots or self.changed("k") else (0,), "seeds": self._seeds,
            "template": Template(self.template) if self.template else default_template(rows), "pool": pool,
            "max_new_tokens": self.max_new_tokens, "stop": self.stop or None, "limit": self.limit,
        }  # fmt: skip
        check_generation(rows, **settings)

        def do(model: PreTrainedModel, compute: Compute, display: Display) -> Found:
            progress = partial(display.progress, f"writing, {task_name(name)}")
            result = evaluate_generation(model, tokenizer, rows, **settings, progress=progress, say=display.say)
            return Found(result.figures, result.records, lines(result.documents))

        return Work("documents.jsonl", notes, do)

    @property
    def _seeds(self) -> list[int]:
        return list(seed_list(self.seeds, self.seed))

    def work(self, place: Place) -> Result:
        """Every name of ``data``."""
        limit_threads(self.threads)
        display = Once(place.display)
        compute = Compute("fp32")
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        is_decoder = is_decoder_config(read_config(self.model))
        model = open_trained(self.model, "causal_lm" if is_decoder else "masked_lm")
        compute.place(model)
        figures: dict[str, float] = {}
        records: list[dict[str, Any]] = []
        written: dict[str, list[str]] = {}
        for work in (self._read(name, tokenizer) for name in self.data):
            for note in work.notes:
                display.say(note)
            found = work.do(model, compute, display)
            figures |= found.figures
            records += found.records
            if work.file:
                written.setdefault(work.file, []).extend(found.lines)
        if is_main():
            for file, content in written.items():
                write_text(place.folder / file, "".join(content))
        lineage = {
            "step": self.name,
            "tokenizer": {"hash": tokenizer_hash(tokenizer)},
            "parents": [parent(self.model)],
            "seeds": self._seeds,
        }
        return Result(figures, records, lineage)
