"""Figures as rows and words: one dictionary says what each figure means, for the terminal, the page and the card."""

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

MEANINGS: dict[str, str] = {
    "*mlm.accuracy": "share of masked tokens guessed right on held-out text",
    "*mlm.baseline": "share of masked tokens guessed right by always saying the most frequent token",
    "*mlm.loss": "mean loss of a masked token on held-out text, in nats; lower is better",
    "*mlm.perplexity": "tokens the model hesitates between, on average, at a masked position; lower is better",
    "*nsp.accuracy": "share of held-out pairs told apart: the real next sentence or one from elsewhere",
    "*nsp.baseline": "share of pairs told apart by always giving the more frequent answer",
    "*nsp.loss": "mean loss of a sentence pair on held-out text, in nats; lower is better",
    "*clm.perplexity": "tokens the model hesitates between, on average, for the next token of held-out text;"
    " lower is better",
    "*clm.accuracy": "share of next tokens guessed right on held-out text",
    "*clm.baseline": "share of next tokens guessed right by always saying the most frequent token",
    "*clm.loss": "mean loss of a next token on held-out text, in nats; lower is better",
    "*hybrid.loss": "mean loss of a row, in nats, hidden tokens or next ones: a mean over its predictions",
    "*hybrid.causal_accuracy": "share of next tokens guessed right on held-out text",
    "*hybrid.causal_perplexity": "tokens the model hesitates between for the next token of held-out text",
    "*hybrid.masked_accuracy": "share of masked tokens guessed right on held-out text",
    "*hybrid.masked_perplexity": "tokens the model hesitates between at a masked position of held-out text",
    "*.masked_accuracy": "share of masked tokens guessed right on {of}",
    "*.bits_per_byte": "bits the model needs for a byte of text on {of}; lower is better",
    "*.perplexity": "tokens the model hesitates between, on average, on {of}; lower is better",
    "*.accuracy": "share of rows answered right on {of}",
    "*.macro_f1": "F1 averaged over the labels, each label counting the same, on {of}",
    "*.micro_f1": "F1 of all labels together on {of}",
    "*.exact_match": "share of rows with exactly their labels on {of}",
    "*.precision": "share of the entities found that are right, on {of}",
    "*.recall": "share of the entities that are found, on {of}",
    "*.token_accuracy": "share of words with their tag on {of}",
    "*.rmse": "root of the mean squared error on {of}, in the labels' unit; lower is better",
    "*.f1": "harmonic mean of precision and recall on {of}",
    "*.mcc": "Matthews correlation on {of}: 1 is perfect, 0 is chance",
    "*.spearman": "rank correlation with the gold scores on {of}",
    "*.pearson": "linear correlation with the gold scores on {of}",
    "*.k[0-9]*.detectable": "how much better another model must be to be told apart on so many rows",
    "*.k[0-9]*.variance_*": "part of a single answer's variance that comes from this",
    "*.k[0-9]*.order_*": "over the orders in which the same examples are shown",
    "*.k[0-9]*.*_entropy": "of the answers, in nats; low where an order favours one of them",
    "*.random": "accuracy of guessing",
    "*.prior": "accuracy of guessing each answer as often as it is right",
    "*.k[0-9]*": "share answered right on {of}, with this many examples in the prompt",
    "*.difference": "the first method's main figure minus the second's, seed by seed",
    "*.difference.*": "the first method's main figure minus this one's, seed by seed",
    "*.[0-9]*.majority": "accuracy of always giving the most frequent label of the training rows",
    "*.majority": "accuracy of always giving the most frequent answer on {of}",
    "*_baseline": "the same by always saying the most frequent token",
    "*.baseline": "what an answer that ignores the input scores on {of}",
    "*.nll": "mean of minus the logarithm of the true label's probability on {of}, in nats; lower is better",
    "*.ece": "how far probabilities are from shares of right answers on {of}, on average; lower is better",
    "*.nll_calibrated": "the same with the temperature, which was fitted on these rows, or is 1",
    "*.ece_calibrated": "the same with the temperature, which was fitted on these rows, or is 1",
    "*.temperature": "what logits are divided by before they become probabilities; 1 where none was fitted",
    "*.loss": "mean loss on {of}, in nats; lower is better",
    "*.sd": "standard deviation over the seeds",
    "failed_seeds": "seeds whose model gives all test rows the same answer",
    "truncated_ratio": "share of the training texts that were longer than length and cut",
    "failed": "results where every test row got the same answer",
    "*.low": "lower end of the 95 % interval on {of}",
    "*.high": "upper end of the 95 % interval on {of}",
    "*.n": "number of rows scored on {of}",
    "*bytes_per_token": "bytes of held-out text (UTF-8) in a token; higher is better",
    "*fertility": "tokens a word of held-out text, a word being what stands between spaces; lower is better",
    "*unknown_ratio": "share of tokens of held-out text that are the unknown token",
    "*split_ratio": "share of words of held-out text that are several tokens, the marks around a word left out",
    "vocabulary": "tokens of the vocabulary, special tokens included",
    "loss": "mean training loss at the last logged step, in nats; lower is better",
    "n": "number of test rows scored",
    "*tokens_per_second": "real tokens trained on per second",
    "*mfu": "model FLOPs, by formula, over what the device could have done at best in the same time",
    "*padding_ratio": "padding's share of all positions that went through the model",
    "*data_wait_ratio": "share of the time of training spent waiting for data",
    "*head_share": "the vocabulary head's share of the model FLOPs",
    "*memory_gb": "most memory allocated on the device, in GB",
    "*parameters": "weights in the model, each counted once",
    "*steps": "optimizer updates made",
    "*step": "optimizer updates made",
    "*tokens": "tokens seen, each as often as it was seen",
    "*words": "words seen, each as often as it was seen",
    "*seconds": "time taken, in seconds",
    "*epochs": "passes over the training data",
    "*seeds": "number of seeds run",
    "lr": "learning rate",
    "*.lr": "learning rate",
}
"""What a figure means, by pattern of its name; the first pattern that fits wins, ``{of}`` is what was measured."""

_NO_MEASUREMENT = ("low", "high", "majority", "baseline", "n")
_MEASURED_ON = {
    "test": "the test rows",
    "valid": "the validation data",
    "train": "the training data",
    "L": "test set L, whose words also occur in labelled training rows",
    "H": "test set H, whose words occur in no labelled training row",
}


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def meaning(name: str) -> str:
    """Explain a figure in one line; an unknown name has no explanation.

    Example:
        >>> meaning("test.majority")
        'accuracy of always giving the most frequent answer on the test rows'
    """
    where = name.rpartition(".")[0]
    task, _, last = where.rpartition(".")
    measured_on = _MEASURED_ON.get(last, last) + (f" of {_MEASURED_ON.get(task, task)}" if task else "")
    for pattern, text in MEANINGS.items():
        if fnmatchcase(name, pattern):
            return text.replace("{of}", measured_on)
    return ""


def format_value(value: float) -> str:
    """Write a number for reading: counts with thousands separators, ratios with three digits.

    Example:
        >>> format_value(1048576), format_value(0.84), format_value(45.678), format_value(2e-5)
        ('1,048,576', '0.840', '45.68', '2e-05')
    """
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 10):
        return f"{value:,.0f}"
    if not math.isfinite(value):
        return str(value)
    if value != 0 and abs(value) < 0.001:
        return f"{value:.3g}"
    if abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def format_duration(seconds: float) -> str:
    """Write a time in its largest unit that makes two or more of it.

    Example:
        >>> format_duration(90), format_duration(7200), format_duration(400 * 86400)
        ('90.0 s', '2.0 h', '400.0 days')
    """
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"


def format_count(count: float) -> str:
    """Write a number of labels or shots.

    Example:
        >>> format_count(1024)
        '1,024'
    """
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:g}"


def format_interval(value: float, low: float, high: float) -> str:
    """Write a figure with the ends of its interval.

    Example:
        >>> format_interval(0.842, 0.81, 0.871)
        '0.842 (0.810 to 0.871)'
    """
    return f"{format_value(value)} ({format_value(low)} to {format_value(high)})"


def final_table(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Turn the flat keys of a ``result.json`` into rows for people.

    The ends of an interval are shown with the figure they belong to: ``topic.k8.low`` with ``topic.k8``, and
    ``test.low`` with the first ``test.`` figure that lies between ``test.low`` and ``test.high``, which is the one the
    interval was made for. Keys that hold no number are left out, and a standard deviation beside an interval.

    Returns:
        Name, value as text, and meaning (empty where unknown) of each figure, in the order of the result.
    """
    figures = {
        name: value for name, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    intervals = {name: place for place in _intervals(figures) if (name := _owner(place, figures))}
    shown_with = {f"{place}.{end}" for place in intervals.values() for end in ("low", "high", "sd")}
    rows = []
    for name, value in figures.items():
        if name in shown_with:
            continue
        text = meaning(name)
        if name in intervals:
            place = intervals[name]
            shown = format_interval(value, figures[f"{place}.low"], figures[f"{place}.high"])
            rows.append((name, shown, f"{text}; with its 95 % interval".removeprefix("; ")))
        else:
            rows.append((name, format_value(value), text))
    return rows


def _intervals(figures: Mapping[str, float]) -> list[str]:
    return [name[:-4] for name in figures if name.endswith(".low") and f"{name[:-4]}.high" in figures]


def _owner(place: str, figures: Mapping[str, float]) -> str:
    """The figure that ``place.low`` and ``place.high`` belong to; empty where none fits."""
    if place in figures:
        return place
    low, high = figures[f"{place}.low"], figures[f"{place}.high"]
    for name, value in figures.items():
        where, _, last = name.rpartition(".")
        if where == place and last not in _NO_MEASUREMENT and low <= value <= high:
            return name
    return ""
