"""Full fine-tuning (Devlin et al. 2019)."""

from typing import ClassVar

from ptft.finetuning.policy import TRAINED, Policy, Rate


class Full(Policy):
    """Train all weights at one rate (Devlin et al. 2019, arXiv 1810.04805)."""

    name: ClassVar[str] = "full"

    def rate(self, depth: int, top: int) -> Rate:
        """The run's rate, everywhere and always."""
        return TRAINED
