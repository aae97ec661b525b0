"""The peers: Hugging Face's Trainer with stock models, as the documentation of the installed version uses them.

(a) masked LM and (b) causal LM: all text tokenised line by line, joined, and cut to rows of equal length; a
``DataCollatorForLanguageModeling`` for (a). (c) classification: every text padded to the longest length, or with
``dynamic_padding`` each batch to its longest text. What is not named here has the library's default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from datasets import Dataset, disable_progress_bars, load_dataset, load_from_disk
from speed_work import Case, Data, Side, peer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    PretrainedConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

from ptft.models.presets import PRESETS

_CLASSES = {
    "masked_lm": AutoModelForMaskedLM,
    "causal_lm": AutoModelForCausalLM,
    "classify": AutoModelForSequenceClassification,
}


@dataclass(frozen=True)
class Options:
    """What a user of the Trainer may turn on.

    Attributes:
        bf16, torch_compile, dataloader_num_workers: Of ``TrainingArguments``.
        attention: The model's ``attn_implementation``.
        dynamic_padding: Pad a batch to its longest text; of classification.
    """

    bf16: bool = False
    torch_compile: bool = False
    dataloader_num_workers: int = 0
    attention: str = "sdpa"
    dynamic_padding: bool = False


TRIED: tuple[Mapping[str, Any], ...] = (
    {"bf16": True},
    {"attention": "eager"},
    {"dataloader_num_workers": 1},
    {"torch_compile": True},
)
"""Tried one after the other, each on top of those that were faster."""


def save_rows(case: Case, data: Data) -> None:
    """Tokenise what a peer trains on, and save it: for classification padded, and unpadded beside it."""
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(data.tokenizer)
    if case.kind != "classify":
        lines = load_dataset("text", data_files=str(data.text), split="train", cache_dir=str(data.work / "datasets"))
        grouped_rows(lines, tokenizer, case.length, is_causal=case.kind == "causal_lm").save_to_disk(data.rows)
        return
    assert data.task is not None
    for padding, folder in ((False, unpadded(data.rows)), ("max_length", data.rows)):
        task_rows(data.task, "train", tokenizer, case.length, padding=padding).save_to_disk(folder)


def unpadded(rows: Path) -> Path:
    """Where the rows of classification lie without padding."""
    return rows.with_name(f"{rows.name}-unpadded")


def grouped_rows(lines: Dataset, tokenizer: Any, length: int, *, is_causal: bool) -> Dataset:
    """Tokenise lines, join them and cut them to rows of ``length`` tokens; what is left at the end of a batch goes."""

    def encode(rows: Mapping[str, Any]) -> Any:
        return tokenizer(rows["text"]) if is_causal else tokenizer(rows["text"], return_special_tokens_mask=True)

    def group(rows: Mapping[str, Any]) -> dict[str, Any]:
        joined = {name: list(chain.from_iterable(parts)) for name, parts in rows.items()}
        stop = len(joined["input_ids"]) // length * length
        cut = {
            name: [all_[start : start + length] for start in range(0, stop, length)] for name, all_ in joined.items()
        }
        return {**cut, "labels": [list(row) for row in cut["input_ids"]]} if is_causal else cut

    encoded = lines.map(encode, batched=True, remove_columns=lines.column_names)
    return encoded.map(group, batched=True)


def task_rows(task: Path, split: str, tokenizer: Any, length: int, *, padding: bool | str) -> Dataset:
    """The texts of a task's split with the index of their label."""
    from ptft.tasks.table import read_task

    data, _ = read_task(str(task), valid="", test="", text="", text_a="", text_b="", label="label", seed=0)
    parts = {"train": data.train, "valid": data.valid, "test": next(iter(data.tests.values()))}
    examples = parts[split]
    encoded = tokenizer([e.text for e in examples], padding=padding, max_length=length, truncation=True)
    labels = [data.labels.index(example.label) for example in examples]
    return Dataset.from_dict({**encoded, "labels": labels})


def new_model(case: Case, vocabulary: int, attention: str, tokenizer: Any = None) -> PreTrainedModel:
    """A stock model of the case's shape, with the library's dropout and weights at random, or the case's checkpoint."""
    if case.model:
        return _CLASSES[case.kind].from_pretrained(case.model, attn_implementation=attention)
    return _CLASSES[case.kind].from_config(config_of(case, vocabulary, tokenizer), attn_implementation=attention)


def config_of(case: Case, vocabulary: int, tokenizer: Any = None) -> PretrainedConfig:
    """The configuration of a case's model."""
    preset = PRESETS[case.preset]
    positions = "n_positions" if preset.model_type == "gpt2" else "max_position_embeddings"
    ids = {} if tokenizer is None or tokenizer.pad_token_id is None else {"pad_token_id": tokenizer.pad_token_id}
    shape = {**preset.shape, positions: preset.positions}
    return AutoConfig.for_model(preset.model_type, vocab_size=vocabulary, **shape, **ids)


def new_trainer(
    case: Case, data: Data, options: Options, folder: Path, *, use_cpu: bool, callbacks: Sequence[Any], **more: Any
) -> Trainer:
    """A Trainer of a case; ``more`` goes to ``TrainingArguments``."""
    tokenizer = AutoTokenizer.from_pretrained(data.tokenizer)
    collator: Any = default_data_collator
    if case.kind == "masked_lm":
        collator = DataCollatorForLanguageModeling(tokenizer)
    elif options.dynamic_padding:
        collator = DataCollatorWithPadding(tokenizer)
    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=case.rows, save_strategy="no", disable_tqdm=True,
        use_cpu=use_cpu, bf16=options.bf16, torch_compile=options.torch_compile,
        dataloader_num_workers=options.dataloader_num_workers, **more,
    )  # fmt: skip
    rows = load_from_disk(unpadded(data.rows) if options.dynamic_padding else data.rows)
    model = new_model(case, len(tokenizer), options.attention, tokenizer)
    return Trainer(model, arguments, data_collator=collator, train_dataset=rows, callbacks=[*callbacks])


def at_its_best(
    case: Case, data: Data, threads: int, *, seconds: float, warm_up: int, base: Options | None = None
) -> tuple[Side, dict[str, Any]]:
    """The fastest of what may be turned on, found by short trials: a side that still runs, and how each trial went.

    Each option is tried on top of those found faster before it, and kept if it is. One that the machine does not bear
    is named with its error.
    """
    options = base or Options()
    found: dict[str, Any] = {}

    def tried(name: str, options: Options) -> tuple[float, Side | None]:
        try:
            side = peer(name, case, data, threads, warm_up, asdict(options))
            said = side.turn(seconds, 2)
        except RuntimeError as error:
            found[name] = str(error).splitlines()[-1]
            return 0.0, None
        found[name] = said[case.unit] / said["seconds"]
        return found[name], side

    speed, best = tried("as it is", options)
    for change in TRIED:
        (name, value), *_ = change.items()
        there = replace(options, **change)
        here, side = tried(f"{name}={value}", there)
        if here > speed:
            if best is not None:
                best.end()
            speed, best, options = here, side, there
        elif side is not None:
            side.end()
    if best is None:
        raise SystemExit(f"{case.name}: the peer does not run: {found}")
    return best, {"chosen": asdict(options), "trials": found}
