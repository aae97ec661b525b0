"""What YAML means to the loader of settings, and what it refuses to read."""

from pathlib import Path

import pytest
from settings_example import AdamW, Recipe, Schedule, Training, given

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
    ("yaml", "key", "value"),
    [
        ("budget: 1e-3", "budget", 1e-3),
        ("budget: 1E+3", "budget", 1e3),
        ("budget: .5", "budget", 0.5),
        ("budget: 7", "budget", 7.0),
        ("text: yes", "text", "yes"),
        ("text: off", "text", "off"),
        ("text: 2024-01-01", "text", "2024-01-01"),
        ("text: 1:30", "text", "1:30"),
        ("text: 007", "text", "007"),
        ("text: =", "text", "="),
        ("text: '1e-3'", "text", "1e-3"),
        ("resume: False", "resume", False),
        ("seeds: 1_000", "seeds", 1000),
        ("seeds: [1, 2]", "seeds", (1, 2)),
        ("out: a/b", "out", Path("a/b")),
        ("tests: {yes: a, 1e-3: b}", "tests", {"yes": Path("a"), "1e-3": Path("b")}),
        ("k: &k [3]\nseeds: *k", "seeds", (3,)),
        ("text: !!str 5", "text", "5"),
        ("budget: !!float 5", "budget", 5.0),
    ],
)
def test_yaml_values_are_read_as_they_are_meant(recipe, yaml, key, value):
    read = getattr(load(Recipe, recipe(f"model: m\n{yaml}\n")).settings, key)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~\n"])
def test_an_empty_file_says_nothing(recipe, text):
    assert load(Recipe, recipe(text), ["model=m"]).settings == given()


def test_a_byte_order_mark_is_no_text(recipe):
    assert load(Recipe, recipe("\ufeffmodel: m")).settings == given()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "seed: 1\nlr: [1, 2",
            r"^x\.yaml:2: is not YAML: while parsing a flow sequence, expected ',' or '\]'.*; check ind",
        ),
        (
            "a: 1\n\tb: 2",
            r"^x\.yaml:2: is not YAML: .*\\t.*cannot start any token; check indentation, colons and quotes$",
        ),
        ("text: a: b", r"^x\.yaml:1: is not YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", r"^x\.yaml:2: is not YAML: expected a single document in the stream"),
        ("a: *gone", r"^x\.yaml:1: is not YAML: found undefined alias 'gone'"),
        ("\n- a\n- b", r"^x\.yaml:2: a recipe must be a mapping of settings such as 'seed: 1', got a list$"),
        (
            "model: m\nk: " + "[" * 60 + "]" * 60,
            r"^x\.yaml:2: k: is nested more than 50 levels deep; write it flatter(\n|$)",
        ),
        ("{a: " * 6000, r"^x\.yaml: is nested more than 50 levels deep; write it flatter$"),
        ("words", r"^x\.yaml:1: a recipe must be a mapping of settings such as 'seed: 1', got 'words'$"),
        ("model: m\ntext: a\x00b", r"^x\.yaml:2: holds the character '\\x00', which YAML forbids$"),
        ("model: m\nseeds: 1\n\nmodel: n", r"^x\.yaml:4: model: is given twice, first in line 1; keep one of them$"),
        (
            "training:\n  num_steps: 1\n  num_steps: 2",
            r"^x\.yaml:3: training\.num_steps: is given twice, first in line 2",
        ),
        (
            "model: !!python/object:os.system x",
            r"^x\.yaml:1: model: the tag '!!python/object:os\.system' is not read; write",
        ),
        ("model: !mine x", r"^x\.yaml:1: model: the tag '!mine' is not read; write plain text"),
        ("model: m\nk: !!set {1}", r"^x\.yaml:2: k: the tag '!!set' is not read"),
        ("model: m\nseeds: !!int abc", r"^x\.yaml:2: seeds: the tag '!!int' is not read"),
        ("model: m\nk: &a [*a]", r"^x\.yaml:2: k\.0: refers to itself; write the value out"),
        (
            "model: m\n<<: {seeds: 1}",
            r"^x\.yaml:2: '<<' is not read; write the settings out, or use 'extends: other\.yaml'$",
        ),
        ("model: m\n? [a, b]\n: 1", r"^x\.yaml:2: a key must be plain text, got a list or a mapping$"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(recipe, text, sentence):
    with pytest.raises(RecipeError, match=sentence):
        load(Recipe, recipe(text))


def test_a_missing_recipe_is_refused(recipe):
    with pytest.raises(RecipeError, match=r"^no recipe at 'gone\.yaml'; check the path$"):
        load(Recipe, Path("gone.yaml"))


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match=r"^cannot read the recipe '.*': Is a directory$"):
        load(Recipe, tmp_path)


def test_a_recipe_that_is_not_utf8_is_refused_with_its_line(recipe):
    Path("x.yaml").write_bytes(b"model: m\ntext: caf\xe9\n")
    with pytest.raises(RecipeError, match=r"^x\.yaml:2: is not UTF-8 text; save the file as UTF-8$"):
        load(Recipe, Path("x.yaml"))


# One recipe extends another


def test_a_recipe_extends_another_key_by_key(recipe):
    Path("base").mkdir()
    recipe(
        "model: m\ntraining:\n  num_steps: 3\n  schedule: {shape: cosine}\noptimizer: {name: adamw, lr: 1}\n",
        "base/b.yaml",
    )
    loaded = load(Recipe, recipe("extends: base/b.yaml\ntraining:\n  num_steps: 4\noptimizer: {weight_decay: 0}\n"))
    assert loaded.settings.training == Training(num_steps=4, schedule=Schedule(warmup_ratio=0.5, shape="cosine"))
    assert loaded.settings.optimizer == AdamW(lr=1.0, weight_decay=0.0)
    wanted = {
        "training.num_steps": "x.yaml:3",
        "training.schedule.shape": "base/b.yaml:4",
        "optimizer.lr": "base/b.yaml:5",
    }
    assert wanted.items() <= loaded.origin.items()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: m\nextends: gone.yaml", r"^x\.yaml:2: extends: no recipe at 'gone\.yaml'; check the path$"),
        (
            "extends: [a.yaml, b.yaml]",
            r"^x\.yaml:1: extends: must be the path of one recipe, got \['a\.yaml', 'b\.yaml'\]$",
        ),
        (
            "extends: y.yaml",
            r"^y\.yaml:2: extends: 'y\.yaml' is extended by 'x\.yaml' and may not extend another recipe$",
        ),
    ],
)
def test_extends_goes_one_level(recipe, text, sentence):
    recipe("model: m\nextends: z.yaml", "y.yaml")
    with pytest.raises(RecipeError, match=sentence):
        load(Recipe, recipe(text))
