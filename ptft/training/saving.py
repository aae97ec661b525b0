"""The checkpoints of one training."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from ptft.compute import Compute
from ptft.display import Display
from ptft.errors import CheckpointError
from ptft.optim.optimizer import Optimizers
from ptft.training.aside import discard, remove_leftovers
from ptft.training.best import Best
from ptft.training.checkpoint import complete_checkpoints, load_newest, save_checkpoint
from ptft.training.guard import Guard
from ptft.training.interruption import Interrupted, Request
from ptft.training.totals import Totals


@dataclass
class Checkpoints:
    """The checkpoints of one training: found at its start, written at some steps.

    Attributes:
        folder: The run folder; None keeps nothing.
        module, optimizers: What is kept.
        keep: How many stay.
        compute, display: As for :func:`ptft.training.session.fit`.
        identity: What the run is made from, by its name for people; with another one it is not gone on with.
        best: Its lowest loss is kept as well.
    """

    folder: Path | None
    module: nn.Module
    optimizers: Optimizers
    keep: int
    compute: Compute
    display: Display
    identity: Mapping[str, Any] | None
    best: Best | None
    _has_failed: bool = field(default=False, init=False)

    def load(self) -> Totals:
        """Take over the newest one that is whole, after removing what a killed process left."""
        if self.folder is None:
            return Totals()
        if self.compute.is_main:
            for folder in (self.folder, self.folder / "checkpoints"):
                remove_leftovers(folder)
        self.compute.wait()
        state = load_newest(
            self.folder / "checkpoints", self.module, self.optimizers, identity=self.identity, display=self.display
        )
        if state is None:
            return Totals()
        if self.compute.is_main:  # a process may have been killed before it deleted the oldest
            newest = f"step-{state['step']:08d}"
            places = [path for path in complete_checkpoints(self.folder / "checkpoints") if path.name <= newest]
            for old in places[: -self.keep]:
                discard(old)
        if self.best is not None:
            self.best.load(state.get("best", {}))
        self.display.say(f"continuing after step {state['step']}")
        return Totals.of(state)

    def _save(self, totals: Totals, guard: Guard) -> str:
        """Write one; gives the rest of a sentence about why that was not possible, or nothing."""
        guard.verify(totals.step)
        failure = ""
        if self.folder is not None and (self.compute.is_main or self.compute.is_sharded):
            more = {
                "precision": self.compute.precision,
                "identity": dict(self.identity or {}),
                "best": self.best.state() if self.best else {},
            }
            try:
                folder, writes = self.folder / "checkpoints", self.compute.is_main
                save_checkpoint(folder, self.module, self.optimizers, totals.state() | more, self.keep, writes=writes)
            except CheckpointError as error:
                steps = [int(path.name[5:]) for path in complete_checkpoints(self.folder / "checkpoints")]
                failure = f"; {error}, the last one is of step {steps[-1]}" if steps else f"; {error}: there is none"
        self.compute.wait()
        return failure

    def save_and_stop(self, totals: Totals, words: str, request: Request, guard: Guard) -> NoReturn:
        """Write one and end the training.

        Raises:
            Interrupted: Always; where another process was asked, with its usual signal.
        """
        sentence = f"stopped after {words}{self._save(totals, guard)}"
        raise Interrupted(sentence, request.signal_number or signal.SIGTERM)

    def save_or_say(self, totals: Totals, guard: Guard) -> None:
        """Write one, or say that it was not possible if the one before was."""
        failure = self._save(totals, guard)
        if failure and not self._has_failed:
            self.display.say(f"training goes on{failure}")
        self._has_failed = bool(failure)
