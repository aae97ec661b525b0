"""Dropout of models that are trained, new ones and ones that there are."""

import pytest
from transformers import AutoConfig

from ptft.config import load
from ptft.inspection.estimates import planned_config, planned_tokenizer
from ptft.steps import STEPS


def dropout_of(config):
    return config.hidden_dropout_prob, config.attention_probs_dropout_prob


@pytest.fixture(scope="module")
def without_dropout(tmp_path_factory, step, pretrain_settings):
    """A tiny BERT that was trained without dropout."""
    folder = tmp_path_factory.mktemp("without") / "bert"
    step("pretrain", **pretrain_settings("bert", dropout=0.0, budget="1steps"), out=str(folder))
    return folder


@pytest.mark.parametrize("given", [{}, {"dropout": 0.3}])
@pytest.mark.parametrize("init", ["pretrained", "scratch"])
def test_pretraining_takes_the_dropout_of_the_model_or_the_one_given(
    init, given, without_dropout, step, pretrain_settings, tmp_path
):
    others = {"preset": "", "shape": {}, "model": str(without_dropout), "init": init, "budget": "1steps", **given}
    step("pretrain", **pretrain_settings("bert", **others), out=str(tmp_path / "run"))
    rate = given.get("dropout", 0.0)
    assert dropout_of(AutoConfig.from_pretrained(tmp_path / "run" / "model")) == (rate, rate)


@pytest.mark.parametrize(("preset", "given", "rate"), [(False, [], 0.1), (False, ["dropout=0.3"], 0.3),
                                                       (True, [], 0.1), (True, ["dropout=0.3"], 0.3)])  # fmt: skip
def test_fine_tuning_from_scratch_takes_it_too(preset, given, rate, bert_run, bert_tokenizer):
    shape = "preset=bert-tiny" if preset else f"model={bert_run}"
    overrides = ["init=scratch", shape, "data=x.csv", "out=x", *given]
    settings = load(STEPS["finetune"], None, overrides).settings
    classifier, _ = settings.classifier(bert_tokenizer, ("a", "b"), 0)
    assert dropout_of(classifier.model.config) == (rate, rate)


@pytest.mark.parametrize(("given", "rate"), [([], 0.0), (["dropout=0.3"], 0.3)])
def test_what_check_plans_has_it_as_well(given, rate, without_dropout):
    step = load(STEPS["pretrain"], None, [f"model={without_dropout}", "out=x", *given]).settings
    assert dropout_of(planned_config(step, planned_tokenizer(step))) == (rate, rate)
