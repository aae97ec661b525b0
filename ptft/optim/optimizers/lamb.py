"""LAMB (You et al. 2020, arXiv 1904.00962), for very large batches; with ``pip install ptft[optimizers]``."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from ptft.optim.optimizer import Group, OptimizerSettings, check_optimizer, pytorch_optimizer


class Lamb(OptimizerSettings):
    """Adam whose step is, for each weight tensor, as long as the tensor's own norm times the learning rate.

    The weight decay belongs to the step and is scaled with it, as in the paper, whose third version has no bias
    correction either. Differs: norms of weights count as 10 at most.
    """

    name: ClassVar[str] = "lamb"
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    eps: float = Field(1e-6, gt=0)
    """Added to the root of the second mean."""

    def build(self, groups: list[Group], model: nn.Module) -> list[torch.optim.Optimizer]:
        """The one optimizer, of the library pytorch_optimizer."""
        options = {"betas": (self.beta1, self.beta2), "eps": self.eps, "weight_decouple": False}
        no_correction = {"adam_debias": True}  # without it the library divides the rate by the first mean's correction
        return [check_optimizer(pytorch_optimizer(self.name).Lamb, groups, **options, **no_correction)]
