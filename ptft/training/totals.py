"""What a training used up so far."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ptft.models.flops import Flops
from ptft.training.loop import StepReport

_NOT_KEPT = ("loss",)


@dataclass
class Totals:
    """What a training used up, over all processes.

    Attributes:
        step: Updates made.
        num_tokens, num_slots: Real tokens seen, and with padding.
        num_text_tokens: Real tokens seen that are the corpus's own.
        seconds: Time of training: evaluations, checkpoints and interruptions are left out.
        wait_seconds: Time of it spent waiting for data.
        flops, head_flops: Model FLOPs, and those of the vocabulary head among them.
        peak_flops: What the devices could have done in that time at best; 0 where their rate is not known.
        most_rows: Rows of the largest micro-batch where memory was short; 0 where it was not.
        guard: State of the guard over the steps.
        loss: Total loss of the last logged step.
    """

    step: int = 0
    num_tokens: int = 0
    num_slots: int = 0
    num_text_tokens: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    flops: float = 0.0
    head_flops: float = 0.0
    peak_flops: float = 0.0
    most_rows: int = 0
    guard: dict[str, float] = field(default_factory=dict)
    loss: float = math.nan

    def add(self, report: StepReport, seconds: float, flops: Flops, peak: float) -> None:
        """Count one more step, at whose end so many seconds are spent.

        Args:
            report: What the step did.
            seconds: Since the training began.
            flops: Of a position and of a prediction.
            peak: FLOP/s of all devices at best.
        """
        self.step = report.step
        self.num_tokens += report.num_tokens
        self.num_slots += report.num_slots
        self.num_text_tokens += report.num_text_tokens
        self.wait_seconds += report.wait_seconds
        self.flops += flops.of(report.num_slots, report.num_predictions)
        self.head_flops += flops.of(0, report.num_predictions)
        self.most_rows = report.most_rows
        self.spend(seconds, peak)

    def spend(self, seconds: float, peak: float) -> None:
        """Let so many seconds be spent since the training began, on devices of this rate."""
        self.peak_flops += (seconds - self.seconds) * peak
        self.seconds = seconds

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _NOT_KEPT}

    @staticmethod
    def of(state: Mapping[str, Any]) -> "Totals":
        """From what a checkpoint has kept; what an older one has not is counted from here on."""
        names = {each.name for each in fields(Totals)} - {*_NOT_KEPT}
        return Totals(**{name: state[name] for name in names if name in state})
