"""The verbs as functions: settings as keywords, nested ones as mappings; what is not given has its default."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptft import recipe
from ptft.actions import ACTIONS
from ptft.config import load
from ptft.display import Display, Silent
from ptft.run import perform


def tokenizer(**settings: Any) -> dict[str, Any]:
    """Train a tokenizer; see ``ptft tokenizer --help`` for the settings. Returns what ``result.json`` holds."""
    return perform("tokenizer", **settings)


def pretrain(**settings: Any) -> dict[str, Any]:
    """Pretrain a model; see ``ptft pretrain --help`` for the settings. Returns what ``result.json`` holds.

    Example:
        >>> pretrain(preset="bert-tiny", objective=["masked_lm", "next_sentence"], out="runs/x")  # doctest: +SKIP
    """
    return perform("pretrain", **settings)


def finetune(**settings: Any) -> dict[str, Any]:
    """Fine-tune a classifier; see ``ptft finetune --help`` for the settings. Returns what ``result.json`` holds."""
    return perform("finetune", **settings)


def curve(**settings: Any) -> dict[str, Any]:
    """Compare methods at several numbers of labels; see ``ptft curve --help``. Returns what ``result.json`` holds."""
    return perform("curve", **settings)


def prompt(**settings: Any) -> dict[str, Any]:
    """Prompt a decoder with 0..k shots; see ``ptft prompt --help``. Returns what ``result.json`` holds."""
    return perform("prompt", **settings)


def run(path: str | Path, overrides: Sequence[str] = (), display: Display | None = None) -> dict[str, Any]:
    """Do a recipe of several steps; ``overrides`` are ``key=value`` texts as on the command line."""
    return recipe.run(Path(path), overrides, display)


def predict(**settings: Any) -> str:
    """Label the texts of a file; see ``ptft predict --help``. Returns one line about what was written."""
    return _act("predict", settings)


def evaluate(**settings: Any) -> str:
    """Measure a model on a text or on labelled rows; see ``ptft eval --help``. Returns a line a figure, and tables."""
    return _act("eval", settings)


def generate(**settings: Any) -> str:
    """Continue a text with a decoder; see ``ptft generate --help``. Returns the text with its continuation."""
    return _act("generate", settings)


def export(**settings: Any) -> str:
    """Write a model as ONNX; see ``ptft export --help``. Returns what was written and how far it is from torch."""
    return _act("export", settings)


def compare(**settings: Any) -> str:
    """Measure tokenizers side by side; see ``ptft compare --help``. Returns a line for each script and tokenizer."""
    return _act("compare", settings)


def bench(**settings: Any) -> str:
    """Measure how fast a preset trains here; see ``ptft bench --help``. Returns a table, or JSON (format="json")."""
    return _act("bench", settings)


def _act(name: str, settings: dict[str, Any]) -> str:
    return load(ACTIONS[name], base=settings, base_origin="the call").settings.do(Silent())
