"""Protocol lm_eval-0.4.13 beside lm_eval itself, on tiny models; left out where it is not installed."""

import json
import logging
from functools import partial

import pytest
import yaml

pytest.importorskip("lm_eval", reason="lm_eval is for benchmarks only: make bench-setup")

from lm_eval.tasks import TaskManager

from ptft.cli import command
from ptft.errors import RecipeError
from ptft.prompting import Template
from ptft.prompting.lm_eval import adapter, aggregates, document_metrics, encode_pairs, prompt_items, truncated
from ptft.prompting.lm_eval.respondent import Respondent
from ptft.tasks.task import Example

pytestmark = pytest.mark.filterwarnings("ignore")
LABELS = ("cold", "warm")
METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "brier_score")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Nothing is asked of the Hub, and lm_eval does not look through its own tasks, which takes seconds."""
    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(TaskManager, include_defaults=False))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    level = logging.getLogger("lm_eval").level
    yield
    logging.getLogger("lm_eval").setLevel(level)


@pytest.fixture
def rows(labelled_texts):
    made = [Example(text, label) for text, label in labelled_texts[:12]]
    return [*made, made[3], Example("  ", "cold"), Example("🙂 né\u00a0", "warm")]


@pytest.fixture
def task(tmp_path, rows):
    """The settings of a task over the rows, whose shots come from the rows themselves."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": r.text, "label": LABELS.index(r.label)}) + "\n" for r in rows))
    return {
        "task": "weather",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "fewshot_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "It is {{text}}, so",
        "doc_to_choice": list(LABELS),
        "doc_to_target": "label",
        "num_fewshot": 3,
        "metric_list": [
            {"metric": name, "aggregation": name if name == "brier_score" else "mean", "higher_is_better": True}
            for name in METRICS
        ],
    }


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_prompts_ids_scores_and_figures_are_those_of_lm_eval(run_of, kind, task, rows):
    from lm_eval import evaluator
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    folder = run_of(kind) / "model"
    harness = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)
    given, got = [], []
    inner = harness._loglikelihood_tokens

    def watched(requests, **settings):
        given.extend(requests)
        got.extend(inner(requests, **settings))
        return got

    harness._loglikelihood_tokens = watched
    found = evaluator.simple_evaluate(
        model=harness, tasks=[ConfigurableTask(config=task)], log_samples=False,
        task_manager=TaskManager(include_defaults=False),
    )  # fmt: skip
    respondent = Respondent({"pretrained": str(folder), "device": "cpu"})
    items = prompt_items(rows, rows, LABELS, Template("It is {text}, so"), 3, excludes=True)
    pairs = [(context, choice) for item in items for context in (item.context, "") for choice in item.choices]
    assert pairs == [texts for texts, _, _ in given]
    requests = encode_pairs(respondent.tokenizer, pairs)
    assert requests == [(tuple(context), tuple(continuation)) for _, context, continuation in given]
    assert any(truncated(request, respondent.max_length) != request for request in requests), "the premise"
    ours = respondent.loglikelihoods(pairs)
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in got], abs=1e-4)
    assert [flag for _, flag in ours] == [flag for _, flag in got]
    documents = []
    for number, item in enumerate(items):
        own = got[4 * number : 4 * number + 4]
        values, greedy = [value for value, _ in own], [flag for _, flag in own]
        documents.append(document_metrics(values[:2], greedy[:2], LABELS, item.gold, values[2:]))
    for name, (value, stderr) in aggregates(documents).items():
        assert value == pytest.approx(found["results"]["weather"][f"{name},none"], abs=1e-12)
        theirs = found["results"]["weather"][f"{name}_stderr,none"]
        assert stderr == (None if theirs == "N/A" else pytest.approx(theirs, abs=1e-12))


def test_the_command_line_of_lm_eval_knows_ptft(gpt2_run, task, tmp_path, capsys):
    del task["metric_list"]
    path = tmp_path / "weather.yaml"
    path.write_text(yaml.safe_dump(task))
    out = tmp_path / "out"
    arguments = ["--tasks", str(path), "--limit", "5", "--device", "cpu", "--output_path", str(out)]
    results = []
    for model in ([], ["--model", "hf"]):
        assert command(["lm_eval", "--model_args", f"pretrained={gpt2_run}/model", *arguments, *model]) == 0
        newest = max(out.rglob("results*.json"), key=lambda file: file.stat().st_mtime_ns)
        results.append(json.loads(newest.read_text())["results"]["weather"])
    assert results[0] == results[1]
    assert "acc_norm" in capsys.readouterr().out


def test_a_users_mistake_inside_lm_eval_is_one_sentence(gpt2_run, task, tmp_path, capsys):
    path = tmp_path / "weather.yaml"
    path.write_text(yaml.safe_dump(task))
    code = command(["lm_eval", "--tasks", str(path), "--model_args", f"pretrained={gpt2_run}/model,dtype=bfloat16"])
    assert code == 2
    assert "ptft: --model_args: dtype: unknown key; did you mean 'method'?" in capsys.readouterr().err


def test_texts_whole_and_written_are_those_of_lm_eval(gpt2_run):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    folder = str(gpt2_run / "model")
    harness = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=2)
    ours = adapter.model_class()(pretrained=folder, device="cpu", batch_size=2)
    texts = ["the sun is warm", " ".join(["the sun is warm"] * 60)]
    rolling = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
    assert ours.loglikelihood_rolling(rolling) == pytest.approx(harness.loglikelihood_rolling(rolling), rel=1e-5)
    prompts = [Instance("generate_until", {}, (text, {"until": ["\n"], "max_gen_toks": 6}), 0) for text in texts]
    harness.tokenizer.pad_token = harness.tokenizer.eos_token
    assert ours.generate_until(prompts) == harness.generate_until(prompts)


def test_the_exit_code_of_lm_eval_is_ours(capsys):
    assert command(["lm_eval", "run", "--no-such-option"]) == 2
    assert command(["lm_eval", "run", "-h"]) == 0
    assert "--num_fewshot" in capsys.readouterr().out


def test_chat_templates_are_refused(gpt2_run, task, tmp_path, capsys):
    path = tmp_path / "weather.yaml"
    path.write_text(yaml.safe_dump(task))
    model = ["--model_args", f"pretrained={gpt2_run}/model"]
    assert command(["lm_eval", "--tasks", str(path), *model, "--apply_chat_template"]) == 2
    assert "knows no chat templates; leave it out, or give --model hf" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"--apply_chat_template: protocol lm_eval-0\.4\.13 of ptft knows no chat"):
        adapter.model_class()(pretrained=str(gpt2_run / "model"), device="cpu").apply_chat_template([])
