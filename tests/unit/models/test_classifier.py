"""Classifiers of architectures with and without a preset: their heads, dropout and lengths beside the stock classes."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from ptft.finetuning.texts import EncodedTexts
from ptft.models.building import max_positions
from ptft.models.classifier import attends_both_ways, is_decoder_config, new_classifier, stock_kind
from ptft.models.classifier_files import open_classifier
from ptft.models.packed_attention import is_packable
from ptft.tasks.problems.classification import Classification
from ptft.tasks.problems.token_classification import TokenClassification

IDS = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "max_position_embeddings": 32}
WIDE = {**IDS, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SHAPES = {
    "bert": WIDE,
    "electra": {**WIDE, "embedding_size": 8},
    "distilbert": {**IDS, "n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 32},
    "eurobert": WIDE,
    "modernbert": {**WIDE, "cls_token_id": 1, "sep_token_id": 1},
    "xlnet": {"vocab_size": 50, "pad_token_id": 0, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
    "gpt2": {**IDS, "n_layer": 2, "n_embd": 16, "n_head": 2},
    "llama": {**WIDE, "num_key_value_heads": 1},
    "opt": {**WIDE, "ffn_dim": 32, "word_embed_proj_dim": 8},
    "gemma2": {**WIDE, "num_key_value_heads": 1, "head_dim": 8},
    "gpt_neo": {
        **IDS,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
    },
    "phi": WIDE,
    "bloom": {**IDS, "hidden_size": 16, "n_layer": 2, "n_head": 2},
}
OTHER_DECODERS = ["gemma2", "gpt_neo", "phi", "bloom"]  # whose stock head is not known here
TEXTS = EncodedTexts(
    [[5, 6, 7], [8, 9, 10, 11]], None, 0, 0, 16, words=[np.array([[0, 0], [1, 2]]), np.array([[1, 2], [3, 3]])]
)


def config_of(name, **more):
    return AutoConfig.for_model(name, **{**SHAPES[name], **more})


def classifier_of(name, pooling="mean", problem=None, **settings):
    config = settings.pop("config", None) or config_of(name)
    both_ways = not is_decoder_config(config)
    made, _ = new_classifier(
        config, ["a", "b"], pooling, 0, both_ways=both_ways, problem=problem or Classification(), **settings
    )
    return made.eval()


def batch():
    return TEXTS.batch(np.arange(2)).tensors


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("name", "pooling"),
    [(name, pooling) for name in ("bert", "distilbert", "modernbert", "electra") for pooling in ("cls", "mean")]
    + [(name, pooling) for name in ("gpt2", "llama", "opt", "bloom") for pooling in ("last", "mean")],
)
def test_dropout_is_that_of_every_layer(name, pooling, dropout):
    classifier = classifier_of(name, pooling, dropout=dropout)
    assert {module.p for module in classifier.modules() if isinstance(module, torch.nn.Dropout)} == {dropout}
    values = classifier.model.config.to_dict()
    rates = {key: value for key, value in values.items() if "drop" in key and isinstance(value, float)}
    assert set(rates.values()) <= {dropout} | {values.get("layerdrop")}, rates


@pytest.mark.parametrize("name", SHAPES)
def test_an_architecture_is_a_decoder_or_not_whatever_was_saved_of_it(name, tmp_path):
    is_decoder = name in (*OTHER_DECODERS, "gpt2", "llama", "opt", "xlnet")
    config = config_of(name)
    assert is_decoder_config(config) == is_decoder
    for auto in (AutoModel, AutoModelForSequenceClassification):
        auto.from_config(config).save_pretrained(tmp_path)
        again = AutoConfig.from_pretrained(tmp_path)
        assert (is_decoder_config(again), attends_both_ways(again)) == (is_decoder, not is_decoder)


@pytest.mark.parametrize("name", OTHER_DECODERS)
def test_a_decoder_whose_stock_head_is_not_known_gets_one_of_ours(name):
    classifier = classifier_of(name, "last")
    assert classifier.head is not None
    with torch.no_grad():
        logits = classifier(batch())
        assert torch.equal(classifier.decide(classifier.features(batch())), logits)
    assert logits.shape == (2, 2)


@pytest.mark.parametrize("name", ["bert", "distilbert", "modernbert", "eurobert", "xlnet", "gpt2", "llama"])
def test_tags_are_those_of_the_stock_class(name):
    """At a word's first token; of a decoder, which has seen all of the word only there, at its last one."""
    classifier = classifier_of(name, problem=TokenClassification())
    given = batch()
    first, last = torch.tensor([[0, 1], [1, 3]]), torch.tensor([[0, 2], [2, 3]])
    rows = torch.arange(2)[:, None] * given["input_ids"].shape[1]
    told_by = (rows + (last if name in ("xlnet", "gpt2", "llama") else first)).flatten()
    with torch.no_grad():
        stock = classifier.model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
        torch.testing.assert_close(classifier(given), stock.flatten(0, 1)[told_by])
        if is_packable(classifier.model.config):
            packed = TEXTS.batch(np.arange(2), packed=True).tensors
            torch.testing.assert_close(classifier(packed), classifier(given), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean", "concat"])
@pytest.mark.parametrize("name", ["opt", "electra"])
def test_a_head_is_as_wide_as_the_last_states(name, pooling):
    assert classifier_of(name, pooling)(batch()).shape == (2, 2)


def test_a_stock_electra_is_taken_apart_with_the_same_result(tmp_path):
    model = AutoModelForSequenceClassification.from_config(config_of("electra")).eval()
    torch.nn.init.normal_(model.classifier.out_proj.weight)
    model.save_pretrained(tmp_path)
    classifier = open_classifier(tmp_path).eval()
    assert stock_kind(model.config, classifier.pooling, classifier.problem) == "classification"
    given = batch()
    with torch.no_grad():
        expected = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
        torch.testing.assert_close(classifier.decide(classifier.features(given)), expected)


@pytest.mark.parametrize(
    "name",
    ["roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "mpnet", "xmod", "data2vec-text", "roberta-prelayernorm"],
)
def test_the_longest_input_fits(name):
    more = {"default_language": "en_XX"} if name == "xmod" else {}
    config = AutoConfig.for_model(name, **{**WIDE, "pad_token_id": 1}, **more)
    model = AutoModel.from_config(config).eval()
    longest = max_positions(config)
    assert longest == 32 - 2
    with torch.no_grad():
        assert model(torch.full((1, longest), 5)).last_hidden_state.shape == (1, longest, 16)
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, longest + 1), 5))
