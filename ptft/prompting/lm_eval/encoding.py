"""Ids of (context, continuation) texts as lm_eval 0.4.13 makes them, and what its models see of those too long."""

from collections.abc import Iterable, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.errors import DataError
from ptft.prompting.request import Request

PROTOCOL = "lm_eval-0.4.13"
"""The name of the protocol in settings and records."""
_UNSET = int(1e30)  # how a tokenizer says that it knows no longest input
_NO_LENGTH = 2048  # lm_eval's own guess


def prefix_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that stands before a text without context: beginning of text, else end of text."""
    found = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return None if found is None else int(found)


def max_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest input in tokens: the model's positions, else the tokenizer's longest input, else 2048."""
    config = getattr(model.config, "text_config", None) or model.config
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        positions = getattr(config, name, None)
        if positions is not None:
            return int(positions)
    longest = tokenizer.model_max_length
    return _NO_LENGTH if longest is None or longest == _UNSET else int(longest)


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], *, add_bos: bool | None = None
) -> dict[str, tuple[int, ...]]:
    """The ids of each distinct text, with the special tokens that the tokenizer itself adds.

    Args:
        tokenizer: Of the model.
        texts: May repeat.
        add_bos: Add special tokens, or none, whatever the tokenizer would do; ``None`` leaves it the choice. A text
            that begins with :func:`prefix_id`'s token, written out, gets none in any case.
    """
    distinct = list(dict.fromkeys(texts))
    first = prefix_id(tokenizer)
    mark = None if first is None else str(tokenizer.decode(first))
    marked = [text for text in distinct if mark is not None and text.startswith(mark)]
    others = [text for text in distinct if mark is None or not text.startswith(mark)]
    return _ids(tokenizer, marked, add_special=False) | _ids(tokenizer, others, add_special=add_bos)


def _ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, add_special: bool | None
) -> dict[str, tuple[int, ...]]:
    if not texts:
        return {}
    special = {} if add_special is None else {"add_special_tokens": add_special}
    encoded = tokenizer(list(texts), return_attention_mask=False, verbose=False, **special)["input_ids"]
    return {text: tuple(ids) for text, ids in zip(texts, encoded, strict=True)}


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], *, add_bos: bool | None = None
) -> list[Request]:
    """Turn (context, continuation) texts into the ids that lm_eval 0.4.13 scores.

    All white space at the end of a context moves to its continuation. The continuation's ids are those of both texts
    together, less as many as the context alone has; the model sees the context's own ids before them. So where a token
    crosses the border, it sees a sequence that the tokenizer makes of no text. A continuation without context stands
    behind :func:`prefix_id`'s token; if it begins with that token itself, the token is its context and is not scored.

    Args:
        tokenizer: Of the model.
        pairs: (context, continuation) texts; the context may be empty.
        add_bos: See :func:`encode_texts`.

    Raises:
        DataError: A context or continuation has no id left: lm_eval ends there with an ``AssertionError``.
    """
    moved = [(context.rstrip(), context[len(context.rstrip()) :] + continuation) for context, continuation in pairs]
    joined = [text for (context, _), (c, rest) in zip(pairs, moved, strict=True) if context for text in (c, c + rest)]
    ids = encode_texts(tokenizer, joined, add_bos=add_bos)
    alone = list(dict.fromkeys(continuation for context, continuation in pairs if not context))
    bare = _ids(tokenizer, alone, add_special=False)
    requests = []
    for (context, continuation), (c, rest) in zip(pairs, moved, strict=True):
        if context:
            request = Request(ids[c], ids[c + rest][len(ids[c]) :])
        else:
            request = _without_context(prefix_id(tokenizer), bare[continuation])
        _check(request, context, continuation)
        requests.append(request)
    return requests


def _without_context(first: int | None, continuation: tuple[int, ...]) -> Request:
    if first is None or continuation[:1] == (first,):
        return Request(continuation[: first is not None], continuation[first is not None :])
    return Request((first,), continuation)


def _check(request: Request, context: str, continuation: str) -> None:
    if not request.context_ids:
        what = f"the context {context!r} of the continuation {continuation!r} has no token of its own"
        remedy = "give a context with text in it, or a tokenizer with a bos_token"
    elif not request.continuation_ids:
        what = f"the continuation {continuation!r} adds no token to its context (which ends in {context[-40:]!r})"
        remedy = "give another continuation, or take protocol ptft, which scores a token that crosses the border"
    else:
        return
    raise DataError(f"{what}, where lm_eval 0.4.13 fails; {remedy}")


def truncated(request: Request, positions: int) -> Request:
    """What lm_eval's model sees of a request: of one too long, the last ``positions`` inputs.

    The description and the beginning-of-text token are what is lost first, and a longer continuation leaves less of
    the same context, at other positions.

    Args:
        request: Ready ids.
        positions: The longest input; see :func:`max_length`.

    Raises:
        DataError: The continuation alone is longer.
    """
    size = len(request.continuation_ids)
    if size > positions:
        raise DataError(
            f"a continuation has {size} tokens but the model has {positions} positions, where lm_eval 0.4.13 fails; "
            "give shorter continuations"
        )
    seen = (request.context_ids + request.continuation_ids)[-(positions + 1) :]
    return Request(seen[:-size], request.continuation_ids)
