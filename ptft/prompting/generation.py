r"""What a causal model writes after 0 to k solved examples, scored against reference texts.

Zero-shot summaries as in Radford et al. 2019, section 3.6::

    rows, notes = read_references("articles.jsonl", text="article", label="summary")
    result = evaluate_generation(model, tokenizer, rows, name="articles", k=[0], seeds=[0], template=SUMMARY)
    result.figures["articles.k0.rougeL"]
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ptft import rng
from ptft.errors import DataError, RecipeError
from ptft.prompting.decoder import check_decoder, num_positions
from ptft.prompting.encoding import encode_texts
from ptft.prompting.generate import check_writing
from ptft.prompting.greedy import Ids, Written, write_greedily
from ptft.prompting.records import short_hash
from ptft.prompting.scoring import TOKENS_PER_BATCH
from ptft.prompting.shots import check_shown, first_shots, unlabelled_order
from ptft.prompting.template import Template
from ptft.tasks.generation_metrics import SCORES, generation_figures, scores_of
from ptft.tasks.labels import names_of
from ptft.tasks.metrics import mean_interval
from ptft.tasks.task import Example

PROTOCOL = "ptft"
SUMMARY = Template("{text}\nTL;DR:")
"""The form that asks for a summary."""
_LIMIT = rng.key_of("prompting.limit")


@dataclass(frozen=True)
class GenerationResult:
    """What texts and references gave: ready for the flat keys and the ``records`` of ``result.json``."""

    figures: dict[str, float]
    """``NAME.kK.SCORE`` for each of :data:`~ptft.tasks.generation_metrics.SCORES` (mean over rows and seeds), with
    ``.low`` and ``.high``, and ``NAME.n`` (rows)."""
    records: list[dict[str, Any]]
    """One for each k and seed: all scores, and what they were measured with."""
    documents: list[dict[str, Any]]
    """One for each of these and each row: what was written, and how it was scored."""


@dataclass(frozen=True)
class _Prompt:
    index: int
    hash: str
    ids: Ids
    shots: tuple[str, ...]
    """A hash of each."""
    is_cut: bool
    """Whether the end of the row's text is missing."""


def evaluate_generation(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Example],
    *,
    name: str,
    k: Sequence[int],
    seeds: Sequence[int],
    template: Template,
    pool: Sequence[Example] = (),
    max_new_tokens: int = 100,
    stop: Sequence[str] | None = None,
    limit: int = 0,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = warnings.warn,
) -> GenerationResult:
    """Let a model continue the form of each row, taking the most probable token each time, and score what it wrote.

    A shot is the form of an example, white space and its first reference; shots are nested, fixed for a seed, and never
    the row itself. Line ends at the end of the form are part of the prompt, spaces are left to the model. Where a
    prompt and ``max_new_tokens`` are more than the model's positions it loses whole shots, the last first, and then the
    end of the row's ``text``, so what follows the text in the form stays; both are counted and told. White space around
    a continuation goes. Several references are several right answers: the best counts, for each score on its own.

    Intervals are over rows (bootstrap); those of figures are never narrower than that of the mean over seeds.

    Args:
        model: A causal language model, on its device.
        tokenizer: The tokenizer it was pretrained with.
        rows: What to continue; the ``label`` of each is its reference or a tuple of them, as
            :func:`~ptft.tasks.references.read_references` gives them.
        name: What the figures are called.
        k: Numbers of shots, each at least 0.
        seeds: Seeds of the shots, each at least 0.
        template: The form, without words; such as :data:`SUMMARY`.
        pool: Examples to take shots from; they may be the rows themselves.
        max_new_tokens: Most tokens to write, at least 1.
        stop: Texts before which writing ends; None is the template's separator and the line end, each unless a
            reference holds it.
        limit: How many rows to ask about, the same for each k and seed; 0 is all.
        tokens_per_batch: Upper bound for rows times length of what goes through the model together.
        progress: Called with the number of different prompts that were continued and in all.
        say: Told how many prompts were shortened, and why only some go side by side where this is so.

    Raises:
        CheckpointError: The model is not a causal language model.
        RecipeError: A setting is out of range, the template does not go with the rows, or ``k`` shots fit nowhere.
        DataError: There are no rows, too few shots, a row without reference, an empty prompt where there is no token
            to begin with, or a row that does not fit even without its text.

    Paper: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". Differs: greedy throughout, and
    the whole continuation counts instead of its first three sentences.
    """
    stop = check_generation(
        rows, name=name, k=k, seeds=seeds, template=template, pool=pool, max_new_tokens=max_new_tokens, stop=stop,
        limit=limit,
    )  # fmt: skip
    check_decoder(model, tokenizer)
    asked = _asked(tokenizer, rows, pool, template, k, seeds, limit, _room(model, max_new_tokens))
    _tell_shortened(name, asked, max_new_tokens, num_positions(model), say)
    found = _continued(
        model, tokenizer, [prompt for some in asked.values() for prompt in some], progress,
        max_new_tokens=max_new_tokens, stop=stop, tokens_per_batch=tokens_per_batch, say=cache(say),
    )  # fmt: skip
    score = cache(scores_of)
    settings = {"protocol": PROTOCOL, "max_new_tokens": max_new_tokens, "stop": list(stop)}
    documents: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for (size, seed), prompts in asked.items():
        place = {"task": name, "template": template.text, "k": size, "seed": seed}
        some = [place | _document(rows[prompt.index], prompt, found[_key(prompt)], score) for prompt in prompts]
        records.append(place | _scores(some) | _counts(some) | settings)
        documents += some
    return GenerationResult(_figures(name, records, documents), records, documents)


def default_stops(template: Template, examples: Iterable[Example]) -> list[str]:
    """The template's separator and the line end, each unless a reference holds it."""
    references = [reference.strip() for example in examples for reference in names_of(example)]
    candidates = dict.fromkeys([template.separator, "\n"])
    return [end for end in candidates if end and not any(end in reference for reference in references)]


def check_generation(
    rows: Sequence[Example],
    *,
    name: str,
    k: Sequence[int],
    seeds: Sequence[int],
    template: Template,
    pool: Sequence[Example] = (),
    max_new_tokens: int = 100,
    stop: Sequence[str] | None = None,
    limit: int = 0,
) -> Sequence[str]:
    """Refuse what :func:`evaluate_generation` would refuse, as far as it takes no model.

    Returns:
        The stop texts.

    Raises:
        RecipeError: As there.
        DataError: As there, but for prompts that are empty or do not fit.
    """
    stop = default_stops(template, [*rows, *pool]) if stop is None else stop
    check_writing(max_new_tokens, stop)
    check_shown(k, seeds, limit, "rows")
    if template.words:
        raise RecipeError(f"words is {dict(template.words)!r} but {name!r} has references, no labels; leave words out")
    if not rows:
        raise DataError(f"{name!r} has no rows to continue; give at least one with a text and a reference")
    if "text_b" in template.fields and not any(row.text_b for row in rows):
        raise RecipeError(f"the template uses {{text_b}} but no row of {name!r} has a second text; leave it out")
    for kind, examples in (("row", rows), ("example", pool)):
        for number, example in enumerate(examples):
            if not any(reference.strip() for reference in names_of(example)):
                where = example.where or f"{kind} {number} of {name!r}"
                raise DataError(f"{where}: there is no reference; fill it in, or leave the {kind} out")
    ordered = unlabelled_order(pool, seeds[0])
    for row in rows:
        first_shots(ordered, max(k), row)
    return stop


def _room(model: PreTrainedModel, max_new_tokens: int) -> int:
    """The longest prompt in tokens."""
    positions = num_positions(model)
    if max_new_tokens > positions:
        raise RecipeError(
            f"max_new_tokens is {max_new_tokens}, which leaves none of the model's {positions} positions to a prompt; "
            "ask for fewer"
        )
    return positions - max_new_tokens + 1  # the last token is written and never fed


def _asked(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Example],
    pool: Sequence[Example],
    template: Template,
    k: Sequence[int],
    seeds: Sequence[int],
    limit: int,
    room: int,
) -> dict[tuple[int, int], list[_Prompt]]:
    """The prompts of each number of shots and seed."""
    numbers = list(range(len(rows)))
    if 0 < limit < len(rows):
        numbers = sorted(rng.permuted(np.arange(limit), len(rows), _LIMIT).tolist())
    orders = {seed: unlabelled_order(pool, seed) for seed in seeds}
    ways = product(k, seeds)
    return {(size, seed): _prompts(tokenizer, template, rows, numbers, orders[seed], size, room) for size, seed in ways}


def _prompts(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    rows: Sequence[Example],
    numbers: Sequence[int],
    ordered: Sequence[Example],
    k: int,
    room: int,
) -> list[_Prompt]:
    """The prompts of some rows, each with as many shots and as much text as fits."""
    made: dict[int, _Prompt] = {}
    for size in range(k, -1, -1):
        left = [number for number in numbers if number not in made]
        shots = {number: first_shots(ordered, size, rows[number]) for number in left}
        texts = [_text(template, rows[number], shots[number]) for number in left]
        for number, text, ids in zip(left, texts, _encoded(tokenizer, texts), strict=True):
            if len(ids) <= room:
                hashes = tuple(short_hash(shot.text, shot.text_b, names_of(shot)[0]) for shot in shots[number])
                made[number] = _Prompt(number, short_hash(text), ids, hashes, is_cut=False)
    for number in numbers:
        if number not in made:
            made[number] = _cut(tokenizer, template, rows[number], number, room)
    return [made[number] for number in numbers]


def _text(template: Template, row: Example, shots: Iterable[Example]) -> str:
    shown = [template.query(shot) + template.choice(names_of(shot)[0]) for shot in shots]
    # A space belongs to the word after it, but a line end is a token of its own.
    return template.separator.join([*shown, template.query(row) + template.choice("").rstrip(" \t")])


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Ids]:
    beginning = () if tokenizer.bos_token_id is None else (int(tokenizer.bos_token_id),)
    encoded = encode_texts(tokenizer, texts)
    found = [np.array(beginning + encoded[text], dtype=np.int64) for text in texts]
    if not all(len(ids) for ids in found):
        raise DataError("a prompt is empty and the tokenizer has no bos_token to begin with; give rows with text")
    return found


def _cut(tokenizer: PreTrainedTokenizerBase, template: Template, row: Example, number: int, room: int) -> _Prompt:
    """The prompt without shots and with as much of the row's text as fits."""
    best: _Prompt | None = None
    fits, too_long = 0, len(row.text)
    while fits + 1 < too_long:
        middle = (fits + too_long) // 2
        text = _text(template, replace(row, text=row.text[:middle]), ())
        (ids,) = _encoded(tokenizer, [text])
        if len(ids) <= room:
            fits, best = middle, _Prompt(number, short_hash(text), ids, (), is_cut=True)
        else:
            too_long = middle
    if best is None:
        raise DataError(
            f"{row.where or f'row {number}'}: the prompt does not fit into the {room} positions that new tokens leave, "
            "even with its text cut to nothing; use a shorter form or second text, or fewer new tokens"
        )
    return best


def _tell_shortened(
    name: str,
    asked: dict[tuple[int, int], list[_Prompt]],
    max_new_tokens: int,
    positions: int,
    say: Callable[[str], None],
) -> None:
    """Say how many prompts lost something to fit.

    Raises:
        RecipeError: All prompts of a number of shots did.
    """
    for k in dict.fromkeys(size for size, _ in asked):
        prompts = [prompt for (size, _), some in asked.items() if size == k for prompt in some]
        most = max(len(prompt.shots) for prompt in prompts)
        if most < k:
            raise RecipeError(
                f"k is {k} but no prompt of {name!r} has room for so many shots: {most} at most fit into {positions} "
                f"positions beside max_new_tokens={max_new_tokens}; ask for fewer, or for fewer new tokens"
            )
        lost, cut = sum(len(prompt.shots) < k for prompt in prompts), sum(prompt.is_cut for prompt in prompts)
        for count, what in ((lost, "lost shots"), (cut, "lost the end of their text")):
            if count:
                say(f"{name}.k{k}: {count} of {len(prompts)} prompts {what} to fit into {positions} positions")


def _key(prompt: _Prompt) -> bytes:
    return prompt.ids.tobytes()


def _continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[_Prompt],
    progress: Callable[[int, int], None] | None,
    **settings: Any,
) -> dict[bytes, Written]:
    """Continue each different prompt once; those with the same shots together, since they begin alike."""
    groups: dict[tuple[str, ...], dict[bytes, Ids]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.shots, {})[_key(prompt)] = prompt.ids
    found: dict[bytes, Written] = {}
    total = sum(map(len, groups.values()))
    for group in groups.values():
        before = len(found)

        def told(done: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        written = write_greedily(model, tokenizer, list(group.values()), progress=told, **settings)
        found |= zip(group, written, strict=True)
    return found


def _document(
    row: Example, prompt: _Prompt, written: Written, score: Callable[..., dict[str, float]]
) -> dict[str, Any]:
    references = tuple(reference.strip() for reference in names_of(row) if reference.strip())
    return {
        "index": prompt.index,
        "document": short_hash(row.text, row.text_b),
        "prompt": prompt.hash,
        "shots": list(prompt.shots),
        "is_cut": prompt.is_cut,
        "continuation": written.text.strip(),
        "references": list(references),
        "scores": score(written.text.strip(), references),
        "ended_by": written.ended_by,
        "prompt_tokens": len(prompt.ids),
        "new_tokens": written.tokens,
    }


def _scores(documents: Sequence[dict[str, Any]]) -> dict[str, float]:
    return generation_figures([document["scores"] for document in documents], seed=0)


def _counts(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ends = Counter(document["ended_by"] for document in documents)
    return {
        "n": len(documents),
        "shots_dropped": sum(len(document["shots"]) < document["k"] for document in documents),
        "texts_cut": sum(document["is_cut"] for document in documents),
        "empty": sum(not document["continuation"] for document in documents),
        "ended_by": {reason: ends[reason] for reason in ("stop", "end", "limit")},
    }


def _figures(name: str, records: Sequence[dict[str, Any]], documents: Sequence[dict[str, Any]]) -> dict[str, float]:
    figures: dict[str, float] = {f"{name}.n": records[0]["n"]}
    for k in dict.fromkeys(record["k"] for record in records):
        by_row: dict[int, list[dict[str, float]]] = {}
        for document in documents:
            if document["k"] == k:
                by_row.setdefault(document["index"], []).append(document["scores"])
        means = [{one: float(np.mean([row[one] for row in some])) for one in SCORES} for some in by_row.values()]
        over_rows = generation_figures(means, seed=0)
        for one in SCORES:
            low, high = over_rows[f"{one}.low"], over_rows[f"{one}.high"]
            _, low_over_seeds, high_over_seeds = mean_interval([r[one] for r in records if r["k"] == k])
            bounds = min(low, max(low_over_seeds, 0.0)), max(high, min(high_over_seeds, 1.0))
            key = f"{name}.k{k}.{one}"
            figures |= {key: over_rows[one], f"{key}.low": bounds[0], f"{key}.high": bounds[1]}
    return figures
