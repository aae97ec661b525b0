"""Scores of a text that a model wrote against reference texts: exact match, token F1 and ROUGE."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from ptft.corpus.ngrams import WITHOUT_SPACES, words_of
from ptft.tasks.metrics import summed_figures

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_TOKEN = re.compile(rf"[{WITHOUT_SPACES}]|[^\s{WITHOUT_SPACES}]+")


def scores_of(written: str, references: Sequence[str]) -> dict[str, float]:
    """Each of :data:`SCORES` for one text, in [0, 1]: that against the reference that suits the score best.

    Raises:
        ValueError: There is no reference.
    """
    if not references:
        raise ValueError("a text is scored against no reference")
    return {name: max(score(written, reference) for reference in references) for name, score in SCORES.items()}


def generation_figures(scores: Sequence[Mapping[str, float]], seed: int) -> dict[str, float]:
    """The mean of each of :data:`SCORES` over texts, with ``.low`` and ``.high``.

    Args:
        scores: What :func:`scores_of` gave for each text.
        seed: Key of the resampling.

    Returns:
        Means and percentiles of 1000 bootstrap resamples of the texts.

    Raises:
        ValueError: There are no texts.
    """
    if not scores:
        raise ValueError("the mean of no scores")
    rows = np.array([[row[name] for name in SCORES] + [1.0] for row in scores])
    found = summed_figures(rows, lambda sums: (sums[:, :-1] / sums[:, -1:]).T, seed)
    figures: dict[str, float] = {}
    for name, (value, low, high) in zip(SCORES, found, strict=True):
        figures |= {name: value, f"{name}.low": low, f"{name}.high": high}
    return figures


def raw_match(written: str, reference: str) -> float:
    """1 where both are the same but for white space around them, else 0."""
    return float(written.strip() == reference.strip())


def exact_match(written: str, reference: str) -> float:
    """1 where both are the same once :func:`normalised`, else 0."""
    return float(normalised(written) == normalised(reference))


def token_f1(written: str, reference: str) -> float:
    """F1 over the bags of tokens of both once :func:`normalised`; without tokens on a side 1 if both have none.

    Tokens stand apart by white space; each kana or Han character is one.

    Paper: Rajpurkar et al. 2016, section 6.1, arXiv 1606.05250.
    """
    one, other = (_TOKEN.findall(normalised(text)) for text in (written, reference))
    return _bag_f1(one, other) if one and other else float(one == other)


def normalised(text: str) -> str:
    """The text in small letters without punctuation, English articles and superfluous white space.

    Paper: Rajpurkar et al. 2016, arXiv 1606.05250. Differs: punctuation of all scripts goes, not of ASCII only, as in
    Lewis et al. 2020, arXiv 1910.07475.

    Example:
        >>> normalised("The  Eiffel Tower, in “Paris”!")
        'eiffel tower in paris'
    """
    plain = "".join(char for char in text.lower() if not _is_punctuation(char))
    return " ".join(_ARTICLE.sub(" ", plain).split())


def rouge_n(written: str, reference: str, n: int) -> float:
    """ROUGE-N: F1 over the bags of n-grams of words; 0 where a side has none.

    Words are those of :func:`~ptft.corpus.ngrams.words_of`, in any script and not stemmed.

    Paper: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries". Differs: F1 in place of recall, as the
    package ``rouge_score`` (without stemmer), whose words are of ASCII letters and digits only.
    """
    one, other = (words_of(text) for text in (written, reference))
    return _bag_f1(*([tuple(words[at : at + n]) for at in range(len(words) - n + 1)] for words in (one, other)))


def rouge_l(written: str, reference: str) -> float:
    """ROUGE-L: F1 from the longest common subsequence of words over the whole text; see :func:`rouge_n`."""
    one, other = words_of(written), words_of(reference)
    return 2 * common_subsequence(one, other) / max(1, len(one) + len(other))


def common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest common subsequence.

    Paper: Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    places: dict[str, int] = {}
    for at, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << at
    every = (1 << len(left)) - 1
    open_places = every
    for word in right:
        hits = open_places & places.get(word, 0)
        open_places = ((open_places + hits) | (open_places - hits)) & every
    return len(left) - open_places.bit_count()


def _bag_f1(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    return 2 * (Counter(one) & Counter(other)).total() / max(1, len(one) + len(other))


def _is_punctuation(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


SCORES: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "raw_match": raw_match,
    "f1": token_f1,
    "rouge1": lambda written, reference: rouge_n(written, reference, 1),
    "rouge2": lambda written, reference: rouge_n(written, reference, 2),
    "rougeL": rouge_l,
}
"""Scores of a written text against one reference, by the name of their figures."""
