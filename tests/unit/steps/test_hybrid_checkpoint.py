"""A checkpoint of the hybrid objective on its way: reopened, measured, gone on from, fine-tuned both ways, prompted."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ptft.actions.eval import Eval
from ptft.display import Silent
from ptft.errors import RecipeError
from ptft.models.classifier_files import open_classifier
from ptft.objectives.hybrid import Hybrid
from ptft.objectives.policies.whole_word import WholeWord


def config_of(run):
    return json.loads((run / "model" / "config.json").read_text())


def test_the_checkpoint_is_a_stock_decoder_with_a_mask_token(hybrid_run):
    model, report = AutoModelForCausalLM.from_pretrained(hybrid_run / "model", output_loading_info=True)
    assert not any(report.values())
    tokenizer = AutoTokenizer.from_pretrained(hybrid_run / "model")
    assert tokenizer.mask_token == "<|mask|>"
    assert tokenizer.mask_token_id == len(tokenizer) - 1 == model.config.vocab_size - 1
    assert len(tokenizer) <= 300
    assert tokenizer("a<|mask|>b")["input_ids"].count(tokenizer.mask_token_id) == 1


def test_as_it_is_opened_it_is_causal(hybrid_run):
    model = AutoModelForCausalLM.from_pretrained(hybrid_run / "model").eval()
    ids = torch.arange(10, 20)[None]
    changed = ids.clone()
    changed[0, -1] = 50
    assert torch.equal(model(ids).logits[:, :-1], model(changed).logits[:, :-1])


def test_its_card_says_what_fill_mask_would_do(hybrid_run, llama_run):
    from ptft.report.card import write_card

    assert '`pipeline("fill-mask")` does not apply' in write_card(hybrid_run / "model", hybrid_run).read_text()
    assert "fill-mask" not in write_card(llama_run / "model", llama_run).read_text()


@pytest.mark.parametrize(
    ("settings", "is_causal", "pooling"),
    [({}, False, "mean"), ({"attention": "causal"}, True, "last"), ({"pooling": "last"}, False, "last")],
)
def test_it_is_fine_tuned_with_attention_both_ways(hybrid_run, table, step, tmp_path, settings, is_causal, pooling):
    step("finetune", model=str(hybrid_run), data=str(table), budget="2steps", min_steps=0, length=32,
         out=str(tmp_path / "run"), **settings)  # fmt: skip
    assert config_of(tmp_path / "run")["is_causal"] is is_causal
    classifier = open_classifier(tmp_path / "run").eval()
    assert classifier.pooling == pooling
    ids = torch.arange(10, 20)[None]
    changed = ids.clone()
    changed[0, -1] = 50
    body = classifier.model.base_model
    moved = (body(ids).last_hidden_state - body(changed).last_hidden_state)[:, 0].abs().max()
    assert (moved == 0) == is_causal


def test_a_plain_decoder_stays_causal_unless_asked(llama_run, table, step, tmp_path):
    common = {"model": str(llama_run), "data": str(table), "budget": "2steps", "min_steps": 0, "length": 32}
    step("finetune", **common, out=str(tmp_path / "plain"))
    step("finetune", **common, attention="bidirectional", out=str(tmp_path / "both"))
    assert config_of(tmp_path / "plain")["is_causal"] is True
    assert config_of(tmp_path / "both")["is_causal"] is False


def test_an_encoder_cannot_be_made_causal(bert_run, table, step, tmp_path):
    with pytest.raises(RecipeError, match="attention: bert is an encoder"):
        step("finetune", model=str(bert_run), data=str(table), length=32, attention="causal",
             out=str(tmp_path / "run"))  # fmt: skip


def test_eval_measures_both(hybrid_run, corpus_file, store_cache):
    shown = Eval(model=str(hybrid_run), corpus={"path": str(corpus_file)}, cache=store_cache, length=32).do(Silent())
    assert "hybrid.masked_accuracy" in shown and "hybrid.causal_perplexity" in shown


def test_eval_refuses_a_decoder_that_knows_no_mask(llama_run, corpus_file):
    action = Eval(model=str(llama_run), corpus={"path": str(corpus_file)}, objective=(Hybrid(),))
    with pytest.raises(RecipeError, match="has no mask token"):
        action.check()


def test_training_goes_on_from_a_plain_decoder_and_gives_it_a_mask_token(llama_run, step, tmp_path, pretrain_settings):
    settings = pretrain_settings("hybrid", model=str(llama_run), out=str(tmp_path / "run"))
    for key in ("preset", "shape"):
        del settings[key]
    step("pretrain", **settings)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert tokenizer.mask_token_id == len(tokenizer) - 1
    assert config_of(tmp_path / "run")["vocab_size"] % 64 == 0


def test_a_decoder_of_the_shape_of_one_that_looks_both_ways_is_causal(
    hybrid_run, table, step, tmp_path, pretrain_settings
):
    step("finetune", model=str(hybrid_run), data=str(table), budget="2steps", min_steps=0, length=32,
         out=str(tmp_path / "fine"))  # fmt: skip
    settings = pretrain_settings("llama", model=str(tmp_path / "fine"), init="scratch", out=str(tmp_path / "run"))
    for key in ("preset", "shape"):
        del settings[key]
    step("pretrain", **settings)
    assert config_of(tmp_path / "run")["is_causal"] is True
    assert config_of(tmp_path / "run")["trained_bidirectional"] is False


def test_attention_both_ways_is_refused_where_it_is_not_known(tmp_path, table, step):
    settings = {"preset": "gpt1", "init": "scratch", "attention": "bidirectional", "length": 32}
    with pytest.raises(RecipeError, match="attention: of a openai-gpt it is not known"):
        step("finetune", **settings, data=str(table), out=str(tmp_path / "run"))


def test_eval_masks_by_words(hybrid_run, corpus_file, store_cache):
    objective = Hybrid(policy=WholeWord())
    action = Eval(model=str(hybrid_run), corpus={"path": str(corpus_file)}, cache=store_cache, length=32,
                  objective=(objective,))  # fmt: skip
    assert "hybrid.masked_accuracy" in action.do(Silent())


def test_it_is_not_combined_with_causal_lm(step, tmp_path, pretrain_settings):
    settings = pretrain_settings("hybrid", objective=["hybrid", "causal_lm"], out=str(tmp_path / "run"))
    with pytest.raises(RecipeError, match="hybrid and causal_lm both decide what a row is"):
        step("pretrain", **settings)
