"""A watch over every step: its loss and gradient must be numbers and no spike, and what it reads must not change."""

import math
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ptft.compute import Compute
from ptft.config import Settings
from ptft.errors import DataError, TrainingError
from ptft.optim.optimizer import Optimizers
from ptft.training.checkpoint import complete_checkpoints
from ptft.training.work import BatchSource

_STEPS_OF_MEAN = 100
_FEWEST_STEPS = 10  # before that, a mean says little
_MOST_IN_A_ROW = 100
_MOST_NAMED = 10


class GuardSettings(Settings):
    """What is done with a step whose loss or gradient is not finite, or whose gradient is a spike."""

    policy: Literal["stop", "skip"] = "stop"
    """stop ends the run and names the step's documents; skip leaves the update out, and its data are used up."""
    spike: float = Field(0.0, ge=0)
    """A gradient norm of more than so many times its mean over about the last 100 steps is a spike; 0 for never."""


class Guard:
    """Judges each step before its update is made.

    A loss or a gradient norm that is not finite always counts. With fp16, gradients that are not finite are part of how
    the scaler finds its factor: those updates are left out and counted, and only too many in a row end the run.

    On a CUDA device, reading a number makes the host wait for it. Where nothing but a stop can follow, the first bad
    step is kept on the device and read by :meth:`verify`, before anything is logged or saved. That looks at the files
    that batches are read from as well.

    Args:
        settings: What to do.
        source: Tells what a step was made from, and what became of its files.
        optimizers: Of the weights that must stay finite.
        compute: Processes and device; all processes decide alike.
        folder: The run folder with the checkpoints; None where nothing is kept.
        state: Taken over, and kept up to date in place: updates left out (``skipped``), how many of them since the last
            one that was made (``in_a_row``), the running mean of norms, and how many norms it has ``seen``.
    """

    def __init__(
        self,
        settings: GuardSettings,
        source: BatchSource,
        optimizers: Optimizers,
        compute: Compute,
        folder: Path | None,
        state: dict[str, float],
    ) -> None:
        self._settings = settings
        self._source = source
        self._optimizers = optimizers
        self._compute = compute
        self._folder = folder
        self._is_scaled = compute.scaler is not None
        stops_only = settings.policy == "stop" and not settings.spike and not self._is_scaled
        self._is_deferred = compute.device.type == "cuda" and stops_only
        self._first_bad = torch.zeros(3, dtype=torch.float64, device=compute.device)  # step, loss, gradient norm
        self.state = state
        for name in ("skipped", "in_a_row", "mean", "seen"):
            state.setdefault(name, 0)

    def allows(self, step: int, loss: Tensor, norm: Tensor) -> bool:
        """Whether the update of a step, whose number is that of updates after it, is to be made.

        Args:
            step: From 1.
            loss: This process's part of it.
            norm: Global gradient norm before clipping.

        Raises:
            TrainingError: It is bad and the policy says so, or too many in a row were.
        """
        found = torch.stack([loss.double(), norm.double()])
        if self._is_deferred:
            is_first = (self._first_bad[0] == 0) & ~found.isfinite().all()
            values = torch.cat([torch.full_like(found[:1], step), found])
            self._first_bad = torch.where(is_first, values, self._first_bad)
            return True
        own_loss, value = found.tolist()
        is_bad = not math.isfinite(own_loss) or not (math.isfinite(value) or self._is_scaled)
        is_spike = self._is_spike(value)
        if not self._compute.any(is_bad or is_spike):
            return self._counts(step, value)
        if self._settings.policy == "stop":
            self._stop(step, own_loss, value)
        self._skip(step)
        return False

    def verify(self, step: int) -> None:
        """Vouch for all steps so far; all processes ask together, before anything is logged or saved.

        Raises:
            TrainingError: A step was bad, or weights are not finite.
            DataError: The files that batches are read from were changed or taken away.
        """
        if self._is_deferred:
            self._read_device()
        if not math.isfinite(self._optimizers.weight_norm().item()):
            raise TrainingError(
                f"step {step}: after its update weights are not finite; {self._circumstances(step)}; give a lower lr"
            )
        problem = self._source.problem()
        if self._compute.any(bool(problem)):
            raise DataError(
                f"step {step}: {problem or 'another process found the token store changed'}; no checkpoint was written "
                f"after that, {self._last_good()}; delete the store's folder, and the same command compiles it again "
                "and goes on from there"
            )

    def _read_device(self) -> None:
        first, loss, norm = self._first_bad.tolist()
        of_process = torch.zeros(self._compute.num_processes)
        of_process[self._compute.rank] = first
        found = [step for step in self._compute.sum(of_process).tolist() if step]
        if found:
            self._stop(int(min(found)), loss, norm)

    def _is_spike(self, norm: float) -> bool:
        is_known = self.state["seen"] >= _FEWEST_STEPS and self._settings.spike > 0
        return is_known and math.isfinite(norm) and norm > self._settings.spike * self.state["mean"]

    def _counts(self, step: int, norm: float) -> bool:
        """Take note of a step that is no reason to stop; says whether its update is to be made."""
        if not math.isfinite(norm):  # the scaler would leave out only those optimizers whose own gradients are not
            self._skip(step)
            return False
        self.state["in_a_row"] = 0
        self.state["seen"] = min(self.state["seen"] + 1, _STEPS_OF_MEAN)
        self.state["mean"] += (norm - self.state["mean"]) / self.state["seen"]
        return True

    def _skip(self, step: int) -> None:
        self.state["skipped"] += 1
        self.state["in_a_row"] += 1
        if self.state["in_a_row"] > _MOST_IN_A_ROW:
            raise TrainingError(
                f"step {step}: more than {_MOST_IN_A_ROW} updates in a row had to be left out; "
                f"{self._circumstances(step)}; give a lower lr"
            )

    def _stop(self, step: int, loss: float, norm: float) -> None:
        loss = float(self._compute.sum(torch.tensor(loss, dtype=torch.float64)))
        ratio = f", {norm / self.state['mean']:.3g} times its mean" if self._is_spike(norm) else ""
        raise TrainingError(
            f"step {step}: the loss is {loss:.4g} and the gradient norm {norm:.4g}{ratio}; "
            f"{self._circumstances(step)}; give a lower lr, or guard.policy=skip to leave out such updates"
        )

    def _circumstances(self, step: int) -> str:
        """The documents of a step's batch, and the last good checkpoint, as parts of a sentence."""
        numbers = self._source.documents(step - 1)
        named = ", ".join(map(str, numbers[:_MOST_NAMED]))
        more = f" and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else ""
        return f"its batch has {named}{more} ({self._source.unit}); {self._last_good()}"

    def _last_good(self) -> str:
        found = complete_checkpoints(self._folder / "checkpoints") if self._folder is not None else []
        return f"the last good checkpoint is {found[-1]}" if found else "the last good checkpoint: none yet"
