"""How much memory training takes, counted on tensors without storage.

``weights + gradients + optimizer state + activations``, where

- weights and gradients are four bytes a parameter (fp32 at any precision of matrix products),
- optimizer state is the tensors of a parameter's size that the optimizer makes for it, seen on a model whose matrices
  are cut to 4 x 4, and with ``ema`` the average of the weights,
- activations are the most bytes that exist at once, beside those, while one micro-batch goes forward and back: what
  autograd keeps and what the operations need. A model of more than six layers is counted with three and with six, a
  micro-batch of more than 8,192 tokens with half of them and with these (with more, where the device has the logits of
  more tokens at once); the rest follows on a straight line.

Left out: the program with its libraries (CUDA's context too), what the allocator keeps in reserve, the optimizer's
temporary tensors, the corpus, which stays on disk, and evaluation. As many logits are taken to exist at once as on the
device; attention is counted as a CPU does it, which with dropout keeps every attention weight, as a GPU's fused kernels
do not.
"""

import copy
import math
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary
from transformers import PretrainedConfig, PreTrainedModel

from ptft.models.attention import choose_attention
from ptft.models.building import new_model
from ptft.models.checkpointing import checkpoint_layers
from ptft.models.linear_cross_entropy import logits_at_once_as_on, rows_at_once
from ptft.models.packed_attention import choose_packed_attention
from ptft.objectives.rows import Batch
from ptft.optim.optimizer import parameter_groups
from ptft.steps.pretrain import Pretrain
from ptft.training.work import PretrainingModule

_FEW, _MORE = 3, 6  # layers; ModernBERT repeats itself every three
_SOME_TOKENS = 4096
_SIDE = 4


class Memory(NamedTuple):
    """Bytes of training by what they are for."""

    weights: int
    gradients: int
    optimizer_state: int
    activations: int


def count_memory(
    step: Pretrain, model: PreTrainedModel, batch: Batch, num_rows: int, device_type: str, precision: str
) -> Memory:
    """Count the bytes of training a model.

    Args:
        step: Its objectives and its optimizer.
        model: On the device ``meta``, where it takes no memory.
        batch: Some rows, such as those of a micro-batch.
        num_rows: Rows of a micro-batch.
        device_type: Where it trains, which decides how attention is done and how many logits exist at once.
        precision: Of matrix products.

    Raises:
        RuntimeError: The model does something whose result's size depends on the numbers themselves.
    """

    def peak(layers: int, rows: int) -> int:
        with torch.device("meta"):
            shorter = new_model(_with_layers(model.config, layers), step.head, 0)
        if step.packed_length and device_type == "cpu":
            choose_packed_attention(shorter, step.packed_attention, device_type, precision, step.texts_a_row)
        choose_attention(shorter, device_type, precision, step.row_length)
        if step.gradient_checkpointing:
            checkpoint_layers(shorter)
        with logits_at_once_as_on(device_type):
            return _peak(PretrainingModule(shorter, step.objective), batch, rows, precision)

    def with_all_rows(layers: int) -> int:
        some = max(1, round(max(_SOME_TOKENS, with_all_logits) / step.row_length))
        return _on_a_line(lambda rows: peak(layers, rows), num_rows, some, 2 * some)

    predictions = batch.num_predictions / batch.num_slots
    # a part of the logits is made while the one before it is still there
    with_all_logits = math.ceil(2 * rows_at_once(device_type, model.config.vocab_size) / max(predictions, 1e-3))
    weights = sum(parameter.nbytes for parameter in model.parameters())
    total = _on_a_line(with_all_rows, model.config.num_hidden_layers, _FEW, _MORE)
    average = weights if step.ema else 0
    return Memory(weights, weights, _optimizer_bytes(step, model) + average, total)


def _on_a_line(count: Callable[[int], int], number: int, low: int, high: int) -> int:
    """``count(number)``, beyond ``high`` by the straight line through ``low`` and ``high``."""
    if number <= high:
        return count(number)
    at_low = count(low)
    return at_low + (count(high) - at_low) * (number - low) // (high - low)


def _with_layers(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    other = copy.deepcopy(config)
    other.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        other.layer_types = config.layer_types[:layers]
    return other


def _peak(module: PretrainingModule, batch: Batch, num_rows: int, precision: str) -> int:
    """The most bytes alive beside weights and gradients in a forward and backward pass of a model without storage."""
    few = len(batch.tensors["input_ids"])
    with FakeTensorMode(allow_non_fake_inputs=True):
        module.to_empty(device="cpu").train()
        module.model.tie_weights()
        tensors = {
            name: torch.zeros([-(-len(tensor) * num_rows // few), *tensor.shape[1:]], dtype=tensor.dtype)
            for name, tensor in batch.tensors.items()
        }
        live = _LiveBytes()
        for parameter in module.parameters():
            parameter.grad = torch.zeros_like(parameter)
            live.leave_out(parameter)
            live.leave_out(parameter.grad)
        with live:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32"):
                losses = module(tensors)
            torch.stack(list(losses.values())).sum().backward()
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Adds up the storage of every tensor that an operation makes, until it is gone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._seen: Any = WeakIdKeyDictionary()

    def leave_out(self, tensor: Tensor) -> None:
        self._seen[tensor.untyped_storage()] = True

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._add, made)
        return made

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen[storage] = True
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._remove, storage.nbytes())

    def _remove(self, size: int) -> None:
        self._now -= size


def _optimizer_bytes(step: Pretrain, model: PreTrainedModel) -> int:
    """Bytes of the state that a step's optimizer keeps for a model, seen on one with small matrices."""
    small = copy.deepcopy(model)
    cut = {id(p): nn.Parameter(torch.ones([min(size, _SIDE) for size in p.shape])) for p in small.parameters()}
    full_size: dict[Tensor, int] = {cut[id(p)]: p.numel() for p in small.parameters()}
    for module in small.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, cut[id(parameter)])
    for weight in full_size:
        weight.grad = torch.ones_like(weight)
    groups = parameter_groups(small.named_parameters(), step.lr, step.optimizer.weight_decay)
    total = 0
    for optimizer in step.optimizer.build(groups, small):
        optimizer.step()
        for stepped, state in optimizer.state.items():
            same = [v for v in state.values() if isinstance(v, Tensor) and v.shape == stepped.shape]
            total += sum(full_size[stepped] * value.element_size() for value in same)
    return total
