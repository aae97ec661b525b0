"""Muon in batches beside torch's own, which takes one matrix after the other."""

import pytest
import torch

from ptft.optim import batched_muon
from ptft.optim.batched_muon import BatchedMuon

SHAPES = [(8, 8), (8, 24), (24, 8), (8, 24), (24, 8), (8, 8), (5, 7)]


def steps(kind, number=5, missing=(), **options):
    draw = torch.Generator().manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]
    groups = [{"params": matrices[:4], "lr": 0.05}, {"params": matrices[4:], "lr": 0.01, "weight_decay": 0.0}]
    optimizer = kind(groups, weight_decay=0.1, **options)
    for step in range(number):
        for place, matrix in enumerate(matrices):
            gradient = torch.randn(matrix.shape, generator=draw) * 10.0 ** (place % 3 - 2)
            matrix.grad = None if place in missing and step == 2 else gradient
        optimizer.step()
    return matrices, optimizer


@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("others", [{}, {"nesterov": False, "momentum": 0.5}, {"ns_steps": 2, "eps": 10.0}])
def test_weights_and_state_are_those_of_torch(scaling, others):
    ours, optimizer = steps(BatchedMuon, adjust_lr_fn=scaling, **others)
    theirs, reference = steps(torch.optim.Muon, adjust_lr_fn=scaling, **others)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)  # of updates of 5e-2, whose products are in bf16
        name, state = "momentum_buffer", optimizer.state[one]
        assert list(state) == [name]
        torch.testing.assert_close(state[name], reference.state[other][name])


def test_what_is_done_at_once_does_not_matter(monkeypatch):
    together, _ = steps(BatchedMuon)
    monkeypatch.setitem(batched_muon._ELEMENTS_AT_ONCE, "cpu", 300)  # one matrix of 192 at once
    alone, _ = steps(BatchedMuon)
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)


def test_a_matrix_without_gradient_stays():
    ours, _ = steps(BatchedMuon, missing=(1, 4))
    theirs, _ = steps(torch.optim.Muon, missing=(1, 4))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)


def test_each_continues_the_other():
    ours, optimizer = steps(BatchedMuon)
    theirs, reference = steps(torch.optim.Muon)
    reference.load_state_dict(optimizer.state_dict())
    optimizer.load_state_dict(reference.state_dict())
    assert all(
        torch.equal(optimizer.state[m]["momentum_buffer"], reference.state[o]["momentum_buffer"])
        for m, o in zip(ours, theirs, strict=True)
    )


def test_matrices_of_two_sides_go_together(monkeypatch):
    seen = []
    original = batched_muon.orthogonalised

    def noted(matrices, *options):
        seen.append(tuple(matrices.shape))
        return original(matrices, *options)

    monkeypatch.setattr(batched_muon, "orthogonalised", noted)
    steps(BatchedMuon, number=1)
    assert sorted(seen) == [(3, 8, 24), (5, 7), (8, 8), (8, 8), (8, 24)]
