"""Text classifiers: the stock class where it has the pooling asked for, else a stock backbone and a head of ours."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ptft.errors import CheckpointError
from ptft.models.building import (
    CLASSIFIER_HEADS,
    checkpoint_folder,
    new_model,
    open_model,
    read_config,
    save_model,
    set_dropout,
)
from ptft.models.packed_attention import packed_inputs
from ptft.models.pooling import Pooling, pool

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# Poolings that the stock sequence-classification class of an architecture has; decoders of every kind have ``last``.
_STOCK_POOLINGS: Mapping[str, tuple[Pooling, ...]] = {
    "bert": ("cls",),
    "roberta": ("cls",),
    "distilbert": ("cls",),
    "modernbert": ("cls", "mean"),
}
_DECODERS = {"openai-gpt", "gpt2", "llama", "mistral", "qwen2", "qwen3", "gpt_neox", "opt", "gemma"}


def is_decoder_config(config: PretrainedConfig) -> bool:
    """Whether a configuration is of a causal language model."""
    names = config.architectures or []
    return config.model_type in _DECODERS or any(n.endswith(("ForCausalLM", "LMHeadModel")) for n in names)


def attends_both_ways(config: PretrainedConfig) -> bool:
    """Whether a model was trained to look at what follows a token as well as at what lies before it."""
    knows_it = getattr(config, "trained_bidirectional", False) or not getattr(config, "is_causal", True)
    return knows_it or not is_decoder_config(config)


def default_pooling(*, both_ways: bool) -> Pooling:
    """``last`` where only the last token has seen the text, else ``mean``: the better choice for small models."""
    return "mean" if both_ways else "last"


def is_classifier(name: str | Path, config: PretrainedConfig) -> bool:
    """Whether a checkpoint was fine-tuned to classify, so that its language-model head is gone."""
    return _is_stock_classifier(config) or _head_folder(name, config) is not None


def _is_stock_classifier(config: PretrainedConfig) -> bool:
    return any(n.endswith("ForSequenceClassification") for n in config.architectures or [])


def _head_folder(name: str | Path, config: PretrainedConfig) -> Path | None:
    """Where the files of a head of ours lie, fetched if the model is on the Hub; None if it has none."""
    folder = Path(checkpoint_folder(name))
    if folder.exists():
        return folder if (folder / "head.json").exists() else None
    if not any(n.endswith("Model") and not n.endswith("LMHeadModel") for n in config.architectures or []):
        return None  # no stock backbone: the Hub need not be asked
    try:
        return [Path(hf_hub_download(str(name), file)).parent for file in ("head.safetensors", "head.json")][-1]
    except EntryNotFoundError:
        return None


class Classifier(nn.Module):
    """A model that gives one logit a label for each text.

    Args:
        model: A stock sequence classifier (``head`` None) or a stock backbone.
        head: A linear layer on the pooled hidden states, or None.
        pooling: How hidden states become one vector a text.
        labels: Their names, in the order of the logits.
    """

    def __init__(
        self, model: PreTrainedModel, head: nn.Linear | None, pooling: Pooling, labels: Sequence[str], dropout: float
    ) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.pooling = pooling
        self.labels = tuple(labels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "texts labels"]:
        """Logits of a batch's texts, each padded in a row of its own, or packed (see ``EncodedTexts.batch``).

        A stock class of an architecture that is not known here is called as a whole; of the others the backbone is run
        and the stock head is applied to one vector a text, with the same result, since its own choice of vectors takes
        one text a row for granted.
        """
        config = self.model.config
        inputs: dict[str, Any] = {name: batch[name] for name in _INPUTS if name in batch}
        if "parts" in batch:
            inputs |= packed_inputs(self.model, batch)
        if is_decoder_config(config) and getattr(config, "use_cache", False):
            inputs["use_cache"] = False  # keys and values are kept for generation only
        if self.head is not None:
            hidden = self.model(**inputs).last_hidden_state
            own: Tensor = self.head(self.dropout(pool(hidden, *_parts(batch), self.pooling)))
            return own
        stock_head = _STOCK_HEADS.get(config.model_type)
        if stock_head is None:
            logits: Tensor = self.model(**inputs).logits
            return logits
        hidden = self.model.base_model(**inputs).last_hidden_state
        finds_last = is_decoder_config(config) and config.pad_token_id is not None  # by its id, as the stock class does
        not_padding = batch["input_ids"] != config.pad_token_id if finds_last else None
        return stock_head(self.model, pool(hidden, *_parts(batch), self.pooling, not_padding))


def _parts(batch: Mapping[str, Tensor]) -> tuple[Int[Tensor, "rows seq"], Int[Tensor, " texts"]]:
    """The number of each slot's text, and the texts' lengths."""
    if "parts" in batch:
        return batch["parts"], batch["lengths"]
    ids, present = batch["input_ids"], batch.get("attention_mask")
    present = torch.ones_like(ids) if present is None else present
    numbers = torch.arange(len(ids), device=ids.device).unsqueeze(1)
    return torch.where(present > 0, numbers, len(ids)), present.sum(1)


def _bert_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.dropout(model.bert.pooler(pooled.unsqueeze(1))))
    return logits


def _roberta_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.classifier(pooled.unsqueeze(1))
    return logits


def _distilbert_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.dropout(model.pre_classifier(pooled).relu()))
    return logits


def _modernbert_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.drop(model.head(pooled)))
    return logits


def _decoder_head(model: Any, pooled: Tensor) -> Tensor:
    logits: Tensor = model.score(pooled)
    return logits


# What the stock sequence classifier of an architecture does with one vector a text.
_STOCK_HEADS: Mapping[str, Callable[[Any, Tensor], Tensor]] = {
    "bert": _bert_head,
    "roberta": _roberta_head,
    "distilbert": _distilbert_head,
    "modernbert": _modernbert_head,
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

    Returns:
        The classifier, and the names of weights that the checkpoint lacks, those of the classification head left out.

    Raises:
        CheckpointError: The checkpoint cannot be opened.
    """
    config = model if isinstance(model, PretrainedConfig) else read_config(model)
    if dropout is not None:
        set_dropout(config, dropout)
    if is_decoder_config(config):
        config.is_causal = not both_ways  # stock decoders heed it
    stock = pooling in stock_poolings(config)
    if stock:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        if config.model_type == "modernbert":
            config.classifier_pooling = pooling
    kind: Literal["classification", "backbone"] = "classification" if stock else "backbone"
    if isinstance(model, PretrainedConfig):
        missing: list[str] = []
        body = new_model(config, kind, seed, embedding_std=embedding_std)
    else:
        body, missing = open_model(model, kind, seed, config)
    head_dropout = getattr(config, "hidden_dropout_prob", None) or getattr(config, "resid_pdrop", None) or 0.0
    return _classifier(body, stock, pooling, labels, head_dropout), [
        n for n in missing if not n.startswith(CLASSIFIER_HEADS)
    ]


def stock_poolings(config: PretrainedConfig) -> tuple[Pooling, ...]:
    """The poolings that the architecture's stock sequence classifier has."""
    return ("last",) if is_decoder_config(config) else _STOCK_POOLINGS.get(config.model_type, ())


def _classifier(
    body: PreTrainedModel, stock: bool, pooling: Pooling, labels: Sequence[str], dropout: float
) -> Classifier:
    if stock:
        return Classifier(body, None, pooling, labels, dropout)
    pooler = getattr(body, "pooler", None)
    if pooler is not None:  # kept, so that the stock backbone finds all its weights again, but it learns nothing here
        pooler.requires_grad_(False)
    head = nn.Linear(body.config.hidden_size, len(labels))
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return Classifier(body, head, pooling, labels, dropout)


def save_classifier(classifier: Classifier, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a stock checkpoint; with a head of ours also ``head.safetensors`` and ``head.json`` beside it."""
    save_model(classifier.model, tokenizer, folder)
    if classifier.head is not None:
        save_file(
            {name: t.detach().cpu() for name, t in classifier.head.state_dict().items()}, folder / "head.safetensors"
        )
        facts = {"pooling": classifier.pooling, "labels": list(classifier.labels)}
        (folder / "head.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1))


def open_classifier(name: str | Path) -> Classifier:
    """Open what :func:`save_classifier` wrote, or any stock sequence classifier.

    Raises:
        CheckpointError: There is no classifier.
    """
    config = read_config(name)
    folder = _head_folder(name, config)
    if folder is None:
        if not _is_stock_classifier(config):
            raise CheckpointError(
                f"{str(name)!r} is no classifier; fine-tune it first: ptft finetune model={name} data=..."
            )
        model, _ = open_model(name, "classification", 0, config)
        labels = [str(label) for _, label in sorted((config.id2label or {}).items())]
        pooling = getattr(config, "classifier_pooling", None) or (*stock_poolings(config), "cls")[0]
        return Classifier(model, None, pooling, labels, 0.0)
    try:
        facts = json.loads((folder / "head.json").read_text())
        weights = load_file(folder / "head.safetensors")
        labels, pooling = facts["labels"], facts["pooling"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"the head in {str(folder)!r} cannot be read: {error}") from None
    body, _ = open_model(name, "backbone", 0)
    classifier = _classifier(body, False, pooling, labels, 0.0)
    classifier.head.load_state_dict(weights)  # type: ignore[union-attr]
    return classifier
