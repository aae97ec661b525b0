"""Evaluate a pretrained model on held-out rows that are the same at every evaluation."""

from collections.abc import Sequence

import torch

from ptft.compute import Compute
from ptft.models.compiling import eagerly
from ptft.models.prediction import Forward
from ptft.objectives.objective import Objective
from ptft.training.work import BatchSource, PretrainingModule


def evaluate(
    module: PretrainingModule,
    objectives: Sequence[Objective],
    source: BatchSource,
    compute: Compute,
    *,
    steps: int,
    frequent_token: int,
) -> dict[str, float]:
    """Figures of every objective over the first ``steps`` batches of held-out data.

    Args:
        module: The model with its objectives.
        objectives: Their figures are given.
        source: Held-out batches; their masks and pairs depend on nothing but its own seed.
        compute: Device and precision; several processes share the batches.
        steps: Batches to use.
        frequent_token: The training corpus's most frequent token.
    """
    sums: dict[str, dict[str, float]] = {objective.name: {} for objective in objectives}
    was_training = module.training
    module.eval()
    with torch.inference_mode(), compute.autocast(), eagerly():
        for step in range(compute.rank, max(steps, compute.num_processes), compute.num_processes):
            share = float(step < steps)  # a process without a batch of its own adds zeros
            batch = source.batch(min(step, steps - 1), 0, source.rows_per_step)
            tensors = {name: tensor.to(compute.device) for name, tensor in batch.tensors.items()}
            forward = Forward(module.model, tensors)
            for objective in objectives:
                values = objective.evaluate(forward, tensors, frequent_token)
                values["count"] = batch.counts[objective.name]
                own = sums[objective.name]
                for name, value in values.items():
                    own[name] = own.get(name, 0.0) + share * value
    module.train(was_training)
    figures: dict[str, float] = {}
    for objective in objectives:
        own = sums[objective.name]
        totals = compute.sum(torch.tensor(list(own.values()), dtype=torch.float64)).tolist()
        figures |= objective.figures(dict(zip(own, totals, strict=True)))
    return figures
