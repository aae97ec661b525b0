import re

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, MistralConfig, MistralForCausalLM
from transformers.modeling_outputs import CausalLMOutput

from ptft.errors import CheckpointError, RecipeError
from ptft.prompting import generate
from ptft.prompting.greedy import ability, write_greedily

QUESTION = "Answer the question: is the soup red or is the violin blue? "
START = QUESTION * 2
PROMPTS = [
    *(START + text for text in ("Review", "dull, dull", "a joy from the first page to the last.", "Café zwei 日本")),
    *("is", "the soup", "the soup", "Sentiment: good\n", "violin?", "日本"),
]


def encoded(tokenizer, prompts=PROMPTS):
    return [np.array([0, *tokenizer(prompt)["input_ids"]]) for prompt in prompts]


def one_by_one(model, tokenizer, prompts=PROMPTS, **settings):
    return [generate(model, tokenizer, prompt, **settings) for prompt in prompts]


def side_by_side(model, tokenizer, prompts=PROMPTS, **settings):
    return [written.text for written in write_greedily(model, tokenizer, encoded(tokenizer, prompts), **settings)]


@pytest.mark.parametrize("tokens_per_batch", [1, 100, 8192])
def test_texts_are_those_of_one_prompt_at_a_time(model, tokenizer, tokens_per_batch):
    expected = one_by_one(model, tokenizer, max_new_tokens=12)
    assert len(set(expected)) > 5, "the premise: prompts matter"
    assert side_by_side(model, tokenizer, max_new_tokens=12, tokens_per_batch=tokens_per_batch) == expected


def test_prompts_that_are_done_leave_and_the_others_are_not_disturbed(model, tokenizer):
    free = one_by_one(model, tokenizer, max_new_tokens=12)
    stops = [text[size : size + 2] for size, text in enumerate(free[:6])]
    expected = one_by_one(model, tokenizer, max_new_tokens=12, stop=stops)
    assert len({len(text) for text in expected}) > 3, "the premise: they end at different times"
    assert side_by_side(model, tokenizer, max_new_tokens=12, stop=stops) == expected


def test_what_all_prompts_begin_with_goes_through_the_model_once(new_model, tokenizer):
    model = new_model()
    prompts = encoded(tokenizer, PROMPTS[:4])
    write_greedily(model, tokenizer, prompts, max_new_tokens=1)
    fed = []
    model.register_forward_pre_hook(lambda _, args, kwargs: fed.append(kwargs["input_ids"].shape), with_kwargs=True)
    write_greedily(model, tokenizer, prompts, max_new_tokens=3)
    shared = len(encoded(tokenizer, [START.rstrip()])[0])
    (one, first), (rows, rest), *steps = fed[1:]  # after the check that it is a decoder
    assert (one, rows) == (1, 4)
    assert first >= shared - 1
    assert first + rest == max(map(len, prompts))
    assert all(shape[1] == 1 for shape in steps)


def test_why_writing_ended(model, tokenizer):
    text = generate(model, tokenizer, "is the soup", max_new_tokens=6)
    prompt = encoded(tokenizer, ["is the soup"])
    (written,) = write_greedily(model, tokenizer, prompt, max_new_tokens=6)
    assert written == (text, 6, "limit")
    (written,) = write_greedily(model, tokenizer, prompt, max_new_tokens=6, stop=[text[2:4]])
    assert (written.text, written.ended_by) == (text[: text.index(text[2:4])], "stop")
    assert 0 < written.tokens <= 6


def test_writing_ends_at_the_end_of_text(new_model, tokenizer):
    model = new_model("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()  # all tokens equal: the first, the end of text, is taken
    assert set(write_greedily(model, tokenizer, encoded(tokenizer), max_new_tokens=5)) == {("", 0, "end")}


def test_writing_ends_with_the_positions_of_each_prompt(new_model, tokenizer):
    model = new_model(positions=32)
    prompts = [QUESTION, QUESTION + "a joy", "is"]
    texts = side_by_side(model, tokenizer, prompts, max_new_tokens=20)
    assert texts == one_by_one(model, tokenizer, prompts, max_new_tokens=20)
    (first, second, third) = write_greedily(model, tokenizer, encoded(tokenizer, prompts), max_new_tokens=20)
    assert 20 == third.tokens > first.tokens > second.tokens


def test_a_model_without_cache_and_positions_gets_prompts_of_equal_length(new_model, tokenizer):
    class Plain(type(new_model())):
        def forward(self, input_ids, attention_mask=None, use_cache=None):
            outputs = super().forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
            return CausalLMOutput(logits=outputs.logits)

    model = new_model()
    plain = Plain(model.config)
    plain.load_state_dict(model.state_dict())
    said = []
    texts = side_by_side(plain, tokenizer, max_new_tokens=8, say=said.append)
    assert texts == one_by_one(model, tokenizer, max_new_tokens=8)
    assert len(said) == 1
    assert said[0].startswith("only prompts of equal length go side by side, since Plain fails (")


def test_a_model_that_ignores_padding_is_found_out(new_model, tokenizer):
    class Deaf(type(new_model())):
        def forward(self, attention_mask=None, **kwargs):
            return super().forward(**kwargs)

    model = Deaf(new_model().config).eval()
    assert ability(model, 64)[:2] == (False, False)
    assert re.search(r"since Deaf gives other logits \([\d.]+ apart\) with padding", ability(model, 64).why)
    texts = side_by_side(model, tokenizer, max_new_tokens=8, say=lambda why: None)
    assert texts == one_by_one(model, tokenizer, max_new_tokens=8)


def test_a_model_with_a_window_of_attention_shares_no_beginning_but_takes_padding(tokenizer):
    ids = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 128}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MistralForCausalLM(MistralConfig(sliding_window=8, initializer_range=0.3, **ids, **sizes, **heads))
    said = []
    texts = side_by_side(model, tokenizer, PROMPTS[:4], max_new_tokens=8, say=said.append)
    assert texts == one_by_one(model, tokenizer, PROMPTS[:4], max_new_tokens=8)
    assert len(said) == 1
    assert said[0].startswith("what prompts begin with goes through the model again for each, since Mistral")
    assert ability(model, 128).pads


def test_stock_models_take_padding_and_common_beginnings(model):
    assert ability(model, 64) == (True, True, "")


def test_progress_is_told(model, tokenizer):
    told = []
    write_greedily(model, tokenizer, encoded(tokenizer), max_new_tokens=2, tokens_per_batch=60, progress=told.append)
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == len(PROMPTS)


def test_the_mode_is_as_before(new_model, tokenizer):
    model = new_model().train()
    write_greedily(model, tokenizer, encoded(tokenizer), max_new_tokens=1)
    assert model.training
    assert write_greedily(model, tokenizer, [], max_new_tokens=1) == []


def test_what_cannot_be_used_is_refused(model, tokenizer):
    with pytest.raises(RecipeError, match="max_new_tokens is 0; it must be at least 1"):
        write_greedily(model, tokenizer, encoded(tokenizer), max_new_tokens=0)
    with pytest.raises(RecipeError, match="stop is 'end'; give a list"):
        write_greedily(model, tokenizer, encoded(tokenizer), max_new_tokens=1, stop="end")
    config = BertConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(CheckpointError, match="is an encoder"):
        write_greedily(BertForMaskedLM(config), tokenizer, encoded(tokenizer), max_new_tokens=1)
