"""A small search over learning rate, rows of a step and epochs, decided by the validation rows alone."""

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from ptft.steps.finetune_settings import FinetuneSettings
from ptft.training.logbook import Logbook, read_log

Search = Literal["none", "bert_grid", "small_bert_grid"]
S = TypeVar("S", bound=FinetuneSettings)


@dataclass(frozen=True)
class Grid:
    """What is tried, each with each."""

    rates: tuple[float, ...]
    rows_per_step: tuple[int, ...]
    epochs: tuple[int, ...]

    def points(self) -> Iterator[dict[str, Any]]:
        """The settings of each training."""
        for lr, rows, epochs in itertools.product(self.rates, self.rows_per_step, self.epochs):
            yield {"lr": lr, "rows_per_step": rows, "budget": f"{epochs}epochs"}


GRIDS: Mapping[str, Grid] = {
    # Devlin et al. 2019, arXiv 1810.04805, appendix A.3
    "bert_grid": Grid((5e-5, 3e-5, 2e-5), (16, 32), (2, 3, 4)),
    # Turc et al. 2019, arXiv 1908.08962, as its models' own page says it for the smaller ones
    "small_bert_grid": Grid((3e-4, 1e-4, 5e-5, 3e-5), (8, 16, 32, 64, 128), (4,)),
}


def searched(
    settings: S, search: str, valid: Callable[[S], float], folder: Path, *, is_main: bool
) -> tuple[S, list[dict[str, Any]]]:
    """The settings that are best on the validation rows, and what every point of the grid scored on them.

    Each point is one training with the first seed; of equal ones the first counts. What is done is kept in
    ``search.jsonl``, and a search that was interrupted goes on behind it.

    Args:
        settings: Of everything that is not searched.
        search: The grid's name.
        valid: Trains by some settings and gives the main figure of the validation rows.
        folder: The run folder.
        is_main: Whether this process writes.
    """
    log = folder / "search.jsonl"
    done = read_log(log)
    points = []
    for number, point in enumerate(GRIDS[search].points()):
        if number >= len(done):
            done.append({**point, "valid": valid(settings.model_copy(update=point))})
            if is_main:
                Logbook(log, sys.maxsize).write(done[-1])
        points.append(done[number])
    best = max(points, key=lambda point: point["valid"])
    return settings.model_copy(update={name: best[name] for name in ("lr", "rows_per_step", "budget")}), points
