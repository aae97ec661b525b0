"""What a schedule is: a pure function from progress to a factor of the peak learning rate."""

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import Field

from ptft.config import Settings


class Schedule(Settings, ABC):
    """The learning rate's factor as a function of the share of the budget that is spent."""

    name: ClassVar[str]
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    """Share of the budget over which the rate rises linearly from nothing to its peak."""

    def factor(self, progress: float, step_share: float) -> float:
        """The factor in [0, 1] for the step that begins at ``progress``.

        Args:
            progress: Share of the budget spent before this step, in [0, 1].
            step_share: Share of the budget that one step is: warm-up counts the step itself, so that none is idle.
        """
        if progress < self.warmup_ratio:
            return min(1.0, (progress + step_share) / self.warmup_ratio)
        return self.after_warmup((progress - self.warmup_ratio) / (1 - self.warmup_ratio))

    @abstractmethod
    def after_warmup(self, share: float) -> float:
        """The factor when ``share`` of what follows the warm-up is spent."""
