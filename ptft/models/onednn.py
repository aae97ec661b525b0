"""Matrix products of 32 bits on a CPU by oneDNN, for code that only predicts.

Torch takes oneDNN for products of 16 bits and another library for those of 32, which on processors of some makers does
not use their widest instructions. The result is the same but for rounding.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode


class _Products(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self._laid_out: dict[int, tuple[nn.Parameter, Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is linear and not kwargs and all(given is None or _is_plain(given) for given in args):
            states, weight, bias = (*args, None)[:3]
            return torch.ops.mkldnn._linear_pointwise(states, self._ready(weight, states), bias, "none", [], "")
        return func(*args, **(kwargs or {}))

    def _ready(self, weight: Tensor, states: Tensor) -> Tensor:
        """A weight as oneDNN lays it out, kept where it is a parameter, which stays what it is."""
        if not isinstance(weight, nn.Parameter):
            return weight
        if id(weight) not in self._laid_out:
            laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, states.numel() // states.shape[-1])
            self._laid_out[id(weight)] = weight, laid_out
        return self._laid_out[id(weight)][1]


def _is_plain(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and tensor.numel() > 0


def has_onednn() -> bool:
    """Whether torch has oneDNN with the products used here."""
    names = ("_linear_pointwise", "_reorder_linear_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def onednn_products() -> AbstractContextManager[Any]:
    """Have linear layers in 32 bits on the CPU computed by oneDNN in a block; no effect elsewhere.

    In the block there are no gradients and no weights change; of those that are used it holds copies.
    """
    return _Products() if has_onednn() and not torch.is_autocast_enabled("cpu") else nullcontext()


__all__ = ["has_onednn", "onednn_products"]
