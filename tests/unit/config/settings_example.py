"""A recipe with a field of every kind, for the tests of settings."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ptft.config import Choice, Settings, load
from ptft.errors import RecipeError
from ptft.family import Family


class OptimizerSettings(Settings):
    name: ClassVar[str]


class Schedule(Settings):
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps."""
    shape: Literal["linear", "cosine"] = "linear"


class AdamW(OptimizerSettings):
    name: ClassVar[str] = "adamw"
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01


class Muon(OptimizerSettings):
    name: ClassVar[str] = "muon"
    lr: float = Field(0.02, gt=0)
    momentum: float
    where: Path = Path("muon")
    schedule: Schedule = Schedule(shape="cosine")


OPTIMIZERS: Family[type[OptimizerSettings]] = Family("optimizer", "nowhere", OptimizerSettings)
vars(OPTIMIZERS)["_members"] = {"adamw": (AdamW, Path("adamw.py")), "muon": (Muon, Path("muon.py"))}

Optimizer = Annotated[OptimizerSettings, Choice(OPTIMIZERS)]


class Training(Settings):
    num_steps: int = Field(ge=1)
    """How many updates,
    at least one."""
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _check(self) -> "Training":
        if self.num_steps == 13:
            raise ValueError("num_steps of 13 brings bad luck; take 12")
        return self


class Counts(Settings):
    even: int = 0
    twice: int = Field(default_factory=lambda values: 2 * values["even"])

    @field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise PydanticCustomError("odd", "Input should be even")
        return value


class Recipe(Settings):
    model: str
    """Folder of the model."""
    text: str = Field("text", max_length=12)
    seeds: int | tuple[int, ...] = 5
    k: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1)
    files: tuple[str, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    budget: float | Literal["auto"] = "auto"
    label: int | str = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    resume: bool = True
    out: Path = Path("runs/out")
    tests: dict[str, Path] = {}
    words: dict[str, tuple[str, ...]] = {"pos": ("great",), "neg": ("awful",)}
    training: Training = Training(num_steps=10, schedule=Schedule(warmup_ratio=0.5))
    optimizer: Optimizer = AdamW(lr=5e-4)
    parts: tuple[Optimizer, ...] = ()
    named: dict[str, Optimizer] = {}
    limits: dict[str, int] = {}
    bound: Annotated[int, Field(gt=0)] | Literal["none"] = "none"

    @field_validator("out")
    @classmethod
    def _no_root(cls, value: Path) -> Path:
        if value == Path("/"):
            raise ValueError("out must not be the root folder")
        return value

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        if self.label == "both" and self.resume:
            raise ValueError("label=both needs resume=false")
        return self


def given(*overrides: str, **base: Any) -> Recipe:
    return load(Recipe, None, ["model=m", *overrides], base=base).settings


def refusal(*overrides: str, path: Path | None = None, base: dict[str, Any] | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        load(Recipe, path, ["model=m", *overrides], base=base)
    return str(caught.value)
