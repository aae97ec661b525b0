"""What a scorer is asked and what it answers."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ptft.errors import CheckpointError


class Request(NamedTuple):
    """The ids of one (context, continuation) pair; the continuation is scored given the context."""

    context_ids: tuple[int, ...]
    continuation_ids: tuple[int, ...]

    @property
    def num_inputs(self) -> int:
        """Number of positions a model needs: the last id is predicted but never fed."""
        return len(self.context_ids) + len(self.continuation_ids) - 1


class Scored(NamedTuple):
    """What a model makes of one (context, continuation) pair."""

    log_likelihood: float
    """Sum over the continuation's tokens of the natural log of their probability."""
    is_greedy: bool
    """Whether each token of the continuation is the most probable one."""
    context_ids: tuple[int, ...]
    """Token ids before the continuation, the beginning-of-text token included."""
    continuation_ids: tuple[int, ...]
    """Token ids that were scored."""


def refuse_nan(log_likelihoods: Float[ndarray, " requests"]) -> None:
    """Refuse a model by what it says.

    Raises:
        CheckpointError: A log-likelihood is not a number.
    """
    if np.isnan(log_likelihoods).any():
        raise CheckpointError(
            "the model gives log-likelihoods that are not numbers; its weights or its precision (16 bits "
            "overflow in some models) are unusable, so open another checkpoint or use 32 bits"
        )
