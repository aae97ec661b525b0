"""Write the model card, README.md in the model folder: how to open the model, what it was made of, what it scores."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from ptft.errors import CheckpointError
from ptft.report.folder import lineage_rows, read_object, read_run
from ptft.report.tables import final_table
from ptft.training.aside import write_text


class _Use(NamedTuple):
    """How the stock library opens an architecture and which pipeline serves it (empty: none)."""

    auto_class: str
    pipeline: str


_USES: dict[str, _Use] = {
    "ForPreTraining": _Use("AutoModelForPreTraining", "fill-mask"),
    "ForMaskedLM": _Use("AutoModelForMaskedLM", "fill-mask"),
    "ForCausalLM": _Use("AutoModelForCausalLM", "text-generation"),
    "LMHeadModel": _Use("AutoModelForCausalLM", "text-generation"),
    "ForSequenceClassification": _Use("AutoModelForSequenceClassification", "text-classification"),
}
_BACKBONE = _Use("AutoModel", "")
_SHAPE: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer"),
    "width": ("hidden_size", "n_embd"),
    "attention heads": ("num_attention_heads", "n_head"),
    "vocabulary": ("vocab_size",),
    "positions": ("max_position_embeddings", "n_positions"),
}
_DATA_KEYS = ("corpus", "tokenizer", "data", "task", "tokens_seen", "words_seen", "tokens", "words")


def write_card(model_folder: Path, run: Path) -> Path:
    """Write ``README.md`` into a model folder, from nothing but what the model folder and the run folder hold.

    Args:
        model_folder: A stock model: the folder with its ``config.json``.
        run: The run folder that made it.

    Returns:
        The card.

    Raises:
        CheckpointError: The model folder has no ``config.json``, or a file cannot be read.
    """
    if not (model_folder / "config.json").is_file():
        raise CheckpointError(
            f"no model in folder {str(model_folder)!r}: it has no config.json; give the folder of a saved model"
        )
    config = read_object(model_folder / "config.json")
    folder = read_run(run)
    head_files = [path for path in (model_folder / "head.json", model_folder.parent / "head.json") if path.is_file()]
    architecture = str((config.get("architectures") or [""])[0])
    use = _BACKBONE if head_files else _use(architecture)
    lineage = lineage_rows(folder.manifest)
    data = [row for row in lineage if row[0].split(".")[0] in _DATA_KEYS]
    sections = [
        _header(config, use),
        f"# {_plain(folder.name)}",
        _what_it_is(config, architecture),
        _head_warning(read_object(head_files[0]), head_files[0].parent == model_folder) if head_files else "",
        _hybrid_note() if config.get("trained_bidirectional") and use.pipeline == "text-generation" else "",
        _how_to_open(use, has_head=bool(head_files)),
        _section("Training data", ["", "value"], data),
        _section("Figures", ["figure", "value", "what it means"], final_table(folder.figures)),
        _section("Lineage", ["", "value"], [row for row in lineage if row not in data]),
    ]
    card = model_folder / "README.md"
    write_text(card, "\n\n".join(section for section in sections if section) + "\n")
    return card


def _use(architecture: str) -> _Use:
    return next((use for suffix, use in _USES.items() if architecture.endswith(suffix)), _BACKBONE)


def _header(config: dict[str, Any], use: _Use) -> str:
    # A JSON string is a YAML string, whatever stands in it.
    lines = ["---", "library_name: transformers"]
    if use.pipeline:
        lines.append(f"pipeline_tag: {use.pipeline}")
    lines += ["tags:", "- ptft"]
    if config.get("model_type"):
        lines.append(f"- {json.dumps(str(config['model_type']))}")
    return "\n".join([*lines, "---"])


def _what_it_is(config: dict[str, Any], architecture: str) -> str:
    name = f"`{architecture}`" if architecture else "A model"
    shape = [
        f"{what} {config[key]:,}" for what, keys in _SHAPE.items() for key in keys if isinstance(config.get(key), int)
    ]
    text = f"{name} trained with ptft" + (f": {', '.join(shape)}." if shape else ".")
    labels = config.get("id2label")
    if architecture.endswith("ForSequenceClassification") and isinstance(labels, dict):
        text += f" It tells apart: {', '.join(_plain(str(label)) for label in labels.values())}."
    return text


def _head_warning(head: dict[str, Any], is_inside: bool) -> str:
    labels = head.get("labels")
    known = f"It tells apart: {', '.join(_plain(str(label)) for label in labels)}. " if isinstance(labels, list) else ""
    return (
        "**The classification head is not among this folder's stock weights.** They are the backbone; the head is in "
        f"`head.safetensors` and `head.json` {'in' if is_inside else 'beside'} this folder. {known}"
        '`pipeline("text-classification")` would put a random head on the backbone and answer by chance. '
        "Use ptft instead:\n\n```bash\nptft predict model=RUN_FOLDER data=rows.csv out=labels.csv\n```"
    )


def _hybrid_note() -> str:
    return (
        "**It also learned to find hidden tokens, with attention both ways** (the hybrid objective). A hidden token is "
        'predicted at the position before it, so `pipeline("fill-mask")` does not apply. As it is opened below, '
        "attention is causal: it is prompted as any decoder. `ptft finetune` lets it look both ways; for stock classes "
        "set `is_causal` to false in its configuration."
    )


def _how_to_open(use: _Use, has_head: bool) -> str:
    title = "## How to open the backbone" if has_head else "## How to open it"
    code = (
        f"from transformers import {use.auto_class}, AutoTokenizer\n\n"
        'folder = "."  # where this card lies\n'
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        f"model = {use.auto_class}.from_pretrained(folder)\n"
    )
    return f"{title}\n\n```python\n{code}```"


def _section(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [titles, ["---"] * len(titles), *([_plain(cell) for cell in row] for row in rows)]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text that stays text in Markdown: no markup, no new cell, one line."""
    text = escape(" ".join(text.split()), quote=False)
    for sign in "\\`*_[]|":
        text = text.replace(sign, "\\" + sign)
    return text
