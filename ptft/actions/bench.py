"""The verb ``bench``: how fast a preset trains on this machine, by the meters of a real training."""

import json
import re
import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from transformers import PreTrainedModel

from ptft.actions.action import Action
from ptft.compute import Compute, Precision, give_back_freed_memory, resolve_precision
from ptft.config import Choice, load, plain
from ptft.display import Display, Silent
from ptft.errors import DeviceError, RecipeError
from ptft.models.building import new_model
from ptft.models.flops import model_flops, peak_flops
from ptft.models.presets import PRESETS
from ptft.objectives import OBJECTIVES
from ptft.objectives.objective import Objective
from ptft.optim.optimizer import OptimizerSettings
from ptft.optim.optimizers import OPTIMIZERS
from ptft.optim.optimizers.adamw import AdamW
from ptft.report.tables import format_duration, format_value
from ptft.sharding import sharding_asked
from ptft.steps.folder import environment
from ptft.steps.pretrain import Pretrain
from ptft.steps.trial import (
    Rate,
    free_bytes,
    measured,
    planned_config,
    planned_tokenizer,
    prepared,
    random_rows,
    rows_to_try,
    text_batches,
    threads,
)
from ptft.training.meters import Cost
from ptft.training.session import fit

_WINDOWS, _FEWEST_STEPS = 30, 4
_ROOM = 1.5  # what a step is expected to take is known roughly
_TOKENS = {"10M": 1e7, "100M": 1e8, "1B": 1e9}
_BYTES_OF_A_WEIGHT = 16  # itself, its gradient and two of an optimizer's state
_LINES = {
    "tokens_per_second": "tokens a second",
    "step_ms": "step, ms: median (quartiles)",
    "mfu": "model FLOPs over the device's best",
    "padding_ratio": "padding's share of positions",
    "data_wait_ratio": "share of time waiting for data",
    "head_share": "vocabulary head's share of FLOPs",
    "optimizer_share": "optimizer's share of time",
    "memory_gb": "peak memory, GB",
}


class Bench(Action):
    """Measure how fast a preset trains on this machine, and how long some numbers of tokens would take.

    The real training loop works on random tokens, in sentences and documents of as many lengths as text has, so that no
    data is needed; nothing is kept. The meters are those of the log (``ptft.training.meters``). Torch's compiler is
    left out. Memory is what torch allocated on a CUDA device, elsewhere all of the process, libraries included.
    """

    name: ClassVar[str] = "bench"
    preset: str
    """The shape of the model (see ``ptft list presets``)."""
    shape: dict[str, bool | int | float | str] = {}
    """Attributes of the architecture's configuration that replace the preset's."""
    vocab_size: int = Field(8192, ge=64)
    """Tokens of the vocabulary."""
    objective: tuple[Annotated[Objective, Choice(OBJECTIVES)], ...] = ()
    """What is learned; empty takes masked_lm for an encoder, causal_lm for a decoder."""
    length: int = Field(128, ge=8)
    """Tokens of a row."""
    rows_per_step: int = Field(32, ge=1)
    """Rows of one update."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches of one update."""
    optimizer: Annotated[OptimizerSettings, Choice(OPTIMIZERS)] = AdamW()
    """How weights are updated."""
    precision: tuple[Precision, ...] = ()
    """Of matrix products, each measured; empty takes fp32, and bf16 where the hardware has it."""
    attention: tuple[Literal["auto", "sdpa", "eager"], ...] = ("auto",)
    """Attention by torch's fused kernel (sdpa) or plain products (eager), each measured; auto as training chooses."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 leaves torch's choice."""
    seconds: float = Field(60, gt=0, le=3600)
    """Time of all measurements together, their preparation left out."""
    seed: int = Field(0, ge=0)
    """Of weights and tokens."""
    format: Literal["table", "json"] = "table"
    """What is printed."""

    def check(self) -> None:
        """The model can be made and trained in each precision."""
        PRESETS[self.preset]
        if not self.attention:
            raise RecipeError("attention: name at least one of auto, sdpa, eager")
        if sharding_asked():
            raise DeviceError("bench: is not for FSDP, whose weights are spread over processes; leave out --use_fsdp")
        self._step("fp32").check()
        for precision in self.precision:
            resolve_precision(precision)

    def do(self, display: Display) -> str:
        """A column for each precision and attention."""
        self.check()
        found = self._found(Silent() if self.format == "json" else display)
        return json.dumps(found, indent=1) if self.format == "json" else _text(found)

    def _found(self, display: Display) -> dict[str, Any]:
        kinds = [(precision, attention) for precision in self._precisions() for attention in self.attention]
        with threads(self.threads):
            rows = [self._measured(*kind, self.seconds / len(kinds), display) for kind in kinds]
            machine = environment()
        step = self._step("fp32")
        names = ",".join(objective.name for objective in step.objective)
        given = {"preset": self.preset, "objective": names, "optimizer": self.optimizer.name}
        sizes = {name: getattr(self, name) for name in ("vocab_size", "length", "rows_per_step", "accumulate")}
        with torch.device("meta"):
            parameters = new_model(planned_config(step, planned_tokenizer(step)), step.head, 0).num_parameters()
        return {**given, "parameters": parameters, **sizes, **machine, "rows": rows}

    def _precisions(self) -> tuple[str, ...]:
        given = self.precision or ("fp32", "auto")
        return tuple(dict.fromkeys(resolve_precision(precision) for precision in given))

    def _step(self, precision: str) -> Pretrain:
        """The pretraining that is measured."""
        usual = {"encoder": "masked_lm", "decoder": "causal_lm"}[PRESETS[self.preset].kind]
        own = {name: value for name, value in plain(self).items() if name in Pretrain.model_fields}
        own |= {
            "objective": own["objective"] or [usual],
            "precision": precision,
            "budget": "1000steps",
            "compile": False,
        }
        return load(Pretrain, base=own | {"corpus": {"path": "embedded"}}, base_origin="bench").settings

    def _measured(self, precision: str, attention: str, seconds: float, display: Display) -> dict[str, Any]:
        """The meters of one training of so many seconds."""
        step = self._step(precision)
        config = planned_config(step, planned_tokenizer(step))
        compute = Compute(step.precision)
        self._check_memory(step, compute)
        batches = text_batches(step, config)
        _forget_peak(compute)
        module, optimizers = prepared(step, config, compute)
        if attention != "auto":
            _set_attention(module.model, attention)
        flops = model_flops(module.model, step.length)
        row_flops = step.length * flops.of(1, batches.predictions_per_slot())
        peak = peak_flops(compute.device, compute.dtype)
        rate = Rate(row_flops / peak, 0.0)
        if tried := rows_to_try(row_flops, peak, step.rows_at_once(compute.num_processes)):
            rate = measured(step, module, optimizers, compute, random_rows(step, config, tried))
        step_seconds = rate.seconds(step.rows_per_step / compute.num_processes)
        self._check_time(step_seconds, seconds)
        listener = _Listener(display)
        plan = replace(
            step.plan(0, step.seed, seconds=seconds), checkpoint_every_steps=0,
            log_every_steps=max(1, round(seconds / step_seconds / _WINDOWS)),
        )  # fmt: skip
        fit(
            module, module.weights, batches, optimizers, step.schedule, compute, plan, listener,
            cost=Cost.on(compute, flops), what=f"{precision}, {attention} attention",
        )  # fmt: skip
        return {
            "precision": precision,
            "attention": str(module.model.config._attn_implementation),
            **_figures(listener.lines, rate.update_seconds),
            "memory_gb": _peak_gb(compute),
        }

    def _check_memory(self, step: Pretrain, compute: Compute) -> None:
        with torch.device("meta"):
            model = new_model(planned_config(step, planned_tokenizer(step)), step.head, 0)
        needed, free = _BYTES_OF_A_WEIGHT * model.num_parameters(), free_bytes(compute.device)
        if 0 < free < needed:
            raise DeviceError(
                f"preset: the weights of {self.preset} and what goes with them take {needed / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB are free on this device; give a smaller preset"
            )

    def _check_time(self, step_seconds: float, seconds: float) -> None:
        if _FEWEST_STEPS * step_seconds > seconds:
            number = len(self._precisions()) * len(self.attention)
            possible = int(self.rows_per_step * seconds / (_FEWEST_STEPS * step_seconds * _ROOM))
            fewer = f"rows_per_step={possible}" if possible and self.accumulate == 1 else "fewer rows_per_step"
            raise RecipeError(
                f"seconds: {self.seconds:g} are too few: a step of {self.rows_per_step} rows of {self.length} tokens "
                f"takes about {step_seconds:.3g} s here, and {number} x {_FEWEST_STEPS} are needed; give seconds="
                f"{_FEWEST_STEPS * number * step_seconds * _ROOM:.0f}, or {fewer}"
            )


@dataclass
class _Listener:
    """Keeps the lines of the log, and shows them."""

    display: Display
    lines: list[dict[str, float]] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.display.say(sentence)

    def progress(self, what: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        self.lines.append(dict(figures or {}))
        self.display.progress(what, done, total, figures)


def _figures(lines: list[dict[str, float]], update_seconds: float) -> dict[str, float]:
    """The meters over the lines of a log, the first tenth left out: at least one, in which the device warms up."""
    windows = []
    begin = {"tokens": 0.0, "step": 0.0}
    for before, line in pairwise([begin, *lines]):
        tokens, steps = line["tokens"] - before["tokens"], line["step"] - before["step"]
        windows.append((tokens / line["tokens_per_second"], tokens, steps, line))
    counted = windows[max(1, len(windows) // 10) :] or windows
    seconds = sum(window[0] for window in counted)
    low, middle, high = np.percentile([1000 * window[0] / window[2] for window in counted], [25, 50, 75]).tolist()
    figures = {
        "tokens_per_second": sum(window[1] for window in counted) / seconds,
        "step_ms": middle,
        "step_ms_low": low,
        "step_ms_high": high,
        "steps": float(sum(window[2] for window in counted)),
    }
    for name in ("mfu", "padding_ratio", "data_wait_ratio", "head_share"):
        figures[name] = sum(window[0] * window[3][name] for window in counted) / seconds
    figures["optimizer_share"] = min(1.0, 1000 * update_seconds / middle)
    return figures | {f"seconds_{name}": number / figures["tokens_per_second"] for name, number in _TOKENS.items()}


def _text(found: Mapping[str, Any]) -> str:
    """A line for each meter, and a column for each measurement."""
    rows = found["rows"]
    lines = [["", *(f"{row['precision']}, {row['attention']}" for row in rows)]]
    for name, label in _LINES.items():
        cells = [format_value(round(row[name]) if name == "tokens_per_second" else row[name]) for row in rows]
        if name == "step_ms":
            cells = [f"{row[name]:,.1f} ({row[f'{name}_low']:,.1f} to {row[f'{name}_high']:,.1f})" for row in rows]
        lines.append([label, *cells])
    lines += [
        [f"time of {name} tokens", *(format_duration(row[f"seconds_{name}"]) for row in rows)] for name in _TOKENS
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    title = (
        f"{found['preset']}, {found['parameters']:,} parameters with {found['vocab_size']:,} tokens; "
        f"{found['objective']}; {found['rows_per_step']} rows of {found['length']} tokens; {found['optimizer']}"
    )
    machine = f"{found['device']}; {found['threads']} thread{'s' if found['threads'] > 1 else ''}"
    return "\n".join([title, machine, "", *table])


def _set_attention(model: PreTrainedModel, attention: str) -> None:
    with suppress(ValueError):
        model.set_attn_implementation(attention)
    if model.config._attn_implementation != attention:
        raise RecipeError(
            f"attention: {model.config.model_type} has no {attention} attention in transformers; give another, or auto"
        )


def _forget_peak(compute: Compute) -> None:
    """Let the peak of memory begin anew, where the system can."""
    if compute.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(compute.device)
        return
    give_back_freed_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_gb(compute: Compute) -> float:
    """What torch allocated at most on a CUDA device, elsewhere what the process held at most."""
    if compute.device.type == "cuda":
        return torch.cuda.max_memory_allocated(compute.device) / 1e9
    with suppress(OSError):
        if peak := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()):
            return int(peak[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
