"""The step ``finetune``: a classifier from a pretrained model, or from scratch, and its scores on held-out labels."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from numpy import ndarray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.compute import Compute, limit_threads
from ptft.config import plain
from ptft.display import Display, Once
from ptft.errors import RecipeError
from ptft.finetuning.calibrating import calibrate
from ptft.finetuning.classification import features_of, predict_logits
from ptft.finetuning.features import FeatureBatches
from ptft.finetuning.policy import keeps_features
from ptft.finetuning.scale import Scale
from ptft.finetuning.texts import EncodedTexts, LabelledBatches, encode_examples
from ptft.models.building import growth_note, read_config
from ptft.models.classifier import Classifier, Reading, is_decoder_config
from ptft.models.classifier_files import save_classifier
from ptft.models.flops import Flops, model_flops
from ptft.models.packed_attention import choose_packed_attention, is_packable
from ptft.objectives.rows import Vocabulary
from ptft.sharding import load_state, whole_state
from ptft.steps.finetune_settings import FinetuneSettings
from ptft.steps.folder import parent
from ptft.steps.pushing import Pushed
from ptft.steps.search import GRIDS, SEARCHED, Search, searched, words_of
from ptft.steps.seeds import seed_list, summary
from ptft.steps.step import Place, Result
from ptft.tasks.problems import PROBLEMS
from ptft.tasks.table import balanced_weights, subset
from ptft.tasks.task import Example, TaskData
from ptft.tokenization import tokenizer_hash
from ptft.training.aside import write_aside
from ptft.training.best import Best
from ptft.training.meters import Cost, speed
from ptft.training.session import fit
from ptft.training.totals import Totals
from ptft.training.work import BatchSource


@dataclass(frozen=True)
class Encoded:
    """A task's texts as token ids: the training rows, the validation rows and each test set."""

    data: TaskData
    train: EncodedTexts
    valid: EncodedTexts
    tests: Mapping[str, EncodedTexts]

    @staticmethod
    def of(data: TaskData, tokenizer: PreTrainedTokenizerBase, length: int) -> "Encoded":
        """Tokenise everything once."""
        problem = PROBLEMS[data.problem]()
        encode = partial(encode_examples, problem=problem, tokenizer=tokenizer, length=length)
        tests = {name: encode(rows) for name, rows in data.tests.items()}
        return Encoded(data, encode(data.train), encode(data.valid), tests)

    def with_train(self, data: TaskData) -> "Encoded":
        """The same with some of the training rows."""
        place = {id(row): index for index, row in enumerate(self.data.train)}
        train = self.train.some([place[id(row)] for row in data.train])
        return Encoded(data, train, self.valid, self.tests)


def train_one(
    settings: FinetuneSettings,
    encoded: Encoded,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    compute: Compute,
    display: Display,
    *,
    lr: float,
    folder: Path | None = None,
    what: str = "fine-tuning",
) -> tuple[Classifier, Totals]:
    """Fine-tune one classifier with one seed and one learning rate; without a folder nothing is kept on the way."""
    data = encoded.data
    classifier, missing = settings.classifier(tokenizer, data.labels, seed)
    if note := settings.policy.note(classifier.model.config.num_hidden_layers, settings.epochs(len(data.train))):
        display.say(note)
    if missing:
        display.say(f"drawn anew, since {settings.model} lacks them: {', '.join(missing)}")
    scale = Scale.of(data)
    if settings.keeps_head:
        scale.narrow(classifier.output_layer())
    compiled = settings.compiles(compute.device.type)  # of one shape, which packed rows have not
    if packed := is_packable(classifier.model.config) and not compiled:
        choose_packed_attention(classifier.model, "auto", compute.device.type, compute.precision, texts_a_row=1)
    settings.prepare(classifier.model, compute, settings.length)
    policy = settings.policy
    adapters_seed = int(rng.bits(seed, rng.key_of("adapters"))) >> 1
    restore = policy.adapt(cast("PreTrainedModel", classifier.model.base_model), adapters_seed)
    module = policy.module(classifier, partial(settings.language_model, tokenizer))
    if settings.class_weights == "balanced":
        module.weigh(torch.tensor(balanced_weights(data), dtype=torch.float32))
    compute.place(module)
    first_step = partial(settings.first_step, num_rows=len(data.train))
    groups = policy.groups(module, missing, lr, settings.optimizer.weight_decay, first_step)
    optimizers = settings.built(groups, module, compute)
    rows = settings.rows_for(len(data.train))
    numbers = [example.row or index for index, example in enumerate(data.train, 1)]
    targets = scale.narrowed(classifier.problem.targets(data.train, data.labels))
    texts = LabelledBatches(
        encoded.train, targets, rows, seed, numbers, classifier.problem, packed=packed, is_static=compiled
    )
    if keeps_features(classifier):
        source: BatchSource = FeatureBatches(texts, features_of(classifier, encoded.train, compute))
        flops = Flops(6.0 * sum(p.numel() for p in optimizers.parameters() if p.ndim >= 2), 0.0)  # the head's alone
    else:
        is_decoder = is_decoder_config(classifier.model.config)
        source = policy.batches(texts, Vocabulary.of(tokenizer), seed, is_decoder=is_decoder)
        width = texts.mean_width(settings.rows_at_once(compute.num_processes))
        flops = model_flops(classifier.model, width)
    an_epoch = max(1, first_step(1)) if settings.keep_best else 0
    plan = settings.plan(settings.steps(len(data.train)), seed, compiled=compiled, evaluate_every_steps=an_epoch)
    identity = settings.identity({"data": data.fingerprint}, tokenizer, classifier.model, plan.steps)
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(TemporaryDirectory()))
        writes = compute.is_main or folder is None  # a temporary folder is this process's own
        best = Best(place / "best", partial(_keep, module), settings.patience * an_epoch) if an_epoch else None
        totals = fit(
            module, module.weights, source, optimizers, settings.schedule, compute, plan, display, folder=folder,
            identity=identity, cost=Cost.on(compute, flops), what=what, best=best,
            measure=partial(_measured, best, classifier, encoded, compute, writes) if best else None,
        )  # fmt: skip
        if best is not None:
            load_state(module, load_file(place / "best" / "weights.safetensors"))
            display.say(f"{what}: the best of the epochs ends with step {best.step}")
    trained = compute.whole(module).classifier
    trained.reading = Reading(settings.length, any(row.text_b for row in data.train))
    restore()
    scale.widen(trained.output_layer())
    return trained, totals


def _keep(module: nn.Module, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    save_file(whole_state(module), folder / "weights.safetensors")


def _measured(
    best: Best, classifier: Classifier, encoded: Encoded, compute: Compute, writes: bool, step: int
) -> dict[str, float]:
    """The main figure of the validation rows after a step, of which ``best`` takes note."""
    metric = classifier.problem.metric
    value = score(classifier, encoded.data.valid, encoded.valid, compute)[0][metric]
    best.measured(step, -value, is_main=writes)
    compute.wait()
    return {f"valid.{metric}": value}


def score(
    classifier: Classifier, rows: tuple[Example, ...], texts: EncodedTexts, compute: Compute
) -> tuple[dict[str, float], bool]:
    """Figures of a classifier on labelled rows, and whether it answers the same to all of them."""
    return scored(classifier, rows, predict_logits(classifier, texts, compute))


def scored(
    classifier: Classifier, rows: tuple[Example, ...], logits: Float[ndarray, "units outputs"]
) -> tuple[dict[str, float], bool]:
    """The same from what it said of them; a temperature would change none of these figures."""
    problem = classifier.problem
    found = problem.probabilities(logits, rows)
    figures = problem.figures(problem.targets(rows, classifier.labels), found, classifier.labels, seed=0)
    answers = {answer["label"] for answer in problem.answers(rows, found, classifier.labels)}
    return figures, len(answers) == 1 < len(rows)


class Finetune(Pushed, FinetuneSettings):
    """Fine-tune a classifier on labelled texts or pairs of texts, once for each seed."""

    name: ClassVar[str] = "finetune"
    seeds: int | tuple[int, ...] = 1
    """How many seeds, or which ones; with several the figures are means, and intervals of both seeds and rows."""
    labels: int = Field(0, ge=0)
    """Use so many labelled training rows only, as balanced as they come; 0 for all."""
    search: Search = "none"
    """Choose lr, rows_per_step and budget on the validation rows, with the first seed; the test rows stay unseen.

    bert_grid: 5e-5, 3e-5, 2e-5; 16, 32 rows; 2, 3, 4 epochs (Devlin et al. 2019). small_bert_grid: 3e-4, 1e-4, 5e-5,
    3e-5; 8 to 128 rows; 4 epochs (Turc et al. 2019).
    """

    def check(self) -> None:
        """Read everything that can be read."""
        self.check_push()
        data, _ = self.check_data()
        self.check_model()
        if self.labels:
            subset(data, self.labels, 0)
        seed_list(self.seeds, self.seed)
        self._check_search(self.labels or len(data.train))

    def _check_search(self, num_rows: int) -> None:
        if self.search == "none":
            return
        if given := self.changed(*SEARCHED, "min_steps"):
            raise RecipeError(f"search: {self.search} decides about {', '.join(given)}; leave out what it decides")
        for point in GRIDS[self.search].points(num_rows):
            self.model_copy(update=point).check_training()

    def work(self, place: Place) -> Result:
        """Fine-tune for each seed, test, keep the model that validates best."""
        place = replace(place, display=Once(place.display))
        limit_threads(self.threads)
        compute = self.compute(place.folder)
        data, notes = self.check_data()
        for note in notes:
            place.display.say(note)
        tokenizer = self.open_tokenizer(data)
        everything = Encoded.of(data, tokenizer, self.length)
        if data.labels:
            place.display.say(f"labels: {', '.join(data.labels)}")
        _say_truncation(everything, place.display)
        if self.init == "pretrained" and (note := growth_note(read_config(self.model).vocab_size, len(tokenizer))):
            place.display.say(note)
        if self.trackers:
            compute.start_trackers("ptft", plain(self))
        records: list[dict[str, Any]] = []
        used: list[Totals] = []
        best = (-math.inf, 0)
        metric = PROBLEMS[data.problem].metric
        seeds = seed_list(self.seeds, self.seed)
        parts = {seed: everything.with_train(subset(data, self.labels, seed)) for seed in seeds if self.labels}
        settings, points = self, list[dict[str, Any]]()
        if self.search != "none":
            settings, points = self._searched(parts.get(seeds[0], everything), tokenizer, seeds[0], compute, place)
        chosen = {name: getattr(settings, name) for name in SEARCHED}
        for seed in seeds:
            encoded = parts.get(seed, everything)
            folder = place.folder if len(seeds) == 1 else place.folder / f"seed-{seed}"
            folder.mkdir(exist_ok=True)
            what = "fine-tuning" if len(seeds) == 1 else f"fine-tuning, seed {seed}"
            classifier, totals = train_one(
                settings, encoded, tokenizer, seed, compute, place.display, lr=settings.lr, folder=folder, what=what
            )
            used.append(totals)
            logits = predict_logits(classifier, everything.valid, compute)
            valid = scored(classifier, data.valid, logits)[0][metric]
            known, reason = calibrate(classifier, data.valid, logits)
            if reason:
                place.display.say(f"seed {seed}: no temperature was fitted to its probabilities: {reason}")
            for name, texts in everything.tests.items():
                figures, is_constant = score(classifier, data.tests[name], texts, compute)
                facts = {"task": data.name, "test": name, "seed": seed, "method": self.init}
                facts["labels"] = len(encoded.data.train)
                facts |= {f"valid_{key}": value for key, value in {metric: valid, **known}.items()}
                facts |= {**chosen, "steps": totals.step, "failed": is_constant}
                records.append({**facts, **figures})
                if is_constant:
                    place.display.say(f"seed {seed} failed: it gives the same answer to all rows of {name!r}")
            if valid > best[0] and compute.is_main:
                best = (valid, seed)
                write_aside(place.folder / "model", "model", partial(save_classifier, classifier, tokenizer))
        compute.end()
        lineage = {
            "step": self.name,
            "task": {"name": data.name, "labels": list(data.labels), "train_rows": len(data.train)},
            "tokenizer": {"hash": tokenizer_hash(tokenizer)},
            "parents": [parent(self.model)] if self.model and self.init == "pretrained" else [],
            "seeds": seeds,
            "saved_seed": best[1],
            **({"search": points, "chosen": chosen} if points else {}),
        }
        cut = {"truncated_ratio": everything.train.num_truncated / len(everything.train.ids)}
        return Result(summary(records, metric) | cut | speed(used), records, lineage)

    def _searched(
        self, encoded: Encoded, tokenizer: PreTrainedTokenizerBase, seed: int, compute: Compute, place: Place
    ) -> tuple["Finetune", list[dict[str, Any]]]:
        """What the search chooses, and its points."""

        def valid_figure(tried: Finetune) -> float:
            what = f"search, {words_of(tried.model_dump(include={*SEARCHED}))}"
            made, _ = train_one(tried, encoded, tokenizer, seed, compute, place.display, lr=tried.lr, what=what)
            return score(made, encoded.data.valid, encoded.valid, compute)[0][made.problem.metric]

        num_rows = len(encoded.data.train)
        return searched(self, self.search, num_rows, valid_figure, place, is_main=compute.is_main)


def _say_truncation(encoded: Encoded, display: Display) -> None:
    parts = {"training": encoded.train, "validation": encoded.valid, **encoded.tests}
    cut = {name: texts.num_truncated for name, texts in parts.items() if texts.num_truncated}
    if cut:
        shares = ", ".join(f"{count} of {len(parts[name].ids)} {name}" for name, count in cut.items())
        display.say(f"cut to {encoded.train.length} tokens: {shares} texts")
    lost = {name: texts.num_lost for name, texts in parts.items() if texts.num_lost}
    if lost:
        shares = ", ".join(f"{count} of {parts[name].num_units} {name}" for name, count in lost.items())
        display.say(f"left out by the tokenizer: {shares} words; they are not learned, and count as wrong")
