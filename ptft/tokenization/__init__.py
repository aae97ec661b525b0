"""Tokenizers: trained on the user's text or opened from a folder or the Hub."""

from ptft.tokenization.loading import (
    check_pair,
    check_vocabulary,
    load_tokenizer,
    no_checkpoint,
    tokenizer_folder,
    tokenizer_hash,
)
from ptft.tokenization.training import TokenizerSettings, train_tokenizer

__all__ = [
    "TokenizerSettings",
    "check_pair",
    "check_vocabulary",
    "load_tokenizer",
    "no_checkpoint",
    "tokenizer_folder",
    "tokenizer_hash",
    "train_tokenizer",
]
