"""What ``speed_cpu.py`` asks of processes of their own: memory of a head, equal losses, accuracies.

Run by it: python benchmarks/speed_checks.py head|losses|accuracy JOB, which is JSON; the last line is what was found.
"""

import json
import random
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from batching_works import optimizers_of
from speed_work import Case
from transformers import AutoTokenizer, PreTrainedModel

from ptft.compute import Compute
from ptft.corpus.sources import CorpusSettings
from ptft.models.building import new_config, new_model
from ptft.models.prediction import Forward
from ptft.models.presets import PRESETS
from ptft.objectives import OBJECTIVES
from ptft.objectives.objective import Objective
from ptft.objectives.rows import Batch
from ptft.run import perform
from ptft.steps.compiled import How
from ptft.steps.pretraining_data import RowSettings, TrainingData, training_data
from ptft.tokenization import TokenizerSettings
from ptft.tokenization.training import train_on_documents
from ptft.training.loop import train
from ptft.training.ramp import BatchRamp
from ptft.training.work import Feed, PretrainingModule

_TRAINED, _TESTED, _EPOCHS, _LR = 6000, 2000, 2, 3e-4


def batches(
    objective: Objective, tokenizer: Any, corpus: CorpusSettings, work: Path, length: int, rows: int
) -> TrainingData:
    """What a pretraining reads."""
    how = How(objective.kind == "decoder", "space", 0, str(work / "stores"), needs_words=False)
    return training_data(corpus, tokenizer, how, RowSettings([objective], length, rows, 0, 0, BatchRamp()))


def stock_labels(batch: Batch) -> torch.Tensor:
    """Labels as a stock model for masked LM takes them: -100 where nothing is predicted."""
    labels = torch.full(batch.tensors["input_ids"].shape, -100)
    labels.view(-1)[batch.tensors["masked_positions"]] = batch.tensors["masked_labels"]
    return labels


# The head's memory


def head(job: Mapping[str, Any]) -> dict[str, float]:
    """GB that the vocabulary head takes forward and backward, given hidden states, beyond what there was before."""
    from speed_worker import _status

    objective = OBJECTIVES["masked_lm"]()
    tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
    data = batches(objective, tokenizer, CorpusSettings(path=job["text"]), Path(job["work"]), 128, 32)
    config = new_config(PRESETS["bert-mini"], tokenizer, positions=512, dropout=0.0, shape={})
    model, compute = new_model(config, "masked_lm", 0), Compute(job["precision"])
    batch = data.batches.batch(0, 0, 32)
    labels = stock_labels(batch).flatten()
    with torch.no_grad():
        forward = Forward(model, batch.tensors)
    forward.hidden = forward.hidden.detach().requires_grad_()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    with compute.autocast():
        if job["kind"] == "sparse":
            loss = objective.loss_sum(forward, batch.tensors)
        else:
            logits = model.cls(forward.hidden).flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    loss.backward()
    return {"gb": _status("VmHWM") - before, "loss": loss.item()}


# Equal losses


def losses(job: Mapping[str, Any]) -> dict[str, float]:
    """The largest difference between our loss and the stock model's, at any step of a training."""
    found = {}
    for name, objective, preset in (("masked_lm", "masked_lm", "bert-mini"), ("causal_lm", "causal_lm", "gpt2-mini")):
        found[f"dense_sparse_difference.{name}"] = _largest_difference(job, OBJECTIVES[objective](), preset)
    return found


def _largest_difference(job: Mapping[str, Any], objective: Objective, preset: str) -> float:
    corpus, is_decoder = CorpusSettings(path="embedded"), objective.kind == "decoder"
    from ptft.corpus.sources import documents

    settings = TokenizerSettings(
        kind="bpe" if is_decoder else "wordpiece", specials="decoder" if is_decoder else "encoder", vocab_size=500
    )
    tokenizer = train_on_documents(documents(corpus, "train", 0), settings, model_max_length=512, seed=0)
    data = batches(objective, tokenizer, corpus, Path(job["work"]), 64, 8)
    config = new_config(PRESETS[preset], tokenizer, positions=512, dropout=0.0, shape={})
    model = new_model(config, "causal_lm" if is_decoder else "masked_lm", 0)
    module, compute = PretrainingModule(model, [objective]).train(), Compute(job["precision"])
    feed = Feed(data.batches, [(0, 8)], torch.device("cpu"), 0, job["steps"])
    reports = train(
        module, module.weights, feed, optimizers_of("adamw", module, 1e-3), lambda step: 1.0, compute,
        start=0, seed=0, clip_norm=1.0,
    )  # fmt: skip
    largest = 0.0
    for step in range(job["steps"]):
        dense = _stock_loss(model, data.batches.batch(step, 0, 8), compute)  # before the step changes the weights
        report = next(reports)
        sparse = report.sums[objective.name].item() / report.counts[objective.name]
        largest = max(largest, abs(sparse - dense))
    return largest


def _stock_loss(model: PreTrainedModel, batch: Batch, compute: Compute) -> float:
    inputs = {name: batch.tensors[name] for name in ("input_ids", "attention_mask") if name in batch.tensors}
    with torch.no_grad(), compute.autocast():
        if "masked_labels" in batch.tensors:
            return float(model(**inputs, labels=stock_labels(batch)).loss)
        logits = model(**inputs).logits.flatten(0, 1).float()
        return float(torch.nn.functional.cross_entropy(logits, batch.tensors["next_labels"]))


# Accuracy


def accuracy(job: Mapping[str, Any]) -> dict[str, float]:
    """Test accuracy of a classifier from scratch: 6,000 texts, 2 epochs of 32 a step, at 3e-4 falling to nothing."""
    task = Path(job["work"]) / "task"
    if not task.exists():
        _write_task(Path(job["task"]), task)
    if job["side"] == "ours":
        out = Path(job["work"]) / f"accuracy-{job['seed']}"
        shutil.rmtree(out, ignore_errors=True)
        result = perform(
            "finetune", init="scratch", preset="bert-mini", tokenizer=job["tokenizer"], data=str(task), out=str(out),
            lr=_LR, budget=f"{_EPOCHS}epochs", seed=job["seed"], checkpoint_every_steps=0,
        )  # fmt: skip
        shutil.rmtree(out)
        return {"accuracy": result["test.accuracy"]}
    return {"accuracy": _trainers_accuracy(task, job["tokenizer"], job["seed"])}


def _write_task(source: Path, folder: Path) -> None:
    from ptft.tasks.table import read_task

    data, _ = read_task(str(source), valid="", test="", text="", text_a="", text_b="", label="label", seed=0)
    train = [*data.train]
    random.Random(0).shuffle(train)
    parts = {
        "train": train[:_TRAINED],
        "valid": data.valid[:_TESTED],
        "test": next(iter(data.tests.values()))[:_TESTED],
    }
    folder.mkdir(parents=True)
    for name, examples in parts.items():
        lines = [json.dumps({"text": example.text, "label": example.label}) for example in examples]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def _trainers_accuracy(task: Path, tokenizer_folder: str, seed: int) -> float:
    """Of the Trainer in fp32 with stock pooling; it pads batches to their longest text, which changes no loss."""
    from peers import config_of, task_rows
    from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    parts = {split: task_rows(task, split, tokenizer, 128, padding=False) for split in ("train", "test")}
    torch.manual_seed(seed)
    case = Case("accuracy", "classify", "bert-mini", len(tokenizer), 128)
    model = AutoModelForSequenceClassification.from_config(config_of(case, len(tokenizer), tokenizer))
    arguments = TrainingArguments(
        output_dir=str(task.parent / "trainer"), per_device_train_batch_size=32, num_train_epochs=_EPOCHS,
        learning_rate=_LR, use_cpu=True, save_strategy="no", disable_tqdm=True, seed=seed,
    )  # fmt: skip
    trainer = Trainer(model, arguments, data_collator=DataCollatorWithPadding(tokenizer), train_dataset=parts["train"])
    trainer.train()
    found = trainer.predict(parts["test"])
    return float((found.predictions.argmax(-1) == found.label_ids).mean())


if __name__ == "__main__":
    CHECKS = {"head": head, "losses": losses, "accuracy": accuracy}
    print(json.dumps(CHECKS[sys.argv[1]](json.loads(sys.argv[2]))))
