"""Layers whose activations are computed once more on the way back, in place of being kept.

Paper: Chen et al. 2016, arXiv 1604.06174.
"""

from transformers import PreTrainedModel

from ptft.errors import RecipeError


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Keep only the input of each of a model's layers while it trains, in place; losses and gradients stay.

    A layer that is computed again draws the dropout that it drew before.

    Raises:
        RecipeError: The architecture cannot do it.
    """
    if not model.supports_gradient_checkpointing:
        raise RecipeError(
            f"gradient_checkpointing: the layers of {model.config.model_type} cannot be computed again; leave it out"
        )
    options = {"use_reentrant": False, "preserve_rng_state": True}
    if hasattr(model, "activation_checkpointing_enable"):  # the other name is deprecated where this one is
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
