"""The verb ``compare``: tokenizers side by side on one text, or two prompted models on the same documents."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.actions.action import Action
from ptft.corpus.sources import CorpusSettings, beginning, documents
from ptft.display import Display
from ptft.errors import DataError, RecipeError
from ptft.prompting.methods import METHODS
from ptft.prompting.records import ChoiceRecord, answers_of, evaluations, read_records
from ptft.prompting.results import scores_of
from ptft.prompting.statistics import check_same_documents, credit, paired_test
from ptft.report.scripts import script_rows
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.tokenization import load_tokenizer, tokenizer_folder
from ptft.tokenization.quality import MEASURED_BYTES, Quality
from ptft.tokenization.sampling import Sample

_TWO = 2
_Hits = dict[tuple[str, int], tuple[list[str], Float[ndarray, " documents"]]]


class Compare(Action):
    """Measure tokenizers side by side on a text, or test whether two prompted models differ on the same documents.

    Of tokenizers it tells compression, words in pieces and unknown tokens, by script. Of two runs of ``ptft prompt`` it
    tells for each task and number of shots both accuracies, their difference with its 95 % interval over documents, and
    how probable so large a difference is by chance (McNemar's mid-p and the paired bootstrap's).
    """

    name: ClassVar[str] = "compare"
    tokenizers: tuple[str, ...] = ()
    """Folders, run folders or Hub names."""
    runs: tuple[str, ...] = ()
    """Two run folders of ptft prompt."""
    method: str = "raw"
    """The scoring method by which runs are compared."""
    corpus: CorpusSettings = CorpusSettings(valid_ratio=0)
    """The text for tokenizers; two megabytes of it are measured, drawn evenly."""

    def check(self) -> None:
        """All tokenizers can be opened and the text be read, or both runs have their records."""
        if bool(self.tokenizers) == bool(self.runs):
            raise RecipeError("tokenizers: name at least one, a folder or Hub name; or name two runs of ptft prompt")
        if self.runs:
            self._check_runs()
            return
        if self.changed("method"):
            raise RecipeError("method has no effect on tokenizers; leave it out")
        for name in self.tokenizers:
            load_tokenizer(tokenizer_folder(name))
        beginning(self.corpus, 0)

    def _check_runs(self) -> None:
        METHODS[self.method]
        if len(self.runs) != _TWO:
            raise RecipeError(f"runs is {', '.join(self.runs)!r}; allowed: two run folders of ptft prompt")
        if self.changed("corpus"):
            raise RecipeError("corpus has no effect on runs; leave it out")
        for run in self.runs:
            read_records(Path(run) / "choices.jsonl")

    def do(self, display: Display) -> str:
        """A line for each script and tokenizer, or for each task and number of shots."""
        self.check()
        rows = self._run_rows() if self.runs else self._tokenizer_rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    def _tokenizer_rows(self) -> list[list[str]]:
        text = Sample(documents(self.corpus, "train", 0, evaluation_texts(self.corpus, 0)), MEASURED_BYTES, 0)
        records = []
        for name in self.tokenizers:
            records += Quality(load_tokenizer(tokenizer_folder(name)), text).records(name)
        return script_rows(records)

    def _run_rows(self) -> list[list[str]]:
        one, other = (_hits(read_records(Path(run) / "choices.jsonl"), self.method) for run in self.runs)
        shared = [key for key in one if key in other]
        if not shared:
            raise DataError(f"{self.runs[0]!r} and {self.runs[1]!r} share no task and number of shots; compare others")
        rows = [["task", "k", "n", "first", "second", "difference", "mid-p", "bootstrap p"]]
        for task, k in shared:
            (documents_of_one, first), (documents_of_other, second) = one[task, k], other[task, k]
            check_same_documents(documents_of_one, documents_of_other)
            found = paired_test(first, second, seed=0)
            gain = found.difference
            means = [f"{first.mean():.3f}", f"{second.mean():.3f}"]
            span = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
            rows.append([task, str(k), str(len(first)), *means, span, f"{found.mid_p:.3f}", f"{found.bootstrap_p:.3f}"])
        return rows


def _hits(records: Iterable[ChoiceRecord], method: str) -> _Hits:
    """For each task and number of shots the documents, and what each counts on average over seeds and forms."""
    scorer = METHODS[method]()
    found: dict[tuple[str, int], list[tuple[list[str], Float[ndarray, " documents"]]]] = {}
    for evaluation, questions in evaluations(records):
        gold = np.array([[record.is_gold for record in question].index(True) for question in questions])
        hits = credit(scores_of(scorer, answers_of(questions)), gold)
        found.setdefault((evaluation.task, evaluation.k), []).append(([q[0].document for q in questions], hits))
    return {key: (parts[0][0], np.mean([hits for _, hits in parts], axis=0)) for key, parts in found.items()}
