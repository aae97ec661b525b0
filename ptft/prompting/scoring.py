"""Log-likelihoods of continuations under a causal model: the plain scorer, one row for each distinct request."""

import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.family import nearest
from ptft.tokenization import check_pair

PROTOCOLS = ("ptft",)


class Request(NamedTuple):
    """The ids of one (context, continuation) pair; the continuation is scored given the context."""

    context_ids: tuple[int, ...]
    continuation_ids: tuple[int, ...]

    @property
    def num_inputs(self) -> int:
        """Number of positions a model needs: the last id is predicted but never fed."""
        return len(self.context_ids) + len(self.continuation_ids) - 1


class Scored(NamedTuple):
    """What a model makes of one (context, continuation) pair."""

    log_likelihood: float
    """Sum over the continuation's tokens of the natural log of their probability."""
    is_greedy: bool
    """Whether each token of the continuation is the most probable one."""
    context_ids: tuple[int, ...]
    """Token ids before the continuation, the beginning-of-text token included."""
    continuation_ids: tuple[int, ...]
    """Token ids that were scored."""


def loglikelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    protocol: str = "ptft",
    tokens_per_batch: int = 8192,
) -> list[Scored]:
    """Score how probable each continuation is after its context, in the order of ``pairs``.

    Protocol ``ptft``: :func:`encode_pairs` says how text becomes ids; the log-softmax is taken in 32 bits whatever
    the model's precision; equal pairs are scored once. The result does not depend on the batching but for rounding.

    Args:
        model: A causal language model; its training or evaluation mode is as before afterwards.
        tokenizer: The tokenizer it was pretrained with.
        pairs: (context, continuation) texts; the context may be empty.
        protocol: The rules to follow; ``ptft`` is the only set so far.
        tokens_per_batch: Upper bound for rows times length of one forward pass, at least one row.

    Raises:
        RecipeError: The protocol is unknown, or ``tokens_per_batch`` is below 1.
        CheckpointError: The model is not a causal language model, or the tokenizer is larger than its embeddings.
        DataError: A continuation has no token, or a request is longer than the model's positions.

    Paper: Brown et al. 2020, section 2.4, arXiv 2005.14165. Differs: the sum is not divided by the number of tokens.
    """
    if protocol not in PROTOCOLS:
        raise RecipeError(f"unknown protocol {protocol!r}{nearest(protocol, PROTOCOLS)}")
    check_decoder(model, tokenizer)
    return score_requests(model, encode_pairs(tokenizer, pairs), tokens_per_batch=tokens_per_batch)


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
    ids = _encode_texts(tokenizer, [*contexts, *wholes])
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


def _encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
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


def score_requests(
    model: PreTrainedModel, requests: Sequence[Request], *, tokens_per_batch: int = 8192
) -> list[Scored]:
    """Score ready ids, in the order of ``requests``; see :func:`loglikelihoods`.

    Raises:
        RecipeError: ``tokens_per_batch`` is below 1.
        DataError: A request is longer than the model's positions.
        CheckpointError: A log-likelihood is not a number.
    """
    if tokens_per_batch < 1:
        raise RecipeError(f"tokens_per_batch is {tokens_per_batch!r}; it must be at least 1")
    longest = max(requests, key=lambda request: request.num_inputs, default=None)
    if longest is not None and longest.num_inputs > num_positions(model):
        raise DataError(
            f"a request has {len(longest.context_ids)} context and {len(longest.continuation_ids)} continuation "
            f"tokens but the model has {num_positions(model)} positions; shorten the text or use fewer shots"
        )
    scores: dict[Request, Scored] = {}
    with evaluating(model):
        for batch in _batches(set(requests), tokens_per_batch):
            scores.update(zip(batch, _score_batch(model, batch), strict=True))
    if any(math.isnan(score.log_likelihood) for score in scores.values()):
        raise CheckpointError(
            "the model gives log-likelihoods that are not numbers; its weights or its precision (16 bits "
            "overflow in some models) are unusable, so open another checkpoint or use 32 bits"
        )
    return [scores[request] for request in requests]


def _batches(requests: set[Request], tokens_per_batch: int) -> Iterator[list[Request]]:
    """Cut the requests, longest first, into batches: little padding, and the largest batch comes at once."""
    batch: list[Request] = []
    for request in sorted(requests, key=lambda request: (-request.num_inputs, request)):
        if batch and (len(batch) + 1) * batch[0].num_inputs > tokens_per_batch:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def _score_batch(model: PreTrainedModel, batch: Sequence[Request]) -> list[Scored]:
    width = max(request.num_inputs for request in batch)
    input_ids = torch.zeros(len(batch), width, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, request in enumerate(batch):
        # On the right, padding is after everything that is scored, so a causal model never sees it.
        fed = (request.context_ids + request.continuation_ids)[:-1]
        input_ids[row, : len(fed)] = torch.tensor(fed)
        attention_mask[row, : len(fed)] = 1
    kept = width - min(len(request.context_ids) - 1 for request in batch)
    logits = _last_logits(model, input_ids, attention_mask, kept)
    offset = width - kept
    scored = []
    for row, request in enumerate(batch):
        start = len(request.context_ids) - 1 - offset
        at_continuation = logits[row, start : start + len(request.continuation_ids)].float()
        target = torch.tensor(request.continuation_ids, device=logits.device)
        per_token = torch.log_softmax(at_continuation, dim=-1).gather(1, target[:, None])
        is_greedy = bool((at_continuation.argmax(dim=-1) == target).all())
        scored.append(Scored(float(per_token.double().sum()), is_greedy, *request))
    return scored


def _last_logits(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "batch seq"],
    attention_mask: Int[Tensor, "batch seq"],
    kept: int,
) -> Float[Tensor, "batch kept vocab"]:
    """The logits of the last ``kept`` positions, projecting only these where the model's forward can do so."""
    few = {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    outputs = model(
        input_ids=input_ids.to(model.device), attention_mask=attention_mask.to(model.device), use_cache=False, **few
    )
    logits: Tensor = outputs.logits[:, -kept:]
    return logits


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Run a block without gradients and dropout; afterwards each module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def num_positions(model: PreTrainedModel) -> int:
    """The longest input in tokens that the model's configuration allows; unlimited is ``sys.maxsize``."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize)


def check_decoder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model that cannot be prompted, by looking at what it does and not at its name.

    A change of the last token must not change the logits before it. Encoders fail this; unnoticed, their scores
    would come from a model that sees the answer.

    Raises:
        CheckpointError: The model has no language-modelling logits or is not causal, or the tokenizer has ids for
            which the model has no embedding.
    """
    check_pair(tokenizer, model.config)
    remedy = "prompting needs a decoder, such as a GPT-2 or Llama checkpoint opened with AutoModelForCausalLM"
    if model.config.is_encoder_decoder:
        raise CheckpointError(f"{type(model).__name__} is an encoder-decoder; {remedy}")
    probe = torch.tensor([[1, 1], [1, 2]], device=model.device)
    with evaluating(model):
        logits = getattr(model(input_ids=probe, attention_mask=torch.ones_like(probe)), "logits", None)
    if logits is None or logits.dim() != 3 or logits.shape[-1] < len(tokenizer):
        raise CheckpointError(f"{type(model).__name__} has no logits over the vocabulary; {remedy}")
    one, other = logits[:, :-1].float()
    # Rounding may differ between rows in half precision; a real dependence is far above the root of epsilon.
    if (one - other).abs().max() > torch.finfo(logits.dtype).eps ** 0.5 * one.abs().max():
        raise CheckpointError(f"{type(model).__name__} is an encoder: it reads what follows a token; {remedy}")
