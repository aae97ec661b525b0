import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer

from ptft.config import load
from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.models.building import open_model
from ptft.models.flops import model_flops
from ptft.objectives.masked_lm import MaskedLM
from ptft.run import execute, perform
from ptft.steps import pretrain as pretrain_module
from ptft.steps.pretrain import Pretrain

MLM = {"mlm.loss", "mlm.perplexity", "mlm.accuracy", "mlm.baseline"}
NSP = {"nsp.accuracy", "nsp.baseline"}
CLM = {"clm.loss", "clm.perplexity", "clm.accuracy", "clm.baseline"}
HYBRID = {"hybrid.loss", "hybrid.causal_accuracy", "hybrid.masked_accuracy", "hybrid.masked_baseline"}
METERS = {"tokens_per_second", "mfu", "padding_ratio", "data_wait_ratio", "head_share"}
SEEN = {"tokens", "words", "steps", "parameters", "seconds", *METERS}


class Listener:
    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        pass


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


@pytest.fixture
def pretrain(step, tmp_path, pretrain_settings):
    """Pretrain with a few settings of one's own; the run is in ``tmp_path / "run"``."""

    def do(kind="bert", **settings):
        return step("pretrain", **pretrain_settings(kind, **{"out": str(tmp_path / "run"), **settings}))

    return do


def read(folder, name):
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize(("kind", "figures"), [("bert", MLM | NSP), ("gpt2", CLM), ("llama", CLM), ("hybrid", HYBRID)])
def test_figures_of_the_result(kind, figures, run_of):
    result = read(run_of(kind), "result.json")
    assert figures | SEEN <= result.keys()
    assert result["steps"] == 4
    # 4 steps of 8 rows of at most 32 tokens
    assert 0 < result["tokens"] <= 4 * 8 * 32
    model, _ = open_model(run_of(kind), "pretraining" if kind == "bert" else "causal_lm", 0)
    assert result["parameters"] == sum(p.numel() for p in model.parameters())


def test_log(bert_run):
    lines = [json.loads(line) for line in (bert_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    names = {"tokens", "loss", "masked_lm.loss", "next_sentence.loss", "lr", "grad_norm", *METERS}
    assert names <= lines[0].keys()
    assert ("memory_gb" in lines[0]) == torch.cuda.is_available()
    for line in lines:
        assert line["loss"] == pytest.approx(line["masked_lm.loss"] + line["next_sentence.loss"])
        assert 0 <= line["padding_ratio"] < 1
    assert lines[-1]["tokens"] == read(bert_run, "result.json")["tokens"]


def test_head_share_is_by_the_formula_at_predicted_positions(bert_run, gpt2_run):
    """Every slot of causal LM predicts; of masked LM about 15 % do, beside a body that sees all of them."""
    shares = {}
    for run, head, ratio in ((gpt2_run, "causal_lm", 1.0), (bert_run, "pretraining", 0.15)):
        flops = model_flops(open_model(run, head, 0)[0], 32)
        result, lines = read(run, "result.json"), (run / "metrics.jsonl").read_text().splitlines()
        shares[head] = [result["head_share"], *(json.loads(line)["head_share"] for line in lines)]
        expected = ratio * (1 - result["padding_ratio"]) * flops.prediction
        assert result["head_share"] == pytest.approx(expected / (flops.slot + expected), rel=0.15)
    assert len(set(shares["causal_lm"])) == 1
    assert min(shares["pretraining"]) < max(shares["pretraining"])


def test_manifest(bert_run, corpus_file):
    manifest = read(bert_run, "manifest.json")
    assert manifest["corpus"]["path"] == str(corpus_file)
    assert len(manifest["corpus"]["hash"]) == len(manifest["tokenizer"]["hash"]) == 64
    assert manifest["tokens_seen"] == read(bert_run, "result.json")["tokens"]
    assert manifest["words_seen"] == read(bert_run, "result.json")["words"] > 0
    assert (manifest["step"], manifest["seeds"], manifest["parents"]) == ("pretrain", [0], [])
    assert {"torch", "transformers"} <= manifest["versions"].keys()


def test_cleaning_is_told_and_written_beside_the_result(pretrain_settings, tmp_path, corpus_file):
    """Also when the compiled corpus is found in the cache, where nothing is cleaned again."""
    (tmp_path / "evaluation.txt").write_text(Path(corpus_file).read_text().split("\n\n")[3].replace("\n", " "))
    corpus = {"path": str(corpus_file), "valid_ratio": 0.2, "duplicates": "exact", "filters": ["letters"]}
    corpus |= {"decontaminate": [str(tmp_path / "evaluation.txt")], "contaminated": "drop"}
    written = []
    for name in ("one", "two"):
        step = load(Pretrain, base=pretrain_settings("bert", corpus=corpus, out=str(tmp_path / name))).settings
        listener = Listener()
        execute(step, listener)
        written.append(read(tmp_path / name, "cleaning.json"))
        assert [said for said in listener.sentences if said.startswith("cleaning: 80 documents read, 79 kept")]
    assert written[0] == written[1]
    assert written[0]["dropped"] == {"contaminated": 1}
    assert written[0]["contamination"]["tasks"][str(tmp_path / "evaluation.txt")]["found"] == 1


def test_a_corpus_that_is_only_read_has_no_cleaning(bert_run):
    assert not (bert_run / "cleaning.json").exists()


def test_lineage_of_a_mixture(pretrain, tmp_path, corpus_file):
    parts = {"a": {"path": str(corpus_file), "weight": 2}, "b": {"path": str(corpus_file), "limit": 10}}
    pretrain(corpus={"parts": parts, "valid_ratio": 0.2})
    manifest = read(tmp_path / "run", "manifest.json")
    assert manifest["corpus"]["path"] == f"a: {corpus_file} x 2, b: {corpus_file} x 1"


def test_same_seed_gives_the_same_bits(pretrain, bert_run, tmp_path):
    pretrain()
    ours, theirs = weights(tmp_path / "run"), weights(bert_run)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_another_seed_gives_others(pretrain, bert_run, tmp_path):
    pretrain(seed=1)
    name = "bert.embeddings.word_embeddings.weight"
    assert not torch.equal(weights(tmp_path / "run")[name], weights(bert_run)[name])


def test_masked_lm_alone_is_a_masked_lm(pretrain, tmp_path):
    result = pretrain(objective=["masked_lm"])
    assert result.keys() >= MLM
    assert not NSP & result.keys()
    assert AutoConfig.from_pretrained(tmp_path / "run" / "model").architectures == ["BertForMaskedLM"]


def test_evaluation_while_training(pretrain, tmp_path):
    pretrain(evaluate_every_steps=2, log_every_steps=3, budget="5steps")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "valid.mlm.loss" in line] == [2, 4, 5]
    assert lines[-1]["valid.mlm.loss"] == read(tmp_path / "run", "result.json")["mlm.loss"]


def test_validation_file(pretrain, tmp_path, corpus_file):
    (tmp_path / "valid.txt").write_text("the red sun\nis hot\n\nblue ice\nis cold\n")
    path = {"path": str(corpus_file)}
    result = pretrain(corpus=path, valid=str(tmp_path / "valid.txt"))
    assert result.keys() >= MLM | NSP
    others = pretrain(corpus=path, valid=str(corpus_file), out=str(tmp_path / "other"))
    assert others["mlm.loss"] != result["mlm.loss"]


def test_validation_on_the_embedded_corpus(pretrain_settings):
    """It holds out documents of its own, which is no reason to refuse it."""
    load(Pretrain, base=pretrain_settings("bert", valid="embedded")).settings.check()


def test_nothing_is_held_out(pretrain, corpus_file):
    result = pretrain(corpus={"path": str(corpus_file), "valid_ratio": 0.0})
    assert not (MLM | NSP) & result.keys()
    assert result.keys() >= SEEN


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_go_on_from_a_checkpoint(kind, pretrain, run_of, tmp_path):
    before = weights(run_of(kind))
    pretrain(kind, preset="", shape={}, model=str(run_of(kind)), lr=1e-9, budget="1steps")
    after = weights(tmp_path / "run")
    assert max((after[name] - before[name]).abs().max() for name in before) < 1e-6
    (parent,) = read(tmp_path / "run", "manifest.json")["parents"]
    assert parent["manifest"]["step"] == "pretrain"
    ours, theirs = (AutoTokenizer.from_pretrained(f / "model") for f in (tmp_path / "run", run_of(kind)))
    assert ours.get_vocab() == theirs.get_vocab()


def test_scratch_takes_the_shape_and_not_the_weights(pretrain, bert_run, tmp_path):
    pretrain(preset="", shape={}, model=str(bert_run), init="scratch", lr=1e-9, budget="1steps", seed=1)
    before, after = weights(bert_run), weights(tmp_path / "run")
    assert {name: value.shape for name, value in before.items()} == {name: v.shape for name, v in after.items()}
    assert (after["cls.seq_relationship.weight"] - before["cls.seq_relationship.weight"]).abs().max() > 1e-3


def test_tokenizer_of_another_run(pretrain, step, corpus_file, tmp_path):
    tokenizer = str(tmp_path / "tokenizer")
    corpus = {"path": str(corpus_file)}
    figures = step("tokenizer", corpus=corpus, vocab_size=120, model_max_length=64, out=tokenizer)
    assert {"vocabulary", "bytes_per_token", "fertility", "unknown_ratio"} <= figures.keys()
    pretrain(tokenizer=tokenizer)
    config = AutoConfig.from_pretrained(tmp_path / "run" / "model")
    assert config.vocab_size == figures["vocabulary"] <= 120
    (parent,) = read(tmp_path / "run", "manifest.json")["parents"]
    assert parent["manifest"]["step"] == "tokenizer"


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_other_kinds_of_tokenizers_for_an_encoder(kind, pretrain, tmp_path):
    result = pretrain(tokenizer_kind=kind, normalize="nfkc")
    assert result.keys() >= MLM | NSP
    model, _ = open_model(tmp_path / "run", "pretraining", 0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    encoded = tokenizer("the red sun", "blue ice", return_tensors="pt")
    assert encoded["token_type_ids"][0, -1] == 1
    assert model(**encoded).prediction_logits.shape[-1] == len(tokenizer)


def test_added_tokens_give_the_model_new_rows(pretrain, bert_run, tmp_path):
    display = Listener()
    more = {"added_tokens": ["covid", "x y"], "added_special_tokens": ["[USER]"]}
    pretrain(preset="", shape={}, model=str(bert_run), lr=1e-9, budget="1steps", display=display, **more)
    before, after = (
        weights(folder)["bert.embeddings.word_embeddings.weight"] for folder in (bert_run, tmp_path / "run")
    )
    size = -(-(len(before) + 3) // 64) * 64
    assert f"embeddings: {len(before)} rows become {size}; the new ones are the mean of the old" in display.sentences
    assert (len(after), AutoConfig.from_pretrained(tmp_path / "run" / "model").vocab_size) == (size, size)
    assert torch.allclose(after[: len(before)], before, atol=1e-6)
    assert torch.allclose(after[len(before) :], before.mean(0), atol=1e-6)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert tokenizer.convert_tokens_to_ids(["covid", "x y", "[USER]"]) == [*range(len(before), len(before) + 3)]
    # and on from there: the rows are enough for one more, with a tokenizer of its own
    other = str(tmp_path / "run")
    result = pretrain(
        preset="",
        shape={},
        model=other,
        tokenizer=other,
        added_tokens=["sars"],
        out=str(tmp_path / "on"),
        display=display,
    )
    assert result["steps"] == 4
    assert len(weights(tmp_path / "on")["bert.embeddings.word_embeddings.weight"]) == size


def test_half_written_tokenizer_is_trained_again(pretrain, tmp_path, bert_run):
    """What a run leaves that was killed while it wrote its tokenizer."""
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = (bert_run / "recipe.yaml").read_text().replace(str(bert_run), str(folder))
    (folder / "recipe.yaml").write_text(recipe)
    (folder / ".tokenizer.partial").mkdir()
    (folder / ".tokenizer.partial" / "tokenizer.json").write_text("{")
    pretrain()
    assert all(torch.equal(value, weights(bert_run)[name]) for name, value in weights(folder).items())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_runs_of_any_precision_in_one_process(precision, tmp_path, pretrain_settings, monkeypatch):
    monkeypatch.setattr("ptft.compute.has_native_bf16", lambda: True)
    monkeypatch.setattr("ptft.run.write_report", lambda folder: None)
    for number, other in enumerate(["fp32", precision]):
        perform("pretrain", **pretrain_settings("bert"), precision=other, threads=1, out=str(tmp_path / str(number)))
    assert weights(tmp_path / "1")["cls.predictions.bias"].dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"objective": []}, RecipeError, r"objective: name at least one, each once, got \[\]"),
        ({"objective": ["masked_lm", "masked_lm"]}, RecipeError, r"objective: name at least one, each once"),
        ({"objective": ["masked_lm", "causal_lm"]}, RecipeError, r"masked_lm and causal_lm cannot be trained together"),
        ({"objective": "causal_lm"}, RecipeError, r"preset: 'bert-tiny' is an encoder, but causal_lm trains a decoder"),
        ({"preset": ""}, RecipeError, r"preset=NAME,? for a new model.* model=DIR"),
        ({"preset": "brt-tiny"}, RecipeError, r"unknown preset 'brt-tiny'; did you mean 'bert-tiny'"),
        ({"shape": {"hiden_size": 8}}, RecipeError, r"shape\.hiden_size: bert has no such attribute; did you mean"),
        ({"shape": {"hidden_size": 9}}, RecipeError, r"hidden size 9 cannot be divided among 2"),
        ({"tokenizer_kind": "bpe", "vocab_size": 261}, RecipeError, r"vocab_size: .* 5 special tokens .*at least 262"),
        ({"prefix_space": True}, RecipeError, r"prefix_space: has no effect on wordpiece"),
        (
            {"model": "{bert}", "preset": "", "shape": {}, "normalize": "nfc"},
            RecipeError,
            r"normalize: is for a tokenizer trained here, but that of .* is taken; leave it out",
        ),
        (
            {"added_tokens": ["the"], "tokenizer": "{bert}"},
            RecipeError,
            r"added_tokens: 'the' is in the vocabulary alr",
        ),
        ({"added_tokens": ["the"]}, RecipeError, r"added_tokens: 'the' is in the vocabulary already"),
        ({"length": 65}, RecipeError, r"length: 65 tokens are more than the model's 64 positions"),
        ({"rows_per_step": 8, "accumulate": 3}, RecipeError, r"rows_per_step: 8 rows .*; give a multiple of 3"),
        ({"budget": "1hour"}, RecipeError, r"budget: '1hour' is no amount of training"),
        ({"precision": "fp16"}, Exception, r"precision='fp16' needs a CUDA device"),
        ({"corpus": {"path": "nowhere.txt"}}, DataError, r"nowhere\.txt"),
        ({"valid": "nowhere.txt"}, DataError, r"nowhere\.txt"),
        ({"tokenizer": "{gpt2}"}, CheckpointError, r"has no cls, sep, mask token, which masked_lm needs"),
        (
            {"model": "{gpt2}", "preset": "", "shape": {}},
            RecipeError,
            r"is a decoder \(gpt2\), but masked_lm trains an enc",
        ),
        ({"model": "{bert}", "preset": ""}, RecipeError, r"shape: only a new model's shape can be changed"),
        ({"corpus": {"path": "{one_document}"}}, DataError, r"next_sentence needs at least 2 documents"),
        ({"corpus": {"path": "{empty}"}}, DataError, r"no sentence|empty|no character"),
    ],
)
def test_mistakes_leave_no_folder_behind(settings, kind, message, pretrain_settings, run_of, tmp_path):
    (tmp_path / "one.txt").write_text("One line.\nAnother line.\n")
    (tmp_path / "empty.txt").write_text("\n \n")
    places = {"one_document": tmp_path / "one.txt", "empty": tmp_path / "empty.txt"}

    def fill(value):
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        if isinstance(value, str) and value.startswith("{"):
            name = value.strip("{}")
            return str(places.get(name) or run_of(name))
        return value

    if torch.cuda.is_available() and "fp16" in settings.values():
        pytest.skip("this machine has what the test is without")
    with pytest.raises(kind, match=message):
        perform("pretrain", **pretrain_settings("bert", **fill(settings)), out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_mistake_found_late_does_not_remove_what_was_trained(pretrain, tmp_path, monkeypatch):
    def fail(*arguments):
        raise CheckpointError("the disk is full")

    monkeypatch.setattr("ptft.steps.pretrain.save_model", fail)
    with pytest.raises(CheckpointError):
        pretrain(checkpoint_every_steps=2)
    assert (tmp_path / "run" / "checkpoints" / "step-00000002" / "state.json").exists()


def test_new_weights_are_named(pretrain, tmp_path):
    """Next-sentence prediction joins in after masked LM alone."""
    pretrain(objective="masked_lm", out=str(tmp_path / "first"))
    display = Listener()
    pretrain(preset="", shape={}, model=str(tmp_path / "first"), display=display)
    (said,) = [sentence for sentence in display.sentences if sentence.startswith("drawn anew")]
    names = "bert.pooler.dense.bias, bert.pooler.dense.weight, cls.seq_relationship.bias, cls.seq_relationship.weight"
    assert said.endswith(f"lacks them: {names}")


@pytest.mark.parametrize(("settings", "same"), [({}, False), ({"static": True, "duplicates": 2}, True)])
def test_static_examples_come_again_after_their_duplicates(settings, same, pretrain, monkeypatch):
    found = {}
    real = pretrain_module.fit

    def spy(wrapped, weights, source, *arguments, **named):
        epoch = source.steps_per_epoch
        found.update({turn: source.batch(turn * epoch, 0, 4).tensors["input_ids"].tolist() for turn in range(4)})
        return real(wrapped, weights, source, *arguments, **named)

    monkeypatch.setattr(pretrain_module, "fit", spy)
    pretrain(budget="1steps", **settings)
    assert (found[0] == found[2], found[1] == found[3]) == (same, same)
    assert found[0] != found[1]


def test_duplicates_without_static_are_refused(pretrain):
    with pytest.raises(RecipeError, match=r"^duplicates: 3 versions are made with static=true only"):
        pretrain(duplicates=3)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("policy", ["whole_word", "span"])
def test_masking_by_words_works_with_every_kind_of_tokenizer(kind, policy, pretrain):
    objective = [{"name": "masked_lm", "policy": policy}, {"name": "next_sentence"}]
    result = pretrain(tokenizer_kind=kind, objective=objective, budget="2steps")
    assert result["mlm.loss"] > 0


def test_the_mask_ratio_moves_and_evaluation_keeps_its_own(pretrain, monkeypatch):
    asked = []
    real = MaskedLM.ratio
    monkeypatch.setattr(MaskedLM, "ratio", lambda self, progress: asked.append(progress) or real(self, progress))
    objective = [{"name": "masked_lm", "mask_ratio": 0.4, "final_mask_ratio": 0.2}]
    pretrain(objective=objective, budget="4steps")
    assert {0.0, 0.25, 0.5, 0.75, None} <= set(asked)
    moving = MaskedLM(mask_ratio=0.4, final_mask_ratio=0.2)
    assert [round(moving.ratio(share), 3) for share in (0.0, 0.5, 1.0, None)] == [0.4, 0.3, 0.2, 0.15]


@pytest.mark.parametrize("is_centered", [False, True])
def test_centered_embeddings_have_mean_zero(is_centered, pretrain, tmp_path):
    pretrain(center_embeddings=is_centered)
    rows = weights(tmp_path / "run")["bert.embeddings.word_embeddings.weight"]
    assert (rows.mean(0).abs().max() < 1e-6) == is_centered


def test_the_average_is_what_is_evaluated_kept_and_saved(pretrain, tmp_path):
    """With a decay near 1 it stays where the first step led, however long the training is."""
    listed = {"lr": 0.05, "schedule": {"name": "constant", "warmup_ratio": 0.0}, "dropout": 0.0}
    one = pretrain(budget="1steps", out=str(tmp_path / "one"), **listed)
    more = {"budget": "4steps", "evaluate_every_steps": 2, "milestones_words": [500], **listed}
    plain = pretrain(out=str(tmp_path / "plain"), **more)
    averaged = pretrain(ema=0.9999999, **more)
    assert averaged["mlm.loss"] == pytest.approx(one["mlm.loss"], rel=1e-4)
    assert plain["mlm.loss"] != pytest.approx(one["mlm.loss"], rel=1e-3)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["valid.mlm.loss"] for line in lines if "valid.mlm.loss" in line] == [
        pytest.approx(one["mlm.loss"], rel=1e-4)
    ] * 2
    first = weights(tmp_path / "one")
    kept = load_file(tmp_path / "run" / "milestones" / "words-500" / "model.safetensors")
    for found in (weights(tmp_path / "run"), kept):
        assert max((found[name] - first[name]).abs().max() for name in first) < 1e-5
    assert max((weights(tmp_path / "plain")[name] - first[name]).abs().max() for name in first) > 1e-2
