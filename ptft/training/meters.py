"""How fast a training goes, honestly: real tokens, model FLOPs by formula, padding, waiting for data, the head's share.

Time is that of the whole training loop, with logging and until the device has finished its work; evaluations and
checkpoints are left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ptft.compute import Compute
from ptft.models.compiling import num_compilations
from ptft.models.flops import Flops, peak_flops
from ptft.training.loop import StepReport
from ptft.training.position import Stopwatch
from ptft.training.totals import Totals

TIMES = ("tokens_per_second", "mfu", "data_wait_ratio", "memory_gb", "recompilations")
"""The figures that are others when the same is done again."""


@dataclass(frozen=True)
class Cost:
    """What a training asks of its devices.

    Attributes:
        flops: Of a position and of a prediction.
        peak: FLOP/s that all devices can do at best; 0 where it is not known, and the log has no ``mfu``.
    """

    flops: Flops
    peak: float

    @staticmethod
    def on(compute: Compute, flops: Flops) -> "Cost":
        """With the rate of this run's devices at its precision."""
        return Cost(flops, peak_flops(compute.device, compute.dtype) * compute.num_processes)


UNKNOWN = Cost(Flops(0.0, 0.0), 0.0)
"""Of a training that nothing is known of."""


def speed(totals: Iterable[Totals]) -> dict[str, float]:
    """The meters of some trainings together, or of a part of one.

    ``tokens_per_second`` counts real tokens, ``padding_ratio`` is padding's share of all positions, ``data_wait_ratio``
    the share of the time in which the next batch was waited for. ``mfu`` are the model FLOPs (see
    :func:`ptft.models.flops.model_flops`) over those that the devices could have done in the same time, padding's
    included, and ``head_share`` is the vocabulary head's share of them. What cannot be known is left out.
    """
    parts = list(totals)
    seconds, slots, flops = (sum(getattr(p, name) for p in parts) for name in ("seconds", "num_slots", "flops"))
    peak = sum(part.peak_flops for part in parts)
    figures = {}
    if seconds:
        figures["tokens_per_second"] = sum(part.num_tokens for part in parts) / seconds
    if slots:
        figures["padding_ratio"] = 1 - sum(part.num_tokens for part in parts) / slots
    if seconds:
        figures["data_wait_ratio"] = sum(part.wait_seconds for part in parts) / seconds
    if flops:
        figures["head_share"] = sum(part.head_flops for part in parts) / flops
    if peak:
        figures["mfu"] = flops / peak
    return figures


class Meter:
    """Adds up what steps used, and gives the meters of those since they were last read.

    Args:
        cost: For ``mfu`` and ``head_share``.
        compute: Its device's work is waited for when the meters are read.
        watch: The clock.
        totals: Of the whole training.
        counts_graphs: Whether torch's compiler is at work, so that what it compiles from here on is counted.
    """

    def __init__(
        self, cost: Cost, compute: Compute, watch: Stopwatch, totals: Totals, *, counts_graphs: bool = False
    ) -> None:
        self._graphs = num_compilations() if counts_graphs else None
        self._cost = cost
        self._compute = compute
        self._watch = watch
        self._totals = totals
        if compute.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(compute.device)
        self._since = Totals()
        self._began = watch.seconds

    def add(self, report: StepReport) -> None:
        """Take in one step."""
        now, flops, peak = self._watch.seconds, self._cost.flops, self._cost.peak
        self._totals.add(report, now, flops, peak)
        self._since.add(report, now - self._began, flops, peak)

    def read(self) -> dict[str, float]:
        """The meters, and on a CUDA device the most memory that was allocated since the training began, in GB."""
        device = self._compute.device
        self._compute.finish()
        now = self._watch.seconds
        self._totals.spend(now, self._cost.peak)
        self._since.spend(now - self._began, self._cost.peak)
        figures = speed([self._since])
        if device.type == "cuda":
            figures["memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        if self._graphs is not None:
            figures["recompilations"] = num_compilations() - self._graphs
        self._since, self._began = Totals(), now
        return figures
