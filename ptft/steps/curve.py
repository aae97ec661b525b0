"""The step ``curve``: what pretraining buys at each number of labels, beside training from scratch."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ptft.compute import Compute, limit_threads
from ptft.config import load, plain
from ptft.errors import RecipeError
from ptft.steps.finetune import Encoded, Finetune, FinetuneSettings, score, seed_list, train_one
from ptft.steps.folder import parent
from ptft.steps.step import Place, Result
from ptft.tasks.metrics import mean_interval, paired_interval
from ptft.tasks.table import subset
from ptft.tasks.task import TaskData
from ptft.tokenization import tokenizer_hash

Method = Literal["pretrained", "scratch"]


class Curve(FinetuneSettings):
    """Fine-tune at several numbers of labels, from the checkpoint and from scratch, with several seeds each.

    With several learning rates each cell takes the one that is best on the validation rows with the first seed.
    """

    name: ClassVar[str] = "curve"
    methods: tuple[Method, ...] = ("pretrained", "scratch")
    """What is compared: the checkpoint's weights, and fresh ones in the same shape."""
    labels: tuple[int | Literal["all"], ...] = (16, 64, 256)
    """Numbers of labelled training rows; all for every one."""
    seeds: int | tuple[int, ...] = 5
    """How many seeds, or which ones: each draws other rows, another order and another head."""
    lr: tuple[float, ...] = (3e-4,)  # type: ignore[assignment]
    """Peak learning rates to choose from on the validation rows."""

    def check(self) -> None:
        """Read everything that can be read."""
        if any(rate <= 0 for rate in self.lr) or not self.lr:
            raise RecipeError(f"lr: must be one or several rates above 0, got {list(self.lr)}")
        if not self.methods or not self.labels:
            raise RecipeError("methods and labels: name at least one of each")
        data, _ = self.check_data()
        for count in self.labels:
            _part(data, count, 0)
        seed_list(self.seeds, self.seed)

    def work(self, place: Place) -> Result:
        """Every cell; figures are means over seeds."""
        limit_threads(self.threads)
        compute = Compute(self.precision, (), place.folder)
        data, notes = self.check_data()
        for note in notes:
            place.display.say(note)
        tokenizer = self.open_tokenizer(data)
        everything = Encoded.of(data, tokenizer, self.length)
        seeds = seed_list(self.seeds, self.seed)
        records: list[dict[str, Any]] = []
        cells = [(method, count) for count in self.labels for method in self.methods]
        for number, (method, count) in enumerate(cells):
            cell = self._cell_settings(method)
            num_rows = len(data.train) if count == "all" else count

            def run(seed: int, lr: float, method: str = method, count: int | Literal["all"] = count,
                    cell: FinetuneSettings = cell) -> tuple[float, list[dict[str, Any]]]:  # fmt: skip
                some = _part(data, count, seed)
                classifier, _, _ = train_one(
                    cell, everything.with_train(some), tokenizer, seed, compute, place.display, lr=lr,
                    what=f"{method}, {count} labels, seed {seed}",
                )  # fmt: skip
                valid, _ = score(classifier, data.valid, everything.valid, compute)
                facts = {"task": data.name, "method": method, "labels": len(some.train), "seed": seed, "lr": lr}
                facts["valid_accuracy"] = valid["accuracy"]
                rows = []
                for test, texts in everything.tests.items():
                    figures, _ = score(classifier, data.tests[test], texts, compute)
                    rows.append({**facts, "test": test, "value": figures["accuracy"], **figures})
                return valid["accuracy"], rows

            first = {lr: run(seeds[0], lr) for lr in self.lr}
            chosen = max(first, key=lambda lr: first[lr][0])
            found = [*first[chosen][1], *(row for seed in seeds[1:] for row in run(seed, chosen)[1])]
            records += found
            mean = float(np.mean([row["value"] for row in found if row["test"] == found[0]["test"]]))
            place.display.progress("cells", number + 1, len(cells), {"labels": num_rows, "accuracy": mean})
        lineage = {
            "step": self.name,
            "task": {"name": data.name, "labels": list(data.labels), "train_rows": len(data.train)},
            "tokenizer": {"hash": tokenizer_hash(tokenizer)},
            "parents": [parent(self.model)] if self.model else [],
            "seeds": seeds,
        }
        return Result(_figures(records, self.methods), records, lineage)

    def _cell_settings(self, method: Method) -> FinetuneSettings:
        values = {k: v for k, v in plain(self).items() if k in Finetune.model_fields and k not in ("labels", "seeds", "lr")}
        values["init"] = method
        return load(Finetune, base=values, base_origin="curve").settings


def _part(data: TaskData, count: int | Literal["all"], seed: int) -> TaskData:
    return data if count == "all" else subset(data, count, seed)


def _figures(records: list[dict[str, Any]], methods: tuple[Method, ...]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for test in dict.fromkeys(record["test"] for record in records):
        for labels in dict.fromkeys(record["labels"] for record in records):
            values = {}
            for method in methods:
                own = [r["value"] for r in records if (r["test"], r["labels"], r["method"]) == (test, labels, method)]
                values[method] = own
                name = f"{test}.{labels}.{method}"
                figures[name], figures[f"{name}.low"], figures[f"{name}.high"] = mean_interval(own)
            if len(methods) > 1:
                difference = paired_interval(values[methods[0]], values[methods[1]])
                name = f"{test}.{labels}.difference"
                figures[name], figures[f"{name}.low"], figures[f"{name}.high"] = difference
    return figures
