import numpy as np
import pytest
import torch
import transformers

from ptft.errors import CheckpointError, DataError
from ptft.models.prediction import Forward, has_sparse_head, summed_cross_entropy
from ptft.objectives.masked_lm import MaskedLM
from ptft.objectives.next_sentence import NextSentence
from ptft.objectives.pairs import PairSampler, document_pairs

SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": 0,
    "max_position_embeddings": 80, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "vocab_size": 1000,
}  # fmt: skip
SPARSE = {
    "BertForMaskedLM": (transformers.BertConfig, SHAPE),
    "BertForPreTraining": (transformers.BertConfig, SHAPE),
    "RobertaForMaskedLM": (
        transformers.RobertaConfig,
        SHAPE | {"type_vocab_size": 1, "bos_token_id": 2, "eos_token_id": 3},
    ),
    "ModernBertForMaskedLM": (
        transformers.ModernBertConfig,
        {name: value for name, value in SHAPE.items() if "dropout" not in name}
        | {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    ),
    "DistilBertForMaskedLM": (
        transformers.DistilBertConfig,
        {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "dropout": 0.0, "attention_dropout": 0.0}
        | {"max_position_embeddings": 80, "vocab_size": 1000, "pad_token_id": 0},
    ),
}
DENSE = {
    "ElectraForMaskedLM": (transformers.ElectraConfig, SHAPE | {"embedding_size": 16}),
    "AlbertForMaskedLM": (
        transformers.AlbertConfig,
        SHAPE | {"embedding_size": 8, "bos_token_id": 2, "eos_token_id": 3},
    ),
}


def build(name):
    torch.manual_seed(0)
    config, shape = {**SPARSE, **DENSE}[name]
    return getattr(transformers, name)(config(**shape))


@pytest.fixture(scope="module")
def store(store_of):
    draws = np.random.default_rng(0)
    return store_of([[draws.integers(5, 1000, draws.integers(3, 15)).tolist() for _ in range(6)] for _ in range(30)])


@pytest.fixture(scope="module")
def pair_rows(store, vocabulary):
    return PairSampler(document_pairs, store, vocabulary, 64, 8, 0, 0.5).rows


@pytest.fixture
def batch(pair_rows, vocabulary):
    rows = pair_rows(0, 0, 0, 8)
    NextSentence().add_targets(rows, vocabulary)
    MaskedLM().add_targets(rows, vocabulary)
    return rows.batch()


def dense_labels(tensors):
    labels = torch.full_like(tensors["input_ids"], -100).flatten()
    labels[tensors["masked_positions"]] = tensors["masked_labels"]
    return labels.view_as(tensors["input_ids"])


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("name", [*SPARSE, *DENSE])
def test_loss_and_gradients_are_the_stock_models(batch, name):
    model = build(name)
    tensors, counts = batch.tensors, batch.counts
    assert (tensors["attention_mask"] == 0).any(), "the batch has no padding"
    inputs = {key: tensors[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    if name.startswith(("Roberta", "Modern", "Distil")):
        del inputs["token_type_ids"]
    labels = {"labels": dense_labels(tensors)}
    forward = Forward(model, tensors)
    loss = MaskedLM().loss_sum(forward, tensors) / counts["masked_lm"]
    if name == "BertForPreTraining":
        loss = loss + NextSentence().loss_sum(forward, tensors) / counts["next_sentence"]
        labels["next_sentence_label"] = tensors["pair_labels"]
    stock = model(**inputs, **labels).loss
    torch.testing.assert_close(loss, stock, rtol=0, atol=1e-5)
    ours, theirs = gradients(model, loss), gradients(model, stock)
    assert set(ours) == set(theirs)
    for parameter, gradient in theirs.items():
        torch.testing.assert_close(ours[parameter], gradient, rtol=1e-4, atol=1e-6, msg=f"{name}: {parameter}")


@pytest.mark.parametrize("name", SPARSE)
def test_logits_are_made_where_a_token_is_predicted_only(batch, name):
    model = build(name)
    assert has_sparse_head(model)
    rows_seen = []
    model.get_output_embeddings().register_forward_hook(lambda _, inputs, __: rows_seen.append(inputs[0].shape))
    MaskedLM().loss_sum(Forward(model, batch.tensors), batch.tensors)
    assert rows_seen == [(batch.counts["masked_lm"], 16)]


@pytest.mark.parametrize("name", DENSE)
def test_unknown_architectures_take_the_dense_way(name):
    assert not has_sparse_head(build(name))


def test_targets_are_flat_positions_in_the_batch(pair_rows, vocabulary):
    rows = pair_rows(0, 0, 0, 8)
    before = rows.ids.copy()
    MaskedLM(mask_ratio=0.3, max_predictions=5).add_targets(rows, vocabulary)
    positions = rows.targets["masked_positions"]
    assert np.array_equal(rows.targets["masked_labels"], before.ravel()[positions])
    assert rows.counts == {"masked_lm": len(positions)}
    assert np.bincount(positions // before.shape[1]).max() == 5
    changed = np.flatnonzero(rows.ids != before)
    assert len(changed) > 0 and set(changed) <= set(positions.tolist())


def test_a_batch_has_no_mask_without_padding_and_no_types_without_pairs(pair_rows, store, vocabulary):
    row = pair_rows(0, 0, 0, 64)
    index = int(np.argmax(row.lengths == row.ids.shape[1]))
    full = pair_rows(0, 0, index, index + 1)
    assert full.lengths[0] == full.ids.shape[1]
    assert set(full.batch().tensors) == {"input_ids", "token_type_ids"}
    single = MaskedLM().sampler(store, vocabulary, 64, 8, 0).rows(0, 0, 0, 8)
    assert set(single.batch().tensors) == {"input_ids", "attention_mask"}
    assert single.batch().num_tokens == single.lengths.sum() < single.batch().num_slots


@pytest.mark.parametrize("name", ["BertForMaskedLM", "RobertaForMaskedLM", "ElectraForMaskedLM"])
def test_next_sentence_without_a_head_for_it_is_refused(batch, name):
    model = build(name)
    with pytest.raises(CheckpointError, match=f"which {name} lacks"):
        NextSentence().loss_sum(Forward(model, batch.tensors), batch.tensors)


def test_next_sentence_with_another_architectures_pretraining_head_is_refused(batch):
    torch.manual_seed(0)
    config, shape = DENSE["AlbertForMaskedLM"]
    model = transformers.AlbertForPreTraining(config(**shape))
    forward = Forward(model, batch.tensors)
    assert torch.isfinite(MaskedLM().loss_sum(forward, batch.tensors))
    with pytest.raises(CheckpointError, match="which AlbertForPreTraining lacks"):
        NextSentence().loss_sum(forward, batch.tensors)


def test_next_sentence_needs_pairs(store, vocabulary):
    rows = MaskedLM().sampler(store, vocabulary, 64, 8, 0).rows(0, 0, 0, 8)
    with pytest.raises(RuntimeError, match="no pairs"):
        NextSentence().add_targets(rows, vocabulary)


def test_summed_cross_entropy_leaves_out_ignored_labels_and_sums_in_fp32():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, -100, 3, -100, 6])
    kept = labels >= 0
    expected = -logits.log_softmax(-1)[kept].gather(1, labels[kept, None]).sum()
    torch.testing.assert_close(summed_cross_entropy(logits, labels), expected)
    assert summed_cross_entropy(logits.bfloat16(), labels).dtype == torch.float32


def test_masked_figures_follow_from_the_sums():
    figures = MaskedLM().figures({"loss": 20.0, "correct": 4.0, "frequent": 1.0, "count": 10.0})
    assert figures == pytest.approx(
        {"mlm.loss": 2.0, "mlm.perplexity": np.exp(2.0), "mlm.accuracy": 0.4, "mlm.baseline": 0.1}
    )


@pytest.mark.parametrize(("second_kind", "baseline"), [(3.0, 0.7), (6.0, 0.6)])
def test_next_sentence_figures_follow_from_the_sums(second_kind, baseline):
    figures = NextSentence().figures({"loss": 5.0, "correct": 8.0, "second_kind": second_kind, "count": 10.0})
    assert figures == pytest.approx({"nsp.loss": 0.5, "nsp.accuracy": 0.8, "nsp.baseline": baseline})


def test_evaluation_counts_right_predictions(batch):
    model = build("BertForPreTraining").eval()
    tensors = batch.tensors
    inputs = {key: tensors[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    output = model(**inputs)
    forward = Forward(model, tensors)
    token_logits = output.prediction_logits.flatten(0, 1)[tensors["masked_positions"]]
    masked = MaskedLM().evaluate(forward, tensors, frequent_token=int(tensors["masked_labels"][0]))
    assert masked["correct"] == (token_logits.argmax(-1) == tensors["masked_labels"]).sum().item()
    assert masked["frequent"] >= 1
    pairs = NextSentence().evaluate(forward, tensors, frequent_token=0)
    assert pairs["correct"] == (output.seq_relationship_logits.argmax(-1) == tensors["pair_labels"]).sum().item()
    assert pairs["second_kind"] == tensors["pair_labels"].sum().item()


@pytest.mark.parametrize(("documents", "message"), [
    ([[[5, 6], [7]]], "next_sentence needs at least 2 documents"),
    ([[[5, 6]], [[7]], [[8, 9]]], "next_sentence needs documents of several sentences"),
])  # fmt: skip
def test_next_sentence_refuses_corpora_that_cannot_give_pairs(store_of, vocabulary, documents, message):
    with pytest.raises(DataError, match=f"^{message}.*train with objective=masked_lm$"):
        NextSentence().sampler(store_of(documents), vocabulary, 64, 8, 0)
