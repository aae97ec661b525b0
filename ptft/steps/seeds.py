"""Several seeds of one fine-tuning: which ones, and what they come to together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptft.errors import RecipeError
from ptft.tasks.metrics import mean_interval


def seed_list(seeds: int | tuple[int, ...], first: int) -> list[int]:
    """The seeds that a count or a list means.

    Raises:
        RecipeError: There is none.
    """
    chosen = list(range(first, first + seeds)) if isinstance(seeds, int) else list(seeds)
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        got = seeds if isinstance(seeds, int) else list(seeds)
        raise RecipeError(f"seeds: must be a count of at least 1 or a list of different numbers from 0, got {got}")
    return chosen


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Figures over the seeds: of each test set, with ``test.`` standing for the first, and ``valid.accuracy``.

    With several seeds an accuracy is their mean, with Student's interval.
    """
    figures: dict[str, float] = {}
    tests = list(dict.fromkeys(record["test"] for record in records))
    for number, test in enumerate(tests):
        own = [record for record in records if record["test"] == test]
        values = {
            name: float(np.mean([record[name] for record in own]))
            for name in ("accuracy", "low", "high", "macro_f1", "mcc", "majority")
        }
        if len(own) > 1:
            values["accuracy"], values["low"], values["high"] = mean_interval([record["accuracy"] for record in own])
        figures |= {f"{test}.{name}": value for name, value in values.items()}
        if number == 0:
            figures |= {f"test.{name}": value for name, value in values.items()}
            figures["n"] = float(own[0]["n"])
    figures["valid.accuracy"] = float(np.mean([record["valid_accuracy"] for record in records]))
    return figures
