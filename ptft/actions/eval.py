"""The verb ``eval``: perplexity, masked accuracy and next-sentence accuracy of a pretrained model on a text."""

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ptft.actions.action import Action
from ptft.compute import Compute, Precision
from ptft.config import Choice
from ptft.corpus.cleaning import summary
from ptft.corpus.sources import CorpusSettings, beginning, describe
from ptft.display import Display
from ptft.errors import RecipeError
from ptft.models.building import Head, check_length, max_positions, open_trained, read_config
from ptft.models.classifier import is_decoder_config
from ptft.objectives import OBJECTIVES
from ptft.objectives.objective import Objective
from ptft.objectives.rows import Vocabulary
from ptft.steps.compiled import How, compiled
from ptft.steps.evaluation_texts import evaluation_texts
from ptft.tokenization import check_pair, load_tokenizer, tokenizer_folder
from ptft.training.evaluation import evaluate
from ptft.training.work import PretrainingBatches, PretrainingModule


class Eval(Action):
    """Measure a pretrained model on a text: perplexity, masked accuracy, next-sentence accuracy."""

    name: ClassVar[str] = "eval"
    model: str
    """A pretrained model: a run folder, a checkpoint folder or a Hub name."""
    corpus: CorpusSettings = CorpusSettings(valid_ratio=0)
    """The text, all of it."""
    objective: tuple[Annotated[Objective, Choice(OBJECTIVES)], ...] = ()
    """What to measure; empty takes what the model's class was pretrained with."""
    length: int = Field(128, ge=8)
    """Tokens of a row, special tokens included."""
    rows: int = Field(2048, ge=1)
    """At most so many rows."""
    joiner: Literal["space", "newline"] = "space"
    """What stands between the sentences of a document for causal LM."""
    precision: Precision = "auto"
    """Of matrix products."""
    cache: str = "~/.cache/ptft"
    """Folder for compiled corpora."""

    def check(self) -> None:
        """The model was pretrained for what is measured, and the text can be read."""
        self._opened()
        evaluation_texts(self.corpus, 0)
        beginning(self.corpus, 0)

    def _opened(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[Objective, ...], Head]:
        config = read_config(self.model)
        tokenizer = load_tokenizer(tokenizer_folder(self.model))
        check_pair(tokenizer, config)
        is_decoder = is_decoder_config(config)
        objectives = self.objective or self._usual(config, tokenizer, is_decoder)
        for objective in objectives:
            if (objective.kind == "decoder") != is_decoder:
                raise RecipeError(
                    f"objective: {objective.name} measures {objective.kind}s, and {self.model!r} ({config.model_type}) "
                    "is none; leave objective out"
                )
            objective.check_architecture(config)
            if is_decoder and objective.needs_mask_token and tokenizer.mask_token_id is None:
                raise RecipeError(
                    f"objective: {objective.name} hides tokens, and the tokenizer of {self.model!r} has no mask token; "
                    "leave objective out"
                )
        pairs = any(objective.makes_pairs for objective in objectives)
        head: Head = "causal_lm" if is_decoder else "pretraining" if pairs else "masked_lm"
        return open_trained(self.model, head), tokenizer, objectives, head

    def do(self, display: Display) -> str:
        """One line a figure; the same bits at every call."""
        model, tokenizer, objectives, head = self._opened()
        display.say(f"corpus: {describe(self.corpus)}")
        needs_words = any(objective.needs_words for objective in objectives)
        how = How(head == "causal_lm", self.joiner, 0, self.cache, needs_words)
        store, _ = compiled(self.corpus, "train", tokenizer, how)
        if store.info.cleaning:
            display.say(f"cleaning: {summary(store.info.cleaning)}")
        vocabulary = Vocabulary.of(tokenizer)
        decides = next((objective for objective in objectives if objective.makes_pairs), objectives[0])
        rows = min(64, self.rows)
        positions = max_positions(model.config)
        if self.length != type(self).model_fields["length"].default:
            check_length(self.length, positions)
        length = min(self.length, positions)
        sampler = decides.sampler(store, vocabulary, length, rows, 0)
        source = PretrainingBatches(sampler, objectives, vocabulary, rows, is_evaluation=True)
        counts = np.bincount(store.tokens, minlength=vocabulary.size)
        counts[vocabulary.special] = 0
        compute = Compute(self.precision)
        module = PretrainingModule(model, objectives).to(compute.device)
        figures = evaluate(
            module, objectives, source, compute, steps=min(source.steps_per_epoch, max(1, self.rows // rows)),
            frequent_token=int(counts.argmax()),
        )  # fmt: skip
        return "\n".join(f"{name:<20} {value:.4f}" for name, value in figures.items())

    @staticmethod
    def _usual(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, is_decoder: bool) -> tuple[Objective, ...]:
        if is_decoder:
            is_hybrid = getattr(config, "trained_bidirectional", False) and tokenizer.mask_token_id is not None
            return (OBJECTIVES["hybrid" if is_hybrid else "causal_lm"](),)
        names = ["masked_lm"]
        if any(name.endswith("ForPreTraining") for name in config.architectures or []):
            names.append("next_sentence")
        return tuple(OBJECTIVES[name]() for name in names)
