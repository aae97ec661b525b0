"""What a step is: typed settings and what they do, in a run folder of its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from ptft.compute import Precision
from ptft.config import Settings
from ptft.display import Display, Silent

Figures = dict[str, float]


@dataclass
class Result:
    """What a step found out.

    Attributes:
        figures: Numbers under flat keys.
        records: One flat mapping for each measurement behind them.
        lineage: What the result was made from (see :mod:`ptft.steps.lineage`).
    """

    figures: Figures = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    lineage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a step works.

    Attributes:
        folder: The run folder, which exists.
        display: Shows sentences and progress.
    """

    folder: Path
    display: Display = field(default_factory=Silent)


class Step(Settings, ABC):
    """The settings that every step has."""

    name: ClassVar[str] = ""
    out: str = ""
    """The run folder; steps of a recipe get theirs from it."""
    seed: int = Field(0, ge=0)
    """Of every random draw."""
    precision: Precision = "auto"
    """Of matrix products: auto (bf16 where the hardware has it and is not slower, measured), fp32, bf16 or fp16."""
    threads: int = Field(0, ge=0)
    """CPU threads of the process; 0 leaves torch's choice. For models of a few million weights 1 is often fastest."""
    resume: bool = True
    """Go on with an interrupted run in ``out``; false starts over in a new folder beside it."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where to send the log as well: tensorboard, wandb, trackio."""
    cache: str = "~/.cache/ptft"
    """Folder for compiled corpora."""

    @abstractmethod
    def check(self) -> None:
        """Raise a ``UserError`` for everything that can be known to be wrong before anything is written."""

    @abstractmethod
    def work(self, place: Place) -> Result:
        """Do it."""


_SETUP_KEYS = {"out", "resume", "threads", "trackers", "cache", "workers", "guard", "jobs", "push", "push_private"}
RUNTIME_KEYS = frozenset({*_SETUP_KEYS, "accumulate", "compile", "gradient_checkpointing"})
"""Settings that may differ between a run and its continuation."""
