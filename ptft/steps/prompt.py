"""The step ``prompt``: zero-, one- and few-shot accuracy of a decoder."""

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field
from transformers import PreTrainedTokenizerBase

from ptft.compute import Compute, is_main, limit_threads
from ptft.errors import RecipeError
from ptft.models.building import open_trained, read_config
from ptft.models.classifier import is_decoder_config
from ptft.prompting import Template, default_template, evaluate_prompts
from ptft.prompting.evaluate import check_prompts
from ptft.prompting.records import ChoiceRecord
from ptft.steps.folder import parent
from ptft.steps.seeds import seed_list
from ptft.steps.step import Place, Result, Step
from ptft.tasks import PROMPT_TASKS, TASKS
from ptft.tasks.prompt_task import PromptTask
from ptft.tasks.table import read_task, task_name
from ptft.tasks.table_source import refuse_given
from ptft.tasks.task import TaskData
from ptft.tokenization import check_pair, load_tokenizer, tokenizer_folder, tokenizer_hash
from ptft.training.aside import write_text

FORMS_APART = "|||"


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


class Prompt(Step):
    """Ask a causal language model to classify, with 0 to k solved examples before each question; nothing is trained."""

    name: ClassVar[str] = "prompt"
    model: str
    """The decoder: a checkpoint folder, a run folder or a Hub name."""
    data: tuple[str, ...]
    """What to ask: in-context tasks or tasks by name, or a labelled table, folder or `datasets` name."""
    shots: str = ""
    """A table of examples to take shots from; empty takes the data's own training rows."""
    text: str = ""
    """Column of the text."""
    text_a: str = ""
    """Column of the first text of a pair."""
    text_b: str = ""
    """Column of the second text of a pair."""
    label: str = "label"
    """Column of the label."""
    choices: str = ""
    """Columns of the choices, by commas, or the one that holds lists of them, where each row brings its own."""
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
    limit: int = Field(0, ge=0)
    """Ask about so many rows only; 0 for all."""

    def check(self) -> None:
        """Read everything that can be read."""
        seeds = seed_list(self.seeds, self.seed)
        tokenizer = check_prompted("model", self.model)
        for task, _ in self._tasks():
            check_prompts(
                tokenizer, task, k=self.k, seeds=seeds, template=self._templates(task), protocol=self.protocol,
                sampler=self.sampler, orders=self.orders,
                method=self.method, methods=self.methods,
            )  # fmt: skip

    def _tasks(self) -> list[tuple[TaskData | PromptTask, list[str]]]:
        if not self.data:
            raise RecipeError("data: name at least one task or table")
        if all(name in PROMPT_TASKS for name in self.data):
            given = {"template": self.template, "words": ",".join(self.words), "shots": self.shots, "text": self.text}
            given["choices"] = self.choices
            refuse_given(given, f"{', '.join(self.data)} brings prompts of its own")
        return [(PROMPT_TASKS[name](), []) if name in PROMPT_TASKS else self._read(name) for name in self.data]

    def _read(self, name: str) -> tuple[TaskData, list[str]]:
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

    def _templates(self, task: TaskData | PromptTask) -> list[Template]:
        if isinstance(task, PromptTask):
            return []
        if not self.template and not self.words:
            return []
        forms = self.template.split(FORMS_APART) if self.template else [default_template(task.train).text]
        return [Template(form, words=self.words) for form in forms]

    def work(self, place: Place) -> Result:
        """Every task, number of shots and seed."""
        limit_threads(self.threads)
        seeds = seed_list(self.seeds, self.seed)
        compute = Compute("fp32")
        model = open_trained(self.model, "causal_lm")
        compute.place(model)
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        figures: dict[str, float] = {}
        records: list[dict[str, Any]] = []
        choices: list[ChoiceRecord] = []
        for task, notes in self._tasks():
            for note in notes:
                place.display.say(note)
            result = evaluate_prompts(
                model, tokenizer, task, k=self.k, seeds=seeds, template=self._templates(task), protocol=self.protocol,
                sampler=self.sampler, orders=self.orders,
                method=self.method, methods=self.methods, limit=self.limit, compute=compute,
                progress=partial(place.display.progress, f"prompting, {task.name}"), say=place.display.say,
            )  # fmt: skip
            figures |= result.figures
            records += result.records
            choices += result.choices
        if is_main():
            write_text(place.folder / "choices.jsonl", "".join(record.line for record in choices))
        lineage = {
            "step": self.name,
            "tokenizer": {"hash": tokenizer_hash(tokenizer)},
            "parents": [parent(self.model)],
            "seeds": seeds,
        }
        return Result(figures, records, lineage)
