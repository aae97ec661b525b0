from functools import partial

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from ptft.errors import CheckpointError, DataError, RecipeError
from ptft.prompting import Template, generate
from ptft.prompting.generation import SUMMARY, check_generation, default_stops, evaluate_generation
from ptft.prompting.records import short_hash
from ptft.prompting.shots import first_shots, unlabelled_order
from ptft.tasks.generation_metrics import SCORES, generation_figures, scores_of
from ptft.tasks.metrics import mean_interval
from ptft.tasks.task import Example

WORDS = ["joy", "soup", "violin", "page", "blue", "red", "dull", "question"]
ROWS = [Example(f"is the {word} red?", (f"the {word}", "no")) for word in WORDS]
POOL = [Example(f"a {word}", (f"{word} last", "never shown")) for word in WORDS]
TEMPLATE = Template("Review: {text}\nAnswer:")
evaluate = partial(
    evaluate_generation, name="set", k=[0, 2], seeds=[1, 2], template=TEMPLATE, pool=POOL, max_new_tokens=8
)


def test_continuations_are_those_of_prompts_one_by_one(model, tokenizer):
    result = evaluate(model, tokenizer, ROWS)
    assert len(result.documents) == 2 * 2 * len(ROWS)
    for document in result.documents:
        row = ROWS[document["index"]]
        shots = first_shots(unlabelled_order(POOL, document["seed"]), document["k"], row)
        shown = "".join(f"Review: {shot.text}\nAnswer: {shot.label[0]}\n\n" for shot in shots)
        prompt = f"{shown}Review: {row.text}\nAnswer:"
        written = generate(model, tokenizer, prompt, max_new_tokens=8, stop=["\n"]).strip()
        assert document["continuation"] == written
        assert document["scores"] == scores_of(written, row.label)
        assert document["references"] == list(row.label)
        assert len(document["shots"]) == document["k"]
        assert document["prompt"] == short_hash(prompt)
        assert document["prompt_tokens"] == len(tokenizer(prompt)["input_ids"]) + 1
        assert document["ended_by"] in ("stop", "end", "limit")


@pytest.fixture
def copying_model(new_model, tokenizer):
    """Writes 'red' after anything, over and over."""
    model = new_model("llama")
    (red,) = tokenizer(" red")["input_ids"]
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.model.norm.weight.zero_()
    model.lm_head = torch.nn.Linear(32, 400)
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()[red] = 1
    return model


def test_scores_reach_the_figures(copying_model, tokenizer):
    rows = [Example("a", ("red red",)), Example("b", ("The red, red!", "blue")), Example("c", ("red",))]
    result = evaluate(copying_model, tokenizer, rows, k=[0], seeds=[0], max_new_tokens=2)
    assert [document["continuation"] for document in result.documents] == ["red red"] * 3
    figures = result.figures
    assert figures["set.n"] == 3
    assert figures["set.k0.raw_match"] == pytest.approx(1 / 3)
    assert figures["set.k0.exact_match"] == pytest.approx(2 / 3)
    assert figures["set.k0.f1"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert figures["set.k0.rouge2"] == pytest.approx((1 + 2 / 3) / 3)
    (record,) = result.records
    scores = generation_figures([scores_of("red red", row.label) for row in rows], seed=0)
    assert {key: record[key] for key in scores} == scores
    assert {key: value for key, value in record.items() if key not in scores} == {
        "task": "set",
        "template": TEMPLATE.text,
        "k": 0,
        "seed": 0,
        "protocol": "ptft",
        "max_new_tokens": 2,
        "stop": ["\n\n", "\n"],
        "n": 3,
        "shots_dropped": 0,
        "texts_cut": 0,
        "empty": 0,
        "ended_by": {"stop": 0, "end": 0, "limit": 3},
    }


def test_figures_are_means_over_seeds_and_as_unsure_as_rows_and_seeds(model, tokenizer):
    first = evaluate(model, tokenizer, ROWS, k=[2], seeds=[1], stop=[]).documents
    rows = [Example(row.text, (d["continuation"],)) for row, d in zip(ROWS, first, strict=True)]  # one seed is right
    result = evaluate(model, tokenizer, rows, k=[2], seeds=[1, 2, 3], stop=[])
    by_row = [[d["scores"] for d in result.documents if d["index"] == index] for index in range(len(ROWS))]
    means = [{name: float(np.mean([scores[name] for scores in row])) for name in SCORES} for row in by_row]
    over_rows = generation_figures(means, seed=0)
    wider = 0
    for name in SCORES:
        mean, low, high = mean_interval([record[name] for record in result.records])
        found = [result.figures[f"set.k2.{name}{end}"] for end in ("", ".low", ".high")]
        expected = [mean, min(over_rows[f"{name}.low"], max(0, low)), max(over_rows[f"{name}.high"], min(high, 1))]
        assert found == pytest.approx(expected)
        wider += expected[2] > over_rows[f"{name}.high"]
    assert wider > 0, "the premise: seeds differ"


def test_prompts_without_shots_are_continued_once_for_all_seeds(model, tokenizer):
    told = []
    result = evaluate(
        model, tokenizer, ROWS, k=[0], seeds=[1, 2, 3], progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (8, 8)
    first, *others = ([d["continuation"] for d in result.documents if d["seed"] == seed] for seed in (1, 2, 3))
    assert others == [first, first]


def test_shots_are_nested_and_never_the_row_itself(model, tokenizer):
    result = evaluate(model, tokenizer, ROWS, k=[1, 3], seeds=[5], pool=ROWS)
    fewer, more = ([d["shots"] for d in result.documents if d["k"] == k] for k in (1, 3))
    assert [shots[:1] for shots in more] == fewer
    hashes = {document["index"]: document["document"] for document in result.documents}
    shown = {one for shots in more for one in shots}
    assert len(shown) == 4, "three for all, and one in place of each of these"
    assert not shown & set(hashes.values()), "hashes of shots tell the reference too"
    reduced = evaluate(model, tokenizer, ROWS, k=[7], seeds=[5], pool=ROWS)
    assert all(len(set(document["shots"])) == 7 for document in reduced.documents)


def test_the_order_of_shots_does_not_depend_on_that_of_the_pool():
    assert unlabelled_order(POOL, 3) == unlabelled_order(POOL[::-1], 3) != unlabelled_order(POOL, 4)
    assert unlabelled_order(POOL + POOL, 3) == unlabelled_order(POOL, 3)


@pytest.mark.parametrize(
    ("references", "expected"),
    [(("one line", "two"), ["\n\n", "\n"]), (("two\nlines",), ["\n\n"]), (("two\n\nparagraphs",), [])],
)
def test_default_stops_do_not_cut_what_references_hold(references, expected):
    assert default_stops(TEMPLATE, [Example("a", references), Example("b", ("x\n",))]) == expected


def test_stop_texts_are_as_given(copying_model, tokenizer):
    result = evaluate(copying_model, tokenizer, ROWS, k=[0], seeds=[0], stop=["d r"])
    assert {document["continuation"] for document in result.documents} == {"re"}
    assert result.records[0]["stop"] == ["d r"]
    assert result.records[0]["ended_by"] == {"stop": 8, "end": 0, "limit": 0}


def test_line_ends_after_the_form_are_part_of_the_prompt(model, tokenizer):
    result = evaluate(model, tokenizer, ROWS, k=[1], seeds=[0], template=Template("{text}\nAnswer:\n"), stop=[])
    (shot,) = first_shots(unlabelled_order(POOL, 0), 1, ROWS[0])
    prompt = f"{shot.text}\nAnswer:\n{shot.label[0]}\n\n{ROWS[0].text}\nAnswer:\n"
    assert result.documents[0]["continuation"] == generate(model, tokenizer, prompt, max_new_tokens=8).strip()


def test_a_summary_is_asked_for_as_with_gpt2(model, tokenizer):
    result = evaluate(model, tokenizer, ROWS, k=[0], seeds=[0], template=SUMMARY, stop=[])
    prompt = f"{ROWS[0].text}\nTL;DR:"
    assert result.documents[0]["continuation"] == generate(model, tokenizer, prompt, max_new_tokens=8).strip()


def test_a_limit_asks_about_the_same_rows_each_time(model, tokenizer):
    result = evaluate(model, tokenizer, ROWS, limit=3)
    asked = {
        (k, seed): [d["index"] for d in result.documents if (d["k"], d["seed"]) == (k, seed)]
        for k in (0, 2)
        for seed in (1, 2)
    }
    assert len(set(map(tuple, asked.values()))) == 1
    assert result.figures["set.n"] == len(asked[0, 1]) == 3


def test_long_prompts_lose_whole_shots_then_the_end_of_the_text(new_model, tokenizer):
    model = new_model(positions=64)
    long = Example("soup " + "the last page of the soup " * 20, ("red",))
    middle = Example("the page " * 20, ("red",))
    rows = [*ROWS[:2], middle, long]
    said = []
    result = evaluate(model, tokenizer, rows, k=[1], seeds=[0], say=said.append)
    assert [len(document["shots"]) for document in result.documents] == [1, 1, 0, 0]
    assert [document["is_cut"] for document in result.documents] == [False, False, False, True]
    assert (result.records[0]["shots_dropped"], result.records[0]["texts_cut"]) == (2, 1)
    assert said == [
        "set.k1: 2 of 4 prompts lost shots to fit into 64 positions",
        "set.k1: 1 of 4 prompts lost the end of their text to fit into 64 positions",
    ]
    cut = result.documents[3]
    assert cut["prompt_tokens"] in (56, 57), "as much text as fits beside eight new tokens"
    prompts = (f"Review: {long.text[:size].rstrip()}\nAnswer:" for size in range(1, len(long.text)))
    texts = {prompt for prompt in prompts if len(tokenizer(prompt)["input_ids"]) + 1 == cut["prompt_tokens"]}
    written = {generate(model, tokenizer, prompt, max_new_tokens=8, stop=["\n"]).strip() for prompt in texts}
    assert cut["continuation"] in written


def test_the_first_text_of_a_pair_is_cut_and_the_question_stays(new_model, tokenizer):
    model = new_model(positions=64)
    row = Example("the last page of the soup " * 20, ("red",), "is the violin blue?")
    template = Template("{text_a}\nAnswer the question: {text_b}")
    told = []
    evaluate(model, tokenizer, [row], k=[0], seeds=[0], template=template, say=told.append)
    assert told == ["set.k0: 1 of 1 prompts lost the end of their text to fit into 64 positions"]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"max_new_tokens": 0}, RecipeError, "max_new_tokens is 0; it must be at least 1"),
        ({"max_new_tokens": 129}, RecipeError, "max_new_tokens is 129, which leaves none of the model's 128 positions"),
        ({"k": []}, RecipeError, r"k is \[\]; give one or more different integers"),
        ({"k": [-1]}, RecipeError, r"k is \[-1\]"),
        ({"seeds": [1, 1]}, RecipeError, r"seeds is \[1, 1\]"),
        ({"limit": -1}, RecipeError, "limit is -1"),
        ({"stop": "end"}, RecipeError, "stop is 'end'; give a list"),
        ({"k": [9]}, DataError, "9 shots are asked for but there are only 8 distinct examples"),
        ({"pool": ()}, DataError, "2 shots are asked for but there are only 0 distinct examples"),
        (
            {"k": [8], "max_new_tokens": 60},
            RecipeError,
            r"k is 8 but .* room for so many shots: \d at most fit into 128",
        ),
        ({"template": Template("{text}", words={"a": "b"})}, RecipeError, "words is {'a': 'b'} but 'set' has refer"),
        ({"template": Template("{text}{text_b}")}, RecipeError, "uses {text_b} but no row of 'set' has a second text"),
        ({"pool": [Example("a", ())]}, DataError, "example 0 of 'set': there is no reference"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(model, tokenizer, change, error, match):
    with pytest.raises(error, match=match):
        evaluate(model, tokenizer, ROWS, **change)


def test_rows_that_cannot_be_used_are_refused(new_model, model, tokenizer, bare_tokenizer):
    with pytest.raises(DataError, match="'set' has no rows to continue"):
        evaluate(model, tokenizer, [])
    with pytest.raises(DataError, match=r"a\.csv:3: there is no reference; fill it in, or leave the row out"):
        evaluate(model, tokenizer, [Example("a", (" ",), where="a.csv:3")])
    with pytest.raises(DataError, match="a prompt is empty and the tokenizer has no bos_token to begin with"):
        evaluate(model, bare_tokenizer, [Example("", ("a",))], k=[0], template=Template("{text}"))
    row = Example("soup", ("a",), "the last page of the soup " * 20, "a.csv:3")
    with pytest.raises(DataError, match=r"a\.csv:3: the prompt does not fit into the 57 positions that"):
        evaluate(new_model(positions=64), tokenizer, [row], k=[0], template=Template("{text_a} {text_b}:"))


def test_an_encoder_is_refused(tokenizer):
    config = BertConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(CheckpointError, match="is an encoder"):
        evaluate(BertForMaskedLM(config), tokenizer, ROWS)


def test_the_same_numbers_whatever_goes_together(model, tokenizer):
    one, other = (evaluate(model, tokenizer, ROWS, tokens_per_batch=size) for size in (1, 8192))
    assert one.figures == other.figures
    assert all(np.isfinite(value) for value in one.figures.values())


def test_what_takes_no_model_is_found_out_without_one():
    settings = {"name": "set", "k": [2], "seeds": [1], "template": TEMPLATE, "pool": ROWS}
    assert check_generation(ROWS, **settings) == ["\n\n", "\n"]
    assert check_generation(ROWS, **settings, stop=["end"]) == ["end"]
    with pytest.raises(DataError, match="8 shots are asked for but there are only 7 distinct examples"):
        check_generation(ROWS, **settings | {"k": [0, 8]})
