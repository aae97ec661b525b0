"""What a stock model is given of a batch."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from ptft.models.packed_attention import packed_inputs

_NAMES = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


def takes_segments(config: PretrainedConfig) -> bool:
    """Whether a model can tell the first text of a pair from the second by token type ids."""
    return getattr(config, "type_vocab_size", 0) > 1


def stock_inputs(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """The keyword arguments of a stock model for a batch, padded or packed.

    Token type ids are left out where the model has none: one type of RoBERTa's kind would be an index error, and GPT-2
    would add words' embeddings for them.
    """
    inputs: dict[str, Any] = {name: batch[name] for name in _NAMES if name in batch}
    if not takes_segments(model.config):
        inputs.pop("token_type_ids", None)
    return inputs | (packed_inputs(model, batch) if "parts" in batch else {})
