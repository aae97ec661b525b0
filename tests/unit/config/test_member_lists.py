"""Settings of the members of a list on the command line: ``objective.masked_lm.mask_ratio=0.3``."""

import pytest

from ptft.config import describe, dump, load
from ptft.errors import RecipeError
from ptft.steps.pretrain import Pretrain


def objectives(*overrides, path=None):
    return {objective.name: objective for objective in load(Pretrain, path, overrides).settings.objective}


def test_a_member_of_the_default_is_changed():
    found = objectives("objective.masked_lm.mask_ratio=0.3")
    assert list(found) == ["masked_lm"]
    assert found["masked_lm"].mask_ratio == 0.3 and found["masked_lm"].replace_ratio == 0.8


def test_several_members_and_a_family_inside_of_one():
    found = objectives(
        "objective.masked_lm.policy.p=0.5",
        "objective.next_sentence.short_ratio=0",
        "objective=masked_lm,next_sentence",
        "objective.masked_lm.policy=span",
    )
    assert found["masked_lm"].policy.name == "span" and found["masked_lm"].policy.p == 0.5
    assert found["next_sentence"].short_ratio == 0


def test_what_the_recipe_says_about_a_member_stays(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("objective:\n- name: masked_lm\n  max_predictions: 20\n- next_sentence\n")
    found = objectives("objective.masked_lm.selection=bernoulli", path=recipe)
    assert list(found) == ["masked_lm", "next_sentence"]
    assert (found["masked_lm"].max_predictions, found["masked_lm"].selection) == (20, "bernoulli")
    again = tmp_path / "again.yaml"
    loaded = load(Pretrain, recipe, ["objective.masked_lm.selection=bernoulli"])
    again.write_text(dump(loaded.settings))
    assert load(Pretrain, again).settings == loaded.settings
    assert loaded.origin["objective.0.selection"] == "command line"
    assert loaded.origin["objective.0.max_predictions"] == f"{recipe}:3"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("objective.causal_lm.weight=2", "objective has no 'causal_lm'; give objective=masked_lm,causal_lm too"),
        ("objective.maskedlm.weight=2", "objective: unknown objective 'maskedlm'; did you mean 'masked_lm'?"),
        ("objective.masked_lm.mask_rato=0.3", "unknown key; did you mean 'mask_ratio'?"),
        ("objective.masked_lm.mask_ratio=3", "objective.0.mask_ratio: must be less than 1, got 3.0"),
        ("objective.masked_lm.policy=words", "unknown masking policy 'words'"),
        ("objective.masked_lm.policy.p=0.5", "unknown key; known: name"),
    ],
)
def test_mistakes(override, sentence):
    with pytest.raises(RecipeError) as caught:
        objectives(override)
    assert sentence in str(caught.value) and str(caught.value).startswith(f"command line: {override}: ")


def test_the_help_lists_the_settings_of_every_member():
    keys = {key: kind for key, kind, _, _ in describe(Pretrain)}
    assert keys["objective.masked_lm.mask_ratio"].endswith("(with objective=masked_lm)")
    assert "objective.next_sentence.short_ratio" in keys and "objective.masked_lm.policy.p" in keys
