"""LAMB (You et al. 2020, arXiv 1904.00962), for very large batches; with ``pip install ptft[optimizers]``."""

import math
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from ptft.optim.optimizer import Group, OptimizerSettings, check_optimizer, pytorch_optimizer


class Lamb(OptimizerSettings):
    """Adam whose step is, for each weight tensor, as long as the tensor's own norm times the learning rate.

    The weight decay belongs to the step and is scaled with it. The paper leaves open a bound on the norms (its function
    phi) and corrects no bias from its third version on: here is neither. Differs: tensors of one dimension, which have
    no weight decay, take Adam's step as it is, as in the authors' code for BERT; the paper adapts every layer. Codes
    that correct the bias of the means, as GPT-BERT's, make other steps in the beginning, until the means have settled.
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
        groups = [{**group, "adam": all(p.ndim < 2 for p in group["params"])} for group in groups]
        optimizer: Any = check_optimizer(pytorch_optimizer(self.name).Lamb, groups, **options, **no_correction)
        optimizer.clamp = math.inf  # the library's bound on norms of weights is 10
        return [optimizer]
