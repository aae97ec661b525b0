"""The sentence with which each wrong setting is refused."""

# ruff: noqa: E501 - sentences are whole on one line

import re
from pathlib import Path

import pytest
from settings_example import Counts, Recipe, refusal

from ptft.config import load
from ptft.errors import RecipeError


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "x.yaml") -> Path:
        Path(name).write_text(text, encoding="utf-8")
        return Path(name)

    return write


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed", "command line: 'seed': must be key=value, such as seed=1"),
        ("=5", "command line: '=5': must be key=value, such as seed=1"),
        ("a..b=5", "command line: 'a..b=5': must be key=value, such as seed=1"),
        ("model=n", "command line: model=n: is given twice, first as model=m; keep one of them"),
        ("text.a=5", "command line: text.a=5: text is text and has no keys of its own; give text=..."),
        ("k.0=5", "command line: k.0=5: k is a list of whole numbers and has no keys of its own; give k=..."),
        ("training.num_step=5", "command line: training.num_step=5: unknown key; did you mean 'num_steps'? Known: num_s.*"),
        ("sed=1", "command line: sed=1: unknown key; did you mean 'seeds'? Known: bound, budget, .*"),
        ("optimizer.name=adamv", "command line: optimizer.name=adamv: unknown optimizer 'adamv'; did you mean 'adamw'? Known: adamw, muon"),
        ("named.a.lr=1", "command line: named.a.lr=1: named.a has no name yet; give named.a=NAME too, one of adamw, muon"),
        ("words=a", "command line: words=a: must be a mapping of names to lists of texts, got 'a'"),
        ("parts.0=adamw", "command line: parts.0=adamw: parts: unknown optimizer '0'; known: adamw, muon"),
        ("optimizer.beta=1", "command line: optimizer.beta=1: unknown key; did you mean 'betas'? Known: betas, lr, name, w.*"),
        ("optimizer.lr=-1", "command line: optimizer.lr=-1: must be greater than 0, got -1.0"),
        ("optimizer=adamv", "command line: optimizer=adamv: unknown optimizer 'adamv'; did you mean 'adamw'? Known: adamw, muon"),
        ("seeds=abc", "command line: seeds=abc: must be a whole number or a list of whole numbers, got 'abc'"),
        ("seeds=1,x", "command line: seeds=1,x: must be a whole number, got 'x'"),
        ("k=a", "command line: k=a: must be a whole number, got 'a'"),
        ("k=1,-2", "command line: k=1,-2: must be at least 0, got -2"),
        ("k=1.5", "command line: k=1.5: must be a whole number, got '1.5'"),
        ("resume=yes", "command line: resume=yes: must be true or false, got 'yes'"),
        ("resume=1", "command line: resume=1: must be true or false, got '1'"),
        ("budget=aut", "command line: budget=aut: must be a number or 'auto', got 'aut'; did you mean 'auto'?"),
        ("budget=nan", "command line: budget=nan: must be a number or 'auto', got 'nan'"),
        ("budget=1e999", "command line: budget=1e999: must be a finite number, got inf"),
        ("bound=-3", "command line: bound=-3: must be greater than 0, got -3"),
        ("pair=1", r"command line: pair=1: must be a list of 2 numbers, got [1.0]"),
        ("pair=1,2,3", r"command line: pair=1,2,3: must be a list of 2 numbers, got [1.0, 2.0, 3.0]"),
        ("precision=bf15", "command line: precision=bf15: must be one of fp32, bf16, fp16, got 'bf15'; did you mean 'bf16'?"),
        ("text=thirteen chars", "command line: text=thirteen chars: must have at most 12 characters, got 'thirteen chars'"),
        ("training=5", "command line: training=5: must be a mapping of settings, got '5'"),
        ("tests=a.csv", "command line: tests=a.csv: must be a mapping of names to paths, got 'a.csv'"),
        ("limits.a=b", "command line: limits.a=b: must be a whole number, got 'b'"),
        ("out=/", "command line: out=/: out must not be the root folder"),
        ("label=both", "label=both needs resume=false"),
        ("training.num_steps=13", "training: num_steps of 13 brings bad luck; take 12"),
        ("optimizer=muon", "command line: optimizer=muon: optimizer.momentum: is required; give optimizer.momentum=..., or name a "
                           "recipe that sets it"),
    ],
)  # fmt: skip
def test_an_argument_is_refused_in_one_sentence(override, sentence):
    pattern = re.escape(sentence).replace(r"\.\*", ".*")
    assert re.fullmatch(pattern, refusal(override)), refusal(override)


def test_a_key_of_a_plain_value_is_refused():
    message = refusal("training.num_steps=1", "training=5")
    assert (
        "command line: training.num_steps=1: training is '5' and has no keys of its own; give training=..." in message
    )
    assert "command line: training=5: must be a mapping of settings, got '5'" in message


def test_a_choice_and_its_name_are_the_same_key():
    assert "optimizer.name=muon: is given twice, first as optimizer=adamw" in refusal(
        "optimizer.name=muon", "optimizer=adamw"
    )


def test_settings_of_an_unknown_choice_are_not_judged():
    sentence = "command line: optimizer=adamv: unknown optimizer 'adamv'; did you mean 'adamw'? Known: adamw, muon"
    assert refusal("optimizer=adamv", "optimizer.momentum=1") == sentence


def test_an_error_of_a_type_of_its_own_is_said_too():
    with pytest.raises(RecipeError, match=r"^command line: even=3: must be even, got 3$"):
        load(Counts, None, ["even=3"])


def test_text_of_undecodable_bytes_is_refused():
    assert refusal("text=\udcff") == "command line: text: holds characters that are not valid Unicode text"


# Recipes that are refused


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        ("objectve: x", "unknown key; known: bound, .*"),
        ("optimizer:\n    lr: -1", ":3: optimizer.lr: must be greater than 0, got -1"),
        ("optimizer: adamv", "optimizer: unknown optimizer 'adamv'; did you mean 'adamw'? Known: adamw, muon"),
        ("optimizer: {name: adamv, lr: 1}", "optimizer: unknown optimizer 'adamv'; did you mean 'adamw'? Known: adamw, muon"),
        ("optimizer: 5", "optimizer: must be one of adamw, muon, or a mapping with 'name' and its settings, got 5"),
        ("optimizer: {name: 5}", "optimizer: must be one of adamw, muon, or a mapping with 'name' and its settings, got 5"),
        ("optimizer: {name: adamw, momentum: 1}", "optimizer.momentum: unknown key; known: betas, lr, name, weight_decay"),
        ("optimizer: {name: muon, momentum: 1, schedule: {shape: line}}",
         "optimizer.schedule.shape: must be one of linear, cosine, got 'line'; did you mean 'linear'?"),
        ("optimizer: muon", "optimizer.momentum: is required; add 'momentum: ...' under 'optimizer' or give "
                            "optimizer.momentum=... on the command line"),
        ("parts: [{lr: 1}]", "parts.0: needs the name of the optimizer: one of adamw, muon; add 'name: ...'"),
        ("parts:\n    - adamw\n    - {name: adamw, lr: 0}", ":4: parts.1.lr: must be greater than 0, got 0"),
        ("parts: [muon]", "parts.0.momentum: is required; add 'momentum: ...' there"),
        ("text: 5", "text: must be text, got 5; put it in quotes"),
        ("text:", "text: must be text, got nothing"),
        ("text: [a]", "text: must be text, got ['a']"),
        ("out: 5", "out: must be a path, got 5; put it in quotes"),
        ("resume: yes", "resume: must be true or false, got 'yes'"),
        ("resume: 1", "resume: must be true or false, got 1"),
        ("seeds: 1.5", "seeds: must be a whole number or a list of whole numbers, got 1.5"),
        ("seeds: true", "seeds: must be a whole number or a list of whole numbers, got true"),
        ("k:\n    - 1\n    - 2.0", ":4: k.1: must be a whole number, got 2.0"),
        ("pair: [1]", "pair: must be a list of 2 numbers, got [1]"),
        ("budget: .inf", "budget: must be a finite number, got inf"),
        ("budget: '1'", "budget: must be a number or 'auto', got '1'"),
        ("tests: {a: 5}", "tests.a: must be a path, got 5; put it in quotes"),
        ("training: {schedule: {warmup_ratio: 2}}", "training.schedule.warmup_ratio: must be at most 1, got 2"),
        ("training: 3", "training: must be a mapping of settings, got 3"),
        ("training: {num_steps: 13}", "training: num_steps of 13 brings bad luck; take 12"),
        ('text: "\\ud800"', "text: holds characters that are not valid Unicode text"),
        ("precision: [" + "1, " * 40 + "]", "precision: must be one of fp32, bf16, fp16, got [1, 1, 1.*..."),
    ],
)  # fmt: skip
def test_a_recipe_is_refused_with_file_line_and_key(recipe, yaml, sentence):
    message = refusal(path=recipe(f"seeds: 1\n{yaml}\n" if not yaml.startswith("seeds") else f"k: [1]\n{yaml}\n"))
    pattern = re.escape(sentence).replace(r"\.\*", ".*")
    assert re.search(rf"^x\.yaml:\d+: .*{pattern}$" if sentence[0] != ":" else rf"^x\.yaml{pattern}$", message), message
    assert "\n" not in message


def test_a_missing_key_says_what_to_add(recipe):
    with pytest.raises(
        RecipeError, match=r"^x\.yaml: model: is required; add 'model: \.\.\.' or give model=\.\.\. on the c"
    ):
        load(Recipe, recipe("seeds: 1"))


def test_without_a_file_a_missing_key_says_what_to_give():
    with pytest.raises(RecipeError, match=r"^model: is required; give model=\.\.\., or name a recipe that sets it$"):
        load(Recipe)


def test_all_problems_are_reported_together(recipe):
    path = recipe("text: 5\nobjectve: x\ntext: 6\noptimizer:\n  lr: 0\n")
    message = refusal("k=x", "nope=1", "seed", path=path)
    starts = ["x.yaml:3: text: is given twice", "command line: nope=1:", "command line: 'seed'", "x.yaml:1: text: must be",
              "command line: k=x:", "x.yaml:5: optimizer.lr:", "x.yaml:2: objectve: unknown key"]  # fmt: skip
    lines = message.splitlines()
    assert len(lines) == len(starts)
    assert all(any(line.startswith(start) for line in lines) for start in starts), message


def test_problems_found_while_reading_are_raised_alone_too(recipe):
    with pytest.raises(RecipeError, match=r"^x\.yaml:2: model: is given twice"):
        load(Recipe, recipe("model: m\nmodel: n"))
