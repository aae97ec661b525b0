"""Log-likelihoods under a causal model, what requests have in common going through it once."""

import copy
import inspect
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor
from transformers import PreTrainedModel

from ptft.prompting.plan import Layout, Plan


def score_shared(
    model: PreTrainedModel, plan: Plan, rank: int = 0, processes: int = 1
) -> tuple[Float[ndarray, " answers"], Bool[ndarray, " answers"]]:
    """Log-probabilities of the continuations' tokens, and whether each is the most probable one.

    The model is given branches side by side in one row, with a mask over ancestors and positions by depth, and keys
    and values of what came before; it must be in evaluation mode, without gradients.

    Args:
        model: A causal language model.
        plan: Of requests that fit into the model's positions.
        rank: Number of this process.
        processes: How many share the passes; answers of the others are 0 and False here.

    Returns:
        Answers in the order of the plan's ``bounds``.
    """
    log_probs, hits = np.zeros(plan.bounds[-1]), np.zeros(plan.bounds[-1], bool)
    found: list[tuple[Int[ndarray, " asked"], Tensor]] = []
    kept: list[Any] = []  # of the stems that the pass at hand stands on
    for one, is_mine in plan.share(rank, processes):
        del kept[one.level :]
        layout = plan.layout(one)
        logits, cache = _forward(model, layout, kept[-1] if kept else None, one.start, keeps=one.is_stem)
        if one.is_stem:
            kept.append(cache)
        if is_mine and len(layout.asked):
            found.append((layout.asked[:, 2], _answers(logits, layout.asked)))
    if found:
        where = np.concatenate([places for places, _ in found])
        answers = torch.cat([values for _, values in found], dim=1).cpu().numpy()
        log_probs[where], hits[where] = answers[0], answers[1] > 0
    return log_probs, hits


def _forward(
    model: PreTrainedModel, layout: Layout, before: Any, depth: int, *, keeps: bool
) -> tuple[Float[Tensor, "slots vocab"], Any]:
    """The logits that a pass asks for, and its keys and values with those before it."""
    device = model.device
    slots = torch.from_numpy(layout.slots).to(device)
    # Projecting only what is asked for: some models cannot, and give all.
    few = {"logits_to_keep": slots} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    outputs = model(
        input_ids=torch.from_numpy(layout.ids)[None].to(device),
        position_ids=torch.from_numpy(layout.positions)[None].to(device),
        attention_mask=None if layout.sees is None else _mask(layout.sees, depth, model),
        past_key_values=None if before is None else _twin(before),
        use_cache=keeps,
        **few,
    )
    logits: Tensor = outputs.logits[0]
    return logits if few else logits[slots], outputs.past_key_values if keeps else None


def _mask(sees: Bool[ndarray, "tokens tokens"], depth: int, model: PreTrainedModel) -> Float[Tensor, "1 1 tokens keys"]:
    """What is added to attention's scores: all that is kept is seen, of the pass what ``sees`` says."""
    hidden = torch.zeros(1, 1, len(sees), depth + len(sees), dtype=model.dtype, device=model.device)
    blocked = torch.from_numpy(~sees).to(model.device)
    hidden[0, 0, :, depth:].masked_fill_(blocked, torch.finfo(model.dtype).min)
    return hidden


def _twin(cache: Any) -> Any:
    """Keys and values that can be added to while the given ones stay: adding makes new tensors."""
    twin = copy.copy(cache)
    twin.layers = [copy.copy(layer) for layer in cache.layers]
    return twin


def _answers(logits: Float[Tensor, "slots vocab"], asked: Int[ndarray, "asked 3"]) -> Float[Tensor, "2 asked"]:
    """Log-probability of each asked token, in 32 bits, and 1 where it is the most probable one."""
    slots, tokens, _ = torch.from_numpy(asked).to(logits.device).unbind(1)
    logits = logits.float()
    log_probs = logits[slots, tokens] - torch.logsumexp(logits, dim=-1)[slots]
    return torch.stack([log_probs, (logits.argmax(dim=-1)[slots] == tokens).float()])
