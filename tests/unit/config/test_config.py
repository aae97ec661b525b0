"""The loader of settings: arguments, callers' values, origins, dump, help and comparison."""

# ruff: noqa: E501 - a list of tricky texts

import re
from pathlib import Path

import pytest
from settings_example import AdamW, Counts, Muon, Recipe, Schedule, Training, given, refusal

from ptft.config import Loaded, describe, differences, dump, load, plain
from ptft.errors import RecipeError


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "x.yaml") -> Path:
        Path(name).write_text(text, encoding="utf-8")
        return Path(name)

    return write


# The command line


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("text=1e-3", "text", "1e-3"),
        ("text=yes", "text", "yes"),
        ("text=", "text", ""),
        ("text=a=b", "text", "a=b"),
        ("text= a, b", "text", " a, b"),
        ("k=0,1,4,16", "k", (0, 1, 4, 16)),
        ("k=3", "k", (3,)),
        ("k=", "k", ()),
        ("seeds=5", "seeds", 5),
        ("seeds=1,2,3", "seeds", (1, 2, 3)),
        ("seeds=", "seeds", ()),
        ("files=a.csv,b c.csv", "files", ("a.csv", "b c.csv")),
        ("pair=1e-3,2", "pair", (1e-3, 2.0)),
        ("budget=auto", "budget", "auto"),
        ("budget=1e-3", "budget", 1e-3),
        ("budget=2", "budget", 2.0),
        ("label=1", "label", 1),
        ("label=one", "label", "one"),
        ("bound=none", "bound", "none"),
        ("bound=4", "bound", 4),
        ("resume=false", "resume", False),
        ("out=1", "out", Path("1")),
        ("tests.L=a.csv", "tests", {"L": Path("a.csv")}),
        ("tests.very.long=a.csv", "tests", {"very.long": Path("a.csv")}),
        ("words.pos=good,fine", "words", {"pos": ("good", "fine"), "neg": ("awful",)}),
        ("training.num_steps=20", "training", Training(num_steps=20, schedule=Schedule(warmup_ratio=0.5))),
        ("optimizer.betas=0.8,0.9", "optimizer", AdamW(lr=5e-4, betas=(0.8, 0.9))),
        ("optimizer=adamw", "optimizer", AdamW(lr=5e-4)),
        ("optimizer.name=adamw", "optimizer", AdamW(lr=5e-4)),
        ("parts=adamw,adamw", "parts", (AdamW(), AdamW())),
        ("named.a=adamw", "named", {"a": AdamW()}),
    ],
)
def test_a_value_is_read_by_the_type_of_its_key(override, key, value):
    read = getattr(given(override), key)
    assert (read, type(read)) == (value, type(value))


def test_settings_of_a_named_member_inside_a_mapping():
    assert given("named.a.momentum=0.5", "named.a=muon").named == {"a": Muon(momentum=0.5)}


def test_a_choice_is_made_before_its_settings_whatever_their_order():
    settings = given("optimizer.momentum=0.9", "optimizer.schedule.warmup_ratio=0", "optimizer=muon")
    assert settings.optimizer == Muon(momentum=0.9, schedule=Schedule(warmup_ratio=0.0, shape="cosine"))


def test_another_choice_drops_the_settings_of_the_former_one(recipe):
    path = recipe("model: m\noptimizer: {name: muon, lr: 3, momentum: 0.1}\n")
    loaded = load(Recipe, path, ["optimizer=adamw"])
    assert loaded.settings.optimizer == AdamW()
    assert (loaded.origin["optimizer.name"], loaded.origin["optimizer.lr"]) == ("command line", "default")


def test_the_same_choice_keeps_them(recipe):
    path = recipe("model: m\noptimizer: {name: muon, lr: 3, momentum: 0.1}\n")
    assert load(Recipe, path, ["optimizer=muon"]).settings.optimizer == Muon(lr=3.0, momentum=0.1)


# A caller's values


def test_base_values_may_be_python_values():
    settings = given(out=Path("a"), k=(1, 2), optimizer=Muon(momentum=0.5), parts=["adamw", {"name": "adamw", "lr": 2}])
    assert settings.out == Path("a")
    assert settings.k == (1, 2)
    assert settings.optimizer == Muon(momentum=0.5)
    assert settings.parts == (AdamW(), AdamW(lr=2.0))


def test_recipe_goes_over_base_and_command_line_over_both(recipe):
    base = {"model": "a", "text": "a", "label": "a"}
    loaded = load(Recipe, recipe("text: b\nlabel: b\n"), ["label=c"], base=base, base_origin={"model": "run.yaml:7"})
    assert (loaded.settings.model, loaded.settings.text, loaded.settings.label) == ("a", "b", "c")
    assert [loaded.origin[key] for key in ("model", "text", "label")] == ["run.yaml:7", "x.yaml:1", "command line"]


def test_base_problems_name_their_origin():
    assert refusal(base={"k": "x"}) == "recipe: k.0: must be a whole number, got 'x'"
    assert given(k=5).k == (5,)  # a lone item stands for a list of one
    assert refusal(base={"kk": 1}).startswith("recipe: kk: unknown key")


def test_base_of_another_type_is_refused():
    assert re.match(
        r"text: a setting must be text, a number, a list or a mapping, got <object", refusal(base={"text": object()})
    )


# Origins


def test_every_setting_has_an_origin(recipe):
    path = recipe("model: m\nk:\n  - 1\noptimizer: adamw\nparts:\n  - adamw\n  - name: adamw\n    lr: 2\n")
    loaded = load(Recipe, path, ["seeds=1,2", "training.num_steps=3"])
    assert isinstance(loaded, Loaded)
    assert loaded.origin["model"] == "x.yaml:1"
    assert loaded.origin["k"] == "x.yaml:2"
    assert loaded.origin["optimizer.name"] == "x.yaml:4"
    assert loaded.origin["optimizer.lr"] == "default"
    assert loaded.origin["parts.0.name"] == "x.yaml:6"
    assert loaded.origin["parts.1.lr"] == "x.yaml:8"
    assert loaded.origin["seeds"] == "command line"
    assert loaded.origin["training.num_steps"] == "command line"
    assert loaded.origin["training.schedule.warmup_ratio"] == "default"
    assert loaded.origin["tests"] == "default"


def test_a_replaced_list_forgets_where_its_items_stood(recipe):
    loaded = load(Recipe, recipe("model: m\nparts:\n  - {name: adamw, lr: 2}\n"), ["parts=adamw"])
    assert loaded.origin["parts.0.lr"] == "default"
    assert "x.yaml" not in str({key: value for key, value in loaded.origin.items() if key.startswith("parts")})


# Dump


TRICKY = ["1e-3", "yes", "null", "~", "", "true", "007", "1_0", "a: b", "# a", "- a", " a ", "a\nb\n", "\n", "\r", "\t", "é ü",
          "日本", "😀", "\x85", "\u2028", "'", '"', "*a", "&a", "!a", "%a", "@a", "`", "{a}", "[a]", "a\\b", "<<", "=", "0x10",
          ".inf", "2024-01-01", "1:30", "---", "...", "?", "\x07", "\ufeffa"]  # fmt: skip


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_text_survives_dump_and_load(recipe, text):
    settings = given(text=text, files=(text, text), tests={text: Path(text)}, label=text)
    assert load(Recipe, recipe(dump(settings))).settings == settings


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["budget=1e-6"],
        ["budget=1e22"],
        ["budget=-0.0"],
        ["budget=123456789.123456789"],
        ["seeds=1,2", "k=", "bound=3", "label=5"],
        ["optimizer=muon", "optimizer.momentum=1e-9", "optimizer.where=a b"],
        ["parts=adamw,adamw", "named.a=adamw", "words.pos=a", "limits.x=4"],
        ["training.num_steps=3", "training.schedule.shape=cosine"],
    ],
)
def test_dump_and_load_return_equal_settings(recipe, overrides):
    settings = given(*overrides)
    assert load(Recipe, recipe(dump(settings))).settings == settings


def test_a_default_mapping_may_be_emptied_and_survives(recipe):
    settings = given(words={})
    assert settings.words == {}
    assert load(Recipe, recipe(dump(settings))).settings == settings


def test_dump_is_readable():
    text = dump(given("optimizer=muon", "optimizer.momentum=0.9", "k=1,2"))
    assert text.startswith("model: m\ntext: text\nseeds: 5\nk: [1, 2]\nfiles: []\npair: [0.0, 1.0]\nbudget: auto\n")
    assert (
        "optimizer:\n  name: muon\n  lr: 0.02\n  momentum: 0.9\n  where: muon\n  schedule:\n    warmup_ratio: 0.1\n"
        in text
    )


def test_pydantic_dumps_a_choice_with_its_name_too():
    settings = given("optimizer.lr=2")
    assert settings.model_dump()["optimizer"] == plain(settings)["optimizer"]
    assert plain(settings)["optimizer"] == {"name": "adamw", "lr": 2.0, "betas": [0.9, 0.999], "weight_decay": 0.01}


# Help and comparison


def test_describe_says_key_type_default_and_help():
    rows = {row[0]: row[1:] for row in describe(Recipe)}
    assert rows["model"] == ("text", "required", "Folder of the model.")
    assert rows["seeds"] == ("whole number or a list of whole numbers", "5", "")
    assert rows["k"] == ("list of whole numbers", "0,1", "")
    assert rows["files"] == ("list of texts", "[]", "")
    assert rows["pair"][0] == "list of 2 numbers"
    assert rows["budget"][:2] == ("number or 'auto'", "auto")
    assert rows["precision"][:2] == ("one of fp32, bf16, fp16", "fp32")
    assert rows["resume"][:2] == ("true or false", "true")
    assert rows["out"][:2] == ("path", "runs/out")
    assert rows["tests"][:2] == ("mapping of names to paths", "{}")
    assert rows["training.num_steps"] == ("whole number >= 1", "10", "How many updates, at least one.")
    assert rows["training.schedule.warmup_ratio"] == ("number >= 0 and <= 1", "0.5", "Share of the steps.")
    assert rows["optimizer"][:2] == ("one of adamw, muon", "adamw")


def test_a_default_that_follows_from_other_settings():
    assert load(Counts, None, ["even=4"]).settings.twice == 8
    assert describe(Counts)[1] == ("twice", "whole number", "derived", "")


def test_a_mapping_in_place_of_a_list_forgets_its_items(recipe):
    with pytest.raises(RecipeError, match=r"^command line: training=5: must be a mapping"):
        load(Recipe, recipe("model: m\ntraining:\n  - 1\n"), ["training=5"])


def test_describe_lists_the_settings_of_each_member():
    rows = [row for row in describe(Recipe) if row[0].startswith("optimizer.")]
    assert ("optimizer.lr", "number > 0 (with optimizer=adamw)", "0.0005", "Peak learning rate.") in rows
    assert ("optimizer.lr", "number > 0 (with optimizer=muon)", "0.02", "") in rows
    assert ("optimizer.schedule.shape", "one of linear, cosine (with optimizer=muon)", "cosine", "") in rows


def test_differences_are_sentences():
    old, new = given("optimizer.lr=0.001", "k=1"), given("optimizer.lr=0.01", "k=1,2", "resume=false", "tests.L=a")
    assert differences(old, new) == [
        "k: [1] before, [1, 2] now",
        "resume: true before, false now",
        "optimizer.lr: 0.001 before, 0.01 now",
        "tests.L: not set before, 'a' now",
    ]


def test_equal_settings_have_no_differences():
    assert differences(given("k=1"), given("k=1")) == []


def test_another_choice_is_one_difference():
    new = given("optimizer=muon", "optimizer.momentum=1")
    assert differences(given(), new) == ["optimizer.name: 'adamw' before, 'muon' now"]


def test_settings_are_frozen_and_strict():
    with pytest.raises(ValueError, match="frozen"):
        given().model = "n"
    with pytest.raises(ValueError, match="valid integer"):
        Training(num_steps="3")


def test_a_choice_refuses_what_is_no_member_in_python_too():
    with pytest.raises(ValueError, match="instance of OptimizerSettings"):
        Recipe(model="m", optimizer=Schedule())
