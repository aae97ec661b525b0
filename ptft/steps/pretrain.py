"""The step ``pretrain``: a model from text, or more training for any checkpoint."""

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.compute import Compute, limit_threads
from ptft.config import plain
from ptft.corpus.sources import describe, title
from ptft.display import Display
from ptft.errors import DataError
from ptft.models.building import (
    grow_embeddings,
    grown_size,
    growth_note,
    new_config,
    new_model,
    open_model,
    save_model,
)
from ptft.models.flops import Flops, model_flops
from ptft.models.packed_attention import choose_packed_attention
from ptft.models.prediction import has_sparse_head
from ptft.models.presets import PRESETS
from ptft.steps.cleaning_report import show_cleaning
from ptft.steps.compiled import How
from ptft.steps.emergence import Asking, PromptingSettings
from ptft.steps.folder import parent
from ptft.steps.milestones import Milestones, written_milestones
from ptft.steps.pretrain_settings import PretrainSettings
from ptft.steps.pretraining_data import PretrainingData, RowSettings, TrainingData, held_out, training_data
from ptft.steps.step import Place, Result
from ptft.steps.vocabulary import own_tokenizer
from ptft.tokenization import load_tokenizer, tokenizer_folder, tokenizer_hash
from ptft.training.aside import write_aside
from ptft.training.best import Best
from ptft.training.budget import Budget
from ptft.training.evaluation import evaluate
from ptft.training.meters import Cost, speed
from ptft.training.session import fit
from ptft.training.totals import Totals
from ptft.training.work import PretrainingModule


class Pretrain(PretrainSettings):
    """Pretrain a model on text: masked LM with or without next-sentence prediction, or causal LM.

    ``center_embeddings``: Adam gives the rows of rare tokens steps as large as those of frequent ones, so the rows of
    embeddings that are tied to the output drift together (Stollenwerk and Stollenwerk 2025, arXiv 2502.08441) until
    what they have in common drowns what tells them apart. What is common to all rows changes no prediction, since a
    softmax does not see it, and is taken away.
    """

    name: ClassVar[str] = "pretrain"
    compiles_usually: ClassVar[bool] = True
    prompting: PromptingSettings = PromptingSettings()
    """What a decoder is asked whenever it is measured (prompting.tasks, prompting.k): ``prompt.`` in the log."""

    def check(self) -> None:
        """Refuse what cannot work before anything is written."""
        super().check()
        self.prompting.check(is_decoder=self.head == "causal_lm", evaluate_every_steps=self.evaluate_every_steps)

    def work(self, place: Place) -> Result:
        """Tokenizer, token store, training, evaluation, checkpoint."""
        limit_threads(self.threads)
        compute = self.compute(place.folder)
        compiled = self.compiles(compute.device.type)
        with compute.main_first():
            tokenizer = self.with_added_tokens(self._tokenizer(place))
        model, new_weights = self._model(tokenizer, place)
        self._say(model, new_weights, place.display)
        for objective in self.objective:
            objective.annotate(model.config)
        with compute.main_first():
            data = self._data(tokenizer, place, is_static=compiled)
        self.prepare(model, compute, self.row_length)
        module = PretrainingModule(model, self.objective)
        compute.place(module)
        centered = model.get_input_embeddings().parameters() if self.center_embeddings else ()
        optimizers = self.optimizers(module, compute, self.lr, centered)
        train = data.train.batches
        flops = model_flops(model, self.attended_length)
        words_per_token = data.train.words_per_token
        train.total_steps = steps = self._steps(data.train, flops)
        plan = self.plan(
            steps, self.seed, compiled=compiled, seconds=Budget.parse(self.budget).seconds,
            evaluate_every_steps=self.evaluate_every_steps,
        )  # fmt: skip

        @cache  # the last step may be measured while training as well
        def measure(step: int) -> dict[str, float]:
            if data.valid is None:
                return {}
            return evaluate(
                compute.whole(module), self.objective, data.valid.batches, compute,
                steps=data.valid.steps, frequent_token=data.train.frequent_token,
            )  # fmt: skip

        if self.trackers:
            compute.start_trackers("ptft", plain(self))

        def write(folder: Path) -> None:
            save_model(model, tokenizer, folder)

        def write_averaged(folder: Path) -> None:
            with optimizers.averaged():
                write(folder)

        best = Best(place.folder / "best", write) if self.keep_best else None
        asking = Asking(self.prompting, model, tokenizer, compute, place.display.say) if self.prompting.tasks else None

        def measure_and_keep(step: int) -> dict[str, float]:
            figures = measure(step)
            if best is not None:
                best.measured(step, self.total_loss(figures), is_main=compute.is_main)
            asked = asking.measured(step, compute.whole(module).model) if asking is not None else {}
            return {f"valid.{name}": value for name, value in figures.items()} | asked

        marks = Milestones(
            place.folder / "milestones", self.milestones_words, words_per_token, write_averaged, place.display
        )
        totals = fit(
            module, module.weights, train, optimizers, self.schedule, compute, plan, place.display, what="pretraining",
            folder=place.folder, identity=self.identity(data.hashes, tokenizer, model, steps), best=best,
            cost=Cost.on(compute, flops), measure=measure_and_keep, marks=marks if self.milestones_words else None,
        )  # fmt: skip
        figures = measure(totals.step)
        trained = compute.whole(module).model
        if asking is not None:
            figures |= asking.measured(totals.step, trained, always=True)
        if compute.is_main:
            write_aside(place.folder / "model", "model", lambda folder: save_model(trained, tokenizer, folder))
        compute.end()
        result = self._result(data.train, tokenizer, totals, figures, model)
        if best is not None:
            result.lineage["best"] = best.facts()
        if self.milestones_words:
            result.lineage["milestones"] = written_milestones(place.folder / "milestones")
        return result

    def prepare(self, model: PreTrainedModel, compute: Compute, length: int) -> None:
        """Packed rows have an attention of their own."""
        if self.packed_length:
            device_type = compute.device.type
            texts = 1 if self.compiles(device_type) else self.texts_a_row  # text by text, no two batches have one shape
            choose_packed_attention(model, self.packed_attention, device_type, compute.precision, texts)
        super().prepare(model, compute, length)

    def _steps(self, data: TrainingData, flops: Flops) -> int:
        """Updates until the end of the budget, 0 where it is a time; micro-batches have no part in it."""
        train, fill = data.batches, self.batch_ramp.fill
        per_slot = flops.of(1, train.predictions_per_slot())
        size = cache(lambda: train.size_per_step(self.rows_per_step))
        return Budget.parse(self.budget).steps(
            steps_per_epoch=train.steps_per_epoch / fill,
            tokens_per_step=lambda: fill * size().tokens,
            words_per_step=lambda: fill * size().text_tokens * data.words_per_token,
            flops_per_step=lambda: fill * per_slot * size().slots,
        )

    def _result(
        self,
        data: TrainingData,
        tokenizer: PreTrainedTokenizerBase,
        totals: Totals,
        figures: dict[str, float],
        model: PreTrainedModel,
    ) -> Result:
        words = totals.num_text_tokens * data.words_per_token
        seen = {"tokens": float(totals.num_tokens), "words": float(round(words)), "steps": float(totals.step)}
        lineage: dict[str, Any] = {
            "step": self.name,
            "corpus": {"path": title(self.corpus), "hash": data.fingerprint, **data.counts()},
            "tokenizer": {"hash": tokenizer_hash(tokenizer), "path": self.tokenizer},
            "parents": [parent(name) for name in (self.model, self.tokenizer) if name],
            "seeds": [self.seed],
            "tokens_seen": totals.num_tokens,
            "words_seen": round(words),
        }
        parameters = float(sum(p.numel() for p in model.parameters()))
        used = {"parameters": parameters, "seconds": totals.seconds, **speed([totals])}
        return Result({**figures, **seen, **used}, lineage=lineage)

    def _say(self, model: PreTrainedModel, new_weights: list[str], display: Display) -> None:
        if new_weights:
            display.say(f"drawn anew, since {self.model} lacks them: {', '.join(new_weights)}")
        if not has_sparse_head(model):
            display.say(f"{model.config.model_type}: logits at all positions (slower): no sparse head is known for it")

    def _tokenizer(self, place: Place) -> PreTrainedTokenizerBase:
        if name := self.tokenizer or self.model:
            return load_tokenizer(tokenizer_folder(name))
        positions = PRESETS[self.preset].positions
        return own_tokenizer(place, self.corpus, self._new_tokenizer(), model_max_length=positions, seed=self.seed)

    def _model(self, tokenizer: PreTrainedTokenizerBase, place: Place) -> tuple[PreTrainedModel, list[str]]:
        seed = int(rng.bits(self.seed, rng.key_of("weights"))) >> 1
        if self.model and self.init == "pretrained":
            model, missing = open_model(self.model, self.head, seed, self.read_config())
            if note := growth_note(model.config.vocab_size, len(tokenizer)):
                place.display.say(note)
            grow_embeddings(model, len(tokenizer))
            if self.head == "causal_lm":  # a fine-tuned one may look both ways
                model.config.is_causal = True
            return model, missing
        config = self._new_config(tokenizer) if self.preset else self.read_config()
        if self.head == "causal_lm":
            config.is_causal, config.trained_bidirectional = True, False
        config.vocab_size = grown_size(config.vocab_size, len(tokenizer))
        return new_model(
            config, self.head, seed, embedding_std=self.embedding_std, position_init=self.position_init
        ), []

    def _new_config(self, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
        preset = PRESETS[self.preset]
        return new_config(preset, tokenizer, positions=preset.positions, dropout=self.preset_dropout, shape=self.shape)

    def _data(self, tokenizer: PreTrainedTokenizerBase, place: Place, *, is_static: bool) -> PretrainingData:
        place.display.say(f"corpus: {describe(self.corpus)}")
        needs_words = any(objective.needs_words for objective in self.objective)
        how = How(self.head == "causal_lm", self.joiner, self.seed, self.cache, needs_words)
        versions = self.duplicates if self.static else 0
        limits = (self.length, self.rows_per_step, self.seed, versions, self.batch_ramp)
        rows = RowSettings(self.objective, *limits, self.packing, is_static)
        train = training_data(self.corpus, tokenizer, how, rows)
        show_cleaning(train.store.info.cleaning, place)
        if not self.valid and not self.corpus.valid_ratio:
            return PretrainingData(train)
        part: Literal["train", "valid"] = "train" if self.valid else "valid"
        corpus = self._valid_corpus() if self.valid else self.corpus
        try:
            return PretrainingData(train, held_out(corpus, part, tokenizer, how, rows, self.evaluation_rows))
        except DataError as error:
            if self.valid:
                raise
            if self.keep_best:
                raise DataError(
                    f"keep_best: needs held-out text, but the {self.corpus.valid_ratio:.2%} held out cannot be "
                    f"measured: {error}; or give a larger corpus.valid_ratio, or valid=FILE"
                ) from None
            place.display.say(f"nothing is evaluated on held-out text: {error}")
        return PretrainingData(train)
