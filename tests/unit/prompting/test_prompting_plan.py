import random
from itertools import chain

import numpy as np
import pytest

from ptft.prompting.plan import Plan
from ptft.prompting.request import Request


def some_requests(seed):
    """Prompts with fixed and with random shots, nested numbers of them, and answers that share beginnings."""
    draws = random.Random(seed)
    pool = [[draws.randrange(5) for _ in range(draws.randrange(1, 9))] for _ in range(8)]
    requests = []
    for _ in range(draws.randrange(1, 12)):
        query = [draws.randrange(5) for _ in range(draws.randrange(1, 5))]
        shots = pool if draws.random() < 0.5 else draws.sample(pool, len(pool))
        for k in (0, 2, 5):
            context = (9, *chain.from_iterable(shots[:k]), *query)
            requests += [Request(context, tuple(draws.choices(range(3), k=draws.randrange(1, 5)))) for _ in range(3)]
    return requests


def run(plan, passes):
    """What each answer of a plan was asked after, by following who sees whom, and the number of tokens."""
    found, tokens, kept = {}, 0, []
    for one, is_mine in passes:
        del kept[one.level :]
        layout = plan.layout(one)
        before = list(chain.from_iterable(kept))
        assert len(before) == one.start
        sees = np.tri(len(layout.ids), dtype=bool) if layout.sees is None else layout.sees
        for slot, token, answer in layout.asked.tolist() if is_mine else ():
            place = layout.slots[slot]
            seen = np.flatnonzero(sees[place])
            assert layout.positions[seen].tolist() == list(range(one.start, one.start + len(seen)))
            assert answer not in found
            found[answer] = (tuple(before + layout.ids[seen].tolist()), token)
        if one.is_stem:
            kept.append(layout.ids.tolist())
        tokens += len(layout.ids)
    return found, tokens


def asked(requests):
    """Each continuation token, after what."""
    whole = [(request.context_ids + request.continuation_ids, len(request.context_ids)) for request in requests]
    pairs = [(ids[:end], ids[end]) for ids, begin in whole for end in range(begin, len(ids))]
    return dict(enumerate(pairs))


@pytest.mark.parametrize("budget", [1, 10, 40, 10_000])
@pytest.mark.parametrize("min_saved", [1, 12, 48])
def test_every_token_is_asked_for_once_after_its_own_context(budget, min_saved):
    for seed in range(25):
        requests = some_requests(seed)
        plan = Plan(requests, budget, min_saved)
        found, tokens = run(plan, plan.share(0, 1))
        assert found == asked(requests)
        assert tokens == plan.num_tokens >= plan.num_distinct


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_processes_answer_everything_once_together(processes):
    for seed in range(25):
        requests = some_requests(seed)
        plan = Plan(requests, 20, 1)
        found = {}
        for rank in range(processes):
            mine, _ = run(plan, plan.share(rank, processes))
            assert not set(mine) & set(found)
            found |= mine
        assert found == asked(requests)


def test_the_fewest_tokens():
    requests = some_requests(3)
    whole = {(request.context_ids + request.continuation_ids)[:-1] for request in requests}
    nodes = {ids[:end] for ids in whole for end in range(1, len(ids) + 1)}
    assert Plan(requests, 10_000).num_distinct == Plan(requests, 10_000).num_tokens == len(nodes)


def test_a_shared_beginning_goes_through_once_where_that_saves_enough():
    shots = tuple(range(100, 200))
    requests = [Request((*shots, *range(n, n + 10)), (1,)) for n in range(0, 500, 10)]
    plan = Plan(requests, budget=60)
    assert plan.num_tokens == plan.num_distinct == 600
    assert [one.is_stem for one in plan.passes] == [True, *[False] * 9]
    short = [Request((*shots[:5], *request.context_ids[100:]), (1,)) for request in requests]
    plan = Plan(short, budget=400, min_saved=48)
    assert not any(one.is_stem for one in plan.passes)
    assert plan.num_tokens == plan.num_distinct + 5


def test_rows_stay_within_the_budget_but_for_a_longer_path():
    requests = [Request(tuple(range(n, n + 30)), (1,)) for n in range(0, 3000, 30)]
    plan = Plan([*requests, Request(tuple(range(5000, 5400)), (1, 2))], budget=100)
    sizes = sorted(len(plan.layout(one).ids) for one in plan.passes)
    assert sizes[-1] == 401 and max(sizes[:-1]) == 90


def test_a_plan_of_nothing():
    plan = Plan([], 10)
    assert plan.passes == [] and plan.share(0, 1) == [] and plan.num_tokens == 0
