"""Several seeds of one fine-tuning: which ones, and what they come to together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptft.errors import RecipeError
from ptft.tasks.metrics import interval_over_seeds


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


def summary(records: Sequence[Mapping[str, Any]], metric: str = "accuracy") -> dict[str, float]:
    """Figures over the seeds: of each test set, with ``test.`` standing for the first, and of the validation rows.

    Each figure is the seeds' mean. With several seeds the main one has the interval of
    :func:`~ptft.tasks.metrics.interval_over_seeds` and ``sd``, their standard deviation; ``failed_seeds`` counts those
    that answer the same to all rows of the first test set.
    """
    figures: dict[str, float] = {}
    for number, test in enumerate(dict.fromkeys(record["test"] for record in records)):
        own = [record for record in records if record["test"] == test]
        names = [name for name, value in own[0].items() if _is_figure(name, value)]
        values = {name: float(np.mean([record[name] for record in own])) for name in names}
        if len(own) > 1:
            found, *ends = ([record[key] for record in own] for key in (metric, "low", "high"))
            values[metric], values["low"], values["high"] = interval_over_seeds(found, *ends)
            values["sd"] = float(np.std(found, ddof=1))
        figures |= {f"{test}.{name}": value for name, value in values.items()}
        if number == 0:
            figures |= {f"test.{name}": value for name, value in values.items()}
            figures["n"] = float(own[0]["n"])
            if len(own) > 1:
                figures["failed_seeds"] = float(sum(record["failed"] for record in own))
    for name in (name for name in records[0] if name.startswith("valid_")):
        figures[name.replace("_", ".", 1)] = float(np.mean([record[name] for record in records]))
    return figures


def _is_figure(name: str, value: object) -> bool:
    """Whether a record's entry is a figure of its test set, bounds of figures beside the main one left out."""
    is_fact = name in ("seed", "labels", "lr", "rows_per_step", "steps", "n", "failed") or name.startswith("valid_")
    is_bound = name.endswith(("_low", "_high"))
    return isinstance(value, int | float) and not is_fact and not is_bound
