import numpy as np
import pytest
from scipy.stats import entropy

from ptft.prompting.statistics import order_sensitivity


def test_figures_are_those_written_out():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(3), size=(4, 50))
    gold = random.integers(0, 3, 50)
    # A prompt's probabilities of the labels need not sum to 1: other texts could follow.
    found = order_sensitivity(np.log(probabilities) - random.gamma(2, size=(4, 50, 1)), gold)
    predicted = probabilities.argmax(-1)
    accuracies = (predicted == gold).mean(1)
    assert found.accuracies.tolist() == accuracies.tolist()
    for order in range(4):
        counts = np.bincount(predicted[order], minlength=3)
        assert found.global_entropies[order] == pytest.approx(entropy(counts))
        assert found.local_entropies[order] == pytest.approx(np.mean([entropy(row) for row in probabilities[order]]))
    assert found.figures == pytest.approx({
        "mean": accuracies.mean(), "sd": accuracies.std(ddof=1), "min": accuracies.min(), "max": accuracies.max()
    })  # fmt: skip


def test_an_order_that_favors_one_label_has_no_global_entropy():
    always, fair = [[-0.1, -3.0]] * 4, [[-0.1, -3.0], [-3.0, -0.1]] * 2
    found = order_sensitivity(np.array([always, fair]), np.array([0, 1, 0, 1]))
    assert found.global_entropies == pytest.approx([0, np.log(2)])
    assert found.accuracies.tolist() == [0.5, 1]


def test_equal_labels_are_predicted_by_their_shares():
    found = order_sensitivity(np.full((1, 5, 4), -2.0), np.zeros(5, int))
    assert found.global_entropies == pytest.approx([np.log(4)])
    assert found.local_entropies == pytest.approx([np.log(4)])
    assert found.figures == {"mean": 0.25, "sd": 0.0, "min": 0.25, "max": 0.25}


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 2)])
def test_nothing_to_order_is_refused(shape):
    with pytest.raises(ValueError, match=f"{shape[0]} orders of {shape[1]} documents"):
        order_sensitivity(np.zeros(shape), np.zeros(shape[1], int))
