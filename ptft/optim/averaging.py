"""An exponential moving average of the weights, beside the weights that are trained.

Differs from the averaging of Polyak and Juditsky 1992, which is the plain mean over all steps: here a step counts for
less the longer ago it was.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ptft.sharding import spread_like


class Average:
    """The average of some parameters over the steps made: it begins with the weights after the first.

    Args:
        parameters: What is averaged.
        decay: Weight of the former average at each step, in (0, 1).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._move = get_ema_multi_avg_fn(decay)
        self._mean: list[Tensor] = []

    def update(self) -> None:
        """Take the weights of one more step into it."""
        weights = [parameter.detach() for parameter in self._parameters]
        if self._mean:
            self._move(self._mean, weights, 0)
        else:
            self._mean = [weight.clone() for weight in weights]

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the average in the weights' place and the weights in its own; a second time puts both back."""
        for parameter, mean in zip(self._parameters, self._mean, strict=bool(self._mean)):
            weight = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(weight)

    def state(self) -> list[Tensor]:
        """The averages, in the order of the parameters; none before the first step."""
        return [mean.clone() for mean in self._mean]

    def load(self, mean: list[Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        pairs = zip(mean, self._parameters, strict=bool(mean))
        self._mean = [spread_like(value.to(parameter.device, copy=True), parameter) for value, parameter in pairs]
