"""Small trainings of every kind, over rows that differ in length and in their number of targets."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForPreTraining, LlamaConfig, LlamaForCausalLM

from ptft.compute import Compute
from ptft.corpus.store import Encoded, compile_store
from ptft.finetuning.classification import ClassificationModule
from ptft.finetuning.texts import EncodedTexts, LabelledBatches
from ptft.models.classifier import new_classifier
from ptft.objectives import OBJECTIVES
from ptft.objectives.packed_plan import Packing
from ptft.objectives.rows import Vocabulary
from ptft.optim.optimizer import Optimizers, parameter_groups
from ptft.optim.optimizers import OPTIMIZERS
from ptft.training.loop import train
from ptft.training.work import Feed, PretrainingBatches, PretrainingModule

SIZES = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
ROWS, LENGTH, WORDS = 64, 24, 60
FEW = {"name": "masked_lm", "selection": "bernoulli", "mask_ratio": 0.02}
KINDS = {
    "masked_lm": [{"name": "masked_lm"}],
    "masked_lm, few targets": [FEW],
    "masked_lm and next_sentence": [{"name": "masked_lm"}, {"name": "next_sentence"}],
    "masked_lm, few targets, and sentence_order": [FEW, {"name": "sentence_order", "weight": 0.5}],
    "masked_lm and next_sentence, packed": [{"name": "masked_lm"}, {"name": "next_sentence"}],
    "causal_lm": [{"name": "causal_lm"}],
    "causal_lm, packed": [{"name": "causal_lm"}],
    "causal_lm, z-loss": [{"name": "causal_lm", "z_loss": 1e-3}],
    "hybrid": [{"name": "hybrid"}],
    "hybrid, few targets": [{**FEW, "name": "hybrid", "masked_rows": 0.9}],
}
POOLINGS = {f"classification, {pooling}": (pooling, True) for pooling in ("cls", "mean", "max", "last")}
POOLINGS["classification, mean, unpacked"] = ("mean", False)


def pytest_generate_tests(metafunc):
    """A test that takes ``every_kind`` is made once for each."""
    if "every_kind" in metafunc.fixturenames:
        metafunc.parametrize("every_kind", [*KINDS, *POOLINGS])


def make_vocabulary(*, is_decoder):
    special = np.zeros(WORDS, bool)
    special[:5] = True
    if is_decoder:
        return Vocabulary(WORDS, -1, -1, 0, 4, 1, -1, special)
    return Vocabulary(WORDS, cls=2, sep=3, pad=0, mask=4, eos=-1, unknown=1, special=special)


@pytest.fixture(scope="session")
def ragged_store(tmp_path_factory):
    """A new folder with a store of documents of one to eight sentences of one to twelve tokens."""

    def make():
        draw = np.random.default_rng(0)
        lengths = draw.integers(1, 13, size=(60, 8))
        documents = [[str(length) for length in row[: 1 + number % 8]] for number, row in enumerate(lengths)]

        def encode(sentences):
            return Encoded([draw.integers(5, WORDS, size=int(sentence)).tolist() for sentence in sentences])

        folder = tmp_path_factory.mktemp("stores")
        return compile_store(documents, encode, folder, "k", vocab_size=WORDS, end_token=None), folder / "k"

    return make


def make_pretraining(store, objectives, dropout, packing=None):
    objectives = [OBJECTIVES[given["name"]](**{k: v for k, v in given.items() if k != "name"}) for given in objectives]
    is_decoder = objectives[0].kind == "decoder"
    vocabulary = make_vocabulary(is_decoder=is_decoder)
    decides = next((objective for objective in objectives if objective.makes_pairs), objectives[0])
    sampler = decides.sampler(store, vocabulary, LENGTH, ROWS, 0, packing)
    source = PretrainingBatches(sampler, objectives, vocabulary, ROWS)
    torch.manual_seed(0)
    if is_decoder:
        config = LlamaConfig(vocab_size=WORDS, max_position_embeddings=32, attention_dropout=dropout, **SIZES)
        return PretrainingModule(LlamaForCausalLM(config), objectives), source
    return PretrainingModule(BertForPreTraining(bert_config(dropout)), objectives), source


def bert_config(dropout):
    drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return BertConfig(vocab_size=WORDS, max_position_embeddings=32, **SIZES, **drops)


def make_classification(pooling, packed, dropout):
    draw = np.random.default_rng(0)
    ids = [[2, *draw.integers(5, WORDS, size=draw.integers(1, 20)).tolist(), 3] for _ in range(137)]
    texts = EncodedTexts(ids, None, 0, pad=0, length=LENGTH)
    labels = draw.choice(3, p=[0.7, 0.2, 0.1], size=137)
    classifier, _ = new_classifier(bert_config(dropout), ["a", "b", "c"], pooling, 0, both_ways=True, dropout=dropout)
    return ClassificationModule(classifier), LabelledBatches(texts, labels, ROWS, seed=0, packed=packed)


@pytest.fixture(scope="session")
def work_of(ragged_store):
    """The module and the batches of a kind of training."""
    shared = []

    def make(kind, *, dropout=0.0, store=None):
        if kind in POOLINGS:
            return make_classification(*POOLINGS[kind], dropout)
        if store is None:
            shared[:] = shared or [ragged_store()[0]]
        packing = Packing(2 * LENGTH) if kind.endswith("packed") else None
        return make_pretraining(store or shared[0], KINDS[kind], dropout, packing)

    return make


@pytest.fixture(scope="session")
def train_some():
    """Train some steps and give their reports."""

    def do(module, source, *, accumulate=1, steps=4, start=0, workers=0, most_rows=0, optimizers=None, **options):
        module.train()
        shares = source.shares(ROWS // accumulate, 1, 0)
        feed = Feed(source, shares, torch.device("cpu"), start, steps, workers=workers, most_rows=most_rows)
        reports = train(
            module, module.weights, feed, optimizers or sgd(module), lambda step: 1.0, Compute("fp32"), start=start,
            seed=0, clip_norm=1.0, **options,
        )  # fmt: skip
        return list(reports)

    return do


def sgd(module):
    groups = parameter_groups(module.named_parameters(), 0.1, 0.0)
    return Optimizers(OPTIMIZERS["sgd"]().build(groups, module))
