"""The step ``tokenizer``: a vocabulary trained on text."""

from itertools import islice
from typing import ClassVar, Literal

from pydantic import Field

from ptft.compute import is_main
from ptft.corpus.cleaning import Report
from ptft.corpus.sources import CorpusSettings, beginning, documents, fingerprint, title
from ptft.steps.cleaning_report import show_cleaning
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.steps.step import Place, Result, Step
from ptft.tokenization import TokenizerSettings, tokenizer_hash, train_tokenizer
from ptft.tokenization.quality import text_figures

_MOST_HELD_OUT = 20_000  # sentences


class Tokenizer(Step):
    """Train a WordPiece or byte-level BPE tokenizer on text, and measure it on text that it has not seen."""

    name: ClassVar[str] = "tokenizer"
    corpus: CorpusSettings = CorpusSettings()
    """The text."""
    kind: Literal["wordpiece", "bpe"] = "wordpiece"
    """wordpiece (BERT's) or bpe (byte-level, GPT-2's)."""
    vocab_size: int = Field(8192, ge=64)
    """Number of tokens, special tokens included; a small corpus may fill fewer."""
    lowercase: bool = True
    """Lower-case the text first (wordpiece only)."""
    prefix_space: bool = False
    """Put a space before the first word (bpe only)."""
    model_max_length: int = Field(512, ge=8)
    """Longest input in tokens of the models it is for."""

    def check(self) -> None:
        """The vocabulary can be made and the corpus read."""
        self._settings().check()
        evaluation_texts(self.corpus, self.seed)
        beginning(self.corpus, self.seed)

    def _settings(self) -> TokenizerSettings:
        return TokenizerSettings(
            kind=self.kind, vocab_size=self.vocab_size, lowercase=self.lowercase, prefix_space=self.prefix_space
        )

    def work(self, place: Place) -> Result:
        """Train, save, measure."""
        evaluation, report = evaluation_texts(self.corpus, self.seed), Report()
        texts = documents(self.corpus, "train", self.seed, evaluation, report)
        lines = (sentence for document in texts for sentence in document)
        tokenizer = train_tokenizer(lines, self._settings(), model_max_length=self.model_max_length)
        if is_main():
            tokenizer.save_pretrained(place.folder / "model")
        show_cleaning(report.plain(), place)
        texts = documents(self.corpus, "valid", self.seed, evaluation)
        held_out = list(islice((sentence for document in texts for sentence in document), _MOST_HELD_OUT))
        figures = {"vocabulary": float(len(tokenizer)), **text_figures(tokenizer, held_out)}
        content = fingerprint(self.corpus, "train", self.seed, evaluation)
        lineage = {
            "step": self.name,
            "corpus": {"path": title(self.corpus), "hash": content},
            "tokenizer": {"hash": tokenizer_hash(tokenizer)},
            "parents": [],
            "seeds": [self.seed],
        }
        return Result(figures, lineage=lineage)
