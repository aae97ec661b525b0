"""What prompting needs of a model: that it is causal, how long its input may be, that nothing is trained."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft.errors import CheckpointError
from ptft.tokenization import check_pair


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
