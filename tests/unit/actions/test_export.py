"""The verb ``export``: the file gives in onnxruntime what the model gives in torch, or it is not kept."""

import json
import os
import shutil
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

import ptft
from ptft.errors import CheckpointError, DeviceError, RecipeError
from ptft.models import onnx_export
from ptft.models.classifier_files import open_classifier

TEXTS = ["the sun was hot near the desert", "ice", "my lake is under very old snow and the blue hail is near a glacier"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, step, bert_run, gpt2_run, table):
    """The run folder of a classifier by architecture and pooling."""

    def make(kind, pooling):
        folder = tmp_path_factory.mktemp("tuned") / kind
        model = {"bert": bert_run, "gpt2": gpt2_run}[kind]
        settings = {"data": str(table), "length": 32, "budget": "3steps", "min_steps": 0, "pooling": pooling}
        step("finetune", model=str(model), out=str(folder), **settings)
        return folder

    return make


def encoded(folder):
    """The texts side by side, padded, and each alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(texts, padding=True, return_tensors="pt") for texts in (TEXTS, *([text] for text in TEXTS))]


def in_onnxruntime(path, batch):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})[0]


def check_equal(path, folder, model):
    for batch in encoded(folder):
        with torch.no_grad():
            expected = model(batch).numpy()
        given = in_onnxruntime(path, batch)
        real = batch["attention_mask"].numpy() > 0 if given.ndim == 3 else slice(None)
        np.testing.assert_allclose(given[real], expected[real], atol=1e-5)


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "cls"), ("bert", "mean"), ("gpt2", "last"), ("gpt2", "max")])
def test_a_folder_classifies_as_the_model_does(kind, pooling, tuned, tmp_path):
    """With a stock head and with one of ours, which no stock class would find."""
    run = tuned(kind, pooling)
    out = tmp_path / "onnx"
    said = ptft.export(model=str(run), out=str(out))
    difference = float(said.rpartition(": ")[2])
    assert 0 <= difference < 1e-5
    assert f"-> logits: {out}\n" in said
    check_equal(out / "model.onnx", out, open_classifier(run).eval())
    assert AutoConfig.from_pretrained(out).id2label == {0: "cold", 1: "warm"}
    assert [path.name for path in tmp_path.iterdir()] == ["onnx"]


def test_the_temperature_goes_along(tuned, tmp_path):
    shutil.copytree(tuned("bert", "cls") / "model", tmp_path / "model")
    kept = {"temperature": 1.2345, "rows": 30}
    (tmp_path / "model" / "calibration.json").write_text(json.dumps(kept))
    said = ptft.export(model=str(tmp_path / "model"), out=str(tmp_path / "onnx"))
    assert "probabilities are those of predict once logits are divided by 1.234, the temperature of calibration" in said
    assert json.loads((tmp_path / "onnx" / "calibration.json").read_text()) == kept


ROWS = {
    "multiple_choice": [
        {"text": "which is warm", "choices": ["sun", "ice", "snow"], "label": n % 3} for n in range(12)
    ],
    "token_classification": [{"text": "red ice is cold", "label": f"W C O {'OC'[n % 2]}"} for n in range(12)],
}


@pytest.mark.parametrize(
    ("problem", "policy", "names"),
    [
        ("multiple_choice", "full", ["LABEL_0"]),
        ("token_classification", "full", ["C", "O", "W"]),
        ("token_classification", "scalar_mix", ["C", "O", "W"]),
    ],
)
def test_choices_have_one_logit_and_tokens_those_of_tags(problem, policy, names, step, bert_run, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[problem]))
    settings = {"data": str(tmp_path / "rows.jsonl"), "length": 32, "budget": "1steps", "problem": problem}
    step("finetune", model=str(bert_run), out=str(tmp_path / "run"), policy=policy, **settings)
    ptft.export(model=str(tmp_path / "run"), out=str(tmp_path / "onnx"))
    classifier = open_classifier(tmp_path / "run").eval()

    def logits(batch):
        places = torch.arange(batch["input_ids"].numel())[:, None].expand(-1, 2)
        every = {"word_positions": places} if len(names) > 1 else {}
        shape = (*batch["input_ids"].shape, 3) if len(names) > 1 else (-1, 1)
        return classifier({**batch, **every}).reshape(shape)

    check_equal(tmp_path / "onnx" / "model.onnx", tmp_path / "onnx", logits)
    assert AutoConfig.from_pretrained(tmp_path / "onnx").id2label == dict(enumerate(names))


@pytest.mark.parametrize(("kind", "head"), [("bert", AutoModelForMaskedLM), ("llama", AutoModelForCausalLM)])
def test_a_pretrained_model_gives_logits_of_tokens(kind, head, run_of, tmp_path):
    model = run_of(kind) / "model"
    ptft.export(model=str(model), out=str(tmp_path / "m.onnx"))
    stock = head.from_pretrained(model).eval()
    check_equal(tmp_path / "m.onnx", model, lambda batch: stock(**batch).logits)
    assert b"site-packages" not in (tmp_path / "m.onnx").read_bytes()  # nothing of this machine
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_hidden_states(bert_run, tmp_path):
    ptft.export(model=str(bert_run), out=str(tmp_path / "m.onnx"), output="last_hidden_state")
    stock = AutoModel.from_pretrained(bert_run / "model").eval()
    check_equal(tmp_path / "m.onnx", bert_run / "model", lambda batch: stock(**batch).last_hidden_state)


@pytest.fixture
def writes_nothing_of_use(monkeypatch):
    """The exporter writes a file that is not looked at."""
    monkeypatch.setattr("ptft.actions.export.write_onnx", lambda model, path: path.write_bytes(b"x"))


@pytest.mark.parametrize("name", ["m.onnx", "folder"])
@pytest.mark.parametrize("measured", [(2e-4, 1.0), (1.1e-3, 10.0), (float("nan"), 1.0)])
def test_a_file_that_differs_is_not_kept(measured, name, bert_run, tmp_path, monkeypatch, writes_nothing_of_use):
    monkeypatch.setattr("ptft.actions.export.largest_difference", lambda model, path: measured)
    with pytest.raises(CheckpointError, match=r"onnxruntime and torch differ by .* of that is allowed; nothing was k"):
        ptft.export(model=str(bert_run), out=str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_what_is_allowed_grows_with_the_logits(bert_run, tmp_path, monkeypatch, writes_nothing_of_use):
    monkeypatch.setattr("ptft.actions.export.largest_difference", lambda model, path: (9e-4, 10.0))
    assert "9.0e-04" in ptft.export(model=str(bert_run), out=str(tmp_path / "m.onnx"))


def test_the_difference_is_that_of_the_file(bert_run, tmp_path):
    """Two models of other weights."""
    model = onnx_export.open_onnx_model(bert_run, "last_hidden_state")
    onnx_export.write_onnx(model, tmp_path / "m.onnx")
    with torch.no_grad():
        model.model.encoder.layer[-1].output.LayerNorm.bias += 0.5
    assert onnx_export.largest_difference(model, tmp_path / "m.onnx")[0] == pytest.approx(0.5, abs=1e-4)


def test_rows_that_are_checked(bert_run):
    model = onnx_export.open_onnx_model(bert_run, "logits")
    lengths = [batch["attention_mask"].sum(1).tolist() for batch in onnx_export.example_batches(model)]
    assert lengths == [[24, 12, 3, 2], [1], [64, 21]]
    assert {name for batch in onnx_export.example_batches(model) for name in batch} == {
        "input_ids", "attention_mask", "token_type_ids",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_library_that_is_missing(name, bert_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DeviceError, match=rf"export needs the library '{name}', .*; pip install ptft\[onnx\]"):
        ptft.export(model=str(bert_run), out=str(tmp_path / "m.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_that_cannot_be_exported(bert_run, tmp_path, monkeypatch):
    def fail(*arguments, **settings):
        raise torch.onnx.errors.OnnxExporterError("no such operator")

    monkeypatch.setattr("torch.onnx.export", fail)
    with pytest.raises(CheckpointError, match=r"architecture bert as ONNX \(no such operator\); use another arch"):
        ptft.export(model=str(bert_run), out=str(tmp_path / "m.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_too_large_for_a_file(bert_run, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "_LARGEST_FILE", 1000)
    with pytest.raises(CheckpointError, match=r"has 0.0 GiB of weights in fp32, and a file of ONNX holds less than 2"):
        ptft.export(model=str(bert_run), out=str(tmp_path / "m.onnx"))


def test_what_exists_is_left_alone(bert_run, tmp_path):
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(RecipeError, match=r"out: '.*m.onnx' exists already; name another folder or FILE.onnx"):
        ptft.export(model=str(bert_run), out=str(tmp_path / "m.onnx"))
    assert (tmp_path / "m.onnx").read_text() == "mine"


def test_a_folder_that_is_not_there(bert_run, tmp_path):
    with pytest.raises(RecipeError, match=r"out: the folder '.*no' does not exist; make it first"):
        ptft.export(model=str(bert_run), out=str(tmp_path / "no" / "m.onnx"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(bert_run, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(RecipeError, match=r"out: no permission to write in '.*locked'; name another place"):
        ptft.export(model=str(bert_run), out=str(tmp_path / "locked" / "m.onnx"))


def test_a_full_disk(bert_run, tmp_path, monkeypatch):
    def fail(model, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ptft.actions.export.write_onnx", fail)
    with pytest.raises(RecipeError, match=r"out: '.*' cannot be written \(.*No space left .*\); make room, or name"):
        ptft.export(model=str(bert_run), out=str(tmp_path / "m.onnx"))
    assert list(tmp_path.iterdir()) == []
