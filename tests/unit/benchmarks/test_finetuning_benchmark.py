"""The benchmark of fine-tuning sees what is wrong, and both sides get one checkpoint."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import finetuning
    import finetuning_checks
    import finetuning_works

    return finetuning, finetuning_checks, finetuning_works


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the benchmark's checkpoint lies, which is made once."""
    return tmp_path_factory.mktemp("benchmark")


def test_every_policy_has_a_formula(modules):
    from ptft.finetuning.policies import POLICIES

    _, checks, _ = modules
    assert checks.FORMULAS.keys() == set(POLICIES)


@pytest.mark.filterwarnings("ignore")
def test_what_differs_from_a_formula_is_counted(modules, folder):
    _, checks, works = modules
    settings = {**checks.SMALL, "model": works.checkpoint("bert", folder), "policy": "gradual_unfreezing"}
    trace = []
    works.run(works.work_of(**settings), lambda module, source: checks.tracing(module, trace))
    right = checks.FORMULAS["gradual_unfreezing"][0][1]
    linear, slanted = checks.SCHEDULES.values()
    assert checks.wrong(trace, right, linear) == 0
    assert checks.wrong(trace, right, slanted) > 1000
    late = 5 * 32 + 16 * (24 + 16 + 8)  # weights of the embeddings and of the layers, times steps before their epochs
    assert checks.wrong(trace, checks.FORMULAS["full"][0][1], linear) == late
    assert checks.wrong(trace[:-1], right, linear) == 1
    name = "classifier.model.embeddings.word_embeddings.weight"
    assert trace[0][name] == (0.0, False, False)
    for broken in ((1e-9, False, False), (0.0, True, False), (0.0, False, True)):
        assert checks.wrong([{**trace[0], name: broken}, *trace[1:]], right, linear) == 1


@pytest.mark.filterwarnings("ignore")
def test_texts_in_a_body_are_counted_however_they_share_rows(modules, folder):
    _, checks, works = modules
    settings = {**checks.SMALL, "model": works.checkpoint("bert", folder), "budget": "3epochs"}
    counts = {}
    for policy in ("full", "frozen"):
        work = works.work_of(**settings, policy=policy)
        done = works.run(work, first_token=work.tokenizer.cls_token_id)
        counts[policy] = done.passed_texts
        assert (done.pass_seconds > 0) == (policy == "frozen")
        assert done.seconds > done.totals.seconds + done.pass_seconds
    assert counts == {"full": 3 * checks.TEXTS, "frozen": checks.TEXTS}


@pytest.mark.filterwarnings("ignore")
def test_both_sides_get_the_checkpoint_with_one_head(modules, bert_run, labelled_texts, tmp_path):
    import peers
    import speed_work
    from safetensors.torch import load_file

    task = tmp_path / "tasks" / "sst2"
    task.mkdir(parents=True)
    rows = "\n".join(json.dumps({"text": text, "label": label}) for text, label in labelled_texts)
    for split in ("train", "valid", "test"):
        (task / f"{split}.jsonl").write_text(rows)
    model = bert_run / "model"
    case = speed_work.Case("own", "classify", "", 300, 32, rows=4, model=str(model))
    data = speed_work.prepared(case, tmp_path, tmp_path / "work")
    trainer = peers.new_trainer(
        case, data, peers.Options(dynamic_padding=True), tmp_path, use_cpu=True, callbacks=(), max_steps=1
    )
    weights, name = load_file(model / "model.safetensors"), "embeddings.word_embeddings.weight"
    (stored,) = [weight for key, weight in weights.items() if key.endswith(name)]
    assert trainer.model.get_parameter(f"bert.{name}").equal(stored)
    assert trainer.train().global_step == 1
    ours = speed_work.our_settings(case, data)
    assert (ours["model"], ours["pooling"], ours["tokenizer"]) == (str(model), "cls", str(data.tokenizer))
    assert not {"preset", "init"} & ours.keys()


def test_without_data_minilm_is_left_out(monkeypatch, modules, tmp_path, capsys):
    finetuning, *_ = modules
    monkeypatch.setattr(finetuning.Table, "finish", lambda table: None)
    monkeypatch.setattr(sys, "argv", ["finetuning.py", "--quick", "--only", "minilm", "--work", str(tmp_path)])
    finetuning.main()
    assert "left out: minilm: needs --data DIR with tasks/sst2 and --model MINILM_FOLDER" in capsys.readouterr().out
