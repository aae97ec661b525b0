import pytest

from ptft.errors import RecipeError
from ptft.training.budget import Budget

DATA = {"steps_per_epoch": 50, "tokens_per_step": lambda: 1000.0, "words_per_token": 0.8}


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("5000steps", 5000, "steps"),
        ("1step", 1, "steps"),
        ("2e9tokens", 2e9, "tokens"),
        ("2E+9 tokens", 2e9, "tokens"),
        ("100Mwords", 1e8, "words"),
        ("1.5Mtokens", 1.5e6, "tokens"),
        ("20ktokens", 2e4, "tokens"),
        ("1Bwords", 1e9, "words"),
        (" 3 epochs ", 3, "epochs"),
        ("0.5epoch", 0.5, "epochs"),
    ],
)
def test_budget_is_read(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


@pytest.mark.parametrize("text", ["", "5", "steps", "5 hours", "-3epochs", "1e-3steps", "nanepochs", "5steps 3epochs"])
def test_what_is_no_budget(text):
    with pytest.raises(RecipeError, match=r"budget: .* is no amount of training; give a number of steps, tokens,"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["0steps", "0.0epochs", "1e400steps", "1e16steps"])
def test_budget_out_of_range(text):
    with pytest.raises(RecipeError, match=r"budget: must be more than nothing and at most 1e\+15 \w+, got"):
        Budget.parse(text)


@pytest.mark.parametrize(
    ("text", "steps"),
    [("7steps", 7), ("20000tokens", 20), ("20480tokens", 20), ("16000words", 20), ("3epochs", 150), ("0.5epochs", 25)],
)
def test_number_of_steps(text, steps):
    assert Budget.parse(text).steps(**DATA) == steps


def test_at_least_one_step():
    assert Budget.parse("1token").steps(**DATA) == 1
