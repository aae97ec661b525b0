"""Continue a text with a causal model: greedily, or by sampling that is a function of the seed alone."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.errors import DataError, RecipeError
from ptft.prompting.decoder import check_decoder, evaluating, num_positions

_SAMPLING = rng.key_of("prompting.generate")


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    *,
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> str:
    """Return what the model writes after ``prompt``, without the prompt.

    The beginning-of-text token, where the tokenizer has one, precedes the prompt. Writing ends after
    ``max_new_tokens``, at the end-of-text token, before a ``stop`` text, or when the model's positions are used up.
    No global random generator is read or changed.

    Args:
        model: A causal language model; its training or evaluation mode is as before afterwards.
        tokenizer: The tokenizer it was pretrained with.
        prompt: The text to continue; it may be empty.
        max_new_tokens: Most tokens to write, at least 1.
        temperature: 0 takes the most probable token each time; above, logits are divided by it and a token is drawn.
        top_p: Draw only from the most probable tokens that together reach this probability, in (0, 1].
        seed: Of the draws, at least 0.
        stop: Texts before which writing ends; they are not returned.

    Raises:
        CheckpointError: The model is not a causal language model.
        RecipeError: A setting is out of range.
        DataError: The prompt is longer than the model's positions, or empty where there is no token to begin with.

    Paper: Holtzman et al. 2020 (nucleus sampling), arXiv 1904.09751.
    """
    check_writing(max_new_tokens, stop)
    _check_sampling(temperature, top_p, seed)
    check_decoder(model, tokenizer)
    prompt_ids = _prompt_ids(tokenizer, prompt, num_positions(model))
    return continued(
        model, tokenizer, prompt_ids, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed,
        stop=stop,
    )  # fmt: skip


def continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: list[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> str:
    """What :func:`generate` writes after the ready ids of a prompt, which begin as their maker wants them to.

    Args:
        model: A causal language model, with no fewer positions than the prompt has ids.
        tokenizer: The tokenizer it was pretrained with.
        prompt_ids: At least one.
        max_new_tokens: As there, and so on.
        temperature: As there.
        top_p: As there.
        seed: As there.
        stop: As there.

    Raises:
        RecipeError: A setting is out of range.
    """
    check_writing(max_new_tokens, stop)
    _check_sampling(temperature, top_p, seed)
    new_ids: list[int] = []
    text = ""
    fed = torch.tensor([prompt_ids], device=model.device)
    state: dict[str, Any] = {}
    with evaluating(model):
        while len(new_ids) < max_new_tokens and len(prompt_ids) + len(new_ids) <= num_positions(model):
            outputs = model(input_ids=fed, use_cache=True, **state)
            next_id = _choose(outputs.logits[0, -1].float().cpu(), temperature, top_p, seed, len(new_ids))
            if next_id == tokenizer.eos_token_id:
                break
            new_ids.append(next_id)
            text = written_after(tokenizer, prompt_ids, new_ids)
            ends = [text.index(end) for end in stop if end in text]
            if ends:
                return text[: min(ends)]
            cache = getattr(outputs, "past_key_values", None)
            newest = torch.tensor([[next_id]], device=model.device)
            # A model without a key-value cache reads the whole text again.
            fed = torch.cat([fed, newest], dim=1) if cache is None else newest
            state = {} if cache is None else {"past_key_values": cache}
    return text


def check_writing(max_new_tokens: int, stop: Sequence[str]) -> None:
    """Refuse settings under which nothing would be written.

    Raises:
        RecipeError: A setting is out of range.
    """
    if max_new_tokens < 1:
        raise RecipeError(f"max_new_tokens is {max_new_tokens!r}; it must be at least 1")
    if isinstance(stop, str) or "" in stop:
        raise RecipeError(f"stop is {stop!r}; give a list of texts that are not empty")


def _check_sampling(temperature: float, top_p: float, seed: int) -> None:
    if not 0.0 <= temperature < float("inf"):
        raise RecipeError(f"temperature is {temperature!r}; it must be 0 (greedy) or a positive number")
    if not 0.0 < top_p <= 1.0:
        raise RecipeError(f"top_p is {top_p!r}; it must be above 0 and at most 1")
    if seed < 0:
        raise RecipeError(f"seed is {seed!r}; it must be at least 0")


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, positions: int) -> list[int]:
    ids = list(tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
    if tokenizer.bos_token_id is not None:
        ids = [int(tokenizer.bos_token_id), *ids]
    if not ids:
        raise DataError("the prompt is empty and the tokenizer has no bos_token to begin with; give a prompt")
    if len(ids) > positions:
        raise DataError(
            f"the prompt has {len(ids)} tokens but the model has {positions} positions; give a shorter prompt"
        )
    return ids


def _choose(logits: Float[Tensor, "vocab"], temperature: float, top_p: float, seed: int, position: int) -> int:
    if temperature == 0.0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits.double() / temperature, dim=-1).sort(descending=True, stable=True)
    cumulative = probabilities.cumsum(dim=0)
    # The nucleus is the shortest head of the order that reaches top_p: its last token is the one that crosses.
    size = min(int((cumulative < top_p).sum()) + 1, len(order))
    target = float(rng.uniform(_SAMPLING, seed, position)) * float(cumulative[size - 1])
    return int(order[min(int((cumulative[:size] <= target).sum()), size - 1)])


def written_after(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
    """The text of the new tokens as it stands after the prompt (a first piece alone may lose its space)."""
    both = (prompt_ids, (*prompt_ids, *new_ids), new_ids)
    before, whole, alone = (str(tokenizer.decode(list(ids), skip_special_tokens=True)) for ids in both)
    return whole[len(before) :] if whole.startswith(before) else alone
