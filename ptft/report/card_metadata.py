"""The header of a model card: what the Hub reads of a model, as far as the run knows it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ptft.report.folder import RunFolder
from ptft.report.tables import is_number
from ptft.tasks.problem import Problem
from ptft.tasks.problems import PROBLEMS

_METRICS = {
    "accuracy": ("accuracy", "accuracy"),
    "f1": ("f1", "F1"),
    "micro_f1": ("f1", "micro F1"),
    "macro_f1": ("f1", "macro F1"),
    "mcc": ("matthews_correlation", "Matthews correlation"),
    "pearson": ("pearsonr", "Pearson's correlation"),
    "spearman": ("spearmanr", "Spearman's correlation"),
}
"""Of each figure of a test: the Hub's name of the metric, the name to show."""
_TASK_TYPES = {"text": "text-classification", "choice": "multiple-choice", "word": "token-classification"}
"""The Hub's name of a task, by what one answer of the model belongs to."""
_PRETRAINING = {
    "mlm.accuracy": ("fill-mask", "accuracy", "accuracy at masked tokens"),
    "mlm.perplexity": ("fill-mask", "perplexity", "perplexity at masked tokens"),
    "clm.perplexity": ("text-generation", "perplexity", "perplexity"),
    "hybrid.causal_perplexity": ("text-generation", "perplexity", "perplexity, attention one way"),
}
_HUB_DATASET = re.compile(r"(?:[\w-]+/)?[\w.-]+")


def header(config: Mapping[str, Any], pipeline: str, run: RunFolder, recipe: Mapping[str, Any], name: str) -> str:
    """The YAML between the dashes: license and language are left out, since no run knows them.

    Args:
        config: The model's ``config.json``.
        pipeline: What the stock library can do with the model alone; empty for nothing.
        run: Where its figures and its lineage are.
        recipe: The settings of the run.
        name: Of the model.
    """
    results = [*_test_results(run, problem_of(recipe)), *_pretraining_results(run)]
    data = ModelCardData(
        base_model=base_model(run.manifest, recipe) or None,
        library_name="transformers",
        pipeline_tag=pipeline or None,
        tags=["ptft", *([str(config["model_type"])] if config.get("model_type") else [])],
        model_name=name if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---"


def base_model(manifest: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """The Hub name of the model whose weights were taken over; empty if there is none, or it lay in a folder."""
    name = recipe.get("model")
    from_hub = [parent["path"] for parent in manifest.get("parents") or [] if parent.get("hub")]
    return str(name) if name in from_hub and recipe.get("init", "pretrained") == "pretrained" else ""


def saved_records(run: RunFolder) -> list[dict[str, Any]]:
    """What was measured of the model that was saved: of several seeds one."""
    return [
        record for record in run.records if "test" in record and record.get("seed") == run.manifest.get("saved_seed")
    ]


def problem_of(recipe: Mapping[str, Any]) -> type[Problem]:
    """The problem that a run's settings name."""
    return PROBLEMS[recipe.get("problem", "classification")]


def title_of(key: str) -> str:
    """How a figure of a test is called in words."""
    return _METRICS.get(key, (key, key))[1]


def _test_results(run: RunFolder, problem: type[Problem]) -> list[EvalResult]:
    found = []
    for record in saved_records(run):
        task, test = str(record.get("task", "")), str(record["test"])
        for key in dict.fromkeys([problem.metric, *_METRICS]):
            low, high = (end if key == problem.metric else f"{key}_{end}" for end in ("low", "high"))
            if not {key, low, high} <= set(record):
                continue
            found.append(
                EvalResult(
                    task_type=_TASK_TYPES[problem.unit], dataset_type=_dataset(task), dataset_name=task,
                    dataset_config=None if test == "test" else test, dataset_split="test",
                    metric_type=_METRICS.get(key, (key, key))[0], metric_value=round(record[key], 4),
                    metric_name=f"{title_of(key)} (95 % interval {record[low]:.3f} to {record[high]:.3f})",
                )
            )  # fmt: skip
    return found


def _pretraining_results(run: RunFolder) -> list[EvalResult]:
    corpus = run.manifest.get("corpus")
    path = str(corpus.get("path", "")) if isinstance(corpus, dict) else ""
    name = shown(path).split("/")[-1] or "held-out text"
    return [
        EvalResult(
            task_type=task, dataset_type=_dataset(name), dataset_name=name, dataset_split="validation",
            metric_type=metric, metric_value=round(run.figures[key], 4), metric_name=title,
        )
        for key, (task, metric, title) in _PRETRAINING.items()
        if is_number(run.figures.get(key))
    ]  # fmt: skip


def _dataset(name: str) -> str:
    """A name of the form that the Hub takes for a data set."""
    return name if _HUB_DATASET.fullmatch(name) else re.sub(r"[^\w.-]+", "-", name).strip("-") or "data"


_FOLDERS = re.compile(r"(?<![\w.~:/])/(?:[^/,]+/)+")


def shown(value: Any) -> Any:
    """A value as others may see it: of an absolute path its last part, which says nothing of this machine.

    Example:
        >>> shown(["/home/ann/texts/en.txt", "texts/en.txt", "a: /data/a x 2, b: /data/b x 1"])
        ['en.txt', 'texts/en.txt', 'a: a x 2, b: b x 1']
    """
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, Mapping):
        return {key: shown(inner) for key, inner in value.items()}
    return [shown(inner) for inner in value] if isinstance(value, Sequence) else value
