"""A step that is no number ends the run with a sentence, or is left out; nothing bad is ever saved."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ptft.cli import command
from ptft.errors import TrainingError
from ptft.finetuning.classification import ClassificationModule
from ptft.finetuning.texts import LabelledBatches
from ptft.optim.optimizer import Optimizers, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.training.guard import Guard, GuardSettings
from ptft.training.work import PretrainingBatches, PretrainingModule

NAN, INF = math.nan, math.inf
SOURCE = SimpleNamespace(documents=lambda step: [10 * step, 10 * step + 1], unit="things", problem=lambda: "")
WEIGHTS = SimpleNamespace(weight_norm=lambda: torch.tensor(1.0))


def make_guard(policy="stop", spike=0.0, *, state=None, scaler=None, folder=None, is_deferred=False):
    compute = SimpleNamespace(
        scaler=scaler, device=torch.device("cpu"), num_processes=1, rank=0, any=bool, sum=lambda values: values
    )
    settings = GuardSettings(policy=policy, spike=spike)
    guard = Guard(settings, SOURCE, WEIGHTS, compute, folder, {} if state is None else state)
    guard._is_deferred = is_deferred
    return guard


def judge(guard, norms, start=1):
    return [guard.allows(step, torch.tensor(0.5), torch.tensor(norm)) for step, norm in enumerate(norms, start)]


@pytest.mark.parametrize(("loss", "norm"), [(NAN, NAN), (INF, 1.0), (1.0, INF), (-INF, 1.0), (1.0, NAN)])
def test_what_is_not_finite_stops(loss, norm, tmp_path):
    (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000004" / "state.json").touch()
    guard = make_guard(folder=tmp_path)
    assert judge(guard, [1.0] * 6) == [True] * 6
    with pytest.raises(TrainingError) as error:
        guard.allows(7, torch.tensor(loss), torch.tensor(norm))
    assert str(error.value) == (
        f"step 7: the loss is {loss:.4g} and the gradient norm {norm:.4g}; its batch has 60, 61 (things); the last "
        f"good checkpoint is {tmp_path}/checkpoints/step-00000004; give a lower lr, or guard.policy=skip to leave out "
        "such updates"
    )


def test_weights_that_are_not_finite_stop():
    """The loss of a step is of the weights before its update."""
    guard = make_guard()
    guard._optimizers = SimpleNamespace(weight_norm=lambda: torch.tensor(INF))
    with pytest.raises(TrainingError, match="step 9: after its update weights are not finite; its batch has 80, 81 "):
        guard.verify(9)


def test_many_documents_are_counted(monkeypatch):
    monkeypatch.setattr(SOURCE, "documents", lambda step: list(range(42)))
    with pytest.raises(TrainingError, match=r"has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 32 more \(things\); .*: none yet"):
        judge(make_guard(), [NAN])


def test_what_is_not_finite_is_left_out_and_counted():
    guard = make_guard("skip")
    assert judge(guard, [1.0, NAN, INF, 2.0, NAN]) == [True, False, False, True, False]
    assert guard.state == {"skipped": 3, "in_a_row": 1, "mean": 1.5, "seen": 2}


def test_a_spike_is_many_times_the_mean_of_what_was_let_through():
    guard = make_guard("skip", 4.0)
    assert judge(guard, [100.0, *[1.0] * 9]) == [True] * 10
    assert guard.state["mean"] == pytest.approx(10.9)
    assert judge(guard, [44.0, 1e9, 43.0]) == [False, False, True]
    judge(guard, [1.0] * 500)
    assert guard.state["mean"] == pytest.approx(1.0, abs=0.2)  # of the last hundred or so
    assert judge(guard, [3.9, 5.0]) == [True, False]
    assert make_guard("skip", 4.0).allows(1, torch.tensor(1.0), torch.tensor(1e30)), "nothing is known yet"


def test_a_spike_stops_with_its_size():
    with pytest.raises(TrainingError, match=r"the loss is 0.5 and the gradient norm 25, 12.5 times its mean; its"):
        judge(make_guard("stop", 10.0), [2.0] * 20 + [25.0])
    assert judge(make_guard("stop"), [2.0] * 20 + [1e9]) == [True] * 21


def test_a_guard_goes_on_with_the_state_of_another():
    norms = [1.0, 2.0, NAN, 3.0] * 8 + [40.0, 1.0]
    whole, first = make_guard("skip", 5.0), make_guard("skip", 5.0)
    answers = judge(whole, norms)
    parts = judge(first, norms[:19])
    second = make_guard("skip", 5.0, state=json.loads(json.dumps(first.state)))
    assert parts + judge(second, norms[19:], start=20) == answers
    assert second.state == whole.state
    assert answers.count(False) == 9


def test_a_hundred_in_a_row_are_too_many():
    guard = make_guard("skip")
    assert judge(guard, ([NAN] * 100 + [1.0]) * 2) == ([False] * 100 + [True]) * 2
    with pytest.raises(TrainingError, match=r"step 303: more than 100 updates in a row had to be left out; its"):
        judge(guard, [NAN] * 101, start=203)


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_the_search_of_the_scaler_is_no_error(policy):
    """Updates with infinite gradients are left out whole: the scaler would spare an optimizer whose own are finite."""
    guard = make_guard(policy, 3.0, scaler=object())
    assert judge(guard, [INF, NAN, *[1.0] * 12, INF]) == [False, False, *[True] * 12, False]
    assert guard.state == {"skipped": 3, "in_a_row": 1, "mean": 1.0, "seen": 12}
    with pytest.raises(TrainingError, match="more than 100"):
        judge(guard, [INF] * 101)


def test_a_loss_that_is_no_number_counts_with_a_scaler_too():
    with pytest.raises(TrainingError, match="loss is nan"):
        make_guard(scaler=object()).allows(1, torch.tensor(NAN), torch.tensor(INF))


def test_on_a_device_the_first_bad_step_is_kept_until_it_is_read():
    guard = make_guard(is_deferred=True)
    assert judge(guard, [1.0, 2.0]) == [True, True]
    guard.verify(2)
    assert guard.allows(3, torch.tensor(7.0), torch.tensor(INF))
    assert judge(guard, [NAN, NAN], start=4) == [True, True]
    with pytest.raises(TrainingError, match=r"step 3: the loss is 7 and the gradient norm inf; its batch has 20, 21"):
        guard.verify(5)


@pytest.mark.parametrize(
    ("device", "policy", "spike", "scaler", "waits"),
    [
        ("cuda", "stop", 0.0, None, False),
        ("cuda", "skip", 0.0, None, True),
        ("cuda", "stop", 9.0, None, True),
        ("cuda", "stop", 0.0, object(), True),  # the scaler reads it anyway
        ("cpu", "stop", 0.0, None, True),
    ],
)
def test_the_host_waits_for_a_device_only_where_it_must(device, policy, spike, scaler, waits, monkeypatch):
    monkeypatch.setattr("ptft.training.guard.torch.zeros", lambda *_, **__: None)
    compute = SimpleNamespace(device=SimpleNamespace(type=device), scaler=scaler)
    guard = Guard(GuardSettings(policy=policy, spike=spike), SOURCE, WEIGHTS, compute, None, {})
    assert guard._is_deferred != waits


# In the loop


class Poisoned(nn.Module):
    """A module whose loss is no number at some calls."""

    def __init__(self, module, calls):
        super().__init__()
        self.module, self.weights, self.calls, self.call = module, module.weights, calls, -1

    def forward(self, batch):
        self.call += 1
        factor = NAN if self.call in self.calls else 1.0
        return {name: part * factor for name, part in self.module(batch).items()}


def state_of(module, optimizers):
    tensors, scalars = optimizers.state()
    return {**{name: value.clone() for name, value in module.state_dict().items()}, **tensors}, scalars


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_left_out_update_changes_nothing(work_of, train_some, name):
    module, source = work_of("masked_lm")
    groups = parameter_groups(module.named_parameters(), 0.01, 0.1)
    embeddings = module.model.get_input_embeddings().parameters()
    optimizers = Optimizers(OPTIMIZERS[name]().build(groups, module), None, embeddings, ema=0.9)
    poisoned = Poisoned(module, {2, 3})
    known = []
    guard = make_guard("skip")
    allows = guard.allows
    guard.allows = lambda *given: known.append(state_of(module, optimizers)) or allows(*given)
    reports = train_some(poisoned, source, steps=6, optimizers=optimizers, guard=guard)
    assert [report.step for report in reports] == [1, 2, 3, 4, 5, 6]
    assert len({report.batch_hash for report in reports}) == 6  # their data are used up
    moved = [any(not torch.equal(a[key], b[key]) for key in a) for (a, _), (b, _) in pairwise(known[1:])]
    assert moved == [True, False, False, True]
    assert known[2][1] == known[4][1]
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_a_stop_comes_before_the_update(work_of, train_some):
    module, source = work_of("causal_lm")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(TrainingError, match="step 1: the loss is nan"):
        train_some(Poisoned(module, {0}), source, guard=make_guard())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_scaler_can_go_on_after_a_left_out_update():
    layer = nn.Linear(2, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizers = Optimizers([torch.optim.SGD(layer.parameters(), 0.1)], scaler)
    before = layer.weight.clone()
    for factor in (NAN, 1.0):
        scaler.scale(layer(torch.ones(1, 2)).sum() * factor).backward()
        norm = optimizers.clip(1.0)
        if norm.isfinite():
            optimizers.step()
            continue
        optimizers.skip()
        assert torch.equal(layer.weight, before)
        assert layer.weight.grad is None
        assert scaler.get_scale() == 4.0
    assert not torch.equal(layer.weight, before)


# In a run


@pytest.fixture
def bad_steps(monkeypatch):
    """Let the losses of some steps, counted from 1, be multiplied by something."""

    def spoil(factors):
        for source, module in ((PretrainingBatches, PretrainingModule), (LabelledBatches, ClassificationModule)):
            spoil_class(source, module, factors)

    def spoil_class(source, module, factors):
        whole, forward = source.micro_batches, module.forward

        def spoilt(self, step, start, stop):
            factor = torch.tensor(factors.get(step + 1, 1.0))
            return [replace(b, tensors={**b.tensors, "factor": factor}) for b in whole(self, step, start, stop)]

        def multiplied(self, batch):
            batch = dict(batch)
            factor = batch.pop("factor", 1.0)
            return {name: part * factor for name, part in forward(self, batch).items()}

        monkeypatch.setattr(source, "micro_batches", spoilt)
        monkeypatch.setattr(module, "forward", multiplied)

    return spoil


def log(folder):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("step-*"))


@pytest.fixture
def settings(pretrain_settings):
    return pretrain_settings("bert", dropout=0.1, budget="8steps", checkpoint_every_steps=2, keep_checkpoints=9)


def test_a_run_stops_with_code_2_and_goes_on_when_it_may_skip(tmp_path, step, settings, bad_steps, capsys, monkeypatch):
    monkeypatch.setattr("ptft.run.write_report", lambda folder: None)
    bad_steps({5: NAN})
    folder = tmp_path / "run"
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**settings, "threads": 1, "precision": "fp32"}))
    recipe = recipe.rename(tmp_path / "recipe.yaml")
    assert command(["pretrain", str(recipe), f"out={folder}"]) == 2
    words = capsys.readouterr().err.strip().splitlines()[-1]
    assert words.startswith("ptft: step 5: the loss is nan and the gradient norm nan; its batch has ")
    assert "more (documents of the token store, counted from 0); the last good" in words
    assert f"; the last good checkpoint is {folder}/checkpoints/step-00000004; give a lower lr, or " in words
    assert [line["step"] for line in log(folder)] == [1, 2, 3, 4]
    assert checkpoints(folder) == ["step-00000002", "step-00000004"]
    assert not (folder / "model").exists()
    assert command(["pretrain", str(recipe), f"out={folder}", "guard.policy=skip"]) == 0
    assert [line["skipped_steps"] for line in log(folder)] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_run_that_skips_and_was_stopped_ends_as_one_that_was_not(tmp_path, step, settings, bad_steps):
    settings |= {"guard": {"policy": "skip", "spike": 20.0}, "budget": "20steps", "ema": 0.5}
    bad_steps({5: NAN, 12: INF, 13: 1e6, 17: NAN})

    class Crash:
        def say(self, sentence):
            pass

        def progress(self, what, done, total, figures=None):
            if done == 15:
                raise KeyError

    result = step("pretrain", **settings, out=str(tmp_path / "whole"))
    with pytest.raises(KeyError):
        step("pretrain", **settings, out=str(tmp_path / "parts"), display=Crash())
    assert step("pretrain", **settings, out=str(tmp_path / "parts"))["mlm.loss"] == result["mlm.loss"]
    assert result["steps"] == 20
    whole, parts = log(tmp_path / "whole"), log(tmp_path / "parts")
    assert [line["skipped_steps"] for line in whole] == [0] * 4 + [1] * 7 + [2] + [3] * 4 + [4] * 4
    names = ("step", "loss", "grad_norm", "skipped_steps", "batch_hash", "lr", "tokens")
    for one, other in zip(whole, parts, strict=True):
        assert [one.get(name) for name in names] == [other.get(name) for name in names]
    assert "loss" not in whole[4]
    assert whole[12]["grad_norm"] > 1e4
    states = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(value, states[1][name]) and value.isfinite().all() for name, value in states[0].items())


def test_on_a_device_nothing_bad_is_logged_or_saved(tmp_path, step, settings, bad_steps, monkeypatch):
    """As on CUDA: the loop runs on behind the bad step until somebody wants to log or save."""
    monkeypatch.setattr(Guard, "_is_deferred", property(lambda self: True, lambda self, value: None), raising=False)
    bad_steps({5: NAN})
    words = r"step 5: the loss is nan .*step-00000004; give"
    with pytest.raises(TrainingError, match=words):
        step("pretrain", **{**settings, "log_every_steps": 7}, out=str(tmp_path / "saved"))
    assert checkpoints(tmp_path / "saved") == ["step-00000002", "step-00000004"]
    settings |= {"checkpoint_every_steps": 4, "log_every_steps": 9, "milestones_words": list(range(50, 5000, 50))}
    with pytest.raises(TrainingError, match=words):
        step("pretrain", **settings, out=str(tmp_path / "marked"))
    marks = [json.loads(path.read_text()) for path in (tmp_path / "marked" / "milestones").glob("*/milestone.json")]
    assert {mark["step"] for mark in marks} == {1, 2, 3, 4}


def test_weights_that_are_lost_are_never_saved(tmp_path, step, settings):
    settings |= {"lr": 1e30, "checkpoint_every_steps": 1}
    with pytest.raises(
        TrainingError, match=r"step \d: (after its update weights are not finite|the loss is).* give a lower lr"
    ):
        step("pretrain", **settings, out=str(tmp_path / "run"))
    kept = checkpoints(tmp_path / "run") if (tmp_path / "run").exists() else []
    for name in kept:
        weights = load_file(tmp_path / "run" / "checkpoints" / name / "weights.safetensors")
        assert all(value.isfinite().all() for value in weights.values())


def test_fine_tuning_names_rows_of_the_table(tmp_path, step, bert_run, table, bad_steps):
    bad_steps({3: NAN})
    settings = {"model": str(bert_run), "data": str(table), "length": 32, "rows_per_step": 3, "budget": "9steps"}
    with pytest.raises(TrainingError) as error:
        step("finetune", **settings, out=str(tmp_path / "run"))
    assert "(rows of the table, counted from 1); the last good checkpoint: none yet; give" in str(error.value)
    numbers = str(error.value).split("its batch has ")[1].split(" (")[0]
    assert len(numbers.split(", ")) == 3
    assert all(1 <= int(number) <= 80 for number in numbers.split(", "))


def test_a_good_run_is_the_same_with_every_guard(work_of, train_some):
    def losses(guard):
        return [report.sums["causal_lm"].item() for report in train_some(*work_of("causal_lm"), guard=guard)]

    assert losses(None) == losses(make_guard("skip", 100.0)) == losses(make_guard(is_deferred=True))
