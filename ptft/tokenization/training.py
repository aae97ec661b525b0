"""Train a WordPiece, byte-level BPE or Unigram vocabulary and wrap it as a stock tokenizer class."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, GPT2Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ptft.config import Settings
from ptft.display import Display, Silent
from ptft.errors import DataError, RecipeError
from ptft.tokenization.sampling import Sample
from ptft.tokenization.unigram import learn_pieces

Kind = Literal["wordpiece", "bpe", "unigram"]
Normalization = Literal["none", "nfc", "nfkc"]
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
END_OF_TEXT = "<|endoftext|>"
GPT_SPECIALS = [END_OF_TEXT, "<|pad|>"]
_ALPHABET_SHARE = 4  # at most a quarter of a WordPiece or Unigram vocabulary goes to single characters
_WORD_START = "▁"


class TokenizerSettings(Settings):
    """How a vocabulary is trained."""

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
    """Put a space before the first word, so that a word is one token wherever it stands (bpe only)."""
    train_bytes: int = Field(100_000_000, ge=1000)
    """At most so much text (UTF-8) is trained on: documents drawn evenly over the whole corpus."""

    @property
    def is_for_decoders(self) -> bool:
        """Whether the special tokens are GPT-2's."""
        return self.kind == "bpe" if self.specials == "auto" else self.specials == "decoder"

    def check(self) -> None:
        """Refuse settings that the kind has no use for, and a byte-level BPE without room for a merge.

        Raises:
            RecipeError: They are so.
        """
        if self.kind != "bpe":
            if self.is_for_decoders:
                raise RecipeError(
                    f"a {self.kind} tokenizer cannot give back every text as it was, so a decoder cannot have it; give "
                    "bpe, or train an encoder"
                )
            if self.prefix_space:
                raise RecipeError(
                    f"prefix_space: has no effect on {self.kind}, where a word is the same wherever it stands; leave "
                    "it out, or give bpe"
                )
            return
        if self.strip_accents:
            raise RecipeError(
                "strip_accents: a byte-level BPE keeps every character; leave it out, or give wordpiece or unigram"
            )
        num_specials = len(GPT_SPECIALS if self.is_for_decoders else BERT_SPECIALS)
        if self.vocab_size <= 256 + num_specials:
            raise RecipeError(
                f"vocab_size: a byte-level BPE has 256 bytes and {num_specials} special tokens before its first "
                f"merge; give at least {256 + num_specials + 1}, got {self.vocab_size}"
            )


def train_on_documents(
    documents: Iterable[Sequence[str]],
    settings: TokenizerSettings,
    *,
    model_max_length: int,
    seed: int,
    display: Display | None = None,
) -> PreTrainedTokenizerBase:
    """Train on a corpus of any size: memory is bounded by ``settings.train_bytes``; see :func:`train_tokenizer`.

    Args:
        documents: Each a list of lines; read once.
        settings: Kind and size of the vocabulary, and how much text to train on.
        model_max_length: Longest input in tokens that the model will take.
        seed: Draws the documents of a corpus that is larger.
        display: Is told if there is more text than is trained on.

    Raises:
        DataError: As :func:`train_tokenizer`.
        RecipeError: As :func:`train_tokenizer`.
    """
    sample = Sample(documents, settings.train_bytes, seed)
    if not sample.is_all:
        (display or Silent()).say(
            f"the vocabulary is trained on {sample.num_documents:,} of {sample.all_documents:,} documents, drawn "
            f"evenly: {sample.text_bytes / 1e6:,.1f} of {sample.all_bytes / 1e6:,.1f} MB"
        )
    return train_tokenizer(sample, settings, model_max_length=model_max_length)


def train_tokenizer(
    texts: Iterable[str], settings: TokenizerSettings, *, model_max_length: int
) -> PreTrainedTokenizerBase:
    """Train a vocabulary on ``texts`` and return it as a stock, fast tokenizer.

    The class is the architecture's where that keeps all of it: BertTokenizer for WordPiece, GPT2Tokenizer for a
    decoder's BPE. Those classes make normalisation and special tokens anew when they are opened, so the others are
    saved as ModernBERT's is, in the generic class that takes ``tokenizer.json`` as it stands.

    The result is the same bytes on every run. Differs: WordPiece as trained by the tokenizers library gives other
    vocabularies from run to run (pieces get their ids in the order of a hash map, and ids break ties between equally
    frequent pairs), so every single-character piece is given its place in advance. Unigram is trained by ourselves.

    Args:
        texts: Lines of text.
        settings: Kind and size of the vocabulary.
        model_max_length: Longest input in tokens that the model will take; stored with the tokenizer.

    Raises:
        DataError: The texts hold no character (bpe: no two in a row).
        RecipeError: The settings do not fit each other.

    Paper: Wu et al. 2016 (WordPiece), arXiv 1609.08144; Radford et al. 2019 (byte-level BPE); Kudo 2018 (Unigram),
    arXiv 1804.10959.
    """
    settings.check()
    train = {"wordpiece": _train_wordpiece, "bpe": _train_bpe, "unigram": _train_unigram}[settings.kind]
    return train(texts, settings, model_max_length)


def _train_wordpiece(
    texts: Iterable[str], settings: TokenizerSettings, model_max_length: int
) -> PreTrainedTokenizerBase:
    bert = normalizers.BertNormalizer(lowercase=settings.lowercase, strip_accents=False)
    before = _normalizers(settings)
    normalizer = normalizers.Sequence([*before, bert])
    if iter(texts) is texts:  # it could be read only once
        texts = list(texts)
    frequency: Counter[str] = Counter()
    for text in texts:
        frequency.update(normalizer.normalize_str(text))
    alphabet = _alphabet(frequency, settings)
    rare = {ord(c): " " for c in set(frequency).difference(alphabet)}
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fixed = BERT_SPECIALS + alphabet + [f"##{c}" for c in alphabet]
    trainer = trainers.WordPieceTrainer(vocab_size=settings.vocab_size, special_tokens=fixed, show_progress=False)
    tokenizer.train_from_iterator((normalizer.normalize_str(text).translate(rare) for text in texts), trainer)
    if not before:
        return BertTokenizer(
            vocab=tokenizer.get_vocab(),
            do_lower_case=settings.lowercase,
            strip_accents=False,
            model_max_length=model_max_length,
        )
    trained = Tokenizer(models.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]"))  # its letters are no added tokens
    trained.normalizer = normalizer
    trained.pre_tokenizer = tokenizer.pre_tokenizer
    trained.decoder = decoders.WordPiece(prefix="##")
    return _generic(trained, model_max_length)


def _train_bpe(texts: Iterable[str], settings: TokenizerSettings, model_max_length: int) -> PreTrainedTokenizerBase:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    before = _normalizers(settings)
    if before:
        tokenizer.normalizer = normalizers.Sequence(before)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=GPT_SPECIALS if settings.is_for_decoders else BERT_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    if not merges:
        raise DataError("the texts for the tokenizer hold no two characters in a row; give a corpus with text")
    if not settings.is_for_decoders:
        return _generic(tokenizer, model_max_length)
    tokens = {"unk_token": END_OF_TEXT, "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": "<|pad|>"}
    if before:
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=model_max_length, **tokens)
    return GPT2Tokenizer(
        vocab=tokenizer.get_vocab(),
        merges=merges,  # type: ignore[arg-type]  # annotated as text, used as pairs
        add_prefix_space=settings.prefix_space,
        model_max_length=model_max_length,
        **tokens,
    )


def _train_unigram(texts: Iterable[str], settings: TokenizerSettings, model_max_length: int) -> PreTrainedTokenizerBase:
    lower = [normalizers.Lowercase()] if settings.lowercase else []
    normalizer = normalizers.Sequence([*_normalizers(settings), *lower])
    words: Counter[str] = Counter()
    for text in texts:
        words.update(normalizer.normalize_str(text).split())
    frequency: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            frequency[character] += count
    alphabet = _alphabet(frequency, settings)
    rare = {ord(c): " " for c in set(frequency).difference(alphabet)}
    parts: Counter[str] = Counter()
    for word, count in words.items():
        for number, part in enumerate(word.translate(rare).split(" ")):
            # what follows a character that is left out is no word's beginning
            parts[part if number else _WORD_START + part] += count
    del parts[""]
    pieces = learn_pieces(parts, settings.vocab_size - len(BERT_SPECIALS))
    specials = [(token, 0.0) for token in BERT_SPECIALS]
    tokenizer = Tokenizer(models.Unigram([*specials, *pieces], unk_id=BERT_SPECIALS.index("[UNK]")))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(_WORD_START)]
    )
    tokenizer.decoder = decoders.Metaspace(_WORD_START)
    return _generic(tokenizer, model_max_length)


def _normalizers(settings: TokenizerSettings) -> list[normalizers.Normalizer]:
    found: list[normalizers.Normalizer] = []
    if settings.normalize != "none":
        found.append({"nfc": normalizers.NFC, "nfkc": normalizers.NFKC}[settings.normalize]())
    if settings.strip_accents:  # letters and accents come apart, and Hangul syllables together again
        found += [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()]
    return found


def _alphabet(frequency: Counter[str], settings: TokenizerSettings) -> list[str]:
    ranked = sorted((c for c in frequency if not c.isspace()), key=lambda c: (-frequency[c], c))
    if not ranked:
        raise DataError("the texts for the tokenizer hold no character; give a corpus with text")
    return sorted(ranked[: settings.vocab_size // _ALPHABET_SHARE])


def _generic(tokenizer: Tokenizer, model_max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer for encoders, with BERT's special tokens and token types."""
    # A masked word hides the space before it too, where that is part of the word's token.
    tokenizer.add_special_tokens([AddedToken(token, lstrip=token == "[MASK]") for token in BERT_SPECIALS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=model_max_length,
        **{f"{token[1:-1].lower()}_token": token for token in BERT_SPECIALS},
    )
