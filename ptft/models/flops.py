"""Floating-point operations of training, by formula, and what the device could do at best."""

import math
import re
import time
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel


class Flops(NamedTuple):
    """Model FLOPs of a forward and backward pass.

    Attributes:
        slot: Of one position (a token or padding) in the body.
        prediction: Of one predicted position in the vocabulary head.
    """

    slot: float
    prediction: float

    def of(self, num_slots: float, num_predictions: float) -> float:
        """Of so many positions, at so many of which a token is predicted."""
        return self.slot * num_slots + self.prediction * num_predictions


def model_flops(model: PreTrainedModel, length: float) -> Flops:
    """Count the FLOPs of one position, whatever is done with it in fact.

    - The body: six per weight of its matrices, and ``12 * width * length`` per layer for attention. In a layer whose
      attention is local the length is its window, if that is shorter. Causal attention counts in full, as in PaLM and
      nanoGPT, though a kernel may leave out the half that is masked.
    - The vocabulary head: six per weight of the matrices behind the body, the output embeddings among them.
    - Nothing for look-ups of embeddings, for norms, biases and activations, for a pooler, which sees one position of a
      row, for logits where no token is predicted, for recomputation and for the optimizer.

    Args:
        model: A stock model.
        length: Positions of a row.

    Paper: Chowdhery et al. 2022 (PaLM), arXiv 2204.02311, appendix B. Differs: the head counts at predicted positions
    only.
    """
    config, body, output = model.config, model.base_model, model.get_output_embeddings()
    pooler = getattr(body, "pooler", None)
    inside = {id(parameter) for parameter in body.parameters()}
    skip = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    skip |= {id(parameter) for parameter in pooler.parameters()} if isinstance(pooler, nn.Module) else set()
    matrices = {id(p): p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in skip}
    of_body = sum(size for key, size in matrices.items() if key in inside)
    of_head = sum(size for key, size in matrices.items() if key not in inside)
    if output is None:
        of_head = 0
    elif id(output.weight) not in matrices:  # tied to the input's
        of_head += output.weight.numel()
    attention = 12 * config.hidden_size * sum(min(length, window) for window in _windows(config))
    return Flops(float(6 * of_body + attention), float(6 * of_head))


def _windows(config: PretrainedConfig) -> list[float]:
    """For each layer how many positions one position sees at most."""
    window = getattr(config, "local_attention", None) or getattr(config, "sliding_window", None) or math.inf
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else math.inf for kind in kinds[: config.num_hidden_layers]]


class Rates(NamedTuple):
    """Dense matrix rates of a device by its data sheet, in FLOP/s, without sparsity; 0 for what it does not have.

    Attributes:
        half: Of bf16 and fp16, summed in fp32.
        tf32: Of fp32 numbers rounded to TF32.
        fp32: Of fp32 as it is.
        has_bf16: Whether ``half`` holds for bf16, too.
    """

    half: float
    tf32: float
    fp32: float
    has_bf16: bool = True


_HOPPER = Rates(989e12, 494e12, 67e12)
_HOPPER_NVL = Rates(835e12, 417e12, 60e12)
RATES: Mapping[str, Rates] = {
    "B200": Rates(2250e12, 1125e12, 75e12),
    "H200": _HOPPER,
    "H200 NVL": _HOPPER_NVL,
    "H100": _HOPPER,
    "H100 NVL": _HOPPER_NVL,
    "H100 PCIe": Rates(756e12, 378e12, 51e12),
    "A100": Rates(312e12, 156e12, 19.5e12),
    "L40S": Rates(362e12, 183e12, 91.6e12),
    "L4": Rates(121e12, 60e12, 30.3e12),
    "A10": Rates(125e12, 62.5e12, 31.2e12),
    "T4": Rates(65e12, 0, 8.1e12, has_bf16=False),
    "V100 SXM2": Rates(125e12, 0, 15.7e12, has_bf16=False),
    "V100 PCIE": Rates(112e12, 0, 14e12, has_bf16=False),
    "RTX 4090": Rates(165.2e12, 82.6e12, 82.6e12),
    "RTX 3090": Rates(71e12, 35.6e12, 35.6e12),
}
"""By the words of a device's name, from NVIDIA's data sheets: of data centers' GPUs those of the product, of the RTX
4090 the Ada and of the RTX 3090 the GA102 architecture white paper. Where a sheet gives rates with sparsity, half."""
_ANOTHER_CHIP = {"TI", "SUPER", "D", "LAPTOP", "MOBILE", "MAX"}  # after a known name


def known_rates(device_name: str) -> Rates | None:
    """The data sheet's rates of a GPU by its name, or None: whole words must fit, the longest of :data:`RATES` wins.

    A part of a card (MIG) has no data sheet, nor has a chip that shares its name with another.
    """
    words = re.findall(r"[A-Z0-9]+", device_name.upper())
    if "MIG" in words:
        return None
    found: dict[int, Rates] = {}
    for known, rates in RATES.items():
        own = known.upper().split()
        for end in range(len(own), len(words) + 1):
            if words[end - len(own) : end] == own and not _ANOTHER_CHIP & {*words[end : end + 1]}:
                found[len(own)] = rates
    return found[max(found)] if found else None


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The device's matrix rate in FLOP/s: that of a GPU's data sheet, otherwise what a product of matrices reaches.

    The rate of fp32 is that of TF32 if torch may take it. What is not in :data:`RATES` is measured once a process, with
    as many threads as torch has then: in a tenth of a second on a CPU core.
    """
    if device.type == "cuda":
        rates = known_rates(torch.cuda.get_device_name(device))
        rate = rates and _rate_of(rates, dtype, uses_tf32=torch.backends.cuda.matmul.fp32_precision == "tf32")
        if rate:
            return rate
    return _measured(device, dtype, torch.get_num_threads())


def _rate_of(rates: Rates, dtype: torch.dtype, *, uses_tf32: bool) -> float:
    if dtype == torch.float32:
        return rates.tf32 if uses_tf32 and rates.tf32 else rates.fp32
    return rates.half if rates.has_bf16 or dtype == torch.float16 else 0.0


_SIDES = {"cpu": 1024}
_SIDE = 8192  # a GPU is done with less before it is told of the next


@cache
def _measured(device: torch.device, dtype: torch.dtype, _num_threads: int) -> float:
    """The best of some products of square matrices, after one that is not counted."""
    side = _SIDES.get(device.type, _SIDE)
    left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
    seconds = []
    for _ in range(6):
        begin = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # waits for it
        seconds.append(time.perf_counter() - begin)
    return 2 * side**3 / min(seconds[1:])
