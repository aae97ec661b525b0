"""Log-likelihoods of continuations under a causal model: what requests have in common goes through the model once."""

import warnings
from collections.abc import Callable, Sequence
from itertools import islice
from weakref import WeakKeyDictionary

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.compute import Compute
from ptft.errors import DataError, RecipeError
from ptft.prompting.decoder import check_decoder, evaluating, num_positions
from ptft.prompting.plain import score_plainly
from ptft.prompting.plan import Plan
from ptft.prompting.protocol import protocol_of
from ptft.prompting.request import Request, Scored, refuse_nan
from ptft.prompting.shared import score_shared

TOKENS_PER_BATCH = 8192
_ROW_TOKENS = {"cpu": 256}  # longer rows cost more attention to what is masked than they save in calls
_OTHER_ROW_TOKENS = 2048
_PROBE_STEP = 64
_PROBE = rng.key_of("prompting.probe")
_tried: WeakKeyDictionary[PreTrainedModel, dict[int, str]] = WeakKeyDictionary()


def loglikelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    protocol: str = "ptft",
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> list[Scored]:
    """Score how probable each continuation is after its context, in the order of ``pairs``.

    Protocol ``ptft``: :func:`~ptft.prompting.encoding.encode_pairs` says how text becomes ids; the log-softmax is taken
    in 32 bits whatever the model's precision. Protocol ``lm_eval-0.4.13``: ids are lm_eval's, and a pair that is too
    long is cut on the left; the ids that come back are those before the cut. What pairs have in common, equal pairs
    included, goes through the model once; the result does not depend on what is scored together but for rounding.

    Args:
        model: A causal language model; its training or evaluation mode is as before afterwards.
        tokenizer: The tokenizer it was pretrained with.
        pairs: (context, continuation) texts; the context may be empty.
        protocol: The rules to follow: ``ptft`` or ``lm_eval-0.4.13``.
        tokens_per_batch: Upper bound for the tokens of one forward pass, but for a single request that is longer.

    Raises:
        RecipeError: The protocol is unknown, or ``tokens_per_batch`` is below 1.
        CheckpointError: The model is not a causal language model, or the tokenizer is larger than its embeddings.
        DataError: A continuation has no token, or a request is longer than the model's positions.

    Paper: Brown et al. 2020, section 2.4, arXiv 2005.14165. Differs: the sum is not divided by the number of tokens.
    """
    rules = protocol_of(protocol)
    check_decoder(model, tokenizer)
    encoded = rules.encode(tokenizer, pairs)
    scored = score_requests(model, rules.fit(model, tokenizer, encoded), tokens_per_batch=tokens_per_batch)
    return [Scored(*found[:2], *request) for found, request in zip(scored, encoded, strict=True)]


def score_requests(
    model: PreTrainedModel,
    requests: Sequence[Request],
    *,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    compute: Compute | None = None,
    say: Callable[[str], None] = warnings.warn,
) -> list[Scored]:
    """Score ready ids, in the order of ``requests``; see :func:`loglikelihoods`.

    Args:
        model: A causal language model, on its device.
        requests: What to score.
        tokens_per_batch: As for :func:`loglikelihoods`.
        compute: The processes that share the work, all with the same requests; each gets all scores, the same bits
            however many they are. None is this process alone.
        say: Told why beginnings cannot be shared, where they cannot.

    Raises:
        RecipeError: ``tokens_per_batch`` is below 1.
        DataError: A request is longer than the model's positions.
        CheckpointError: A log-likelihood is not a number.
    """
    if tokens_per_batch < 1:
        raise RecipeError(f"tokens_per_batch is {tokens_per_batch!r}; it must be at least 1")
    longest = max(requests, key=lambda request: request.num_inputs, default=None)
    if longest is None:
        return []
    if longest.num_inputs > num_positions(model):
        raise DataError(
            f"a request has {len(longest.context_ids)} context and {len(longest.continuation_ids)} continuation "
            f"tokens but the model has {num_positions(model)} positions; shorten the text or use fewer shots"
        )
    if why := why_not_shared(model, longest.num_inputs):
        say(why)
    with evaluating(model):
        if why:
            scored = score_plainly(model, requests, tokens_per_batch)
        else:
            budget = min(tokens_per_batch, _ROW_TOKENS.get(model.device.type, _OTHER_ROW_TOKENS))
            scored = _scored(model, requests, Plan(requests, budget), compute)
    refuse_nan(np.array([score.log_likelihood for score in scored]))
    return scored


def why_not_shared(model: PreTrainedModel, longest: int) -> str:
    """Why beginnings that requests share go through a model again for each, in a sentence; empty if they do not.

    Found by trying: whether made-up requests get the same log-likelihoods both ways. Tried once for a model and a
    length, since attention may reach only so far back.

    Args:
        model: A causal language model.
        longest: Positions that the longest request takes.
    """
    tried = _tried.setdefault(model, {})
    for length, why in tried.items():
        if (length <= longest) if why else (length >= longest):
            return why
    length = min(-(-longest // _PROBE_STEP) * _PROBE_STEP, num_positions(model))
    with evaluating(model):
        tried[length] = _why_not(model, length)
    return tried[length]


def _why_not(model: PreTrainedModel, length: int) -> str:
    requests = _made_up(model, length)
    some = requests[:: len(requests) - 1]
    plain = np.array([one.log_likelihood for one in score_plainly(model, some, TOKENS_PER_BATCH)])
    if np.isnan(plain).any():  # neither way tells anything
        return ""
    slowly = f"shared beginnings of prompts are scored again each time, since {type(model).__name__}"
    try:
        plan = Plan(requests, budget=16, min_saved=1)
        shared = np.array([one.log_likelihood for one in _scored(model, requests, plan, None)])
    except Exception as error:  # any code at all may run in a model's forward, and all that fails here is the attempt
        return f"{slowly} cannot take branches side by side ({type(error).__name__}: {error})"
    rounding = max(1e-4, torch.finfo(model.dtype).eps ** 0.5)
    apart = np.abs(shared[:: len(requests) - 1] - plain) / np.maximum(1, np.abs(plain))
    if not (apart <= rounding).all():
        return f"{slowly} gives other log-likelihoods with branches side by side ({apart.max():.2g} apart)"
    return ""


def _made_up(model: PreTrainedModel, length: int) -> list[Request]:
    """Requests for stems upon a stem and rows of several branches, of a length in positions."""
    tail = max(1, min(4, length // 4))
    trunk = max(1, length - 4 * tail)
    middle = max(1, length - trunk - tail + 1)
    vocabulary = int(model.config.get_text_config().vocab_size)
    ids = iter(rng.integers(vocabulary, _PROBE, np.arange(trunk + 2 * middle + 6 * tail)).tolist())
    first, *others = (tuple(islice(ids, size)) for size in (trunk, middle, middle))
    tails = [tuple(islice(ids, tail)) for _ in range(6)]
    return [Request(first + other, last) for other in others for last in tails]


def _scored(model: PreTrainedModel, requests: Sequence[Request], plan: Plan, compute: Compute | None) -> list[Scored]:
    rank, processes = (0, 1) if compute is None else (compute.rank, compute.num_processes)
    log_probs, hits = score_shared(model, plan, rank, processes)
    if compute is not None and processes > 1:  # each answer comes from one process and is 0 in the others
        log_probs, hits = compute.sum(torch.from_numpy(np.stack([log_probs, hits]))).numpy()
    ends = zip(requests, plan.bounds[:-1].tolist(), plan.bounds[1:].tolist(), strict=True)
    return [Scored(float(log_probs[a:b].sum()), bool(hits[a:b].all()), *request) for request, a, b in ends]
