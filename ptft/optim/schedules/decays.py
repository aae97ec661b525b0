"""Linear, cosine, constant and warm-up-stable-decay schedules."""

import math
from typing import ClassVar, Literal

from pydantic import Field

from ptft.optim.schedule import Schedule


class Linear(Schedule):
    """Fall on a straight line to ``floor`` (Devlin et al. 2019)."""

    name: ClassVar[str] = "linear"
    floor: float = Field(0.0, ge=0, le=1)
    """Factor at the end of the budget."""

    def after_warmup(self, share: float) -> float:
        """1 at the end of the warm-up, ``floor`` at the end of the budget."""
        return 1 - (1 - self.floor) * share


class Cosine(Schedule):
    """Fall on half a cosine wave to ``floor`` (Loshchilov and Hutter 2017; GPT-3 ends at 0.1)."""

    name: ClassVar[str] = "cosine"
    floor: float = Field(0.1, ge=0, le=1)
    """Factor at the end of the budget."""

    def after_warmup(self, share: float) -> float:
        """1 at the end of the warm-up, ``floor`` at the end of the budget."""
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2


class Constant(Schedule):
    """Stay at the peak after the warm-up."""

    name: ClassVar[str] = "constant"

    def after_warmup(self, share: float) -> float:
        """Always 1."""
        return 1.0


class WarmupStableDecay(Schedule):
    """Stay at the peak, then fall over the last part of the budget (Hu et al. 2024, arXiv 2404.06395)."""

    name: ClassVar[str] = "wsd"
    decay_ratio: float = Field(0.3, gt=0, le=1)
    """Share of the whole budget over which the rate falls."""
    floor: float = Field(0.0, ge=0, le=1)
    """Factor at the end of the budget."""
    shape: Literal["linear", "sqrt"] = "linear"
    """linear, or one minus the square root of the share (ModernBERT)."""

    def after_warmup(self, share: float) -> float:
        """1 until the decay begins, then down to ``floor``."""
        length = min(1.0, self.decay_ratio / (1 - self.warmup_ratio))
        spent = max(0.0, (share - (1 - length)) / length)
        return 1 - (1 - self.floor) * (math.sqrt(spent) if self.shape == "sqrt" else spent)
