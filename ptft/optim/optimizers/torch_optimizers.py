"""Every optimizer of ``torch.optim`` by its lower-case name: sgd, adagrad, adadelta, rmsprop, adam, ...

The settings of each are read off its constructor, so a new torch brings its new optimizers.
"""

import inspect
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, Field, create_model
from torch import nn

from ptft.optim.optimizer import Group, OptimizerSettings, check_optimizer

_OURS = {"AdamW", "Muon", "LBFGS", "SparseAdam", "Optimizer"}  # LBFGS needs a closure, SparseAdam sparse gradients
_NEVER_SHARDED = {"Adafactor", "Rprop"}  # torch 2.13 refuses their updates of spread weights, as it does Muon's
_FUSED = {"Adam", "SGD"}  # Adagrad is so on CPUs only; the others take lists of tensors on a GPU by themselves
_LEFT_OUT = {"params", "lr", "weight_decay", "foreach", "maximize", "capturable", "differentiable", "fused"}


class TorchOptimizer(OptimizerSettings):
    """An optimizer of torch with its constructor's own settings."""

    model_config = ConfigDict(use_attribute_docstrings=False)  # the made classes have no source to read them from
    name: ClassVar[str] = ""
    torch_class: ClassVar[str] = ""
    weight_decay: float = Field(
        0.0, ge=0, description="Weight decay of matrices, in the form that the optimizer has it."
    )

    def build(self, groups: list[Group], model: nn.Module) -> list[torch.optim.Optimizer]:
        """The one optimizer."""
        options = {name: getattr(self, name) for name in type(self).model_fields if name != "weight_decay"}
        if "weight_decay" not in inspect.signature(getattr(torch.optim, self.torch_class)).parameters:
            groups = [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]
        if self.torch_class in _FUSED:
            options["fused"] = True
        return [check_optimizer(getattr(torch.optim, self.torch_class), groups, **options)]


def _settings_of(torch_class: type) -> type[TorchOptimizer]:
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(torch_class).parameters.items():
        default = parameter.default
        if name in _LEFT_OUT or not isinstance(default, bool | int | float | tuple):
            continue
        if isinstance(default, tuple) and None in default:  # a recipe knows no None
            continue
        kind: Any = bool if isinstance(default, bool) else float  # torch writes momentum: float = 0
        if isinstance(default, tuple):
            kind, default = tuple[float, ...], tuple(map(float, default))
        else:
            default = kind(default)
        fields[name] = (kind, Field(default, description=f"As in torch.optim.{torch_class.__name__}."))
    settings: type[TorchOptimizer] = create_model(
        torch_class.__name__,
        __base__=TorchOptimizer,
        __module__=__name__,
        __doc__=f"torch.optim.{torch_class.__name__}.",
        **fields,
    )
    settings.name = torch_class.__name__.lower()
    settings.torch_class = torch_class.__name__
    settings.may_be_sharded = torch_class.__name__ not in _NEVER_SHARDED
    return settings


globals().update(
    {
        name: _settings_of(torch_class)
        for name, torch_class in vars(torch.optim).items()
        if inspect.isclass(torch_class) and issubclass(torch_class, torch.optim.Optimizer) and name not in _OURS
    }
)
