"""The benchmark of parity with lm_eval counts what differs; needs no lm_eval."""

from dataclasses import replace
from pathlib import Path

import pytest

from ptft.prompting.lm_eval import aggregates, document_metrics, encode_pairs
from ptft.prompting.lm_eval.respondent import Respondent

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def parity(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import prompting_parity

    return prompting_parity


@pytest.fixture
def compared(parity, gpt2_run):
    """Compare a case with what is our own, changed by a function, and give the figures that are not 0."""
    works = parity.works
    rows = {split: works.rows_of(split, 12) for split in ("train", "test")}
    case = parity.Case(1, dict(zip(works.LABELS, works.PHRASES, strict=True)), pool="test")
    side = Respondent({"pretrained": str(gpt2_run), "device": "cpu"})
    items = parity.items_of(case, rows)
    pairs = parity.pairs_of(items)
    scores = side.loglikelihoods(pairs)

    def compare(change=lambda seen: seen):
        documents = []
        for number, item in enumerate(items):
            values, greedy = zip(*scores[8 * number : 8 * number + 8], strict=True)
            documents.append(document_metrics(values[:4], greedy[:4], works.PHRASES, item.gold, values[4:]))
        found = aggregates(documents)
        figures = {f"{name},none": value for name, (value, _) in found.items()}
        figures |= {f"{name}_stderr,none": "N/A" if error is None else error for name, (_, error) in found.items()}
        ids = [tuple(request) for request in encode_pairs(side.tokenizer, pairs)]
        seen = change(works.Seen(list(pairs), ids, list(scores), figures=figures))
        counted = dict.fromkeys((*parity.COUNTS, *parity.LARGEST), 0.0)
        parity.compare(side, case, rows, seen, counted)
        return {name: value for name, value in counted.items() if value > 1e-5 and name != "truncated_requests"}

    return compare


def with_item(values, number, value):
    return [*values[:number], value, *values[number + 1 :]]


def test_nothing_differs_from_itself(compared):
    assert compared() == {"requests": 96}


def test_a_prompt_an_id_and_a_refusal_are_counted(compared):
    def changed(seen):
        context, choice = seen.texts[8]
        own = seen.ids[9]
        texts = with_item(seen.texts, 8, (f"{context} ", choice[1:]))  # the same ids
        return replace(seen, texts=texts, ids=with_item(seen.ids, 9, ((*own[0], 5), own[1])), refused=[17])

    found = compared(changed)
    assert found["prompt_differences"] == 1
    assert found["token_id_differences"] == 1
    assert found["refusal_differences"] == 1


def test_a_log_likelihood_and_a_flag_are_counted(compared):
    def changed(seen):
        value, flag = seen.scores[2]
        return replace(seen, scores=with_item(seen.scores, 2, (value + 1000, not flag)))

    found = compared(changed)
    assert found["max_abs_loglikelihood_difference"] == pytest.approx(1000, abs=1e-3)
    assert found["greedy_differences"] == 1
    assert found["argmax_differences"] == 1


def test_what_the_cache_of_lm_eval_misreads_is_left_out(compared):
    def changed(seen):
        return replace(seen, scores=with_item(seen.scores, 6, (-1e9, True)), misread=[6])

    found = compared(changed)
    assert "max_abs_loglikelihood_difference" not in found
    assert "greedy_differences" not in found


@pytest.mark.parametrize("theirs", ["N/A", 0.5])
def test_a_figure_and_a_standard_error_are_compared(compared, theirs):
    def changed(seen):
        figures = {**seen.figures, "acc,none": 2.0, "acc_norm_stderr,none": theirs}
        return replace(seen, figures=figures)

    found = compared(changed)
    assert found["metric_max_difference"] >= 1
    assert found["stderr_max_difference"] > 0.1


def test_documents_that_are_their_own_shot_are_counted(parity):
    rows = parity.works.rows_of("test", 12)
    own, theirs = parity.demonstrations(rows, 4)
    assert own == 0
    assert theirs > 0
