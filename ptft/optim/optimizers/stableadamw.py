"""StableAdamW (Wortsman et al. 2023, arXiv 2304.13013), ModernBERT's; with ``pip install ptft[optimizers]``."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from ptft.optim.optimizer import Group, OptimizerSettings, check_optimizer, pytorch_optimizer


class StableAdamW(OptimizerSettings):
    """AdamW that makes a tensor's step shorter where its gradients are larger than the second mean expects.

    It stands in for a limit on the gradients' norm: give clip_norm=0 with it.
    """

    name: ClassVar[str] = "stableadamw"
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.98, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    eps: float = Field(1e-6, gt=0)
    """Added to the root of the second mean."""

    def build(self, groups: list[Group], model: nn.Module) -> list[torch.optim.Optimizer]:
        """The one optimizer, of the library pytorch_optimizer."""
        options = {"betas": (self.beta1, self.beta2), "eps": self.eps}
        return [check_optimizer(pytorch_optimizer(self.name).StableAdamW, groups, **options)]
