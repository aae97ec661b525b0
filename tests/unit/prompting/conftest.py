import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutput

TEXT = [
    "Answer the question: is the soup red or is the violin blue?",
    "Review: a joy from the first page to the last.\nSentiment: good",
    "Review: dull, dull, dull.\nSentiment: bad",
] * 4


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


def make_tokenizer(end="<|endoftext|>", **specials):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials)


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer(bos_token="<|endoftext|>", eos_token="<|endoftext|>")


@pytest.fixture(scope="session")
def bare_tokenizer():
    """A tokenizer that names no beginning, end or padding token."""
    return make_tokenizer()


def make_model(kind="gpt2", positions=128, seed=0, vocab_size=400):
    ids = {"bos_token_id": 0, "eos_token_id": 0}
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=vocab_size, n_positions=positions, n_embd=32, n_layer=2, n_head=2, initializer_range=0.5, **ids
        )
    else:
        config = LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=positions,
            initializer_range=0.3,
            **ids,
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return (GPT2LMHeadModel if kind == "gpt2" else LlamaForCausalLM)(config)


@pytest.fixture(scope="session", params=["gpt2", "llama"])
def model(request):
    return make_model(request.param)


@pytest.fixture
def new_model():
    return make_model


class ConstantModel(GPT2LMHeadModel):
    """Gives every token the same probability everywhere."""

    def forward(self, input_ids, attention_mask=None, use_cache=None):
        return CausalLMOutput(logits=torch.zeros(*input_ids.shape, self.config.vocab_size))


@pytest.fixture
def constant_model():
    return ConstantModel(make_model().config)
