"""Promise 4: what is saved is a stock model, opened here by transformers alone."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from ptft.errors import CheckpointError
from ptft.models.building import grow_embeddings, open_model, read_config, save_model
from ptft.models.classifier import Reading, attends_both_ways, default_pooling, new_classifier
from ptft.models.classifier_files import open_classifier, save_classifier
from ptft.tokenization import load_tokenizer

KEYS = ("missing_keys", "unexpected_keys", "mismatched_keys")
LLAMA_AND_GPT2 = ["gpt2", "llama"]


def opened(kind, folder):
    """A model, and the names that opening it reported."""
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    return model.eval(), {name: {key if isinstance(key, str) else key[0] for key in report[name]} for name in KEYS}


def clean(missing=(), unexpected=()):
    return {"missing_keys": {*missing}, "unexpected_keys": {*unexpected}, "mismatched_keys": set()}


@pytest.mark.parametrize("kind", ["bert", *LLAMA_AND_GPT2])
def test_folder_holds_safetensors_json_and_a_card_only(kind, run_of):
    folder = run_of(kind) / "model"
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json", ".md"}
    assert not [line for line in (folder / "config.json").read_text().splitlines() if "auto_map" in line]


@pytest.mark.parametrize("kind", ["bert", *LLAMA_AND_GPT2])
def test_class_named_in_the_config_opens_it(kind, run_of):
    folder = run_of(kind) / "model"
    (name,) = AutoConfig.from_pretrained(folder).architectures
    assert name == {"bert": "BertForPreTraining", "gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}[kind]
    assert opened(getattr(transformers, name), folder)[1] == clean()
    if kind != "llama":  # for which transformers has no class of this kind
        assert opened(AutoModelForPreTraining, folder)[1] == clean()


@pytest.mark.parametrize("kind", ["bert", *LLAMA_AND_GPT2])
def test_grown_models_are_stock_models(kind, run_of, tmp_path):
    model, _ = open_model(run_of(kind), "pretraining" if kind == "bert" else "causal_lm", 0)
    size = model.config.vocab_size
    model.eval()
    ids = torch.arange(8).unsqueeze(0)
    former = model(ids)[0].detach()
    grow_embeddings(model, size)
    assert model.config.vocab_size == size
    grow_embeddings(model, size + 1)
    model.save_pretrained(tmp_path)
    again, report = opened(getattr(transformers, model.config.architectures[0]), tmp_path)
    assert report == clean()
    logits = again(ids)[0].detach()
    assert logits.shape[-1] % 64 == 0 < logits.shape[-1] - size
    torch.testing.assert_close(logits[..., :size], former)
    torch.testing.assert_close(logits[..., size:], former.mean(-1, keepdim=True).expand_as(logits[..., size:]))


POOLER = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
NSP_HEAD = {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
# AutoModel names the backbone's weights without their prefix; what it reports is what it has no place for.
LM_HEAD = {
    "cls.predictions.bias",
    "cls.predictions.transform.dense.weight",
    "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.LayerNorm.bias",
}


def test_other_heads_of_bert_report_exactly_what_is_unused_and_new(bert_run):
    folder = bert_run / "model"
    assert opened(AutoModelForMaskedLM, folder)[1] == clean(unexpected=POOLER | NSP_HEAD)
    _, report = opened(AutoModel, folder)
    assert report["missing_keys"] == report["mismatched_keys"] == set()
    assert report["unexpected_keys"] == LM_HEAD | NSP_HEAD
    assert opened(AutoModelForSequenceClassification, folder)[1] == clean(
        missing={"classifier.weight", "classifier.bias"}, unexpected=LM_HEAD | NSP_HEAD
    )


@pytest.mark.parametrize("kind", LLAMA_AND_GPT2)
def test_other_heads_of_decoders_report_exactly_what_is_unused_and_new(kind, run_of):
    folder = run_of(kind) / "model"
    output = set() if AutoConfig.from_pretrained(folder).tie_word_embeddings else {"lm_head.weight"}
    assert opened(AutoModelForCausalLM, folder)[1] == clean()
    assert opened(AutoModel, folder)[1] == clean(unexpected=output)
    assert opened(AutoModelForSequenceClassification, folder)[1] == clean(missing={"score.weight"}, unexpected=output)


@pytest.mark.parametrize("kind", ["bert", *LLAMA_AND_GPT2])
def test_special_ids_are_in_the_config(kind, run_of):
    folder = run_of(kind) / "model"
    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    names = ("pad",) if kind == "bert" else ("bos", "eos", "pad")
    for name in names:
        assert getattr(config, f"{name}_token_id") == getattr(tokenizer, f"{name}_token_id") is not None
    if kind != "bert":
        generation = transformers.GenerationConfig.from_pretrained(folder)
        assert (generation.eos_token_id, generation.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


@pytest.mark.parametrize("kind", ["bert", *LLAMA_AND_GPT2])
def test_tokenizer_is_of_its_own_class_and_as_long_as_the_model(kind, run_of):
    folder = run_of(kind) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert type(tokenizer).__name__ == ("BertTokenizer" if kind == "bert" else "GPT2Tokenizer")
    assert tokenizer.model_max_length == 64
    ours = load_tokenizer(run_of(kind) / "tokenizer")
    pair = ("the red sun", "snow is very blue")
    assert dict(tokenizer(*pair)) == dict(ours(*pair))
    if kind == "bert":
        assert set(tokenizer(*pair)["token_type_ids"]) == {0, 1}


@pytest.mark.parametrize("kind", ["bert", *LLAMA_AND_GPT2])
def test_logits_are_equal_after_opening_again(kind, run_of, tmp_path):
    head = "pretraining" if kind == "bert" else "causal_lm"
    model, missing = open_model(run_of(kind), head, 0)
    assert missing == []
    save_model(model, load_tokenizer(run_of(kind) / "model"), tmp_path)
    again = (AutoModelForPreTraining if kind == "bert" else AutoModelForCausalLM).from_pretrained(tmp_path)
    ids = torch.arange(5, 25).view(2, 10)
    with torch.inference_mode():
        ours, theirs = (m.eval()(input_ids=ids)[0] for m in (model, again))
    assert torch.equal(ours, theirs)


def test_fill_mask_pipeline(bert_run):
    fill = pipeline("fill-mask", model=str(bert_run / "model"))
    answers = fill("the red [MASK] is hot")
    assert len(answers) == 5
    assert all(0 < answer["score"] < 1 for answer in answers)


@pytest.mark.parametrize("kind", LLAMA_AND_GPT2)
def test_text_generation_pipeline(kind, run_of):
    write = pipeline("text-generation", model=str(run_of(kind) / "model"))
    (answer,) = write("the red sun", max_new_tokens=4, do_sample=False)
    assert answer["generated_text"].startswith("the red sun")


# Classifiers


@pytest.fixture(scope="module")
def classifier_run(tmp_path_factory, step, bert_run, gpt2_run, table):
    """The run folder of a fine-tuned classifier by architecture and pooling."""
    done = {}

    def find(kind, pooling):
        if (kind, pooling) not in done:
            done[kind, pooling] = folder = tmp_path_factory.mktemp("classifiers") / pooling
            model = {"bert": bert_run, "gpt2": gpt2_run}[kind]
            values = {"data": str(table), "length": 32, "budget": "3steps", "lr": 0.01, "pooling": pooling}
            step("finetune", model=str(model), out=str(folder), **values)
        return done[kind, pooling]

    return find


TEXTS = ["the red sun", "snow", "hail and blue ice near the lake"]


def our_probabilities(folder):
    classifier = open_classifier(folder).eval()
    batch = load_tokenizer(folder / "model")(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return classifier, classifier(batch).softmax(-1)


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "cls"), ("gpt2", "last")])
def test_stock_pooling_opens_in_the_pipeline_with_the_names_of_labels(kind, pooling, classifier_run):
    folder = classifier_run(kind, pooling)
    assert not (folder / "model" / "head.safetensors").exists()
    assert opened(AutoModelForSequenceClassification, folder / "model")[1] == clean()
    classify = pipeline("text-classification", model=str(folder / "model"), top_k=None)
    classifier, probabilities = our_probabilities(folder)
    assert classifier.labels == ("cold", "warm")
    for answer, row in zip(classify(TEXTS), probabilities.tolist(), strict=True):
        scores = {part["label"]: part["score"] for part in answer}
        assert [scores["cold"], scores["warm"]] == pytest.approx(row, abs=1e-6)


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("bert", "max"), ("bert", "last"), ("gpt2", "mean")])
def test_other_pooling_is_a_stock_backbone_with_a_head_beside_it(kind, pooling, classifier_run):
    folder = classifier_run(kind, pooling) / "model"
    assert opened(AutoModel, folder)[1] == clean()
    assert AutoConfig.from_pretrained(folder).architectures == [{"bert": "BertModel", "gpt2": "GPT2Model"}[kind]]
    facts = json.loads((folder / "head.json").read_text())
    assert facts == {"pooling": pooling, "labels": ["cold", "warm"]}
    assert json.loads((folder / "reading.json").read_text()) == {"length": 32, "pairs": False}
    assert {name: tuple(t.shape) for name, t in load_file(folder / "head.safetensors").items()} == {
        "weight": (2, 16),
        "bias": (2,),
    }


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "cls"), ("bert", "mean"), ("bert", "max"), ("gpt2", "last")])
def test_opened_classifier_gives_equal_probabilities(kind, pooling, classifier_run, tmp_path):
    folder = classifier_run(kind, pooling)
    classifier, probabilities = our_probabilities(folder)
    assert classifier.reading == Reading(32, pairs=False)
    save_classifier(classifier, load_tokenizer(folder / "model"), tmp_path / "model")
    again, same = our_probabilities(tmp_path)
    assert torch.equal(probabilities, same)
    assert (again.pooling, again.labels) == (classifier.pooling, classifier.labels) == (pooling, ("cold", "warm"))
    assert again.reading == classifier.reading


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_of_models_saved_before_reading_was_kept_nothing_is_known(pooling, classifier_run, tmp_path):
    shutil.copytree(classifier_run("bert", pooling) / "model", tmp_path / "model")
    (tmp_path / "model" / "reading.json").unlink()
    opened = open_classifier(tmp_path)
    assert (opened.reading, opened.pooling) == (Reading(128, pairs=None), pooling)


@pytest.mark.parametrize("damaged", ['{"length": ', '{"size": 3}', "[]"])
def test_facts_about_reading_that_are_damaged(damaged, classifier_run, tmp_path):
    shutil.copytree(classifier_run("bert", "cls") / "model", tmp_path / "model")
    (tmp_path / "model" / "reading.json").write_text(damaged)
    with pytest.raises(CheckpointError, match=r"reading\.json' cannot be read.*delete it to read 128 tokens"):
        open_classifier(tmp_path)


def test_mean_pooling_leaves_padding_out(classifier_run):
    folder = classifier_run("bert", "mean")
    classifier, together = our_probabilities(folder)
    tokenizer = load_tokenizer(folder / "model")
    with torch.inference_mode():
        alone = [classifier(tokenizer([text], return_tensors="pt")).softmax(-1) for text in TEXTS]
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-6)


def test_fine_tuned_classifier_takes_other_labels(classifier_run):
    """A former task's head is drawn anew; everything else is taken over."""
    folder = classifier_run("bert", "cls")
    classifier, missing = new_classifier(str(folder), ["a", "b", "c"], "cls", 0, both_ways=True)
    assert missing == []
    assert classifier.model.classifier.weight.shape == (3, 16)
    former = load_file(folder / "model" / "model.safetensors")
    ours = classifier.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in former.items() if not name.startswith("classifier"))


def test_pretrained_model_is_no_classifier(bert_run):
    with pytest.raises(
        CheckpointError, match=r"is no classifier; fine-tune it first: ptft finetune model=.* data=\.\.\."
    ):
        open_classifier(bert_run)


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("head.json", lambda _: b'{"pooling": "mean"', "Expecting"),
        ("head.json", lambda _: b'{"pooling": "mean"}', "'labels'"),
        ("head.json", lambda _: b"[]", "list"),
        ("head.json", lambda old: old.replace(b'"mean"', b'"mittel"'), "there is no pooling 'mittel'"),
        ("head.json", lambda old: old.replace(b'"warm"', b'"warm", "hot"'), "size mismatch"),
        ("head.json", lambda old: old.replace(b"{", b'{"scalar_mix": true,', 1), "'mix.weights'"),
        ("head.safetensors", lambda old: old[:40], "header"),
        ("head.safetensors", lambda old: b"", "header"),
    ],
)
def test_damaged_head(name, damage, sentence, classifier_run, tmp_path):
    classifier, _ = our_probabilities(classifier_run("bert", "mean"))
    save_classifier(classifier, load_tokenizer(classifier_run("bert", "mean") / "model"), tmp_path)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(CheckpointError, match=r"the head in .* cannot be read: .*" + sentence):
        open_classifier(tmp_path)


def test_weights_of_another_shape_than_the_config_says(bert_run, tmp_path):
    model, _ = open_model(bert_run, "pretraining", 0)
    save_model(model, load_tokenizer(bert_run / "model"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(CheckpointError, match=r"has weights of other shapes than its config\.json says"):
        open_model(tmp_path, "masked_lm", 0)


@pytest.mark.parametrize("head", ["causal_lm", "classification"])
def test_what_is_no_model(head, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no such thing"}')
    with pytest.raises(CheckpointError, match=r"holds no model that transformers can open \(.*\); give "):
        open_model(tmp_path, head, 0)


def test_default_pooling(run_of):
    assert attends_both_ways(read_config(run_of("bert")))
    assert not attends_both_ways(read_config(run_of("gpt2")))
    assert not attends_both_ways(read_config(run_of("llama")))
    assert [default_pooling(both_ways=way) for way in (True, False)] == ["mean", "last"]


def test_labels_with_commas_and_other_scripts(tmp_path, gpt2_run):
    labels = ["맑음", "비, 눈", 'a "b"']
    classifier, _ = new_classifier(str(gpt2_run), labels, "mean", 0, both_ways=False)
    save_classifier(classifier, load_tokenizer(gpt2_run / "model"), tmp_path)
    assert open_classifier(tmp_path).labels == tuple(labels)
    classifier, _ = new_classifier(str(gpt2_run), labels, "last", 0, both_ways=False)
    save_classifier(classifier, load_tokenizer(gpt2_run / "model"), tmp_path / "stock")
    assert open_classifier(tmp_path / "stock").labels == tuple(labels)
