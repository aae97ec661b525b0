"""The step ``curve``: what pretraining buys at each number of labels, beside training from scratch."""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from ptft.compute import Compute, limit_threads
from ptft.config import load, plain
from ptft.errors import RecipeError
from ptft.steps.finetune import Encoded, Finetune, score, train_one
from ptft.steps.finetune_settings import FinetuneSettings
from ptft.steps.folder import parent
from ptft.steps.seeds import seed_list
from ptft.steps.step import Place, Result
from ptft.tasks.metrics import mean_interval, paired_interval
from ptft.tasks.table import subset
from ptft.tasks.task import TaskData
from ptft.tokenization import tokenizer_hash
from ptft.training.logbook import Logbook, read_log

Method = Literal["pretrained", "scratch"]
Count = int | Literal["all"]
Record = dict[str, Any]


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
        self.check_model()
        for count in self.labels:
            _part(data, count, 0)
        seed_list(self.seeds, self.seed)

    def work(self, place: Place) -> Result:
        """Every cell that is not done yet; figures are means over seeds."""
        limit_threads(self.threads)
        compute = Compute(self.precision, (), place.folder, self.deterministic)
        data, notes = self.check_data()
        for note in notes:
            place.display.say(note)
        tokenizer = self.open_tokenizer(data)
        cells = _Cells(self, Encoded.of(data, tokenizer, self.length), tokenizer, compute, place)
        seeds = seed_list(self.seeds, self.seed)
        pairs = [(method, count) for count in self.labels for method in self.methods]
        records: list[Record] = []
        for number, (method, count) in enumerate(pairs):
            first = {lr: cells.rows(method, count, seeds[0], lr) for lr in self.lr}
            chosen = max(first, key=lambda lr: first[lr][0]["valid_accuracy"])
            found = [*first[chosen], *(row for seed in seeds[1:] for row in cells.rows(method, count, seed, chosen))]
            records += found
            mean = float(np.mean([row["value"] for row in found if row["test"] == found[0]["test"]]))
            place.display.progress("cells", number + 1, len(pairs), {"labels": found[0]["labels"], "accuracy": mean})
        lineage = {
            "step": self.name,
            "task": {"name": data.name, "labels": list(data.labels), "train_rows": len(data.train)},
            "tokenizer": {"hash": tokenizer_hash(tokenizer)},
            "parents": [parent(self.model)] if self.model else [],
            "seeds": seeds,
        }
        return Result(_figures(records, self.methods), records, lineage)

    def cell_settings(self, method: Method) -> FinetuneSettings:
        """The settings of one fine-tuning."""
        values = {
            k: v for k, v in plain(self).items() if k in Finetune.model_fields and k not in ("labels", "seeds", "lr")
        }
        values["init"] = method
        return load(Finetune, base=values, base_origin="curve").settings


@dataclass(frozen=True)
class _Cells:
    """The fine-tunings of a curve; each is written down when it is done, and an interrupted curve goes on behind it."""

    settings: Curve
    encoded: Encoded
    tokenizer: PreTrainedTokenizerBase
    compute: Compute
    place: Place

    def rows(self, method: Method, count: Count, seed: int, lr: float) -> list[Record]:
        """One record a test set."""
        log = self.place.folder / "cells.jsonl"
        key = {"method": method, "labels": count, "seed": seed, "lr": lr}
        for line in read_log(log):
            if line["cell"] == key:
                rows: list[Record] = line["records"]
                return rows
        rows = self._measure(method, count, seed, lr)
        if self.compute.is_main:
            Logbook(log, sys.maxsize).write({"cell": key, "records": rows})
        return rows

    def _measure(self, method: Method, count: Count, seed: int, lr: float) -> list[Record]:
        data = self.encoded.data
        some = _part(data, count, seed)
        classifier, _, _ = train_one(
            self.settings.cell_settings(method), self.encoded.with_train(some), self.tokenizer, seed, self.compute,
            self.place.display, lr=lr, what=f"{method}, {count} labels, seed {seed}",
        )  # fmt: skip
        valid, _ = score(classifier, data.valid, self.encoded.valid, self.compute)
        facts = {"task": data.name, "method": method, "labels": len(some.train), "seed": seed, "lr": lr}
        facts["valid_accuracy"] = valid["accuracy"]
        rows = []
        for test, texts in self.encoded.tests.items():
            figures, _ = score(classifier, data.tests[test], texts, self.compute)
            rows.append({**facts, "test": test, "value": figures["accuracy"], **figures})
        return rows


def _part(data: TaskData, count: Count, seed: int) -> TaskData:
    return data if count == "all" else subset(data, count, seed)


def _figures(records: list[Record], methods: tuple[Method, ...]) -> dict[str, float]:
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
