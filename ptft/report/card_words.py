"""Sections of a model card in words: how to use the model, where it ends, what its figures are of."""

from collections.abc import Mapping, Sequence
from typing import Any

from ptft.report.card_metadata import saved_records, title_of
from ptft.report.folder import RunFolder

_EXAMPLES = {
    "text-classification": 'print(model("Some text."))',
    "fill-mask": 'print(model(f"Some {model.tokenizer.mask_token} text."))',
    "text-generation": 'print(model("Some text", max_new_tokens=50))',
}


def place_of(hub_name: str) -> str:
    """The line of a snippet that says where the model is."""
    return f'folder = "{hub_name}"' if hub_name else 'folder = "."  # where this card lies'


def how_to_use(pipeline: str, hub_name: str) -> str:
    """A snippet with the stock pipeline; empty where no pipeline serves the model."""
    if not pipeline:
        return ""
    return (
        "## How to use it\n\n```python\nfrom transformers import pipeline\n\n"
        f'{place_of(hub_name)}\nmodel = pipeline("{pipeline}", model=folder)\n{_EXAMPLES[pipeline]}\n```'
    )


def limits(tokenizer: Mapping[str, Any], recipe: Mapping[str, Any], labels: Sequence[str], *, is_decoder: bool) -> str:
    """What the model cannot do, as far as its ``tokenizer_config.json`` and its recipe tell."""
    longest, length = tokenizer.get("model_max_length"), recipe.get("length")
    trained = f"; it was trained on at most {length:,}" if isinstance(length, int) else ""
    points = [
        f"It reads at most {longest:,} tokens{trained}." if isinstance(longest, int) else "",
        "It knows what its training data says, with the errors and the bias of that; nothing was tested for bias.",
        f"It answers with one of its {len(labels)} labels whatever the text is, also where none fits."
        if labels
        else "",
        "It goes on a text as its training data would, whether that is true or not; nothing filters it."
        if is_decoder
        else "",
        "Its figures hold for texts like those they were measured on; on others they may be lower.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {point}" for point in points if point)


def figures_note(run: RunFolder, metric: str) -> str:
    """Which figures are of the very model that was saved, where those of the table are means over seeds.

    Args:
        run: Where they are.
        metric: The key of the main figure.
    """
    seeds = run.manifest.get("seeds") or []
    if len(seeds) < 2:
        return ""
    own = ", ".join(
        f"{record['test']} {title_of(metric)} {record[metric]:.3f} ({record['low']:.3f} to {record['high']:.3f})"
        for record in saved_records(run)
    )
    return (
        f"These are means over {len(seeds)} seeds. The model here is that of seed {run.manifest.get('saved_seed')}, "
        f"the best on the validation data: {own}."
    )
