"""A learned weighted sum of the layers of a model."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ScalarMix(nn.Module):
    """``gamma`` times the sum of the layers, each times its softmax weight: at first their mean.

    Args:
        num_layers: The embeddings' states counted as one.

    Paper: Peters et al. 2018 (ELMo), arXiv 1802.05365, equation 1.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_layers))
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, layers: Float[Tensor, "texts layers width"]) -> Float[Tensor, "texts width"]:
        """The mixture of each text's layers."""
        mixed: Tensor = self.gamma * torch.einsum("l,tlw->tw", self.weights.softmax(0), layers)
        return mixed
