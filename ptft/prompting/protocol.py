"""The protocols: how texts become ids, and what becomes of what is too long."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.errors import RecipeError
from ptft.family import nearest
from ptft.prompting import encoding
from ptft.prompting.lm_eval import encoding as lm_eval
from ptft.prompting.request import Request

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Protocol:
    """One set of rules.

    Args:
        name: What settings and records call it.
        encode: Turns (context, continuation) texts into ids.
        fit: What a model sees of them; too long ones stay as they are where nothing is cut.
    """

    name: str
    encode: Callable[[PreTrainedTokenizerBase, Pairs], list[Request]]
    fit: Callable[[PreTrainedModel, PreTrainedTokenizerBase, list[Request]], list[Request]]


def _as_they_are(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, requests: list[Request]) -> list[Request]:
    return requests


def _cut(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, requests: list[Request]) -> list[Request]:
    positions = lm_eval.max_length(model, tokenizer)
    return [lm_eval.truncated(request, positions) for request in requests]


PTFT = Protocol("ptft", encoding.encode_pairs, _as_they_are)
LM_EVAL = Protocol(lm_eval.PROTOCOL, lm_eval.encode_pairs, _cut)
PROTOCOLS = {protocol.name: protocol for protocol in (PTFT, LM_EVAL)}


def protocol_of(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        RecipeError: There is none.
    """
    if name not in PROTOCOLS:
        raise RecipeError(f"unknown protocol {name!r}{nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]
