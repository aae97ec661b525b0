"""Perplexities of whole texts as lm_eval 0.4.13 has them: windows that together score each token once."""

import math
import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ptft.errors import DataError
from ptft.prompting.lm_eval.encoding import encode_texts, prefix_id
from ptft.prompting.request import Request


def rolling_requests(
    tokenizer: PreTrainedTokenizerBase, text: str, positions: int, *, add_bos: bool | None = None
) -> list[Request]:
    """Cut a text into the windows whose log-likelihoods add up to that of the text.

    The first window stands behind the beginning-of-text token (or end-of-text), each later one behind the token
    before it; the last is moved to the left until it is full, so that its tokens see more. A tokenizer that adds the
    beginning-of-text token itself leaves two of them, of which the second is scored: so has lm_eval 0.4.13.

    Args:
        tokenizer: Of the model.
        text: May be empty, which gives no window.
        positions: The longest input.
        add_bos: See :func:`~ptft.prompting.lm_eval.encoding.encode_texts`.

    Raises:
        DataError: The tokenizer has no token to begin with.
    """
    first = prefix_id(tokenizer)
    if first is None:
        raise DataError(
            "nothing can stand before the first token of a text: the tokenizer has no bos_token or eos_token; give one "
            "that has"
        )
    ids = encode_texts(tokenizer, [text], add_bos=add_bos)[text]
    requests = [Request((first,), ids[:positions])] if ids else []
    for start in range(positions, len(ids), positions):
        end = min(start + positions, len(ids))
        requests.append(Request(ids[end - positions - 1 : start], ids[start:end]))
    return requests


def perplexities(log_likelihoods: Sequence[float], texts: Sequence[str]) -> dict[str, float]:
    """``word_perplexity``, ``byte_perplexity`` and ``bits_per_byte`` of texts, weighted by their lengths.

    Words are what stands between runs of white space, empty ones at the ends included; bytes are UTF-8. lm_eval gives
    these figures no standard error.

    Args:
        log_likelihoods: The natural log of each text's probability.
        texts: At least one that is not empty.
    """
    total = sum(log_likelihoods)
    words = sum(len(re.split(r"\s+", text)) for text in texts)
    num_bytes = sum(len(text.encode()) for text in texts)
    return {
        "word_perplexity": math.exp(-total / words),
        "byte_perplexity": math.exp(-total / num_bytes),
        "bits_per_byte": -total / num_bytes / math.log(2),
    }
