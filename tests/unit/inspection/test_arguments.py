"""The arguments after a verb."""

from pathlib import Path

import pytest

from ptft.errors import RecipeError
from ptft.inspection.arguments import (
    read_arguments,
    recipe_of,
    run_folder_of,
    settings_verbs,
    subject_of_check,
    verb_of,
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "plain.yaml": "lr: 1\n",
        "pretrain.yaml": "verb: pretrain\n",
        "several.yaml": "steps: {}\n",
        "typo.yaml": "verb: pretrian\n",
    }.items():
        Path(name).write_text(text)


def test_names_and_overrides_may_be_mixed():
    assert read_arguments("v", ["a=1", "x.yaml", "b.c=x=y"]) == (["x.yaml"], ["a=1", "b.c=x=y"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--lr=3"], "v: '--lr=3': there are no options but --help; write lr=3"),
        (["-n", "3"], "v: '-n': there are no options but --help; settings are key=value, such as seed=1"),
        (["a", "b"], "v: 'b': is one name too many after 'a'; settings are key=value, without spaces"),
    ],
)
def test_stray_arguments_are_refused(arguments, sentence):
    with pytest.raises(RecipeError) as refusal:
        read_arguments("v", arguments)
    assert str(refusal.value) == sentence


def test_a_recipe_may_be_left_out_or_say_nothing():
    assert recipe_of("pretrain", ["lr=1"]) == (None, ["lr=1"])
    assert recipe_of("pretrain", ["plain.yaml", "lr=1"]) == (Path("plain.yaml"), ["lr=1"])
    assert recipe_of("pretrain", ["pretrain.yaml"]) == (Path("pretrain.yaml"), [])


@pytest.mark.parametrize(
    ("verb", "name", "sentence"),
    [
        (
            "finetune",
            "pretrain.yaml",
            "pretrain.yaml: is a recipe for pretrain, not for finetune; do it with: ptft pretrain pretrain.yaml",
        ),
        (
            "pretrain",
            "several.yaml",
            "several.yaml: has several steps, not for pretrain; do it with: ptft run several.yaml",
        ),
        ("pretrain", "typo.yaml", "typo.yaml: verb: unknown verb 'pretrian'; did you mean 'pretrain'? Known: "),
    ],
)
def test_a_recipe_for_another_verb_is_refused(verb, name, sentence):
    with pytest.raises(RecipeError) as refusal:
        recipe_of(verb, [name])
    assert str(refusal.value).startswith(sentence)


def test_the_verb_of_a_recipe_must_be_there():
    assert verb_of(Path("several.yaml")) == "run"
    with pytest.raises(
        RecipeError, match=r"plain\.yaml: says neither verb: nor steps:; add a line such as 'verb: pretrain'"
    ):
        verb_of(Path("plain.yaml"))


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["pretrain", "lr=1"], ("pretrain", None, ["lr=1"])),
        (["pretrain", "plain.yaml"], ("pretrain", Path("plain.yaml"), [])),
        (["pretrain.yaml", "lr=1"], ("pretrain", Path("pretrain.yaml"), ["lr=1"])),
        (["several.yaml"], ("run", Path("several.yaml"), [])),
        (["run", "several.yaml"], ("run", Path("several.yaml"), [])),
    ],
)
def test_what_is_checked(arguments, subject):
    assert subject_of_check(arguments) == subject


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "check: what to check is missing; name a recipe, or one of "),
        (["run"], "check: what to check is missing; name a recipe, or one of "),
        (["pretrian"], "check: 'pretrian': neither a recipe nor a verb with settings; did you mean 'pretrain'?"),
        (["plain.yaml", "several.yaml"], "check: 'plain.yaml': neither a recipe nor a verb with settings"),
        (["plain.yaml"], "plain.yaml: says neither verb: nor steps:"),
    ],
)
def test_nothing_that_could_be_checked(arguments, sentence):
    with pytest.raises(RecipeError) as refusal:
        subject_of_check(arguments)
    assert str(refusal.value).startswith(sentence)


def test_a_run_folder_is_the_one_argument():
    assert run_folder_of("report", ["runs/x"]) == Path("runs/x")
    with pytest.raises(RecipeError, match="report: got nothing; give the folder of a run"):
        run_folder_of("report", [])
    with pytest.raises(RecipeError, match=r"report: got 'runs/x' 'seed=1'; give"):
        run_folder_of("report", ["runs/x", "seed=1"])


def test_steps_and_actions_have_settings():
    assert {"pretrain", "finetune", "predict"} <= set(settings_verbs())
