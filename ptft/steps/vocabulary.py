"""A tokenizer trained on a run's own corpus: once, however often the run is interrupted."""

from transformers import PreTrainedTokenizerBase

from ptft.corpus.sources import CorpusSettings, documents
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.steps.step import Place
from ptft.tokenization import TokenizerSettings, load_tokenizer, train_on_documents
from ptft.training.aside import write_aside


def own_tokenizer(
    place: Place, corpus: CorpusSettings, settings: TokenizerSettings, *, model_max_length: int, seed: int
) -> PreTrainedTokenizerBase:
    """Train it, or open what the run has kept.

    Raises:
        DataError: The corpus cannot be read or holds too little.
    """
    kept = place.folder / "tokenizer"
    if kept.exists():
        return load_tokenizer(kept)
    place.display.say(f"training a tokenizer of {settings.vocab_size} tokens")
    texts = documents(corpus, "train", seed, evaluation_texts(corpus, seed))
    tokenizer = train_on_documents(texts, settings, model_max_length=model_max_length, seed=seed, display=place.display)
    write_aside(kept, "tokenizer", lambda folder: tokenizer.save_pretrained(folder))
    return tokenizer
