import pytest
import torch
from transformers import BertConfig

from ptft.models.classifier import new_classifier


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_is_that_of_every_layer(dropout):
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    classifier, _ = new_classifier(config, ["a", "b"], "mean", 0, dropout=dropout, both_ways=True)
    assert {module.p for module in classifier.modules() if isinstance(module, torch.nn.Dropout)} == {dropout}
    kept = classifier.model.config
    assert {kept.hidden_dropout_prob, kept.attention_probs_dropout_prob} == {dropout}
