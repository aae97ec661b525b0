"""How long a run lasts: steps, tokens, words, epochs or FLOPs, turned into a number of steps, or a time."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ptft.errors import RecipeError

Unit = Literal["steps", "tokens", "words", "epochs", "flops", "seconds"]
_COUNTED: tuple[Unit, ...] = ("steps", "tokens", "words", "epochs", "flops")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}
_MOST: dict[Unit, float] = {"flops": 1e30, "seconds": 1e9}
_FORM = re.compile(r"(?P<number>\d+(?:\.\d*)?(?:[eE]\+?\d+)?)\s*(?P<factor>[kMB]?)\s*(?P<unit>[a-z]+)")


@dataclass(frozen=True)
class Budget:
    """An amount of training."""

    amount: float
    unit: Unit

    @staticmethod
    def parse(text: str) -> "Budget":
        """Read ``5000steps``, ``2e9tokens``, ``100Mwords``, ``3epochs``, ``1e18flops``, ``90s``, ``30m`` or ``2h``.

        Raises:
            RecipeError: The text is none of these.

        Example:
            >>> Budget.parse("1.5Mtokens")
            Budget(amount=1500000.0, unit='tokens')
            >>> Budget.parse("30m")
            Budget(amount=1800.0, unit='seconds')
        """
        match = _FORM.fullmatch(text.strip())
        amount, unit = _read(match) if match else (0.0, None)
        if unit is None:
            raise RecipeError(
                f"budget: {text!r} is no amount of training; give a number of steps, tokens, words, epochs or flops, "
                "such as 5000steps, 2e9tokens, 100Mwords, 3epochs or 1e18flops (k, M, B: thousand, million, billion), "
                "or a time in seconds, minutes or hours: 90s, 30m, 2h"
            )
        most = _MOST.get(unit, 1e15)
        if not 0 < amount <= most:
            raise RecipeError(f"budget: must be more than nothing and at most {most:g} {unit}, got {text!r}")
        return Budget(amount, unit)

    def steps(
        self,
        *,
        steps_per_epoch: float,
        tokens_per_step: Callable[[], float],
        words_per_step: Callable[[], float],
        flops_per_step: Callable[[], float],
    ) -> int:
        """The number of steps, at least one; 0 where the budget is a time, which no number of steps is known for.

        Args:
            steps_per_epoch: Of the data.
            tokens_per_step: Gives the real tokens of a step, on average; this and the others are asked only where they
                decide.
            words_per_step: Gives the whitespace words of a step, on average.
            flops_per_step: Gives the training FLOPs of a step, on average (see :mod:`ptft.models.flops`).
        """
        if self.unit == "seconds":
            return 0
        if self.unit == "steps":
            return max(1, round(self.amount))
        if self.unit == "epochs":
            return max(1, round(self.amount * steps_per_epoch))
        if self.unit == "flops":
            return max(1, round(self.amount / flops_per_step()))
        return max(1, round(self.amount / (words_per_step() if self.unit == "words" else tokens_per_step())))

    @property
    def seconds(self) -> float:
        """The time, or 0 where the budget is another amount."""
        return self.amount if self.unit == "seconds" else 0.0


def _read(match: re.Match[str]) -> tuple[float, Unit | None]:
    """Amount and unit; a time takes no factor, so that the M of a million is never taken for the m of minutes."""
    number, factor, written = float(match["number"]), match["factor"], match["unit"]
    if written in _SECONDS:
        return number * _SECONDS[written], None if factor else "seconds"
    unit = next((unit for unit in _COUNTED if written in (unit, unit.removesuffix("s"))), None)
    return number * _FACTORS[factor], unit
