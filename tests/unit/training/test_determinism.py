"""The setting ``deterministic`` and the sentence about its cost."""

import os
import re
import warnings

import pytest
import torch
from torch import nn

from ptft.compute import Compute
from ptft.objectives.rows import Batch
from ptft.training.determinism import cost_of_determinism


@pytest.fixture(autouse=True)
def usual_mode():
    yield
    torch.use_deterministic_algorithms(True, warn_only=True)


@pytest.mark.parametrize(("setting", "is_on"), [("auto", True), (True, True), (False, False)])
def test_setting(setting, is_on, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    compute = Compute("fp32", deterministic=setting)
    assert compute.is_deterministic == torch.are_deterministic_algorithms_enabled() == is_on
    assert torch.backends.cudnn.deterministic == is_on
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if is_on else None)


class Squares(nn.Module):
    """A loss that notes in which mode it was computed."""

    def __init__(self, complaint=""):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.modes = []
        self.complaint = complaint

    def forward(self, tensors):
        self.modes.append(torch.are_deterministic_algorithms_enabled())
        if self.modes[-1] and self.complaint:
            warnings.warn(self.complaint, stacklevel=1)
        return {"squares": (self.weight * tensors["x"]).square().sum()}


def batch():
    return Batch({"x": torch.arange(3.0)}, {"squares": 3}, 3, 3)


def test_cost_is_measured_in_both_modes_and_leaves_nothing_behind():
    module, compute = Squares(), Compute("fp32", deterministic=True)
    sentence = cost_of_determinism(module, batch(), compute)
    assert re.fullmatch(r"deterministic=true: forward and backward take \d+\.\d\d times as long here", sentence)
    assert set(module.modes) == {True, False}
    assert module.weight.grad is None
    assert module.weight.eq(1).all()
    assert torch.are_deterministic_algorithms_enabled()


def test_what_has_no_such_algorithm_is_named():
    complaint = "cumsum_cuda_kernel does not have a deterministic implementation, but you set ..."
    sentence = cost_of_determinism(Squares(complaint), batch(), Compute("fp32", deterministic=True))
    assert sentence.endswith("times as long here; torch has no such algorithm for cumsum_cuda_kernel")
