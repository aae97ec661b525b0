"""Low-rank adaptation (Hu et al. 2022), by peft."""

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ptft.finetuning.policy import TRAINED, Policy, Rate
from ptft.models.depth import layer_list


class LoRA(Policy):
    """Train a product of two thin matrices beside each matrix of the layers (Hu et al. 2022, arXiv 2106.09685).

    What is saved is a stock model: the products are added to the matrices. Differs from the paper, which adapts the
    queries' and values' matrices only; all of them is what later work found to be better (Dettmers et al. 2023,
    arXiv 2305.14314). It wants a higher rate than a whole model, such as 1e-3.
    """

    name: ClassVar[str] = "lora"
    trains_embeddings: ClassVar[bool] = False
    rank: int = Field(8, ge=1)
    """Columns of the thin matrices."""
    alpha: float = Field(16.0, gt=0)
    """The products are multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of what the thin matrices see."""

    def rate(self, depth: int, top: int) -> Rate:
        """The run's rate for the thin matrices and the head."""
        return TRAINED

    def adapt(self, body: PreTrainedModel, seed: int) -> Callable[[], object]:
        """Add the matrices, drawn from ``seed``; merging them gives the stock body."""
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel

        inside = f"{layer_list(body)}."
        linear = {n: part for n, part in body.named_modules() if isinstance(part, nn.Linear | Conv1D)}
        targets = [name for name in linear if name.startswith(inside)]
        turned = any(isinstance(linear[name], Conv1D) for name in targets)
        torch.manual_seed(seed)
        config = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=targets,  # type: ignore[arg-type]
            fan_in_fan_out=turned,
        )  # fmt: skip
        adapted = LoraModel(body, config, "default")
        return adapted.merge_and_unload
