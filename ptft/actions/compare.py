"""The verb ``compare``: tokenizers side by side on one text."""

from typing import ClassVar

from ptft.actions.action import Action
from ptft.corpus.sources import CorpusSettings, beginning, documents
from ptft.display import Display
from ptft.errors import RecipeError
from ptft.report.scripts import script_rows
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.tokenization import load_tokenizer, tokenizer_folder
from ptft.tokenization.quality import MEASURED_BYTES, Quality
from ptft.tokenization.sampling import Sample


class Compare(Action):
    """Measure tokenizers side by side on a text: compression, words in pieces and unknown tokens, by script."""

    name: ClassVar[str] = "compare"
    tokenizers: tuple[str, ...]
    """Folders, run folders or Hub names."""
    corpus: CorpusSettings = CorpusSettings(valid_ratio=0)
    """The text; two megabytes of it are measured, drawn evenly."""

    def check(self) -> None:
        """All tokenizers can be opened and the text be read."""
        if not self.tokenizers:
            raise RecipeError("tokenizers: name at least one, a folder or Hub name")
        for name in self.tokenizers:
            load_tokenizer(tokenizer_folder(name))
        beginning(self.corpus, 0)

    def do(self, display: Display) -> str:
        """A line for each script and tokenizer."""
        self.check()
        text = Sample(documents(self.corpus, "train", 0, evaluation_texts(self.corpus, 0)), MEASURED_BYTES, 0)
        records = []
        for name in self.tokenizers:
            records += Quality(load_tokenizer(tokenizer_folder(name)), text).records(name)
        rows = script_rows(records)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
