"""Write the model card, README.md in the model folder: how to open the model, what it was made of, what it scores."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ptft.config.source import write_yaml
from ptft.errors import CheckpointError
from ptft.report.card_metadata import base_model, header, problem_of, shown
from ptft.report.card_words import figures_note, how_to_use, limits, place_of
from ptft.report.folder import RunFolder, flat, lineage_rows, read_object, read_run
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
_OF_THE_PLACE = ("out", "resume", "cache", "trackers", "push", "push_private")  # settings that say nothing of the model


def write_card(model_folder: Path, run: Path, hub_name: str = "") -> Path:
    """Write ``README.md`` into a model folder, from nothing but what the model folder and the run folder hold.

    Absolute paths of this machine are shortened to their last part.

    Args:
        model_folder: A stock model: the folder with its ``config.json``.
        run: The run folder that made it.
        hub_name: Where others find the model, ``user/name``; empty if it stays here.

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
    recipe = _recipe(folder)
    head_files = [path for path in (model_folder / "head.json", model_folder.parent / "head.json") if path.is_file()]
    head = read_object(head_files[0]) if head_files else {}
    architecture = str((config.get("architectures") or [""])[0])
    use = _BACKBONE if head_files else _use(architecture)
    name = hub_name.rpartition("/")[2] or folder.name
    lineage = [(key, shown(text)) for key, text in lineage_rows(folder.manifest) if text]
    data = [row for row in lineage if row[0].split(".")[0] in _DATA_KEYS]
    labels = _labels(config, architecture, head)
    is_decoder = use.pipeline == "text-generation"
    is_hybrid = bool(config.get("trained_bidirectional")) and is_decoder
    sections = [
        header(config, use.pipeline, folder, recipe, name),
        f"# {_plain(name)}",
        _what_it_is(config, architecture, base_model(folder.manifest, recipe), labels),
        _head_warning(head_files[0].parent == model_folder, hub_name) if head_files else "",
        _hybrid_note() if is_hybrid else "",
        how_to_use(use.pipeline, hub_name),
        _how_to_open(use, has_head=bool(head_files), hub_name=hub_name),
        _section("Training data", ["", "value"], [*data, *_pretraining_data(folder)]),
        limits(read_object(model_folder / "tokenizer_config.json"), recipe, labels, is_decoder=is_decoder),
        _section("Figures", ["figure", "value", "what it means"], final_table(folder.figures)),
        figures_note(folder, problem_of(recipe).metric),
        _how_to_reproduce(str(folder.manifest.get("step", "")), recipe),
        _section("Lineage", ["", "value"], [row for row in lineage if row not in data]),
    ]
    card = model_folder / "README.md"
    write_text(card, "\n\n".join(section for section in sections if section) + "\n")
    return card


def _recipe(run: RunFolder) -> dict[str, Any]:
    """The run's settings; empty where there is no recipe that can be read."""
    try:
        content = yaml.safe_load(run.recipe)
    except yaml.YAMLError as error:
        raise CheckpointError(
            f"{run.path / 'recipe.yaml'}: not readable as YAML: {error}; a run writes this file whole; run the step "
            "again"
        ) from error
    return content if isinstance(content, dict) else {}


def _labels(config: dict[str, Any], architecture: str, head: dict[str, Any]) -> list[str]:
    named = config.get("id2label") if architecture.endswith("ForSequenceClassification") else None
    found = head.get("labels") or (list(named.values()) if isinstance(named, dict) else [])
    return [str(label) for label in found]


def _pretraining_data(run: RunFolder) -> list[tuple[str, str]]:
    """What the model that was fine-tuned had been pretrained on, if its run is known."""
    rows = []
    for number, parent in enumerate(run.manifest.get("parents") or []):
        corpus = (parent.get("manifest") or {}).get("corpus")
        if number == 0 and corpus:
            facts = {"corpus": corpus, "tokens_seen": parent["manifest"].get("tokens_seen")}
            rows = [(f"pretraining.{key}", shown(text)) for key, text in flat(facts)]
    return rows


def _use(architecture: str) -> _Use:
    return next((use for suffix, use in _USES.items() if architecture.endswith(suffix)), _BACKBONE)


def _what_it_is(config: dict[str, Any], architecture: str, base: str, labels: Sequence[str]) -> str:
    name = f"`{architecture}`" if architecture else "A model"
    shape = [
        f"{what} {config[key]:,}" for what, keys in _SHAPE.items() for key in keys if isinstance(config.get(key), int)
    ]
    origin = f" from [{_plain(base)}](https://huggingface.co/{base})" if base else ""
    text = f"{name} trained with ptft{origin}" + (f": {', '.join(shape)}." if shape else ".")
    return text + (f" It tells apart: {', '.join(_plain(label) for label in labels)}." if labels else "")


def _head_warning(is_inside: bool, hub_name: str) -> str:
    return (
        "**The classification head is not among this folder's stock weights.** They are the backbone; the head is in "
        f"`head.safetensors` and `head.json` {'in' if is_inside else 'beside'} this folder. "
        '`pipeline("text-classification")` would put a random head on the backbone and answer by chance. '
        f"Use ptft instead:\n\n```bash\nptft predict model={hub_name or 'RUN_FOLDER'} data=rows.csv out=labels.csv\n```"
    )


def _hybrid_note() -> str:
    return (
        "**It also learned to find hidden tokens, with attention both ways** (the hybrid objective). A hidden token is "
        'predicted at the position before it, so `pipeline("fill-mask")` does not apply. As it is opened below, '
        "attention is causal: it is prompted as any decoder. `ptft finetune` lets it look both ways; for stock classes "
        "set `is_causal` to false in its configuration."
    )


def _how_to_open(use: _Use, *, has_head: bool, hub_name: str) -> str:
    title = "## How to open the backbone" if has_head else "## How to open it"
    code = (
        f"from transformers import {use.auto_class}, AutoTokenizer\n\n"
        f"{place_of(hub_name)}\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        f"model = {use.auto_class}.from_pretrained(folder)\n"
    )
    return f"{title}\n\n```python\n{code}```"


def _how_to_reproduce(step: str, recipe: dict[str, Any]) -> str:
    if not (step and recipe):
        return ""
    settings = shown({key: value for key, value in recipe.items() if key not in _OF_THE_PLACE})
    return (
        f"## How to reproduce it\n\n```bash\nptft {step} recipe.yaml out=runs/again\n```\n\n"
        "with the versions of the lineage below and this `recipe.yaml`, in which paths are to be put right:\n\n"
        f"<details><summary>every setting</summary>\n\n````yaml\n{write_yaml(settings)}````\n\n</details>"
    )


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
