"""Write a model as ONNX, and measure how far what onnxruntime makes of the file is from torch."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ptft import rng
from ptft.errors import CheckpointError, DeviceError
from ptft.models.building import max_positions, open_model, open_trained, read_config
from ptft.models.classifier import Classifier, is_decoder_config
from ptft.models.classifier_files import is_classifier, open_classifier
from ptft.models.inputs import takes_segments

Output = Literal["logits", "last_hidden_state"]
Batch = dict[str, Int[Tensor, "rows seq"]]
_LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_FILE = 2**31  # bytes of a protobuf message
_LONGEST_CHECKED = 512


class OnnxModel(nn.Module):
    """A model as ONNX takes it: tensors in, one tensor out.

    Args:
        model: A classifier, or a stock model.
        output: What to give of a stock model; of a classifier its logits.
    """

    def __init__(self, model: Classifier | PreTrainedModel, output: Output) -> None:
        super().__init__()
        self.model = model
        self.output = output
        self.eval()

    @property
    def config(self) -> PretrainedConfig:
        """Of the stock model."""
        return self.model.model.config if isinstance(self.model, Classifier) else self.model.config

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, each of shape (rows, seq)."""
        return ("input_ids", "attention_mask", *(["token_type_ids"] if takes_segments(self.config) else []))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of a classifier's logits stand for; nothing where they have no names."""
        model = self.model
        return model.labels if isinstance(model, Classifier) and len(model.labels) == model.num_outputs else ()

    def forward(
        self,
        input_ids: Int[Tensor, "rows seq"],
        attention_mask: Int[Tensor, "rows seq"],
        token_type_ids: Int[Tensor, "rows seq"] | None = None,
    ) -> Float[Tensor, "..."]:
        """Logits of (texts, labels) of a classifier, of tags and other models logits or states of (rows, seq, ...)."""
        batch: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            batch["token_type_ids"] = token_type_ids
        if isinstance(self.model, Classifier):
            is_of_tokens = self.model.problem.unit == "word"
            places = torch.arange(input_ids.numel())[:, None].expand(-1, 2)  # each token is a word, first and last
            every = {"word_positions": places} if is_of_tokens else {}
            answer: Tensor = self.model({**batch, **every})
            return answer.unflatten(0, input_ids.shape) if is_of_tokens else answer
        if is_decoder_config(self.config):
            batch["use_cache"] = False
        chosen: Tensor = self.model(**batch)[self.output]
        return chosen


def open_onnx_model(name: str | Path, output: Output) -> OnnxModel:
    """Open what a checkpoint was trained for: a classifier, a masked language model or a causal one.

    Args:
        name: Folder, run folder or Hub name.
        output: ``logits`` of that head, or the ``last_hidden_state`` of the backbone alone.

    Raises:
        CheckpointError: It cannot be opened, lacks the head, or is too large for a file of ONNX.
    """
    config = read_config(name)
    model: Classifier | PreTrainedModel
    if output == "last_hidden_state":
        model = open_model(name, "backbone", 0)[0]
    elif is_classifier(name, config):
        model = open_classifier(name)
    else:
        model = open_trained(name, "causal_lm" if is_decoder_config(config) else "masked_lm")
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if size >= _LARGEST_FILE:
        raise CheckpointError(
            f"{str(name)!r} has {size / 2**30:.1f} GiB of weights in fp32, and a file of ONNX holds less than 2; "
            "export a smaller model"
        )
    return OnnxModel(model, output)


def write_onnx(model: OnnxModel, path: Path) -> None:
    """Write one file in which the number of rows and their length are free.

    Raises:
        CheckpointError: torch's exporter does not take this architecture.
    """
    inputs = example_batches(model)[0]
    axes = {name: {0: "batch", 1: "sequence"} for name in model.inputs}
    with _quietly():
        try:
            program = torch.onnx.export(
                model, kwargs=inputs, input_names=list(model.inputs), output_names=[model.output],
                dynamic_shapes=axes, dynamo=True, verbose=False,
            )  # fmt: skip
        except torch.onnx.errors.OnnxExporterError as error:
            raise CheckpointError(
                f"torch cannot write a model of the architecture {model.config.model_type} as ONNX "
                f"({str(error).strip().splitlines()[0][:160]}); use another architecture, or the model as it is"
            ) from error
        assert program is not None  # it was given no path
        # Every node tells the line of source it came from, with the folders of this machine.
        import_module("onnx_ir.passes.common").ClearMetadataAndDocStringPass()(program.model)
        program.save(path, external_data=False)


def example_batches(model: OnnxModel) -> list[Batch]:
    """Rows of tokens drawn at random, of different lengths side by side: padded ones, one alone, the longest ones."""
    longest = min(max_positions(model.config), _LONGEST_CHECKED)
    middle = max(2, min(24, longest))
    lengths = [[middle, middle // 2, 3, 2], [1], [longest, longest // 3]]
    return [_batch(model, np.minimum(batch, longest), number) for number, batch in enumerate(lengths)]


def _batch(model: OnnxModel, lengths: Int[np.ndarray, " rows"], number: int) -> Batch:
    slots = np.arange(lengths.max())
    rows = np.arange(len(lengths))[:, None]
    real = slots < lengths[:, None]
    ids = rng.integers(model.config.vocab_size, rng.key_of("onnx"), number, rows, slots)
    tensors = {
        "input_ids": np.where(real, ids, model.config.pad_token_id or 0),
        "attention_mask": real.astype(np.int64),
        "token_type_ids": (real & (slots >= lengths[:, None] // 2)).astype(np.int64),
    }
    return {name: torch.from_numpy(tensors[name]) for name in model.inputs}


def largest_difference(model: OnnxModel, path: Path) -> tuple[float, float]:
    """Run the file in onnxruntime on a CPU beside the model in torch, over :func:`example_batches`.

    Returns:
        The largest difference of two numbers that they gave for a text or a token, padding left out, and the largest
        number (at least 1) that torch gave.
    """
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    difference, largest = 0.0, 1.0
    for batch in example_batches(model):
        with torch.inference_mode():
            expected = model(**batch).numpy()
        given = session.run([model.output], {name: tensor.numpy() for name, tensor in batch.items()})[0]
        if expected.ndim == 3:  # of tokens
            real = batch["attention_mask"].numpy() > 0
            expected, given = expected[real], given[real]
        difference = max(difference, float(np.abs(given - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    return difference, largest


def check_libraries() -> None:
    """Refuse to begin without the libraries that ONNX needs.

    Raises:
        DeviceError: One is not installed.
    """
    for name in _LIBRARIES:
        library(name)


def library(name: str) -> Any:
    """One of the libraries that ONNX needs.

    Raises:
        DeviceError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise DeviceError(
            f"export needs the library {name!r}, which is not installed; pip install ptft[onnx]"
        ) from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch and its helpers log and warn of while they export."""
    former = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(former)
