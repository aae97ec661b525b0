"""The step ``tokenizer``: a vocabulary trained on text."""

from typing import ClassVar, Literal

from pydantic import Field

from ptft.compute import is_main
from ptft.corpus.cleaning import Report
from ptft.corpus.sources import CorpusSettings, beginning, documents, fingerprint, title
from ptft.steps.cleaning_report import show_cleaning
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.steps.step import Place, Result, Step
from ptft.tokenization import (
    Kind,
    Normalization,
    TokenizerSettings,
    load_tokenizer,
    tokenizer_folder,
    tokenizer_hash,
    train_on_documents,
)
from ptft.tokenization.quality import MEASURED_BYTES, Quality
from ptft.tokenization.sampling import Sample
from ptft.training.aside import write_aside


class Tokenizer(Step):
    """Train a WordPiece, byte-level BPE or Unigram tokenizer on text, and measure it on text that it has not seen."""

    name: ClassVar[str] = "tokenizer"
    corpus: CorpusSettings = CorpusSettings()
    """The text."""
    kind: Kind = "wordpiece"
    """wordpiece (BERT's), bpe (byte-level, GPT-2's) or unigram (ALBERT's and T5's)."""
    specials: Literal["auto", "encoder", "decoder"] = "auto"
    """Special tokens for which models: BERT's five, or GPT-2's end of text (bpe only); auto is decoder for bpe."""
    vocab_size: int = Field(8192, ge=64)
    """Number of tokens, special tokens included; a small corpus may fill fewer."""
    lowercase: bool = True
    """Lower-case the text first; bpe always keeps the case."""
    normalize: Normalization = "none"
    """Unicode form that the text is brought into first: none, nfc or nfkc, which also unifies full and half width."""
    strip_accents: bool = False
    """Drop accents (not for bpe). Hangul stays whole, but Japanese and Indic letters lose marks that they need."""
    prefix_space: bool = False
    """Put a space before the first word (bpe only)."""
    train_bytes: int = Field(100_000_000, ge=1000)
    """At most so much text (UTF-8) is trained on: documents drawn evenly over the whole corpus."""
    model_max_length: int = Field(512, ge=8)
    """Longest input in tokens of the models it is for."""
    compare: tuple[str, ...] = ()
    """Other tokenizers, folders or Hub names, to measure on the same text."""

    def check(self) -> None:
        """The vocabulary can be made, the corpus read and the others opened."""
        self._settings().check()
        for name in self.compare:
            load_tokenizer(tokenizer_folder(name))
        evaluation_texts(self.corpus, self.seed)
        beginning(self.corpus, self.seed)

    def _settings(self) -> TokenizerSettings:
        return TokenizerSettings(**{key: getattr(self, key) for key in TokenizerSettings.model_fields})

    def work(self, place: Place) -> Result:
        """Train, save, measure."""
        evaluation, report = evaluation_texts(self.corpus, self.seed), Report()
        tokenizer = train_on_documents(
            documents(self.corpus, "train", self.seed, evaluation, report), self._settings(),
            model_max_length=self.model_max_length, seed=self.seed, display=place.display,
        )  # fmt: skip
        if is_main():
            write_aside(place.folder / "model", "tokenizer", lambda folder: tokenizer.save_pretrained(folder))
        show_cleaning(report.plain(), place)
        held_out = Sample(documents(self.corpus, "valid", self.seed, evaluation), MEASURED_BYTES, self.seed)
        quality = Quality(tokenizer, held_out)
        figures = {"vocabulary": float(len(tokenizer)), **quality.figures()}
        records = quality.records("trained here")
        for name in self.compare:
            other = Quality(load_tokenizer(tokenizer_folder(name)), held_out)
            figures |= {f"{name}.{key}": value for key, value in other.figures().items()}
            records += other.records(name)
        content = fingerprint(self.corpus, "train", self.seed, evaluation)
        lineage = {
            "step": self.name,
            "corpus": {"path": title(self.corpus), "hash": content},
            "tokenizer": {"hash": tokenizer_hash(tokenizer)},
            "parents": [],
            "seeds": [self.seed],
        }
        return Result(figures, records, lineage)
