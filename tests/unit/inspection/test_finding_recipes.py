"""Recipes by path or name, and the verb that they are for."""

import pytest

from ptft.errors import RecipeError
from ptft.inspection import recipes
from ptft.inspection.recipes import find_recipe, packaged_recipes, read_verb, recipe_folder, recipe_rows


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A checkout with two recipes of its own."""
    (tmp_path / "recipes" / "real").mkdir(parents=True)
    (tmp_path / "ptft").mkdir()
    (tmp_path / "recipes" / "quick.yaml").write_text(
        "# goal: all stages, from text\n#       to a number\n# data: none\nverb: pretrain\n"
    )
    (tmp_path / "recipes" / "real" / "encoder.yaml").write_text("steps: {}\n")
    monkeypatch.setattr(recipes, "PACKAGE", tmp_path / "ptft")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_recipes_have_names_and_goals(packaged):
    assert list(packaged_recipes()) == ["quick", "real/encoder"]
    assert [(name, goal) for name, goal, _ in recipe_rows()] == [
        ("quick", "all stages, from text to a number"),
        ("real/encoder", ""),
    ]


def test_an_installed_package_holds_its_recipes(packaged):
    assert recipe_folder() == packaged / "recipes"
    (packaged / "ptft" / "recipes").mkdir()
    assert recipe_folder() == packaged / "ptft" / "recipes"


def test_a_recipe_is_found_by_path_or_name(packaged):
    (packaged / "mine.yaml").write_text("")
    assert str(find_recipe("mine.yaml")) == "mine.yaml"
    assert str(find_recipe("real/encoder")) == "recipes/real/encoder.yaml"


def test_a_recipe_that_lies_elsewhere_keeps_its_whole_path(packaged, monkeypatch):
    monkeypatch.chdir(packaged / "ptft")
    assert find_recipe("quick") == packaged / "recipes" / "quick.yaml"


def test_an_unknown_recipe_is_refused_with_the_nearest(packaged):
    with pytest.raises(
        RecipeError, match=r"'quik': no recipe file, and no recipe .*; did you mean 'quick'\? Known: quick,"
    ):
        find_recipe("quik")


def test_a_long_goal_is_cut(packaged):
    (packaged / "recipes" / "quick.yaml").write_text("# goal: " + "many words " * 40 + "\n")
    goal = recipe_rows()[0][1]
    assert len(goal) <= 120
    assert goal.endswith("...")


@pytest.mark.parametrize(
    ("text", "verb"),
    [("verb: pretrain\nlr: 1\n", "pretrain"), ("steps: {a: 1}\nout: x\n", "run"), ("lr: 1\n", ""), ("", "")],
)
def test_the_verb_of_a_recipe(packaged, text, verb):
    (packaged / "x.yaml").write_text(text)
    assert read_verb(find_recipe("x.yaml")) == verb


def test_the_verb_may_stand_in_the_recipe_below(packaged):
    (packaged / "x.yaml").write_text("extends: recipes/quick.yaml\nlr: 1\n")
    assert read_verb(find_recipe("x.yaml")) == "pretrain"


@pytest.mark.parametrize("value", ["3", "[a]", "''", ""])
def test_a_verb_that_is_no_name_is_refused(packaged, value):
    (packaged / "x.yaml").write_text(f"lr: 1\nverb: {value}\n")
    with pytest.raises(RecipeError, match=r"^x\.yaml:2: verb: must name a step such as pretrain, got"):
        read_verb(find_recipe("x.yaml"))
