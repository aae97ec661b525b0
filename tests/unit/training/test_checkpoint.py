import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ptft import rng
from ptft.errors import CheckpointError
from ptft.optim.optimizer import Optimizers, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.training import checkpoint
from ptft.training.aside import remove_leftovers
from ptft.training.checkpoint import complete_checkpoints, examine, load_newest, save_checkpoint


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


class Listener:
    """Hears what is said."""

    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


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


# Damage

FILES = ["optimizer.safetensors", "state.json", "weights.safetensors"]


@pytest.fixture
def two(tmp_path, module, optimizers):
    """Checkpoints of steps 1 and 2, and their folder."""
    for step in (1, 2):
        save_checkpoint(tmp_path, module, optimizers, {"step": step, "num_tokens": 10 * step}, keep=2)
    return tmp_path


def load(folder, module, optimizers):
    display = Listener()
    return load_newest(folder, module, optimizers, display=display), display.sentences


@pytest.mark.parametrize("case", range(20))
def test_truncated_anywhere(case, two, module, optimizers):
    path = two / "step-00000002" / FILES[case % 3]
    size = path.stat().st_size
    os.truncate(path, int(rng.integers(size, 7, case)))
    state, sentences = load(two, module, optimizers)
    assert state["step"] == 1
    (sentence,) = sentences
    assert sentence.startswith(f"{two / 'step-00000002'} is damaged ({path.name} ")
    assert sentence.endswith("; step-00000001 is taken instead")
    if path.suffix == ".safetensors":
        assert f"{path.name} has {path.stat().st_size:,} of {size:,} bytes" in sentence


def flip(folder, case):
    """Change one bit at a random place of all files, and name the file."""
    sizes = [(folder / name).stat().st_size for name in FILES]
    place = int(rng.integers(sum(sizes), 8, case))
    for name, size in zip(FILES, sizes, strict=True):
        if place < size:
            content = bytearray((folder / name).read_bytes())
            content[place] ^= 1 << int(rng.integers(8, 9, case))
            (folder / name).write_bytes(content)
            return name
        place -= size
    raise AssertionError


@pytest.mark.parametrize("case", range(20))
def test_one_flipped_bit_anywhere(case, two, module, optimizers):
    name = flip(two / "step-00000002", case)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state, sentences = load(two, module, optimizers)
    assert (state["step"], state["num_tokens"]) == (1, 10)
    assert len(sentences) == 1
    assert f"is damaged ({name}" in sentences[0] or f"is damaged (the checksum of {name} is wrong)" in sentences[0]
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_every_byte_of_the_scalars_is_guarded(two):
    path = two / "step-00000002" / "state.json"
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert examine(path.parent)[1], f"byte {place}"
    path.write_bytes(content)
    assert examine(path.parent)[1] == ""


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "{name} is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "{name} cannot be read: Is a directory"),
    ],
)
@pytest.mark.parametrize("name", FILES)
def test_missing_and_unreadable_files_are_named(name, damage, sentence, two, module, optimizers):
    damage(two / "step-00000002" / name)
    if "Is a directory" in sentence and name != "state.json":
        size = (two / "step-00000002" / name).stat().st_size
        state = json.loads((two / "step-00000002" / "state.json").read_text())
        if size != state["bytes"][name]:
            sentence = "{name} has"
    state, (said,) = load(two, module, optimizers)
    assert state["step"] == 1
    assert f"is damaged ({sentence.format(name=name)}" in said


def test_scalars_of_another_program_are_damage(two, module, optimizers):
    for content in ("[]", "{}", '{"digest": 1}', '{"digest": ""}', '{"step": 3, "digest": "0"}', "\x00"):
        (two / "step-00000002" / "state.json").write_text(content)
        state, (said,) = load(two, module, optimizers)
        assert state["step"] == 1
        assert "state.json" in said


def test_where_no_checkpoint_is_whole_training_begins_anew(two, module, optimizers):
    for step in (1, 2):
        (two / f"step-0000000{step}" / "weights.safetensors").unlink()
    state, sentences = load(two, module, optimizers)
    assert state is None
    assert [sentence.partition(" is damaged")[0][-1] for sentence in sentences] == ["2", "1"]
    assert all(sentence.endswith("; no other one is whole: training begins anew") for sentence in sentences)


def test_a_whole_checkpoint_says_nothing(two, module, optimizers):
    assert load(two, module, optimizers)[1] == []


def test_damaged_checkpoints_are_deleted_in_the_end(two, module, optimizers):
    (two / "step-00000002" / "state.json").unlink()
    load_newest(two, module, optimizers)
    save_checkpoint(two, module, optimizers, {"step": 2}, keep=2)
    save_checkpoint(two, module, optimizers, {"step": 3}, keep=2)
    assert [path.name for path in sorted(two.iterdir())] == ["step-00000002", "step-00000003"]
    assert load(two, module, optimizers)[0]["step"] == 3


# Of another model or run


class Wider(Tied):
    def __init__(self):
        super().__init__()
        self.mean = torch.zeros(3)


class Untied(Tied):
    def __init__(self):
        super().__init__()
        self.second.weight = nn.Parameter(torch.zeros(3, 3))


class Smaller(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("other", torch.zeros(2))


class Without(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Wider, r"step-00000002 is of another model .*\(mean is torch.float32 \[2\], not torch.float32 \[3\]\)"),
        (Untied, r"is of another model than this run's \(second.weight is missing\); .*resume=false"),
        (Smaller, r"\(other is missing\)"),
        (Without, r"\(mean is unknown to the model\)"),
        (lambda: Tied().double(), r"\(mean is torch.float32 \[2\], not torch.float64 \[2\] and 2 more\)"),
    ],
)
def test_checkpoint_of_another_model_is_refused(kind, message, two, optimizers):
    other = kind()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_newest(two, other, optimizers)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_run_of_another_identity_is_refused(tmp_path, module, optimizers):
    was = {"corpus": "ab" * 32, "optimizer": "adamw", "steps": 9}
    save_checkpoint(tmp_path / "checkpoints", module, optimizers, {"step": 1, "identity": was}, keep=1)
    assert load_newest(tmp_path / "checkpoints", module, optimizers, identity=was)["step"] == 1
    now = {"corpus": "cd" * 32, "optimizer": "adamw", "steps": 10}
    message = (
        r"the run of .* cannot go on, since what it is made from changed after it began: "
        r"corpus \(abababababab\.\.\. is now cdcdcdcdcdcd\.\.\.\), steps \(9 is now 10\); "
        r"bring back what it was, or start over in a new folder with resume=false"
    )
    with pytest.raises(CheckpointError, match=message):
        load_newest(tmp_path / "checkpoints", module, optimizers, identity=now)


def test_a_former_run_that_lacks_a_name_is_refused(tmp_path, module, optimizers):
    save_checkpoint(tmp_path, module, optimizers, {"step": 1, "identity": {}}, keep=1)
    with pytest.raises(CheckpointError, match=r"corpus \(None is now x\)"):
        load_newest(tmp_path, module, optimizers, identity={"corpus": "x"})


# Killed at any moment


class Kill(BaseException):
    """Stands for a signal that no process survives."""


class Killer:
    """Lets so many calls that change the disk through, and none after them."""

    def __init__(self, patch, moment):
        self.left = moment
        for owner, name in [(os, "fsync"), (shutil, "rmtree"), (Path, "rename"), (Path, "mkdir"), (Path, "write_text")]:
            patch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, real):
        def call(*arguments, **more):
            self.left -= 1
            if self.left < 0:
                raise Kill
            return real(*arguments, **more)

        return call


@pytest.mark.parametrize("moment", range(11))
def test_killed_at_any_moment_of_saving(moment, two, module, optimizers, monkeypatch):
    """There is always a whole checkpoint, and nothing is left of the killed process in the end."""
    with monkeypatch.context() as patch:
        Killer(patch, moment)
        try:
            save_checkpoint(two, module, optimizers, {"step": 3}, keep=2)
            assert moment == 10, "all that is done to the disk"
        except Kill:
            assert moment < 10
    assert all(examine(path)[1] == "" for path in complete_checkpoints(two))
    assert load_newest(two, module, optimizers)["step"] in (2, 3)
    save_checkpoint(two, module, optimizers, {"step": 3}, keep=2)
    remove_leftovers(two)
    assert sorted(path.name for path in two.iterdir()) == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_full_disk_at_either_file(name, two, module, optimizers, monkeypatch):
    def full(tensors, path):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(
        CheckpointError, match=r"step-00000003: .*No space left on device; older checkpoints are intact"
    ):
        save_checkpoint(two, module, optimizers, {"step": 3}, keep=1)
    assert sorted(path.name for path in two.iterdir()) == ["step-00000001", "step-00000002"]
