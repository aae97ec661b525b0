"""How well a vocabulary fits a text."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


def text_figures(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, float]:
    """Compression and coverage on ``texts``; empty if there is no text.

    Returns:
        ``bytes_per_token`` (UTF-8), ``fertility`` (tokens a whitespace word) and ``unknown_ratio`` (share of tokens
        that are the unknown token).
    """
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    tokens = sum(len(encoding.ids) for encoding in encodings)
    words = sum(len(text.split()) for text in texts)
    if not tokens or not words:
        return {}
    is_byte_level = tokenizer.unk_token_id == tokenizer.eos_token_id
    unknown = 0 if is_byte_level else sum(encoding.ids.count(tokenizer.unk_token_id) for encoding in encodings)
    return {
        "bytes_per_token": sum(len(text.encode()) for text in texts) / tokens,
        "fertility": tokens / words,
        "unknown_ratio": unknown / tokens,
    }
