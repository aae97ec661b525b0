"""The step ``finetune``: a classifier from a pretrained model, or from scratch, and its scores on held-out labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from jaxtyping import Float
from numpy import ndarray
from pydantic import Field
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ptft import rng
from ptft.compute import Compute, limit_threads
from ptft.config import plain
from ptft.display import Display
from ptft.errors import DataError, RecipeError
from ptft.finetuning.classification import ClassificationModule, predict_probabilities
from ptft.finetuning.texts import EncodedTexts, LabelledBatches, encode_texts, label_ids
from ptft.models.attention import BOTH_WAYS
from ptft.models.building import (
    check_length,
    check_shape,
    grow_embeddings,
    grown_size,
    growth_note,
    max_positions,
    new_config,
    open_model,
    read_config,
)
from ptft.models.classifier import (
    Classifier,
    attends_both_ways,
    default_pooling,
    is_decoder_config,
    new_classifier,
    save_classifier,
)
from ptft.models.flops import model_flops
from ptft.models.packed_attention import choose_packed_attention, is_packable
from ptft.models.pooling import Pooling
from ptft.models.presets import PRESETS
from ptft.steps.folder import parent
from ptft.steps.pushing import Pushed
from ptft.steps.seeds import seed_list, summary
from ptft.steps.step import Place, Result
from ptft.steps.training_step import TrainingStep
from ptft.tasks.metrics import classification_figures
from ptft.tasks.table import read_task, subset
from ptft.tasks.task import Example, TaskData
from ptft.tokenization import (
    TokenizerSettings,
    add_tokens,
    check_pair,
    check_vocabulary,
    load_tokenizer,
    tokenizer_folder,
    tokenizer_hash,
    train_tokenizer,
)
from ptft.training.aside import write_aside
from ptft.training.budget import Budget
from ptft.training.meters import Cost, speed
from ptft.training.session import fit
from ptft.training.totals import Totals


class FinetuneSettings(TrainingStep):
    """What fine-tuning one model on labelled texts needs to know."""

    model: str = ""
    """The pretrained checkpoint: a folder, a run folder or a Hub name."""
    init: Literal["pretrained", "scratch"] = "pretrained"
    """Whether to take over the weights of ``model``, or only its shape and tokenizer."""
    preset: str = ""
    """The shape of a model from scratch (init=scratch), in place of ``model``."""
    tokenizer: str = ""
    """A tokenizer's folder or Hub name; empty takes the model's, or trains one on the texts (init=scratch)."""
    vocab_size: int = Field(8192, ge=64)
    """Tokens of a tokenizer trained here."""
    added_tokens: tuple[str, ...] = ()
    """New tokens behind the tokenizer's own, such as words of a domain; the model gets rows for them."""
    added_special_tokens: tuple[str, ...] = ()
    """New special tokens, such as marks of a speaker."""
    embedding_std: float = Field(0.0, ge=0)
    """Standard deviation of word embeddings from scratch; 0 takes the architecture's."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | Literal["model"] = "model"
    """Dropout while fine-tuning; model takes that of the checkpoint, which may be 0 if it was pretrained without."""
    data: str
    """Labelled examples: a table, a folder with train/valid/test, a task's name or a `datasets` name."""
    valid: str = ""
    """A table for validation; empty takes the data's own, or a tenth of the training rows."""
    test: str = ""
    """A table for testing; empty takes the data's own, or a tenth of the training rows."""
    text: str = ""
    """Column of the text."""
    text_a: str = ""
    """Column of the first text of a pair."""
    text_b: str = ""
    """Column of the second text of a pair."""
    label: str = "label"
    """Column of the label."""
    pooling: Literal["auto", "cls", "mean", "max", "last"] = "auto"
    """How a text becomes one vector: auto is last where attention is causal, else mean."""
    attention: Literal["auto", "causal", "bidirectional"] = "auto"
    """What a decoder's tokens see: auto is bidirectional if ``model`` was pretrained with the hybrid objective."""
    length: int = Field(128, ge=4)
    """Longest input in tokens; longer texts are cut, and counted."""
    min_steps: int = Field(200, ge=0)
    """At least so many updates, for data sets of a few rows."""
    budget: str = "4epochs"
    """How long: a number of steps or epochs."""
    lr: float = Field(3e-4, gt=0)
    """Peak learning rate; small models want more (1e-3), large ones less (2e-5)."""

    def check_data(self) -> tuple[TaskData, list[str]]:
        """Read the examples; refuse what cannot work before anything is written."""
        self.check_training()
        if Budget.parse(self.budget).unit not in ("steps", "epochs"):
            raise RecipeError(f"budget: fine-tuning counts steps or epochs, got {self.budget!r}")
        if self.init == "pretrained" and (self.preset or not self.model):
            raise RecipeError("model: name the checkpoint to fine-tune; a preset needs init=scratch")
        if self.init == "scratch" and bool(self.preset) == bool(self.model):
            raise RecipeError("init=scratch takes the shape of either model=DIR or preset=NAME; give one of them")
        if self.preset:
            PRESETS[self.preset]
        config = read_config(self.model) if self.model else None
        check_length(self.length, max_positions(config) if config else PRESETS[self.preset].positions)
        if self.tokenizer or self.model:
            tokenizer = load_tokenizer(tokenizer_folder(self.tokenizer or self.model))
            if config is not None and self.init == "pretrained" and not self.tokenizer:
                check_pair(tokenizer, config)
            add_tokens(tokenizer, self.added_tokens, self.added_special_tokens)
        data, notes = read_task(
            self.data, valid=self.valid, test=self.test, text=self.text, text_a=self.text_a, text_b=self.text_b,
            label=self.label, seed=0,
        )  # fmt: skip
        if not data.valid:
            raise DataError(
                f"{self.data}: {len(data.train)} rows to train on are too few to hold some out for validation; "
                "give more rows, or a table of them with valid=FILE"
            )
        return data, notes

    def check_model(self) -> None:
        """Refuse a checkpoint that cannot be opened, or a pooling or a tokenizer that does not fit it."""
        self._pooling(read_config(self.model) if self.model else check_shape(PRESETS[self.preset], {}))
        if self.init == "scratch":
            return
        open_model(self.model, "backbone", 0, shapes_only=True)
        if self.tokenizer:
            own = load_tokenizer(tokenizer_folder(self.model))
            check_vocabulary(load_tokenizer(tokenizer_folder(self.tokenizer)), own, self.model)

    def _pooling(self, config: PretrainedConfig) -> Pooling:
        if self.pooling == "cls" and is_decoder_config(config):
            raise RecipeError("pooling: a decoder's first token has seen nothing of the text; use last, mean or max")
        both_ways = self._both_ways(config)
        return default_pooling(both_ways=both_ways) if self.pooling == "auto" else self.pooling

    def _both_ways(self, config: PretrainedConfig) -> bool:
        if not is_decoder_config(config) and self.attention == "causal":
            raise RecipeError(
                f"attention: {config.model_type} is an encoder, whose attention always goes both ways; leave it out"
            )
        if is_decoder_config(config) and self.attention == "bidirectional" and config.model_type not in BOTH_WAYS:
            raise RecipeError(
                f"attention: of a {config.model_type} it is not known that it can go both ways, as that of "
                f"{', '.join(BOTH_WAYS)}; leave it out"
            )
        return attends_both_ways(config) if self.attention == "auto" else self.attention == "bidirectional"

    def open_tokenizer(self, data: TaskData) -> PreTrainedTokenizerBase:
        """The model's tokenizer, another one, or one trained on the training texts."""
        name = self.tokenizer or self.model
        tokenizer = load_tokenizer(tokenizer_folder(name)) if name else self._new_tokenizer(data)
        add_tokens(tokenizer, self.added_tokens, self.added_special_tokens)
        return tokenizer

    def _new_tokenizer(self, data: TaskData) -> PreTrainedTokenizerBase:
        preset = PRESETS[self.preset]
        settings = TokenizerSettings(
            kind="bpe" if preset.kind == "decoder" else "wordpiece", vocab_size=self.vocab_size
        )
        texts = (part for example in data.train for part in (example.text, example.text_b) if part)
        return train_tokenizer(texts, settings, model_max_length=preset.positions)

    def classifier(
        self, tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...], seed: int
    ) -> tuple[Classifier, list[str]]:
        """The model with a new head; with its missing weights' names."""
        config: PretrainedConfig
        if self.preset:
            preset = PRESETS[self.preset]
            config = new_config(preset, tokenizer, positions=preset.positions, dropout=0.1, shape={})
        else:
            config = read_config(self.model)
            if self.init == "scratch":
                config.vocab_size = grown_size(config.vocab_size, len(tokenizer))
        if config.pad_token_id is None:
            tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
            config.pad_token_id = tokenizer.pad_token_id
        weights_seed = int(rng.bits(seed, rng.key_of("weights"))) >> 1
        source = self.model if self.init == "pretrained" else config
        classifier, missing = new_classifier(
            source, labels, self._pooling(config), weights_seed, embedding_std=self.embedding_std,
            dropout=None if self.dropout == "model" else self.dropout, both_ways=self._both_ways(config),
        )  # fmt: skip
        grow_embeddings(classifier.model, len(tokenizer))
        return classifier, missing

    def steps(self, num_rows: int) -> int:
        """Updates for so many training rows."""
        budget = Budget.parse(self.budget)
        if budget.unit == "steps":
            return max(1, round(budget.amount))
        return max(self.min_steps, round(budget.amount * num_rows / self.rows_for(num_rows)), 1)

    def rows_for(self, num_rows: int) -> int:
        """Rows of a step: no more than there are."""
        return min(self.rows_per_step, num_rows)


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

        def encode(rows: tuple[Example, ...]) -> EncodedTexts:
            return encode_texts([(row.text, row.text_b) for row in rows], tokenizer, length)

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
) -> tuple[Classifier, Totals, list[str]]:
    """Fine-tune one classifier with one seed and one learning rate."""
    data = encoded.data
    classifier, missing = settings.classifier(tokenizer, data.labels, seed)
    compiled = settings.compiles(compute.device.type)  # of one shape, which packed rows have not
    if packed := is_packable(classifier.model.config) and not compiled:
        choose_packed_attention(classifier.model, "auto", compute.device.type, compute.precision, texts_a_row=1)
    settings.prepare(classifier.model, compute, settings.length)
    module = ClassificationModule(classifier)
    compute.place(module)
    optimizers = settings.optimizers(module, compute, lr)
    rows = settings.rows_for(len(data.train))
    numbers = [example.row or index for index, example in enumerate(data.train, 1)]
    labels = label_ids(data.train, data.labels)
    source = LabelledBatches(encoded.train, labels, rows, seed, numbers, packed=packed, is_static=compiled)
    plan = settings.plan(settings.steps(len(data.train)), seed, compiled=compiled)
    identity = settings.identity({"data": data.fingerprint}, tokenizer, classifier.model, plan.steps)
    width = source.mean_width(settings.rows_at_once(compute.num_processes))
    totals = fit(
        module, module.weights, source, optimizers, settings.schedule, compute, plan, display,
        folder=folder, identity=identity, cost=Cost.on(compute, model_flops(classifier.model, width)), what=what,
    )  # fmt: skip
    return compute.whole(module).classifier, totals, missing


def score(
    classifier: Classifier, rows: tuple[Example, ...], texts: EncodedTexts, compute: Compute
) -> tuple[dict[str, float], Float[ndarray, "texts labels"]]:
    """Figures of a classifier on labelled rows, and the probabilities behind them."""
    probabilities = predict_probabilities(classifier, texts, compute)
    gold = label_ids(rows, classifier.labels)
    return classification_figures(gold, probabilities.argmax(1), len(classifier.labels), seed=0), probabilities


class Finetune(Pushed, FinetuneSettings):
    """Fine-tune a classifier on labelled texts or pairs of texts, once for each seed."""

    name: ClassVar[str] = "finetune"
    seeds: int | tuple[int, ...] = 1
    """How many seeds, or which ones; with several the figures are means with Student's interval."""
    labels: int = Field(0, ge=0)
    """Use so many labelled training rows only, as balanced as they come; 0 for all."""

    def check(self) -> None:
        """Read everything that can be read."""
        self.check_push()
        data, _ = self.check_data()
        self.check_model()
        if self.labels:
            subset(data, self.labels, 0)
        seed_list(self.seeds, self.seed)

    def work(self, place: Place) -> Result:
        """Fine-tune for each seed, test, keep the model that validates best."""
        limit_threads(self.threads)
        compute = self.compute(place.folder)
        data, notes = self.check_data()
        for note in notes:
            place.display.say(note)
        tokenizer = self.open_tokenizer(data)
        everything = Encoded.of(data, tokenizer, self.length)
        place.display.say(f"labels: {', '.join(data.labels)}")
        _say_truncation(everything, place.display)
        if self.init == "pretrained" and (note := growth_note(read_config(self.model).vocab_size, len(tokenizer))):
            place.display.say(note)
        if self.trackers:
            compute.start_trackers("ptft", plain(self))
        records: list[dict[str, Any]] = []
        used: list[Totals] = []
        best = (-1.0, 0)
        seeds = seed_list(self.seeds, self.seed)
        for seed in seeds:
            some = subset(data, self.labels, seed) if self.labels else data
            encoded = everything.with_train(some) if self.labels else everything
            folder = place.folder if len(seeds) == 1 else place.folder / f"seed-{seed}"
            folder.mkdir(exist_ok=True)
            what = "fine-tuning" if len(seeds) == 1 else f"fine-tuning, seed {seed}"
            classifier, totals, missing = train_one(
                self, encoded, tokenizer, seed, compute, place.display, lr=self.lr, folder=folder, what=what
            )
            used.append(totals)
            if missing and seed == seeds[0]:
                place.display.say(f"drawn anew, since {self.model} lacks them: {', '.join(missing)}")
            valid, _ = score(classifier, data.valid, everything.valid, compute)
            for name, texts in everything.tests.items():
                figures, _ = score(classifier, data.tests[name], texts, compute)
                facts = {"task": data.name, "test": name, "seed": seed, "labels": len(some.train), "method": self.init}
                records.append({**facts, "valid_accuracy": valid["accuracy"], "steps": totals.step, **figures})
            if valid["accuracy"] > best[0] and compute.is_main:
                best = (valid["accuracy"], seed)
                write_aside(place.folder / "model", "model", partial(save_classifier, classifier, tokenizer))
        compute.end()
        lineage = {
            "step": self.name,
            "task": {"name": data.name, "labels": list(data.labels), "train_rows": len(data.train)},
            "tokenizer": {"hash": tokenizer_hash(tokenizer)},
            "parents": [parent(self.model)] if self.model and self.init == "pretrained" else [],
            "seeds": seeds,
            "saved_seed": best[1],
        }
        return Result(summary(records) | speed(used), records, lineage)


def _say_truncation(encoded: Encoded, display: Display) -> None:
    parts = {"training": encoded.train, "validation": encoded.valid, **encoded.tests}
    cut = {name: texts.num_truncated for name, texts in parts.items() if texts.num_truncated}
    if cut:
        shares = ", ".join(f"{count} of {len(parts[name].ids)} {name}" for name, count in cut.items())
        display.say(f"cut to {encoded.train.length} tokens: {shares} texts")
