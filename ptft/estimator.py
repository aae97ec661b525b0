"""Fine-tuned models as estimators of scikit-learn: ``fit``, ``predict``, ``score``, cross-validation, searches."""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ptft.compute import Compute, limit_threads
from ptft.config import load
from ptft.config.kinds import annotation_of, choice_of
from ptft.display import Silent
from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.family import nearest
from ptft.finetuning.calibrating import calibrate
from ptft.finetuning.classification import predict_logits, predict_probabilities
from ptft.finetuning.texts import encode_examples
from ptft.models.classifier_files import open_classifier, save_classifier
from ptft.steps.finetune import Encoded, Finetune, train_one
from ptft.steps.finetune_settings import FinetuneSettings
from ptft.tasks.problem import Values
from ptft.tasks.task import Example, Label, TaskData
from ptft.tokenization import load_tokenizer, tokenizer_folder
from ptft.training.aside import is_unwritable, written_aside

# Settings of the command that are about tables and run folders.
_TABLES = {"data", "valid", "test", "text", "text_a", "text_b", "label", "choices", "problem"}
_FOLDERS = {"out", "resume", "trackers", "cache", "log_every_steps", "checkpoint_every_steps", "keep_checkpoints"}
_WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d*")

Read = Callable[[Any, int], Label]
"""Makes the label of an example of a value and its place."""


def _defaults() -> dict[str, Any]:
    """The settings of ``ptft finetune`` that an estimator has, ``model`` first; None stands for a default of several.

    A member of a family that has its own defaults is its bare name.
    """
    found = {}
    for name, field in FinetuneSettings.model_fields.items():
        if name in _TABLES | _FOLDERS:
            continue
        value = field.get_default(call_default_factory=True)
        if choice_of(annotation_of(field)) is not None:
            value = value.name if value == type(value)() else None
        found[name] = value if isinstance(value, str | int | float | tuple) else None
    return {"model": found.pop("model"), **found}


_DEFAULTS = _defaults()


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What estimators of all problems share."""

    _problem: ClassVar[str]

    def __init__(self, model: str = "", **settings: Any) -> None:
        for name in settings:
            if name not in _DEFAULTS:
                raise RecipeError(f"{type(self).__name__}: unknown setting {name!r}{nearest(name, _DEFAULTS)}")
        for name, value in {**_DEFAULTS, "model": model, **settings}.items():
            setattr(self, name, value)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        return tags

    @classmethod
    def load(cls, name: str | Path, **settings: Any) -> Self:
        """Open a fine-tuned model: what :meth:`save` wrote, a run folder, a checkpoint folder or a Hub name.

        Args:
            name: Where it is.
            settings: Those that predictions heed, such as ``length`` (if not given that of the model's own training),
                and those of another ``fit``.

        Raises:
            CheckpointError: There is no fine-tuned model, or it is for another problem.
            RecipeError: A setting cannot be.
        """
        made = cls(str(name), **settings)
        chosen = made._settings()
        classifier = open_classifier(name)
        if classifier.problem.name != cls._problem:
            raise CheckpointError(
                f"{str(name)!r} was fine-tuned for {classifier.problem.name}, and {cls.__name__} is for "
                f"{cls._problem}; use ptft predict, or give another model"
            )
        tokenizer = load_tokenizer(tokenizer_folder(str(name)))
        length = classifier.input_length("model" if settings.get("length") is None else chosen.length)
        made._keep(classifier.eval(), tokenizer, length)
        return made

    def save(self, folder: str | Path) -> None:
        """Write the fitted model into a new folder: what ``ptft finetune`` writes into ``model/``, but for the card.

        Raises:
            RecipeError: There is such a folder already, or it cannot be written.
            sklearn.exceptions.NotFittedError: There is no model yet.
        """
        check_is_fitted(self, "classifier_")
        target = Path(folder)
        if target.exists():
            raise RecipeError(f"{str(folder)!r} exists already; name another folder")
        try:
            with written_aside(target) as partial_folder:
                save_classifier(self.classifier_, self.tokenizer_, partial_folder)
        except Exception as error:
            if not is_unwritable(error):
                raise
            raise RecipeError(f"{str(folder)!r} cannot be written ({error}); name another folder") from error

    def _settings(self) -> Finetune:
        given = {name: getattr(self, name) for name in _DEFAULTS}
        values = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        told = {name: value for name, value in values.items() if value is not None}
        base = {**told, "data": "texts", "problem": self._problem}
        return load(Finetune, base=base, base_origin=type(self).__name__).settings

    def _train(self, train: Sequence[Example], valid: Sequence[Example], labels: tuple[str, ...]) -> None:
        """Fine-tune as the command does, without a folder."""
        settings = self._settings()
        settings.check_start()
        settings.check_model()
        limit_threads(settings.threads)
        compute = Compute(settings.precision, deterministic=settings.deterministic)
        if settings.keep_best and not valid:
            raise RecipeError(
                "keep_best: measures epochs on rows that are not trained on; give validation=(texts, labels)"
            )
        data = TaskData("texts", labels, tuple(train), tuple(valid), {}, self._problem)
        data = settings.as_the_head_has_them(data)
        tokenizer = settings.open_tokenizer(data)
        encoded = Encoded.of(data, tokenizer, settings.length)
        classifier, _ = train_one(settings, encoded, tokenizer, settings.seed, compute, Silent(), lr=settings.lr)
        if valid:
            calibrate(classifier, data.valid, predict_logits(classifier, encoded.valid, compute))
        self._keep(classifier.eval(), tokenizer, settings.length)

    def _keep(self, classifier: Any, tokenizer: Any, length: int) -> None:
        self.classifier_, self.tokenizer_, self.length_ = classifier, tokenizer, length

    def _scores(self, texts: Any) -> Values:
        check_is_fitted(self, "classifier_")
        examples = examples_of(texts, pairs=self.classifier_.reading.pairs)
        compute = Compute(self._settings().precision)
        encoded = encode_examples(examples, self.classifier_.problem, self.tokenizer_, self.length_)
        return predict_probabilities(self.classifier_, encoded, examples, compute)


def _shown_signature() -> inspect.Signature:
    """That of the constructor with all settings, where scikit-learn reads an estimator's parameters."""
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    model = inspect.Parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD, default="")
    others = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in _DEFAULTS.items()
        if name != "model"
    ]
    return inspect.Signature([own, model, *others])


_Estimator.__init__.__signature__ = _shown_signature()  # type: ignore[attr-defined]


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A text classifier that is fine-tuned by ``fit``, in scikit-learn's habit.

    Settings are those of ``ptft finetune`` that are not about tables and run folders, with the same defaults (None
    takes the default); they are checked by ``fit``. Texts are a list, an array or a series of texts or of pairs (a
    tuple, or a row of two columns). Labels are text or whole numbers, and predictions are of their type. No file is
    written. The same seed gives the same bits on a CPU, those of ``ptft finetune`` on the same rows.

    Args:
        model: The pretrained checkpoint: a folder, a run folder or a Hub name.
        settings: Such as ``policy="full"``, ``budget="4epochs"``, ``lr=3e-4``, ``length=128``, ``seed=0``.

    Attributes:
        classes_: The labels, sorted.
        classifier_, tokenizer_, length_: The fitted model, its tokenizer, and the longest input in tokens.

    Raises:
        RecipeError: There is no such setting.

    Example:
        >>> model = Classifier("runs/encoder", policy="frozen").fit(texts, labels)  # doctest: +SKIP
        >>> cross_val_score(Classifier("runs/encoder"), texts, labels, cv=3)  # doctest: +SKIP
    """

    _problem = "classification"

    def fit(self, X: Any, y: Any, *, validation: tuple[Any, Any] | None = None) -> Self:
        """Fine-tune on labelled texts.

        Args:
            X: The texts or pairs.
            y: A label for each.
            validation: Texts and labels that are not trained on; a temperature is fitted to them, if they are 30 or
                more (see :func:`ptft.tasks.calibration.fitted`).

        Raises:
            UserError: A setting, a text or a label cannot be used.
        """
        train, given = _labelled(X, y, "", _class)
        known = {str(example.label) for example in train}
        if len(known) < 2:
            raise DataError(
                f"labels: all are {given[0]!r}; allowed: two different ones or more; add texts of another label"
            )
        values = np.unique(np.asarray(y))
        names = tuple(_class(value, index) for index, value in enumerate(values))
        if len(set(names)) < len(names):
            raise DataError(f"labels: some differ by spaces only; allowed: {', '.join(map(repr, sorted(known)))}")
        valid = [] if validation is None else _labelled(*_pair(validation), "validation ", partial(_known, names))[0]
        self._train(train, valid, names)
        self.classes_ = values
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each text, of the labels' own type."""
        probabilities = self.predict_proba(X)
        best: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return best

    def predict_proba(self, X: Any) -> Float[ndarray, "texts labels"]:
        """The probability of each label, in the order of ``classes_``, with the temperature if one was fitted."""
        found = np.asarray(self._scores(X))
        places = {name: place for place, name in enumerate(self.classifier_.labels)}
        return found[:, [places[_class(value, index)] for index, value in enumerate(self.classes_)]]

    def _keep(self, classifier: Any, tokenizer: Any, length: int) -> None:
        """Keep an opened model too: its labels are text, or numbers where all are whole numbers."""
        super()._keep(classifier, tokenizer, length)
        labels = classifier.labels
        self.classes_ = np.unique([int(v) for v in labels] if all(map(_WHOLE_NUMBER.fullmatch, labels)) else labels)


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A model that gives a text or pair a number, fine-tuned by ``fit``; all else is as in :class:`Classifier`.

    ``score`` is scikit-learn's for regressors, the coefficient of determination.
    """

    _problem = "regression"

    def fit(self, X: Any, y: Any) -> Self:
        """Fine-tune on texts or pairs ``X`` with a number ``y`` for each.

        Raises:
            UserError: A setting, a text or a number cannot be used.
        """
        train, _ = _labelled(X, y, "", _number)
        if len({example.label for example in train}) < 2:
            raise DataError(f"labels: all are {train[0].label!r}; allowed: two different numbers or more; add others")
        self._train(train, [], ())
        return self

    def predict(self, X: Any) -> Float[ndarray, " texts"]:
        """The number of each text, in the labels' unit."""
        return np.asarray(self._scores(X))


def examples_of(texts: Any, what: str = "texts", pairs: bool | None = None) -> list[Example]:
    """Texts or pairs from a caller as examples without labels, spaces around them left out.

    Args:
        texts: A list, array, series or table of texts, or of pairs of texts.
        what: What messages call them.
        pairs: Whether pairs are wanted; None for either.

    Raises:
        DataError: There is none, one is no text, some are pairs and others are not, or they are not what is wanted.
    """
    if isinstance(texts, str | Mapping) or not hasattr(texts, "__len__"):
        raise DataError(f"{what}: {type(texts).__name__} is no list of texts; give a list, an array or a series")
    rows = [*(texts.to_numpy() if hasattr(texts, "to_numpy") else texts)]
    if not rows:
        raise DataError(f"{what}: there is none; give one text or more")
    is_pair = not isinstance(rows[0], str)
    if pairs is not None and is_pair != pairs:
        kinds = "pairs (a, b) of texts", "single texts"
        learned, given = kinds if pairs else kinds[::-1]
        raise DataError(f"{what}: the model was fine-tuned on {learned}, and these are {given}; give {learned}")
    found = []
    for index, row in enumerate(rows):
        parts = [row] if isinstance(row, str) else [*row] if isinstance(row, Sequence | ndarray) else [row]
        if len(parts) != 1 + is_pair or not all(isinstance(part, str) for part in parts):
            like_first = f"{'pairs of texts' if is_pair else 'texts'}, as the first one is"
            wanted = like_first if index else "texts, or pairs (a, b) of texts"
            raise DataError(f"{what}[{index}] is {_short(row)}; allowed: {wanted}; mend it, or leave it out")
        first, second = [part.strip() for part in parts] + [""] * (not is_pair)
        found.append(Example(first, "", second, f"{what}[{index}]", index + 1))
    return found


def _labelled(texts: Any, labels: Any, what: str, read: Read) -> tuple[list[Example], list[Any]]:
    """Examples with labels, and the labels as they were given."""
    examples = examples_of(texts, f"{what}texts")
    if isinstance(labels, str) or not hasattr(labels, "__len__"):
        raise DataError(f"{what}labels: {_short(labels)} is no list of labels; give one label for each text")
    values = [value.item() if isinstance(value, np.generic) else value for value in labels]
    if len(values) != len(examples):
        raise DataError(
            f"{len(examples)} {what}texts and {len(values)} {what}labels; allowed: one label for each text; give as "
            "many"
        )
    named = [replace(row, label=read(values[index], index)) for index, row in enumerate(examples)]
    is_text = [isinstance(value, str) for value in values]
    if len({*is_text}) > 1:
        other = is_text.index(not is_text[0])
        raise DataError(
            f"{what}labels[{other}] is {_short(values[other])} and {what}labels[0] is {_short(values[0])}: some are "
            "text and some are not; allowed: labels of one type; give such"
        )
    return named, values


def _class(value: Any, index: int) -> str:
    """The name of a label."""
    value = value.item() if isinstance(value, np.generic) else value
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not (is_whole or (isinstance(value, str) and value.strip())):
        raise DataError(f"labels[{index}] is {_short(value)}, which is no class; allowed: text or whole numbers")
    return str(int(value)) if isinstance(value, float) else str(value).strip()


def _known(names: Sequence[str], value: Any, index: int) -> str:
    name = _class(value, index)
    if name not in names:
        raise DataError(f"validation labels[{index}] is {value!r}, which no text to train on has{nearest(name, names)}")
    return name


def _number(value: Any, index: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"labels[{index}] is {_short(value)}, which is no number to learn; allowed: finite numbers")
    return float(value)


def _pair(validation: Any) -> tuple[Any, Any]:
    if not isinstance(validation, tuple) or len(validation) != 2:
        raise DataError("validation is no pair; give (texts, labels)")
    return validation


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
