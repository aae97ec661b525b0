"""How exactly the objectives follow the published rules, and what masking costs.

Run: python benchmarks/objectives.py [--quick] [--only golden|shares|speed]
"""

import gzip
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import Table, arguments
from numpy.typing import NDArray
from transformers import BertConfig

from ptft import rng
from ptft.compute import Compute
from ptft.corpus.embedded import documents
from ptft.corpus.sources import CorpusSettings
from ptft.corpus.store import TokenStore
from ptft.models.attention import choose_attention
from ptft.models.building import new_model
from ptft.models.prediction import Forward
from ptft.objectives.masked_lm import MaskedLM
from ptft.objectives.masking import Masked, mask_by_reference, mask_tokens, may_be_predicted
from ptft.objectives.pairs import Generator, Sentences, document_pairs
from ptft.objectives.policies import POLICIES
from ptft.objectives.policies.policy import Candidates, MaskingPolicy
from ptft.objectives.rows import Rows, Vocabulary
from ptft.steps.compiled import How, compiled
from ptft.tokenization import TokenizerSettings, train_tokenizer

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "bert_reference_instances.json.gz"
KINDS = ("wordpiece", "bpe", "unigram")
MASK_RATIO = 0.15


# the published instances


def golden(table: Table) -> None:
    """Every published instance again, from the same random generator."""
    with gzip.open(GOLDEN, "rt") as file:
        reference = json.load(file)
    table.add("reference_pairs_differences", _pair_differences(reference), at_most=0)
    table.add("reference_masks_differences", _mask_differences(reference, whole_word=False), at_most=0)
    table.add("whole_word_differences", _mask_differences(reference, whole_word=True), at_most=0)


def _pair_differences(reference: dict[str, Any]) -> int:
    texts = reference["documents"]
    flat = [token for document in texts for sentence in document for token in sentence]
    sentences = Sentences(_store(texts))
    differences = 0
    for case in reference["pairs"]:
        settings = case["case"]
        limits = (settings["max_seq_length"] - 3, settings["short_seq_prob"])
        found = []
        generator = random.Random(settings["seed"])
        for document in range(len(texts)):
            for pair in document_pairs(sentences, document, sentences.bounds(document), *limits, generator):
                a, b = flat[pair.a_start : pair.a_end], flat[pair.b_start : pair.b_end]
                tokens = ["[CLS]", *a, "[SEP]", *b, "[SEP]"]
                segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
                found.append([document, tokens, segments, bool(pair.is_random)])
        names = ("document", "tokens", "segment_ids", "is_random_next")
        expected = [[instance[name] for name in names] for instance in case["instances"]]
        differences += sum(mine != other for mine, other in itertools.zip_longest(found, expected))
    return differences


def _mask_differences(reference: dict[str, Any], *, whole_word: bool) -> int:
    tokens = reference["vocab"]
    ids = {token: number for number, token in enumerate(tokens)}
    special = np.array([token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") for token in tokens])
    known = {name: ids[f"[{name.upper()}]"] for name in ("cls", "sep", "pad", "mask")}
    vocabulary = Vocabulary(len(ids), eos=-1, unknown=ids["[UNK]"], special=special, **known)
    differences = 0
    for case in reference["masks"]:
        if case["whole_word"] != whole_word:
            continue
        masked = mask_by_reference(
            [ids[token] for token in case["input"]],
            [not token.startswith("##") for token in case["input"]],
            vocabulary,
            random.Random(case["seed"]),
            whole_word=whole_word,
            mask_ratio=case["masked_lm_prob"],
            max_predictions=case["max_predictions_per_seq"],
        )
        output = [tokens[number] for number in masked.ids[0]]
        labels = [tokens[number] for number in masked.labels]
        found = (output, masked.positions.tolist(), labels)
        differences += found != (case["output"], case["positions"], case["labels"])
    return differences


def _store(texts: list[list[list[str]]]) -> TokenStore:
    """A store in memory whose tokens are nothing but places."""
    lengths = [[len(sentence) for sentence in document] for document in texts]
    document_ends = np.cumsum([sum(document) for document in lengths])
    closes = np.zeros(int(document_ends[-1]), bool)
    closes[np.cumsum([length for document in lengths for length in document]) - 1] = True
    return TokenStore(np.zeros(len(closes), np.uint16), document_ends, np.packbits(closes), info=None)


# shares


def shares(table: Table, work: Path, quick: bool) -> None:
    """How far every share is from what it should be, in standard deviations, over a million tokens and more a case."""
    wanted_tokens = 100_000 if quick else 1_000_000
    deviations: dict[str, float] = {}
    tokens = 0
    texts = list(itertools.islice(documents("prose", "train", 0), 2000))
    for kind in KINDS:
        tokenizer = train_tokenizer(
            (line for text in texts for line in text),
            TokenizerSettings(kind=kind, vocab_size=400, specials="encoder"),
            model_max_length=128,
        )
        vocabulary = Vocabulary.of(tokenizer)
        how = How(is_causal=False, joiner="space", seed=0, cache=str(work), needs_words=True)
        store, _ = compiled(CorpusSettings(path="embedded"), "train", tokenizer, how)
        rows = list(_rows(store, vocabulary, wanted_tokens))
        tokens = sum(int(part.lengths.sum()) for part in rows)
        for name, selection in itertools.product(POLICIES, ("exact", "bernoulli")):
            found = _deviations(rows, vocabulary, POLICIES[name](), selection)
            deviations |= {f"{kind}.{name}.{selection}.{what}": value for what, value in found.items()}
    deviations["random_next"] = _random_next(texts, quick)
    table.details["deviations"] = deviations
    table.add("policy_tokens", tokens, at_least=wanted_tokens)
    table.add("policy_max_sigma", max(map(abs, deviations.values())), at_most=3)


def _rows(store: TokenStore, vocabulary: Vocabulary, wanted_tokens: int) -> Iterator[Rows]:
    sampler = MaskedLM().sampler(store, vocabulary, 128, 256, 0)
    seen = 0
    for epoch in itertools.count():
        for start in range(0, sampler.rows_per_block - 255, 256):
            rows = sampler.rows(epoch, 0, start, start + 256)
            yield rows
            seen += int(rows.lengths.sum())
            if seen >= wanted_tokens:
                return


def _deviations(rows: list[Rows], vocabulary: Vocabulary, policy: MaskingPolicy, selection: str) -> dict[str, float]:
    """Standard deviations between found and expected: of the number predicted, masked, kept and random."""
    predicted = surplus = variance = 0.0
    fates = np.zeros(3)
    draw = random.Random(0)
    together = 0.0  # the sum of squared sizes of what shares its fate
    for part in rows:
        settings = {"mask_ratio": MASK_RATIO, "selection": selection}
        masked = mask_tokens(part, vocabulary, policy, **settings)
        predicted += len(masked.labels)
        mean, spread = _surplus(part, masked, vocabulary, policy.name, selection, draw)
        surplus, variance = surplus + mean, variance + spread
        seen = masked.ids.ravel()[masked.positions]
        fates += [(seen == vocabulary.mask).sum(), (seen == masked.labels).sum(), 0]
        together += _together(part, masked, vocabulary, policy)
    fates[2] = predicted - fates[0] - fates[1]
    chance = 0.1 / (~vocabulary.special).sum()  # that a random token is the token itself
    found = {"predicted": _sigma(surplus, 0.0, variance)}
    for what, number, share in zip(("masked", "kept", "random"), fates, (0.8, 0.1 + chance, 0.1 - chance), strict=True):
        found[what] = _sigma(number, predicted * share, together * share * (1 - share))
    return found


def _surplus(
    part: Rows, masked: Masked, vocabulary: Vocabulary, policy: str, selection: str, draw: random.Random
) -> tuple[float, float]:
    """How many more are predicted than should be, and the variance of that.

    The number is known but for whole words, for which the published rule is carried out again with other draws.
    """
    open_tokens = may_be_predicted(part.ids, part.present(), vocabulary)
    width = part.ids.shape[1]
    found = np.bincount(masked.positions // width, minlength=len(part.ids))
    available = open_tokens.sum(1)
    if policy != "whole_word" and selection == "bernoulli":
        return found.sum() - MASK_RATIO * available.sum(), MASK_RATIO * (1 - MASK_RATIO) * available.sum()
    if policy != "whole_word":
        wanted = [min(n, max(1, round(length * MASK_RATIO))) for length, n in zip(part.lengths, available, strict=True)]
        return float(found.sum() - sum(wanted)), 0.0
    difference = np.zeros(len(found))
    for row, number in enumerate(found.tolist()):
        if selection == "exact":
            wanted_here = max(1, round(int(part.lengths[row]) * MASK_RATIO))
        else:
            wanted_here = sum(draw.random() < MASK_RATIO for _ in range(int(available[row])))
        starts = part.starts[row][open_tokens[row]]
        sizes = np.diff(np.append(np.flatnonzero(np.append(True, starts[1:])), len(starts))).tolist()
        draw.shuffle(sizes)
        total = 0
        for size in sizes:
            if total + size <= wanted_here:
                total += size
        difference[row] = number - total
    return float(difference.sum()), float((difference**2).sum())


def _together(part: Rows, masked: Masked, vocabulary: Vocabulary, policy: MaskingPolicy) -> float:
    """The sum of squared sizes of what shares its fate: spans, or tokens alone."""
    if policy.name != "span":
        return float(len(masked.labels))
    tokens = np.zeros(part.ids.shape, bool)
    tokens.ravel()[masked.positions] = True
    open_tokens = may_be_predicted(part.ids, part.present(), vocabulary)
    starts = part.starts if part.starts is not None else open_tokens
    chosen = policy.choose(Candidates(open_tokens, starts, tokens.sum(1), part.draw_keys, part.epoch_keys))
    assert np.array_equal(chosen.tokens, tokens) and chosen.draw_at is not None
    row, column = np.nonzero(tokens)
    _, sizes = np.unique(row * part.ids.shape[1] + chosen.draw_at[row, column], return_counts=True)
    return float((sizes**2).sum())


def _random_next(texts: list[list[str]], quick: bool) -> float:
    """The share of random seconds, ours against the same rule on ``random.Random``."""
    sentences = Sentences(_store([[line.split() for line in text] for text in texts]))

    def passes(generator: Callable[[int, int], Generator]) -> NDArray[np.float64]:
        found = []
        for turn, document in itertools.product(range(2 if quick else 20), range(len(texts))):
            limits = (125, 0.1, generator(turn, document))
            found += [
                pair.is_random for pair in document_pairs(sentences, document, sentences.bounds(document), *limits)
            ]
        return np.array(found, float)

    ours = passes(lambda turn, document: rng.Stream(0, turn, document))
    theirs = passes(lambda turn, document: random.Random(turn * len(texts) + document))
    variance = ours.var() / len(ours) + theirs.var() / len(theirs)
    return _sigma(ours.mean(), theirs.mean(), variance)


def _sigma(found: float, expected: float, variance: float) -> float:
    if variance == 0:
        return 0.0 if found == expected else float("inf")
    return float((found - expected) / np.sqrt(variance))


# speed


def speed(table: Table, quick: bool) -> None:
    """Masking 256 rows of 512 tokens beside a BERT-mini step on them, on the CPU."""
    size = 1 << 13
    vocabulary = Vocabulary(size, cls=2, sep=3, pad=0, mask=4, eos=-1, unknown=1, special=np.arange(size) < 5)
    draw = np.random.default_rng(0)
    ids = draw.integers(5, size, (256, 512))
    ids[:, 0], ids[:, -1] = vocabulary.cls, vocabulary.sep
    starts = draw.random(ids.shape) < 0.7
    rows = Rows(ids, np.full(256, 512), np.arange(256), (0, 0), starts=starts)
    seconds = {}
    for name, kind in POLICIES.items():
        seconds[name] = _seconds(partial(mask_tokens, rows, vocabulary, kind(), mask_ratio=MASK_RATIO), 3)
    compute = Compute("auto")
    micro = 16  # a step is 256 / 16 of these
    part = Rows(ids[:micro], np.full(micro, 512), np.arange(micro), (0, 0), starts=starts[:micro])
    objective = MaskedLM()
    objective.add_targets(part, vocabulary)
    batch = part.batch().tensors
    shape = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    model = new_model(BertConfig(vocab_size=size, **shape), "masked_lm", 0).train()
    choose_attention(model, "cpu", compute.precision, 512)

    def step() -> None:
        with compute.autocast():
            loss = objective.loss_sum(Forward(model, batch), batch)
        loss.backward()

    step_seconds = 256 / micro * _seconds(step, 1 if quick else 3)
    table.details["seconds"] = {**seconds, "step": step_seconds}
    table.add("masking_over_step", max(seconds.values()) / step_seconds, at_most=0.05)


def _seconds(call: Callable[[], object], times: int) -> float:
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def main() -> None:
    """The parts one after the other."""
    options = arguments(__doc__ or "", only=("golden", "shares", "speed"))
    table = Table("objectives", options.quick)
    if options.only in (None, "golden"):
        golden(table)
    if options.only in (None, "shares"):
        shares(table, options.work, options.quick)
    if options.only in (None, "speed"):
        speed(table, options.quick)
    table.finish()


if __name__ == "__main__":
    main()
