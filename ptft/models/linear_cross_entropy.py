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
_ERRORS_AT_ONCE = {"cpu": 1 << 24}  # what logits are off by, of which the gradient of the weights is made; else as many


def rows_at_once(device_type: str, vocabulary: int) -> int:
    """For how many rows the logits exist at once."""
    return max(1, _LOGITS_AT_ONCE.get(device_type, _MANY) // vocabulary)


@contextmanager
def logits_at_once_as_on(device_type: str) -> Iterator[None]:
    """Inside, as many logits exist at once on a CPU as on a device of this type, to count the memory that they take."""
    own = _LOGITS_AT_ONCE["cpu"], _ERRORS_AT_ONCE["cpu"]
    _LOGITS_AT_ONCE["cpu"] = _LOGITS_AT_ONCE.get(device_type, _MANY)
    _ERRORS_AT_ONCE["cpu"] = _ERRORS_AT_ONCE.get(device_type, 0)
    try:
        yield
    finally:
        _LOGITS_AT_ONCE["cpu"], _ERRORS_AT_ONCE["cpu"] = own


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
        together = max(1, min(len(rows), max(size, _ERRORS_AT_ONCE.get(device, 0) // len(weight))))
        errors = torch.empty(together, len(weight), dtype=kind, device=hidden.device)
        with torch.autocast(device, enabled=False):
            for begin in range(0, len(rows), together):
                end = min(begin + together, len(rows))
                for start in range(begin, end, size):
                    stop = min(start + size, end)
                    right = labels[start:stop, None]
                    logits = linear(rows[start:stop], columns)
                    error = errors[start - begin : stop - begin]
                    shares = error if kind == torch.float32 else torch.empty_like(error, dtype=torch.float32)
                    torch.softmax(logits, -1, dtype=torch.float32, out=shares)
                    # The largest share is one over the sum of all, each less the largest logit.
                    log_sum = logits.amax(-1, keepdim=True).float() - shares.amax(-1, keepdim=True).log()
                    total += (log_sum - logits.gather(1, right).float()).sum()
                    if z_loss:
                        total += z_loss * log_sum.square().sum()
                        shares *= 1 + 2 * z_loss * log_sum
                    shares.scatter_add_(1, right, torch.full_like(log_sum, -1.0))
                    if shares is not error:
                        error.copy_(shares)
                    torch.mm(error, columns, out=hidden_grad[start:stop])
                weight_grad += errors[: end - begin].T @ rows[begin:end]
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.kinds = hidden.dtype, weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        hidden_kind, weight_kind = ctx.kinds
        return (hidden_grad * grads[0]).to(hidden_kind), (weight_grad * grads[0]).to(weight_kind), None, None
