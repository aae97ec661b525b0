"""Muon on the hidden matrices (Jordan et al. 2024), AdamW on everything else."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from ptft.optim.batched_muon import BatchedMuon
from ptft.optim.optimizer import Group, OptimizerSettings, check_optimizer


class Muon(OptimizerSettings):
    """Orthogonalised momentum for the matrices of the body; AdamW for embeddings, heads, norms and biases.

    Weight decay is part of the method: updates have a constant size, so without it the matrices grow with the number
    of steps.

    Paper: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); Liu et al. 2025, arXiv 2502.16982, for the scaling
    ``match_rms_adamw``, under which Muon takes AdamW's learning rates.
    """

    name: ClassVar[str] = "muon"
    weight_decay: float = Field(0.1, ge=0)
    """Decoupled weight decay of the matrices that Muon has; times the learning rate."""
    matrix_lr: float = Field(0.02, gt=0)
    """Peak learning rate of the matrices that Muon has; the run's ``lr`` is AdamW's."""
    scaling: Literal["original", "match_rms_adamw"] = "original"
    """How the update of a matrix depends on its shape."""
    momentum: float = Field(0.95, ge=0, lt=1)
    """Decay of the momentum of the matrices."""
    adamw_weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of the embeddings and heads."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW's decay of the mean of gradients."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """AdamW's decay of the mean of squared gradients."""

    def build(self, groups: list[Group], model: nn.Module) -> list[torch.optim.Optimizer]:
        """Muon for the body's two-dimensional weights, AdamW for the rest."""
        hidden = _hidden_matrices(model)
        rates = {group["lr"] for group in groups}
        peak = max(rates)
        muon_groups, adamw_groups = [], []
        for group in groups:
            mine = [p for p in group["params"] if id(p) in hidden]
            rest = [p for p in group["params"] if id(p) not in hidden]
            if mine:
                share = group["lr"] / peak
                own = {"params": mine, "lr": self.matrix_lr * share, "weight_decay": self.weight_decay}
                muon_groups.append({**group, **own})
            if rest:
                decay = self.adamw_weight_decay if group["weight_decay"] else 0.0
                adamw_groups.append({**group, "params": rest, "weight_decay": decay})
        optimizers = []
        if adamw_groups:
            betas = (self.beta1, self.beta2)
            optimizers.append(check_optimizer(torch.optim.AdamW, adamw_groups, betas=betas, eps=1e-8, fused=True))
        if muon_groups:
            options = {"momentum": self.momentum, "adjust_lr_fn": self.scaling}
            optimizers.append(check_optimizer(BatchedMuon, muon_groups, **options))
        return optimizers


def _hidden_matrices(model: nn.Module) -> set[int]:
    """Weights of linear layers (GPT-2's transposed ones too) inside the body's blocks."""
    found = set()
    for name, module in model.named_modules():
        inside_block = any(part.isdigit() for part in name.split("."))
        weight = getattr(module, "weight", None)
        if (
            inside_block
            and isinstance(weight, nn.Parameter)
            and weight.ndim == 2
            and not isinstance(module, nn.Embedding)
        ):
            found.add(id(weight))
    return found
