"""A model's body compiled by ``torch.compile``, for one shape of its input; everything else goes through it eagerly.

Compiled is what stands between the ids and the last hidden state. The vocabulary head, whose number of rows changes
from batch to batch, and the loss stay as they are. Names of weights stay, and so does what is saved.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from transformers import PreTrainedModel

_compiled: WeakSet[nn.Module] = WeakSet()


def compile_body(
    model: PreTrainedModel, *, deterministic: bool = False, backend: str | Callable[..., Any] = "inductor"
) -> None:
    """Let torch compile a model's body when it is first called, in place, anew for each shape it is called with.

    Args:
        model: A stock model, where it trains.
        deterministic: Choose no kernel by how long it takes, so that the same run gives the same bits.
        backend: torch's compiler, for tests.
    """
    import torch._dynamo.config as dynamo  # slow, and of no use where nothing is compiled
    import torch._inductor.config as inductor

    if hasattr(inductor, "deterministic"):  # the oldest torch that we take may lack it
        inductor.deterministic = deterministic
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit  # shapes of all trainings of this process
    silent = dynamo.ignore_logger_methods  # torch's newer name for it is ignore_logging_functions
    for name in ("warning", "warning_once", "info"):  # a stock model that says something cannot be compiled else
        silent.add(getattr(logging.Logger, name, logging.Logger.info))
    model.base_model.compile(fullgraph=True, dynamic=False, backend=backend)
    _compiled.add(model.base_model)


def eagerly(active: bool = True) -> AbstractContextManager[None]:
    """While ``active``, call what was compiled as it was before, and compile nothing."""
    if not active or not _compiled:
        return nullcontext()
    context: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return context


def num_compilations() -> int:
    """How many graphs torch has compiled in this process; one that it compiles again counts again."""
    if not _compiled:
        return 0
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
