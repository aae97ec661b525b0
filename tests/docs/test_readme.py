"""README's commands, recipe and script run as they stand, in a folder with small files of the names that they use."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest

from ptft.cli import command

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```(bash|python|yaml)\n(.*?)```", README.read_text(), flags=re.S)


def one_block(language: str) -> str:
    blocks = [text for kind, text in BLOCKS if kind == language]
    assert len(blocks) == 1
    return blocks[0]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    (folder / "texts").mkdir()
    topics = {"tea": "kettle cup leaf sugar", "sea": "boat wave sail shore", "bread": "oven flour crust yeast"}
    documents = []
    for number in range(240):
        words = list(topics.values())[number % 3].split()
        sentences = [f"The {words[(number + i) % 4]} was near the {words[(number // 3 + i) % 4]}." for i in range(5)]
        documents.append("\n".join(sentences))
    (folder / "texts" / "a.txt").write_text("\n\n".join(documents[:120]))
    (folder / "texts" / "b.txt").write_text("\n\n".join(documents[120:]))
    rows = [(f'The {word} was "{mood}", number {n}', label) for n in range(40) for word, mood, label in
            (("tea", "lovely", "pos"), ("boat", "awful", "neg"))]  # fmt: skip
    with (folder / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "sentiment"), *rows])
    with (folder / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "review"), (1, "The tea was lovely"), (2, "")])
    return folder


def test_the_commands_run(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    lines = one_block("bash").strip().splitlines()
    assert len(lines) == 5
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "ptft"
        assert command([*arguments, f"cache={workplace / 'cache'}"] if "predict" not in line else arguments) == 0, line
    with (workplace / "labels.csv").open(newline="") as file:
        predicted = list(csv.DictReader(file))
    assert [row["text"] for row in predicted] == ["The tea was lovely", ""]
    assert predicted[0]["label"] in ("pos", "neg")


def test_the_recipe_can_be(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    (workplace / "recipe.yaml").write_text(one_block("yaml"))
    assert command(["check", "recipe.yaml"]) == 0


def test_the_scripts_run(workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    if not (workplace / "runs" / "decoder").exists():
        test_the_commands_run(workplace, monkeypatch)
    shutil.copytree(workplace / "runs" / "decoder" / "model", workplace / "runs" / "quickstart" / "decoder" / "model")
    estimator, prompting = [text for kind, text in BLOCKS if kind == "python"]
    exec(compile(estimator, "README.md", "exec"), {})
    assert (workplace / "classifier" / "model.safetensors").exists()
    exec(compile(prompting, "README.md", "exec"), {})
    assert "polarity.L.k4" in capsys.readouterr().out


def test_the_tables_are_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(README.parent / "benchmarks"))
    import tables

    for page in tables.PAGES:
        assert tables.written(page.read_text()) == page.read_text(), page.name
