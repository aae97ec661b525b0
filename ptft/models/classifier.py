"""Text classifiers: the stock class where it has the pooling asked for, else a stock backbone and a head of ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ptft.models.building import (
    CLASSIFIER_HEADS,
    Head,
    check_length,
    has_head,
    max_positions,
    new_model,
    open_model,
    read_config,
    set_dropout,
)
from ptft.models.inputs import stock_inputs
from ptft.models.pooling import Pooling, pool, pooled_width
from ptft.models.scalar_mix import ScalarMix
from ptft.tasks.calibration import Calibration
from ptft.tasks.problem import Problem
from ptft.tasks.problems.classification import Classification

_CLASSIFICATION = Classification()
# What stock classes call the problems that their sequence classifier solves.
PROBLEM_TYPES: Mapping[str, Any] = {"regression": "regression", "multi_label": "multi_label_classification"}
_HEAD_STD = 0.02
_DECODERS = ("openai-gpt", "gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox", "opt", "gemma")
# Architectures whose head is a part of its own that takes the first token out of the hidden states.
_FIRST_TOKEN = ("roberta", "xlm-roberta", "camembert", "electra")
# Poolings of the stock sequence classifiers that are known here; of others the backbone is taken.
_STOCK_POOLINGS: Mapping[str, tuple[Pooling, ...]] = {
    **dict.fromkeys(("bert", "distilbert", *_FIRST_TOKEN), ("cls",)),
    "modernbert": ("cls", "mean"),
    **dict.fromkeys(_DECODERS, ("last",)),
}


def is_decoder_config(config: PretrainedConfig) -> bool:
    """Whether a configuration is of an architecture that is made for causal language modelling, and for no masked one.

    Which of its stock classes was saved does not matter: a decoder stays one once it is a classifier.
    """
    return has_head(config, "causal_lm") and not has_head(config, "masked_lm")


def attends_both_ways(config: PretrainedConfig) -> bool:
    """Whether a model was trained to look at what follows a token as well as at what lies before it."""
    knows_it = getattr(config, "trained_bidirectional", False) or not getattr(config, "is_causal", True)
    return knows_it or not is_decoder_config(config)


def default_pooling(*, both_ways: bool) -> Pooling:
    """``last`` where only the last token has seen the text, else ``mean``: the better choice for small models."""
    return "mean" if both_ways else "last"


@dataclass(frozen=True)
class Reading:
    """How a classifier was fine-tuned to read.

    Attributes:
        length: Its longest input in tokens.
        pairs: Whether it read pairs of texts; None where that is not known.
    """

    length: int = 128
    pairs: bool | None = None


class Classifier(nn.Module):
    """A model that gives logits for each text, for each of an example's choices or for each word.

    Args:
        model: A stock sequence or token classifier (``head`` None) or a stock backbone.
        head: A linear layer on the pooled hidden states, or None.
        pooling: How hidden states become one vector a text; words are told by their first token, under causal attention
            by their last one, which alone has seen all of the word.
        labels: Their names, in the order of the logits.
        dropout: On what our own head sees.
        mix: Takes all layers for our own head, in place of the last one; or None.
        problem: What it is for.

    Attributes:
        calibration: What logits are divided by before they become probabilities.
        reading: How it was fine-tuned to read.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        head: nn.Linear | None,
        pooling: Pooling,
        labels: Sequence[str],
        dropout: float,
        mix: ScalarMix | None = None,
        problem: Problem = _CLASSIFICATION,
    ) -> None:
        super().__init__()
        self.problem = problem
        self.calibration = Calibration()
        self.reading = Reading()
        self.model = model
        self.head = head
        self.mix = mix
        self.pooling = pooling
        self.labels = tuple(labels)
        self.dropout = nn.Dropout(dropout)

    @property
    def num_outputs(self) -> int:
        """Logits for each text, choice or word."""
        return self.problem.num_outputs(self.labels)

    def input_length(self, asked: int | Literal["model"]) -> int:
        """The longest input in tokens: what is asked for, or what it was fine-tuned with.

        Raises:
            RecipeError: It has fewer positions than are asked for.
        """
        positions = max_positions(self.model.config)
        if asked == "model":
            return min(self.reading.length, positions)
        check_length(asked, positions)
        return asked

    def forward(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "units outputs"]:
        """Logits of a batch's texts, each padded in a row of its own, or packed (see ``EncodedTexts.batch``).

        A stock class of an architecture that is not known here is called as a whole; of the others the backbone is run
        and the stock head is applied to one vector a text, with the same result, since its own choice of vectors takes
        one text a row for granted.
        """
        if self.head is None and self.problem.unit != "word" and self.model.config.model_type not in _STOCK_HEADS:
            logits: Tensor = self.model(**self._inputs(batch)).logits
            return logits
        return self.decide(self.features(batch))

    def features(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "units *layers pooled"]:
        """What the head sees of each text or word: one vector, or one a layer where layers are mixed."""
        body: Any = self.model.base_model
        if self.mix is not None:
            output = body(**self._inputs(batch), output_hidden_states=True)
            return torch.stack([self.pooled(layer, batch) for layer in output.hidden_states], 1)
        return self.pooled(body(**self._inputs(batch)).last_hidden_state, batch)

    def pooled(
        self, hidden: Float[Tensor, "rows seq width"], batch: Mapping[str, Tensor]
    ) -> Float[Tensor, "units pooled"]:
        """One vector a text or word from the hidden states of a batch."""
        config = self.model.config
        if self.problem.unit == "word":
            first_or_last = int(not attends_both_ways(config))
            return hidden.flatten(0, 1)[batch["word_positions"][:, first_or_last]]
        # The stock class finds the last token by its id.
        finds_last = self.head is None and is_decoder_config(config) and config.pad_token_id is not None
        not_padding = batch["input_ids"] != config.pad_token_id if finds_last else None
        return pool(hidden, *parts_of(batch), self.pooling, not_padding)

    def decide(self, features: Float[Tensor, "units *layers pooled"]) -> Float[Tensor, "units outputs"]:
        """Logits from what :meth:`features` gives."""
        if self.head is None and self.problem.unit == "word":
            return _token_head(self.model, features)
        if self.head is None:
            return _STOCK_HEADS[self.model.config.model_type](self.model, features)
        mixed = features if self.mix is None else self.mix(features)
        logits: Tensor = self.head(self.dropout(mixed))
        return logits

    def output_layer(self) -> nn.Linear:
        """The layer that gives the logits."""
        if self.head is not None:
            return self.head
        return [layer for layer in self.model.modules() if isinstance(layer, nn.Linear)][-1]

    def forget_head(self) -> None:
        """Draw the layer that gives the logits anew, from torch's generator."""
        layer = self.output_layer()
        nn.init.normal_(layer.weight, std=_HEAD_STD)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    def _inputs(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        inputs = stock_inputs(self.model, batch)
        if is_decoder_config(self.model.config) and getattr(self.model.config, "use_cache", False):
            inputs["use_cache"] = False  # keys and values are kept for generation only
        return inputs


def parts_of(batch: Mapping[str, Tensor]) -> tuple[Int[Tensor, "rows seq"], Int[Tensor, " texts"]]:
    """The number of each slot's text, at padding the number of texts; and the texts' lengths."""
    if "parts" in batch:
        return batch["parts"], batch["lengths"]
    ids, present = batch["input_ids"], batch.get("attention_mask")
    present = torch.ones_like(ids) if present is None else present
    numbers = torch.arange(len(ids), device=ids.device).unsqueeze(1)
    return torch.where(present > 0, numbers, len(ids)), present.sum(1)


def _bert_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.dropout(model.bert.pooler(pooled.unsqueeze(1))))
    return logits


def _first_token_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.classifier(pooled.unsqueeze(1))
    return logits


def _distilbert_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.dropout(model.pre_classifier(pooled).relu()))
    return logits


def _modernbert_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.drop(model.head(pooled)))
    return logits


def _token_head(model: Any, words: Tensor) -> Tensor:
    """What the stock token classifiers of all architectures do with a token's vector."""
    hidden = model.head(words) if hasattr(model, "head") else words
    dropout: Any = getattr(model, "drop", None) or getattr(model, "dropout", nn.Identity())  # some have none
    logits: Tensor = (model.score if hasattr(model, "score") else model.classifier)(dropout(hidden))
    return logits


def _decoder_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.score(pooled)
    return logits


# What the stock sequence classifier of an architecture does with one vector a text.
_STOCK_HEADS: Mapping[str, Callable[[Any, Tensor], Tensor]] = {
    "bert": _bert_head,
    "distilbert": _distilbert_head,
    "modernbert": _modernbert_head,
    **dict.fromkeys(_FIRST_TOKEN, _first_token_head),
    **dict.fromkeys(_DECODERS, _decoder_head),
}


def new_classifier(
    model: str | PretrainedConfig,
    labels: Sequence[str],
    pooling: Pooling,
    seed: int,
    *,
    embedding_std: float = 0.0,
    dropout: float | None = None,
    both_ways: bool,
    mixes_layers: bool = False,
    problem: Problem = _CLASSIFICATION,
) -> tuple[Classifier, list[str]]:
    """A classifier on a checkpoint's weights, or on fresh ones where a configuration is given.

    Args:
        model: Checkpoint folder or Hub name, or the configuration of a new model.
        labels: Names of the classes.
        pooling: See :func:`pool`; the stock class is used where it has it.
        seed: Draws all new weights.
        embedding_std: Of a new model's word embeddings; 0 takes the architecture's.
        dropout: While it is trained; None takes the configuration's.
        both_ways: Whether a decoder's attention goes both ways; encoders' always does.
        mixes_layers: Whether the head, then always our own, sees a mixture of all layers.
        problem: What it is for.

    Returns:
        The classifier, and the names of weights that the checkpoint lacks, those of the classification head left out,
        and those of a pooler that our own head does not see.

    Raises:
        CheckpointError: The checkpoint cannot be opened.
    """
    config = model if isinstance(model, PretrainedConfig) else read_config(model)
    if dropout is not None:
        set_dropout(config, dropout)
    if is_decoder_config(config):
        config.is_causal = not both_ways  # stock decoders heed it
    kind = "backbone" if mixes_layers else stock_kind(config, pooling, problem)
    if kind != "backbone":
        config.id2label = dict(enumerate(labels or ["LABEL_0"]))
        config.label2id = {label: index for index, label in config.id2label.items()}
        config.problem_type = PROBLEM_TYPES.get(problem.name)
        if config.model_type == "modernbert":
            config.classifier_pooling = pooling
    if isinstance(model, PretrainedConfig):
        missing: list[str] = []
        body = new_model(config, kind, seed, embedding_std=embedding_std)
    else:
        body, missing = open_model(model, kind, seed, config)
    its_own = getattr(config, "hidden_dropout_prob", None) or getattr(config, "resid_pdrop", None) or 0.0
    head_dropout = its_own if dropout is None else dropout
    made = (
        own_head(body, pooling, labels, head_dropout, problem, mixes_layers=mixes_layers)
        if kind == "backbone"
        else Classifier(body, None, pooling, labels, head_dropout, problem=problem)
    )
    return made, [n for n in missing if not n.startswith((*CLASSIFIER_HEADS, "pooler."))]


def stock_kind(config: PretrainedConfig, pooling: Pooling, problem: Problem) -> Head:
    """The stock class that does it, or the backbone, on which a head of ours is put."""
    if problem.unit == "word":
        return "token_classification" if has_head(config, "token_classification") else "backbone"
    # A decoder's stock head has no bias, which numbers need.
    is_stock = problem.unit == "text" and not (problem.name == "regression" and is_decoder_config(config))
    return "classification" if is_stock and pooling in stock_poolings(config) else "backbone"


def stock_poolings(config: PretrainedConfig) -> tuple[Pooling, ...]:
    """The poolings that the architecture's stock sequence classifier has; none of an architecture not known here."""
    return _STOCK_POOLINGS.get(config.model_type, ())


def own_head(
    body: PreTrainedModel,
    pooling: Pooling,
    labels: Sequence[str],
    dropout: float,
    problem: Problem,
    *,
    mixes_layers: bool,
) -> Classifier:
    """A classifier with a head of ours, drawn anew."""
    pooler = getattr(body, "pooler", None)
    if pooler is not None:  # kept, so that the stock backbone finds all its weights again, but it learns nothing here
        pooler.requires_grad_(False)
    width = getattr(body.config, "word_embed_proj_dim", body.config.hidden_size)  # OPT may project its last states
    head = nn.Linear(width if problem.unit == "word" else pooled_width(width, pooling), problem.num_outputs(labels))
    mix = ScalarMix(body.config.num_hidden_layers + 1) if mixes_layers else None
    made = Classifier(body, head, pooling, labels, dropout, mix, problem)
    made.forget_head()
    return made
