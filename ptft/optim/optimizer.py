"""What an optimizer setting is, and the optimizers of a run driven as one."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ptft.config import Settings
from ptft.errors import DeviceError, RecipeError
from ptft.optim.averaging import Average
from ptft.sharding import spread_like, whole

Group = dict[str, Any]
_STEPS = "steps."  # begins the names of the groups' steps in the state
_AVERAGE = "average."  # begins the names of the averages in the state


class OptimizerSettings(Settings, ABC):
    """An optimizer by name with its own settings; the peak learning rate is the run's ``lr``."""

    name: ClassVar[str]
    may_be_sharded: ClassVar[bool] = False
    """Whether it is right for weights that FSDP spreads over processes, as what works element by element is."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of matrices; biases, norms and embeddings' vectors of one dimension have none."""

    @abstractmethod
    def build(self, groups: list[Group], model: nn.Module) -> list[torch.optim.Optimizer]:
        """The torch optimizers for parameter groups that each carry ``params``, ``lr`` and ``weight_decay``."""


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], lr: float, weight_decay: float) -> list[Group]:
    """Two groups: matrices with weight decay; biases and norms (one dimension) without, as the BERT code does."""
    parameters = [p for _, p in named if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "lr": lr, "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "lr": lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Optimizers:
    """One or several torch optimizers driven as one, with a learning rate that is set and never stepped.

    Args:
        optimizers: What :meth:`OptimizerSettings.build` gave.
        scaler: Accelerate's gradient scaler for fp16, or None.
        centered: Matrices whose rows are moved to mean zero after each step.
        ema: Decay of an average of the weights (see :mod:`ptft.optim.averaging`); 0 for none.
    """

    def __init__(
        self,
        optimizers: list[torch.optim.Optimizer],
        scaler: Any = None,
        centered: Iterable[Tensor] = (),
        ema: float = 0.0,
    ) -> None:
        self._optimizers = optimizers
        self._scaler = scaler
        self._centered = list(centered)
        for group in self._groups():
            group["peak_lr"] = group["lr"]
        self._average = Average(self.parameters(), ema) if ema else None

    def _groups(self) -> Iterator[Group]:
        for optimizer in self._optimizers:
            yield from optimizer.param_groups

    def parameters(self) -> list[nn.Parameter]:
        """Every parameter that is optimized."""
        return [parameter for group in self._groups() for parameter in group["params"]]

    def set_lr(self, factor: float, step: int) -> float:
        """Set every group's learning rate to its peak times ``factor``; returns the first group's.

        Before its step ``from_step`` a group's rate is 0 and its parameters take no gradient.
        """
        for group in self._groups():
            is_trained = step >= group.get("from_step", 0)
            group["lr"] = group["peak_lr"] * factor if is_trained else 0.0
            for parameter in group["params"] if "from_step" in group else ():
                parameter.requires_grad_(is_trained)
        return float(next(self._groups())["lr"])

    @property
    def begins_late(self) -> bool:
        """Whether some parameters are not trained from the first step on."""
        return any(group.get("from_step", 0) for group in self._groups())

    def clip(self, max_norm: float) -> Tensor:
        """Scale the gradients down to a global norm of at most ``max_norm`` (0: as they are); gives the norm before."""
        if self._scaler is not None:
            for optimizer in self._optimizers:
                self._scaler.unscale_(optimizer)
        if max_norm:
            return whole(nn.utils.clip_grad_norm_(self.parameters(), max_norm))
        return whole(nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None]))

    def weight_norm(self) -> Tensor:
        """Norm of all weights together: infinite or no number if one of them is, or too large to be squared."""
        return whole(nn.utils.get_total_norm([parameter.detach() for parameter in self.parameters()]))

    def step(self) -> None:
        """Update the weights and forget the gradients."""
        for optimizer in self._optimizers:
            if self._scaler is None:
                optimizer.step()
            else:
                self._scaler.step(optimizer)
        self.skip()
        with torch.no_grad():
            for matrix in self._centered:
                matrix -= matrix.mean(0)
        if self._average is not None:
            self._average.update()

    def skip(self) -> None:
        """Forget clipped gradients without an update: weights, their average and the optimizers' state stay."""
        self.forget()
        if self._scaler is not None:
            self._scaler.update()

    def forget(self) -> None:
        """Forget the gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """A context in which the weights are their average, if there is one."""
        self.exchange_average()
        try:
            yield
        finally:
            self.exchange_average()

    def exchange_average(self) -> None:
        """Let the weights and their average change places, if there is one."""
        if self._average is not None:
            self._average.exchange()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and scalars that JSON can hold; under FSDP every process must ask for them."""
        tensors: dict[str, Tensor] = {}
        scalars: dict[str, Any] = {}
        for number, optimizer in enumerate(self._optimizers):
            for index, values in optimizer.state_dict()["state"].items():
                for name, value in values.items():
                    key = f"{number}.{index}.{name}"
                    if isinstance(value, Tensor):
                        tensors[key] = whole(value.detach()).to("cpu", copy=True).contiguous()
                    else:
                        scalars[key] = value
        for number, optimizer in enumerate(self._optimizers):
            steps = [group["step"] for group in optimizer.param_groups if "step" in group]
            if steps:  # some count their steps by group
                scalars[f"{_STEPS}{number}"] = steps
        if self._average is not None:
            tensors |= {f"{_AVERAGE}{index:06d}": whole(mean).cpu() for index, mean in enumerate(self._average.state())}
        if self._scaler is not None:
            scalars["scaler"] = self._scaler.state_dict()
        json.dumps(scalars)
        return tensors, scalars

    def load(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        scaler_state = scalars.pop("scaler", None)
        if self._scaler is not None and scaler_state is not None:
            self._scaler.load_state_dict(scaler_state)
        steps = {key: scalars.pop(key) for key in list(scalars) if key.startswith(_STEPS)}
        mean = [tensors[key] for key in sorted(tensors) if key.startswith(_AVERAGE)]
        if self._average is not None:
            self._average.load(mean)
        tensors = {key: value for key, value in tensors.items() if not key.startswith(_AVERAGE)}
        entries: list[dict[int, dict[str, Any]]] = [{} for _ in self._optimizers]
        weights = [[p for group in optimizer.param_groups for p in group["params"]] for optimizer in self._optimizers]
        for key, value in [*tensors.items(), *scalars.items()]:
            number, index, name = key.split(".", 2)
            own = weights[int(number)][int(index)]
            entries[int(number)].setdefault(int(index), {})[name] = (
                spread_like(value, own) if isinstance(value, Tensor) else value
            )
        for place, (optimizer, state) in enumerate(zip(self._optimizers, entries, strict=True)):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
            for group, step in zip(optimizer.param_groups, steps.get(f"{_STEPS}{place}", []), strict=False):
                group["step"] = step


def check_optimizer(build: Any, groups: list[Group], **options: Any) -> torch.optim.Optimizer:
    """Build a torch optimizer; what torch refuses about an option becomes a sentence.

    Raises:
        RecipeError: torch does not take these options.
    """
    try:
        optimizer: torch.optim.Optimizer = build(groups, **options)
    except (ValueError, TypeError) as error:
        library = build.__module__.partition(".")[0]
        raise RecipeError(f"optimizer: {error} ({library}'s {build.__name__}); give another value") from None
    return optimizer


def pytorch_optimizer(name: str) -> Any:
    """The library of that name, which has optimizers that torch lacks.

    Raises:
        DeviceError: It is not installed.
    """
    try:
        return import_module("pytorch_optimizer")
    except ImportError:
        raise DeviceError(
            f"optimizer={name} needs the library 'pytorch_optimizer', which is not installed; "
            "pip install pytorch_optimizer, or use another (ptft list optimizers)"
        ) from None
