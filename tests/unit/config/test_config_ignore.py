"""Keys of a recipe that are not settings."""

import pytest
from settings_example import Recipe

from ptft.config import describe, load
from ptft.errors import RecipeError


def test_ignored_keys_are_left_out_also_of_an_extended_recipe(tmp_path):
    (tmp_path / "below.yaml").write_text("verb: pretrain\nmodel: m\n")
    (tmp_path / "x.yaml").write_text("verb: [1]\nextends: below.yaml\ntext: t\n")
    loaded = load(Recipe, tmp_path / "x.yaml", ignore=("verb",))
    assert (loaded.settings.model, loaded.settings.text) == ("m", "t")
    assert loaded.origin["text"] == f"{tmp_path / 'x.yaml'}:3"
    assert "verb" not in loaded.origin


def test_only_keys_at_the_top_are_ignored(tmp_path):
    (tmp_path / "x.yaml").write_text("model: m\ntraining: {verb: pretrain}\n")
    with pytest.raises(RecipeError, match="unknown key"):
        load(Recipe, tmp_path / "x.yaml", ignore=("verb",))


def test_without_ignore_they_are_unknown(tmp_path):
    (tmp_path / "x.yaml").write_text("model: m\nverb: pretrain\n")
    with pytest.raises(RecipeError, match=r"x\.yaml:2: verb: unknown key"):
        load(Recipe, tmp_path / "x.yaml")


def test_a_default_list_of_family_members_is_described_by_their_names():
    assert {key: default for key, _, default, _ in describe(Recipe)}["parts"] == "[]"
    from ptft.steps.pretrain import Pretrain

    assert {key: default for key, _, default, _ in describe(Pretrain)}["objective"] == "masked_lm"
