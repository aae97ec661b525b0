"""The model with the lowest held-out loss of a run, as a stock model in ``best/``."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptft.training.aside import write_aside


class Best:
    """Writes the model whenever the held-out loss is lower than ever before.

    The lowest loss is part of the checkpoints, so that a resumed run keeps the same model.

    Args:
        folder: The run's ``best``.
        write: Writes model and tokenizer into a folder.
    """

    def __init__(self, folder: Path, write: Callable[[Path], object]) -> None:
        self._folder = folder
        self._write = write
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
