"""Predict at one position of each row: what only serves the other positions of the last layer is left out."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

# Where an architecture keeps its layers, and the parts of a layer that work on each position by itself.
_BERT_LIKE = ("encoder.layer", ("attention.output.dense", "intermediate"))
_LAYERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), _BERT_LIKE),
    "modernbert": ("layers", ("attn.Wo", "mlp")),
    "distilbert": ("transformer.layer", ("attention.out_lin", "ffn")),
}


@contextmanager
def one_position(model: PreTrainedModel, positions: Int[Tensor, " rows"]) -> Iterator[None]:
    """Compute the last hidden state for one position of each row in a block; at the others it is meaningless.

    The last layer still reads all positions, but what follows its attention (most of a layer's work) is done for one
    state a row; the sums with its input spread that state over the row, where only the chosen position is right. No
    effect on architectures that are not known here.

    Args:
        model: A stock encoder.
        positions: The column of each row.
    """
    known = _LAYERS.get(model.config.model_type)
    if known is None or getattr(model.config, "chunk_size_feed_forward", None):
        yield
        return
    rows = torch.arange(len(positions), device=positions.device)

    def choose(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0][rows, positions].unsqueeze(1), *given[1:])

    layers, parts = known
    last = list(model.base_model.get_submodule(layers).children())[-1]
    with ExitStack() as stack:
        for part in parts:
            stack.callback(last.get_submodule(part).register_forward_pre_hook(choose).remove)
        yield


__all__ = ["one_position"]
