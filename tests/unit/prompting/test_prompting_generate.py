from collections import Counter

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM
from transformers.modeling_outputs import CausalLMOutput

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting import generate
from ptft.prompting.generate import _choose


def greedy_ids(model, tokenizer, prompt, num_tokens):
    ids = [0, *tokenizer(prompt)["input_ids"]]
    start = len(ids)
    model.eval()
    for _ in range(num_tokens):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


def test_greedy_text_is_that_of_full_forward_passes(model, tokenizer):
    ids = greedy_ids(model, tokenizer, "is the soup", 12)
    assert 0 not in ids, "the premise: no end of text"
    assert generate(model, tokenizer, "is the soup", max_new_tokens=12) == tokenizer.decode(ids)


def test_a_model_without_cache_writes_the_same(new_model, tokenizer):
    class Plain(type(new_model())):
        def forward(self, input_ids, attention_mask=None, use_cache=None):
            outputs = super().forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
            return CausalLMOutput(logits=outputs.logits)

    model = new_model()
    plain = Plain(model.config)
    plain.load_state_dict(model.state_dict())
    text = generate(model, tokenizer, "is the soup", max_new_tokens=10)
    assert generate(plain, tokenizer, "is the soup", max_new_tokens=10) == text


def test_the_number_of_tokens_is_bounded(model, tokenizer):
    shorter = generate(model, tokenizer, "is the soup", max_new_tokens=3)
    assert generate(model, tokenizer, "is the soup", max_new_tokens=9).startswith(shorter)


def test_sampling_is_a_function_of_the_seed(model, tokenizer):
    texts = [generate(model, tokenizer, "is", temperature=1.0, seed=seed, max_new_tokens=8) for seed in (1, 2, 1)]
    assert texts[0] == texts[2] != texts[1]


def test_the_global_generators_are_left_alone(model, tokenizer):
    state = torch.get_rng_state()
    generate(model, tokenizer, "is", temperature=1.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_mode_is_as_before(new_model, tokenizer):
    model = new_model().train()
    generate(model, tokenizer, "is", max_new_tokens=2)
    assert model.training


LOGITS = torch.tensor([0.5, 0.2, 0.2, 0.1]).log()


def drawn(temperature, top_p):
    return Counter(_choose(LOGITS, temperature, top_p, seed, 0) for seed in range(2000))


def test_tokens_are_drawn_with_their_probabilities():
    counts = drawn(1.0, 1.0)
    for token, probability in enumerate((0.5, 0.2, 0.2, 0.1)):
        assert counts[token] / 2000 == pytest.approx(probability, abs=0.045)  # four standard deviations


def test_temperature_sharpens():
    weights = [p**2 for p in (0.5, 0.2, 0.2, 0.1)]
    assert drawn(0.5, 1.0)[0] / 2000 == pytest.approx(weights[0] / sum(weights), abs=0.045)


@pytest.mark.parametrize(("top_p", "tokens"), [(0.3, {0}), (0.6, {0, 1}), (0.9, {0, 1, 2}), (0.95, {0, 1, 2, 3})])
def test_top_p_draws_from_the_shortest_head_that_reaches_it(top_p, tokens):
    assert set(drawn(1.0, top_p)) == tokens


def test_positions_of_a_draw_are_independent():
    assert len({_choose(torch.zeros(1000), 1.0, 1.0, 0, position) for position in range(20)}) > 15


def test_writing_ends_before_a_stop_text(model, tokenizer):
    text = generate(model, tokenizer, "is the soup", max_new_tokens=12)
    end = text[len(text) // 2 : len(text) // 2 + 2]
    assert generate(model, tokenizer, "is the soup", max_new_tokens=12, stop=["never", end]) == text[: text.index(end)]


def test_writing_ends_at_the_end_of_text(new_model, tokenizer):
    model = new_model("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()  # all tokens equal: the first, the end of text, is taken
    forwards = []
    model.register_forward_pre_hook(lambda *_: forwards.append(1))
    assert generate(model, tokenizer, "is the soup") == ""
    assert len(forwards) == 2, "the check that the model is a decoder, and one token"


def test_writing_ends_with_the_positions(new_model, tokenizer):
    num_ids = len(tokenizer("is the soup")["input_ids"]) + 1
    long, short = new_model(positions=64), new_model(positions=64)
    short.config.max_position_embeddings = num_ids + 2
    # Three tokens: one after each of the fed lengths num_ids, num_ids + 1 and num_ids + 2.
    expected = generate(long, tokenizer, "is the soup", max_new_tokens=3)
    assert generate(short, tokenizer, "is the soup", max_new_tokens=20) == expected


def test_a_prompt_longer_than_the_positions_is_refused(new_model, tokenizer):
    with pytest.raises(DataError, match="the prompt has 7 tokens but the model has 6 positions"):
        generate(new_model(positions=6), tokenizer, "??????")


def test_an_empty_prompt_begins_at_the_beginning_token(model, tokenizer, bare_tokenizer):
    assert generate(model, tokenizer, "", max_new_tokens=3) == tokenizer.decode(greedy_ids(model, tokenizer, "", 3))
    with pytest.raises(DataError, match="the prompt is empty"):
        generate(model, bare_tokenizer, "")


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"stop": "end"}, "stop is 'end'"),
        ({"stop": [""]}, r"stop is \[''\]"),
    ],
)
def test_settings_out_of_range_are_refused(model, tokenizer, setting, match):
    with pytest.raises(RecipeError, match=match):
        generate(model, tokenizer, "is", **setting)


def test_an_encoder_is_refused(tokenizer):
    config = BertConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(CheckpointError, match="is an encoder"):
        generate(BertForMaskedLM(config), tokenizer, "is")
