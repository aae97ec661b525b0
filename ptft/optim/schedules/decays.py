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


class SlantedTriangular(Schedule):
    """Rise fast and fall slowly, never to nothing (Howard and Ruder 2018, arXiv 1801.06146, equation 3).

    The number of steps over which the rate rises is rounded down, as there. Differs: the line down ends with the
    budget; that of the paper ends before it where something was rounded, and goes below nothing.
    """

    name: ClassVar[str] = "slanted_triangular"
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    """Share of the budget over which the rate rises; the paper calls it cut_frac."""
    ratio: float = Field(32.0, ge=1)
    """The highest rate over the lowest."""

    def factor(self, progress: float, step_share: float) -> float:
        """Between ``1 / ratio`` and 1: on straight lines up to the cut and down from it."""
        steps = 1 / step_share
        cut = math.floor(steps * self.warmup_ratio + 1e-9)
        step = progress * steps
        if step < cut:
            return (1 + step / cut * (self.ratio - 1)) / self.ratio
        return self.after_warmup((step - cut) / (steps - cut))

    def after_warmup(self, share: float) -> float:
        """The line down."""
        return (1 + (1 - share) * (self.ratio - 1)) / self.ratio
