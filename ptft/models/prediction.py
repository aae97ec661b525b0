"""Run a model's body once and its vocabulary head only at the positions where a token is predicted."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from ptft.models.inputs import stock_inputs
from ptft.models.linear_cross_entropy import summed_linear_cross_entropy
from ptft.models.plain_attention import score_type

Head = Callable[[nn.Module], nn.Module]


def _part(*names: str) -> Head:
    """A head made of the model's own layers, one after the other, each found by its dotted name."""

    def head(model: nn.Module) -> nn.Module:
        layers = [model.get_submodule(name) for name in names]
        return layers[0] if len(layers) == 1 else nn.Sequential(*layers)

    return head


# Where an architecture keeps the layers between its last hidden state and the logits.
_VOCABULARY_HEADS: Mapping[str, Head] = {
    "bert": _part("cls.predictions"),
    "roberta": _part("lm_head"),
    "xlm-roberta": _part("lm_head"),
    "camembert": _part("lm_head"),
    "modernbert": _part("head", "decoder"),
    "distilbert": _part("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    **dict.fromkeys(("openai-gpt", "gpt2", "llama", "mistral", "qwen2", "qwen3"), _part("lm_head")),
}


class Forward:
    """One forward pass: its hidden states, and heads applied on demand.

    Args:
        model: A stock model with a vocabulary head.
        batch: Its inputs, and possibly targets, by name; ``parts`` among them where rows are packed.
    """

    def __init__(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> None:
        self.model = model
        self._inputs = stock_inputs(model, batch)
        if "bidirectional" in batch:
            self._inputs["attention_mask"] = _attention_by_row(batch["bidirectional"], batch["input_ids"])
        self._head = _VOCABULARY_HEADS.get(model.config.model_type)
        self._dense: Tensor | None = None
        body = model.base_model
        without_cache = {"use_cache": False} if getattr(model.config, "use_cache", False) else {}
        if self._head is None:
            output = model(**self._inputs, output_hidden_states=True)
            self._dense = output["logits" if "logits" in output else "prediction_logits"]
            self.hidden: Float[Tensor, "batch seq width"] = output.hidden_states[-1]
            self.pooled: Float[Tensor, "examples width"] | None = None
            return
        output = body(**self._inputs, **without_cache)  # keys and values are kept for generation only
        self.hidden = output.last_hidden_state
        self.pooled = getattr(output, "pooler_output", None)
        if self.pooled is not None and "first_positions" in batch:  # stock pooling takes the first token of a row
            self.pooled = body.get_submodule("pooler")(self.hidden.flatten(0, 1)[batch["first_positions"], None])

    def token_logits(self, positions: Int[Tensor, " targets"]) -> Float[Tensor, "targets vocabulary"]:
        """Logits over the vocabulary at ``positions``, indices into the flattened (batch, seq)."""
        if self._dense is not None:
            return self._dense.flatten(0, 1)[positions]
        head = cast("Head", self._head)(self.model)
        logits: Tensor = head(self.hidden.flatten(0, 1)[positions])
        return logits

    def loss_sum(
        self, positions: Int[Tensor, " targets"] | None, labels: Int[Tensor, " targets"], z_loss: float = 0.0
    ) -> Float[Tensor, ""]:
        """The summed cross-entropy, in nats, of labels at ``positions`` of the flattened (batch, seq); None: at all.

        For ``z_loss`` see :func:`summed_cross_entropy`.
        """
        head = self._head and self._head(self.model)
        if isinstance(head, nn.Linear) and head.bias is None:
            hidden = self.hidden.flatten(0, 1)
            chosen = hidden if positions is None else hidden[positions]
            return summed_linear_cross_entropy(chosen, head.weight, labels, z_loss)
        everywhere = torch.arange(len(labels), device=labels.device)
        return summed_cross_entropy(self.token_logits(everywhere if positions is None else positions), labels, z_loss)


def _attention_by_row(
    bidirectional: Int[Tensor, " batch"], ids: Int[Tensor, "batch seq"]
) -> Float[Tensor, "batch 1 seq seq"]:
    """What is added to attention's scores so that a row's tokens see all of it (1) or what lies before them (0)."""
    seq, device = ids.shape[1], ids.device
    kind = score_type(device)
    after = torch.ones(seq, seq, dtype=torch.bool, device=device).triu(1)
    hidden = after & (bidirectional == 0)[:, None, None, None]
    return torch.zeros(hidden.shape, dtype=kind, device=device).masked_fill_(hidden, torch.finfo(kind).min)


def logits_of(model: PreTrainedModel, hidden: Float[Tensor, "targets width"]) -> Float[Tensor, "targets vocabulary"]:
    """Logits over the vocabulary of last hidden states, by a model with a sparse head (see :func:`has_sparse_head`)."""
    logits: Tensor = _VOCABULARY_HEADS[model.config.model_type](model)(hidden)
    return logits


def has_sparse_head(model: PreTrainedModel) -> bool:
    """Whether logits are computed at the predicted positions only; otherwise at all positions, which is slower."""
    return model.config.model_type in _VOCABULARY_HEADS


def is_decoder(model: PreTrainedModel) -> bool:
    """Whether the model is a causal language model."""
    return type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def summed_cross_entropy(
    logits: Float[Tensor, "targets classes"], labels: Int[Tensor, " targets"], z_loss: float = 0.0
) -> Float[Tensor, ""]:
    """The sum of the cross-entropies in nats, in fp32; a label of -100 counts nothing.

    ``z_loss`` times the squared logarithm of each softmax's normaliser is added (no label may be -100 then), which
    keeps logits from drifting away together.

    Paper: Chowdhery et al. 2022 (PaLM), arXiv 2204.02311, section 5.
    """
    logits = logits.float()
    loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    return loss + z_loss * logits.logsumexp(-1).square().sum() if z_loss else loss
