"""The checks of the statistics see what is wrong."""

from pathlib import Path

import pytest

from ptft.prompting.statistics import bootstrap, paired_test

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def checks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import statistics_checks

    return statistics_checks


def test_an_interval_that_is_too_narrow_is_simulated_again(checks, monkeypatch):
    monkeypatch.setattr(checks, "SIMULATIONS", 40)
    monkeypatch.setattr(checks, "AGAIN", 5)
    monkeypatch.setattr(checks, "ACCURACIES", (0.55,))
    monkeypatch.setattr(checks, "DOCUMENTS", (50,))
    monkeypatch.setattr(checks, "SETS", (1, 3))
    monkeypatch.setattr(checks, "accuracy_interval", lambda hits: (hits.mean(), hits.mean(), hits.mean()))
    figures = checks.interval_coverage()
    assert set(figures) == {
        f"interval_coverage_{side}{sets}" for side in ("low", "high") for sets in ("", ".sets1", ".sets3")
    }
    assert figures["interval_coverage_high"] < 0.3


def test_coverage_is_the_share_of_simulations(checks):
    assert 0.85 < checks._coverage(0, (0.75, 50, 3, 0.6, 0.15), range(200)) <= 1
    everything = [checks._coverage(0, (0.75, 50, 3, 0.6, 0.15), range(start, start + 100)) for start in (0, 100)]
    assert checks._coverage(0, (0.75, 50, 3, 0.6, 0.15), range(200)) == pytest.approx(sum(everything) / 2)


def test_our_bootstrap_is_scipys_and_another_is_not(checks, monkeypatch):
    assert checks.bootstrap_max_difference(20)["bootstrap_max_difference"] < 1e-12

    def other_draws(*labels, seed, num_resamples):
        return bootstrap(*labels, seed=seed + 1, num_resamples=num_resamples)

    monkeypatch.setattr(checks, "bootstrap", other_draws)
    assert checks.bootstrap_max_difference(20)["bootstrap_max_difference"] > 1e-3


def test_another_test_than_mcnemars_is_seen(checks, monkeypatch):
    pytest.importorskip("statsmodels", reason="statsmodels is for benchmarks only")
    assert checks.mcnemar_max_difference()["mcnemar_max_difference"] < 1e-10

    def swapped(first, second, **given):
        return paired_test(first, 0 * second, **given)

    monkeypatch.setattr(checks, "paired_test", swapped)
    assert checks.mcnemar_max_difference()["mcnemar_max_difference"] > 0.1


def test_lm_evals_errors_are_ours(checks):
    pytest.importorskip("lm_eval", reason="lm_eval is for benchmarks only")
    assert checks.lm_eval_stderr_max_difference(20)["lm_eval_stderr_max_difference"] < 1e-12
