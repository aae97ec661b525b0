"""The cards of real runs, as a user of the Hub reads them: the header is valid and the snippets run."""

import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index

from ptft.config import load
from ptft.report.card import write_card
from ptft.steps import STEPS


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, step, bert_run, table):
    """The run folder of a fine-tuned classifier, by pooling and seeds."""

    def make(pooling, seeds=1):
        folder = tmp_path_factory.mktemp("tuned") / "weather"
        settings = {"data": str(table), "length": 32, "budget": "2steps", "min_steps": 0, "label": "label"}
        step("finetune", model=str(bert_run), out=str(folder), pooling=pooling, seeds=seeds, **settings)
        return folder

    return make


def card_of(run):
    return ModelCard.load(run / "model" / "README.md")


def snippets(card):
    return re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)


def results(card):
    return {(result.dataset_name, result.metric_type): result for result in card.data.eval_results or []}


def test_a_stock_classifier_is_used_as_the_card_says(tuned, monkeypatch, capsys):
    run = tuned("cls")
    card = card_of(run)
    assert card.data.pipeline_tag == "text-classification"
    monkeypatch.chdir(run / "model")
    for code in snippets(card):
        exec(code, {})
    assert re.search(r"'label': '(warm|cold)'", capsys.readouterr().out)
    assert "It tells apart: cold, warm." in card.text


def test_a_head_of_ours_is_used_with_ptft(tuned, monkeypatch):
    run = tuned("mean")
    card = card_of(run)
    assert card.data.pipeline_tag is None
    assert "from transformers import pipeline" not in card.text
    assert "ptft predict model=RUN_FOLDER data=rows.csv out=labels.csv" in card.text
    monkeypatch.chdir(run / "model")
    for code in snippets(card):
        exec(code, {})


@pytest.mark.parametrize(
    ("kind", "pipeline", "metrics"),
    [
        ("bert", "fill-mask", {"accuracy", "perplexity"}),
        ("gpt2", "text-generation", {"perplexity"}),
        ("hybrid", "text-generation", {"perplexity"}),
    ],
)
def test_a_pretrained_model_is_used_as_the_card_says(kind, pipeline, metrics, run_of, monkeypatch, capsys):
    run = run_of(kind)
    card = card_of(run)
    assert card.data.pipeline_tag == pipeline
    assert {(name, metric) for name, metric in results(card)} == {("corpus.txt", metric) for metric in metrics}
    monkeypatch.chdir(run / "model")
    for code in snippets(card):
        exec(code, {})
    assert capsys.readouterr().out
    assert "| tokens\\_seen |" in card.text


def test_the_index_holds_the_figures_of_the_saved_model(tuned, tmp_path):
    """Of several seeds the run's figures are means, and the model is one of them."""
    run = tuned("cls", seeds=2)
    manifest = {**json.loads((run / "manifest.json").read_text()), "saved_seed": 1}
    content = json.loads((run / "result.json").read_text())
    content["records"][0] |= {"accuracy": 0.1, "low": 0.05, "high": 0.3}
    content["records"][1] |= {"accuracy": 0.91237, "low": 0.8, "high": 0.97}
    card = changed(run, tmp_path, **{"manifest.json": json.dumps(manifest), "result.json": json.dumps(content)})
    given = results(card)
    assert {metric for _, metric in given} == {"accuracy", "f1", "matthews_correlation"}
    accuracy = given["weather", "accuracy"]
    assert accuracy.metric_value == 0.9124
    assert accuracy.metric_name == "accuracy (95 % interval 0.800 to 0.970)"
    note = "The model here is that of seed 1, the best on the validation data: test accuracy 0.912 (0.800 to 0.970)."
    assert note in card.text
    index = yaml.safe_load(card.content.split("---\n")[1])["model-index"]
    assert index == eval_results_to_model_index("copy", list(given.values()))


def test_the_recipe_in_the_card_is_that_of_the_run(tuned, tmp_path):
    run = tuned("mean")
    text = card_of(run).text
    assert "ptft finetune recipe.yaml out=runs/again" in text
    (tmp_path / "recipe.yaml").write_text(re.search(r"````yaml\n(.*?)````", text, re.DOTALL)[1])
    former = load(STEPS["finetune"], run / "recipe.yaml").settings
    again = load(STEPS["finetune"], tmp_path / "recipe.yaml").settings
    changed = {name for name in type(former).model_fields if getattr(former, name) != getattr(again, name)}
    assert changed <= {"out", "model", "data", "cache"}  # where things are
    assert (again.model, again.data) == ("bert", "weather.csv")


def test_a_card_says_nothing_of_the_machine(tuned, bert_run, table):
    for run in (tuned("mean"), bert_run):
        content = card_of(run).content
        assert str(table.parent.parent) not in content
        assert "license" not in yaml.safe_load(content.split("---\n")[1])


def test_what_the_model_was_pretrained_on_is_said(tuned):
    text = card_of(tuned("mean")).text
    assert "| task.train\\_rows | 64 |" in text
    assert "| pretraining.corpus.path | corpus.txt |" in text
    assert re.search(r"\| pretraining.tokens\\_seen \| \d+ \|", text)


def test_limits(tuned, gpt2_run):
    assert "- It reads at most 64 tokens; it was trained on at most 32.\n" in card_of(tuned("mean")).text
    assert (
        "- It answers with one of its 2 labels whatever the text is, also where none fits.\n"
        in card_of(tuned("mean")).text
    )
    assert "- It goes on a text as its training data would" in card_of(gpt2_run).text


def changed(run, tmp_path, **others):
    """A copy of a run without its weights, of which other things were taken down."""
    model = tmp_path / "copy" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text((run / "model" / "config.json").read_text())
    for name in ("manifest.json", "recipe.yaml", "result.json"):
        (model.parent / name).write_text(others.get(name, (run / name).read_text()))
    return ModelCard.load(write_card(model, model.parent))


@pytest.mark.parametrize(
    ("init", "parent", "base"),
    [
        ("pretrained", {"path": "ann/encoder", "hub": True}, "ann/encoder"),
        ("pretrained", {"path": "ann/encoder"}, None),
        ("scratch", {"path": "ann/encoder", "hub": True}, None),
    ],
)
def test_the_base_model_is_one_of_the_hub_whose_weights_were_taken(init, parent, base, bert_run, tmp_path):
    manifest = json.dumps({**json.loads((bert_run / "manifest.json").read_text()), "parents": [parent]})
    recipe = f"model: ann/encoder\ninit: {init}\n"
    card = changed(bert_run, tmp_path, **{"manifest.json": manifest, "recipe.yaml": recipe})
    assert card.data.base_model == base
    assert ("[ann/encoder](https://huggingface.co/ann/encoder)" in card.text) == bool(base)


def test_a_data_set_has_a_name_that_the_hub_takes(bert_run, tmp_path):
    manifest = json.loads((bert_run / "manifest.json").read_text())
    manifest["corpus"]["path"] = "/data/my texts (new)"
    card = changed(bert_run, tmp_path, **{"manifest.json": json.dumps(manifest)})
    assert {(r.dataset_name, r.dataset_type) for r in card.data.eval_results} == {("my texts (new)", "my-texts-new")}
