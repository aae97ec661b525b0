"""What a preset is: a named shape of a stock architecture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Preset:
    """A model's shape by name.

    Attributes:
        name: As it is written in recipes.
        summary: One line for ``ptft list presets``.
        model_type: The architecture's name in transformers.
        kind: encoder (masked LM) or decoder (causal LM).
        positions: Longest input in tokens, unless the recipe says otherwise.
        shape: Attributes of the architecture's configuration class.
    """

    name: str
    summary: str
    model_type: Literal["bert", "roberta", "modernbert", "openai-gpt", "gpt2", "llama"]
    kind: Literal["encoder", "decoder"]
    positions: int
    shape: Mapping[str, Any]
