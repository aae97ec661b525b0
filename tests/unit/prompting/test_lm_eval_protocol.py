"""Protocol lm_eval-0.4.13 through our own evaluation."""

import pytest

from ptft.errors import RecipeError
from ptft.prompting import Template, evaluate_prompts, loglikelihoods
from ptft.prompting.lm_eval import (
    PROTOCOL,
    aggregates,
    document_metrics,
    encode_pairs,
    prompt_items,
    truncated,
)
from ptft.prompting.results import summarise
from ptft.prompting.scoring import score_requests
from ptft.tasks.task import Example, TaskData

LABELS = ("bad", "good")
WORDS = ["joy", "soup", "violin", "page", "blue", "red", "dull", "question"]
TRAIN = tuple(Example(f"the {word} {i}", LABELS[(i + len(word)) % 2]) for i, word in enumerate(WORDS * 2))
TEST = tuple(Example(f"a {word} is ", LABELS[i % 3 == 0]) for i, word in enumerate(WORDS))
TASK = TaskData("reviews", LABELS, TRAIN, (), {"test": TEST})
TEMPLATE = Template("Review: {text}\nSentiment:", words={"bad": "dull, dull", "good": "joy"})


@pytest.mark.parametrize("positions", [128, 40])
def test_figures_are_those_of_its_rules(positions, new_model, tokenizer):
    model = new_model(positions=positions)
    result = evaluate_prompts(
        model, tokenizer, TASK, k=[0, 3], seeds=[1234], template=TEMPLATE, protocol=PROTOCOL, limit=5
    )
    for k in (0, 3):
        items = prompt_items(TEST, TRAIN, LABELS, TEMPLATE, k)[:5]
        documents = []
        for item in items:
            pairs = [(item.context, choice) for choice in item.choices]
            asked = encode_pairs(tokenizer, [*pairs, *(("", choice) for choice in item.choices)])
            scored = score_requests(model, [truncated(request, positions) for request in asked])
            values = [one.log_likelihood for one in scored]
            words = [choice.removeprefix(" ") for choice in item.choices]
            greedy = [one.is_greedy for one in scored[:2]]
            documents.append(document_metrics(values[:2], greedy, words, item.gold, values[2:]))
        expected = aggregates(documents)
        found = {record["method"]: record for record in result.records if record["k"] == k}
        assert found.keys() == expected.keys() >= {"acc", "acc_norm", "acc_bytes", "acc_mutual_info"}
        for name, (value, stderr) in expected.items():
            assert found[name]["value"] == pytest.approx(value, abs=1e-5)
            assert found[name].get("stderr") == pytest.approx(stderr, abs=1e-5)
        assert result.figures[f"reviews.k{k}"] == expected["acc"].value
        assert result.figures[f"reviews.k{k}.acc_norm_stderr"] == pytest.approx(expected["acc_norm"].stderr)
    assert {record.protocol for record in result.choices} == {PROTOCOL}
    assert summarise(result.choices) == (result.figures, result.records)


def test_the_headline_follows_the_method(model, tokenizer):
    result = evaluate_prompts(
        model, tokenizer, TASK, k=[2], seeds=[0], template=TEMPLATE, protocol=PROTOCOL, method="per_byte"
    )
    (record,) = [record for record in result.records if record["is_figure"]]
    assert record["method"] == "acc_bytes"
    assert result.figures["reviews.k2"] == record["value"]


def test_the_first_rows_may_be_the_shots(model, tokenizer):
    results = [
        evaluate_prompts(
            model, tokenizer, TASK, k=[2], seeds=[seed], template=TEMPLATE, protocol=PROTOCOL, sampler="first_n"
        )
        for seed in (0, 1)
    ]
    one, other = ([r.prompt for r in result.choices] for result in results)
    assert one == other


def test_ids_come_back_as_they_were_before_the_cut(new_model, tokenizer):
    model = new_model(positions=16)
    pair = ("Review: a joy from the first page to the last. " * 3, "dull, dull")
    (scored,) = loglikelihoods(model, tokenizer, [pair], protocol=PROTOCOL)
    (request,) = encode_pairs(tokenizer, [pair])
    assert scored[2:] == request
    (cut,) = score_requests(model, [truncated(request, 16)])
    assert scored[:2] == cut[:2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "lm_eval"}, "unknown protocol 'lm_eval'; did you mean 'lm_eval-0.4.13'"),
        ({"protocol": PROTOCOL, "orders": 2}, "orders is 2; allowed: 1 under protocol=lm_eval"),
        ({"protocol": PROTOCOL, "methods": ["channel"]}, "'channel' does not go with this protocol"),
        ({"sampler": "first_n"}, "sampler is 'first_n' but has no effect under protocol=ptft"),
    ],
)
def test_settings_that_cannot_be(settings, message, model, tokenizer):
    with pytest.raises(RecipeError, match=message):
        evaluate_prompts(model, tokenizer, TASK, k=[0], seeds=[0], **settings)


def test_rows_with_choices_of_their_own_are_left_to_lm_eval(model, tokenizer):
    rows = tuple(Example(word, "0", choices=("red", "blue")) for word in WORDS)
    task = TaskData("colours", ("0", "1"), rows, (), {"test": rows}, "multiple_choice")
    with pytest.raises(RecipeError, match=r"whose rows bring choices of their own.*use `ptft lm_eval`"):
        evaluate_prompts(model, tokenizer, task, k=[0], seeds=[0], protocol=PROTOCOL)
