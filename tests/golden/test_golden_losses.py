"""The losses of 20 steps of each objective on the embedded corpus.

A change that should not alter numbers leaves them alone. For one that should, run
``python tests/golden/test_golden_losses.py`` and explain the new numbers in the commit.
"""

import itertools
import json
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers import BertConfig, GPT2Config

from ptft.compute import Compute
from ptft.corpus.embedded import documents
from ptft.corpus.store import Encoded, compile_store
from ptft.models.building import new_model
from ptft.objectives import OBJECTIVES
from ptft.objectives.rows import Vocabulary
from ptft.optim.optimizer import Optimizers, parameter_groups
from ptft.optim.optimizers.adamw import AdamW
from ptft.tokenization import TokenizerSettings, train_tokenizer
from ptft.training.loop import train
from ptft.training.work import Feed, PretrainingBatches, PretrainingModule

FILE = Path(__file__).with_name("losses.json")
CASES = {
    "masked_lm": ["masked_lm"],
    "masked_lm+next_sentence": ["masked_lm", "next_sentence"],
    "causal_lm": ["causal_lm"],
}
STEPS, ROWS = 20, 8


def model_for(objectives, vocabulary):
    shape = {"vocab_size": vocabulary.size, "pad_token_id": vocabulary.pad}
    if objectives[0].kind == "decoder":
        ids = {"bos_token_id": vocabulary.eos, "eos_token_id": vocabulary.eos}
        return new_model(GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=32, **shape, **ids), "causal_lm", 0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(max_position_embeddings=32, **sizes, **shape)
    return new_model(config, "pretraining" if len(objectives) > 1 else "masked_lm", 0)


def twenty_steps(case, folder):
    """The checksum of the tokens, and the mean loss of each objective at each step, dropout 0.1 included."""
    objectives = [OBJECTIVES[name]() for name in CASES[case]]
    texts = list(itertools.islice(documents("prose", "train", seed=0), 200))
    is_decoder = objectives[0].kind == "decoder"
    settings = TokenizerSettings(kind="bpe" if is_decoder else "wordpiece", vocab_size=400)
    tokenizer = train_tokenizer([line for text in texts for line in text], settings, model_max_length=32)
    vocabulary = Vocabulary.of(tokenizer)

    def encode(lines):
        encodings = tokenizer.backend_tokenizer.encode_batch(lines, add_special_tokens=False)
        return Encoded([encoding.ids for encoding in encodings])

    end = vocabulary.eos if is_decoder else None
    store = compile_store(texts, encode, folder, "golden", vocab_size=vocabulary.size, end_token=end)
    sampler = next((o for o in objectives if o.makes_pairs), objectives[0]).sampler(store, vocabulary, 32, ROWS, 0)
    source = PretrainingBatches(sampler, objectives, vocabulary, ROWS)
    compute = Compute("fp32")
    module = PretrainingModule(model_for(objectives, vocabulary), objectives).to(compute.device)
    optimizer = AdamW()
    groups = parameter_groups(module.named_parameters(), 2e-3, optimizer.weight_decay)
    optimizers = Optimizers(optimizer.build(groups, module))
    feed = Feed(source, source.shares(ROWS // 2, 1, 0), compute.device, 0, STEPS)
    module.train()
    found = {name: [] for name in CASES[case]}
    steps = train(
        module, module.weights, feed, optimizers, lambda step: 1 - step / STEPS, compute, start=0, seed=0, clip_norm=1.0
    )
    for report in steps:
        for name, part in report.sums.items():
            found[name].append(round(float(part) / report.counts[name], 6))
    return store.info.checksums["tokens"], found


def this_platform():
    """Where the numbers come from."""
    cpu = platform.processor() or platform.machine()
    return {"system": platform.system(), "machine": cpu, "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
            "numpy": np.__version__}  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="the golden losses are those of a CPU")
@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_golden_ones(case, tmp_path):
    golden = json.loads(FILE.read_text())
    tokens, found = twenty_steps(case, tmp_path)
    assert tokens == golden["tokens"][case], "the embedded corpus or the tokenizers' training changed"
    assert found.keys() == golden["losses"][case].keys()
    for name, values in found.items():
        assert len(values) == STEPS
        np.testing.assert_allclose(
            values, golden["losses"][case][name], rtol=1e-4, err_msg=f"{name}; golden on {golden['platform']}"
        )


def test_golden_losses_fall():
    for case in json.loads(FILE.read_text())["losses"].values():
        for name, values in case.items():
            assert name == "next_sentence" or np.mean(values[-5:]) < np.mean(values[:5])


if __name__ == "__main__":
    import tempfile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        made = {case: twenty_steps(case, Path(scratch) / case) for case in CASES}
    tokens, losses = ({case: results[which] for case, results in made.items()} for which in (0, 1))
    FILE.write_text(json.dumps({"platform": this_platform(), "tokens": tokens, "losses": losses}, indent=1) + "\n")
    sys.stdout.write(f"{FILE} is written\n")
