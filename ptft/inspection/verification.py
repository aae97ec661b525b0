"""Whether a run can be had again: its last steps are made once more from a checkpoint, and bits are compared."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ptft.compute import Compute, is_main, wait_for_all
from ptft.config import dump, load
from ptft.config.source import read_yaml
from ptft.display import Display, Silent
from ptft.errors import CheckpointError, RecipeError, UserError
from ptft.inspection.bits import Comparison, Verdict
from ptft.report.folder import read_object
from ptft.run import execute
from ptft.steps.finetune import Finetune
from ptft.steps.pretrain import Pretrain
from ptft.steps.seeds import seed_list
from ptft.training.checkpoint import complete_checkpoints, examine
from ptft.training.logbook import read_log

Trained = Pretrain | Finetune
_KINDS: dict[str, type[Trained]] = {"pretrain": Pretrain, "finetune": Finetune}
_ALL = 1000  # checkpoints stay: none of those that are made again is deleted before it was looked at


@dataclass(frozen=True)
class _Stretch:
    """The steps of one training that are made again.

    Attributes:
        name: Of the training's folder below the run, such as ``seed-3``; empty for the run itself.
        checkpoint: Where it goes on from; None for the beginning.
        begin, end: Updates made before and after.
    """

    name: str
    checkpoint: Path | None
    begin: int
    end: int

    @property
    def words(self) -> str:
        where = f"{self.name}: " if self.name else ""
        if self.begin == self.end:
            return f"{where}no step was left after the checkpoint of step {self.begin}"
        origin = f"the checkpoint of step {self.begin}" if self.checkpoint else "the beginning"
        return f"{where}steps {self.begin + 1} to {self.end} were made again, from {origin}"


def verify(run: Path, display: Display | None = None) -> list[Verdict]:
    """Make the last steps of a run again, in a temporary folder, and compare: every bit must be as it is in the run.

    Of a finished pretraining or fine-tuning these are the steps after the newest checkpoint (of each seed). Compared
    are the tensors of ``model/`` and of other models that these steps wrote, the lines of the log and the figures of
    the result, all but times. Of an unfinished one the steps between its two newest checkpoints are made, and both
    parts of the newer one compared. Of a recipe's run each step is verified that can be. The run is only read.

    Args:
        run: The run folder.
        display: Shows progress.

    Returns:
        One verdict for each step.

    Raises:
        UserError: Nothing can be verified: there is no checkpoint, or what the run is made from is gone or has changed.
    """
    steps = _recipe(run).get("steps")
    if not isinstance(steps, Mapping):
        return [_verify_step(run, display or Silent())]
    verdicts, errors = [], []
    for name in steps:
        try:
            verdicts.append(_verify_step(run / str(name), display or Silent()))
        except UserError as error:
            errors.append(error)
            verdicts.append(Verdict(str(run / str(name)), str(error).removeprefix(f"{run / str(name)}: ")))
    if len(errors) == len(verdicts):
        raise CheckpointError("\n".join(str(error) for error in errors) or f"{str(run)!r}: has no steps")
    return verdicts


def _recipe(run: Path) -> dict[str, Any]:
    recipe = run / "recipe.yaml"
    if not recipe.is_file():
        raise CheckpointError(f"{str(run)!r}: holds no recipe.yaml; give the folder of a run, its out=")
    return read_yaml(recipe).data


def _verify_step(run: Path, display: Display) -> Verdict:
    manifest = read_object(run / "manifest.json")
    is_finished = (run / "result.json").is_file()
    step = _step_of(run, manifest)
    stretches = _stretches(run, step, is_finished)
    verdict = Verdict(f"{run}  ({step.name})", compared=[stretch.words for stretch in stretches])
    if not is_finished:
        verdict.compared.append("the run is unfinished, so that nothing behind its newest checkpoint was compared")
    with _temporary_folder() as folder:
        copy = folder / "run"
        if is_main():
            _copy(run, copy, stretches)
        changes = {"out": str(copy), "resume": True, "trackers": (), "keep_checkpoints": _ALL}
        again = step.model_copy(update={**changes, "threads": manifest.get("threads", step.threads)})
        if is_main():
            (copy / "recipe.yaml").write_text(dump(again))
        wait_for_all()
        target = None if is_finished else copy / "checkpoints" / f"step-{stretches[0].end:08d}"
        try:
            with suppress(_ReachedError):
                execute(again, _Watch(display, target))
        except UserError as error:
            sentence = str(error).replace(str(copy), str(run))
            raise type(error)(f"{run} cannot be verified: {sentence}") from None
        comparison = Comparison(run, copy, verdict)
        for stretch in stretches:
            comparison.log(stretch.name, stretch.begin, stretch.end)
        if is_finished:
            comparison.models()
            comparison.figures()
            comparison.circumstances()
        else:
            comparison.checkpoint(f"step-{stretches[0].end:08d}")
        wait_for_all()  # then the folder is removed
    return verdict


class _ReachedError(Exception):
    """What is wanted of an unfinished run is there."""


class _Watch:
    """Shows progress alone, and stops a run when a folder is there."""

    def __init__(self, display: Display, target: Path | None) -> None:
        self._display = display
        self._target = target

    def say(self, sentence: str) -> None:
        """Drop what was said when the run was made."""

    def progress(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        """Pass it on."""
        self._display.progress(f"again: {what}", done, total, figures)
        if self._target is not None and self._target.exists():
            raise _ReachedError


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that all processes of this machine share, removed at the end."""
    number = int(Compute("fp32").sum(torch.tensor(float(time.time_ns() // 1000 if is_main() else 0)).double()).item())
    folder = Path(tempfile.gettempdir()) / f"ptft-verify-{number}"
    try:
        if is_main():
            folder.mkdir(mode=0o700)
        wait_for_all()
        yield folder
    finally:
        if is_main():
            shutil.rmtree(folder, ignore_errors=True)


# What is made again


def _step_of(run: Path, manifest: Mapping[str, Any]) -> Trained:
    _recipe(run)
    kind = manifest.get("step")
    if kind and kind not in _KINDS:
        raise CheckpointError(
            f"{run}: {kind} keeps no checkpoints to go on from; only runs of {' and '.join(_KINDS)} can be verified"
        )
    for name in [kind] if kind else _KINDS:
        with suppress(RecipeError):
            return load(_KINDS[name], run / "recipe.yaml").settings
    raise CheckpointError(
        f"{run}: its recipe.yaml is not of {kind or ' or '.join(_KINDS)} as this version of ptft knows it; only such "
        "runs can be verified, with the version that made them"
    )


def _stretches(run: Path, step: Trained, is_finished: bool) -> list[_Stretch]:
    """What is made again of each training.

    Raises:
        CheckpointError: There is no checkpoint to go on from, or an unfinished run has not what it takes.
    """
    if not is_finished:
        return [_between_checkpoints(run, step)]
    seeds = seed_list(step.seeds, step.seed) if isinstance(step, Finetune) else []
    stretches = [_to_the_end(run, name) for name in ([f"seed-{seed}" for seed in seeds] if len(seeds) > 1 else [""])]
    if not any(stretch.checkpoint for stretch in stretches):
        damaged = [f"{path} is damaged ({damage})" for path, (_, damage) in _examined(run / stretches[0].name).items()]
        why = "; ".join(damaged) or f"checkpoint_every_steps={step.checkpoint_every_steps}"
        raise CheckpointError(
            f"{run}: has no checkpoint to go on from ({why}); a run that is to be verified needs one before its end: "
            "give it a smaller checkpoint_every_steps"
        )
    return stretches


def _to_the_end(run: Path, name: str) -> _Stretch:
    """From the newest checkpoint before the end of a training, or its beginning, to the end."""
    checkpoints = _whole_checkpoints(run / name)
    log = read_log(run / name / "metrics.jsonl")
    end = max([0, *checkpoints, *(line["step"] for line in log[-1:])])
    begin = max([number for number in checkpoints if number < end] or [*checkpoints, 0])
    return _Stretch(name, checkpoints.get(begin), begin, end)


def _between_checkpoints(run: Path, step: Trained) -> _Stretch:
    """From the last but one checkpoint of an unfinished run to the last.

    Raises:
        CheckpointError: There are no two, the newer one is one that a signal caused, or there are several seeds.
    """
    if isinstance(step, Finetune) and len(seed_list(step.seeds, step.seed)) > 1:
        raise CheckpointError(f"{run}: is unfinished and has several seeds; finish it first")
    checkpoints = _whole_checkpoints(run)
    if len(checkpoints) < 2:
        raise CheckpointError(
            f"{run}: is unfinished and has {len(checkpoints)} whole checkpoint(s), but it takes two; finish it first"
        )
    begin, end = sorted(checkpoints)[-2:]
    if not step.checkpoint_every_steps or end % step.checkpoint_every_steps:
        raise CheckpointError(f"{run}: is unfinished, since it was stopped after step {end}; finish it first")
    return _Stretch("", checkpoints[begin], begin, end)


def _examined(folder: Path) -> dict[Path, tuple[dict[str, Any], str]]:
    return {path: examine(path) for path in complete_checkpoints(folder / "checkpoints")}


def _whole_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints of a training that are not damaged, by their steps."""
    return {int(state["step"]): path for path, (state, damage) in _examined(folder).items() if not damage}


def _copy(run: Path, copy: Path, stretches: list[_Stretch]) -> None:
    """What resuming needs of a run; the log of later steps is left behind."""
    copy.mkdir()
    if (run / "tokenizer").is_dir():
        shutil.copytree(run / "tokenizer", copy / "tokenizer")
    if (run / "search.jsonl").is_file():
        shutil.copyfile(run / "search.jsonl", copy / "search.jsonl")
    for stretch in stretches:
        source, target = run / stretch.name, copy / stretch.name
        target.mkdir(exist_ok=True)
        if stretch.checkpoint is not None:
            shutil.copytree(stretch.checkpoint, target / "checkpoints" / stretch.checkpoint.name)
        if (source / "positions.jsonl").is_file():
            shutil.copyfile(source / "positions.jsonl", target / "positions.jsonl")
        lines = [line for line in read_log(source / "metrics.jsonl") if line["step"] <= stretch.begin]
        (target / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
