"""Texts that share rows give what they give in rows of their own, and none sees another."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from ptft.finetuning.classification import ClassificationModule
from ptft.finetuning.texts import EncodedTexts
from ptft.models.attention import BOTH_WAYS
from ptft.models.classifier import new_classifier, stock_poolings
from ptft.models.classifier_files import open_classifier
from ptft.models.packed_attention import is_packable
from ptft.models.plain_attention import PLAIN
from ptft.models.pooling import pool
from ptft.models.presets import PRESETS

LENGTH, WORDS, PAD = 24, 60, 1
WIDE = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
SHAPES = {
    "bert": WIDE,
    "roberta": {**WIDE, "type_vocab_size": 1},
    "distilbert": {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 24},
    "modernbert": {**WIDE, "local_attention": 8, "num_hidden_layers": 4},
    "openai-gpt": {"n_layer": 2, "n_embd": 16, "n_head": 2},
    "gpt2": {"n_layer": 2, "n_embd": 16, "n_head": 2},
    "llama": {**WIDE, "num_key_value_heads": 1},
    "mistral": {**WIDE, "num_key_value_heads": 1, "sliding_window": 9},
    "qwen2": {**WIDE, "num_key_value_heads": 1},
    "qwen3": {**WIDE, "num_key_value_heads": 1, "head_dim": 8},
}
KEPT_APART = [name for name in SHAPES if name != "openai-gpt"]
CASES = [(name, pooling, True) for name in ("bert", "roberta", "distilbert", "modernbert")
         for pooling in ("cls", "mean", "max", "last")]  # fmt: skip
CASES += [(name, pooling, False) for name in ("gpt2", "llama", "mistral", "qwen2", "qwen3")
          for pooling in ("mean", "last")]  # fmt: skip
CASES += [(name, pooling, True) for name in BOTH_WAYS for pooling in ("mean", "last")]


def make_config(name, **more):
    ids = {"pad_token_id": PAD, "bos_token_id": 2, "eos_token_id": PAD, "cls_token_id": 2, "sep_token_id": 3}
    config = AutoConfig.for_model(name, vocab_size=WORDS, max_position_embeddings=40, **SHAPES[name], **ids, **more)
    config.initializer_range = 0.3
    config.architectures = ["LlamaForCausalLM"] if name in ("gpt2", "llama", "mistral", "qwen2", "qwen3") else None
    return config


def make_classifier(name, pooling, both_ways=True, attention="sdpa"):
    classifier, _ = new_classifier(make_config(name), ["a", "b", "c"], pooling, 0, dropout=0.0, both_ways=both_ways)
    classifier.model.set_attn_implementation(attention)
    if classifier.head is not None:
        torch.nn.init.normal_(classifier.head.weight)
    return classifier.eval()


def make_texts(segments=False):
    draw = np.random.default_rng(0)
    ids = [[2, *draw.integers(5, WORDS, size).tolist(), 3] for size in (22, *draw.integers(1, 18, 12).tolist())]
    types = [[0] * (len(row) // 2) + [1] * (len(row) - len(row) // 2) for row in ids] if segments else None
    return EncodedTexts(ids, types, 0, pad=PAD, length=LENGTH)


LABELS = np.arange(13) % 3


def batches(texts, index=range(13)):
    return [texts.batch(np.array(index), LABELS, packed=packed) for packed in (False, True)]


@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
@pytest.mark.parametrize(("name", "pooling", "both_ways"), CASES)
def test_logits_and_gradients_are_those_of_texts_in_rows_of_their_own(name, pooling, both_ways, attention):
    found = []
    for batch in batches(make_texts(segments=True)):
        classifier = make_classifier(name, pooling, both_ways, attention)
        logits = classifier(batch.tensors)
        (ClassificationModule(classifier)(batch.tensors)["classify"] / batch.counts["classify"]).backward()
        gradients = {n: p.grad for n, p in classifier.named_parameters() if p.grad is not None}
        found.append((logits.detach(), gradients))
    (apart, apart_gradients), (packed, packed_gradients) = found
    assert apart.std(0).min() > 0.05, "the texts cannot be told apart"
    torch.testing.assert_close(packed, apart, atol=1e-5, rtol=1e-5)
    assert packed_gradients.keys() == apart_gradients.keys()
    for parameter, gradient in apart_gradients.items():
        torch.testing.assert_close(packed_gradients[parameter], gradient, atol=1e-5, rtol=1e-4, msg=parameter)


@pytest.mark.parametrize("name", KEPT_APART)
def test_no_text_sees_another(name):
    texts = make_texts()
    classifier = make_classifier(name, "mean")
    before = classifier(batches(texts)[1].tensors)
    texts.ids[3][1:-1] = [7] * (len(texts.ids[3]) - 2)
    after = classifier(batches(texts)[1].tensors)
    others = [number for number in range(13) if number != 3]
    assert not torch.allclose(before[3], after[3], atol=1e-3)
    torch.testing.assert_close(before[others], after[others], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", KEPT_APART)
@pytest.mark.parametrize("attention", ["sdpa", PLAIN])
def test_in_bf16_everything_is_a_number(name, attention):
    apart, packed = batches(make_texts())
    classifier = make_classifier(name, "mean", attention=attention)
    with torch.autocast("cpu", torch.bfloat16):
        expected, logits = classifier(apart.tensors), classifier(packed.tensors)
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in classifier.parameters() if p.grad is not None)
    torch.testing.assert_close(logits.float(), expected.float(), atol=0.1, rtol=0.1)


def test_packed_batches_have_the_same_texts_and_hash_and_less_padding():
    apart, packed = batches(make_texts(segments=True))
    assert (packed.hash, packed.counts, packed.num_tokens) == (apart.hash, apart.counts, apart.num_tokens)
    assert packed.num_slots == packed.tensors["input_ids"].numel() < apart.num_slots
    assert "attention_mask" not in packed.tensors and "position_ids" not in apart.tensors
    lengths = apart.tensors["attention_mask"].sum(1)
    assert packed.tensors["lengths"].tolist() == lengths.tolist()
    assert (packed.tensors["parts"] == 13).sum() == packed.num_slots - packed.num_tokens
    for number, length in enumerate(lengths.tolist()):
        there = packed.tensors["parts"] == number
        for name in ("input_ids", "token_type_ids"):
            assert packed.tensors[name][there].tolist() == apart.tensors[name][number, :length].tolist()
        assert packed.tensors["position_ids"][there].tolist() == list(range(length))


def test_one_text_is_a_row():
    _, packed = batches(make_texts(), [0])
    classifier = make_classifier("bert", "mean")
    torch.testing.assert_close(classifier(packed.tensors), classifier(batches(make_texts(), [0])[0].tensors))


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_those_of_the_stock_class(name):
    """Texts that end with padding's own id too: decoders take their last other token.

    Token types that a tokenizer gives and the model has not are left out.
    """
    texts = make_texts(segments=name != "bert")
    texts.ids[2][-1] = texts.ids[4][-2] = PAD
    texts.ids[5][:] = [PAD] * 4
    for pooling in stock_poolings(make_config(name)):
        classifier = make_classifier(name, pooling, both_ways=name not in ("openai-gpt", "mistral"))
        apart, packed = batches(texts)
        assert classifier.head is None
        stock = classifier.model(**{n: apart.tensors[n] for n in ("input_ids", "attention_mask")}).logits
        torch.testing.assert_close(classifier(apart.tensors), stock)
        if name not in ("openai-gpt", "roberta"):  # the latter counts positions without such tokens
            torch.testing.assert_close(classifier(packed.tensors), stock, atol=1e-5, rtol=1e-5)


def test_any_stock_classifier_is_called_as_it_is(tmp_path):
    config = AutoConfig.for_model("electra", vocab_size=WORDS, embedding_size=16, num_labels=3, **WIDE)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    apart, _ = batches(make_texts())
    stock = model(**{n: apart.tensors[n] for n in ("input_ids", "attention_mask")}).logits
    torch.testing.assert_close(open_classifier(tmp_path).eval()(apart.tensors), stock)


@pytest.mark.parametrize("preset", sorted({preset.model_type: preset for preset in PRESETS.values()}.items()))
def test_every_architecture_with_a_preset_but_gpt1_reads_packed_rows(preset):
    assert is_packable(AutoConfig.for_model(preset[0])) == (preset[0] != "openai-gpt")


def pooled_by_text(hidden, texts, pooling):
    for number in range(13):
        own = hidden[texts == number]
        yield {"cls": own[0], "last": own[-1], "mean": own.mean(0), "max": own.amax(0)}[pooling]


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_pooling(pooling):
    tensors = batches(make_texts())[1].tensors
    torch.manual_seed(0)
    hidden = torch.randn(*tensors["parts"].shape, 8)
    hidden[tensors["parts"] == 13] = 1e4
    pooled = pool(hidden, tensors["parts"], tensors["lengths"], pooling)
    torch.testing.assert_close(pooled, torch.stack(list(pooled_by_text(hidden, tensors["parts"], pooling))))
    assert torch.equal(pooled, pool(hidden, tensors["parts"], tensors["lengths"], pooling))
