"""Prompting beside other people's code: masked models' scores, tests and intervals.

Run: python benchmarks/prompting_checks.py [--data DIR] [--only masked|statistics]

The libraries are in the extra ``bench``; DIR holds blimp/. What each figure is, ``masked_checks.py`` and
``statistics_checks.py`` say.
"""

from argparse import Namespace

import torch
from masked_checks import constant_model_figures, masked_cpu_ratios, masked_differences
from measure import Table, arguments, quiet
from statistics_checks import statistics_figures

DIFFERENCES = {
    "pll_original_max_difference": 1e-4,
    "pll_within_word_max_difference": 1e-4,
    "mcnemar_max_difference": 1e-10,
    "bootstrap_max_difference": 1e-10,
    "lm_eval_stderr_max_difference": 1e-10,
    "resamples_seconds": 1.0,
    "lm_eval_resamples_seconds": 1.0,
    "interval_coverage_high": 0.97,
}
RATIOS = {"pll_original_cpu_ratio": 5.0, "pll_within_word_cpu_ratio": 5.0, "interval_coverage_low": 0.93}


def masked(options: Namespace) -> dict[str, float]:
    """Masked models."""
    figures = masked_differences() | masked_cpu_ratios()
    return figures | (constant_model_figures(options.data / "blimp") if options.data else {})


def main() -> None:
    """Measure the parts that are asked for."""
    options = arguments(__doc__ or "", only=("masked", "statistics"))
    quiet()
    torch.set_num_threads(1)
    table = Table("prompting_checks", options.quick)
    if options.data is None:
        table.leave_out("masked: constant_model_blimp_accuracy needs --data")
    for name, part in (("masked", masked), ("statistics", lambda _: statistics_figures())):
        if options.only not in (None, name):
            continue
        with table.part(name):
            for figure, value in part(options).items():
                shape = figure.removesuffix("_bert_vocabulary")
                table.add(figure, value, at_least=RATIOS.get(shape), at_most=DIFFERENCES.get(shape))
    if options.only:
        table.keep_others(("masked", "statistics"))
    table.finish()


if __name__ == "__main__":
    main()
