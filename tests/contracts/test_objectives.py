"""What every objective promises; a new file in ``ptft/objectives`` is covered without being named here."""

import copy
import itertools
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, GPT2Config, PreTrainedModel

from ptft.models.building import new_model
from ptft.models.prediction import Forward
from ptft.objectives import OBJECTIVES
from ptft.objectives.objective import Objective
from ptft.objectives.packed_plan import Packing
from ptft.objectives.rows import Sampler, Vocabulary
from ptft.tokenization import add_mask_token


@dataclass
class Case:
    """An objective with what it needs, small."""

    objective: Objective
    model: PreTrainedModel
    sampler: Sampler
    vocabulary: Vocabulary

    def batch(self, start=0, stop=8, epoch=0, extra_padding=0):
        rows = self.sampler.rows(epoch, 0, start, stop)
        if extra_padding:
            rows.ids = np.pad(rows.ids, ((0, 0), (0, extra_padding)), constant_values=self.vocabulary.pad)
            for name in ("segments", "starts"):
                if getattr(rows, name) is not None:
                    setattr(rows, name, np.pad(getattr(rows, name), ((0, 0), (0, extra_padding))))
        self.objective.add_targets(rows, self.vocabulary)
        return rows.batch()

    def loss_sum(self, batch):
        return self.objective.loss_sum(Forward(self.model, batch.tensors), batch.tensors)

    def mean_loss(self, batch):
        return self.loss_sum(batch) / batch.counts[self.objective.name]


def model_for(kind, vocabulary, seed=0):
    # Wide initial weights, so that a mistake in a few positions shows in the loss.
    shape = {"vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad, "initializer_range": 0.2}
    if kind.kind == "decoder":
        ids = {"bos_token_id": vocabulary.eos, "eos_token_id": vocabulary.eos}
        dropouts = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=64, **shape, **ids, **dropouts)
        return new_model(config, "causal_lm", seed)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=64,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **shape,
    )  # fmt: skip
    return new_model(config, "pretraining" if kind.makes_pairs else "masked_lm", seed)


@pytest.fixture(scope="module")
def stores(embedded_store, bert_tokenizer, gpt_tokenizer):
    gpt_tokenizer = copy.deepcopy(gpt_tokenizer)
    add_mask_token(gpt_tokenizer)
    return {
        "encoder": (Vocabulary.of(bert_tokenizer), embedded_store(bert_tokenizer)),
        "decoder": (Vocabulary.of(gpt_tokenizer), embedded_store(gpt_tokenizer, end_token=gpt_tokenizer.eos_token_id)),
    }


@pytest.fixture(params=sorted(OBJECTIVES))
def make_case(request, stores):
    kind = OBJECTIVES[request.param]
    vocabulary, store = stores[kind.kind]

    def make(seed=0, length=48, packing=None):
        objective = kind()
        sampler = objective.sampler(store, vocabulary, length, 8, seed, packing)
        return Case(objective, model_for(kind, vocabulary), sampler, vocabulary)

    return make


@pytest.fixture
def case(make_case):
    return make_case()


def test_the_loss_is_a_finite_positive_sum_over_counted_targets(case):
    batch = case.batch()
    loss = case.loss_sum(batch)
    assert loss.shape == () and loss.dtype == torch.float32
    assert torch.isfinite(loss) and loss > 0
    assert batch.counts[case.objective.name] > 0
    untrained = np.log(case.vocabulary.size)
    assert 0 < case.mean_loss(batch) < 5 * untrained


def test_every_trainable_parameter_has_a_gradient_or_a_reason(case):
    case.loss_sum(case.batch()).backward()
    without = [
        name
        for name, parameter in case.model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    reasons = ("cls.predictions.",) if case.objective.makes_pairs else ()  # the head of masked_lm, its companion
    assert [name for name in without if not name.startswith(reasons)] == []
    assert all(any(name.startswith(reason) for name in without) for reason in reasons), "a reason is out of date"


def test_batching_does_not_change_the_loss(case):
    batch = case.batch()
    parts = [case.batch(row, row + 1) for row in range(8)]
    assert sum(part.counts[case.objective.name] for part in parts) == batch.counts[case.objective.name]
    assert sum(part.num_tokens for part in parts) == batch.num_tokens
    torch.testing.assert_close(sum(map(case.loss_sum, parts)), case.loss_sum(batch), rtol=1e-5, atol=1e-4)


def test_packing_does_not_change_the_loss(make_case):
    case = make_case(packing=Packing(96))
    if not case.objective.can_pack:
        pytest.skip("its examples do not share rows")
    rows = case.sampler.rows(0, 0, 0, 8)
    case.objective.add_targets(rows, case.vocabulary)
    packed, alone = rows.batch(), replace(rows, layout=None).batch()
    assert packed.tensors["input_ids"].shape == (8, 96)
    assert (packed.counts, packed.num_tokens, packed.hash) == (alone.counts, alone.num_tokens, alone.hash)
    assert len(alone.tensors["input_ids"]) > 8
    torch.testing.assert_close(case.loss_sum(packed), case.loss_sum(alone), rtol=1e-5, atol=1e-4)


def test_padding_does_not_change_the_loss(case):
    if case.objective.kind == "decoder":
        pytest.skip("windows have no padding")
    batch, wide = case.batch(), case.batch(extra_padding=8)
    assert wide.counts == batch.counts
    assert wide.num_slots == batch.num_slots + 64
    torch.testing.assert_close(case.loss_sum(wide), case.loss_sum(batch), rtol=1e-5, atol=1e-4)


def test_the_same_seed_gives_the_same_batch_and_another_another(make_case):
    def tensors(seed=0, epoch=0):
        return make_case(seed).batch(8, 16, epoch).tensors

    def same(first, second):
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    torch.manual_seed(1)
    first = tensors()
    torch.manual_seed(2)
    assert same(first, tensors())
    assert not same(first, tensors(seed=1))
    assert not same(first, tensors(epoch=1))


def test_a_batch_fits_the_model(case):
    for start in range(0, 64, 8):
        batch = case.batch(start, start + 8)
        ids = batch.tensors["input_ids"]
        assert ids.min() >= 0 and ids.max() < case.vocabulary.size
        assert ids.shape[1] <= 48
        assert all(tensor.dtype == torch.int64 for tensor in batch.tensors.values())


def test_it_learns_eight_examples_by_heart(make_case):
    case = make_case(length=24)
    batch = case.batch()
    optimizer = torch.optim.AdamW(case.model.parameters(), lr=1e-2)
    first = case.mean_loss(batch).item()
    for _ in range(80):
        optimizer.zero_grad()
        case.mean_loss(batch).backward()
        optimizer.step()
    assert case.mean_loss(batch).item() < 0.1 * first


def test_evaluation_gives_the_loss_and_figures(case):
    batch = case.batch()
    case.model.eval()
    with torch.no_grad():
        sums = case.objective.evaluate(Forward(case.model, batch.tensors), batch.tensors, frequent_token=10)
        assert sums["loss"] == pytest.approx(case.loss_sum(batch).item(), rel=1e-6)
    figures = case.objective.figures({**sums, "count": float(batch.counts[case.objective.name])})
    assert all(np.isfinite(value) for value in figures.values())
    (prefix,) = {name.partition(".")[0] for name in figures}
    assert figures[f"{prefix}.loss"] == pytest.approx(sums["loss"] / batch.counts[case.objective.name])


def test_the_z_loss_is_added_in_training_and_left_out_of_evaluations(case):
    if "z_loss" not in type(case.objective).model_fields:
        pytest.skip("it predicts no token")
    plain, batch = case.loss_sum(case.batch()), case.batch()
    case.objective = type(case.objective)(z_loss=0.1)
    forward = Forward(case.model, batch.tensors)
    assert case.loss_sum(batch) > plain + 0.01 * batch.counts[case.objective.name]
    with torch.no_grad():
        sums = case.objective.evaluate(forward, batch.tensors, frequent_token=10)
    assert sums["loss"] == pytest.approx(plain.item(), rel=1e-5)


def test_the_share_of_predicted_tokens_is_the_one_asked_for(case):
    if not hasattr(case.objective, "mask_ratio"):
        pytest.skip("it masks nothing")
    for ratio in (0.15, 0.4):
        case.objective = type(case.objective)(mask_ratio=ratio)
        batch = case.batch(0, 400)
        predicted = len(batch.tensors["masked_labels"])
        if "bidirectional" in batch.tensors:  # rows of one length, whose first token cannot be predicted
            assert predicted == batch.tensors["bidirectional"].sum() * round(ratio * 47)
        else:
            # exactly round(ratio * length) a row: what is left is the rounding, at most a half and uniform over rows
            assert abs(predicted - ratio * batch.num_tokens) < 3 * np.sqrt(400 / 12) + 400 * 0.02
        shift = "bidirectional" in batch.tensors  # predicted at the position before
        seen = batch.tensors["input_ids"].flatten()[batch.tensors["masked_positions"] + shift]
        masked = (seen == case.vocabulary.mask).sum().item()
        assert abs(masked - 0.8 * predicted) < 3 * np.sqrt(predicted * 0.8 * 0.2)


def test_each_objective_has_figures_of_its_own(stores):
    prefixes = [set(kind().figures(defaultdict(lambda: 1.0))) for kind in OBJECTIVES.values()]
    for first, second in itertools.combinations(prefixes, 2):
        assert not first & second
