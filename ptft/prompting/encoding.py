"""How (context, continuation) texts become ids under the protocol ``ptft``."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ptft.errors import DataError
from ptft.prompting.request import Request


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]) -> list[Request]:
    """Turn (context, continuation) texts into ids.

    The two are tokenized together and cut where the context's own tokens end; white space at the end of the context
    belongs to the continuation, since most tokenizers keep a space with the word after it. Where a token crosses the
    border (``"Ans" + "wer"`` is one token), the cut moves back to the first token in which the context alone and the
    whole differ: the model then sees the whole as it would in running text, and the crossing token is scored.
    The beginning-of-text token, where the tokenizer has one, comes first and is never scored; no other special token
    is added. Without one, an empty context is the end-of-text token. Differs from lm-eval 0.4.13, which feeds the
    context's own tokens plus the rest of the whole, a sequence no tokenizer makes, and fails if there is no rest.

    Raises:
        DataError: A continuation adds no token to its context, or an empty context has no special token to stand on.
    """
    contexts = [context.rstrip() for context, _ in pairs]
    wholes = [context + continuation for context, continuation in pairs]
    ids = encode_texts(tokenizer, [*contexts, *wholes])
    beginning = () if tokenizer.bos_token_id is None else (int(tokenizer.bos_token_id),)
    requests = []
    for (_, continuation), context, whole in zip(pairs, contexts, wholes, strict=True):
        cut = _common_prefix(ids[context] if context else (), ids[whole])
        if cut == len(ids[whole]):
            raise DataError(
                f"the continuation {continuation!r} adds no token to its context (which ends in {context[-40:]!r}); "
                "give a continuation that is not empty and that the tokenizer can spell"
            )
        start = beginning
        if cut == 0 and not start:
            if tokenizer.eos_token_id is None:
                raise DataError(
                    f"nothing precedes the continuation {continuation!r}: its context is empty and the tokenizer has "
                    "no bos_token or eos_token; give a context"
                )
            start = (int(tokenizer.eos_token_id),)
        requests.append(Request(start + ids[whole][:cut], ids[whole][cut:]))
    return requests


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The ids of each distinct text, without special tokens."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return {}
    # verbose=False: the tokenizer's remark on long texts is not needed, since lengths are checked against the model.
    encoded = tokenizer(distinct, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    return {text: tuple(ids) for text, ids in zip(distinct, encoded, strict=True)}


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))
