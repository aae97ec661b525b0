"""A tokenizer trained on a run's own corpus: once, however often the run is interrupted."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ptft.corpus.sources import CorpusSettings, documents, fingerprint
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.steps.step import Place
from ptft.tokenization import TokenizerSettings, load_tokenizer, train_on_documents
from ptft.training.aside import write_aside
from ptft.training.checkpoint import complete_checkpoints

_MADE_OF = "text.sha256"


def own_tokenizer(
    place: Place, corpus: CorpusSettings, settings: TokenizerSettings, *, model_max_length: int, seed: int
) -> PreTrainedTokenizerBase:
    """Train it, or open what the run has kept, if it is of the same text; a run with checkpoints compares that itself.

    Raises:
        DataError: The corpus cannot be read or holds too little.
    """
    kept = place.folder / "tokenizer"
    if kept.exists() and complete_checkpoints(place.folder / "checkpoints"):
        return load_tokenizer(kept)
    evaluation = evaluation_texts(corpus, seed)
    text = fingerprint(corpus, "train", seed, evaluation)
    if (kept / _MADE_OF).exists() and (kept / _MADE_OF).read_text() == text:
        return load_tokenizer(kept)
    place.display.say(f"training a tokenizer of {settings.vocab_size} tokens")
    texts = documents(corpus, "train", seed, evaluation)
    tokenizer = train_on_documents(texts, settings, model_max_length=model_max_length, seed=seed, display=place.display)

    def write(folder: Path) -> None:
        tokenizer.save_pretrained(folder)
        (folder / _MADE_OF).write_text(text)

    write_aside(kept, "tokenizer", write)
    return tokenizer
