"""Log-likelihoods under a causal model, one row for each distinct request: slow, and right for every architecture."""

import inspect
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from ptft.prompting.request import Request, Scored


def score_plainly(model: PreTrainedModel, requests: Sequence[Request], tokens_per_batch: int) -> list[Scored]:
    """Score requests in padded batches, equal ones once, in the order of ``requests``.

    Args:
        model: A causal language model in evaluation mode, without gradients.
        requests: Each fits into the model's positions.
        tokens_per_batch: Upper bound for rows times length of one forward pass, at least one row.
    """
    scores: dict[Request, Scored] = {}
    for batch in _batches(set(requests), tokens_per_batch):
        scores.update(zip(batch, _score_batch(model, batch), strict=True))
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
