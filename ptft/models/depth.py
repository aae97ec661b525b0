"""How deep in a stock model a weight lies, from the embeddings to the head."""

import re
from typing import cast

from torch import nn
from transformers import PreTrainedModel

from ptft.errors import RecipeError

_BEHIND = re.compile(r"(^|\.)(final|project_out)")  # parts that OPT has behind its layers and lists before them


def depths(model: PreTrainedModel, *, by_layer: bool = True) -> dict[str, int]:
    """The depth of each parameter by its name: 0 for embeddings, 1 to L for the L layers, L + 1 for heads.

    What lies behind the last layer in the body, such as a last norm or a pooler, goes with that layer. Heads are what
    lies outside of the body.

    Args:
        model: With a body or a body itself.
        by_layer: Whether to tell the layers apart; else all of the body has depth 0.

    Raises:
        RecipeError: The layers of the architecture cannot be told apart.
    """
    body = cast("PreTrainedModel", model.base_model)
    layers = layer_list(body) if by_layer else ""
    depth: dict[int, int] = {}
    reached, top = 0, model.config.num_hidden_layers + 1
    for name, parameter in body.named_parameters():
        is_inside = by_layer and name.startswith(f"{layers}.")
        if is_inside:
            reached = int(name.removeprefix(f"{layers}.").partition(".")[0]) + 1
        is_behind = by_layer and not is_inside and _BEHIND.search(name)
        depth[id(parameter)] = top - 1 if is_behind else reached
    return {name: depth.get(id(parameter), top) for name, parameter in model.named_parameters()}


def layer_list(body: PreTrainedModel) -> str:
    """The name under which a body keeps its layers.

    Raises:
        RecipeError: There is no list of so many layers as the configuration says.
    """
    for name, part in body.named_modules():
        if isinstance(part, nn.ModuleList) and len(part) == body.config.num_hidden_layers:
            return str(name)
    raise RecipeError(f"policy: the layers of {body.config.model_type} cannot be told apart; use policy=full")
