"""The best model of a run by what its held-out rows say, kept beside the run."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptft.training.aside import write_aside


class Best:
    """Writes the model whenever the held-out loss is lower than ever before.

    The lowest loss is part of the checkpoints, so that a resumed run keeps the same model.

    Args:
        folder: Where it is kept, such as the run's ``best``.
        write: Writes the model into a folder.
        patience: After so many steps without a lower loss the training ends; 0 for never.
    """

    def __init__(self, folder: Path, write: Callable[[Path], object], patience: int = 0) -> None:
        self._folder = folder
        self._write = write
        self._patience = patience
        self.step = 0
        self.loss = math.inf

    def measured(self, step: int, loss: float, *, is_main: bool) -> None:
        """Take note of the held-out loss after ``step`` updates; the main process writes the model.

        Raises:
            CheckpointError: The disk is full or the folder cannot be written.
        """
        if loss < self.loss:
            self.step, self.loss = step, loss
            if is_main:
                write_aside(self._folder, "best model", self._write)

    def is_old(self, step: int) -> bool:
        """Whether so many steps went by without a lower loss that the training is to end."""
        return 0 < self._patience <= step - self.step

    def state(self) -> dict[str, Any]:
        """Scalars for a checkpoint."""
        return {"step": self.step, "loss": self.loss} if self.step else {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` gave."""
        if state:
            self.step, self.loss = state["step"], state["loss"]

    def facts(self) -> dict[str, Any]:
        """For the run's manifest."""
        return {"path": self._folder.name, "step": self.step, "valid_loss": self.loss} if self.step else {}
