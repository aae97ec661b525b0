"""How long a run lasts: steps, tokens, words or epochs, turned into a number of steps."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ptft.errors import RecipeError

Unit = Literal["steps", "tokens", "words", "epochs"]
_UNITS = "steps, tokens, words or epochs"
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9}
_MOST = 1e15
_FORM = re.compile(r"(?P<number>\d+(?:\.\d*)?(?:[eE]\+?\d+)?)\s*(?P<factor>[kMB]?)\s*(?P<unit>[a-z]+)")


@dataclass(frozen=True)
class Budget:
    """An amount of training."""

    amount: float
    unit: Unit

    @staticmethod
    def parse(text: str) -> "Budget":
        """Read ``5000steps``, ``2e9tokens``, ``100Mwords`` or ``3epochs``.

        Raises:
            RecipeError: The text is none of these.

        Example:
            >>> Budget.parse("1.5Mtokens")
            Budget(amount=1500000.0, unit='tokens')
        """
        match = _FORM.fullmatch(text.strip())
        unit = match["unit"] if match else ""
        unit = unit if unit.endswith("s") else unit + "s"
        if not match or unit not in ("steps", "tokens", "words", "epochs"):
            raise RecipeError(
                f"budget: {text!r} is no amount of training; give a number of {_UNITS}, such as 5000steps or 3epochs"
            )
        amount = float(match["number"]) * _FACTORS[match["factor"]]
        if not 0 < amount <= _MOST:
            raise RecipeError(f"budget: must be more than nothing and at most {_MOST:g} {unit}, got {text!r}")
        return Budget(amount, unit)  # type: ignore[arg-type]

    def steps(self, *, steps_per_epoch: int, tokens_per_step: Callable[[], float], words_per_token: float) -> int:
        """The number of steps, at least one.

        Args:
            steps_per_epoch: Of the data.
            tokens_per_step: Gives the real tokens of a step, on average; asked only where they decide.
            words_per_token: Whitespace words of the corpus for each of its tokens.
        """
        if self.unit == "steps":
            return max(1, round(self.amount))
        if self.unit == "epochs":
            return max(1, round(self.amount * steps_per_epoch))
        words_or_tokens = words_per_token if self.unit == "words" else 1.0
        return max(1, round(self.amount / (tokens_per_step() * words_or_tokens)))
