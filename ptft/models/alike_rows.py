"""The state of a BERT at one position of each row, on a CPU and for many rows that differ in few tokens."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from ptft.models.building import padding_offset
from ptft.models.onednn import has_onednn

_BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert")
_STOCK = ("torch.nn.modules.", "transformers.")


def reads_alike_rows(model: PreTrainedModel) -> bool:
    """Whether :func:`state_of_alike_rows` can stand for the model's own body.

    That is a stock BERT in 32 bits on a CPU, without dropout, adapters or hooks.
    """
    config, body = model.config, model.base_model
    if config.model_type not in _BERT_LIKE or config.hidden_act != "gelu" or body.training or not has_onednn():
        return False
    return all(
        type(part).__module__.startswith(_STOCK) and not (part._forward_hooks or part._forward_pre_hooks)
        for part in body.modules()
    ) and all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in body.parameters())


def state_of_alike_rows(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "rows seq"],
    is_token: Bool[Tensor, "rows seq"] | None,
    positions: Int[Tensor, " rows"],
) -> Float[Tensor, "rows width"]:
    """The last hidden state at one position of each row, equal to the stock body's but for rounding.

    Written out for what the stock body computes in vain. In the first layer, tokens that are equal at equal positions
    have equal queries, keys and values, computed once. In the last, one state of a row is asked for: its query is
    multiplied with the key matrix, which makes it comparable with the states themselves, and the value matrix is
    applied to their weighted mean; so neither keys nor values are computed. Elsewhere the activation and the sums are
    made by oneDNN along with the products.

    Args:
        model: One that :func:`reads_alike_rows` takes.
        input_ids: Rows, padded on the right.
        is_token: False at padding; None if there is none.
        positions: The column of each row.
    """
    body: Any = model.base_model
    *layers, last = body.encoder.layer
    rows, seq = input_ids.shape
    origins: Tensor | None
    states, origins = _different_states(model, input_ids)
    mask = None if is_token is None else is_token[:, None, None]
    for layer in layers:
        own = layer.attention.self
        joined = _joined_product(states, own.query, own.key, own.value)
        if origins is not None:
            states, joined, origins = states[origins], joined[origins], None
        queries, keys, values = joined.view(rows, seq, 3, own.num_attention_heads, -1).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(queries, keys, values, mask).transpose(1, 2).reshape_as(states)
        states = _rest_of_layer(layer, attended, states)
    if origins is not None:
        states = states[origins]
    return _last_layer(last, states.view(rows, seq, -1), is_token, positions)


def _different_states(
    model: PreTrainedModel, input_ids: Int[Tensor, "rows seq"]
) -> tuple[Float[Tensor, "different width"], Int[Tensor, " tokens"]]:
    """The embeddings of all pairs of token and position that there are, and which one each token of the rows has."""
    body: Any = model.base_model
    tables = body.embeddings
    columns = torch.arange(input_ids.shape[1]).expand_as(input_ids)
    if offset := padding_offset(model.config):  # these count tokens that are not padding, wherever it stands
        is_token = input_ids != offset - 1
        columns = is_token.cumsum(1) * is_token + offset - 1
    size = model.config.vocab_size
    pairs, origins = torch.unique(columns * size + input_ids, return_inverse=True)
    kind = tables.token_type_embeddings.weight[0]
    embedded = tables.word_embeddings.weight[pairs % size] + kind + tables.position_embeddings.weight[pairs // size]
    return tables.LayerNorm(embedded), origins.flatten()


def _last_layer(
    layer: Any,
    states: Float[Tensor, "rows seq width"],
    is_token: Bool[Tensor, "rows seq"] | None,
    positions: Int[Tensor, " rows"],
) -> Float[Tensor, "rows width"]:
    own = layer.attention.self
    width = states.shape[-1]
    chosen = states[torch.arange(len(states)), positions]
    by_head = (own.num_attention_heads, -1, width)
    queries = own.query(chosen).unflatten(-1, by_head[:2]) * own.scaling
    # The bias of the keys adds the same to all scores of a query, so it has no effect.
    scores = torch.einsum("rhs,hsw->rhw", queries, own.key.weight.view(by_head)) @ states.transpose(1, 2)
    if is_token is not None:
        scores = scores.masked_fill(~is_token[:, None], -torch.inf)
    means = scores.softmax(-1) @ states
    attended = torch.einsum("rhw,hsw->rhs", means, own.value.weight.view(by_head)).flatten(1) + own.value.bias
    return _rest_of_layer(layer, attended, chosen)


def _rest_of_layer(
    layer: Any, attended: Float[Tensor, "tokens width"], states: Float[Tensor, "tokens width"]
) -> Float[Tensor, "tokens width"]:
    """What follows attention, which works on each token by itself."""
    merge, inner, outer = layer.attention.output, layer.intermediate.dense, layer.output
    states = merge.LayerNorm(_product_plus(attended, merge.dense, states))
    active = torch.ops.mkldnn._linear_pointwise(states, inner.weight, inner.bias, "gelu", [], "none")
    normalized: Tensor = outer.LayerNorm(_product_plus(active, outer.dense, states))
    return normalized


def _product_plus(states: Tensor, layer: nn.Linear, other: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise.binary(states, other, layer.weight, layer.bias, "add")
    return product


def _joined_product(states: Tensor, *layers: nn.Linear) -> Tensor:
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    product: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return product


__all__ = ["reads_alike_rows", "state_of_alike_rows"]
