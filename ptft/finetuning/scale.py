"""Numbers to be learned, brought to mean 0 and standard deviation 1 for the time of the training."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ptft.tasks.problem import Values
from ptft.tasks.task import TaskData


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a regression's training labels; 0 and 1 for other problems."""

    mean: float = 0.0
    deviation: float = 1.0

    @staticmethod
    def of(data: TaskData) -> "Scale":
        """That of the training rows."""
        if data.problem != "regression":
            return Scale()
        labels = np.array([example.label for example in data.train], np.float64)
        return Scale(float(labels.mean()), float(labels.std()) or 1.0)

    def narrowed(self, targets: Values) -> Values:
        """Targets on the narrow scale."""
        if self == Scale():
            return targets
        return ((np.asarray(targets, np.float64) - self.mean) / self.deviation).astype(np.float32)

    def narrow(self, layer: nn.Linear) -> None:
        """Let a layer that answers on the labels' own scale go on on the narrow one, in place."""
        if self == Scale():
            return
        with torch.no_grad():
            layer.weight.div_(self.deviation)
            layer.bias.sub_(self.mean).div_(self.deviation)

    def widen(self, layer: nn.Linear) -> None:
        """Let a layer that was trained on the narrow scale answer on the labels' own, in place."""
        if self == Scale():
            return
        with torch.no_grad():
            layer.weight.mul_(self.deviation)
            layer.bias.mul_(self.deviation).add_(self.mean)
