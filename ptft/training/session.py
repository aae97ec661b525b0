"""One training from its first or last saved step to its end: the loop with its log, its checkpoints and its signals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ptft.compute import Compute
from ptft.display import Display
from ptft.optim.optimizer import Optimizers
from ptft.optim.schedule import Schedule
from ptft.training.checkpoint import load_newest, save_checkpoint
from ptft.training.interruption import Interrupted, listening
from ptft.training.logbook import Logbook
from ptft.training.loop import StepReport, train
from ptft.training.position import CountedPositions, Positions, Stopwatch, TimedPositions
from ptft.training.work import BatchSource, Feed

Measure = Callable[[int], Mapping[str, float]]
AfterStep = Callable[[StepReport, "Totals"], None]
_KEPT = ("step", "num_tokens", "num_slots", "num_text_tokens", "seconds")  # of the totals, in a checkpoint


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


@dataclass
class Totals:
    """What a training used up, over all processes.

    Attributes:
        step: Updates made.
        num_tokens, num_slots: Real tokens seen, and with padding.
        num_text_tokens: Real tokens seen that are the corpus's own.
        seconds: Time of training: evaluations, checkpoints and interruptions are left out.
        loss: Total loss of the last logged step.
    """

    step: int = 0
    num_tokens: int = 0
    num_slots: int = 0
    num_text_tokens: int = 0
    seconds: float = 0.0
    loss: float = float("nan")

    def add(self, report: StepReport, seconds: float) -> None:
        """Count one more step, at whose end so many seconds are spent."""
        self.step = report.step
        self.num_tokens += report.num_tokens
        self.num_slots += report.num_slots
        self.num_text_tokens += report.num_text_tokens
        self.seconds = seconds


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
    flops_per_slot: float = 0.0,
    peak_flops: float = 0.0,
    measure: Measure | None = None,
    after_step: AfterStep | None = None,
    what: str = "training",
) -> Totals:
    """Train to the end of the plan, going on from the newest checkpoint below ``folder`` if there is one.

    Args:
        module: From a batch to loss sums by objective (see :func:`ptft.training.loop.train`).
        weights: Factor of each objective.
        source: Batches as a function of the step.
        optimizers: Of the module's parameters; the average that they may keep is measured and is there at the end.
        schedule: Factor of the learning rate.
        compute: Processes, device, precision.
        plan: Numbers.
        display: Shows progress.
        folder: The run folder for log and checkpoints; None keeps nothing.
        flops_per_slot, peak_flops: For the ``mfu`` of the log; 0 leaves it out.
        measure: Gives figures for the log at some steps, and leaves the module in training.
        after_step: Called in the main process with each step's report and the totals after it.
        what: Name of the training on the display.

    Raises:
        Interrupted: A signal asked to stop; the state is saved.
    """
    totals = _saved(folder, module, optimizers, display)
    watch = Stopwatch(totals.seconds)
    positions = _positions(plan, watch, compute, folder)
    logbook = Logbook(folder / "metrics.jsonl", totals.step) if folder is not None and compute.is_main else None
    wrapped = compute.wrap(module)
    feed = _feed(source, compute, plan, totals.step, positions.stop(totals.step))
    module.train()

    meter = _Meter(weights, compute, flops_per_slot, peak_flops)
    reports = train(
        wrapped, weights, feed, optimizers, lambda step: schedule.factor(*positions.at(step)[:2]), compute,
        start=totals.step, seed=plan.seed, clip_norm=plan.clip_norm,
    )  # fmt: skip
    with listening() as request:
        for report in reports:
            totals.add(report, watch.seconds)
            meter.add(report)
            is_last = positions.now.is_last
            due = _is_due(report.step, plan.evaluate_every_steps) or (is_last and plan.evaluate_every_steps > 0)
            if _is_due(report.step, plan.log_every_steps) or is_last or due:
                line = {"step": report.step, "progress": positions.now.begin, "tokens": totals.num_tokens}
                line |= meter.read(report)
                if measure is not None and due:
                    with watch.paused(), optimizers.averaged():
                        line |= measure(report.step)
                totals.loss = line["loss"]
                if logbook is not None:
                    logbook.write(line)
                compute.track(line, report.step)
                display.progress(f"{what}{positions.unit}", *positions.done(report.step), line)
            is_asked = compute.any(request.asked)  # all processes stop after the same step
            with watch.paused():
                if after_step is not None and compute.is_main:
                    after_step(report, totals)
                if is_asked or (_is_due(report.step, plan.checkpoint_every_steps) and not is_last):
                    _save(folder, module, optimizers, totals, plan, compute)
            if is_asked:
                raise Interrupted(f"stopped after {positions.words(report.step)}")
            if is_last:
                break
    optimizers.exchange_average()
    return totals


def _positions(plan: Plan, watch: Stopwatch, compute: Compute, folder: Path | None) -> Positions:
    if not plan.seconds:
        return CountedPositions(plan.steps)
    return TimedPositions(plan.seconds, watch, compute, None if folder is None else folder / "positions.jsonl")


def _saved(folder: Path | None, module: nn.Module, optimizers: Optimizers, display: Display) -> Totals:
    state = load_newest(folder / "checkpoints", module, optimizers) if folder is not None else None
    if state is None:
        return Totals()
    display.say(f"continuing after step {state['step']}")
    return Totals(**{name: state[name] for name in _KEPT})


def _save(
    folder: Path | None, module: nn.Module, optimizers: Optimizers, totals: Totals, plan: Plan, compute: Compute
) -> None:
    if folder is not None and compute.is_main:
        state = {name: getattr(totals, name) for name in _KEPT}
        save_checkpoint(folder / "checkpoints", module, optimizers, state, plan.keep_checkpoints)
    compute.wait()


def _feed(source: BatchSource, compute: Compute, plan: Plan, start: int, stop: int) -> Feed:
    rows = max(1, source.rows_per_step // (plan.accumulate * compute.num_processes))
    shares = source.shares(rows, compute.num_processes, compute.rank)
    return Feed(source, shares, compute.device, start, stop)


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


class _Meter:
    """Sums up the steps since the last logged one."""

    def __init__(
        self, weights: Mapping[str, float], compute: Compute, flops_per_slot: float, peak_flops: float
    ) -> None:
        self._weights = weights
        self._compute = compute
        self._rate = flops_per_slot / peak_flops if peak_flops else 0.0
        self._clear()

    def _clear(self) -> None:
        self._tokens = self._slots = 0
        self._seconds = self._waited = 0.0

    def add(self, report: StepReport) -> None:
        self._tokens += report.num_tokens
        self._slots += report.num_slots
        self._seconds += report.seconds
        self._waited += report.wait_seconds

    def read(self, report: StepReport) -> dict[str, float]:
        sums = self._compute.sum(torch.stack([report.sums[name].float() for name in self._weights])).tolist()
        means = {name: value / max(report.counts[name], 1) for name, value in zip(self._weights, sums, strict=True)}
        line = {"loss": sum(self._weights[name] * mean for name, mean in means.items())}
        if len(means) > 1:
            line |= {f"{name}.loss": mean for name, mean in means.items()}
        line |= {
            "lr": report.lr,
            "grad_norm": report.grad_norm.item(),
            "tokens_per_second": self._tokens / self._seconds,
            "padding_ratio": 1 - self._tokens / self._slots,
            "data_wait_ratio": self._waited / self._seconds,
        }
        if self._rate:
            line["mfu"] = self._rate * self._slots / self._seconds / self._compute.num_processes
        self._clear()
        return line
