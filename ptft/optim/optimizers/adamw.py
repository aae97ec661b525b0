"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from ptft.optim.optimizer import Group, OptimizerSettings, check_optimizer


class AdamW(OptimizerSettings):
    """Adam with decoupled weight decay.

    Differs: BERT's own Adam has no bias correction and eps 1e-6; this is torch's, which has it.
    """

    name: ClassVar[str] = "adamw"
    may_be_sharded: ClassVar[bool] = True
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    eps: float = Field(1e-8, gt=0)
    """Added to the root of the second mean."""

    def build(self, groups: list[Group], model: nn.Module) -> list[torch.optim.Optimizer]:
        """One fused AdamW."""
        betas = (self.beta1, self.beta2)
        return [check_optimizer(torch.optim.AdamW, groups, betas=betas, eps=self.eps, fused=True)]
