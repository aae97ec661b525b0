import csv
import json
import random

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer

from ptft.errors import CheckpointError, DataError, RecipeError, UserError
from ptft.finetuning.texts import EncodedTexts, LabelledBatches
from ptft.models.classifier_files import open_classifier
from ptft.run import perform

FIGURES = {f"test.{name}" for name in ("accuracy", "low", "high", "macro_f1", "mcc", "majority")}
TINY = {"length": 32, "budget": "3steps", "lr": 0.01, "log_every_steps": 1, "rows_per_step": 8}


class Listener:
    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)

    def progress(self, what, done, total, figures=None):
        pass


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture
def finetune(step, tmp_path, table):
    """Fine-tune with a few settings of one's own; the run is in ``tmp_path / "run"``."""

    def do(**settings):
        return step("finetune", **{**TINY, "data": str(table), "out": str(tmp_path / "run"), **settings})

    return do


@pytest.fixture
def messy_table(tmp_path, labelled_texts):
    """What a spreadsheet exports: BOM, CRLF, quotes, commas and newlines in cells, gaps, scripts of all kinds."""
    path = tmp_path / "messy, really.csv"
    odd = [
        ('She said "no", twice', "cold"),
        ("first line\nsecond line, with a comma", "warm"),
        ("눈이 오고 추워요", "cold"),
        ("오늘은 더워요 ☀️🔥", "warm"),
        ("", "warm"),
        ("no label here", ""),
        ("   ", "cold"),
    ]
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(["id", "review text", "weather"])
        writer.writerows([number, *row] for number, row in enumerate([*odd, *labelled_texts]))
    return path


def test_figures_of_the_result(finetune, bert_run, tmp_path):
    result = finetune(model=str(bert_run))
    assert {*FIGURES, "n", "valid.accuracy", "tokens_per_second", "data_wait_ratio"} <= result.keys()
    assert 0 <= result["padding_ratio"] < 1
    assert result["mfu"] > 0
    assert result["head_share"] == 0
    assert 0 <= result["test.low"] <= result["test.accuracy"] <= result["test.high"] <= 1
    assert (result["n"], result["test.majority"]) == (8, 0.5)
    (record,) = result["records"]
    assert record["accuracy"] == result["test.accuracy"]
    assert (record["test"], record["seed"], record["steps"], record["method"]) == ("test", 0, 3, "pretrained")
    assert result == result_of(tmp_path / "run")


def test_it_learns(finetune, bert_run):
    result = finetune(model=str(bert_run), budget="60steps", rows_per_step=16)
    assert result["test.accuracy"] == 1.0
    assert result["test.mcc"] == 1.0


def test_messy_table(finetune, bert_run, messy_table, tmp_path):
    display = Listener()
    settings = {"data": str(messy_table), "text": "review text", "label": "weather", "display": display}
    result = finetune(model=str(bert_run), **settings)
    assert result["n"] == 8
    said = "\n".join(display.sentences)
    assert f"{messy_table}: 2 rows without a text were left out (first: line 7)" in said
    assert "1 row without a label was left out (first: line 8)" in said
    assert "84 rows were divided by label" in said
    assert "labels: cold, warm" in said
    assert open_classifier(tmp_path / "run").labels == ("cold", "warm")


def test_manifest(finetune, bert_run, tmp_path):
    finetune(model=str(bert_run))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert {"torch", "transformers", "ptft"} <= manifest["versions"].keys()
    assert manifest["step"] == "finetune"
    assert manifest["task"] == {"name": "weather", "labels": ["cold", "warm"], "train_rows": 64}
    assert manifest["seeds"] == [0]
    (parent,) = manifest["parents"]
    assert parent["path"] == str(bert_run)
    assert parent["manifest"]["step"] == "pretrain"
    assert len(manifest["tokenizer"]["hash"]) == 64


@pytest.mark.parametrize(
    ("kind", "pooling", "stored"),
    [
        ("bert", "auto", "mean"),
        ("bert", "cls", "cls"),
        ("bert", "mean", "mean"),
        ("bert", "max", "max"),
        ("bert", "last", "last"),
        ("gpt2", "auto", "last"),
        ("gpt2", "mean", "mean"),
        ("gpt2", "max", "max"),
        ("llama", "auto", "last"),
    ],
)
def test_poolings(kind, pooling, stored, finetune, run_of, tmp_path):
    result = finetune(model=str(run_of(kind)), pooling=pooling)
    assert result.keys() >= FIGURES
    assert open_classifier(tmp_path / "run").pooling == stored


def test_decoder_has_no_first_token_to_pool(finetune, gpt2_run, tmp_path):
    with pytest.raises(UserError, match="a decoder's first token has seen nothing of the text; use last, mean or"):
        finetune(model=str(gpt2_run), pooling="cls")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_pairs(kind, finetune, run_of, tmp_path):
    draw = random.Random(0)
    rows = [(draw.choice(["sun", "red"]), draw.choice(["snow", "ice"]), draw.choice("yn")) for _ in range(40)]
    path = tmp_path / "pairs.tsv"
    path.write_text("first\tsecond\tsame\n" + "".join("\t".join(row) + "\n" for row in rows))
    names = {"text_a": "first", "text_b": "second", "label": "same"}
    result = finetune(model=str(run_of(kind)), data=str(path), **names)
    assert result.keys() >= FIGURES
    assert open_classifier(tmp_path / "run").labels == ("n", "y")


def test_scratch_with_a_preset_trains_a_tokenizer(finetune, tmp_path, labelled_texts):
    result = finetune(init="scratch", preset="bert-tiny", vocab_size=120)
    assert result["records"][0]["method"] == "scratch"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert len(tokenizer) <= 120
    assert tokenizer.tokenize("summer") == ["summer"]
    assert AutoConfig.from_pretrained(tmp_path / "run" / "model").vocab_size == len(tokenizer)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["parents"] == []


def test_scratch_takes_the_shape_and_not_the_weights_of_a_model(finetune, bert_run, tmp_path):
    finetune(model=str(bert_run), init="scratch", budget="1steps", lr=1e-9, seed=1)
    ours = load_file(tmp_path / "run" / "model" / "model.safetensors")
    theirs = load_file(bert_run / "model" / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert ours[name].shape == theirs[f"bert.{name}"].shape
    assert (ours[name] - theirs[f"bert.{name}"]).abs().mean() > 0.01


def test_pretrained_takes_over_the_weights(finetune, bert_run, tmp_path):
    finetune(model=str(bert_run), budget="1steps", lr=1e-9)
    ours = load_file(tmp_path / "run" / "model" / "model.safetensors")
    theirs = load_file(bert_run / "model" / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert (ours[name] - theirs[f"bert.{name}"]).abs().max() < 1e-6


def test_flops_are_of_rows_as_wide_as_they_come():
    """Rows are padded to the longest of their micro-batch: two of 8 and two of 16, in steps of four rows."""
    texts = EncodedTexts([[1] * length for length in (3, 8, 9, 16)], None, 0, 0, 32)
    source = LabelledBatches(texts, np.zeros(4, np.int64), 4, seed=0)
    assert source.mean_width(4) == 16
    widths = [source.batch(0, start, start + 2).tensors["input_ids"].shape[1] for start in (0, 2)]
    assert source.mean_width(2) == pytest.approx(sum(width**2 for width in widths) / sum(widths))
    assert source.mean_width(1) == pytest.approx((8**2 + 8**2 + 16**2 + 16**2) / 48)
    packed = LabelledBatches(texts, np.zeros(4, np.int64), 4, seed=0, packed=True)
    seen = 3**2 + 8**2 + 9**2 + 16**2  # each text only itself
    assert packed.mean_width(4) == pytest.approx(seen / packed.batch(0, 0, 4).num_slots)


def test_several_seeds(finetune, bert_run, tmp_path):
    result = finetune(model=str(bert_run), seeds=(3, 5), labels=16)
    logs = [(tmp_path / "run" / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines() for seed in (3, 5)]
    ratios = [json.loads(line)["padding_ratio"] for log in logs for line in log]
    assert min(ratios) < result["padding_ratio"] < max(ratios)
    assert [record["seed"] for record in result["records"]] == [3, 5]
    assert {record["labels"] for record in result["records"]} == {16}
    mean = sum(record["accuracy"] for record in result["records"]) / 2
    assert result["test.accuracy"] == pytest.approx(mean)
    assert sorted(path.name for path in (tmp_path / "run").glob("seed-*")) == ["seed-3", "seed-5"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["seeds"] == [3, 5]
    assert manifest["saved_seed"] in (3, 5)


def test_more_micro_batches_than_rows(finetune, bert_run):
    result = finetune(model=str(bert_run), labels=2, rows_per_step=8, accumulate=8)
    assert result["records"][0]["labels"] == 2


def test_a_classifier_can_be_fine_tuned_for_other_labels(finetune, step, bert_run, tmp_path):
    finetune(model=str(bert_run), pooling="cls")
    rows = [(word, word[0]) for word in ("red", "blue", "sun", "rain", "bee", "sea") * 4]
    (tmp_path / "three.csv").write_text("text,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    model = str(tmp_path / "run")
    settings = {**TINY, "data": str(tmp_path / "three.csv"), "pooling": "cls", "head": "new"}
    step("finetune", **settings, model=model, out=str(tmp_path / "again"))
    assert open_classifier(tmp_path / "again").labels == ("b", "r", "s")


def test_long_texts_are_cut_and_counted(finetune, bert_run):
    display = Listener()
    finetune(model=str(bert_run), length=6, display=display)
    assert any(s.startswith("cut to 6 tokens: ") and " training" in s for s in display.sentences)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"budget": "100tokens"}, RecipeError, r"budget: fine-tuning counts steps or epochs, got '100tokens'"),
        (
            {"vocab_size": 200},
            RecipeError,
            r"vocab_size: is for a tokenizer trained here, but that of '.*bert' is taken",
        ),
        (
            {"min_steps": 999},
            RecipeError,
            r"min_steps: 999 is for a budget of epochs, but budget=3steps says how many steps; leave it out",
        ),
        ({"budget": "soon"}, RecipeError, r"budget: 'soon' is no amount of training"),
        ({"preset": "bert-tiny"}, RecipeError, r"model: name the checkpoint to fine-tune; a preset needs init=scratch"),
        ({"init": "scratch", "preset": "bert-tiny"}, RecipeError, r"either model=DIR or preset=NAME; give one"),
        (
            {"model": "", "init": "scratch", "preset": "brt-tiny"},
            RecipeError,
            r"unknown preset 'brt-tiny'; did you mean",
        ),
        ({"length": 65}, RecipeError, r"length: 65 tokens are more than the model's 64 positions"),
        ({"label": "lable"}, DataError, r"weather\.csv.*'lable'.*label"),
        ({"labels": 1000}, DataError, r"1000 labelled rows are wanted of weather; allowed: 1 to 64"),
        ({"seeds": ()}, RecipeError, r"seeds: must be a count of at least 1 or a list"),
        ({"accumulate": 3}, RecipeError, r"rows_per_step: 8 rows cannot be shared equally .* a multiple of 3"),
        ({"data": "nowhere.csv"}, DataError, r"there is no file 'nowhere\.csv'"),
        ({"model": "nowhere"}, CheckpointError, r"'nowhere'.*no model"),
        ({"optimizer": {"name": "sgd", "nesterov": True}}, RecipeError, r"optimizer: Nesterov momentum requires"),
    ],
)
def test_mistakes_leave_no_folder_behind(settings, kind, message, finetune, bert_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(kind, match=message):
        finetune(**{"model": str(bert_run), **settings})
    assert not (tmp_path / "run").exists()


def test_too_few_rows_to_validate_are_refused_before_anything_is_written(tmp_path, run_of):
    table = tmp_path / "few.csv"
    table.write_text("text,label\ngood one,pos\nbad one,neg\ngood two,pos\nbad two,neg\n")
    with pytest.raises(DataError, match=r"few\.csv: 2 rows to train on are too few to hold some out for validation"):
        perform("finetune", model=str(run_of("bert")), data=str(table), length=16, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_added_tokens_give_the_model_new_rows(finetune, bert_run, tmp_path):
    finetune(model=str(bert_run), added_tokens=["covid"])
    config = AutoConfig.from_pretrained(tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    own = AutoTokenizer.from_pretrained(bert_run / "model")
    assert tokenizer.convert_tokens_to_ids("covid") == len(own) < config.vocab_size
    assert config.vocab_size % 64 == 0
