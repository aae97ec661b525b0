import random
from itertools import chain

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Qwen3Config,
)

from ptft.prompting.decoder import evaluating
from ptft.prompting.plain import score_plainly
from ptft.prompting.plan import Plan
from ptft.prompting.request import Request
from ptft.prompting.scoring import score_requests
from ptft.prompting.shared import score_shared

SHAPE = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = {"bos_token_id": 0, "eos_token_id": 0}
GATED = SHAPE | {"intermediate_size": 48, "max_position_embeddings": 256, "num_key_value_heads": 2} | IDS
SHARING = {
    "gpt2": GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.4, **IDS),
    "llama": LlamaConfig(**GATED, initializer_range=0.3),
    "mistral": MistralConfig(**GATED, initializer_range=0.3, sliding_window=None),
    "qwen3": Qwen3Config(**GATED, head_dim=8, initializer_range=0.3),
    "opt": OPTConfig(**SHAPE, ffn_dim=48, max_position_embeddings=256, word_embed_proj_dim=32, init_std=0.3, **IDS),
}
NOT_SHARING = {
    "window": (MistralConfig(**GATED, initializer_range=0.3, sliding_window=16), "cannot take branches side by side"),
    "alibi": (BloomConfig(vocab_size=60, hidden_size=32, n_layer=2, n_head=4, **IDS), "MixedAttention|cannot take"),
}


def made(config, attention="sdpa"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@pytest.fixture(scope="module")
def requests():
    draws = random.Random(0)
    pool = [[draws.randrange(60) for _ in range(draws.randrange(6, 14))] for _ in range(20)]
    found = []
    for number in range(8):
        query = [draws.randrange(60) for _ in range(draws.randrange(3, 10))]
        for k in (0, 2, 6):
            shots = pool if number % 2 else draws.sample(pool, len(pool))
            context = (1, *chain.from_iterable(shots[:k]), *query)
            found += [Request(context, tuple(pool[9 + c][: draws.randrange(1, 5)])) for c in range(3)]
    return found


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", SHARING)
def test_shared_beginnings_change_no_score(kind, attention, requests):
    model = made(SHARING[kind], attention)
    with evaluating(model):
        plain = score_plainly(model, requests, 8192)
    for tokens in (1, 70, 8192):
        scored = score_requests(model, requests, tokens_per_batch=tokens)
        assert [one.log_likelihood for one in scored] == pytest.approx([one.log_likelihood for one in plain], abs=1e-4)
        assert [one[1:] for one in scored] == [one[1:] for one in plain]


def test_shared_beginnings_go_through_the_model_once(requests):
    model = made(SHARING["gpt2"])
    score_requests(model, requests)  # tries out what the model can do
    tokens = []
    model.register_forward_pre_hook(
        lambda module, args, given: tokens.append(given["input_ids"].numel()), with_kwargs=True
    )
    score_requests(model, requests)
    assert sum(tokens) <= 1.05 * Plan(requests, 10**6).num_distinct
    assert sum(tokens) < sum(request.num_inputs for request in requests) / 4


def test_only_what_is_asked_for_is_projected(requests):
    model = made(SHARING["llama"])
    slots = []
    model.lm_head.register_forward_pre_hook(lambda module, args: slots.append(args[0].shape[1]))
    with evaluating(model):
        score_shared(model, Plan(requests, 256))
    distinct = {
        (request.context_ids + request.continuation_ids)[:end]
        for request in requests
        for end in range(len(request.context_ids), request.num_inputs + 1)
    }
    assert len(distinct) <= sum(slots) <= 1.05 * len(distinct)


@pytest.mark.parametrize("kind", NOT_SHARING)
def test_a_model_that_cannot_share_is_scored_plainly_and_says_so(kind, requests):
    config, reason = NOT_SHARING[kind]
    model = made(config, "eager")
    said = []
    scored = score_requests(model, requests, say=said.append)
    assert len(said) == 1 and "shared beginnings of prompts are scored again each time" in said[0]
    with evaluating(model):
        assert scored == score_plainly(model, requests, 8192)
    with pytest.warns(UserWarning, match=reason):
        score_requests(model, requests)


def test_a_window_beyond_short_requests_is_found_when_long_ones_come(requests):
    model = made(MistralConfig(**GATED, initializer_range=0.3, sliding_window=100))
    short = [Request(request.context_ids[:20], request.continuation_ids) for request in requests]
    said = []
    score_requests(model, short, say=said.append)
    assert said == []
    score_requests(model, [Request((1, *range(59), *range(59)), (2,))], say=said.append)
    assert len(said) == 1


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_get_the_same_bits(processes, requests):
    model = made(SHARING["gpt2"])
    plan = Plan(requests, 60)
    with evaluating(model):
        whole, hits = score_shared(model, plan)
        parts = [score_shared(model, plan, rank, processes) for rank in range(processes)]
    assert (sum(part for part, _ in parts) == whole).all()
    assert (sum(hit.astype(int) for _, hit in parts) == hits).all()
