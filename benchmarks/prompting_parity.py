"""Protocol lm_eval-0.4.13 beside lm_eval 0.4.13 itself: prompts, ids, log-likelihoods, decisions, standard errors.

Run: python benchmarks/prompting_parity.py [--quick]

Needs ``make bench-setup``; downloads nothing. Checkpoints of random, sharp weights are made on the spot, in fp32: a
GPT-2 whose tokenizer adds no special token, a Llama whose tokenizer adds the beginning-of-text token, and a GPT-2 of
256 positions, which cuts its prompts. lm_eval's own evaluator runs a task over rows in files with 0 to 16 shots, drawn
or the first, from training rows or from the evaluated rows, kept apart or not, with labels of one and of several
tokens, and over texts that are hard to cut: empty ones, white space, Unicode, tokens across the border. What it gives
its model is compared with what ptft makes of the same rows by itself. Figures:

- ``prompt_differences``, ``token_id_differences``: requests whose texts or ids differ, of ``requests``; of these
  ``truncated_requests`` are longer than the model's positions.
- ``refusal_differences``: requests that one side refuses and the other does not; what lm_eval refuses is named.
- ``max_abs_loglikelihood_difference``, ``greedy_differences``: of each request; ``argmax_differences``: of each
  document.
- ``metric_max_difference``, ``stderr_max_difference``: of ``acc``, ``acc_norm``, ``acc_bytes``, ``acc_mutual_info``,
  ``exact_match`` and the Brier score, both sides from lm_eval's log-likelihoods.
- ``rolling_max_difference``: of the log-likelihood of whole texts, by token.
- ``self_demonstrations``: documents that are their own shot in ptft's own protocol where shots come from the evaluated
  rows; beside it those of lm_eval.
"""

import logging
import math
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import prompting_parity_works as works
from measure import Table, arguments, quiet
from prompting_parity_works import EDGE_CHOICES, LABELS, PHRASES, Case, Seen

from ptft.errors import DataError
from ptft.prompting import Template, choose_shots
from ptft.prompting.lm_eval import aggregates, document_metrics, encode_pairs, prompt_items, random_shots, truncated
from ptft.prompting.lm_eval.respondent import Respondent
from ptft.prompting.request import Request
from ptft.prompting.scoring import score_requests
from ptft.tasks.prompt_task import PromptItem
from ptft.tasks.task import Example

Rows = Mapping[str, Sequence[Example]]
COUNTS = ("requests", "truncated_requests", "prompt_differences", "token_id_differences", "refusal_differences",
          "greedy_differences", "argmax_differences")  # fmt: skip
LARGEST = ("max_abs_loglikelihood_difference", "metric_max_difference", "stderr_max_difference",
           "rolling_max_difference")  # fmt: skip
BARS = {
    "prompt_differences": 0, "token_id_differences": 0, "refusal_differences": 0, "greedy_differences": 0,
    "argmax_differences": 0, "max_abs_loglikelihood_difference": 1e-4, "metric_max_difference": 1e-9,
    "stderr_max_difference": 1e-9, "rolling_max_difference": 1e-4,
}  # fmt: skip


def cases(one_token: Mapping[str, str], *, quick: bool) -> Iterator[Case]:
    """What is asked of a checkpoint, but for the edges."""
    kinds = (one_token, dict(zip(LABELS, PHRASES, strict=True)))
    if quick:
        yield Case(0, kinds[1])
        yield Case(2, kinds[0], "first_n", "test")
        yield Case(8, kinds[1], pool="test", description="Say how it was.\n\n")
        yield Case(8, kinds[0])
        return
    for k, words, sampler, pool in product((0, 1, 2, 8, 16), kinds, ("default", "first_n"), works.POOLS):
        if k or (sampler, pool) == ("default", "train"):
            yield Case(k, words, sampler, pool, "Say how it was.\n\n" if k == 2 else "")


def edge_cases() -> Iterator[Case]:
    """Texts that are hard to cut, bare, and continuations that join them."""
    words = [dict(zip(LABELS, EDGE_CHOICES[at : at + 4], strict=True)) for at in (0, 4)]
    for k, chosen, delimiter in product((0, 1, 2), words, ("", " ", "\n")):
        yield Case(k, chosen, pool="test", template=Template("{text}", separator="\n"), delimiter=delimiter, raw=True)


def items_of(case: Case, rows: Rows) -> list[PromptItem]:
    """Our prompts."""
    pool = rows["train" if case.pool == "train" else "test"]
    template = Template(case.template.text, words=case.words, separator=case.template.separator)
    return prompt_items(
        rows["test"], pool, LABELS, template, case.k, sampler=case.sampler, excludes=case.excludes,
        target_delimiter=case.delimiter, description=case.description,
    )  # fmt: skip


def pairs_of(items: Sequence[PromptItem]) -> list[tuple[str, str]]:
    """The texts of requests in lm_eval's order: the choices of a document, then these without context."""
    return [(context, choice) for item in items for context in (item.context, "") for choice in item.choices]


def encoded(side: Respondent, pair: tuple[str, str]) -> Request | None:
    """Our ids of a pair, or None where we refuse it."""
    try:
        (request,) = encode_pairs(side.tokenizer, [pair])
        truncated(request, side.max_length)
    except DataError:
        return None
    return request


def compare(side: Respondent, case: Case, rows: Rows, seen: Seen, found: dict[str, float]) -> None:
    """Add to ``found`` what differs in one case."""
    items = items_of(case, rows)
    pairs = pairs_of(items)
    requests = [encoded(side, pair) for pair in seen.texts]
    refused = set(seen.refused)
    found["requests"] += len(seen.texts)
    found["truncated_requests"] += sum(len(c) + len(rest) > side.max_length + 1 for c, rest in seen.ids)
    found["prompt_differences"] += abs(len(pairs) - len(seen.texts))
    found["prompt_differences"] += sum(ours != theirs for ours, theirs in zip(pairs, seen.texts, strict=False))
    found["refusal_differences"] += sum((ours is None) != (n in refused) for n, ours in enumerate(requests))
    kept = [number for number, request in enumerate(requests) if request is not None and number not in refused]
    found["token_id_differences"] += sum(requests[number] != seen.ids[number] for number in kept)
    scored = score_requests(side.model, [truncated(requests[number], side.max_length) for number in kept])
    ours = {number: one for number, one in zip(kept, scored, strict=True) if number not in set(seen.misread)}
    for number, one in ours.items():
        theirs, is_greedy = seen.scores[number]
        found["greedy_differences"] += one.is_greedy != is_greedy
        largest(found, "max_abs_loglikelihood_difference", abs(one.log_likelihood - theirs))
    size = 2 * len(LABELS)
    for start in range(0, len(seen.texts), size):
        choices = range(start, start + len(LABELS))
        if all(number in ours for number in choices):
            best = np.argmax([ours[number].log_likelihood for number in choices])
            found["argmax_differences"] += int(best != np.argmax([seen.scores[number][0] for number in choices]))
    compare_figures(case, items, seen, found)


def compare_figures(case: Case, items: Sequence[PromptItem], seen: Seen, found: dict[str, float]) -> None:
    """Our figures of lm_eval's log-likelihoods beside its own."""
    words, size = [case.words[label] for label in LABELS], len(LABELS)
    documents = []
    for number, item in enumerate(items):
        own = seen.scores[2 * size * number : 2 * size * (number + 1)]
        values, greedy = [value for value, _ in own], [flag for _, flag in own]
        documents.append(document_metrics(values[:size], greedy[:size], words, item.gold, values[size:]))
    for name, (value, stderr) in aggregates(documents).items():
        largest(found, "metric_max_difference", abs(value - seen.figures[f"{name},none"]))
        theirs = seen.figures[f"{name}_stderr,none"]
        largest(found, "stderr_max_difference", difference(stderr, None if theirs == "N/A" else theirs))


def difference(one: float | None, other: float | None) -> float:
    """Of two figures of which either may be missing."""
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other)


def largest(found: dict[str, float], name: str, value: float) -> None:
    found[name] = max(found[name], value)


def demonstrations(test: Sequence[Example], k: int) -> tuple[int, int]:
    """Documents that are their own shot where shots come from the documents: in ptft's protocol, and in lm_eval's."""
    own = sum(
        row.text in {shot.text for shot in choose_shots(test, LABELS, k, seed, evaluated=row)}
        for seed in range(10)
        for row in test
    )
    drawn = zip(test, random_shots(test, test, k), strict=True)
    return own, sum(row.text in {shot.text for shot in shots} for row, shots in drawn)


def measure(options: Namespace, table: Table) -> None:
    """All checkpoints and cases."""
    from lm_eval.models.huggingface import HFLM

    size = 12 if options.quick else 40
    rows = {split: works.rows_of(split, size) for split in ("train", "test")}
    total = dict.fromkeys((*COUNTS, *LARGEST), 0.0)
    refused: set[str] = set()
    misread = 0
    for kind in works.KINDS:
        folder = works.checkpoint(kind, options.work)
        harness = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=8)
        side = Respondent({"pretrained": folder, "device": "cpu"})
        found = dict.fromkeys(total, 0.0)
        asked: list[tuple[Case, Rows]] = [
            (case, rows) for case in cases(works.one_token_words(side.tokenizer), quick=options.quick)
        ]
        asked += [(case, {"test": works.edge_rows()}) for case in edge_cases()]
        for number, (case, given) in enumerate(asked):
            seen = works.asked(harness, case, given, options.work / f"{kind}-{number}")
            compare(side, case, given, seen, found)
            refused |= {f"{kind}: {seen.texts[n][0][-12:]!r} + {seen.texts[n][1]!r}" for n in seen.refused}
            misread += len(seen.misread)
        rolling(harness, side, rows, found)
        for name, value in found.items():
            table.add(f"{name}.{kind}", value)
            total[name] = max(total[name], value) if name in LARGEST else total[name] + value
    for name, value in total.items():
        table.add(name, value, at_most=BARS.get(name))
    table.details["refused"] = sorted(refused)
    table.leave_out(f"{len(refused)} pairs of texts for which lm_eval fails with some checkpoint, as ptft: see refused")
    if misread:
        table.leave_out(f"{misread} requests that lm_eval's cache of equal inputs scores at the wrong place")
    own, theirs = demonstrations(rows["test"], 4)
    table.add("lm_eval_self_demonstrations", theirs)
    table.add("self_demonstrations", own, at_most=0)


def rolling(harness: Any, side: Respondent, rows: Rows, found: dict[str, float]) -> None:
    """Whole texts: some shorter, some longer than the model's positions."""
    texts = [" ".join(row.text for row in rows["train"][: size + 1]) for size in range(0, len(rows["train"]), 5)]
    texts.append(" ".join(texts))
    for text, theirs, ours in zip(texts, works.asked_rolling(harness, texts), side.rolling(texts), strict=True):
        largest(found, "rolling_max_difference", abs(ours - theirs) / len(side.tokenizer(text)["input_ids"]))


def main() -> None:
    """Check that lm_eval is there, and compare."""
    options = arguments(__doc__ or "")
    options.work = (options.work / "prompting_parity").absolute()
    quiet()
    os.environ |= {"HF_HUB_OFFLINE": "1", "LMEVAL_LOG_LEVEL": "ERROR", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    from ptft.prompting.lm_eval.adapter import check_installed

    check_installed()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    table = Table("prompting_parity", options.quick)
    if options.quick:
        table.leave_out("12 instead of 40 rows, 4 combinations of shots instead of 50 with each checkpoint")
    measure(options, table)
    table.finish()


if __name__ == "__main__":
    main()
