"""``lineage verify=true``: the last steps made again, and every bit compared."""

import json
import os
import shutil
import signal
import tempfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptft.cli import command
from ptft.display import Silent
from ptft.errors import UserError
from ptft.inspection.verification import verify
from ptft.steps.search import GRIDS, Grid
from ptft.training.interruption import Interrupted

STEPS = 7
FIXED = {"checkpoint_every_steps": 2, "budget": f"{STEPS}steps", "log_every_steps": 1}


class Crash(Exception):
    """A power cut."""


class Stopper:
    """A display that stops what it shows at a step."""

    def __init__(self, step=0, how=None):
        self.step = step
        self.how = how

    def say(self, sentence):
        pass

    def progress(self, what, done, total, figures=None):
        if done == self.step and self.how is Crash:
            raise Crash
        if done == self.step and self.how:
            os.kill(os.getpid(), self.how)


@pytest.fixture(autouse=True)
def without_pages(monkeypatch):
    monkeypatch.setattr("ptft.run.write_report", lambda folder: None)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary folders, which must be empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def settings(pretrain_settings, bert_run, table):
    """Runs with dropout, by name."""
    return {
        "pairs": ("pretrain", pretrain_settings("bert", dropout=0.2, evaluate_every_steps=3, **FIXED)),
        "causal": ("pretrain", pretrain_settings("gpt2", dropout=0.2, ema=0.8, milestones_words=(500,), **FIXED)),
        "finetune": (
            "finetune",
            {"model": str(bert_run), "data": str(table), "length": 32, "rows_per_step": 8, **FIXED},
        ),
        "seeds": (
            "finetune",
            {"model": str(bert_run), "data": str(table), "length": 32, "labels": 16, "seeds": 2, **FIXED},
        ),
        "timed": ("pretrain", pretrain_settings("gpt2", **{**FIXED, "budget": "1s", "checkpoint_every_steps": 1})),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory, step, settings):
    """A finished run, by name: not to be changed."""
    done = {}

    def find(name):
        if name not in done:
            done[name] = tmp_path_factory.mktemp("made") / "run"
            verb, values = settings[name]
            step(verb, **values, out=str(done[name]))
        return done[name]

    return find


@pytest.fixture
def copy_of(made, tmp_path):
    """A copy of a finished run, to be changed."""
    return lambda name: shutil.copytree(made(name), tmp_path / "run")


def contents(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def change_weight(path, name=None):
    """Change one value in its last bit but one."""
    tensors = load_file(path)
    name = name or sorted(tensors)[0]
    flat = tensors[name].view(-1).view(torch.int32)
    flat[0] ^= 2
    save_file(tensors, path, metadata={"format": "pt"})
    return name


def change_line(folder, step, key, value):
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["step"] == step:
            line[key] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("name", ["pairs", "causal", "finetune", "timed"])
def test_a_run_is_equal_and_is_not_touched(name, made):
    folder = made(name)
    before = contents(folder)
    (verdict,) = verify(folder)
    assert contents(folder) == before
    assert (verdict.differences, verdict.circumstances, verdict.reason) == ([], [], "")
    assert verdict.lines()[-1] == "  equal, bit for bit"
    compared = "\n".join(verdict.compared)
    assert "tensors of model/" in compared
    if name != "timed":
        assert f"steps 7 to {STEPS} were made again, from the checkpoint of step 6" in compared
        assert "compared: 1 line of metrics.jsonl" in compared


def test_the_tensors_are_all_that_the_run_has(made):
    (verdict,) = verify(made("pairs"))
    count = len(load_file(made("pairs") / "model" / "model.safetensors"))
    assert f"compared: {count} tensors of model/" in verdict.compared


def test_every_seed_is_made_again(copy_of):
    folder = copy_of("seeds")
    (verdict,) = verify(folder)
    assert verdict.differences == []
    assert verdict.compared[:2] == [
        f"seed-{seed}: steps 7 to {STEPS} were made again, from the checkpoint of step 6" for seed in (0, 1)
    ]
    change_line(folder / "seed-1", 7, "loss", 0.5)
    shutil.rmtree(folder / "seed-0" / "checkpoints")
    (verdict,) = verify(folder)
    assert verdict.compared[0] == f"seed-0: steps 1 to {STEPS} were made again, from the beginning"
    (difference,) = verdict.differences
    assert difference.startswith("seed-1/metrics.jsonl, step 7: loss: 0.5 in the run, ")


def test_a_search_is_not_made_again(step, bert_run, table, tmp_path, monkeypatch):
    monkeypatch.setitem(GRIDS, "bert_grid", Grid((1e-4, 1e-3), (16,), (2,)))
    values = {"model": str(bert_run), "data": str(table), "length": 32, "search": "bert_grid", "log_every_steps": 1}
    step("finetune", **values, checkpoint_every_steps=4, out=str(tmp_path / "run"))
    seen = set()

    class Listener(Silent):
        def progress(self, what, done, total, figures=None):
            seen.add(what)

    (verdict,) = verify(tmp_path / "run", Listener())
    assert verdict.lines()[-1] == "  equal, bit for bit"
    assert seen == {"again: fine-tuning"}


@pytest.mark.parametrize("name", ["pairs", "finetune"])
def test_a_changed_weight_is_named(name, copy_of, capsys):
    folder = copy_of(name)
    file = "head.safetensors" if name == "finetune" else "model.safetensors"
    tensor = change_weight(folder / "model" / file)
    assert command(["lineage", f"run={folder}", "verify=true"]) == 3
    out = capsys.readouterr().out
    assert f"differs: model/{file}: {tensor}: largest absolute difference " in out
    assert "; 1 of " in out
    assert "equal, bit for bit" not in out
    assert out.count("differs:") == 1


def test_a_missing_model_is_a_difference(copy_of):
    folder = copy_of("causal")
    (folder / "model" / "model.safetensors").unlink()
    assert verify(folder)[0].differences == ["model/model.safetensors: is missing in the run"]


@pytest.mark.parametrize("key", ["loss", "lr", "grad_norm"])
def test_a_changed_line_of_the_log_is_found(key, copy_of):
    folder = copy_of("causal")
    change_line(folder, 7, "tokens_per_second", 1.0)
    assert verify(folder)[0].differences == []
    change_line(folder, 7, key, 0.25)
    (difference,) = verify(folder)[0].differences
    assert difference.startswith(f"metrics.jsonl, step 7: {key}: 0.25 in the run, ")


def test_a_changed_figure_is_found(copy_of):
    folder = copy_of("finetune")
    result = json.loads((folder / "result.json").read_text())
    result["records"][0]["accuracy"] = 0.125
    (folder / "result.json").write_text(json.dumps(result))
    (difference,) = verify(folder)[0].differences
    assert difference.startswith("result.json: records.0.accuracy: 0.125 in the run, ")


def test_many_differences_are_counted(copy_of):
    folder = copy_of("pairs")
    path = folder / "model" / "model.safetensors"
    tensors = {name: tensor + 1 for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    found = verify(folder)[0].differences
    assert len(found) == 6
    assert found[-1] == f"... and {len(tensors) - 5} more"


def test_milestones_behind_the_checkpoint_are_compared(copy_of):
    folder = copy_of("causal")
    (verdict,) = verify(folder)
    (mark,) = (folder / "milestones").iterdir()
    step = json.loads((mark / "milestone.json").read_text())["step"]
    assert any("milestones" in sentence for sentence in verdict.compared) == (step > 6)


def test_what_is_not_as_it_was_is_said(copy_of):
    folder = copy_of("pairs")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["threads"] == 1
    assert manifest["precision"] == "fp32"
    manifest["versions"]["torch"] = "1.0"
    manifest |= {"device": "abacus", "processes": 8, "precision": "bf16"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (verdict,) = verify(folder)
    assert [sentence.split(", is ")[0] for sentence in verdict.circumstances] == [
        "versions.torch: was 1.0", "processes: was 8", "device: was abacus", "precision: was bf16",
    ]  # fmt: skip
    assert verdict.lines()[-5] == "  equal, bit for bit"
    assert verdict.lines()[-1] == "  not as in the run: precision: was bf16, is fp32"


def test_a_run_without_checkpoint_is_refused(bert_run, capsys):
    assert command(["lineage", str(bert_run), "verify=true"]) == 2
    assert "has no checkpoint to go on from (checkpoint_every_steps=500); " in capsys.readouterr().err


def test_only_damaged_checkpoints_are_named(copy_of):
    folder = copy_of("pairs")
    newest = folder / "checkpoints" / "step-00000006" / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    (verdict,) = verify(folder)
    assert verdict.compared[0] == f"steps 5 to {STEPS} were made again, from the checkpoint of step 4"
    assert verdict.differences == []
    (folder / "checkpoints" / "step-00000004" / "state.json").unlink()
    with pytest.raises(
        UserError, match=r"no checkpoint to go on from \(.*step-00000004 is damaged \(state.json is missing"
    ):
        verify(folder)


def test_of_an_unfinished_run_two_checkpoints_are_compared(step, settings, tmp_path):
    verb, values = settings["pairs"]
    folder = tmp_path / "run"
    with pytest.raises(Crash):
        step(verb, **values, out=str(folder), display=Stopper(5, Crash))
    before = contents(folder)
    (verdict,) = verify(folder)
    assert contents(folder) == before
    assert verdict.differences == []
    assert verdict.compared[0] == "steps 3 to 4 were made again, from the checkpoint of step 2"
    assert any(sentence.endswith("tensors of checkpoints/step-00000004/") for sentence in verdict.compared)
    shutil.rmtree(folder / "checkpoints" / "step-00000002")
    with pytest.raises(
        UserError, match=r"is unfinished and has 1 whole checkpoint\(s\), but it takes two; finish it first"
    ):
        verify(folder)


def test_an_unfinished_run_that_differs(step, settings, tmp_path):
    verb, values = settings["finetune"]
    folder = tmp_path / "run"
    with pytest.raises(Crash):
        step(verb, **values, out=str(folder), display=Stopper(5, Crash))
    change_line(folder, 4, "loss", 0.5)
    (difference,) = verify(folder)[0].differences
    assert difference.startswith("metrics.jsonl, step 4: loss: 0.5 in the run")


def test_a_run_stopped_by_a_signal_is_to_be_finished(step, settings, tmp_path):
    verb, values = settings["finetune"]
    with pytest.raises(Interrupted):
        step(verb, **values, out=str(tmp_path / "run"), display=Stopper(5, signal.SIGTERM))
    with pytest.raises(UserError, match="is unfinished, since it was stopped after step 5; finish it first"):
        verify(tmp_path / "run")


def test_other_text_is_no_difference_but_a_sentence(step, pretrain_settings, corpus_file, tmp_path):
    text = tmp_path / "text.txt"
    shutil.copyfile(corpus_file, text)
    corpus = {"path": str(text), "valid_ratio": 0.2}
    step("pretrain", **pretrain_settings("gpt2", corpus=corpus, **FIXED), out=str(tmp_path / "run"))
    text.write_text(text.read_text() + "\n\nsnow is cold\n")
    with pytest.raises(UserError, match=r"run cannot be verified: .* changed after it began: corpus \(") as caught:
        verify(tmp_path / "run")
    assert "temporary" not in str(caught.value)
    text.unlink()
    with pytest.raises(UserError, match=r"run cannot be verified: .*text\.txt"):
        verify(tmp_path / "run")


def test_other_labels_are_no_difference_but_a_sentence(step, table, bert_run, tmp_path):
    rows = shutil.copyfile(table, tmp_path / "rows.csv")
    shutil.copytree(bert_run, tmp_path / "bert")
    settings = {"model": str(tmp_path / "bert"), "data": str(rows), "length": 32, "rows_per_step": 8, **FIXED}
    step("finetune", **settings, out=str(tmp_path / "run"))
    manifest = json.loads((tmp_path / "bert" / "manifest.json").read_text())
    (tmp_path / "bert" / "manifest.json").write_text(json.dumps({**manifest, "seeds": [8]}))
    (verdict,) = verify(tmp_path / "run")
    assert verdict.differences == []
    assert verdict.circumstances == [f"{tmp_path / 'bert'}, which it was made from, has another manifest"]
    rows.write_text(rows.read_text().replace("snow", "sand"))
    with pytest.raises(UserError, match=r"changed after it began: data \("):
        verify(tmp_path / "run")


def test_each_step_of_a_recipe_is_verified(tmp_path, monkeypatch, capsys, corpus_file, table, pretrain_settings):
    monkeypatch.chdir(tmp_path)
    common = {"threads": 1, "precision": "fp32"}
    steps = {
        "words": {"name": "tokenizer", "corpus": {"path": str(corpus_file)}, "vocab_size": 300},
        "encoder": {"name": "pretrain", "tokenizer": "step:words", **pretrain_settings("bert", **FIXED), **common},
        "tune": {"name": "finetune", "model": "step:encoder", "data": str(table), "length": 32, **FIXED, **common},
    }
    steps["encoder"].pop("vocab_size")
    (tmp_path / "x.yaml").write_text(json.dumps({"out": "r", "jobs": 1, "steps": steps}))
    monkeypatch.setattr("ptft.recipe.write_report", lambda folder: None)
    assert command(["run", "x.yaml"]) == 0
    assert [verdict.differences for verdict in verify(tmp_path / "r")] == [[], [], []]
    capsys.readouterr()
    tensor = change_weight(tmp_path / "r" / "encoder" / "model" / "model.safetensors")
    assert command(["lineage", "r", "verify=true"]) == 3
    out = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith("  not verified: tokenizer keeps no checkpoints to go on from; only runs of ") for line in out
    )
    lines = [line for line in out if line.startswith(("r/", "  differs", "  equal"))]
    assert lines == [
        "r/words",
        "r/encoder  (pretrain)",
        next(line for line in lines if line.startswith(f"  differs: model/model.safetensors: {tensor}: ")),
        "r/tune  (finetune)",
        "  equal, bit for bit",
    ]


def test_nothing_of_a_recipe_can_be_verified(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("steps: {one: {name: tokenizer}}\n")
    assert command(["lineage", str(tmp_path), "verify=true"]) == 2
    assert "one': holds no recipe.yaml; give the folder of a run" in capsys.readouterr().err


def test_another_training_is_found(copy_of):
    recipe = copy_of("causal") / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("clip_norm: 1.0", "clip_norm: 0.5"))
    found = verify(recipe.parent)[0].differences
    assert any(sentence.startswith("model/model.safetensors: ") for sentence in found)
    assert any(sentence.startswith("result.json: ") for sentence in found)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no recipe\.yaml; give the folder of a run, its out="):
        verify(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_stays_when_it_is_stopped(number, made, temporary):
    class Looking(Stopper):
        def progress(self, what, done, total, figures=None):
            assert len(list(temporary.iterdir())) == 1
            super().progress(what, done, total, figures)

    with pytest.raises(Interrupted):
        verify(made("pairs"), Looking(STEPS, number))


@pytest.mark.parametrize(
    "arguments", ["{run}", "run={run}", "{run} verify=false", "run={run} verify=true", "{run} verify=true"]
)
def test_the_command(arguments, made, capsys):
    folder = made("finetune")
    before = contents(folder)
    assert command(["lineage", *arguments.format(run=folder).split()]) == 0
    out = capsys.readouterr().out
    assert f"{folder}  (finetune)" in out.splitlines()
    assert ("equal, bit for bit" in out) == ("verify=true" in arguments)
    assert contents(folder) == before
