"""The model card: header, code that opens the model, figures and lineage, all from the folder."""

import json

import pytest
import yaml

from ptft.errors import CheckpointError
from ptft.report.card import write_card


def make(tmp_path, architecture="BertForPreTraining", head_at=None, **config):
    run = tmp_path / "run"
    model = run / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": "bert", **config}))
    manifest = {"corpus": {"path": "a|b*", "hash": "9d3c"}, "tokens_seen": 10, "commit": "1f0c", "recipe": {"lr": 1}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    (run / "result.json").write_text(json.dumps({"mlm.accuracy": 0.603, "records": [{"k": 1}]}))
    if head_at:
        (run / head_at).write_text(json.dumps({"labels": ["good", "<b>bad"]}))
    return model, run


def header(card):
    return yaml.safe_load(card.read_text().split("---\n")[1])


@pytest.mark.parametrize(
    ("architecture", "auto_class", "pipeline"),
    [
        ("BertForPreTraining", "AutoModelForPreTraining", "fill-mask"),
        ("ModernBertForMaskedLM", "AutoModelForMaskedLM", "fill-mask"),
        ("GPT2LMHeadModel", "AutoModelForCausalLM", "text-generation"),
        ("LlamaForCausalLM", "AutoModelForCausalLM", "text-generation"),
        ("BertForSequenceClassification", "AutoModelForSequenceClassification", "text-classification"),
        ("BertModel", "AutoModel", None),
    ],
)
def test_the_card_opens_the_model_with_the_stock_class(tmp_path, architecture, auto_class, pipeline):
    card = write_card(*make(tmp_path, architecture))
    assert header(card).get("pipeline_tag") == pipeline
    assert f"model = {auto_class}.from_pretrained(folder)" in card.read_text()


def test_the_header_names_library_and_kind(tmp_path):
    card = write_card(*make(tmp_path, model_type='od: "d'))
    assert header(card)["library_name"] == "transformers"
    assert header(card)["tags"] == ["ptft", 'od: "d']


def test_the_card_tells_shape_data_figures_and_lineage(tmp_path):
    model, run = make(tmp_path, num_hidden_layers=2, hidden_size=128, vocab_size=2048)
    card = write_card(model, run)
    text = card.read_text()
    assert card == model / "README.md"
    assert "layers 2, width 128, vocabulary 2,048." in text
    data, figures, lineage = (text.index(f"## {name}") for name in ("Training data", "Figures", "Lineage"))
    assert data < text.index("| corpus.hash | 9d3c |") < figures
    assert "| mlm.accuracy | 0.603 | share of masked tokens guessed right on held-out text |" in text
    assert text.index("| commit | 1f0c |") > lineage
    assert "recipe" not in text


def test_text_from_the_folder_is_no_markdown(tmp_path):
    assert r"| corpus.path | a\|b\* |" in write_card(*make(tmp_path)).read_text()


@pytest.mark.parametrize(
    ("head_at", "place"), [("head.json", "beside this folder"), ("model/head.json", "in this folder")]
)
def test_a_head_of_our_own_is_warned_about(tmp_path, head_at, place):
    card = write_card(*make(tmp_path, "BertModel", head_at=head_at))
    text = card.read_text()
    assert 'pipeline("text-classification")` would put a random head on the backbone' in text
    assert f"`head.json` {place}" in text
    assert "ptft predict model=" in text
    assert "good, &lt;b&gt;bad" in text
    assert "pipeline_tag" not in header(card)


def test_no_head_no_warning(tmp_path):
    model, run = make(tmp_path, "BertForSequenceClassification", id2label={"0": "no", "1": "yes"})
    text = write_card(model, run).read_text()
    assert "random head" not in text
    assert "It tells apart: no, yes." in text


def test_what_the_folder_does_not_say_the_card_does_not_say(tmp_path):
    model, run = make(tmp_path)
    (run / "manifest.json").unlink()
    (run / "result.json").unlink()
    text = write_card(model, run).read_text()
    assert "## How to open it" in text
    assert all(f"## {name}" not in text for name in ("Training data", "Figures", "Lineage"))
    assert "license" not in text and "language" not in text


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no model in folder '.*': it has no config.json; give the folder"):
        write_card(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []
