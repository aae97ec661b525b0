"""One training from its first or last saved step to its end: the loop with its log, its checkpoints and its signals."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ptft.compute import Compute
from ptft.display import Display
from ptft.errors import RecipeError
from ptft.optim.optimizer import Optimizers
from ptft.optim.schedule import Schedule
from ptft.training.best import Best
from ptft.training.compilation import compile_now
from ptft.training.determinism import cost_of_determinism
from ptft.training.guard import Guard, GuardSettings
from ptft.training.interruption import listening
from ptft.training.logbook import Logbook
from ptft.training.loop import StepReport, train
from ptft.training.meters import UNKNOWN, Cost, Meter
from ptft.training.position import CountedPositions, Positions, Stopwatch, TimedPositions
from ptft.training.saving import Checkpoints
from ptft.training.totals import Totals
from ptft.training.work import BatchSource, Feed

Measure = Callable[[int], Mapping[str, float]]
_GUARD = GuardSettings()


class Marks(Protocol):
    """Something that is saved at points of a training that the tokens of the corpus seen decide, such as milestones."""

    def lie_between(self, before: int, tokens: int) -> bool:
        """Whether a step that leads from ``before`` tokens seen to ``tokens`` reaches one."""

    def forget_after(self, step: int) -> None:
        """Remove what later steps saved, before the training goes on from this one; called in the main process."""

    def reached(self, report: StepReport, totals: Totals) -> None:
        """Save what such a step reached, which led to these totals; called in the main process."""


@dataclass(frozen=True)
class Plan:
    """The numbers of a training.

    Attributes:
        steps: Updates until the end; 0 where it is a time.
        seconds: Time until the end, evaluations and checkpoints left out; 0 where it is a number of steps.
        seed: Of dropout.
        accumulate: Micro-batches of one process in a step.
        clip_norm: Largest gradient norm; 0 for none.
        log_every_steps: A line in the log each so many steps.
        checkpoint_every_steps: A checkpoint each so many steps; 0 for none.
        keep_checkpoints: How many stay.
        evaluate_every_steps: How often ``measure`` is called; 0 for never.
        workers: Threads that build batches ahead.
        guard: What is done with a step that is no number.
        compiled: Whether the module's body is to be compiled, before the first step.
    """

    steps: int
    seed: int
    seconds: float = 0.0
    accumulate: int = 1
    clip_norm: float = 1.0
    log_every_steps: int = 10
    checkpoint_every_steps: int = 0
    keep_checkpoints: int = 2
    evaluate_every_steps: int = 0
    workers: int = 1
    guard: GuardSettings = _GUARD
    compiled: bool = False


def fit(
    module: nn.Module,
    weights: Mapping[str, float],
    source: BatchSource,
    optimizers: Optimizers,
    schedule: Schedule,
    compute: Compute,
    plan: Plan,
    display: Display,
    *,
    folder: Path | None = None,
    identity: Mapping[str, Any] | None = None,
    best: Best | None = None,
    cost: Cost = UNKNOWN,
    measure: Measure | None = None,
    marks: Marks | None = None,
    what: str = "training",
) -> Totals:
    """Train to the end of the plan, going on from the newest checkpoint below ``folder`` if there is one.

    Args:
        module, weights: As for :func:`ptft.training.loop.train`.
        source: Batches as a function of the step.
        optimizers: Of the module's parameters; the average that they may keep is measured and is there at the end.
        schedule, compute, plan: Factor of the learning rate; processes, device, precision; numbers.
        display, what: Shows progress, under this name.
        folder, identity, best: Of log and checkpoints (see :class:`ptft.training.saving.Checkpoints`).
        cost: For ``mfu`` and ``head_share``.
        measure: Gives figures for the log at some steps, and leaves the module in training.
        marks: What is saved besides checkpoints.

    Raises:
        Interrupted: A signal asked to stop; the state is saved, or the sentence says why not.
        CheckpointError: The newest checkpoint is of another run or model, or the log cannot be written.
        TrainingError, DataError: A step is no number or does not fit into memory; what batches are read from changed.
    """
    checkpoints = Checkpoints(folder, module, optimizers, plan.keep_checkpoints, compute, display, identity, best)
    totals = _loaded(checkpoints, marks, compute)
    watch = Stopwatch(totals.seconds)
    positions = _positions(plan, watch, compute, folder)
    logbook = _logbook(folder, totals, compute, display)
    wrapped = compute.wrap(module.train(), leaves_out=optimizers.begins_late)
    stop = totals.step if best is not None and best.is_old(totals.step) else positions.stop(totals.step)
    feed = _feed(source, compute, plan, totals, stop)
    guard = Guard(plan.guard, source, optimizers, compute, folder, totals.guard)
    _prepare(wrapped, feed, compute, plan, display, watch)
    meter = Meter(cost, compute, watch, totals, counts_graphs=plan.compiled)
    reports = train(
        wrapped, weights, feed, optimizers, lambda step: schedule.factor(*positions.at(step)[:2]), compute,
        start=totals.step, seed=plan.seed, clip_norm=plan.clip_norm, guard=guard, say=display.say,
    )  # fmt: skip
    with listening() as request:
        for report in reports:
            meter.add(report)
            is_last = positions.now.is_last
            due = _is_due(report.step, plan.evaluate_every_steps) or (is_last and plan.evaluate_every_steps > 0)
            if _is_due(report.step, plan.log_every_steps) or is_last or due:
                guard.verify(report.step)
                line = {"step": report.step, "progress": positions.now.begin, "tokens": totals.num_tokens}
                line |= _losses(report, weights, compute) | meter.read() | {"skipped_steps": guard.state["skipped"]}
                totals.loss = line.get("loss", math.nan)
                if measure is not None and due:
                    with watch.paused(), optimizers.averaged():
                        line |= measure(report.step)
                    is_last |= best is not None and best.is_old(report.step)
                _log(line, logbook, compute)
                display.progress(f"{what}{positions.unit}", *positions.done(report.step), line)
            is_asked = compute.any(request.asked)  # all processes stop after the same step
            if is_asked or _is_due(report.step, plan.checkpoint_every_steps):
                compute.finish()  # before the watch is paused
            with watch.paused():
                _mark(marks, report, totals, guard, compute)
                if is_asked:
                    checkpoints.save_and_stop(totals, positions.words(report.step), request, guard)
                if _is_due(report.step, plan.checkpoint_every_steps) and not is_last:
                    checkpoints.save_or_say(totals, guard)
            if is_last:
                break
    optimizers.exchange_average()
    return totals


def _loaded(checkpoints: Checkpoints, marks: Marks | None, compute: Compute) -> Totals:
    totals = checkpoints.load()
    if marks is not None and compute.is_main:
        marks.forget_after(totals.step)
    return totals


def _logbook(folder: Path | None, totals: Totals, compute: Compute, display: Display) -> Logbook | None:
    if folder is None or not compute.is_main:
        return None
    return Logbook(folder / "metrics.jsonl", totals.step, display.say)


def _log(line: Mapping[str, Any], logbook: Logbook | None, compute: Compute) -> None:
    if logbook is not None:
        logbook.write(line)
    compute.track(dict(line), line["step"])


def _positions(plan: Plan, watch: Stopwatch, compute: Compute, folder: Path | None) -> Positions:
    if not plan.seconds:
        return CountedPositions(plan.steps)
    return TimedPositions(plan.seconds, watch, compute, None if folder is None else folder / "positions.jsonl")


def _mark(marks: Marks | None, report: StepReport, totals: Totals, guard: Guard, compute: Compute) -> None:
    before = totals.num_text_tokens - report.num_text_tokens
    if marks is not None and marks.lie_between(before, totals.num_text_tokens):
        guard.verify(report.step)
        if compute.is_main:
            marks.reached(report, totals)


def _feed(source: BatchSource, compute: Compute, plan: Plan, totals: Totals, stop: int) -> Feed:
    parts = plan.accumulate * compute.num_processes
    if source.rows_per_step < compute.num_processes or (compute.is_sharded and source.rows_per_step % parts):
        raise RecipeError(
            f"rows_per_step: {source.rows_per_step} rows of a step cannot be shared by {compute.num_processes} "
            f"processes with accumulate={plan.accumulate}; start fewer, or give more rows"
        )
    rows = max(1, source.rows_per_step // parts)
    shares = source.shares(rows, compute.num_processes, compute.rank)
    return Feed(source, shares, compute.device, totals.step, stop, workers=plan.workers, most_rows=totals.most_rows)


def _prepare(module: nn.Module, feed: Feed, compute: Compute, plan: Plan, display: Display, watch: Stopwatch) -> None:
    with watch.paused():
        if compute.is_deterministic and compute.device.type != "cpu":
            try:
                display.say(cost_of_determinism(module, feed.first(), compute))
            except torch.OutOfMemoryError:  # the training itself takes smaller micro-batches then
                module.zero_grad(set_to_none=True)
        if plan.compiled:
            compile_now(module, feed.largest(), compute)


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _losses(report: StepReport, weights: Mapping[str, float], compute: Compute) -> dict[str, float]:
    """Of one step: its losses, and what tells it from others."""
    sums = compute.sum(torch.stack([report.sums[name].float() for name in weights])).tolist()
    means = {name: value / max(report.counts[name], 1) for name, value in zip(weights, sums, strict=True)}
    line = {"loss": sum(weights[name] * mean for name, mean in means.items())}
    if len(means) > 1:
        line |= {f"{name}.loss": mean for name, mean in means.items()}
    line |= {"batch_hash": report.batch_hash, "lr": report.lr, "grad_norm": report.grad_norm.item()}
    return {name: value for name, value in line.items() if math.isfinite(value)}  # of a step left out, none may be
