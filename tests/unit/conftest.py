"""Tiny models, pretrained once a session by the steps themselves, for the tests of everything that builds on one."""

import os
import random
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices; torch reads it when it is imported

WORDS = {
    "warm": ["red", "orange", "sun", "fire", "summer", "hot", "desert", "lamp", "candle", "toast"],
    "cold": ["blue", "ice", "snow", "winter", "frost", "lake", "shade", "cellar", "hail", "glacier"],
}
FILLERS = ["the", "a", "is", "was", "near", "under", "very", "always", "my", "one"]


def make_sentence(draw, label):
    return " ".join(draw.choice(FILLERS if draw.random() < 0.4 else WORDS[label]) for _ in range(draw.randint(3, 9)))


@pytest.fixture(scope="session")
def labelled_texts():
    """Texts with labels that their words give away."""
    draw = random.Random(1)
    return [(make_sentence(draw, label), label) for _ in range(40) for label in WORDS]


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory):
    draw = random.Random(0)
    documents = [
        "\n".join(make_sentence(draw, label) for _ in range(draw.randint(2, 6))) for _ in range(40) for label in WORDS
    ]
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join(documents))
    return path


@pytest.fixture(scope="session")
def store_cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def step():
    """Carry out one step as :func:`ptft.run.perform` does, without the page of pictures."""
    from ptft.run import perform

    def do(verb, **settings):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ptft.run.write_report", lambda folder: None)
            return perform(verb, threads=1, precision="fp32", **settings)

    return do


@pytest.fixture(scope="session")
def pretrain_settings(corpus_file, store_cache):
    """Settings of a tiny pretraining by architecture, with others put in their place."""
    common = {
        "corpus": {"path": str(corpus_file), "valid_ratio": 0.2},
        "cache": store_cache,
        "length": 32,
        "rows_per_step": 8,
        "budget": "4steps",
        "log_every_steps": 1,
        "evaluation_rows": 16,
        "vocab_size": 300,
    }
    positions = {"max_position_embeddings": 64}
    wide = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, **positions}
    kinds = {
        "bert": {"objective": ["masked_lm", "next_sentence"], "preset": "bert-tiny", "shape": wide},
        "gpt2": {
            "objective": "causal_lm",
            "preset": "gpt2-tiny",
            "shape": {"n_layer": 1, "n_embd": 16, "n_positions": 64},
        },
        "hybrid": {"objective": "hybrid", "preset": "llama-tiny", "shape": {**wide, "num_key_value_heads": 2}},
        "llama": {"objective": "causal_lm", "preset": "llama-tiny", "shape": {**wide, "num_key_value_heads": 2}},
    }

    def settings(kind, **others):
        made = {**common, **kinds[kind], **others}
        if (made.get("model") or made.get("tokenizer")) and "vocab_size" not in others:
            del made["vocab_size"]
        return made

    return settings


@pytest.fixture(scope="session")
def bert_run(tmp_path_factory, step, pretrain_settings):
    """The run folder of a tiny BERT, pretrained with masked LM and next-sentence prediction."""
    folder = tmp_path_factory.mktemp("runs") / "bert"
    step("pretrain", **pretrain_settings("bert"), out=str(folder))
    return folder


@pytest.fixture(scope="session")
def gpt2_run(tmp_path_factory, step, pretrain_settings):
    """The run folder of a tiny GPT-2."""
    folder = tmp_path_factory.mktemp("runs") / "gpt2"
    step("pretrain", **pretrain_settings("gpt2"), out=str(folder))
    return folder


@pytest.fixture(scope="session")
def llama_run(tmp_path_factory, step, pretrain_settings):
    """The run folder of a tiny Llama."""
    folder = tmp_path_factory.mktemp("runs") / "llama"
    step("pretrain", **pretrain_settings("llama"), out=str(folder))
    return folder


@pytest.fixture(scope="session")
def hybrid_run(tmp_path_factory, step, pretrain_settings):
    """The run folder of a tiny Llama that learned with attention one way and both ways."""
    folder = tmp_path_factory.mktemp("runs") / "hybrid"
    step("pretrain", **pretrain_settings("hybrid"), out=str(folder))
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory, labelled_texts):
    """A tidy table of labelled texts."""
    path = tmp_path_factory.mktemp("tables") / "weather.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in labelled_texts))
    return path


@pytest.fixture
def run_of(request):
    """The run folder of an architecture by name."""

    def find(kind) -> Path:
        return request.getfixturevalue(f"{kind}_run")

    return find
