"""Make a stock model from a preset, or open one from a folder or the Hub, with the head that an objective needs."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ptft.errors import CheckpointError, RecipeError
from ptft.family import nearest
from ptft.models.preset import Preset
from ptft.models.quiet import quietly
from ptft.tokenization import no_checkpoint

PositionInit = Literal["normal", "sinusoidal"]
Head = Literal["masked_lm", "pretraining", "causal_lm", "backbone", "classification", "token_classification"]
_AUTO = {
    "masked_lm": transformers.AutoModelForMaskedLM,
    "pretraining": transformers.AutoModelForPreTraining,
    "causal_lm": transformers.AutoModelForCausalLM,
    "backbone": transformers.AutoModel,
    "classification": transformers.AutoModelForSequenceClassification,
    "token_classification": transformers.AutoModelForTokenClassification,
}
_TRAINS = {
    "masked_lm": "masked LM",
    "pretraining": "pairs of texts",
    "causal_lm": "causal LM",
    "backbone": "hidden states",
    "classification": "classification",
    "token_classification": "token classification",
}
_POSITION_NAMES = ("position_embeddings", "positions_embed", "wpe")
_FROM_TOKENIZER = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")
_ROWS_MULTIPLE = 64
_NO_SHAPE = (
    "_name_or_path", "architectures", "chunk_size_feed_forward", "dtype", "id2label", "is_decoder",
    "is_encoder_decoder", "label2id", "model_type", "output_attentions", "output_hidden_states", "problem_type",
    "return_dict", "transformers_version", "use_cache",
)  # fmt: skip
# What transformers raises for values that do not fit together.
_IMPOSSIBLE = (StrictDataclassError, ValueError, TypeError, KeyError, RuntimeError)


CLASSIFIER_HEADS = ("classifier", "score", "head", "pre_classifier")
"""How the names of the weights of stock classification heads begin."""


def new_config(
    preset: Preset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    positions: int,
    dropout: float,
    shape: Mapping[str, Any],
) -> PretrainedConfig:
    """The stock configuration of a preset for a tokenizer.

    Args:
        preset: Architecture and shape.
        tokenizer: Decides the vocabulary's size and the ids of special tokens.
        positions: Longest input in tokens; the rows that RoBERTa keeps for padding come on top, also of a ``shape``.
        dropout: For every dropout that the architecture has.
        shape: Attributes of the configuration that replace the preset's.

    Raises:
        RecipeError: ``shape`` names an attribute that the configuration does not have, or the shape is impossible.
    """
    frame = {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    return _shaped(preset, positions, dropout, shape, vocab_size=len(tokenizer), **special_ids(tokenizer), **frame)


def set_dropout(config: PretrainedConfig, dropout: float) -> None:
    """Give every dropout that a configuration has this rate."""
    for name in _dropouts(config.to_dict()):
        setattr(config, name, dropout)


def _dropouts(values: Mapping[str, Any]) -> list[str]:
    """The names of a configuration's dropout rates, those of stock heads included; None is no rate of its own."""
    rates = [name for name in values if name.endswith(("dropout", "dropout_prob", "dropout_rate", "pdrop"))]
    return [name for name in rates if isinstance(values[name], int | float) and not isinstance(values[name], bool)]


def check_shape(
    preset: Preset, shape: Mapping[str, Any], position_init: PositionInit = "normal", dropout: float = 0.0
) -> PretrainedConfig:
    """Try a shape without making weights; gives its configuration for some tokenizer.

    Raises:
        RecipeError: As :func:`new_config`, or the architecture has no position embeddings to initialise.
    """
    config = _shaped(preset, preset.positions, dropout, shape, vocab_size=1 << 16)
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config)
    except _IMPOSSIBLE as error:
        raise _impossible_shape(preset, shape, error) from None
    if position_init != "normal" and _position_embeddings(model) is None:
        raise RecipeError(
            f"position_init: {preset.name} computes its positions and has no embeddings of them; leave it out"
        )
    return config


def _shaped(
    preset: Preset, positions: int, dropout: float, shape: Mapping[str, Any], **from_tokenizer: Any
) -> PretrainedConfig:
    known = AutoConfig.for_model(preset.model_type).to_dict()
    free = [name for name in known if name not in (*_FROM_TOKENIZER, *_NO_SHAPE)]
    for name in shape:
        if name in _FROM_TOKENIZER:
            raise RecipeError(f"shape.{name}: is decided by the tokenizer; leave it out")
        if name not in free:
            raise RecipeError(f"shape.{name}: {preset.model_type} has no such attribute{nearest(name, free)}")
    length_name = "n_positions" if "n_positions" in known else "max_position_embeddings"
    values = {**preset.shape, length_name: positions, **dict.fromkeys(_dropouts(known), dropout), **shape}
    ids = {name: value for name, value in from_tokenizer.items() if name in known}
    try:
        config = AutoConfig.for_model(preset.model_type, **values, **ids)
        config.max_position_embeddings += padding_offset(config)
    except _IMPOSSIBLE as error:
        raise _impossible_shape(preset, shape, error) from None
    sizes = {"layers": config.num_hidden_layers, "hidden size": config.hidden_size, "heads": config.num_attention_heads}
    for what, size in sizes.items():
        if size < 1:
            raise RecipeError(f"shape: the number of {what} must be at least 1, got {size}")
    width, heads = config.hidden_size, config.num_attention_heads
    if width % heads:
        raise RecipeError(f"shape: the hidden size {width} cannot be divided among {heads} attention heads")
    return config


def _impossible_shape(preset: Preset, shape: Mapping[str, Any], error: Exception) -> RecipeError:
    reason = " ".join(str(error).split())
    return RecipeError(f"shape: {dict(shape)} is no shape of {preset.name}: {reason}")


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    """The ids of bos, eos and pad as a model's configuration names them; None where the tokenizer has none."""
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def new_model(
    config: PretrainedConfig,
    head: Head,
    seed: int,
    *,
    embedding_std: float = 0.0,
    position_init: PositionInit = "normal",
) -> PreTrainedModel:
    """A stock model with fresh weights, drawn from ``seed``.

    Args:
        config: Its configuration.
        head: Which stock class.
        seed: Of the initial weights.
        embedding_std: Standard deviation of the word embeddings; 0 leaves the architecture's.
        position_init: ``normal`` leaves the architecture's; ``sinusoidal`` starts learned position embeddings as the
            sinusoids of Vaswani et al. 2017 (arXiv 1706.03762, section 3.5), scaled to the word embeddings' standard
            deviation, so that neighbours can be told from the first step on. No effect without such embeddings.

    Raises:
        RecipeError: As :func:`check_head`.
    """
    check_head(config, head)
    torch.manual_seed(seed)
    model: PreTrainedModel = _AUTO[head].from_config(config)
    embeddings = cast("Tensor", model.get_input_embeddings().weight)
    if embedding_std:
        nn.init.normal_(embeddings, std=embedding_std)
    table = _position_embeddings(model)
    if position_init == "sinusoidal" and table is not None:
        with torch.no_grad():
            table.weight.copy_(_sinusoids(*table.weight.shape, std=embedding_std or config.initializer_range))
    return model


def has_head(config: PretrainedConfig, head: Head) -> bool:
    """Whether the architecture has a stock class with this head."""
    classes: Any = _AUTO[head]._model_mapping
    return type(config) in classes


def check_head(config: PretrainedConfig, head: Head) -> None:
    """Refuse a new model whose architecture lacks the head that the objectives need.

    Raises:
        RecipeError: It does.
    """
    classes: Any = _AUTO[head]._model_mapping
    name = classes[type(config)].__name__ if type(config) in classes else ""
    if not name or (head == "pretraining" and not name.endswith("ForPreTraining")):
        other = "; train it with masked_lm alone, or take a bert preset" if head == "pretraining" else ""
        raise RecipeError(f"objective: {config.model_type} has no head for {_TRAINS[head]}{other}")


def _position_embeddings(model: PreTrainedModel) -> nn.Embedding | None:
    found = (m for n, m in model.named_modules() if n.split(".")[-1] in _POSITION_NAMES and isinstance(m, nn.Embedding))
    return next(found, None)


def _sinusoids(positions: int, width: int, *, std: float) -> Float[Tensor, "positions width"]:
    """Sines in the even columns and cosines in the odd ones, of wavelengths from 2 pi to 10000 times that."""
    wavelengths = 10_000 ** (torch.arange(0, width, 2) / width)
    angles = torch.arange(positions).unsqueeze(1) / wavelengths
    waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]
    return waves * (std * math.sqrt(2))


def read_config(name: str | Path) -> PretrainedConfig:
    """Open the configuration of a checkpoint folder or Hub name; a run folder stands for its ``model/``.

    Raises:
        CheckpointError: There is none.
    """
    name = checkpoint_folder(name)
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():
        raise no_checkpoint(name, "model", FileNotFoundError("it has no config.json"))
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(str(name))
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise no_checkpoint(name, "model", error) from None
    return config


def config_hash(config: PretrainedConfig) -> str:
    """A SHA-256 of everything that decides what a model is but its weights, by whatever version it was written."""
    values = config.to_dict()
    for name in ("transformers_version", "_name_or_path"):
        values.pop(name, None)
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def checkpoint_folder(name: str | Path) -> str:
    """Where the stock model lies: the ``model`` folder of a run folder, else the name as it stands."""
    inner = Path(name) / "model"
    return str(inner) if (inner / "config.json").exists() and not (Path(name) / "config.json").exists() else str(name)


def open_model(
    name: str | Path, head: Head, seed: int, config: PretrainedConfig | None = None, *, shapes_only: bool = False
) -> tuple[PreTrainedModel, list[str]]:
    """Open a checkpoint with a stock class.

    Args:
        name: Folder, run folder or Hub name.
        head: Which stock class.
        seed: Draws the weights of heads that the checkpoint lacks.
        config: Replaces the checkpoint's own configuration.
        shapes_only: Read no more than names and shapes of the weights: a check that costs next to nothing.

    Returns:
        The model in fp32, and the names of weights that the checkpoint lacks and that were drawn anew.

    Raises:
        CheckpointError: There is no such checkpoint, its weights are missing, damaged or of other shapes than its
            configuration says, or its architecture lacks this head.
    """
    config = config or read_config(name)
    torch.manual_seed(seed)
    try:
        with quietly():
            model, report = _AUTO[head].from_pretrained(
                checkpoint_folder(name), config=config, dtype=torch.float32, output_loading_info=True,
                ignore_mismatched_sizes=True, device_map="meta" if shapes_only else None,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise CheckpointError(
            f"{str(name)!r} cannot be opened for {head} ({reason}); give a checkpoint whose weights are whole, of an "
            "architecture that has this head"
        ) from None
    other_shape = {key[0] for key in report["mismatched_keys"]}
    if not all(name.startswith(CLASSIFIER_HEADS) for name in other_shape):  # a former task's head had other labels
        raise CheckpointError(
            f"{str(name)!r} has weights of other shapes than its config.json says ({min(other_shape)} and "
            f"{len(other_shape) - 1} more); take config.json and weights from one checkpoint"
        )
    return model, sorted({*report["missing_keys"], *other_shape})


def grown_size(size: int, num_tokens: int) -> int:
    """Rows of an embedding for a vocabulary: as many as there are, or a multiple of 64 (for fast matrix products)."""
    return size if num_tokens <= size else -(-num_tokens // _ROWS_MULTIPLE) * _ROWS_MULTIPLE


def growth_note(size: int, num_tokens: int) -> str:
    """Say in one line how :func:`grow_embeddings` changes a model; empty if it does not."""
    rows = grown_size(size, num_tokens)
    return f"embeddings: {size:,} rows become {rows:,}; the new ones are the mean of the old" if rows > size else ""


def grow_embeddings(model: PreTrainedModel, num_tokens: int) -> None:
    """Give a model rows for all ids of a tokenizer, in its word embeddings and its vocabulary head.

    New rows are the mean of the old ones, so that the other tokens keep nearly all of their probability and nothing is
    drawn. Differs: transformers draws them from a normal distribution of the old rows' mean and covariance.

    Paper: Hewitt 2021, Initializing new word embeddings for pretrained language models.
    """
    size = model.config.vocab_size
    if num_tokens <= size:
        return
    model.resize_token_embeddings(grown_size(size, num_tokens), mean_resizing=False)
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    with torch.no_grad():
        for layer in layers:
            for table in layer.parameters() if layer is not None else ():
                table[size:] = table[:size].mean(0)


def open_trained(name: str | Path, head: Head, *, shapes_only: bool = False) -> PreTrainedModel:
    """Open a checkpoint to use it as it stands; see :func:`open_model`.

    Raises:
        CheckpointError: As there, or weights of the head are not among the checkpoint's: drawn anew, they say nothing.
    """
    model, missing = open_model(name, head, 0, shapes_only=shapes_only)
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise CheckpointError(
            f"{str(name)!r} lacks weights of the {head} head ({missing[0]}{more}), and random ones would say nothing; "
            "give a model that was pretrained with it"
        )
    return model


def max_positions(config: PretrainedConfig) -> int:
    """The longest input in tokens that a model takes, positions that its padding offset eats left out."""
    for attribute in ("max_position_embeddings", "n_positions"):
        value = getattr(config, attribute, None)
        if isinstance(value, int) and value > 0:
            return value - padding_offset(config)
    return 1 << 20


def padding_offset(config: PretrainedConfig) -> int:
    """The rows of its position embeddings that an architecture of RoBERTa's kind leaves to padding."""
    return (config.pad_token_id or 0) + 1 if config.model_type in _PADDED_POSITIONS else 0


def check_length(length: int, positions: int) -> None:
    """Refuse rows that are longer than a model's positions.

    Raises:
        RecipeError: They are.
    """
    if length > positions:
        raise RecipeError(f"length: {length} tokens are more than the model's {positions} positions; give at most that")


# Those of transformers with an encoder for text that count positions from the padding's id on.
_PADDED_POSITIONS = {
    "camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a stock checkpoint: safetensors, config.json and the tokenizer of its own class."""
    ids = {name: value for name, value in special_ids(tokenizer).items() if value is not None}
    for name, value in ids.items():
        setattr(model.config, name, value)
        if getattr(model, "generation_config", None) is not None:
            setattr(model.generation_config, name, value)
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_positions(model.config))
    with quietly():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
