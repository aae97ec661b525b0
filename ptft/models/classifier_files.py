"""Classifiers as files: what is written, and how it is found and opened again."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ptft.errors import CheckpointError
from ptft.models.building import checkpoint_folder, open_model, read_config, save_model
from ptft.models.classifier import PROBLEM_TYPES, Classifier, Reading, is_decoder_config, own_head, stock_poolings
from ptft.models.pooling import Pooling
from ptft.models.scalar_mix import ScalarMix
from ptft.tasks.calibration import Calibration
from ptft.tasks.problems import PROBLEMS
from ptft.tasks.problems.classification import Classification

_CLASSIFICATION = Classification()
_STOCK_CLASSES = ("ForSequenceClassification", "ForTokenClassification")
_CALIBRATION = "calibration.json"
_READING = "reading.json"
# What reading files raises that were cut off or changed.
_DAMAGES = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)
_MIX = "mix."  # begins the names of the mixture's weights


def is_classifier(name: str | Path, config: PretrainedConfig) -> bool:
    """Whether a checkpoint was fine-tuned to classify, so that its language-model head is gone."""
    return _is_stock_classifier(config) or _head_folder(name, config) is not None


def _is_stock_classifier(config: PretrainedConfig) -> bool:
    return any(n.endswith(_STOCK_CLASSES) for n in config.architectures or [])


def _head_folder(name: str | Path, config: PretrainedConfig) -> Path | None:
    """Where the files of a head of ours lie, fetched if the model is on the Hub; None if it has none."""
    if _is_stock_classifier(config):
        return None
    folder = Path(checkpoint_folder(name))
    if folder.exists():
        return folder if (folder / "head.json").exists() else None
    if not any(n.endswith("Model") and not n.endswith("LMHeadModel") for n in config.architectures or []):
        return None  # no stock backbone: the Hub need not be asked
    try:
        return [Path(hf_hub_download(str(name), file)).parent for file in ("head.safetensors", "head.json")][-1]
    except EntryNotFoundError:
        return None


def save_classifier(classifier: Classifier, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a stock checkpoint, and a head of ours beside it into ``head.safetensors`` and ``head.json``.

    How it reads texts goes into ``reading.json``, a temperature that was fitted into ``calibration.json``.
    """
    save_model(classifier.model, tokenizer, folder)
    save_calibration(classifier, folder)
    (folder / _READING).write_text(json.dumps(asdict(classifier.reading)))
    if classifier.head is None:
        return
    own = classifier.head.state_dict() | (_prefixed(classifier.mix) if classifier.mix is not None else {})
    save_file({name: t.detach().cpu() for name, t in own.items()}, folder / "head.safetensors")
    facts: dict[str, Any] = {"pooling": classifier.pooling, "labels": list(classifier.labels)}
    if classifier.problem.name != _CLASSIFICATION.name:
        facts["problem"] = classifier.problem.name
    if classifier.mix is not None:
        facts["scalar_mix"] = True
    (folder / "head.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1))


def save_calibration(classifier: Classifier, folder: Path) -> None:
    """Write the temperature that was fitted, if one was."""
    if classifier.calibration.rows:
        (folder / _CALIBRATION).write_text(json.dumps(asdict(classifier.calibration)))


def open_classifier(name: str | Path) -> Classifier:
    """Open what :func:`save_classifier` wrote, or any stock sequence classifier, which has no temperature.

    Raises:
        CheckpointError: There is no classifier, or a file of it is damaged.
    """
    classifier = _opened(name)
    classifier.calibration = _calibration(name)
    classifier.reading = _reading(name)
    return classifier


def _opened(name: str | Path) -> Classifier:
    config = read_config(name)
    folder = _head_folder(name, config)
    if folder is None:
        if not _is_stock_classifier(config):
            raise CheckpointError(
                f"{str(name)!r} is no classifier; fine-tune it first: ptft finetune model={name} data=..."
            )
        problem = PROBLEMS[_stock_problem(config)]()
        model, _ = open_model(name, "token_classification" if problem.unit == "word" else "classification", 0, config)
        labels = [str(label) for _, label in sorted((config.id2label or {}).items())]
        first: Pooling = "last" if is_decoder_config(config) else "cls"
        pooling = getattr(config, "classifier_pooling", None) or (*stock_poolings(config), first)[0]
        return Classifier(model, None, pooling, () if problem.name == "regression" else labels, 0.0, problem=problem)
    try:
        facts = json.loads((folder / "head.json").read_text())
        weights = load_file(folder / "head.safetensors")
        problem = PROBLEMS[facts.get("problem", _CLASSIFICATION.name)]()
        if facts["pooling"] not in get_args(Pooling):
            raise ValueError(f"there is no pooling {facts['pooling']!r}")
        body, _ = open_model(name, "backbone", 0)
        is_mixed = facts.get("scalar_mix", False)
        classifier = own_head(body, facts["pooling"], facts["labels"], 0.0, problem, mixes_layers=is_mixed)
        if classifier.mix is not None:
            classifier.mix.load_state_dict({n: weights.pop(f"{_MIX}{n}") for n in classifier.mix.state_dict()})
        classifier.head.load_state_dict(weights)  # type: ignore[union-attr]
    except _DAMAGES as error:
        raise CheckpointError(f"the head in {str(folder)!r} cannot be read: {' '.join(str(error).split())}") from None
    return classifier


def take_over_head(classifier: Classifier, former: Classifier) -> None:
    """Give a classifier on a fine-tuned checkpoint's body the head of that checkpoint; a stock one is there already."""
    for name in ("head", "mix"):
        if (part := getattr(classifier, name)) is not None:
            part.load_state_dict(getattr(former, name).state_dict())


def _calibration(name: str | Path) -> Calibration:
    """The temperature beside a classifier's weights; 1 where there is none."""
    path = _beside(name, _CALIBRATION)
    if path is None:
        return Calibration()
    try:
        found = Calibration(**json.loads(path.read_text()))
        if not (found.temperature > 0 and math.isfinite(found.temperature)):
            raise ValueError(f"a temperature of {found.temperature}")
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}; delete it to do without a temperature") from None
    return found


def _reading(name: str | Path) -> Reading:
    """How a classifier was fine-tuned to read, as far as it is known."""
    path = _beside(name, _READING)
    if path is None:
        return Reading()
    try:
        return Reading(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error}; delete it to read 128 tokens") from None


def _beside(name: str | Path, file: str) -> Path | None:
    """A file beside a checkpoint's weights, fetched if they are on the Hub; None if there is none."""
    folder = Path(checkpoint_folder(name))
    try:
        path = folder / file if folder.exists() else Path(hf_hub_download(str(name), file))
    except EntryNotFoundError:
        return None
    return path if path.exists() else None


def _stock_problem(config: PretrainedConfig) -> str:
    """The problem that a stock classifier is for, by its configuration."""
    if any(name.endswith("ForTokenClassification") for name in config.architectures or []):
        return "token_classification"
    names = {kind: name for name, kind in PROBLEM_TYPES.items()}
    if config.problem_type is None and config.num_labels == 1:
        return "regression"  # as the stock class takes it
    return names.get(config.problem_type or "", _CLASSIFICATION.name)


def _prefixed(mix: ScalarMix) -> dict[str, Tensor]:
    return {f"{_MIX}{name}": tensor for name, tensor in mix.state_dict().items()}
