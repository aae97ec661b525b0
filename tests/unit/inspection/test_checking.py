"""What is known before anything is done."""

import pytest

from ptft.errors import RecipeError
from ptft.inspection.checking import check, check_steps

SMALL = ["preset=bert-tiny", "shape.hidden_size=32", "shape.intermediate_size=64"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_setting_has_a_value_and_an_origin(here):
    (here / "x.yaml").write_text("verb: pretrain\npreset: bert-tiny\nobjective: [masked_lm, next_sentence]\n")
    checked = check("pretrain", here / "x.yaml", ["out=runs/x", "vocab_size=100", "trackers="])
    rows = {key: (value, origin) for key, value, origin in checked.settings}
    assert rows["preset"] == ("bert-tiny", f"{here / 'x.yaml'}:2")
    assert rows["out"] == ("runs/x", "command line")
    assert rows["trackers"] == ("(none)", "command line")
    assert rows["lr"] == ("0.0001", "default")
    assert rows["model"] == ("''", "default")
    assert rows["resume"] == ("true", "default")
    assert rows["objective.1.name"] == ("next_sentence", f"{here / 'x.yaml'}:3")


def test_a_new_model_is_measured_and_nothing_is_written(here):
    checked = check("pretrain", None, [*SMALL, "vocab_size=100", "out=runs/x", "cache=cache"])
    facts = dict(checked.facts)
    embeddings = (100 + 512 + 2) * 32 + 2 * 32
    layer = 4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32
    head = 32 * 32 + 32 + 2 * 32 + 100
    assert facts["parameters"] == f"{embeddings + 2 * layer + head:,}, if the tokenizer has all of 100 tokens"
    assert facts["corpus"].startswith("the embedded corpus (prose)")
    assert facts["out"] == "runs/x would be made"
    assert list(here.iterdir()) == []


def test_what_the_step_would_refuse_is_refused():
    with pytest.raises(RecipeError, match=r"give one of preset=NAME"):
        check("pretrain", None, ["out=runs/x"])
    with pytest.raises(RecipeError, match=r"shape\.hiden: bert has no such attribute"):
        check("pretrain", None, [*SMALL, "shape.hiden=3", "out=runs/x"])


def test_a_folder_that_is_in_the_way_is_refused(here):
    (here / "runs").write_text("")
    with pytest.raises(RecipeError, match=r"^out: "):
        check("pretrain", None, [*SMALL, "out=runs"])


def test_a_folder_with_a_run_says_how_it_stands(here):
    from ptft.config import dump, load
    from ptft.steps import STEPS

    overrides = ["corpus.path=embedded", "out=runs/t"]
    (here / "runs" / "t").mkdir(parents=True)
    (here / "runs" / "t" / "recipe.yaml").write_text(dump(load(STEPS["tokenizer"], None, overrides).settings))
    assert dict(check("tokenizer", None, overrides).facts)["out"] == "runs/t was interrupted: the step would go on"
    (here / "runs" / "t" / "result.json").write_text("{}")
    assert dict(check("tokenizer", None, overrides).facts)["out"] == "runs/t is finished: the step would only say so"


def test_steps_of_a_recipe_are_checked_but_those_that_wait(here):
    path = here / "x.yaml"
    path.write_text(
        "out: runs/x\nseed: 3\nsteps:\n"
        "  encoder: {name: pretrain, preset: bert-tiny, length: 64}\n"
        "  classifier: {name: finetune, model: 'step:encoder', data: polarity}\n"
    )
    encoder, classifier = check_steps(path, ["steps.encoder.length=32"])
    rows = {key: (value, origin) for key, value, origin in encoder.settings}
    assert encoder.title == "encoder (pretrain)"
    assert rows["preset"] == ("bert-tiny", f"{path}:4")
    assert rows["length"] == ("32", "command line")
    assert rows["seed"][0] == "3"
    assert "parameters" in dict(encoder.facts)
    assert dict(classifier.facts) == {"waits": "for another step: checked when that is done"}
    with pytest.raises(RecipeError, match="length: 600 tokens"):
        check_steps(path, ["steps.encoder.length=600"])
