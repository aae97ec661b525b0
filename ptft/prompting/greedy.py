"""Continue many prompts side by side, taking the most probable token each time."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.prompting.decoder import check_decoder, evaluating, num_positions
from ptft.prompting.generate import check_writing, written_after
from ptft.prompting.scoring import TOKENS_PER_BATCH

Ids = Int[ndarray, " tokens"]
_PROBE = rng.key_of("prompting.greedy.probe")
_PROBE_STEP = 64
_LEAST_SHARED = 16  # tokens of a common beginning that are worth a call of their own
_TAIL = 32  # tokens of a prompt on which the text of what follows may depend


class Written(NamedTuple):
    """What a model wrote after one prompt."""

    text: str
    """Without the stop text."""
    tokens: int
    """Number of tokens that were written, those of a stop text included and the end-of-text token excluded."""
    ended_by: Literal["stop", "end", "limit"]
    """A stop text, the end-of-text token, or the number of tokens or positions."""


class Ability(NamedTuple):
    """What a model can do with prompts side by side."""

    shares: bool
    """Whether what all of them begin with may go through it once."""
    pads: bool
    """Whether they may differ in length."""
    why: str
    """Why it cannot do both, in a sentence."""


_tried: WeakKeyDictionary[PreTrainedModel, dict[int, Ability]] = WeakKeyDictionary()


def write_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Ids],
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    tokens_per_batch: int = TOKENS_PER_BATCH,
    progress: Callable[[int], None] = lambda done: None,
    say: Callable[[str], None] = warnings.warn,
) -> list[Written]:
    """Continue ready ids as :func:`~ptft.prompting.generate` does greedily: the same texts but for rounding, faster.

    Prompts of about the same length go through the model together, padded on the left, and what all of them begin with
    goes through it once. A prompt that is done leaves its batch. A model that cannot do this, which is tried, gets
    prompts with their beginnings, or only prompts of equal length, side by side.

    Args:
        model: A causal language model; its training or evaluation mode is as before afterwards.
        tokenizer: The tokenizer it was pretrained with.
        prompts: The ids of each, at least one and at most as many as the model has positions. Those that begin alike
            should come in one call.
        max_new_tokens: Most tokens to write, at least 1; fewer where positions are used up.
        stop: Texts before which writing ends.
        tokens_per_batch: Upper bound for rows times length of a batch, but for a single prompt that is longer.
        progress: Called with the number of prompts that were continued.
        say: Told why not all of this can be done, where it makes a difference.

    Raises:
        CheckpointError: The model is not a causal language model.
        RecipeError: A setting is out of range.
    """
    check_writing(max_new_tokens, stop)
    check_decoder(model, tokenizer)
    if not prompts:
        return []
    lengths = [len(prompt) for prompt in prompts]
    can = ability(model, min(max(lengths) + max_new_tokens, num_positions(model)))
    if not can.pads and len(set(lengths)) > 1:
        say(can.why)
    once = cache(say)
    written: dict[int, Written] = {}
    with evaluating(model):
        for batch in _batches(lengths, max_new_tokens, tokens_per_batch, is_equal=not can.pads):
            some = [prompts[number] for number in batch]
            shared = _num_shared(some)
            if shared and can.pads and not can.shares:
                once(can.why)
            rows = _Rows(model, some, shared if can.shares else 0)
            limits = [min(max_new_tokens, num_positions(model) - len(prompt) + 1) for prompt in some]
            written |= zip(batch, _written(rows, tokenizer, some, limits, stop), strict=True)
            progress(len(written))
    return [written[number] for number in range(len(prompts))]


def ability(model: PreTrainedModel, longest: int) -> Ability:
    """Find out by trying what a model can do: whether made-up prompts get the same logits as alone.

    Tried once for a model and a length, since attention may reach only so far back.

    Args:
        model: A causal language model.
        longest: Positions that the longest text takes.
    """
    tried = _tried.setdefault(model, {})
    length = min(-(-longest // _PROBE_STEP) * _PROBE_STEP, num_positions(model))
    for other, can in tried.items():
        if other == length or (can.shares and other > length) or (not can.pads and other < length):
            return can
    with evaluating(model):
        tried[length] = _tried_out(model, length)
    return tried[length]


def _tried_out(model: PreTrainedModel, length: int) -> Ability:
    size = max(1, length - 1)  # one more token is fed
    half = size // 2
    long = rng.integers(int(model.config.get_text_config().vocab_size), _PROBE, np.arange(size))
    prompts = [long, long[: half + 1]]
    expected = torch.cat([_steps(model, [prompt], 0, min(2, length)) for prompt in prompts], dim=1)
    name = type(model).__name__
    if not (why := _why_not(model, prompts, half, expected)):
        return Ability(shares=True, pads=True, why="")
    if not (worse := _why_not(model, prompts, 0, expected)):
        again = "what prompts begin with goes through the model again for each, since"
        return Ability(shares=False, pads=True, why=f"{again} {name} {why} a common beginning")
    equal = "only prompts of equal length go side by side, since"
    return Ability(shares=False, pads=False, why=f"{equal} {name} {worse} padding")


def _why_not(
    model: PreTrainedModel, prompts: Sequence[Ids], shared: int, expected: Float[Tensor, "steps rows vocab"]
) -> str:
    try:
        found = _steps(model, prompts, shared, len(expected))
    except Exception as error:  # any code at all may run in a model's forward, and all that fails here is the attempt
        return f"fails ({type(error).__name__}: {error}) with"
    apart = float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
    is_same = apart <= max(1e-4, torch.finfo(model.dtype).eps ** 0.5)
    return "" if is_same else f"gives other logits ({apart:.2g} apart) with"


def _steps(
    model: PreTrainedModel, prompts: Sequence[Ids], shared: int, steps: int
) -> Float[Tensor, "steps rows vocab"]:
    """The logits after some prompts and, in a second step, after one token more."""
    rows = _Rows(model, prompts, shared)
    logits = [rows.logits]
    if steps > 1:
        logits.append(rows.feed(torch.zeros(len(prompts), 1, dtype=torch.long, device=model.device)))
    return torch.stack(logits).float()


def _batches(
    lengths: Sequence[int], max_new_tokens: int, tokens_per_batch: int, *, is_equal: bool
) -> Iterator[list[int]]:
    """Cut the numbers of the prompts, longest first, into batches, if so of one length each."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        if batch:
            longest = lengths[batch[0]]
            is_full = (len(batch) + 1) * (longest + max_new_tokens) > tokens_per_batch
            if is_full or (is_equal and lengths[number] != longest):
                yield batch
                batch = []
        batch.append(number)
    yield batch


def _num_shared(prompts: Sequence[Ids]) -> int:
    """Tokens that all prompts begin with, of which each has more; none where they are too few to matter."""
    shortest = min(map(len, prompts))
    heads = np.stack([prompt[: shortest - 1] for prompt in prompts])
    differs: Bool[ndarray, " tokens"] = (heads != heads[0]).any(0)
    shared = int(differs.argmax()) if differs.any() else shortest - 1
    return shared if len(prompts) > 1 and shared >= _LEAST_SHARED else 0


class _Rows:
    """Texts side by side in a model.

    Args:
        model: A causal language model in evaluation mode, without gradients.
        prompts: What the texts begin with.
        shared: Tokens that all of them begin with and that go through the model once.
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Ids], shared: int) -> None:
        self._model = model
        self._few = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
        self._cache: Any = None
        width = max(map(len, prompts)) - shared
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.ones(len(prompts), shared + width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            padding = shared + width - len(prompt)
            ids[row, padding:] = torch.from_numpy(prompt[shared:])
            mask[row, shared : shared + padding] = 0
        self._ids = ids[:, :0].to(model.device)
        self._mask = mask[:, :shared].to(model.device)
        self._is_padded = not mask.all()
        if shared:
            start = torch.from_numpy(prompts[0][:shared]).long()[None].to(model.device)
            self._cache = model(input_ids=start, use_cache=True, **self._few).past_key_values
            self._cache.batch_repeat_interleave(len(prompts))
        self.logits = self._fed(ids.to(model.device), mask[:, shared:].to(model.device))

    def feed(self, ids: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocab"]:
        """Go on with some tokens; gives the logits after them."""
        self.logits = self._fed(ids, torch.ones_like(ids))
        return self.logits

    def keep(self, places: Sequence[int]) -> None:
        """Forget all rows but some."""
        chosen = torch.tensor(places, device=self._ids.device)
        self._ids, self._mask = self._ids[chosen], self._mask[chosen]
        if self._cache is not None:
            self._cache.batch_select_indices(chosen)

    def _fed(self, ids: Int[Tensor, "rows new"], mask: Int[Tensor, "rows new"]) -> Float[Tensor, "rows vocab"]:
        self._mask = torch.cat([self._mask, mask], dim=1)
        if self._cache is None:  # a model without one reads everything again
            self._ids = ids = torch.cat([self._ids, ids], dim=1)
        where: dict[str, Tensor] = {}
        if self._is_padded:
            positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            where = {"attention_mask": self._mask, "position_ids": positions}
        state = {} if self._cache is None else {"past_key_values": self._cache}
        outputs = self._model(input_ids=ids, use_cache=True, **where, **state, **self._few)
        self._cache = getattr(outputs, "past_key_values", None)
        logits: Tensor = outputs.logits[:, -1]
        return logits


def _written(
    rows: _Rows, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Ids], limits: Sequence[int], stop: Sequence[str]
) -> list[Written]:
    tails = [prompt[-_TAIL:].tolist() for prompt in prompts]
    new_ids: list[list[int]] = [[] for _ in prompts]
    written: dict[int, Written] = {}
    going = list(range(len(prompts)))  # the prompt of each row
    while going:
        for number, token in zip(going, rows.logits.argmax(-1).tolist(), strict=True):
            new = new_ids[number]
            is_end = token == tokenizer.eos_token_id
            if not is_end:
                new.append(token)
            is_full = is_end or len(new) == limits[number]
            text = written_after(tokenizer, tails[number], new) if stop or is_full else ""
            ends = [text.index(end) for end in stop if end in text]
            if ends:
                written[number] = Written(text[: min(ends)], len(new), "stop")
            elif is_full:
                written[number] = Written(text, len(new), "end" if is_end else "limit")
        left = [place for place, number in enumerate(going) if number not in written]
        if 0 < len(left) < len(going):
            rows.keep(left)
        going = [going[place] for place in left]
        if going:
            rows.feed(torch.tensor([[new_ids[number][-1]] for number in going], device=rows.logits.device))
    return [written[number] for number in range(len(prompts))]
