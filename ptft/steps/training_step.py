"""The settings that pretraining and fine-tuning share, and what they make of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.compute import Compute, Deterministic, check_trackers, num_processes, resolve_precision
from ptft.config import Choice
from ptft.errors import DeviceError, RecipeError
from ptft.models.activation import fuse_activations
from ptft.models.attention import choose_attention
from ptft.models.building import config_hash
from ptft.models.checkpointing import checkpoint_layers
from ptft.models.compiling import compile_body
from ptft.optim.optimizer import Group, Optimizers, OptimizerSettings, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.optim.optimizers.adamw import AdamW
from ptft.optim.schedule import Schedule
from ptft.optim.schedules import SCHEDULES
from ptft.optim.schedules.decays import Linear
from ptft.sharding import sharding_asked
from ptft.steps.step import Step
from ptft.tokenization import tokenizer_hash
from ptft.training.budget import Budget
from ptft.training.checkpoint import kept_precision
from ptft.training.guard import GuardSettings
from ptft.training.session import Plan


class TrainingStep(Step):
    """A step that trains a model."""

    compiles_usually: ClassVar[bool] = False
    """Whether compiling pays for a step of this kind on a GPU."""
    budget: str = "3epochs"
    """How long: 5000steps, 2e9tokens, 100Mwords, 3epochs or 1e18flops; or a time: 90s, 30m, 2h.

    The tokens of a step are estimated from the run's first steps, so that a run may see a percent more or less; the
    result has what it saw. FLOPs are those of the log's mfu: forward and backward by formula. A time counts training
    alone, without evaluations, checkpoints and interruptions; ``positions.jsonl`` keeps where each step lay in it.
    """
    rows_per_step: int = Field(32, ge=1)
    """Rows (texts or windows) of one update, over all processes and micro-batches."""
    accumulate: int = Field(1, ge=1)
    """Micro-batches of a process in one update: more need less memory and change nothing else."""
    workers: int = Field(1, ge=0)
    """Threads that build batches ahead; 0 builds each when it is wanted. The batches are the same."""
    guard: GuardSettings = GuardSettings()
    """What is done with a step whose loss or gradient is no number, or with a spike (guard.policy, guard.spike)."""
    optimizer: Annotated[OptimizerSettings, Choice(OPTIMIZERS)] = AdamW()
    """How weights are updated (see ``ptft list optimizers``)."""
    lr: float = Field(1e-4, gt=0)
    """Peak learning rate."""
    schedule: Annotated[Schedule, Choice(SCHEDULES)] = Linear()
    """How the learning rate goes over the budget (see ``ptft list schedules``)."""
    clip_norm: float = Field(1.0, ge=0)
    """Largest gradient norm; 0 for no limit."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of a moving average of the weights, such as 0.999: it is what is evaluated and saved; 0 for none."""
    compile: bool | Literal["auto"] = "auto"
    """Let torch compile the model's body, before the first step: auto does for pretraining on a GPU.

    Rows are then padded to ``length``, so that all batches have one shape; ``recompilations`` in the log stays 0.
    """
    gradient_checkpointing: bool = False
    """Keep each layer's input only, and compute it once more on the way back: less memory, a third more time."""
    deterministic: Deterministic = "auto"
    """Give the same bits each time: auto does on a CPU; on a GPU true costs some speed, which the run says."""
    log_every_steps: int = Field(10, ge=1)
    """A line in metrics.jsonl each so many steps."""
    checkpoint_every_steps: int = Field(500, ge=0)
    """A resumable checkpoint each so many steps; 0 for none."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many checkpoints stay."""

    def check_training(self) -> None:
        """Refuse a budget, a precision, an optimizer, or a batch that does not divide among its micro-batches.

        Raises:
            RecipeError: One of them cannot be.
            DeviceError: The device lacks the precision, a tracker's library is not installed, or FSDP cannot be.
        """
        Budget.parse(self.budget)
        if 0 < self.guard.spike <= 1:
            raise RecipeError(
                f"guard.spike: a norm of {self.guard.spike:g} times the mean is no spike; give more than 1, such as "
                "10, or 0 for never"
            )
        resolve_precision(self.precision)
        self.compiles("")  # what is asked for, wherever it is
        check_trackers(self.trackers)
        probe = nn.Linear(1, 1)  # what torch refuses about a setting it refuses for any parameters
        self.optimizer.build(parameter_groups(probe.named_parameters(), 1.0, self.optimizer.weight_decay), probe)
        if sharding_asked():
            self._check_sharded()
        parts = self.accumulate * num_processes()
        if self.rows_per_step % parts:
            raise RecipeError(
                f"rows_per_step: {self.rows_per_step} rows cannot be shared equally by {num_processes()} "
                f"process(es) with accumulate={self.accumulate}; give a multiple of {parts}"
            )

    def _check_sharded(self) -> None:
        """Refuse what is not right when FSDP spreads the weights."""
        if not self.optimizer.may_be_sharded:
            raise DeviceError(
                f"optimizer: {self.optimizer.name} cannot update weights that FSDP spreads over processes; use adamw, "
                "or DDP (without --use_fsdp)"
            )

    def rows_at_once(self, processes: int) -> int:
        """Rows of a micro-batch with so many processes."""
        return max(1, self.rows_per_step // (self.accumulate * processes))

    def compiles(self, device_type: str) -> bool:
        """Whether torch compiles the model's body.

        ``compile=auto`` does for pretraining on a CUDA device. It does not on a CPU, where it costs time
        (``benchmarks/speed_compile.py`` measures it), nor for fine-tuning, which is often shorter than compiling and
        whose rows would all be padded to ``length``, nor under FSDP, where it is refused: its hooks between the layers
        break what is compiled into pieces.

        Compiled is one shape: micro-batches of full size, their rows padded to ``length``. Others go through the body
        eagerly (the end of a block, a batch that still grows, evaluation), so that nothing is compiled again after the
        first step but where memory was short, or where the number of texts in packed rows passes a power of two and
        attention needs no mask; ``recompilations`` in ``metrics.jsonl`` counts. Losses are those of the eager body but
        for rounding; dropout is drawn otherwise.

        Raises:
            DeviceError: It is asked for under FSDP.
        """
        if self.compile is True and sharding_asked():
            raise DeviceError("compile: true is not supported under FSDP; give compile=false, or use DDP")
        if self.compile == "auto":
            return self.compiles_usually and device_type == "cuda" and not sharding_asked()
        return self.compile

    def compute(self, folder: Path) -> Compute:
        """Processes, device and precision of a run; one that goes on keeps its precision."""
        return Compute(self.precision, self.trackers, folder, self.deterministic, kept=kept_precision(folder))

    def prepare(self, model: PreTrainedModel, compute: Compute, length: int) -> None:
        """Let a model be trained on rows of at most so many tokens as the settings say, in place.

        Raises:
            RecipeError: Its layers cannot be computed again on the way back.
        """
        choose_attention(model, compute.device.type, compute.precision, length)
        fuse_activations(model)
        if self.gradient_checkpointing:
            checkpoint_layers(model)
        if self.compiles(compute.device.type):
            compile_body(model, deterministic=compute.is_deterministic)

    def plan(
        self, steps: int, seed: int, *, compiled: bool = False, seconds: float = 0.0, evaluate_every_steps: int = 0
    ) -> Plan:
        """The numbers of one training of so many steps, or else seconds."""
        return Plan(
            steps=steps,
            seconds=seconds,
            seed=seed,
            accumulate=self.accumulate,
            clip_norm=self.clip_norm,
            log_every_steps=self.log_every_steps,
            checkpoint_every_steps=self.checkpoint_every_steps,
            keep_checkpoints=self.keep_checkpoints,
            evaluate_every_steps=evaluate_every_steps,
            workers=self.workers,
            guard=self.guard,
            compiled=compiled,
        )

    def identity(
        self, data: Mapping[str, str], tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, steps: int
    ) -> dict[str, Any]:
        """What a continued run must find again, by its name for people: the recipe has but names of it.

        Args:
            data: Hashes of what is trained and evaluated on.
            tokenizer, model, steps: As they are now.
        """
        return {
            **data,
            "tokenizer": tokenizer_hash(tokenizer),
            "model": config_hash(model.config),
            "optimizer": self.optimizer.name,
            "steps": steps,
        }

    def optimizers(self, module: nn.Module, compute: Compute, lr: float, centered: Iterable[Tensor] = ()) -> Optimizers:
        """The optimizers of a module's trainable parameters, with the peak rate ``lr``; rows of some stay centered."""
        groups = parameter_groups(module.named_parameters(), lr, self.optimizer.weight_decay)
        return self.built(groups, module, compute, centered)

    def built(
        self, groups: list[Group], module: nn.Module, compute: Compute, centered: Iterable[Tensor] = ()
    ) -> Optimizers:
        """The optimizers of some groups of a module's parameters."""
        return Optimizers(self.optimizer.build(groups, module), compute.scaler, centered, self.ema)
