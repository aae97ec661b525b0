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
_USUAL_TOKENS = 2048  # of a batch; oneDNN lays weights out for it, and takes others too
_STOCK = ("torch.nn.modules.", "transformers.")


def reads_alike_rows(model: PreTrainedModel) -> bool:
    """Whether :class:`AlikeRows` can stand for the model's own body.

    That is a stock BERT in 32 bits on a CPU, without dropout, adapters or hooks.
    """
    config, body = model.config, model.base_model
    if config.model_type not in _BERT_LIKE or config.hidden_act != "gelu" or body.training or not has_onednn():
        return False
    return all(
        type(part).__module__.startswith(_STOCK) and not (part._forward_hooks or part._forward_pre_hooks)
        for part in body.modules()
    ) and all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in body.parameters())


class AlikeRows:
    """The last hidden state at one position of each row, equal to the stock body's but for rounding.

    Written out for what the stock body computes in vain. In the first layer, tokens that are equal at equal positions
    have equal queries, keys and values, computed once. In the last, one state of a row is asked for: its query is
    multiplied with the key matrix, which makes it comparable with the states themselves, and the value matrix is
    applied to their weighted mean; so neither keys nor values are computed. Elsewhere the activation and the sums are
    made by oneDNN along with the products.

    Args:
        model: One that :func:`reads_alike_rows` takes; its weights are copied in oneDNN's layout.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._config = model.config
        body: Any = model.base_model
        self._tables = body.embeddings
        *layers, self._last = body.encoder.layer
        self._num_heads = self._last.attention.self.num_attention_heads
        joined = ((own.query, own.key, own.value) for own in (layer.attention.self for layer in layers))
        self._joined = [_Product(*products) for products in joined]
        self._rest = [_RestOfLayer(layer) for layer in body.encoder.layer]

    def states(
        self,
        input_ids: Int[Tensor, "rows seq"],
        is_token: Bool[Tensor, "rows seq"] | None,
        positions: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows width"]:
        """The states of a batch.

        Args:
            input_ids: Rows, padded on the right.
            is_token: False at padding; None if there is none.
            positions: The column of each row.
        """
        rows, seq = input_ids.shape
        origins: Tensor | None
        states, origins = self._different_states(input_ids)
        mask = None if is_token is None else is_token[:, None, None]
        for product, rest in zip(self._joined, self._rest, strict=False):
            joined = product(states)
            if origins is not None:
                states, joined = states.index_select(0, origins), joined.index_select(0, origins)
                origins = None
            queries, keys, values = joined.view(rows, seq, 3, self._num_heads, -1).permute(2, 0, 3, 1, 4)
            attended = scaled_dot_product_attention(queries, keys, values, mask).transpose(1, 2).reshape_as(states)
            states = rest(attended, states)
        if origins is not None:
            states = states.index_select(0, origins)
        return self._last_state(states.view(rows, seq, -1), is_token, positions)

    def _different_states(
        self, input_ids: Int[Tensor, "rows seq"]
    ) -> tuple[Float[Tensor, "different width"], Int[Tensor, " tokens"]]:
        """The embeddings of all pairs of token and position that there are, and which one each token has."""
        tables, size = self._tables, self._config.vocab_size
        columns = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        if offset := padding_offset(self._config):  # these count tokens that are not padding, wherever it stands
            is_token = input_ids != offset - 1
            columns = is_token.cumsum(1) * is_token + offset - 1
        pairs, origins = torch.unique(columns * size + input_ids, return_inverse=True)
        kind = tables.token_type_embeddings.weight[0]
        words, places = tables.word_embeddings.weight[pairs % size], tables.position_embeddings.weight[pairs // size]
        return tables.LayerNorm(words + kind + places), origins.flatten()

    def _last_state(
        self,
        states: Float[Tensor, "rows seq width"],
        is_token: Bool[Tensor, "rows seq"] | None,
        positions: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows width"]:
        own = self._last.attention.self
        chosen = states[torch.arange(len(states)), positions]
        by_head = (self._num_heads, -1, states.shape[-1])
        queries = own.query(chosen).unflatten(-1, by_head[:2]) * own.scaling
        # The bias of the keys adds the same to all scores of a query, so it has no effect.
        scores = torch.einsum("rhs,hsw->rhw", queries, own.key.weight.view(by_head)) @ states.transpose(1, 2)
        if is_token is not None:
            scores = scores.masked_fill(~is_token[:, None], -torch.inf)
        means = scores.softmax(-1) @ states
        attended = torch.einsum("rhw,hsw->rhs", means, own.value.weight.view(by_head)).flatten(1) + own.value.bias
        return self._rest[-1](attended, chosen)


class _RestOfLayer:
    """What follows attention, which works on each token by itself."""

    def __init__(self, layer: Any) -> None:
        self._merge, self._inner = _Product(layer.attention.output.dense), _Product(layer.intermediate.dense)
        self._outer = _Product(layer.output.dense)
        self._norms = layer.attention.output.LayerNorm, layer.output.LayerNorm

    def __call__(
        self, attended: Float[Tensor, "tokens width"], states: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens width"]:
        states = self._norms[0](self._merge.plus(attended, states))
        normalized: Tensor = self._norms[1](self._outer.plus(self._inner.gelu(states), states))
        return normalized


class _Product:
    """Linear layers side by side, in oneDNN's layout."""

    def __init__(self, *layers: nn.Linear) -> None:
        weight: Tensor = torch.cat([layer.weight for layer in layers]) if len(layers) > 1 else layers[0].weight
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _USUAL_TOKENS)
        self._bias = torch.cat([layer.bias for layer in layers])

    def __call__(self, states: Tensor, activation: str = "none", algorithm: str = "") -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, activation, [], algorithm
        )
        return product

    def gelu(self, states: Tensor) -> Tensor:
        return self(states, "gelu", "none")

    def plus(self, states: Tensor, other: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise.binary(states, other, self._weight, self._bias, "add")
        return product


__all__ = ["AlikeRows", "reads_alike_rows"]
