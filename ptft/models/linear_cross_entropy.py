"""A vocabulary head and its cross-entropy in one, over a few rows at a time, so that all logits never exist at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

_LOGITS_AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 28}  # on a CPU they stay in its cache
_MANY = 1 << 28


def rows_at_once(device_type: str, vocabulary: int) -> int:
    """For how many rows the logits exist at once."""
    return max(1, _LOGITS_AT_ONCE.get(device_type, _MANY) // vocabulary)


@contextmanager
def logits_at_once_as_on(device_type: str) -> Iterator[None]:
    """Inside, as many logits exist at once on a CPU as on a device of this type, to count the memory that they take."""
    own = _LOGITS_AT_ONCE["cpu"]
    _LOGITS_AT_ONCE["cpu"] = _LOGITS_AT_ONCE.get(device_type, _MANY)
    try:
        yield
    finally:
        _LOGITS_AT_ONCE["cpu"] = own


def summed_linear_cross_entropy(
    hidden: Float[Tensor, "targets width"],
    weight: Float[Tensor, "vocabulary width"],
    labels: Int[Tensor, " targets"],
    z_loss: float = 0.0,
) -> Float[Tensor, ""]:
    """The sum of cross-entropies in nats of the logits ``hidden @ weight.T``, in fp32.

    ``z_loss`` times the squared logarithm of each softmax's normaliser is added (see :func:`summed_cross_entropy`).

    The gradients are made beside the loss, rows by rows, and only once: there is no second derivative. Under autocast
    products are of its type, everything else fp32, as in the plain way.

    Differs: torch's own ``linear_cross_entropy`` (2.13) sums in bf16 where its inputs are bf16.
    """
    total: Tensor = _SummedLinearCrossEntropy.apply(hidden, weight, labels, z_loss)  # type: ignore[no-untyped-call]
    return total


class _SummedLinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, z_loss: float) -> Tensor:
        device = hidden.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        rows, columns = hidden.to(kind), weight.to(kind)
        hidden_grad = torch.empty_like(rows)
        weight_grad = torch.zeros_like(weight, dtype=torch.float32)
        total = torch.zeros((), device=hidden.device)
        size = rows_at_once(device, len(weight))
        with torch.autocast(device, enabled=False):
            for start in range(0, len(rows), size):
                part = slice(start, start + size)
                right = labels[part, None]
                logits = linear(rows[part], columns).float()
                log_sum = logits.logsumexp(-1, keepdim=True)
                total += (log_sum - logits.gather(1, right)).sum()
                shares = logits.sub_(log_sum).exp_()
                if z_loss:
                    total += z_loss * log_sum.square().sum()
                    shares *= 1 + 2 * z_loss * log_sum
                error = shares.scatter_add_(1, right, torch.full_like(log_sum, -1.0)).to(kind)
                hidden_grad[part] = error @ columns
                weight_grad += error.T @ rows[part]
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.kinds = hidden.dtype, weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        hidden_kind, weight_kind = ctx.kinds
        return (hidden_grad * grads[0]).to(hidden_kind), (weight_grad * grads[0]).to(weight_kind), None, None
