"""ptft: pretrain small language models on your own text, fine-tune them, prompt them.

Each verb of the command line is a function here: ``ptft.pretrain(preset="bert-tiny", corpus={"path": "texts/"},
out="runs/x")``. Names are imported when they are first used, so that ``import ptft`` is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptft.api import (
        bench,
        compare,
        curve,
        evaluate,
        export,
        finetune,
        generate,
        predict,
        pretrain,
        prompt,
        run,
        tokenizer,
    )
    from ptft.errors import CheckpointError, DataError, DeviceError, RecipeError, UserError
    from ptft.estimator import Classifier, Regressor
    from ptft.prompting import Template, evaluate_prompts, loglikelihoods

_HOME = {
    "ptft.api": (
        "bench",
        "compare",
        "curve",
        "evaluate",
        "export",
        "finetune",
        "generate",
        "predict",
        "pretrain",
        "prompt",
        "run",
        "tokenizer",
    ),
    "ptft.errors": ("CheckpointError", "DataError", "DeviceError", "RecipeError", "UserError"),
    "ptft.estimator": ("Classifier", "Regressor"),
    "ptft.prompting": ("Template", "evaluate_prompts", "loglikelihoods"),
}

__all__ = [
    "CheckpointError",
    "Classifier",
    "DataError",
    "DeviceError",
    "RecipeError",
    "Regressor",
    "Template",
    "UserError",
    "bench",
    "compare",
    "curve",
    "evaluate",
    "evaluate_prompts",
    "export",
    "finetune",
    "generate",
    "loglikelihoods",
    "predict",
    "pretrain",
    "prompt",
    "run",
    "tokenizer",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'ptft' has no attribute {name!r}")
