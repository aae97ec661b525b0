import pytest

from ptft.errors import RecipeError
from ptft.training.budget import Budget

DATA = {
    "steps_per_epoch": 50,
    "tokens_per_step": lambda: 1000.0,
    "words_per_step": lambda: 800.0,
    "flops_per_step": lambda: 4e9,
}


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
        ("1e18flops", 1e18, "flops"),
        ("1flop", 1, "flops"),
        ("90s", 90, "seconds"),
        ("30m", 1800, "seconds"),
        ("1.5 h", 5400, "seconds"),
    ],
)
def test_budget_is_read(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "1hour",
        "steps",
        "5 hours",
        "-3epochs",
        "1e-3steps",
        "nanepochs",
        "5steps 3epochs",
        "30M",
        "30Mm",
        "30 M m",
        "2H",
    ],
)
def test_what_is_no_budget(text):
    with pytest.raises(RecipeError, match=r"budget: .* is no amount of training; give a number of steps, tokens,"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["0steps", "0.0epochs", "1e400steps", "1e16steps"])
def test_budget_out_of_range(text):
    with pytest.raises(RecipeError, match=r"budget: must be more than nothing and at most 1e\+15 \w+, got"):
        Budget.parse(text)


@pytest.mark.parametrize(("text", "most"), [("0h", r"1e\+09 seconds"), ("1e40flops", r"1e\+30 flops")])
def test_time_and_flops_out_of_range(text, most):
    with pytest.raises(RecipeError, match=f"budget: must be more than nothing and at most {most}, got '{text}'"):
        Budget.parse(text)


def test_a_mistake_is_told_every_form():
    with pytest.raises(RecipeError) as caught:
        Budget.parse("30M")
    forms = ("5000steps", "2e9tokens", "100Mwords", "3epochs", "1e18flops", "90s", "30m", "2h")
    assert [form for form in forms if form not in str(caught.value)] == []
    assert all(Budget.parse(form) for form in forms)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("7steps", 7),
        ("20000tokens", 20),
        ("20480tokens", 20),
        ("16000words", 20),
        ("3epochs", 150),
        ("0.5epochs", 25),
        ("1e12flops", 250),
    ],
)
def test_number_of_steps(text, steps):
    assert Budget.parse(text).steps(**DATA) == steps


def test_at_least_one_step():
    assert Budget.parse("1token").steps(**DATA) == 1


def test_a_time_has_no_number_of_steps():
    assert (Budget.parse("2m").steps(**DATA), Budget.parse("2m").seconds) == (0, 120.0)
    assert Budget.parse("2steps").seconds == 0
