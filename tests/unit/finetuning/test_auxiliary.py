"""The language model's loss beside the task's, against one text after the other by the stock classes."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BertConfig, GPT2Config

from ptft.errors import CheckpointError, RecipeError
from ptft.finetuning.auxiliary import AuxiliaryBatches, AuxiliaryModule
from ptft.finetuning.texts import EncodedTexts, LabelledBatches
from ptft.models.classifier import new_classifier
from ptft.objectives.rows import Vocabulary
from ptft.tasks.problems.multiple_choice import MultipleChoice

SIZE, PAD, MASK = 60, 0, 4
CONFIGS = {
    "gpt2": GPT2Config(vocab_size=SIZE, n_layer=2, n_embd=16, n_head=2, n_positions=32, pad_token_id=PAD,
                       bos_token_id=PAD, eos_token_id=PAD, architectures=["GPT2LMHeadModel"], initializer_range=0.3),
    "bert": BertConfig(vocab_size=SIZE, num_hidden_layers=2, hidden_size=16, num_attention_heads=2,
                       intermediate_size=32, max_position_embeddings=32, pad_token_id=PAD, initializer_range=0.3),
}  # fmt: skip
LENGTHS = (3, 20, 9, 1, 12)


@pytest.fixture
def vocabulary():
    special = np.zeros(SIZE, bool)
    special[:5] = True
    return Vocabulary(size=SIZE, pad=PAD, unknown=1, cls=2, sep=3, mask=MASK, eos=-1, special=special)


@pytest.fixture
def texts():
    draw = np.random.default_rng(0)
    ids = [[2, *draw.integers(5, SIZE, length - 1).tolist()] for length in LENGTHS]
    return EncodedTexts(ids, None, 0, PAD, 32)


def made(kind, texts, vocabulary, *, packed):
    config = type(CONFIGS[kind]).from_dict(CONFIGS[kind].to_dict())
    auto = AutoModelForCausalLM if kind == "gpt2" else AutoModelForMaskedLM
    classifier, _ = new_classifier(config, ("a", "b"), "mean", 0, both_ways=kind == "bert")
    module = AuxiliaryModule(classifier, auto.from_config(config), 0.5).eval()
    labels = np.arange(len(LENGTHS)) % 2
    batches = LabelledBatches(texts, labels, len(LENGTHS), seed=3, packed=packed)
    return module, AuxiliaryBatches(batches, vocabulary, 3, is_decoder=kind == "gpt2"), batches


@pytest.mark.parametrize("packed", [False, True])
def test_next_tokens_are_predicted_inside_of_each_text(texts, vocabulary, packed):
    module, source, batches = made("gpt2", texts, vocabulary, packed=packed)
    batch = source.batch(0, 0, len(LENGTHS))
    expected = 0.0
    for i in batches.index(0, 0, len(LENGTHS)):
        ids = torch.tensor([texts.ids[i]])
        if ids.shape[1] > 1:
            expected += module.lm(input_ids=ids, labels=ids).loss.item()  # the mean over the text
    assert batch.counts == {"classify": 5, "lm": 4}
    with torch.no_grad():
        sums = module(batch.tensors)
    assert sums["lm"].item() == pytest.approx(expected, rel=1e-6)
    plain = module.classifier(batches.batch(0, 0, len(LENGTHS)).tensors)
    torch.testing.assert_close(sums["classify"], module.loss_sum(plain, batch.tensors), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("packed", [False, True])
def test_masked_tokens_are_predicted_and_the_task_sees_none_of_it(texts, vocabulary, packed):
    module, source, batches = made("bert", texts, vocabulary, packed=packed)
    plain = batches.batch(0, 0, len(LENGTHS))
    batch = source.batch(0, 0, len(LENGTHS))
    assert torch.equal(batch.tensors["input_ids"], plain.tensors["input_ids"])
    flat, hidden = plain.tensors["input_ids"].flatten(), batch.tensors["lm_input_ids"].flatten()
    where = batch.tensors["lm_positions"]
    assert torch.equal(batch.tensors["lm_labels"], flat[where])
    changed = (flat != hidden).nonzero().squeeze(1)
    assert len(changed) and set(changed.tolist()) <= set(where.tolist())
    # Rows of one text give the same as those that texts share, and one text after the other as all at once.
    alone = [source.batch(0, row, row + 1) for row in range(len(LENGTHS))]
    with torch.no_grad():
        together, parts = module(batch.tensors), [module(each.tensors) for each in alone]
        expected = 0.0
        for each in alone:
            if each.counts["lm"]:
                ids = each.tensors["lm_input_ids"]
                labels = torch.full_like(ids, -100).flatten()
                labels[each.tensors["lm_positions"]] = each.tensors["lm_labels"]
                mask = each.tensors.get("attention_mask", (each.tensors.get("parts", ids) == 0).long())
                mask = mask if "attention_mask" in each.tensors else (each.tensors["parts"] == 0).long()
                expected += module.lm(input_ids=ids, attention_mask=mask, labels=labels.reshape(ids.shape)).loss.item()
    assert together["lm"].item() == pytest.approx(sum(part["lm"].item() for part in parts), rel=1e-5)
    assert together["lm"].item() == pytest.approx(expected, rel=1e-5)
    assert batch.counts["lm"] == sum(each.counts["lm"] for each in alone)


def test_masks_are_others_in_each_step_and_the_same_again(texts, vocabulary):
    """Text by text: the order of another epoch alone would make batches differ."""
    _, source, batches = made("bert", texts, vocabulary, packed=False)

    def masked(step):
        rows = source.batch(step, 0, 5).tensors["lm_input_ids"]
        return rows[np.argsort(batches.index(step, 0, 5))]

    assert torch.equal(masked(0), masked(0))
    assert masked(0).shape == masked(1).shape
    assert not torch.equal(masked(0), masked(1))


@pytest.mark.parametrize("packed", [False, True])
def test_choices_are_masked_where_their_own_texts_are(vocabulary, packed):
    """Six texts of equal length are three examples."""
    ids = [[2, *np.random.default_rng(number).integers(5, SIZE, 9).tolist()] for number in range(6)]
    texts = EncodedTexts(ids, None, 0, PAD, 32, bounds=np.array([0, 2, 4, 6]))
    targets = np.array([[0, 2], [1, 2], [0, 2]])
    batches = LabelledBatches(texts, targets, 3, seed=0, problem=MultipleChoice(), packed=packed)
    batch = AuxiliaryBatches(batches, vocabulary, 3, is_decoder=False).batch(0, 0, 3)
    plain, hidden = batch.tensors["input_ids"].flatten(), batch.tensors["lm_input_ids"].flatten()
    where = batch.tensors["lm_positions"]
    assert torch.equal(batch.tensors["lm_labels"], plain[where])
    assert set((plain != hidden).nonzero().squeeze(1).tolist()) <= set(where.tolist())
    assert batch.counts == {"classify": 3, "lm": 6}


def test_the_bodies_are_one(texts, vocabulary):
    module, source, _ = made("bert", texts, vocabulary, packed=True)
    batch = source.batch(0, 0, 5)
    module(batch.tensors)["lm"].backward()
    table = module.classifier.model.get_input_embeddings().weight
    assert table.grad is not None and table.grad.abs().sum() > 0
    assert module.lm.get_output_embeddings().weight is table
    assert module.classifier.head.weight.grad is None


def test_without_a_language_model_there_is_a_sentence(step, bert_run, hybrid_run, table, tmp_path):
    settings = {"data": str(table), "budget": "2steps", "policy": "auxiliary_lm", "length": 32}
    with pytest.raises(RecipeError, match="auxiliary_lm goes on with a language model, and init=scratch has none"):
        step("finetune", **settings, model=str(bert_run), init="scratch", out=str(tmp_path / "a"))
    with pytest.raises(RecipeError, match="which attention both ways would show it; give attention=causal"):
        step("finetune", **settings, model=str(hybrid_run), out=str(tmp_path / "b"))
    step("finetune", **(settings | {"policy": "full"}), model=str(bert_run), out=str(tmp_path / "classifier"))
    with pytest.raises(CheckpointError, match="lacks weights of the masked_lm head"):
        step("finetune", **settings, model=str(tmp_path / "classifier"), out=str(tmp_path / "c"))
