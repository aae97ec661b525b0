"""How small a difference between two models a number of documents can show."""

import math

from scipy.optimize import brentq

from ptft.tasks.metrics import NORMAL_QUANTILE

_POWER_QUANTILE = 0.8416212335729143  # 80 % of the standard normal distribution


def detectable_paired(num_documents: int, discordant: float) -> float:
    """The smallest difference of two accuracies on the same documents that is found four times out of five.

    By McNemar's test, two-sided at 5 %.

    Args:
        num_documents: That both models answer.
        discordant: Share of the documents that only one of the two gets right, in (0, 1]; two of 80 % that err
            independently have 0.32.

    Returns:
        The difference of the accuracies, at most ``discordant``; infinite where even that is too small to be found.

    Raises:
        ValueError: There are no documents, or the share is not in (0, 1].

    Paper: Miettinen 1968; Connor 1987.

    Example:
        >>> round(detectable_paired(200, 0.1), 3)
        0.062
    """
    if num_documents < 1 or not 0 < discordant <= 1:
        raise ValueError(f"{num_documents} documents of which a share of {discordant} is discordant")

    def excess(difference: float) -> float:
        spread = NORMAL_QUANTILE * math.sqrt(discordant) + _POWER_QUANTILE * math.sqrt(discordant - difference**2)
        return math.sqrt(num_documents) * difference - spread

    return float(brentq(excess, 0, discordant, xtol=1e-12)) if excess(discordant) > 0 else math.inf


def detectable_unpaired(num_documents: int, accuracy: float) -> float:
    """The smallest gain over an accuracy that is found four times out of five on documents of its own.

    By the test of two shares, two-sided at 5 %; each model answers ``num_documents``, which are not the same.

    Args:
        num_documents: That each model answers.
        accuracy: Of the worse model, in [0, 1).

    Returns:
        By how much the better one has to be better; infinite where even an accuracy of 1 is not told apart.

    Raises:
        ValueError: There are no documents, or the accuracy is not in [0, 1).

    Paper: Fleiss, Levin and Paik 2003, section 4.2, without correction for continuity.

    Example:
        >>> round(detectable_unpaired(200, 0.8), 3)
        0.1
    """
    if num_documents < 1 or not 0 <= accuracy < 1:
        raise ValueError(f"{num_documents} documents and an accuracy of {accuracy}")

    def excess(gain: float) -> float:
        better, middle = accuracy + gain, accuracy + gain / 2
        together = NORMAL_QUANTILE * math.sqrt(2 * middle * (1 - middle))
        apart = _POWER_QUANTILE * math.sqrt(accuracy * (1 - accuracy) + better * (1 - better))
        return math.sqrt(num_documents) * gain - together - apart

    most = 1 - accuracy
    return float(brentq(excess, 0, most, xtol=1e-12)) if excess(most) > 0 else math.inf
