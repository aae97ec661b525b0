import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ptft.errors import CheckpointError
from ptft.optim.optimizer import Optimizers, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.training import checkpoint
from ptft.training.checkpoint import complete_checkpoints, load_newest, save_checkpoint


class Tied(nn.Module):
    """A matrix that is used twice, as word embeddings are."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("mean", torch.zeros(2))


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Tied()


@pytest.fixture
def optimizers(module):
    built = Optimizers(OPTIMIZERS["adamw"]().build(parameter_groups(module.named_parameters(), 0.1, 0.0), module))
    module.second(module.first(torch.ones(1, 3))).sum().backward()
    built.step()
    return built


def numbers(folder):
    return [int(path.name.removeprefix("step-")) for path in complete_checkpoints(folder)]


def test_weights_buffers_and_scalars_come_back(tmp_path, module, optimizers):
    module.mean += 2
    save_checkpoint(tmp_path, module, optimizers, {"step": 7, "num_tokens": 3}, keep=1)
    other = Tied()
    others = Optimizers(OPTIMIZERS["adamw"]().build(parameter_groups(other.named_parameters(), 0.1, 0.0), other))
    state = load_newest(tmp_path, other, others)
    assert (state["step"], state["num_tokens"]) == (7, 3)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in module.state_dict().items())
    assert other.second.weight is other.first.weight
    before, after = optimizers.state()[0], others.state()[0]
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_tied_weights_are_written_once(tmp_path, module, optimizers):
    path = save_checkpoint(tmp_path, module, optimizers, {"step": 1}, keep=1)
    assert sorted(load_file(path / "weights.safetensors")) == ["first.bias", "first.weight", "mean"]


def test_nothing_but_tensors_and_json(tmp_path, module, optimizers):
    path = save_checkpoint(tmp_path, module, optimizers, {"step": 1}, keep=1)
    assert sorted(file.name for file in path.iterdir()) == [
        "optimizer.safetensors",
        "state.json",
        "weights.safetensors",
    ]
    assert json.loads((path / "state.json").read_text())["step"] == 1


def test_no_checkpoint(tmp_path, module, optimizers):
    assert load_newest(tmp_path / "checkpoints", module, optimizers) is None


def test_newest_are_kept(tmp_path, module, optimizers):
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, module, optimizers, {"step": step}, keep=2)
    assert numbers(tmp_path) == [10, 100]


def test_damaged_later_checkpoint_does_not_push_out_a_good_one(tmp_path, module, optimizers):
    for step in (10, 20):
        save_checkpoint(tmp_path, module, optimizers, {"step": step}, keep=2)
    (tmp_path / "step-00000020" / "weights.safetensors").write_bytes(b"")
    assert load_newest(tmp_path, module, optimizers)["step"] == 10
    save_checkpoint(tmp_path, module, optimizers, {"step": 15}, keep=1)
    assert numbers(tmp_path) == [15]


def test_checkpoint_of_the_same_step_is_replaced(tmp_path, module, optimizers):
    save_checkpoint(tmp_path, module, optimizers, {"step": 5, "seconds": 1}, keep=1)
    save_checkpoint(tmp_path, module, optimizers, {"step": 5, "seconds": 2}, keep=1)
    assert load_newest(tmp_path, module, optimizers)["seconds"] == 2


def test_full_disk_leaves_older_checkpoints_alone(tmp_path, module, optimizers, monkeypatch):
    save_checkpoint(tmp_path, module, optimizers, {"step": 1}, keep=1)

    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(
        CheckpointError, match=r"cannot write the checkpoint .*step-00000002: .*No space left .* intact"
    ):
        save_checkpoint(tmp_path, module, optimizers, {"step": 2}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
