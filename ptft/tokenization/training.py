"""Train a WordPiece or byte-level BPE vocabulary and wrap it as the stock tokenizer class of BERT or GPT-2."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, GPT2Tokenizer, PreTrainedTokenizerBase

from ptft.config import Settings
from ptft.errors import DataError, RecipeError

BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
END_OF_TEXT = "<|endoftext|>"
GPT_SPECIALS = [END_OF_TEXT, "<|pad|>"]
_ALPHABET_SHARE = 4  # at most a quarter of a WordPiece vocabulary goes to single characters


class TokenizerSettings(Settings):
    """How a vocabulary is trained."""

    kind: Literal["wordpiece", "bpe"] = "wordpiece"
    """wordpiece (BERT's) or bpe (byte-level, GPT-2's)."""
    vocab_size: int = Field(8192, ge=64)
    """Number of tokens, special tokens included; a small corpus may fill fewer."""
    lowercase: bool = True
    """Lower-case the text first (wordpiece only); accents and Hangul syllables are never taken apart."""
    prefix_space: bool = False
    """Put a space before the first word, so that a word is one token wherever it stands (bpe only)."""

    def check(self) -> None:
        """Refuse a byte-level BPE without room for a merge.

        Raises:
            RecipeError: It is too small.
        """
        smallest = 256 + len(GPT_SPECIALS) + 1
        if self.kind == "bpe" and self.vocab_size < smallest:
            raise RecipeError(
                f"vocab_size: a byte-level BPE has 256 bytes and {len(GPT_SPECIALS)} special tokens before its first "
                f"merge; give at least {smallest}, got {self.vocab_size}"
            )


def train_tokenizer(
    texts: Iterable[str], settings: TokenizerSettings, *, model_max_length: int
) -> PreTrainedTokenizerBase:
    """Train a vocabulary on ``texts`` and return it as a stock, fast tokenizer.

    The result is the same bytes on every run. Differs: WordPiece as trained by the tokenizers library gives other
    vocabularies from run to run (pieces get their ids in the order of a hash map, and ids break ties between equally
    frequent pairs), so every single-character piece is given its place in advance.

    Args:
        texts: Lines of text, read once.
        settings: Kind and size of the vocabulary.
        model_max_length: Longest input in tokens that the model will take; stored with the tokenizer.

    Raises:
        DataError: The texts hold no character (bpe: no two in a row).
        RecipeError: The size cannot be.

    Paper: Wu et al. 2016 (WordPiece), arXiv 1609.08144; Radford et al. 2019 (byte-level BPE).
    """
    settings.check()
    train = _train_wordpiece if settings.kind == "wordpiece" else _train_bpe
    return train(texts, settings, model_max_length)


def _train_wordpiece(texts: Iterable[str], settings: TokenizerSettings, model_max_length: int) -> BertTokenizer:
    normalizer = normalizers.BertNormalizer(lowercase=settings.lowercase, strip_accents=False)
    lines = [normalizer.normalize_str(text) for text in texts]
    frequency: Counter[str] = Counter()
    for line in lines:
        frequency.update(line)
    ranked = sorted((c for c in frequency if not c.isspace()), key=lambda c: (-frequency[c], c))
    if not ranked:
        raise DataError("the texts for the tokenizer hold no character; give a corpus with text")
    alphabet = sorted(ranked[: settings.vocab_size // _ALPHABET_SHARE])
    rare = {ord(c): " " for c in set(frequency).difference(alphabet)}
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fixed = BERT_SPECIALS + alphabet + [f"##{c}" for c in alphabet]
    trainer = trainers.WordPieceTrainer(vocab_size=settings.vocab_size, special_tokens=fixed, show_progress=False)
    tokenizer.train_from_iterator((line.translate(rare) for line in lines), trainer, length=len(lines))
    return BertTokenizer(
        vocab=tokenizer.get_vocab(),
        do_lower_case=settings.lowercase,
        strip_accents=False,
        model_max_length=model_max_length,
    )


def _train_bpe(texts: Iterable[str], settings: TokenizerSettings, model_max_length: int) -> GPT2Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.prefix_space)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=GPT_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    if not merges:
        raise DataError("the texts for the tokenizer hold no two characters in a row; give a corpus with text")
    return GPT2Tokenizer(
        vocab=tokenizer.get_vocab(),
        merges=merges,  # type: ignore[arg-type]  # annotated as text, used as pairs
        unk_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token="<|pad|>",
        add_prefix_space=settings.prefix_space,
        model_max_length=model_max_length,
    )
