"""What scoring prompts costs beside lm-eval 0.4.13: the same token ids, the same model, in turns.

Run: python benchmarks/prompting_cost.py [--quick] [--gpu]

lm_eval is in the extra ``bench``. A GPT-2 of random weights, 4 layers x 256 with 8,192 tokens (--gpu: the 124M shape on
a CUDA device), is asked about 200 made-up documents of about 34 tokens, with four answers of 2, 1, 3 and 3 tokens or of
one, after k shots of about 41: drawn anew for each document, as lm-eval does unless told otherwise, or the same for
all, as ptft does. Both sides get ready token ids, fp32, one thread; lm-eval the batch of 1, 8 and 32 that is fastest on
a part of the same requests. A figure is the median over turns of seconds of CPU (--gpu: of the clock) of lm-eval over
ours; what ours spends on finding out what the architecture can do is in it.

- ``sweep_token_ratio``: tokens that go through the model, counted by a hook, for k = 0, 1, 2, 4, 8, 16 and three seeds:
  18 runs of lm-eval over one call of ours. They are counted on a model of one small layer, which tokens do not notice.
- ``tokens_over_minimum``: tokens of ours over the nodes of the trie of all requests of a call, the most of all cases.
"""

import argparse
import gc
import logging
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from measure import Table, median, quiet
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

from ptft.prompting.plan import Plan
from ptft.prompting.request import Request
from ptft.prompting.scoring import score_requests

DOCUMENTS, VOCABULARY, POSITIONS, SEED = 200, 8192, 1024, 1
SWEEP = (0, 1, 2, 4, 8, 16)
CASES = {
    "multi_token_k0": (0, "fixed", (2, 1, 3, 3), None),
    "random_k8": (8, "random", (2, 1, 3, 3), 3),
    "random_k16": (16, "random", (2, 1, 3, 3), 3),
    "fixed_k8": (8, "fixed", (2, 1, 3, 3), 15),
    "fixed_k16": (16, "fixed", (2, 1, 3, 3), None),
    "one_token_k0": (0, "fixed", (1, 1, 1, 1), 1),
    "one_token_k8": (8, "random", (1, 1, 1, 1), None),
}


class Material:
    """Made-up documents, shots and answers, as token ids."""

    def __init__(self, num_documents: int) -> None:
        self._draws = random.Random(SEED)
        self.documents = [self._text(26, 42) for _ in range(num_documents)]
        self.pool = [self._text(33, 49) for _ in range(64)]

    def _text(self, fewest: int, most: int) -> list[int]:
        # Templates give all documents the same first and last tokens.
        return [
            11,
            12,
            *(self._draws.randrange(20, VOCABULARY) for _ in range(self._draws.randint(fewest, most) - 4)),
            13,
            14,
        ]

    def requests(self, k: int, shots: str, answers: Sequence[int], seed: int) -> list[Request]:
        """Each document with each answer, after ``k`` fixed or random shots."""
        draws = random.Random(seed)
        fixed = draws.sample(self.pool, max(SWEEP))
        labels = [tuple(range(15 + 7 * place, 15 + 7 * place + length)) for place, length in enumerate(answers)]
        found = []
        for document in self.documents:
            shown = fixed[:k] if shots == "fixed" else draws.sample(self.pool, k)
            context = (*chain.from_iterable(shown), *document)
            found += [Request(context, label) for label in labels]
        return found


def made(config: GPT2Config, device: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(config).eval().to(device)


def shape(**sizes: int) -> GPT2Config:
    return GPT2Config(vocab_size=VOCABULARY, n_positions=POSITIONS, bos_token_id=0, eos_token_id=0, **sizes)


def lm_eval_model(model: PreTrainedModel, batch: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), eos_token="a", bos_token="a"
    )
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=POSITIONS)


def theirs(model: PreTrainedModel, batch: int) -> Callable[[Sequence[Request]], list[float]]:
    scorer = lm_eval_model(model, batch)

    def score(requests: Sequence[Request]) -> list[float]:
        asked = [(("", ""), list(request.context_ids), list(request.continuation_ids)) for request in requests]
        return [float(found[0]) for found in scorer._loglikelihood_tokens(asked, disable_tqdm=True)]

    return score


def ours(model: PreTrainedModel) -> Callable[[Sequence[Request]], list[float]]:
    return lambda requests: [scored.log_likelihood for scored in score_requests(model, requests)]


def seconds(do: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Of the CPU, or of the clock where a device works."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    gc.collect()
    start = clock()
    found = do()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start, found


def tokens_of(model: PreTrainedModel, do: Callable[[], Any]) -> int:
    counted: list[int] = []

    def count(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        counted.append((args[0] if args else given["input_ids"]).numel())

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    do()
    handle.remove()
    return sum(counted)


def best_batch(model: PreTrainedModel, requests: Sequence[Request], device: str) -> int:
    some = requests[: 4 * 24]
    return min((1, 8, 32), key=lambda batch: seconds(partial(theirs(model, batch), some), device)[0])


def compare(options: argparse.Namespace, table: Table, device: str, config: GPT2Config) -> None:
    material = Material(60 if options.quick else DOCUMENTS)
    turns = 1 if options.quick else 5
    worst = 0.0
    for name, (k, shots, answers, bar) in CASES.items():
        requests = material.requests(k, shots, answers, seed=SEED)
        model = made(config, device)
        batch = best_batch(model, requests, device)
        ratios, apart = [], 0.0
        tokens = tokens_of(model, lambda model=model, requests=requests: ours(model)(requests))
        worst = max(worst, tokens / Plan(requests, 1).num_distinct)
        for _ in range(turns):
            model = made(config, device)  # what it can do is found out anew
            mine, found = seconds(lambda model=model, requests=requests: ours(model)(requests), device)
            other, wanted = seconds(
                lambda model=model, requests=requests, batch=batch: theirs(model, batch)(requests), device
            )
            ratios.append(other / mine)
            apart = max(apart, *(abs(a - b) for a, b in zip(found, wanted, strict=True)))
        unit = "cpu" if device == "cpu" else "gpu"
        table.details[f"{name}_{unit}"] = {
            "ratios": ratios, "seconds": mine, "lm_eval_seconds": other, "lm_eval_batch": batch, "apart": apart,
            "tokens": tokens,
        }  # fmt: skip
        table.add(f"{name}_{unit}_ratio", median(ratios), at_least=bar if device == "cpu" else None)
    if device == "cpu":
        table.add("tokens_over_minimum", worst, at_most=1.05)


def sweep(options: argparse.Namespace, table: Table) -> None:
    material = Material(60 if options.quick else DOCUMENTS)
    small = made(shape(n_embd=8, n_layer=1, n_head=1), "cpu")
    answers = CASES["fixed_k8"][2]
    lm_eval = [
        tokens_of(small, partial(theirs(small, 8), material.requests(k, "random", answers, seed)))
        for k in SWEEP
        for seed in range(3)
    ]
    mine = list(chain.from_iterable(material.requests(k, "fixed", answers, seed) for k in SWEEP for seed in range(3)))
    tokens = tokens_of(small, partial(ours(small), mine))
    table.details["sweep"] = {"lm_eval_tokens": sum(lm_eval), "tokens": tokens}
    table.add("sweep_token_ratio", sum(lm_eval) / tokens, at_least=12)
    table.add("sweep_tokens_over_minimum", tokens / Plan(mine, 1).num_distinct)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 documents and one turn")
    parser.add_argument("--gpu", action="store_true", help="the same cases with GPT-2 124M on a CUDA device")
    options = parser.parse_args()
    quiet()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    table = Table("prompting_cost_gpu" if options.gpu else "prompting_cost", options.quick)
    if options.gpu:
        compare(options, table, "cuda", shape(n_embd=768, n_layer=12, n_head=12))
    else:
        compare(options, table, "cpu", shape(n_embd=256, n_layer=4, n_head=4))
        sweep(options, table)
    table.finish()


if __name__ == "__main__":
    main()
