"""Fine-tuning by each policy, from the settings to the saved model."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from ptft.compute import Compute
from ptft.errors import RecipeError
from ptft.finetuning.classification import predict_logits
from ptft.finetuning.policies import POLICIES
from ptft.finetuning.texts import encode_texts
from ptft.models.classifier import Classifier
from ptft.models.classifier_files import open_classifier, save_classifier
from ptft.tokenization import load_tokenizer

TINY = {"length": 32, "min_steps": 0, "lr": 0.01, "log_every_steps": 1, "rows_per_step": 8}
EPOCHS = 3  # of 8 steps: 64 rows


@pytest.fixture
def finetune(step, tmp_path, table):
    def do(**settings):
        given = {**TINY, "budget": f"{EPOCHS}epochs", "data": str(table), "out": str(tmp_path / "run"), **settings}
        return step("finetune", **given)

    return do


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def body_of(folder):
    """The weights of a stock body without the pooler, which some heads have for themselves."""
    model = AutoModel.from_pretrained(folder / "model")
    return {name: tensor for name, tensor in model.state_dict().items() if "pooler" not in name}


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_trains_encoders_and_decoders(name, kind, finetune, run_of, tmp_path):
    result = finetune(model=str(run_of(kind)), policy=name, pooling="mean")
    assert result["test.accuracy"] > 0.5
    before, after = body_of(run_of(kind)), body_of(tmp_path / "run")
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert before.keys() == after.keys()
    if name in ("frozen", "scalar_mix"):
        assert changed == [] and not POLICIES[name].trains_embeddings
    else:
        assert changed
        embeddings = [key for key in changed if "embed" in key or key.startswith(("wte", "wpe"))]
        assert bool(embeddings) == POLICIES[name].trains_embeddings
    classifier = open_classifier(tmp_path / "run")
    assert (classifier.mix is not None) == (name == "scalar_mix")


@pytest.mark.parametrize("tokens", ["added_tokens", "added_special_tokens"])
@pytest.mark.parametrize("name", ["frozen", "scalar_mix", "last_k", "lora"])
def test_new_tokens_that_would_learn_nothing_are_refused(name, tokens, finetune, bert_run):
    sentence = f"added_tokens: {name} leaves the embeddings as they are, and new tokens would learn nothing; leave them"
    with pytest.raises(RecipeError, match=sentence):
        finetune(model=str(bert_run), policy=name, **{tokens: ("[new]",)})


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("name", ["frozen", "scalar_mix"])
def test_a_body_that_stays_runs_once(name, kind, finetune, run_of, monkeypatch):
    seen = []
    features = Classifier.features

    def counted(self, batch):
        seen.append((self.training, torch.is_inference_mode_enabled(), len(batch["input_ids"])))
        return features(self, batch)

    monkeypatch.setattr(Classifier, "features", counted)
    finetune(model=str(run_of(kind)), policy=name, budget="5epochs", pooling="mean")
    assert all(not training and without_gradients for training, without_gradients, _ in seen)
    assert sum(rows for *_, rows in seen) == 64 + 8 + 8  # training once, then validation and test


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last", "concat"])
def test_a_saved_model_says_what_the_trained_one_said(
    pooling, finetune, bert_run, labelled_texts, tmp_path, monkeypatch
):
    texts = encode_texts([(text, "") for text, _ in labelled_texts], load_tokenizer(bert_run / "model"), 32)
    said = []

    def save(classifier, *args):
        said.append(predict_logits(classifier, texts, Compute("fp32")))
        save_classifier(classifier, *args)

    monkeypatch.setattr("ptft.steps.finetune.save_classifier", save)
    for name in ("full", "frozen", "scalar_mix"):
        if name == "scalar_mix" and pooling in ("max", "concat"):
            continue
        finetune(model=str(bert_run), policy=name, pooling=pooling, out=str(tmp_path / name))
        classifier = open_classifier(tmp_path / name)
        assert classifier.pooling == pooling
        np.testing.assert_allclose(predict_logits(classifier, texts, Compute("fp32")), said[-1], rtol=0, atol=1e-5)
        assert said[-1].std() > 1e-3


def test_the_head_of_a_frozen_body_learns_what_training_it_in_place_would(finetune, bert_run, tmp_path, monkeypatch):
    """Features that were kept and a body that runs in each step give the same losses: the body has no dropout here."""
    settings = {"model": str(bert_run), "policy": "frozen", "pooling": "mean", "dropout": 0.0}
    finetune(**settings, out=str(tmp_path / "kept"))
    monkeypatch.setattr("ptft.steps.finetune.keeps_features", lambda classifier: False)
    finetune(**settings, out=str(tmp_path / "run again"))
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("kept", "run again")
    ]
    assert len(losses[0]) == EPOCHS * 8
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_layers_begin_with_their_epochs(finetune, bert_run, tmp_path):
    """One layer: the head, then the layer, then the embeddings."""
    seen = []

    def requires(self, *args):
        seen.append({name for name, p in self.named_parameters() if p.requires_grad})
        return forward(self, *args)

    forward = Classifier.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "forward", requires)
        finetune(model=str(bert_run), policy="gradual_unfreezing", budget="4epochs")
    training = seen[: 4 * 8]
    head = {"head.weight", "head.bias"}
    assert all(names == head for names in training[:8])
    assert all(any("layer.0" in n for n in names) and not any("embeddings" in n for n in names)
               for names in training[8:16])  # fmt: skip
    assert all(any("embeddings" in n for n in names) for names in training[16:])


def test_epochs_of_a_stretched_run_are_longer(finetune, bert_run):
    """With min_steps a budget of 2 epochs of 8 steps is 40 steps, and its second epoch begins in the middle."""
    seen = []
    forward = Classifier.forward

    def requires(self, *args):
        seen.append(any(p.requires_grad for n, p in self.named_parameters() if "layer.0" in n))
        return forward(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "forward", requires)
        finetune(model=str(bert_run), policy="gradual_unfreezing", budget="2epochs", min_steps=40)
    assert seen[:40] == [False] * 20 + [True] * 20


def test_ulmfit_is_a_policy_a_schedule_and_a_pooling(finetune, bert_run):
    result = finetune(
        model=str(bert_run), policy={"name": "gradual_unfreezing", "divisor": 2.6}, schedule="slanted_triangular",
        pooling="concat",
    )  # fmt: skip
    assert result["test.accuracy"] > 0.5


@pytest.mark.parametrize(
    ("policy", "budget", "said"),
    [
        ("gradual_unfreezing", "2epochs", True),
        ("gradual_unfreezing", "3epochs", False),
        ("gradual_unfreezing", "20steps", False),  # of 24: half of the third epoch
        ("gradual_unfreezing", "16steps", True),
        ("full", "2steps", False),
    ],
)
def test_a_budget_too_short_to_unfreeze_all_is_told_before_it_is_spent(policy, budget, said, finetune, bert_run):
    """One layer: the embeddings are reached in the third epoch."""
    sentences = []

    class Listener:
        def say(self, sentence):
            sentences.append(sentence)

        def progress(self, what, done, total, figures=None):
            sentences.append("progress")

    finetune(model=str(bert_run), policy=policy, display=Listener(), budget=budget, seeds=2)
    before = sentences[: sentences.index("progress")]
    sentence = (
        "policy: gradual_unfreezing trains all 1 layers and the embeddings from epoch 3 on, and there are 2: "
        "the lowest ones stay as they are"
    )
    assert (sentences.count(sentence), before.count(sentence)) == (said, said)
    assert any("the lowest ones stay" in other for other in sentences) == said
