"""Going on from a fine-tuned checkpoint: its head is kept for every problem, or refused by name."""

import json
import random

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from ptft.config import load
from ptft.errors import RecipeError
from ptft.models.classifier_files import open_classifier
from ptft.steps import STEPS
from ptft.tokenization import load_tokenizer

TINY = {"length": 32, "min_steps": 0, "log_every_steps": 1, "rows_per_step": 16}
STAYS = {"lr": 1e-12, "budget": "1steps", "dropout": 0.0}
WORDS = ["red", "sun", "fire", "blue", "ice", "snow"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    draw = random.Random(0)
    rows = {
        name: [] for name in ("classification", "regression", "multi_label", "multiple_choice", "token_classification")
    }
    for _ in range(80):
        some = [draw.choice(WORDS) for _ in range(5)]
        warm = sum(word in WORDS[:3] for word in some)
        text, options = " ".join(some), draw.sample(WORDS, 3)
        rows["classification"].append({"text": text, "label": "warm" if warm > 2 else "cold"})
        rows["regression"].append({"text": text, "label": 30 + 7.5 * warm})
        rows["multi_label"].append({"text": text, "label": [word for word in ("red", "ice") if word in some]})
        rows["multiple_choice"].append({"text": text, "choices": options, "label": draw.randrange(3)})
        rows["token_classification"].append({"text": some, "label": ["W" if w in WORDS[:3] else "C" for w in some]})
    folder = tmp_path_factory.mktemp("problems")
    for name, found in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory, step, tables):
    """The run folder and figures of a fine-tuning, by its settings."""
    made = {}

    def do(model, problem, **settings):
        key = json.dumps([str(model), problem, settings])
        if key not in made:
            out = tmp_path_factory.mktemp("run") / "run"
            data = str(tables / f"{problem}.jsonl")
            all_of_them = {**TINY, "lr": 0.01, "budget": "20steps", **settings}
            made[key] = out, step("finetune", **all_of_them, model=str(model), data=data, problem=problem, out=str(out))
        return made[key]

    return do


def head_of(folder):
    classifier = open_classifier(folder)
    return classifier.output_layer().weight, classifier


PROBLEMS = ["classification", "regression", "multi_label", "multiple_choice", "token_classification"]
CASES = [("bert", problem, {}) for problem in PROBLEMS] + [("gpt2", problem, {}) for problem in PROBLEMS]
CASES += [("bert", problem, {"pooling": "cls"}) for problem in PROBLEMS[:4]]
CASES += [("bert", "regression", {"policy": "scalar_mix"}), ("bert", "regression", {"pooling": "concat"})]


@pytest.mark.parametrize(("kind", "problem", "settings"), CASES)
def test_a_step_of_nothing_leaves_what_was_learned(kind, problem, settings, finetuned, run_of):
    """Without a word about its pooling: auto is that of the head. A regression's scale comes along."""
    folder, first = finetuned(run_of(kind), problem, **settings)
    policy = {"policy": settings["policy"]} if "policy" in settings else {}
    again, second = finetuned(folder, problem, **STAYS, **policy, seed=5)
    (before, was), (after, now) = head_of(folder), head_of(again)
    assert now.pooling == was.pooling and (now.head is None) == (was.head is None)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    if was.output_layer().bias is not None:
        torch.testing.assert_close(now.output_layer().bias, was.output_layer().bias, rtol=1e-5, atol=1e-5)
    name = next(name for name in first if name.startswith("test."))
    assert second[name] == pytest.approx(first[name], abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "more", "sentence"),
    [
        ({}, {"pooling": "max"}, r"pooling: the head of .* has learned mean, got max; leave it out, or give head=new"),
        (
            {},
            {"policy": "scalar_mix"},
            "policy: the head of .* has learned the last layer, which is not what scalar_mix",
        ),
        ({"policy": "scalar_mix"}, {}, "has learned a mixture of all layers, which is not what full gives it"),
    ],
)
def test_a_head_that_cannot_be_gone_on_with_is_refused(settings, more, sentence, finetuned, bert_run):
    folder, _ = finetuned(bert_run, "classification", **settings)
    with pytest.raises(RecipeError, match=sentence):
        finetuned(folder, "classification", **STAYS, **more)
    again, _ = finetuned(folder, "classification", **STAYS, **more, head="new")
    assert not torch.allclose(head_of(again)[0][:2, :16], head_of(folder)[0][:2, :16], atol=1e-3)


@pytest.mark.parametrize(("former", "problem"), [("classification", "regression"), ("regression", "classification"),
                                                 ("classification", "multiple_choice")])  # fmt: skip
def test_another_problem_wants_a_new_head(former, problem, finetuned, bert_run):
    folder, _ = finetuned(bert_run, former)
    with pytest.raises(RecipeError, match=f"was fine-tuned for {former}, and its head cannot learn {problem}; give "):
        finetuned(folder, problem, **STAYS)
    finetuned(folder, problem, **STAYS, head="new")


@pytest.mark.parametrize(("name", "is_known"), [("electra", True), ("xlm-roberta", True), ("albert", False)])
def test_stock_heads_of_other_makers(name, is_known, finetuned, bert_run, tmp_path):
    """Those that are known here are kept as they are; of others a sentence says how to go on."""
    tokenizer = load_tokenizer(bert_run / "model")
    sizes = {"hidden_size": 16, "embedding_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(name, **sizes, intermediate_size=32, vocab_size=len(tokenizer), type_vocab_size=2,
                                  max_position_embeddings=64, pad_token_id=0)  # fmt: skip
    config.id2label = {0: "warm", 1: "cold"}
    config.label2id = {"warm": 0, "cold": 1}
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    if is_known:
        folder, _ = finetuned(tmp_path / "theirs", "classification", **STAYS)
        assert head_of(folder)[1].labels == ("warm", "cold")
        torch.testing.assert_close(head_of(folder)[0], head_of(tmp_path / "theirs")[0], rtol=0, atol=1e-6)
        return
    with pytest.raises(RecipeError, match=f"how to go on with the stock head of .*, a {name}; give head=new to draw"):
        finetuned(tmp_path / "theirs", "classification", **STAYS)
    finetuned(tmp_path / "theirs", "classification", **STAYS, head="new")


def test_a_model_without_padding_is_trained_with_the_one_that_it_is_saved_with(gpt2_run, tmp_path):
    """Else rows of a stock decoder could not be told from their padding."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (gpt2_run / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": None}))
    settings = load(STEPS["finetune"], None, [f"model={folder}", "data=x.csv", "out=x"]).settings
    tokenizer = load_tokenizer(folder)
    classifier, _ = settings.classifier(tokenizer, ("a", "b"), 0)
    assert classifier.model.config.pad_token_id == tokenizer.pad_token_id is not None
