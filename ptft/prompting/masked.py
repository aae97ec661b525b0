"""Pseudo-log-likelihoods under a masked language model: each token is hidden and predicted from all the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.family import nearest
from ptft.models.alike_rows import AlikeRows, reads_alike_rows
from ptft.models.building import max_positions
from ptft.models.one_position import one_position
from ptft.models.onednn import onednn_products
from ptft.models.prediction import Forward, is_decoder, logits_of
from ptft.prompting.decoder import evaluating
from ptft.prompting.request import Scored, refuse_nan
from ptft.tokenization import check_pair

Method = Literal["within_word_l2r", "original"]
Grouping = Literal["within_word_l2r", "original", "left_to_right"]
Ids = NDArray[np.int64]
_SPANS_AT_ONCE = 1000  # tokenizers keep much beside the ids
_ROWS_IN_CACHE = 64  # of logits, over which a log-softmax passes several times
_TOKENS_ON_CPU = 2048  # of a batch at most: more are no faster, and their states are in no cache
_MOST_PADDING = 1 / 16  # of the longest row of a batch


class MaskedRequest(NamedTuple):
    """A row of ids of which some are scored."""

    ids: tuple[int, ...]
    """Of the whole row, special tokens included."""
    places: tuple[int, ...]
    """Where the scored tokens stand in it, in order."""
    groups: tuple[int, ...]
    """A number for each scored token: while it is predicted, later tokens of the same number are hidden as well."""

    @property
    def targets(self) -> tuple[int, ...]:
        """The scored ids."""
        return tuple(self.ids[place] for place in self.places)

    def masked_rows(self, mask_id: int) -> Ids:
        """The rows to predict from, one for each scored token, shaped (scored, ids)."""
        order, groups = np.arange(len(self.places)), np.array(self.groups)
        hidden = (groups[:, None] == groups) & (order[:, None] <= order)
        rows = np.tile(np.array(self.ids), (len(order), 1))
        at_row, at_token = np.nonzero(hidden)
        rows[at_row, np.array(self.places)[at_token]] = mask_id
        return rows


def pseudo_loglikelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    method: Method = "within_word_l2r",
    tokens_per_batch: int = 8192,
) -> list[Scored]:
    """Score how well each continuation fits its context, in the order of ``pairs``; both are seen in whole.

    The sum over the continuation's tokens of log P(token | everything else) in nats, taken in 32 bits whatever the
    model's precision. ``original`` hides the token alone; ``within_word_l2r`` also hides the tokens of the same word
    that come after it, since the rest of a rare word gives its beginning away. Words are those of the tokenizer's
    ``word_ids``. Special tokens stand where the tokenizer puts them and are never scored; the unknown token is.

    Context and continuation are tokenized together. A token belongs to the continuation if it ends behind the context,
    whose white space at its end counts for the continuation; so a token across the border is scored whole. An empty
    context scores all of the text. The result does not depend on the batching but for rounding.

    Args:
        model: A masked language model; its training or evaluation mode is as before afterwards.
        tokenizer: The fast tokenizer it was pretrained with.
        pairs: (context, continuation) texts.
        method: What is hidden beside the token.
        tokens_per_batch: Upper bound for rows times length of one forward pass, at least one row.

    Returns:
        Scores whose ``continuation_ids`` were scored and whose ``context_ids`` are all the others, in order.

    Raises:
        RecipeError: The method is unknown, or ``tokens_per_batch`` is below 1.
        CheckpointError: The model is no masked language model, or the tokenizer does not serve.
        DataError: A continuation has no token, or a text is longer than the model's positions.

    Paper: Salazar et al. 2020, arXiv 1910.14659 (original); Kauf and Ivanova 2023, arXiv 2305.10588 (within_word_l2r).
    Differs: minicons 0.3.39 means over tokens by default where this sums.
    """
    if method not in get_args(Method):
        raise RecipeError(f"unknown method {method!r}{nearest(method, get_args(Method))}")
    check_masked(model, tokenizer)
    spans = [(context, continuation, "") for context, continuation in pairs]
    requests = encode_spans(tokenizer, spans, grouping=method)
    return score_masked(model, tokenizer, requests, tokens_per_batch=tokens_per_batch)


def check_masked(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model or tokenizer that cannot fill masks.

    Raises:
        CheckpointError: The model is a decoder, an encoder-decoder or has no head over the vocabulary, the tokenizer
            has ids for which the model has no embedding or no mask token, or it is none of the fast ones.
    """
    name = type(model).__name__
    remedy = "this scoring needs an encoder, such as a BERT checkpoint opened with AutoModelForMaskedLM"
    if is_decoder(model) or getattr(model.config, "is_decoder", False):
        raise CheckpointError(
            f"{name} is a decoder: it sees a token's left side only; {remedy}; a decoder is scored by loglikelihoods"
        )
    if model.config.is_encoder_decoder:
        raise CheckpointError(f"{name} is an encoder-decoder; {remedy}")
    if model.get_output_embeddings() is None:
        raise CheckpointError(f"{name} has no logits over the vocabulary; {remedy}")
    check_pair(tokenizer, model.config)
    if tokenizer.mask_token_id is None:
        raise CheckpointError(
            "the tokenizer has no mask token, so no token can be hidden; use the tokenizer that the masked language "
            "model was pretrained with"
        )
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"{type(tokenizer).__name__} does not tell where its tokens stand in the text; open it as a fast tokenizer"
        )


def encode_spans(
    tokenizer: PreTrainedTokenizerBase, spans: Sequence[tuple[str, str, str]], *, grouping: Grouping
) -> list[MaskedRequest]:
    """Turn (before, scored, after) texts into ids, tokenized together; see :func:`pseudo_loglikelihoods`.

    Args:
        tokenizer: A fast tokenizer with a mask token.
        spans: The texts.
        grouping: What is hidden beside a token: nothing, the later tokens of its word, or, by ``left_to_right``, all
            later scored tokens.

    Raises:
        DataError: There is no token to score in one of them.
    """
    frame = {getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "cls", "sep", "pad", "mask")}
    distinct = list(dict.fromkeys(spans))
    requests: dict[tuple[str, str, str], MaskedRequest] = {}
    for first in range(0, len(distinct), _SPANS_AT_ONCE):
        some = distinct[first : first + _SPANS_AT_ONCE]
        # verbose=False: the tokenizer's remark on long texts is not needed: the model's positions are checked.
        encodings = tokenizer(["".join(span) for span in some], verbose=False).encodings or ()
        requests |= {
            span: _request(encoding, span, frame, grouping) for span, encoding in zip(some, encodings, strict=True)
        }
    return [requests[span] for span in spans]


def _request(encoding: Any, span: tuple[str, str, str], frame: set[int | None], grouping: Grouping) -> MaskedRequest:
    before, scored, after = span
    # Some tokenizers give white space an empty place, which must not be lost at either end of the text.
    start = len(before.rstrip()) if before else -1
    end = len(before) + len(scored) + (0 if after else 1)
    ids = encoding.ids
    is_special = encoding.special_tokens_mask
    places = tuple(
        place
        for place, (first, last) in enumerate(encoding.offsets)
        if last > start and first < end and not is_special[place] and ids[place] not in frame
    )
    if not places:
        raise DataError(
            f"the text {scored!r} adds no token to its context (which ends in {before[-40:]!r}); give a text that is "
            "not empty and that the tokenizer can spell"
        )
    words = encoding.word_ids
    groups = {
        "original": tuple(range(len(places))),
        "left_to_right": (0,) * len(places),
        # A special token written in the text is of no word; it stands for itself.
        "within_word_l2r": tuple(-1 - place if words[place] is None else words[place] for place in places),
    }
    return MaskedRequest(tuple(ids), places, groups[grouping])


def score_masked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[MaskedRequest],
    *,
    tokens_per_batch: int = 8192,
) -> list[Scored]:
    """Score ready ids, in the order of ``requests``; equal requests, and equal rows of a batch, are computed once.

    Raises:
        RecipeError: ``tokens_per_batch`` is below 1.
        DataError: A row is longer than the model's positions.
        CheckpointError: A log-likelihood is not a number.
    """
    if tokens_per_batch < 1:
        raise RecipeError(f"tokens_per_batch is {tokens_per_batch!r}; it must be at least 1")
    longest, positions = max((len(request.ids) for request in requests), default=0), max_positions(model.config)
    if longest > positions:
        raise DataError(
            f"a text has {longest} tokens, special ones included, but the model has {positions} positions; shorten "
            "the text or use fewer shots"
        )
    mask_id, pad_id = int(tokenizer.mask_token_id), int(tokenizer.pad_token_id or 0)
    most_tokens = min(tokens_per_batch, _TOKENS_ON_CPU) if model.device.type == "cpu" else tokens_per_batch

    def order(request: MaskedRequest) -> tuple[Any, ...]:
        # Rows that are equal while all scored tokens are hidden come together, such as words that fill the same gap.
        hidden = list(request.ids)
        for place in request.places:
            hidden[place] = mask_id
        return -len(hidden), hidden, request

    distinct = sorted(set(requests), key=order)
    sums, greedy = np.zeros(len(distinct)), np.ones(len(distinct), bool)
    with evaluating(model), onednn_products():
        body = AlikeRows(model) if reads_alike_rows(model) else None
        for batch in _batches(distinct, mask_id, most_tokens):
            values, is_best = _score_batch(model, body, batch, pad_id)
            np.add.at(sums, batch.owners, values)
            np.logical_and.at(greedy, batch.owners, is_best)
    refuse_nan(sums)
    numbers = {request: number for number, request in enumerate(distinct)}
    return [_scored(request, sums[numbers[request]], greedy[numbers[request]]) for request in requests]


def _scored(request: MaskedRequest, log_likelihood: float, is_greedy: bool) -> Scored:
    places = set(request.places)
    others = tuple(token for place, token in enumerate(request.ids) if place not in places)
    return Scored(float(log_likelihood), bool(is_greedy), others, request.targets)


@dataclass
class _Batch:
    """Different rows, the longest first, and the tokens that are predicted from them."""

    rows: list[Ids] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    numbers: dict[tuple[bytes, int], int] = field(default_factory=dict)
    owners: list[int] = field(default_factory=list)
    """For each predicted token the number of its request."""
    sources: list[int] = field(default_factory=list)
    """And that of its row."""
    targets: list[int] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Tokens of the longest row."""
        return len(self.rows[0])

    def has_room(self, row: Ids, tokens: int) -> bool:
        """Whether one more row would be within the budget and waste little."""
        if not self.rows:
            return True
        return (len(self.rows) + 1) * self.width <= tokens and len(row) >= self.width * (1 - _MOST_PADDING)

    def add(self, key: tuple[bytes, int], row: Ids, owner: int, target: int) -> None:
        """Predict one more token, from a row that is new or there already."""
        if key not in self.numbers:
            self.numbers[key] = len(self.rows)
            self.rows.append(row)
            self.places.append(key[1])
        self.owners.append(owner)
        self.sources.append(self.numbers[key])
        self.targets.append(target)


def _batches(requests: Sequence[MaskedRequest], mask_id: int, tokens_per_batch: int) -> Iterator[_Batch]:
    """Cut the rows of requests, which come longest first, into batches."""
    batch = _Batch()
    for owner, request in enumerate(requests):
        rows = request.masked_rows(mask_id)
        for row, place, target in zip(rows, request.places, request.targets, strict=True):
            key = (row.tobytes(), place)
            if key not in batch.numbers and not batch.has_room(row, tokens_per_batch):
                yield batch
                batch = _Batch()
            batch.add(key, row, owner, target)
    if batch.rows:
        yield batch


def _score_batch(
    model: PreTrainedModel, body: AlikeRows | None, batch: _Batch, pad_id: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Log-probability of each target, and whether it is the most probable token."""
    input_ids = np.full((len(batch.rows), batch.width), pad_id)
    lengths = np.array([len(row) for row in batch.rows])
    is_token = np.arange(batch.width) < lengths[:, None]
    input_ids[is_token] = np.concatenate(batch.rows)
    mask = None if is_token.all() else torch.from_numpy(is_token).to(model.device)
    rows, places = torch.from_numpy(input_ids).to(model.device), torch.tensor(batch.places, device=model.device)
    if body is None:
        logits = _logits(model, rows, mask, places).float()
    else:
        logits = logits_of(model, body.states(rows, mask, places)).float()
    sources = torch.tensor(batch.sources, device=model.device)
    targets = torch.tensor(batch.targets, device=model.device)
    best, at_targets = logits.amax(-1), logits[sources, targets]
    best_log_probability = torch.cat([part.log_softmax(-1).amax(-1) for part in logits.split(_ROWS_IN_CACHE)])
    values = at_targets + (best_log_probability - best)[sources]
    is_best = at_targets == best[sources]
    return values.double().cpu().numpy(), is_best.cpu().numpy()


def _logits(
    model: PreTrainedModel,
    input_ids: Int[Tensor, "rows seq"],
    is_token: Bool[Tensor, "rows seq"] | None,
    places: Int[Tensor, " rows"],
) -> Float[Tensor, "rows vocabulary"]:
    """The logits at one place of each row; ``is_token`` is False at padding, or None if there is none."""
    inputs = {"input_ids": input_ids}
    if is_token is not None:
        inputs["attention_mask"] = is_token.long()
    with one_position(model, places):
        forward = Forward(model, inputs)
    rows, width = input_ids.shape
    return forward.token_logits(torch.arange(rows, device=model.device) * width + places)
