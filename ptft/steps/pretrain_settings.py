"""The settings of pretraining, and what can be known to be wrong with them before anything is written."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ptft.compute import device_type, num_processes, resolve_precision
from ptft.config import Choice
from ptft.corpus.files import file_format
from ptft.corpus.sources import CorpusSettings, beginning
from ptft.errors import CheckpointError, DeviceError, RecipeError
from ptft.models.building import (
    Head,
    PositionInit,
    check_head,
    check_length,
    check_shape,
    max_positions,
    open_model,
    read_config,
    set_dropout,
)
from ptft.models.classifier import is_decoder_config
from ptft.models.classifier_files import is_classifier
from ptft.models.packed_attention import PackedAttention, check_packable, check_varlen
from ptft.models.presets import PRESETS
from ptft.objectives import OBJECTIVES
from ptft.objectives.masked_lm import MaskedLM
from ptft.objectives.objective import Objective
from ptft.objectives.packed_plan import Packing
from ptft.sharding import sharding_asked
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.steps.pushing import Pushed
from ptft.steps.training_step import TrainingStep
from ptft.tokenization import (
    Kind,
    Normalization,
    TokenizerSettings,
    add_mask_token,
    add_tokens,
    check_pair,
    check_vocabulary,
    load_tokenizer,
    tokenizer_folder,
)
from ptft.training.budget import Budget
from ptft.training.ramp import BatchRamp

_A = {"encoder": "an encoder", "decoder": "a decoder"}


class PretrainSettings(Pushed, TrainingStep):
    """What pretraining needs to know."""

    corpus: CorpusSettings = CorpusSettings()
    """The text."""
    valid: str = ""
    """Held-out text: a file or folder; empty takes the corpus's own, or holds out some of its documents."""
    objective: tuple[Annotated[Objective, Choice(OBJECTIVES)], ...] = (MaskedLM(),)
    """What is learned (see ``ptft list objectives``): one or several, such as masked_lm,next_sentence."""
    model: str = ""
    """A checkpoint folder or Hub name to go on from, or to take the shape of (init=scratch)."""
    init: Literal["pretrained", "scratch"] = "pretrained"
    """Whether to take over the weights of ``model``."""
    preset: str = ""
    """The shape of a new model (see ``ptft list presets``)."""
    shape: dict[str, bool | int | float | str] = {}
    """Attributes of the architecture's configuration that replace the preset's, such as num_hidden_layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | Literal["model"] = "model"
    """Dropout while pretraining; model takes that of ``model``, or 0.1 for a preset."""
    embedding_std: float = Field(0.0, ge=0)
    """Standard deviation of a new model's word embeddings; 0 takes the architecture's."""
    position_init: PositionInit = "normal"
    """How a new model's learned position embeddings start: at random, or as sinusoids (Vaswani et al. 2017)."""
    center_embeddings: bool = False
    """Keep the mean of the word embeddings at zero, after every step; see the docstring of the class."""
    tokenizer: str = ""
    """A tokenizer's folder or Hub name; empty takes the model's, or trains one on the corpus."""
    vocab_size: int = Field(8192, ge=64)
    """Tokens of a tokenizer trained here."""
    tokenizer_kind: Literal["auto", "wordpiece", "bpe", "unigram"] = "auto"
    """Kind of a tokenizer trained here (see ``ptft tokenizer``): auto is wordpiece for encoders, bpe for decoders."""
    lowercase: bool = True
    """Lower-case text in a WordPiece or Unigram tokenizer trained here."""
    normalize: Normalization = "none"
    """Unicode form that a tokenizer trained here brings text into."""
    prefix_space: bool = False
    """Put a space before the first word in a byte-level BPE tokenizer trained here."""
    added_tokens: tuple[str, ...] = ()
    """New tokens behind the tokenizer's own, such as words of a domain; the model gets rows for them."""
    added_special_tokens: tuple[str, ...] = ()
    """New tokens that are never masked, such as marks of a speaker."""
    length: int = Field(128, ge=8)
    """Tokens of a row, special tokens included."""
    packed_length: int = Field(0, ge=0)
    """Width of packed rows, at least ``length``: texts share a row, none sees another; 0 for one text a row.

    Texts have up to ``length`` tokens, and positions restart in each.
    """
    cross_document_attention: bool = False
    """With ``packed_length``: let texts of a packed row see each other; positions still restart."""
    packed_attention: PackedAttention = "auto"
    """How packed texts are kept apart: by a mask, by varlen (CUDA, bf16 or fp16, no attention dropout), or the best."""
    joiner: Literal["space", "newline"] = "space"
    """What stands between the sentences of a document for causal LM."""
    static: bool = False
    """Make examples once, as BERT's published data, not anew every epoch; see ``duplicates``."""
    duplicates: int = Field(10, ge=1)
    """With ``static``: versions of the corpus with pairs and masks of their own, seen in turn."""
    batch_ramp: BatchRamp = BatchRamp()
    """Let the batch grow to ``rows_per_step`` (batch_ramp.start_ratio=0.25); the budget is met all the same."""
    evaluate_every_steps: int = Field(0, ge=0)
    """How often to evaluate on the held-out text; 0 only at the end."""
    evaluation_rows: int = Field(2048, ge=1)
    """At most so many held-out rows."""
    keep_best: bool = False
    """Keep the model with the lowest held-out loss in ``best/``; needs evaluate_every_steps and held-out text."""
    milestones_words: tuple[float | Literal["babylm"], ...] = ()
    """Stock checkpoints in ``milestones/`` after so many words seen, such as 1e6,10e6; babylm for its challenge's."""

    def check(self) -> None:
        """Refuse what cannot work before anything is written."""
        self.check_training()
        self.check_push()
        self._check_objectives()
        if (self.milestones_words or self.keep_best) and sharding_asked():
            raise DeviceError("milestones_words, keep_best: are not written under FSDP; leave them out, or use DDP")
        if wrong := [mark for mark in self.milestones_words if mark != "babylm" and mark <= 0]:
            raise RecipeError(f"milestones_words: must be numbers of words above 0, or babylm, got {wrong[0]:g}")
        self._check_keep_best()
        if bool(self.preset) == bool(self.model):
            got = f"preset={self.preset} and model={self.model}" if self.preset else "neither"
            raise RecipeError(
                f"preset or model: give one of preset=NAME, for a new model, and model=DIR, to go on from; got {got}"
            )
        if self.preset:
            self._check_preset()
        else:
            self._check_model()
        self._check_ignored()
        evaluation_texts(self.corpus, self.seed)
        start = beginning(self.corpus, self.seed)
        for objective in self.objective:
            objective.check_corpus(start, 0 if self.packed_length else self.length)
        if self.valid:
            beginning(self._valid_corpus(), self.seed)

    def _check_objectives(self) -> None:
        kinds = {objective.kind for objective in self.objective}
        names = [objective.name for objective in self.objective]
        if not names or len(set(names)) < len(names):
            raise RecipeError(f"objective: name at least one, each once, got {names}")
        if len(kinds) > 1:
            raise RecipeError(
                f"objective: {' and '.join(names)} cannot be trained together; they need different models"
            )
        for objective in self.objective:
            objective.check()
            if Budget.parse(self.budget).seconds and objective.has_schedule:
                raise RecipeError(
                    f"budget: {self.budget!r} does not say how many steps there are, which the schedule of "
                    f"{objective.name} needs (final_mask_ratio): batches are made before their time is known; leave it "
                    "out, or give the budget in steps, tokens, words, epochs or flops"
                )
        self._check_ramp()
        self._check_packing()
        if self.changed("duplicates") and not self.static:
            raise RecipeError(f"duplicates: {self.duplicates} versions are made with static=true only; give that too")
        self._check_rows()
        if (kinds == {"decoder"} and len(names) > 1) or sum(o.makes_pairs for o in self.objective) > 1:
            raise RecipeError(f"objective: {' and '.join(names)} both decide what a row is; use one of them")

    def _check_packing(self) -> None:
        if not self.packed_length:
            if ignored := self.changed("cross_document_attention", "packed_attention"):
                raise RecipeError(f"{ignored[0]}: has no effect without packed_length; give that too, or leave it out")
            return
        if self.packed_length < self.length:
            raise RecipeError(
                f"packed_length: a packed row of {self.packed_length} tokens does not hold a text of "
                f"length={self.length}; give at least that, or 0 for one text a row"
            )
        for objective in self.objective:
            if not objective.can_pack:
                raise RecipeError(
                    f"packed_length: {objective.name} trains whole rows, some of them with attention both ways, which "
                    "texts cannot share; leave it out, or give objective=causal_lm"
                )

    def _check_architecture(self, config: PretrainedConfig) -> None:
        """Refuse an architecture that cannot be trained as the objectives and the packing ask for."""
        self.objective[0].check_architecture(config)
        if self.packed_length:
            check_packable(config)
        if self.packed_attention == "varlen":
            check_varlen(config, device_type(), resolve_precision(self.precision))

    def _check_keep_best(self) -> None:
        if self.keep_best and not self.evaluate_every_steps:
            raise RecipeError(
                "keep_best: compares evaluations, but evaluate_every_steps=0 asks for none before the end; give a "
                "number of steps, or leave keep_best out"
            )
        if self.keep_best and not self.valid and not self.corpus.valid_ratio:
            raise RecipeError(
                "keep_best: needs held-out text, but corpus.valid_ratio=0 holds none out; give another ratio or "
                "valid=FILE, or leave keep_best out"
            )

    def _check_rows(self) -> None:
        """Refuse what decides about rows in an objective that does not make them."""
        makes = next((objective.name for objective in self.objective if objective.makes_pairs), "")
        for objective in self.objective:
            if makes and isinstance(objective, MaskedLM) and objective.changed("short_ratio"):
                raise RecipeError(
                    f"objective: masked_lm.short_ratio: has no effect, since {makes} makes the rows; give "
                    f"objective.{makes}.short_ratio, or leave it out"
                )

    def _check_ramp(self) -> None:
        if self.batch_ramp.start_ratio == 1:
            if self.batch_ramp != BatchRamp():
                raise RecipeError("batch_ramp.share: has no effect without batch_ramp.start_ratio; give that too")
            return
        if sharding_asked():
            raise DeviceError(
                "batch_ramp: processes may have unequal numbers of micro-batches, which FSDP does not bear; use DDP"
            )
        if Budget.parse(self.budget).seconds:
            raise RecipeError(
                f"batch_ramp: needs a known number of steps, which budget={self.budget!r} does not give; leave it out, "
                "or give the budget in steps, tokens, words, epochs or flops"
            )
        parts, first = self.accumulate * num_processes(), self.rows_per_step * self.batch_ramp.start_ratio
        if first < parts + 1:  # the rows of a step are rounded
            raise RecipeError(
                f"batch_ramp: start_ratio {self.batch_ramp.start_ratio:g} of {self.rows_per_step} rows is {first:g}, "
                f"too few for {num_processes()} process(es) with accumulate={self.accumulate}; make it larger"
            )

    def _check_ignored(self) -> None:
        """Refuse what is said of a new tokenizer or of new weights where those that there are are taken."""
        of_tokenizer = self.changed("tokenizer_kind", "vocab_size", "lowercase", "normalize", "prefix_space")
        if of_tokenizer and (name := self.tokenizer or self.model):
            raise RecipeError(
                f"{of_tokenizer[0]}: is for a tokenizer trained here, but that of {name!r} is taken; leave it out"
            )
        of_weights = self.changed("embedding_std", "position_init")
        if of_weights and self.model and self.init == "pretrained":
            raise RecipeError(
                f"{of_weights[0]}: is for new weights, but those of {self.model!r} are taken over; leave it out, or "
                "give init=scratch"
            )

    def _check_preset(self) -> None:
        preset, objective = PRESETS[self.preset], self.objective[0]
        if preset.kind != objective.kind:
            raise RecipeError(
                f"preset: {self.preset!r} is {_A[preset.kind]}, but {objective.name} trains {_A[objective.kind]}; "
                "give another objective or preset"
            )
        config = check_shape(preset, self.shape, self.position_init, self.preset_dropout)
        self._check_tied(config)
        self._check_architecture(config)
        check_head(config, self.head)
        longest = self.shape.get("n_positions", self.shape.get("max_position_embeddings", preset.positions))
        check_length(self.length, int(longest))
        if self.tokenizer:
            self.with_added_tokens(self._check_specials())
        else:
            self._new_tokenizer().check()

    def _check_tied(self, config: PretrainedConfig) -> None:
        if self.center_embeddings and not getattr(config, "tie_word_embeddings", True):
            raise RecipeError(
                f"center_embeddings: the word embeddings of this {config.model_type} are not tied to its output, so "
                "moving them would change what it says; leave it out"
            )

    def _check_model(self) -> None:
        config, objective = self.read_config(), self.objective[0]
        kind = "decoder" if is_decoder_config(config) else "encoder"
        if kind != objective.kind:
            raise RecipeError(
                f"model: {self.model!r} is {_A[kind]} ({config.model_type}), but {objective.name} trains "
                f"{_A[objective.kind]}; give another objective or model"
            )
        self._check_tied(config)
        self._check_architecture(config)
        check_length(self.length, max_positions(config))
        if self.shape:
            raise RecipeError("shape: only a new model's shape can be changed; leave it out or give preset=NAME")
        tokenizer = self._check_specials()
        if self.init == "scratch":
            self.with_added_tokens(tokenizer)
            return
        if not self.tokenizer:
            check_pair(tokenizer, config)
        if is_classifier(self.model, config):
            raise RecipeError(
                f"model: {self.model!r} is a fine-tuned classifier, which lost what {objective.name} trains; give the "
                "checkpoint that it was fine-tuned from"
            )
        model, _ = open_model(self.model, self.head, 0, shapes_only=True)
        for objective in self.objective:
            objective.check_model(model)
        if self.tokenizer:
            check_vocabulary(tokenizer, load_tokenizer(tokenizer_folder(self.model)), self.model)
        self.with_added_tokens(tokenizer)

    def with_added_tokens(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Put new tokens, and the mask token that the objective needs, behind a tokenizer's own."""
        add_tokens(tokenizer, self.added_tokens, self.added_special_tokens)
        if self._needs_mask_token:
            add_mask_token(tokenizer)
        return tokenizer

    @property
    def _needs_mask_token(self) -> bool:
        """Whether a decoder's tokenizer, which usually has none, must have a mask token."""
        return any(o.kind == "decoder" and o.needs_mask_token for o in self.objective)

    def _check_specials(self) -> PreTrainedTokenizerBase:
        """Open the tokenizer that is given and refuse it if it lacks a special token that the rows need."""
        name = self.tokenizer or self.model
        tokenizer = load_tokenizer(tokenizer_folder(name))
        needed = ("eos",) if self.objective[0].kind == "decoder" else ("cls", "sep", "pad", "mask")
        lacking = [special for special in needed if getattr(tokenizer, f"{special}_token_id") is None]
        if lacking:
            raise CheckpointError(
                f"the tokenizer of {name!r} has no {', '.join(lacking)} token, which {self.objective[0].name} needs; "
                "give another tokenizer"
            )
        return tokenizer

    def total_loss(self, figures: Mapping[str, float]) -> float:
        """The sum by weight of the objectives' losses, each of which gives one figure of that name, in their order."""
        losses = [value for name, value in figures.items() if name.endswith(".loss")]
        return sum(o.weight * loss for o, loss in zip(self.objective, losses, strict=True))

    def _valid_corpus(self) -> CorpusSettings:
        """The held-out text, all of it."""
        text = "text" if file_format(Path(self.valid)) == ".txt" else self.corpus.text
        return CorpusSettings(path=self.valid, text=text, valid_ratio=0, split_sentences=self.corpus.split_sentences)

    @property
    def packing(self) -> Packing | None:
        """How texts share rows."""
        return Packing(self.packed_length, self.cross_document_attention) if self.packed_length else None

    @property
    def row_length(self) -> int:
        """Tokens of a row at most, padding included."""
        return self.packed_length or self.length

    @property
    def attended_length(self) -> int:
        """How many tokens one sees at most."""
        return self.row_length if self.cross_document_attention else self.length

    @property
    def texts_a_row(self) -> float:
        """How many texts of full length that do not see each other a row holds."""
        return self.row_length / self.attended_length

    @property
    def preset_dropout(self) -> float:
        """Dropout of a model of a preset's shape."""
        return 0.1 if self.dropout == "model" else self.dropout

    def read_config(self) -> PretrainedConfig:
        """The configuration of ``model``, with the dropout that is asked for."""
        config = copy.deepcopy(read_config(self.model))
        if self.dropout != "model":
            set_dropout(config, self.dropout)
        return config

    @property
    def head(self) -> Head:
        """The stock class that the objectives need."""
        if self.objective[0].kind == "decoder":
            return "causal_lm"
        return "pretraining" if any(objective.makes_pairs for objective in self.objective) else "masked_lm"

    def _new_tokenizer(self) -> TokenizerSettings:
        is_decoder = self.head == "causal_lm"
        usual: Kind = "bpe" if is_decoder else "wordpiece"
        return TokenizerSettings(
            kind=usual if self.tokenizer_kind == "auto" else self.tokenizer_kind,
            specials="decoder" if is_decoder else "encoder",
            vocab_size=self.vocab_size - self._needs_mask_token,  # the mask token comes behind
            lowercase=self.lowercase,
            normalize=self.normalize,
            prefix_space=self.prefix_space,
        )
