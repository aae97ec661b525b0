"""The settings of fine-tuning, and what they make of a checkpoint and a task."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.config import Choice
from ptft.errors import DataError, DeviceError, RecipeError
from ptft.finetuning.policies import POLICIES
from ptft.finetuning.policies.full import Full
from ptft.finetuning.policy import Policy
from ptft.models.attention import BOTH_WAYS
from ptft.models.building import (
    Head,
    check_length,
    check_shape,
    grow_embeddings,
    grown_size,
    max_positions,
    new_config,
    open_model,
    open_trained,
    read_config,
)
from ptft.models.classifier import (
    Classifier,
    attends_both_ways,
    default_pooling,
    is_decoder_config,
    new_classifier,
    stock_kind,
)
from ptft.models.classifier_files import is_classifier, open_classifier, take_over_head
from ptft.models.pooling import Pooling
from ptft.models.presets import PRESETS
from ptft.sharding import sharding_asked
from ptft.steps.training_step import TrainingStep
from ptft.tasks.problems import PROBLEMS
from ptft.tasks.table import read_task
from ptft.tasks.task import TaskData
from ptft.tokenization import (
    TokenizerSettings,
    add_tokens,
    check_pair,
    check_vocabulary,
    load_tokenizer,
    tokenizer_folder,
    train_tokenizer,
)
from ptft.training.budget import Budget


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
    problem: str = "classification"
    """What is predicted (see ``ptft list problems``): a label, several, a number, one of some choices, or tags."""
    choices: str = ""
    """Columns of the choices of problem=multiple_choice, by commas, or the one that holds lists of them."""
    pooling: Literal["auto", "cls", "mean", "max", "last", "concat"] = "auto"
    """How a text becomes one vector: auto is last where attention is causal, else mean; concat is last, max, mean."""
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
    class_weights: Literal["none", "balanced"] = "none"
    """Whether the losses of rare labels count more (balanced): rows / (labels * rows of the label), as scikit-learn."""
    head: Literal["auto", "new"] = "auto"
    """The head of a checkpoint fine-tuned before: auto goes on with it and its pooling, and refuses other labels."""
    keep_best: bool = False
    """Measure the validation rows after each epoch, and keep the weights of the epoch that is best on them."""
    patience: int = Field(0, ge=0)
    """End after so many epochs without a better one (with keep_best); 0 for never."""
    policy: Annotated[Policy, Choice(POLICIES)] = Full()
    """Which weights are trained, from when on and how fast (see ``ptft list policies``)."""

    def check_data(self) -> tuple[TaskData, list[str]]:
        """Read the examples; refuse what cannot work before anything is written."""
        self.check_start()
        return self.read_data()

    def check_start(self) -> None:
        """Refuse what a training cannot start from, whatever the examples are."""
        self.check_training()
        self._check_ignored()
        if self.class_weights != "none" and self.problem != "classification":
            raise RecipeError(f"class_weights: {self.problem} has no classes to weigh; leave it out")
        if self.patience and not self.keep_best:
            raise RecipeError("patience: ends where the best epoch is long ago, which keep_best=true finds; give both")
        if self.keep_best and sharding_asked():
            raise DeviceError("keep_best: epochs' weights are not kept under FSDP; leave it out, or use DDP")
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

    def _check_ignored(self) -> None:
        """Refuse what is said of a tokenizer or of a length that something else decides about."""
        if self.changed("vocab_size") and (name := self.tokenizer or self.model):
            raise RecipeError(
                f"vocab_size: is for a tokenizer trained here, but that of {name!r} is taken; leave it out"
            )
        budget = Budget.parse(self.budget)
        if self.changed("min_steps") and budget.unit == "steps" and self.min_steps > budget.amount:
            raise RecipeError(
                f"min_steps: {self.min_steps} is for a budget of epochs, but budget={self.budget} says how many steps; "
                "leave it out"
            )

    def read_data(self) -> tuple[TaskData, list[str]]:
        """The examples, and a sentence about each thing that was left out or decided."""
        data, notes = read_task(
            self.data, valid=self.valid, test=self.test, text=self.text, text_a=self.text_a, text_b=self.text_b,
            label=self.label, problem=self.problem, choices=self.choices, seed=0,
        )  # fmt: skip
        if not data.valid:
            raise DataError(
                f"{self.data}: {len(data.train)} rows to train on are too few to hold some out for validation; "
                "give more rows, or a table of them with valid=FILE"
            )
        return self.as_the_head_has_them(data), notes

    def as_the_head_has_them(self, data: TaskData) -> TaskData:
        """The labels in the order of the head that is gone on with.

        Raises:
            DataError: It has other labels.
        """
        if not self.keeps_head or PROBLEMS[self.problem]().num_outputs(data.labels) != len(data.labels):
            return data
        former = open_classifier(self.model)
        known = former.labels
        if former.problem.name != self.problem:
            return data  # which check_model refuses
        if set(known) != set(data.labels):
            ours, theirs = (", ".join(labels[:9]) for labels in (data.labels, known))
            raise DataError(
                f"{self.data}: its labels ({ours}) are not those of {self.model} ({theirs}); "
                "give data with the same labels, or head=new to draw a new head"
            )
        return replace(data, labels=known)

    @property
    def keeps_head(self) -> bool:
        """Whether the head of a checkpoint that was fine-tuned before is gone on with."""
        if self.init == "scratch" or self.head == "new" or not self.model:
            return False
        return is_classifier(self.model, read_config(self.model))

    def _check_head(self) -> None:
        """Refuse a head that these settings cannot go on with."""
        former, config = open_classifier(self.model), read_config(self.model)
        problem, mixes = former.problem, self.policy.mixes_layers
        otherwise = "or give head=new to draw a new head"
        if problem.name != self.problem:
            raise RecipeError(
                f"problem: {self.model} was fine-tuned for {problem.name}, and its head cannot learn {self.problem}; "
                f"give problem={problem.name}, {otherwise}"
            )
        if self.pooling not in ("auto", former.pooling):
            raise RecipeError(
                f"pooling: the head of {self.model} has learned {former.pooling}, got {self.pooling}; leave it out, "
                f"{otherwise}"
            )
        if mixes != (former.mix is not None):
            seen = "the last layer" if mixes else "a mixture of all layers"
            raise RecipeError(
                f"policy: the head of {self.model} has learned {seen}, which is not what {self.policy.name} gives it; "
                f"take another policy, {otherwise}"
            )
        is_stock = not mixes and stock_kind(config, former.pooling, problem) != "backbone"
        if is_stock != (former.head is None):
            raise RecipeError(
                f"head: it is not known how to go on with the stock head of {self.model}, a {config.model_type}; give "
                "head=new to draw a new head"
            )

    def check_model(self) -> None:
        """Refuse a checkpoint that cannot be opened, or a pooling or a tokenizer that does not fit it."""
        if self.keeps_head:
            self._check_head()
        pooling = self._pooling(read_config(self.model) if self.model else check_shape(PRESETS[self.preset], {}))
        if self.policy.mixes_layers and pooling in ("max", "concat"):
            raise RecipeError(
                f"pooling: {pooling} of a mixture of layers is not the mixture of what {pooling} gives of each, which "
                f"is what {self.policy.name} keeps; use mean, cls or last"
            )
        if self.policy.needs_lm:
            self._check_lm()
        if sharding_asked() and not isinstance(self.policy, Full):
            raise DeviceError(f"policy: {self.policy.name} is not supported under FSDP; use full, or DDP")
        if self.init == "scratch":
            return
        if (self.added_tokens or self.added_special_tokens) and not self.policy.trains_embeddings:
            raise RecipeError(
                f"added_tokens: {self.policy.name} leaves the embeddings as they are, and new tokens would learn "
                "nothing; leave them out, or take another policy, such as full"
            )
        open_model(self.model, "backbone", 0, shapes_only=True)
        if self.tokenizer:
            own = load_tokenizer(tokenizer_folder(self.model))
            check_vocabulary(load_tokenizer(tokenizer_folder(self.tokenizer)), own, self.model)

    def _pooling(self, config: PretrainedConfig) -> Pooling:
        if self.pooling != "auto" and PROBLEMS[self.problem].unit == "word":
            raise RecipeError(f"pooling: {self.problem} has no use for {self.pooling}: each word is told by itself")
        if self.pooling == "cls" and is_decoder_config(config):
            raise RecipeError("pooling: a decoder's first token has seen nothing of the text; use last, mean or max")
        both_ways = self._both_ways(config)
        if self.pooling != "auto":
            return self.pooling
        return open_classifier(self.model).pooling if self.keeps_head else default_pooling(both_ways=both_ways)

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
        problem = PROBLEMS[self.problem]()
        pairs = (pair for example in data.train for pair in problem.inputs(example))
        texts = (part for pair in pairs for part in pair if part)
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
        weights_seed = int(rng.bits(seed, rng.key_of("weights"))) >> 1
        source = self.model if self.init == "pretrained" else config
        classifier, missing = new_classifier(
            source, labels, self._pooling(config), weights_seed, embedding_std=self.embedding_std,
            dropout=None if self.dropout == "model" else self.dropout, both_ways=self._both_ways(config),
            mixes_layers=self.policy.mixes_layers, problem=PROBLEMS[self.problem](),
        )  # fmt: skip
        if classifier.model.config.pad_token_id is None:  # as it will be once it is saved
            tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
            classifier.model.config.pad_token_id = tokenizer.pad_token_id
        if self.keeps_head:
            take_over_head(classifier, open_classifier(self.model))
        elif self.init == "pretrained" and is_classifier(self.model, config):
            classifier.forget_head()
        grow_embeddings(classifier.model, len(tokenizer))
        return classifier, missing

    def _check_lm(self) -> None:
        if self.init == "scratch":
            raise RecipeError(f"policy: {self.policy.name} goes on with a language model, and init=scratch has none")
        config = read_config(self.model)
        if is_decoder_config(config) and self._both_ways(config):
            raise RecipeError(
                f"policy: {self.policy.name} has the decoder predict next tokens, which attention both ways would show "
                "it; give attention=causal, or another policy"
            )
        open_trained(self.model, _lm_head(config), shapes_only=True)

    def language_model(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """The checkpoint with its language-model head."""
        model = open_trained(self.model, _lm_head(read_config(self.model)))
        grow_embeddings(model, len(tokenizer))
        return model

    def steps(self, num_rows: int) -> int:
        """Updates for so many training rows."""
        budget = Budget.parse(self.budget)
        if budget.unit == "steps":
            return max(1, round(budget.amount))
        return max(self.min_steps, round(budget.amount * num_rows / self.rows_for(num_rows)), 1)

    def first_step(self, epoch: int, num_rows: int) -> int:
        """The step with which an epoch begins, counted from 0; epochs are longer where ``min_steps`` has it so."""
        return round(epoch * self.steps(num_rows) / self.epochs(num_rows))

    def epochs(self, num_rows: int) -> float:
        """Epochs of the budget."""
        budget = Budget.parse(self.budget)
        return budget.amount if budget.unit == "epochs" else self.steps(num_rows) * self.rows_for(num_rows) / num_rows

    def rows_for(self, num_rows: int) -> int:
        """Rows of a step: no more than there are."""
        return min(self.rows_per_step, num_rows)


def _lm_head(config: PretrainedConfig) -> Head:
    return "causal_lm" if is_decoder_config(config) else "masked_lm"
