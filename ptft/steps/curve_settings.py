"""The settings of a curve, and its methods by name: how each is measured and what it needs."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from transformers import AutoModel

from ptft.compute import device_type, num_cores, num_processes
from ptft.config import load, plain
from ptft.errors import RecipeError
from ptft.family import nearest
from ptft.finetuning.policies import POLICIES
from ptft.models.building import check_shape, read_config
from ptft.models.presets import PRESETS
from ptft.prompting import Template, default_template
from ptft.prompting.evaluate import check_prompts
from ptft.steps.finetune import Finetune
from ptft.steps.finetune_settings import FinetuneSettings
from ptft.steps.prompt import check_prompted
from ptft.steps.seeds import seed_list
from ptft.steps.trial import free_bytes
from ptft.tasks.table import subset
from ptft.tasks.table_source import refuse_given
from ptft.tasks.task import TaskData

Kind = Literal["finetuned", "tfidf", "majority", "prompted"]
Count = int | Literal["all"]

_BYTES_OF_A_PROCESS = 10**9
_BYTES_A_TRAINED_WEIGHT, _BYTES_A_WEIGHT = 24, 4  # the weight, its gradient, its averages, a copy; activations


def known_methods() -> dict[str, Kind]:
    """How each method is measured."""
    others: dict[str, Kind] = {"tfidf": "tfidf", "majority": "majority", "prompting": "prompted"}
    return {**dict.fromkeys(("pretrained", "scratch", *POLICIES), "finetuned"), **others}


class CurveSettings(FinetuneSettings):
    """What comparing methods over numbers of labels needs to know."""

    methods: tuple[str, ...] = ("pretrained", "scratch")
    """What is compared; the first one is what differences are taken from.

    pretrained fine-tunes the checkpoint as the other settings say, the name of a policy (see ``ptft list policies``)
    with that policy, and scratch trains fresh weights in the same shape. tfidf is logistic regression on words, pairs
    of words and pieces of words; majority always gives the most frequent label; prompting shows labelled rows to the
    decoder ``prompt_model``.
    """
    labels: tuple[Count, ...] = (16, 64, 256)
    """Numbers of labelled training rows; all for every one."""
    seeds: int | tuple[int, ...] = 5
    """How many seeds, or which ones: each draws other rows, another order and another head."""
    lr: tuple[float, ...] = (3e-4,)  # type: ignore[assignment]
    """Peak learning rates to choose from on the validation rows."""
    jobs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Cells measured side by side, each in a process of its own that has its share of the cores, or ``threads``.

    auto is as many as there are cores and as memory has room for, and 1 on a GPU or under a launcher. The result does
    not depend on it if ``threads`` is given.
    """
    prompt_model: str = ""
    """The decoder that methods=prompting asks: a checkpoint folder, a run folder or a Hub name."""
    shots: int = Field(16, ge=1)
    """The most labelled rows that stand in a prompt; as many of them as there are and as fit do."""
    prompt_rows: int = Field(0, ge=0)
    """Ask the decoder about so many rows of each test set only; 0 for all."""
    template: str = ""
    """The form of a question with fields in braces, such as: Review: {text} Sentiment:"""
    words: dict[str, str] = {}
    """The word for each label in a prompt, such as words.pos=good; empty takes the labels themselves."""

    def check(self) -> None:
        """Read everything that can be read."""
        known = known_methods()
        if any(rate <= 0 for rate in self.lr) or not self.lr:
            raise RecipeError(f"lr: must be one or several rates above 0, got {list(self.lr)}")
        if not self.methods or not self.labels:
            raise RecipeError("methods and labels: name at least one of each")
        for method in self.methods:
            if method not in known:
                raise RecipeError(f"methods: unknown method {method!r}{nearest(method, known)}")
        if self.problem != "classification" and (others := [m for m in self.methods if known[m] != "finetuned"]):
            raise RecipeError(
                f"methods: {', '.join(others)} can do problem=classification only, got {self.problem!r}; leave them out"
            )
        if len(set(self.methods)) < len(self.methods):
            raise RecipeError(f"methods: name each of them once, got {', '.join(self.methods)}")
        if self.jobs != "auto" and self.jobs > 1 and num_processes() > 1:
            raise RecipeError(
                f"jobs: {self.jobs} cells side by side are not possible under a launcher, whose processes share each "
                "cell; leave jobs out, or start one process"
            )
        trained = self.trained()
        for method in trained:
            self.cell_settings(method).check_start()
        data, _ = self.read_data()
        for method in trained:
            self.cell_settings(method).check_model()
        counts = [len(part(data, count, 0).train) for count in self.labels]
        if len(set(counts)) < len(counts):
            raise RecipeError(f"labels: must be different numbers, got {', '.join(map(str, counts))}")
        seed_list(self.seeds, self.seed)
        self._check_prompting(data)
        self._check_unused(trained)

    def _check_unused(self, trained: Collection[str]) -> None:
        """Refuse what is said of a fine-tuning where none of the methods is one, or of a policy that none has."""
        if not trained and (ignored := self.changed("model", "preset", "lr", "policy")):
            names = ", ".join(self.methods)
            raise RecipeError(f"{ignored[0]}: has no effect: no method fine-tunes a model, got {names}; leave it out")
        if self.changed("policy") and not {"pretrained", self.policy.name} & set(trained):
            raise RecipeError(
                f"policy: {self.policy.name} has no effect: neither it nor pretrained is among methods; add one of "
                "them, or leave policy out"
            )

    def _check_prompting(self, data: TaskData) -> None:
        if "prompting" not in self.methods:
            given = {"prompt_model": self.prompt_model, "template": self.template, "words": ", ".join(self.words)}
            refuse_given(given, "prompting is not among methods")
            return
        if not self.prompt_model:
            raise RecipeError(
                "prompt_model: methods=prompting needs a decoder, pretrained with objective=causal_lm; name it, or "
                "leave prompting out"
            )
        tokenizer = check_prompted("prompt_model", self.prompt_model)
        check_prompts(tokenizer, data, k=(0,), seeds=(0,), template=self.prompt_template(data))

    def trained(self) -> list[str]:
        """The methods that fine-tune a model."""
        return [method for method in self.methods if known_methods()[method] == "finetuned"]

    def cell_settings(self, method: str) -> FinetuneSettings:
        """The settings of one fine-tuning."""
        values = {
            k: v for k, v in plain(self).items() if k in Finetune.model_fields and k not in ("labels", "seeds", "lr")
        }
        values["init"] = "scratch" if method == "scratch" else "pretrained"
        policy = "full" if method == "scratch" else method
        if policy in POLICIES and values["policy"]["name"] != policy:
            values["policy"] = {"name": policy}
        return load(Finetune, base=values, base_origin="curve").settings

    def prompt_template(self, data: TaskData) -> Template:
        """The form of a question: the one given, or the text, or both, with ``Label:`` behind."""
        return Template(self.template or default_template(data.train).text, words=self.words)

    def jobs_now(self, num_cells: int) -> int:
        """How many of so many cells are measured side by side."""
        if self.jobs != "auto":
            return max(1, min(self.jobs, num_cells))
        if device_type() != "cpu" or num_processes() > 1:
            return 1
        cores = num_cores() // max(1, self.threads)
        free = free_bytes(torch.device("cpu"))
        room = free // self._bytes_of_a_job() if free else cores
        return max(1, min(cores, room, num_cells))

    def _bytes_of_a_job(self) -> int:
        """About how much memory a process that measures cells takes."""
        size = _BYTES_OF_A_PROCESS
        if self.trained():
            config = read_config(self.model) if self.model else check_shape(PRESETS[self.preset], {})
            size += _BYTES_A_TRAINED_WEIGHT * _num_weights(config)
        if self.prompt_model:
            size += _BYTES_A_WEIGHT * _num_weights(read_config(self.prompt_model))
        return size


def part(data: TaskData, count: Count, seed: int) -> TaskData:
    """The task with so many of its training rows.

    Raises:
        DataError: There are fewer.
    """
    return data if count == "all" else subset(data, count, seed)


def _num_weights(config: Any) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in AutoModel.from_config(config).parameters())
