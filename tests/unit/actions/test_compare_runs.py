"""Two prompted models compared."""

import dataclasses

import pytest

from ptft.actions.compare import Compare
from ptft.display import Silent
from ptft.errors import DataError, RecipeError
from ptft.prompting.records import ChoiceRecord


def records(right, document="d"):
    """Questions with two choices of which the first is right; ``right`` says which are answered so."""
    found = []
    for index, is_right in enumerate(right):
        for place in range(2):
            value = -1.0 if is_right == (place == 0) else -2.0
            place_of = {"task": "t", "template": "{text}", "protocol": "ptft", "k": 4, "seed": 0, "order": 0}
            answer = {"choice": "ab"[place], "is_gold": place == 0, "log_likelihood": value, "is_greedy": False}
            sizes = {"characters": 1, "bytes": 1, "continuation_ids": [3], "context_tokens": 4}
            names = {"shots": [], "prompt": "p", "document": f"{document}{index}"}
            found.append(ChoiceRecord(index=index, **place_of, **answer, **sizes, **names))
    return found


@pytest.fixture
def run(tmp_path):
    def make(name, lines):
        (tmp_path / name).mkdir()
        (tmp_path / name / "choices.jsonl").write_text("".join(line.line for line in lines))
        return str(tmp_path / name)

    return make


def test_two_runs(run):
    runs = (run("a", records([True] * 16 + [False] * 4)), run("b", records([True] * 8 + [False] * 12)))
    titles, line = Compare(runs=runs).do(Silent()).splitlines()
    assert titles.split() == ["task", "k", "n", "first", "second", "difference", "mid-p", "bootstrap", "p"]
    cells = line.split()
    assert cells[:6] == ["t", "4", "20", "0.800", "0.400", "+0.400"]
    assert float(cells[-2]) == pytest.approx(0.5**8, abs=6e-4)  # eight documents that only the first gets right


def test_seeds_are_averaged(run):
    both = records([True] * 5 + [False] * 5)
    both += [dataclasses.replace(one, seed=1) for one in records([True] * 10)]
    line = Compare(runs=(run("a", both), run("b", records([True] * 10)))).do(Silent()).splitlines()[1]
    assert line.split()[3:6] == ["0.750", "1.000", "-0.250"]


def test_other_documents_are_refused(run):
    runs = (run("a", records([True] * 3)), run("b", records([True] * 3, document="e")))
    with pytest.raises(DataError, match="3 of 3 documents differ between the two results"):
        Compare(runs=runs).do(Silent())


def test_runs_without_a_task_in_common(run):
    other = [dataclasses.replace(one, task="u") for one in records([True])]
    with pytest.raises(DataError, match="share no task and number of shots"):
        Compare(runs=(run("a", records([True])), run("b", other))).do(Silent())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "name at least one"),
        ({"runs": ("a",)}, "runs is 'a'; allowed: two run folders"),
        ({"runs": ("a", "b"), "tokenizers": ("c",)}, "or name two runs"),
        ({"runs": ("a", "b"), "method": "pmii"}, "unknown scoring method"),
        ({"tokenizers": ("c",), "method": "pmi"}, "method has no effect on tokenizers"),
    ],
)
def test_settings_that_contradict(settings, message):
    with pytest.raises(RecipeError, match=message):
        Compare(**settings).check()


def test_a_run_without_records(tmp_path):
    with pytest.raises(DataError, match=r"choices\.jsonl' cannot be read"):
        Compare(runs=(str(tmp_path), str(tmp_path))).check()
