"""torch's Muon with the matrices of one shape orthogonalised together."""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ptft.optim.optimizer import Group

_LARGE = {"cpu": 1 << 16}  # from so many elements on a matrix keeps the device busy by itself
_ELEMENTS_AT_ONCE = {"cpu": 1 << 19}  # of the matrices in one batch; on a CPU they stay in its cache
_MANY = 1 << 26


class BatchedMuon(torch.optim.Muon):
    """Muon as torch has it, its products done at once for all matrices of a shape, or of that shape turned.

    The numbers are torch's but for rounding: products are in bf16, whose sums come in another order.

    Paper: Jordan et al. 2024 (kellerjordan.github.io/posts/muon).
    """

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # nobody here has a closure
        """Update all matrices that have a gradient."""
        for group in self.param_groups:
            matrices = [matrix for matrix in group["params"] if matrix.grad is not None]
            by_sides: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
            for matrix in matrices:
                by_sides[(*sorted(matrix.shape), matrix.dtype, matrix.device)].append(matrix)
            for same in by_sides.values():
                for some in _batches(same):
                    self._update(some, group)

    def _update(self, matrices: list[Tensor], group: Group) -> None:
        """One step of matrices of the same two sides."""
        momentum, lr = group["momentum"], float(group["lr"])
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        means = [self._mean(matrix) for matrix in matrices]
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, means, momentum) if group["nesterov"] else means
        lying = [_lying(update) for update in updates]
        options = group["ns_coefficients"], group["ns_steps"], group["eps"]
        made = orthogonalised(torch.stack(lying), *options) if lying[1:] else [orthogonalised(lying[0], *options)]
        torch._foreach_mul_(matrices, 1 - lr * group["weight_decay"])
        for matrix, update in zip(matrices, made, strict=True):
            turned = update.T if matrix.shape[0] > matrix.shape[1] else update
            matrix.add_(turned, alpha=-lr * _scale(matrix, group["adjust_lr_fn"]))

    def _mean(self, matrix: Tensor) -> Tensor:
        """The running mean of a matrix's gradients, under the name that torch's Muon gives it."""
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        mean: Tensor = state["momentum_buffer"]
        return mean


def _batches(matrices: list[Tensor]) -> Iterator[list[Tensor]]:
    kind, elements = matrices[0].device.type, matrices[0].numel()
    at_once = _ELEMENTS_AT_ONCE.get(kind, _MANY) if elements < _LARGE.get(kind, _MANY) else elements
    size = max(1, at_once // elements)
    for start in range(0, len(matrices), size):
        yield matrices[start : start + size]


def _lying(matrix: Tensor) -> Tensor:
    """The matrix in bf16, turned if it is higher than wide."""
    narrow = matrix.bfloat16()
    return narrow.T if matrix.shape[0] > matrix.shape[1] else narrow


def orthogonalised(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Matrices whose singular values are near 1, by Newton and Schulz's iteration, in the type that they have.

    Args:
        matrices: No higher than wide: (matrices, rows, columns), or a single one.
        coefficients: Of the first, third and fifth power.
        steps: Iterations.
        eps: The least norm that is divided by.
    """
    a, b, c = coefficients
    product: Any = torch.addmm if matrices.ndim == 2 else torch.baddbmm
    norms = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
    found: Tensor = matrices / norms.clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.mT
        polynomial = product(gram, gram, gram, beta=b, alpha=c)
        found = product(found, polynomial, found, beta=a)
    return found


def _scale(matrix: Tensor, scaling: str | None) -> float:
    """By what the learning rate is multiplied for a matrix of this shape."""
    rows, columns = matrix.shape
    return 0.2 * math.sqrt(max(rows, columns)) if scaling == "match_rms_adamw" else math.sqrt(max(1.0, rows / columns))
