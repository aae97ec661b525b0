"""Compiling before a training begins: what it costs is no training time, and what cannot be compiled is a sentence."""

from torch import nn

from ptft.compute import Compute
from ptft.errors import DeviceError
from ptft.models.compiling import eagerly
from ptft.objectives.rows import Batch
from ptft.training.determinism import forward_and_back
from ptft.training.memory import is_out_of_memory

_LONGEST_REASON = 160


def compile_now(module: nn.Module, batch: Batch, compute: Compute) -> None:
    """Send one full micro-batch forward and back through a module whose body is to be compiled; nothing else changes.

    All processes must ask together. Where memory is short, the training finds that itself.

    Args:
        module: As the loop has it, in training.
        batch: A micro-batch of the shape that is compiled, on the module's device.
        compute: Device and precision.

    Raises:
        DeviceError: torch cannot compile it here, such as without a C++ compiler.
    """
    try:
        forward_and_back(module, batch, compute)
    except Exception as error:
        module.zero_grad(set_to_none=True)
        if is_out_of_memory(error):
            return
        with eagerly():
            forward_and_back(module, batch, compute)  # what is wrong without the compiler too is said as it is
        cause = getattr(error, "inner_exception", error)
        reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__).strip()
        raise DeviceError(
            f"compile: torch cannot compile this model here ({reason[:_LONGEST_REASON]}); give compile=false, or "
            f"{'install a C++ compiler such as g++' if compute.device.type == 'cpu' else 'a C compiler and triton'}"
        ) from error
