"""What a pretraining would take, as far as that is known before it."""

import random
import re
from functools import cache

import pytest
import torch

from ptft.config import load
from ptft.errors import RecipeError
from ptft.inspection import estimates
from ptft.inspection.estimates import planned_config, planned_tokenizer, pretraining_facts
from ptft.models.building import new_model, read_config
from ptft.models.flops import model_flops
from ptft.models.presets import PRESETS
from ptft.objectives import OBJECTIVES
from ptft.steps import STEPS
from ptft.steps.trial import random_rows

TINY = ["preset=bert-tiny", "shape.hidden_size=32", "shape.intermediate_size=64", "vocab_size=100", "precision=fp32"]
GPT = [
    "preset=gpt2-tiny",
    "objective=causal_lm",
    "shape.n_embd=16",
    "shape.n_layer=1",
    "vocab_size=300",
    "precision=fp32",
]


def settings(*overrides):
    return load(STEPS["pretrain"], None, [*overrides, "out=x", "threads=1"]).settings


@pytest.fixture
def facts(monkeypatch):
    """The facts of a step, without steps of the real model unless asked for."""

    def of(*overrides, timed=False):
        if not timed:
            monkeypatch.setattr(estimates, "_time", lambda *given: "not measured in this test")
        return dict(pretraining_facts(settings(*overrides)))

    return of


def test_budgets_in_steps_and_tokens_are_known_exactly(facts):
    rows = ["rows_per_step=4", "length=64"]
    assert facts(*GPT, *rows, "budget=100steps")["tokens"] == "25,600: 100 steps of 4 x 64"
    assert facts(*TINY, *rows, "budget=100steps")["tokens"] == "at most 25,600: 100 steps of 4 x 64"
    assert facts(*GPT, *rows, "budget=1Mtokens")["tokens"] == "1,000,000: about 3,906 steps of 256"
    assert facts(*TINY, *rows, "budget=1Mtokens")["tokens"] == "1,000,000: at least 3,906 steps of at most 256"


def test_what_a_ramp_and_a_budget_in_flops_or_time_make_of_it(facts):
    rows = ["rows_per_step=4", "length=64"]
    ramp = ["batch_ramp.start_ratio=0.5", "batch_ramp.share=1"]
    assert facts(*GPT, *rows, *ramp, "budget=100steps")["tokens"] == "19,200: 100 steps of up to 4 x 64"
    per_token = float(facts(*GPT, *rows, "budget=100steps")["FLOPs"].split()[1])
    found = facts(*GPT, *rows, "budget=1e12flops")
    assert float(found["tokens"].split(":")[0].replace(",", "")) == pytest.approx(1e12 / per_token, rel=0.01)
    assert found["FLOPs"].startswith("1e+12,")
    assert facts(*GPT, *rows, "budget=30m")["tokens"] == "as many as 30m of training give; see time"


def test_an_average_of_the_weights_is_counted(facts):
    plain, averaged = (facts(*GPT, "rows_per_step=4", "length=64", f"ema={ema}")["memory"] for ema in (0, 0.9))
    sizes = [float(re.search(r"optimizer state ([\d.]+) MB", text)[1]) for text in (plain, averaged)]
    weights = float(re.search(r"weights ([\d.]+) MB", plain)[1])
    assert sizes[1] == pytest.approx(sizes[0] + weights, abs=0.11)


def test_the_hybrid_predicts_at_fewer_positions_than_causal_lm(facts):
    shape = [setting for setting in GPT if not setting.startswith(("objective", "vocab_size"))]
    rows = ["vocab_size=3000", "rows_per_step=4", "length=64", "budget=10steps"]
    causal, hybrid = (
        float(facts(*shape, *rows, f"objective={name}")["FLOPs"].split()[1]) for name in ("causal_lm", "hybrid")
    )
    assert 0.5 < hybrid / causal < 0.9


def test_without_a_tokenizer_epochs_are_not_known(facts):
    found = facts(*TINY, "budget=2epochs")
    assert found["tokens"] == "known when the corpus is compiled: 2epochs, and there is no tokenizer yet"
    assert re.fullmatch(r"\S+ a token", found["FLOPs"])


KINDS = {
    "masked_lm": "bert",
    "masked_lm,next_sentence": "bert",
    "masked_lm,sentence_order": "bert",
    "causal_lm": "gpt2",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Documents of one to eight sentences, some 50 kB."""
    draw = random.Random(0)
    sentences = ["the red sun was near", "the blue ice is under my lamp", "snow", "always hot"]
    path = tmp_path_factory.mktemp("corpus") / "texts.txt"
    texts = ["\n".join(draw.choices(sentences, k=draw.randint(1, 8))) for _ in range(600)]
    path.write_text("\n\n".join(texts))
    return path


@pytest.fixture(scope="module")
def trained(step, run_of_module, pretrain_settings, corpus, tmp_path_factory):
    """What a training of one epoch sees, by objective."""

    @cache
    def seen(objective):
        settings = {"objective": objective.split(","), "model": run_of_module(KINDS[objective]), "budget": "1epochs"}
        text = {"path": str(corpus), "valid_ratio": 0}
        more = {"preset": "", "shape": {}, "corpus": text, "out": str(tmp_path_factory.mktemp("trained") / "run")}
        return step("pretrain", **pretrain_settings(KINDS[objective], **settings, **more))

    return seen


@pytest.fixture(scope="module")
def run_of_module(bert_run, gpt2_run):
    return {"bert": str(bert_run), "gpt2": str(gpt2_run)}.get


@pytest.mark.parametrize("objective", KINDS)
@pytest.mark.parametrize(("sampled", "tolerance"), [(1 << 20, 0.01), (20_000, 0.05)])  # all of it, and its beginning
def test_epochs_and_words_are_those_that_a_training_sees(
    objective, sampled, tolerance, facts, monkeypatch, run_of_module, trained, corpus
):
    monkeypatch.setattr(estimates, "_SAMPLED_BYTES", sampled)
    result = trained(objective)
    given = [f"objective={objective}", f"model={run_of_module(KINDS[objective])}", f"corpus.path={corpus}"]
    rows = ["corpus.valid_ratio=0", "length=32", "rows_per_step=8", "precision=fp32"]
    for budget in ("1epochs", f"{result['words']:.0f}words"):
        tokens = facts(*given, *rows, f"budget={budget}")["tokens"]
        number = float(re.match(r"about ([\d,]+): ", tokens)[1].replace(",", ""))
        assert number == pytest.approx(result["tokens"], rel=tolerance), budget


def test_documents_that_give_no_pairs_leave_the_tokens_unknown(facts, monkeypatch, bert_run, corpus_file):
    monkeypatch.setattr(estimates, "_SAMPLED_BYTES", 10)
    given = ["objective=masked_lm,next_sentence", f"model={bert_run}", f"corpus.path={corpus_file}", "budget=2epochs"]
    assert facts(*given, "precision=fp32")["tokens"] == "known when the corpus is compiled: 2epochs"


def test_flops_are_those_of_the_documented_formula(facts):
    step = settings(*GPT, "rows_per_step=4", "length=64", "budget=100steps")
    config = planned_config(step, planned_tokenizer(step))
    flops = model_flops(new_model(config, "causal_lm", 0), 64).of(25_600, 25_600)
    found = facts(*GPT, "rows_per_step=4", "length=64", "budget=100steps")["FLOPs"]
    assert found == f"{flops:.3g}, {flops / 25_600:.3g} a token"


def test_new_tokens_and_a_grown_vocabulary_are_counted(bert_run):
    config = read_config(bert_run)
    grown = settings(f"model={bert_run}", "objective=masked_lm,next_sentence", "added_tokens=gneiss,schist")
    tokenizer = planned_tokenizer(grown)
    assert len(tokenizer) == config.vocab_size + 2
    assert planned_config(grown, tokenizer).vocab_size == -(-len(tokenizer) // 64) * 64
    untrained = settings(*TINY, "added_tokens=gneiss,schist", "added_special_tokens=<a>")
    assert planned_config(untrained, planned_tokenizer(untrained)).vocab_size == 103


def test_memory_says_its_parts(facts):
    text = facts(*TINY, "rows_per_step=12", "accumulate=3")["memory"]
    sizes = re.findall(r"([\d.]+) MB", text)
    assert re.sub(r"[\d.]+ MB", "#", text) == (
        "about #: weights # + gradients # + optimizer state # + activations of 4 rows at once #; "
        "beside the program and evaluation"
    )
    assert float(sizes[0]) == pytest.approx(sum(map(float, sizes[1:])), abs=0.3)


def test_packed_rows_are_as_wide_as_they_say(facts):
    shape = [*TINY, "rows_per_step=4", "length=16", "budget=100steps"]
    step = settings(*shape, "packed_length=48")
    batch = random_rows(step, planned_config(step, planned_tokenizer(step)), 4)
    assert batch.tensors["input_ids"].shape == (4, 48)
    assert batch.num_tokens > 0.95 * batch.num_slots
    packed, plain = facts(*shape, "packed_length=48", timed=True), facts(*shape)
    assert packed["tokens"] == "at most 19,200: 100 steps of 4 x 48"
    activations = [float(re.search(r"at once ([\d.]+) MB", found["memory"])[1]) for found in (packed, plain)]
    assert activations[0] > 2 * activations[1]
    pattern = r"about [\d.]+ \w+ at [\d,]+ tokens a second, measured here with 4 rows"
    assert re.fullmatch(pattern, packed["time"])


def test_time_is_measured_where_the_model_fits(facts, monkeypatch):
    text = facts(*TINY, "rows_per_step=4", "length=16", "budget=100steps", timed=True)["time"]
    assert re.fullmatch(r"about [\d.]+ \w+ at [\d,]+ tokens a second, measured here with 4 rows", text)
    monkeypatch.setattr(estimates, "free_bytes", lambda device: 1000)
    text = facts(*TINY, "rows_per_step=4", "length=16", timed=True)["time"]
    assert re.fullmatch(r"not estimated: 4 rows would take [\d.]+ MB of this device's memory", text)
    monkeypatch.setattr(estimates, "peak_flops", lambda device, dtype: 1e3)
    text = facts(*TINY, "rows_per_step=4", "length=16", timed=True)["time"]
    assert re.fullmatch(r"not estimated: a row takes \S+ FLOPs, \d+ s at this device's best rate", text)


def test_a_model_whose_memory_cannot_be_counted_is_told(facts, monkeypatch):
    def fail(*given):
        raise RuntimeError("depends on\nthe data")

    monkeypatch.setattr(estimates, "count_memory", fail)
    found = facts(*TINY)
    assert found["memory"] == found["time"] == "not estimated: depends on the data"


def test_a_missing_head_is_told_before_anything_is_made():
    with pytest.raises(RecipeError, match="roberta has no head for pairs of texts"):
        pretraining_facts(settings("preset=roberta-base", "objective=masked_lm,next_sentence"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_rows_of_random_tokens_fill_the_length_under_every_objective(name):
    kind = OBJECTIVES[name]
    preset = "gpt2-tiny" if kind.kind == "decoder" else "bert-tiny"
    step = settings(f"preset={preset}", f"objective={name}", "length=48", "vocab_size=300")
    batch = random_rows(step, planned_config(step, planned_tokenizer(step)), 6)
    assert batch.tensors["input_ids"].shape == (6, 48)
    assert batch.num_tokens > 0.6 * batch.num_slots
    assert batch.counts[name] > 0
    assert batch.tensors["input_ids"].max() < 300


def test_the_largest_model_takes_no_memory_to_count():
    step = settings("preset=gpt3-175b", "objective=causal_lm", "length=2048", "rows_per_step=1", "vocab_size=50257")
    config = planned_config(step, planned_tokenizer(step))
    assert config.n_layer == PRESETS["gpt3-175b"].shape["n_layer"]
    with torch.device("meta"):
        model = new_model(config, step.head, 0)
    memory = estimates.count_memory(step, model, random_rows(step, config, 1), 1, "cpu", "bf16")
    assert memory.weights == pytest.approx(4 * 175e9, rel=0.01)
