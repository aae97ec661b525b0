"""The commands of docs/finetuning.md run, with a shorter training, and its figures are those of the benchmarks."""

import json
import re
import shlex
from pathlib import Path

import pytest

from ptft.cli import command
from ptft.run import perform

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "finetuning.md").read_text()
TINY = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
SHORT = {
    "finetune": ["budget=2steps", "min_steps=0"],
    "curve": ["budget=2steps", "min_steps=0", "seeds=1"],
}
# By the command that a paragraph names: the figures in it, in their order, and the file that has them.
FIGURES = {
    "finetuning.py --only curve": (
        "finetuning",
        "",
        ["L.8.frozen", "L.8.full", "L.16.full", "L.256.tfidf", "L.256.scratch"],
    ),
    "curves.py --only sst2": (
        "curves",
        "encoder-en.sst2.",
        ["64.full", "64.tfidf", "256.full", "1024.tfidf", "1024.full", "1024.scratch"],
    ),
    "curves.py --only kor_3i4k": (
        "curves",
        "encoder-ko.kor_3i4k.",
        [
            *("16.scratch", "16.tfidf", "64.gradual_unfreezing", "64.full", "64.tfidf", "64.scratch"),
            *("1024.gradual_unfreezing", "1024.full", "1024.scratch", "1024.tfidf", "1024.frozen"),
        ],
    ),
}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the files and runs that the page names."""
    monkeypatch.chdir(tmp_path)
    rows = [f"the {'tea' if n % 2 else 'boat'} was number {n},{'pos' if n % 2 else 'neg'}" for n in range(360)]
    for name in ("reviews.csv", "more.csv", "new.csv"):
        Path(name).write_text("review,sentiment\n" + "\n".join(rows[: 360 if name == "reviews.csv" else 8]) + "\n")
    Path("texts.txt").write_text("\n\n".join(row.partition(",")[0] for row in rows))
    fast = {"precision": "fp32", "threads": 1, "length": 32, "budget": "2steps"}
    made = {"preset": "bert-tiny", "shape": {**TINY, "max_position_embeddings": 128}, "vocab_size": 64}
    perform("pretrain", **made, corpus={"path": "texts.txt"}, cache="cache", out="runs/encoder", **fast)
    data = {"data": "reviews.csv", "text": "review", "label": "sentiment"}
    perform("finetune", model="runs/encoder", **data, min_steps=0, out="runs/reviews", **fast)


def test_the_commands_run(workplace):
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", "").strip().splitlines()]
    assert [shlex.split(line)[1] for line in lines] == ["finetune", "curve", "predict", "eval", "export"]
    for line in lines:
        program, verb, *arguments = shlex.split(line)
        assert program == "ptft"
        assert command([verb, *arguments, *SHORT.get(verb, [])]) == 0, line
    assert (Path("runs/curve/label_efficiency.png").exists(), Path("onnx/model.onnx").exists()) == (True, True)


@pytest.mark.parametrize("benchmark", FIGURES)
def test_figures_in_the_text_are_those_of_the_benchmark(benchmark):
    name, place, keys = FIGURES[benchmark]
    (paragraph,) = [part for part in PAGE.split("\n\n") if f"python benchmarks/{benchmark}" in " ".join(part.split())]
    content = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    found = content.get("curve", content)
    expected = [f"{found[place + key]:.2f}".removeprefix("0") for key in keys]
    assert re.findall(r"(?<![\d.])\.\d+", paragraph) == expected


def test_every_paragraph_with_a_figure_names_its_benchmark():
    parts = [part for part in PAGE.split("\n\n") if re.search(r"\(0?\.\d", part)]
    assert all("python benchmarks/" in part for part in parts)
    assert len(parts) == len(FIGURES)
