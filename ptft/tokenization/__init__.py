"""Tokenizers: trained on the user's text or opened from a folder or the Hub."""

from ptft.tokenization.loading import (
    add_mask_token,
    add_tokens,
    check_pair,
    check_vocabulary,
    load_tokenizer,
    no_checkpoint,
    tokenizer_folder,
    tokenizer_hash,
)
from ptft.tokenization.training import (
    Kind,
    Normalization,
    TokenizerSettings,
    train_on_documents,
    train_tokenizer,
)

__all__ = [
    "Kind",
    "Normalization",
    "TokenizerSettings",
    "add_mask_token",
    "add_tokens",
    "check_pair",
    "check_vocabulary",
    "load_tokenizer",
    "no_checkpoint",
    "tokenizer_folder",
    "tokenizer_hash",
    "train_on_documents",
    "train_tokenizer",
]
