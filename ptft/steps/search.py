"""A small search over learning rate, rows of a step and epochs, decided by the validation rows alone."""

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ptft.errors import TrainingError
from ptft.steps.finetune_settings import FinetuneSettings
from ptft.steps.step import Place
from ptft.training.interruption import Interrupted
from ptft.training.logbook import Logbook, read_log

Search = Literal["none", "bert_grid", "small_bert_grid"]
S = TypeVar("S", bound=FinetuneSettings)


SEARCHED = ("lr", "rows_per_step", "budget")
"""The settings that a search decides about."""


@dataclass(frozen=True)
class Grid:
    """What is tried, each with each."""

    rates: tuple[float, ...]
    rows_per_step: tuple[int, ...]
    epochs: tuple[int, ...]

    def points(self, num_rows: int) -> Iterator[dict[str, Any]]:
        """The settings of each training on so many rows: of steps with more rows than there are the smallest counts."""
        sizes = {min(rows, num_rows): rows for rows in sorted(self.rows_per_step, reverse=True)}
        for lr, rows, epochs in itertools.product(self.rates, sorted(sizes.values()), self.epochs):
            yield {"lr": lr, "rows_per_step": rows, "budget": f"{epochs}epochs"}


GRIDS: Mapping[str, Grid] = {
    # Devlin et al. 2019, arXiv 1810.04805, appendix A.3
    "bert_grid": Grid((5e-5, 3e-5, 2e-5), (16, 32), (2, 3, 4)),
    # Turc et al. 2019, arXiv 1908.08962, as its models' own page says it for the smaller ones
    "small_bert_grid": Grid((3e-4, 1e-4, 5e-5, 3e-5), (8, 16, 32, 64, 128), (4,)),
}


def searched(
    settings: S, search: str, num_rows: int, valid: Callable[[S], float], place: Place, *, is_main: bool
) -> tuple[S, list[dict[str, Any]]]:
    """The settings that are best on the validation rows, and what every point of the grid scored on them.

    Each point is one training with the first seed, of so many epochs whatever ``min_steps`` is; of equal ones the first
    counts. One whose training cannot go on is the worst. What is done is kept in ``search.jsonl``, and a search that
    was interrupted goes on behind it.

    Args:
        settings: Of everything that is not searched.
        search: The grid's name.
        num_rows: Of the training.
        valid: Trains by some settings and gives the main figure of the validation rows.
        place: Where the run works.
        is_main: Whether this process writes.

    Raises:
        TrainingError: No point could be trained to its end.
        Interrupted: A signal asked to stop.
    """
    log = place.folder / "search.jsonl"
    done = read_log(log)
    points = list(GRIDS[search].points(num_rows))
    settings = settings.model_copy(update={"min_steps": 0})
    for point in points[len(done) :]:
        try:
            found: dict[str, Any] = {"valid": valid(settings.model_copy(update=point))}
        except TrainingError as error:
            found = {"valid": None, "error": str(error)}
            place.display.say(f"search, {words_of(point)}: {error}; it counts as the worst")
        except Interrupted as stop:
            sentence = f"stopped after {len(done)} of {len(points)} points of the search"
            raise Interrupted(sentence, stop.signal_number) from None
        done.append({**point, **found})
        if is_main:
            Logbook(log, sys.maxsize).write(done[-1])
    trained = [point for point in done if point["valid"] is not None]
    if not trained:
        raise TrainingError(f"search: no point of {search} could be trained to its end; the first: {done[0]['error']}")
    best = max(trained, key=lambda point: point["valid"])
    chosen = {name: best[name] for name in SEARCHED}
    place.display.say(f"best of {len(done)} on the validation rows: {words_of(chosen)}")
    return settings.model_copy(update=chosen), done


def words_of(point: Mapping[str, Any]) -> str:
    """What is searched, as it is given on the command line.

    Example:
        >>> words_of({"lr": 5e-5, "rows_per_step": 16, "budget": "2epochs"})
        'lr=5e-05 rows_per_step=16 budget=2epochs'
    """
    return f"lr={point['lr']:g} rows_per_step={point['rows_per_step']} budget={point['budget']}"
