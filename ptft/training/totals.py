"""What a training used up so far."""

import math
from dataclasses import dataclass, field

from ptft.training.loop import StepReport


@dataclass
class Totals:
    """What a training used up, over all processes.

    Attributes:
        step: Updates made.
        num_tokens, num_slots: Real tokens seen, and with padding.
        num_text_tokens: Real tokens seen that are the corpus's own.
        seconds: Time of training: evaluations, checkpoints and interruptions are left out.
        most_rows: Rows of the largest micro-batch where memory was short; 0 where it was not.
        guard: State of the guard over the steps.
        loss: Total loss of the last logged step.
    """

    step: int = 0
    num_tokens: int = 0
    num_slots: int = 0
    num_text_tokens: int = 0
    seconds: float = 0.0
    most_rows: int = 0
    guard: dict[str, float] = field(default_factory=dict)
    loss: float = math.nan

    def add(self, report: StepReport, seconds: float) -> None:
        """Count one more step, at whose end so many seconds are spent."""
        self.step = report.step
        self.num_tokens += report.num_tokens
        self.num_slots += report.num_slots
        self.num_text_tokens += report.num_text_tokens
        self.most_rows = report.most_rows
        self.seconds = seconds
