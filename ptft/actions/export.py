"""The verb ``export``: a model as ONNX, for programs without torch."""

from pathlib import Path
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from ptft.actions.action import Action, check_new_file
from ptft.display import Display
from ptft.errors import CheckpointError, RecipeError
from ptft.models.classifier import Classifier
from ptft.models.classifier_files import save_calibration
from ptft.models.onnx_export import (
    OnnxModel,
    Output,
    check_libraries,
    example_batches,
    largest_difference,
    open_onnx_model,
    write_onnx,
)
from ptft.tokenization import load_tokenizer, tokenizer_folder
from ptft.training.aside import file_written_aside, is_unwritable, written_aside

_TOLERANCE = 1e-4


class Export(Action):
    """Write a model as ONNX, and check the file in onnxruntime.

    A fine-tuned model gives one logit a label, of tags those of each token, of multiple choice one for a question with
    one choice; an encoder gives those of masked LM, a decoder those of the next token, without a cache. Inputs are
    input_ids, attention_mask and, where the model tells two texts apart, token_type_ids, of any number of rows and any
    length up to the model's positions. A file whose logits differ by more than 1e-4 from torch's (1e-4 of the largest
    logit where that is above 1) is not kept.
    """

    name: ClassVar[str] = "export"
    model: str
    """A fine-tuned or pretrained model: a run folder, a checkpoint folder or a Hub name."""
    out: str
    """A folder to make, for model.onnx, config.json, the tokenizer and a temperature if one was fitted (predict divides
    logits by it); or a FILE.onnx for the model alone."""
    output: Output = "logits"
    """What the file gives: logits, or the last_hidden_state of each token (without any head)."""

    def check(self) -> None:
        """There are the libraries, a place to write, a model and its tokenizer."""
        self._opened()

    def _opened(self) -> tuple[OnnxModel, PreTrainedTokenizerBase]:
        check_libraries()
        check_new_file(self.out, "another folder or FILE.onnx", "another place")
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        return open_onnx_model(self.model, self.output), tokenizer

    def do(self, display: Display) -> str:
        """Write, check, and say how far the file is from torch."""
        model, tokenizer = self._opened()
        out = Path(self.out)
        display.say(f"writing {self.model} as ONNX")
        is_file = out.suffix == ".onnx"
        try:
            with file_written_aside(out) if is_file else written_aside(out) as aside:
                difference = _write_checked(model, aside if is_file else aside / "model.onnx")
                if not is_file:
                    _write_rest(model, tokenizer, aside)
        except Exception as error:
            if not is_unwritable(error):
                raise
            raise RecipeError(
                f"out: {self.out!r} cannot be written ({error}); make room, or name another place"
            ) from error
        rows = sum(len(batch["input_ids"]) for batch in example_batches(model))
        return (
            f"{', '.join(model.inputs)} -> {model.output}: {out}\n{_temperature_note(model)}"
            f"largest difference from torch in {rows} rows of different lengths: {difference:.1e}"
        )


def _temperature_note(model: OnnxModel) -> str:
    if not isinstance(model.model, Classifier) or not model.model.calibration.rows:
        return ""
    divisor = f"{model.model.calibration.temperature:.3f}, the temperature of calibration.json,"
    return f"probabilities are those of predict once logits are divided by {divisor} which the file does not do\n"


def _write_checked(model: OnnxModel, path: Path) -> float:
    """Write the file and return how far it is from torch.

    Raises:
        CheckpointError: Too far.
    """
    write_onnx(model, path)
    difference, largest = largest_difference(model, path)
    if not difference <= _TOLERANCE * largest:  # neither if it is no number
        raise CheckpointError(
            f"onnxruntime and torch differ by {difference:.1e} in {model.output} of up to {largest:.3g}, and "
            f"{_TOLERANCE:g} of that is allowed; nothing was kept; use the model as it is"
        )
    return difference


def _write_rest(model: OnnxModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """What programs look for beside model.onnx: configuration with the labels' names, tokenizer, temperature."""
    if isinstance(model.model, Classifier):
        model.config.num_labels = model.model.num_outputs  # which names them LABEL_0, ...
        save_calibration(model.model, folder)
    if labels := model.labels:
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: number for number, label in enumerate(labels)}
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
