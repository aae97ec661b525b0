"""Floating-point operations of training, by formula, and what the device could do at best."""

import math
import time

import torch
from transformers import PretrainedConfig, PreTrainedModel

# Dense bf16 peak rates in FLOP/s, from the vendors' data sheets.
_PEAK_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12, "RTX 3090": 71e12}


def training_flops(model: PreTrainedModel, num_tokens: float, length: float, num_predictions: float) -> float:
    """FLOPs of a forward and backward pass over ``num_tokens`` slots.

    Six per weight of the body's matrices and token, ``12 * width * length`` per token and layer for attention, and six
    per weight of the vocabulary head at each predicted position: embeddings' look-ups and recomputation count nothing.
    In a layer whose attention is local the length is its window, if that is shorter.

    Args:
        model: A stock model.
        num_tokens: Positions that go through the body.
        length: Positions of a row.
        num_predictions: Positions that go through the vocabulary head.

    Paper: Chowdhery et al. 2022 (PaLM), arXiv 2204.02311, appendix B.
    """
    config = model.config
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    output = model.get_output_embeddings()
    head = output.weight if output is not None else None
    skip = embeddings | ({id(head)} if head is not None else set())
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in skip)
    attention = 12 * config.hidden_size * sum(min(length, window) for window in _windows(config))
    head_size = head.numel() if head is not None else 0
    return float((6 * matrices + attention) * num_tokens + 6 * head_size * num_predictions)


def _windows(config: PretrainedConfig) -> list[float]:
    """For each layer how many positions one position sees at most."""
    window = getattr(config, "local_attention", None) or getattr(config, "sliding_window", None) or math.inf
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else math.inf for kind in kinds[: config.num_hidden_layers]]


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The device's matrix rate in FLOP/s: from a table for known GPUs, otherwise measured in a tenth of a second."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, rate in _PEAK_BF16.items():
            if known in name:
                return rate if dtype != torch.float32 else rate / 2
    side = 1024
    left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        (left @ right).sum().item()
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best
