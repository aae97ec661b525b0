"""Prompts asked along a pretraining, so that learning from examples in the prompt is seen as it comes."""

import copy
import time
from collections.abc import Callable
from typing import cast

import torch
from pydantic import Field
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from ptft.compute import Compute
from ptft.config import Settings
from ptft.errors import RecipeError
from ptft.prompting import evaluate_prompts
from ptft.prompting.evaluate import check_prompts
from ptft.tasks import PROMPT_TASKS, TASKS
from ptft.tasks.prompt_task import PromptTask
from ptft.tasks.task import TaskData


class PromptingSettings(Settings):
    """What a decoder is asked whenever it is measured while it is pretrained."""

    tasks: tuple[str, ...] = ()
    """In-context tasks or tasks by name; needs evaluate_every_steps."""
    k: tuple[int, ...] = (0, 1, 2, 4, 8)
    """Numbers of shots."""
    seeds: int = Field(1, ge=1)
    """How many seeds of the shots."""
    rows: int = Field(100, ge=1)
    """Ask about at most so many rows of each test set."""
    time_ratio: float = Field(0.1, gt=0)
    """Asking may take so large a share of the training's time; evaluations that would go beyond are left out."""

    def check(self, *, is_decoder: bool, evaluate_every_steps: int) -> None:
        """Refuse what cannot be asked.

        Raises:
            RecipeError: A task is unknown, the model is no decoder, or settings have no effect.
        """
        if not self.tasks:
            if changed := self.changed("k", "seeds", "rows", "time_ratio"):
                raise RecipeError(
                    f"prompting.{changed[0]} has no effect without prompting.tasks; name some, or leave it out"
                )
            return
        if not is_decoder:
            raise RecipeError(
                "prompting.tasks: only a decoder can be asked; use objective=causal_lm, or leave them out"
            )
        if not evaluate_every_steps:
            raise RecipeError(
                "prompting.tasks: are asked whenever the model is measured, but evaluate_every_steps=0 asks for none "
                "before the end; give a number of steps"
            )
        self.read()

    def read(self) -> list[TaskData | PromptTask]:
        """The tasks."""
        return [PROMPT_TASKS[name]() if name in PROMPT_TASKS else TASKS[name]().data(0) for name in self.tasks]


class Asking:
    """Asks a model that is being trained, as long as that takes no more than its share of the time.

    Args:
        settings: What is asked.
        model: Trained elsewhere; a twin of it with the same weights is asked, in fp32 and as a stock model.
        tokenizer: Its tokenizer.
        compute: The processes of the run; all of them ask together.
        say: Is told what cannot be asked.
    """

    def __init__(
        self,
        settings: PromptingSettings,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        compute: Compute,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._tokenizer = tokenizer
        self._compute = compute
        self._say = say
        self._tasks = settings.read()
        self._began = time.perf_counter()
        self._spent = 0.0
        self._step, self._figures = -1, dict[str, float]()
        for task in self._tasks:
            check_prompts(tokenizer, task, k=settings.k, seeds=range(settings.seeds))
        self._twin = _twin(model)

    def measured(self, step: int, model: PreTrainedModel, *, always: bool = False) -> dict[str, float]:
        """Figures ``prompt.TASK.kK`` with ``.low`` and ``.high``; empty where there is no time for them.

        Args:
            step: How far the model is trained.
            model: The trained one, whole.
            always: Ask however long it takes: at the end.
        """
        if step == self._step:
            return self._figures
        start = time.perf_counter()
        is_over = self._spent > self._settings.time_ratio * (start - self._began)
        if self._compute.any(is_over) and not always:
            return {}
        self._twin.load_state_dict(model.state_dict(), assign=True)
        figures: dict[str, float] = {}
        for task in self._tasks:
            found = evaluate_prompts(
                self._twin, self._tokenizer, task, k=self._settings.k, seeds=range(self._settings.seeds),
                limit=self._settings.rows, methods=("raw",), compute=self._compute, say=self._say,
            ).figures  # fmt: skip
            figures |= {f"prompt.{name}": value for name, value in found.items() if _is_shown(name)}
        self._spent += time.perf_counter() - start
        self._step, self._figures = step, figures
        return figures


def _is_shown(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last in ("low", "high", "majority") or last[1:].isdigit()


def _twin(model: PreTrainedModel) -> PreTrainedModel:
    """A stock model of the same shape, whatever attention or compilation the trained one has."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = None  # transformers' choice
    with torch.random.fork_rng(devices=[]):
        twin: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    place = cast("Callable[[torch.device], PreTrainedModel]", twin.to)
    return place(model.device)
