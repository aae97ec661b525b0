"""What ``speed_cpu.py`` asks of processes of their own: memory of a head, equal losses, isolation, accuracies.

Run by it: python benchmarks/speed_checks.py NAME JOB, which is JSON; the last line is what was found.
"""

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from batching_works import optimizers_of
from speed_work import Case
from transformers import AutoTokenizer, PreTrainedModel

from ptft.compute import Compute
from ptft.corpus.sources import CorpusSettings
from ptft.models.activation import fuse_activations
from ptft.models.attention import choose_attention
from ptft.models.building import new_config, new_model
from ptft.models.compiling import compile_body, eagerly
from ptft.models.packed_attention import choose_packed_attention
from ptft.models.prediction import Forward
from ptft.models.presets import PRESETS
from ptft.objectives import OBJECTIVES
from ptft.objectives.objective import Objective
from ptft.objectives.packed_plan import Packing
from ptft.objectives.rows import Batch, Rows, Sampler, Size
from ptft.run import perform
from ptft.steps.compiled import How
from ptft.steps.pretraining_data import RowSettings, TrainingData, training_data
from ptft.tokenization import TokenizerSettings
from ptft.tokenization.training import train_on_documents
from ptft.training.logbook import read_log
from ptft.training.loop import StepReport, train
from ptft.training.ramp import BatchRamp
from ptft.training.work import Feed, PretrainingBatches, PretrainingModule

_TRAINED, _TESTED, _EPOCHS, _LR = 6000, 2000, 2, 3e-4
_ROWS, _LENGTH = 8, 64


def batches(
    objectives: Sequence[Objective],
    tokenizer: Any,
    corpus: CorpusSettings,
    work: Path,
    length: int,
    rows: int,
    packing: Packing | None = None,
) -> TrainingData:
    """What a pretraining reads."""
    how = How(objectives[0].kind == "decoder", "space", 0, str(work / "stores"), needs_words=False)
    return training_data(corpus, tokenizer, how, RowSettings(objectives, length, rows, 0, 0, BatchRamp(), packing))


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
    data = batches([objective], tokenizer, CorpusSettings(path=job["text"]), Path(job["work"]), 128, 32)
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


class Work(NamedTuple):
    """A small training without dropout on the embedded corpus, eight rows a step."""

    model: PreTrainedModel
    module: PretrainingModule
    batches: PretrainingBatches
    compute: Compute

    def reports(self, num_steps: int) -> Iterator[StepReport]:
        """Its steps."""
        feed = Feed(self.batches, [(0, _ROWS)], torch.device("cpu"), 0, num_steps)
        return train(
            self.module, self.module.weights, feed, optimizers_of("adamw", self.module, 1e-3), lambda step: 1.0,
            self.compute, start=0, seed=0, clip_norm=1.0,
        )  # fmt: skip


def work_of(job: Mapping[str, Any], names: Sequence[str], preset: str, packing: Packing | None = None) -> Work:
    """Of objectives and a shape."""
    from ptft.corpus.sources import documents

    objectives = [OBJECTIVES[name]() for name in names]
    corpus, is_decoder = CorpusSettings(path="embedded"), objectives[0].kind == "decoder"
    settings = TokenizerSettings(
        kind="bpe" if is_decoder else "wordpiece", specials="decoder" if is_decoder else "encoder", vocab_size=500
    )
    tokenizer = train_on_documents(documents(corpus, "train", 0), settings, model_max_length=512, seed=0)
    data = batches(objectives, tokenizer, corpus, Path(job["work"]), _LENGTH, _ROWS, packing)
    config = new_config(PRESETS[preset], tokenizer, positions=512, dropout=0.0, shape={})
    head = "causal_lm" if is_decoder else "pretraining" if len(objectives) > 1 else "masked_lm"
    model = new_model(config, head, 0)
    compute = Compute(job["precision"])
    if packing is not None:
        choose_packed_attention(model, "auto", compute.device.type, compute.precision, packing.width / _LENGTH)
    choose_attention(model, compute.device.type, compute.precision, packing.width if packing else _LENGTH)
    fuse_activations(model)
    return Work(model, PretrainingModule(model, objectives).train(), data.batches, compute)


def losses(job: Mapping[str, Any]) -> dict[str, float]:
    """The largest difference between our loss and the stock model's, at any step of a training."""
    found = {}
    for name, preset in (("masked_lm", "bert-mini"), ("causal_lm", "gpt2-mini")):
        work = work_of(job, [name], preset)
        found[f"dense_sparse_difference.{name}"] = _largest_difference(
            work,
            job["steps"],
            lambda step, work=work: _stock_loss(work.model, work.batches.batch(step, 0, _ROWS), work.compute),
        )
    return found


class Unpacked(Sampler):
    """The same examples, each in a row of its own."""

    def __init__(self, packed: Sampler) -> None:
        self._packed = packed
        self.store, self.rows_per_block = packed.store, packed.rows_per_block
        self.blocks_per_epoch = packed.blocks_per_epoch

    def rows(self, epoch: int, block: int, start: int, stop: int) -> Rows:
        """Of the packed rows' examples."""
        return replace(self._packed.rows(epoch, block, start, stop), layout=None)

    def documents(self, epoch: int, block: int, start: int, stop: int) -> list[int]:
        """As the packed rows."""
        return self._packed.documents(epoch, block, start, stop)

    def size_per_row(self, rows_at_once: int) -> Size:
        """As the packed rows."""
        return self._packed.size_per_row(rows_at_once)


def packed(job: Mapping[str, Any]) -> dict[str, float]:
    """Packed rows beside rows of single texts at each step; and what a changed text does to its neighbours."""
    found = {}
    for names, preset in (
        (["masked_lm"], "bert-tiny"),
        (["masked_lm", "next_sentence"], "bert-tiny"),
        (["causal_lm"], "gpt2-tiny"),
    ):
        work = work_of(job, names, preset, Packing(2 * _LENGTH))
        sampler = Unpacked(work.batches._sampler)
        alone = PretrainingBatches(sampler, work.module.objectives, work.batches._vocabulary, _ROWS)
        found[f"packed_difference.{'_'.join(names)}"] = _largest_difference(
            work, job["steps"], lambda step, work=work, alone=alone: _loss_of(work, alone.batch(step, 0, _ROWS))
        )
        if job["precision"] == "fp32" and len(names) == 1:
            found[f"isolation_difference.{names[0]}"] = _isolation(work)
    return found


def _isolation(work: Work) -> float:
    """The largest change of hidden states of other texts when all tokens of one are changed; each one in turn."""
    batch = work.batches.batch(0, 0, _ROWS)
    parts, largest = batch.tensors["parts"], 0.0
    with torch.no_grad():
        before = Forward(work.model, batch.tensors).hidden
        for part in range(1, int(parts.max()) + 1):
            mine = parts == part
            ids = torch.where(mine, (batch.tensors["input_ids"] + 7) % 400 + 50, batch.tensors["input_ids"])
            after = Forward(work.model, {**batch.tensors, "input_ids": ids}).hidden
            others = (parts != part) & (parts > 0)
            largest = max(largest, (after - before)[others].abs().max().item() if others.any() else 0.0)
            if (after - before)[mine].abs().max() < 1e-3:
                raise SystemExit("a changed text has the hidden states that it had")
    return largest


def compiled(job: Mapping[str, Any]) -> dict[str, float]:
    """The compiled body beside the eager one at each step."""
    found = {}
    for name, preset in (("masked_lm", "bert-tiny"), ("causal_lm", "gpt2-tiny")):
        work = work_of(job, [name], preset)
        work.batches._sampler.is_static = True
        compile_body(work.model)

        def eager(step: int, work: Work = work) -> float:
            with eagerly():
                return _loss_of(work, work.batches.batch(step, 0, _ROWS))

        found[f"compiled_difference.{name}"] = _largest_difference(work, job["steps"], eager)
    return found


def recompilations(job: Mapping[str, Any]) -> dict[str, float]:
    """What torch compiles after the tenth step of runs with ``compile=true``, by what is trained."""
    common = {"rows_per_step": 8, "length": 32, "compile": True, "log_every_steps": 1, "checkpoint_every_steps": 0}
    work = Path(job["work"]) / "compiled"
    shutil.rmtree(work, ignore_errors=True)
    pretraining = {
        "vocab_size": 500,
        "corpus": {"path": "embedded"},
        "cache": str(work / "stores"),
        "budget": "60steps",
    }
    runs = {
        "masked_lm_next_sentence": (
            "pretrain",
            {"preset": "bert-tiny", "objective": ["masked_lm", "next_sentence"], **pretraining},
        ),
        "causal_lm": ("pretrain", {"preset": "gpt2-tiny", "objective": ["causal_lm"], **pretraining}),
        "finetune": (
            "finetune",
            {"data": "polarity", "init": "scratch", "preset": "bert-tiny", "vocab_size": 500, "budget": "60steps"},
        ),
    }
    found = {}
    for name, (verb, settings) in runs.items():
        perform(verb, **common, **settings, out=str(work / name))
        lines = {line["step"]: line for line in read_log(work / name / "metrics.jsonl")}
        found[f"recompilations.{name}"] = lines[max(lines)]["recompilations"] - lines[10]["recompilations"]
    return found


def _largest_difference(work: Work, num_steps: int, other: Callable[[int], float]) -> float:
    """Between a training's loss and what ``other`` gives before a step changes the weights."""
    reports = work.reports(num_steps)
    largest = 0.0
    for step in range(num_steps):
        expected = other(step)
        report = next(reports)
        loss = sum(report.sums[name].item() / report.counts[name] for name in work.module.weights)
        largest = max(largest, abs(loss - expected))
    return largest


def _loss_of(work: Work, batch: Batch) -> float:
    """The loss that the module gives to a batch."""
    with torch.no_grad(), work.compute.autocast():
        sums = work.module(batch.tensors)
    return float(sum(value.item() / batch.counts[name] for name, value in sums.items()))


def _stock_loss(model: PreTrainedModel, batch: Batch, compute: Compute) -> float:
    inputs = {name: batch.tensors[name] for name in ("input_ids", "attention_mask") if name in batch.tensors}
    with torch.no_grad(), compute.autocast():
        if "masked_labels" in batch.tensors:
            return float(model(**inputs, labels=stock_labels(batch)).loss)
        logits = model(**inputs).logits.flatten(0, 1).float()
        return float(torch.nn.functional.cross_entropy(logits, batch.tensors["next_labels"]))


# Accuracy


def accuracy(job: Mapping[str, Any]) -> dict[str, float]:
    """Test accuracy of a classifier with 32 rows a step, at a rate falling to nothing.

    From scratch 6,000 texts, 2 epochs at 3e-4, the Trainer with all else at its default; or of the checkpoint
    ``model`` with the stock head, and ``trained`` texts, ``epochs`` and ``lr``, the Trainer with our weight decay and
    warm-up.
    """
    job = {"trained": _TRAINED, "epochs": _EPOCHS, "lr": _LR, "model": "", **job}
    task = Path(job["work"]) / f"task-{job['trained']}"
    if not task.exists():
        _write_task(Path(job["task"]), task, job["trained"])
    if job["side"] == "trainer":
        return {"accuracy": _trainers_accuracy(task, job)}
    of_what = {"model": job["model"], "pooling": "cls"} if job["model"] else {"init": "scratch", "preset": "bert-mini"}
    out = Path(job["work"]) / f"accuracy-{job['seed']}"
    shutil.rmtree(out, ignore_errors=True)
    result = perform(
        "finetune", **of_what, tokenizer=job["tokenizer"], data=str(task), out=str(out), lr=job["lr"],
        budget=f"{job['epochs']}epochs", min_steps=0, seed=job["seed"], checkpoint_every_steps=0,
    )  # fmt: skip
    shutil.rmtree(out)
    return {"accuracy": result["test.accuracy"]}


def _write_task(source: Path, folder: Path, num_trained: int) -> None:
    from ptft.tasks.table import read_task

    data, _ = read_task(str(source), valid="", test="", text="", text_a="", text_b="", label="label", seed=0)
    train = [*data.train]
    random.Random(0).shuffle(train)
    parts = {
        "train": train[:num_trained],
        "valid": data.valid[:_TESTED],
        "test": next(iter(data.tests.values()))[:_TESTED],
    }
    folder.mkdir(parents=True)
    for name, examples in parts.items():
        lines = [json.dumps({"text": example.text, "label": example.label}) for example in examples]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def _trainers_accuracy(task: Path, job: Mapping[str, Any]) -> float:
    """Of the Trainer in fp32 with stock pooling; it pads batches to their longest text, which changes no loss."""
    from peers import new_model, task_rows
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    from ptft.optim.optimizers.adamw import AdamW
    from ptft.optim.schedules.decays import Linear

    tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
    parts = {split: task_rows(task, split, tokenizer, 128, padding=False) for split in ("train", "test")}
    torch.manual_seed(job["seed"])
    case = Case("accuracy", "classify", "bert-mini", len(tokenizer), 128, model=job["model"])
    ours = {"weight_decay": AdamW().weight_decay, "warmup_steps": Linear().warmup_ratio} if job["model"] else {}
    arguments = TrainingArguments(
        output_dir=str(task.parent / "trainer"), per_device_train_batch_size=32, num_train_epochs=job["epochs"],
        learning_rate=job["lr"], use_cpu=True, save_strategy="no", disable_tqdm=True, seed=job["seed"], **ours,
    )  # fmt: skip
    model = new_model(case, len(tokenizer), "sdpa", tokenizer)
    trainer = Trainer(model, arguments, data_collator=DataCollatorWithPadding(tokenizer), train_dataset=parts["train"])
    trainer.train()
    found = trainer.predict(parts["test"])
    return float((found.predictions.argmax(-1) == found.label_ids).mean())


if __name__ == "__main__":
    CHECKS = (head, losses, packed, compiled, recompilations, accuracy)
    print(json.dumps({check.__name__: check for check in CHECKS}[sys.argv[1]](json.loads(sys.argv[2]))))
