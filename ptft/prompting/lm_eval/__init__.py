r"""Protocol ``lm_eval-0.4.13``: prompts, shots, token ids, truncation and figures of the harness, without importing it.

What differs from ptft's own protocol is what a published number needs: shots drawn for each document from one stream,
ids cut where the context's own end, long prompts cut on the left. ``adapter`` makes ptft a model of lm_eval itself::

    from ptft.prompting import Template
    from ptft.prompting.lm_eval import aggregates, document_metrics, encode_pairs, max_length, prompt_items, truncated
    from ptft.prompting.scoring import score_requests

    items = prompt_items(rows, pool, labels, Template("Review: {text}\nSentiment:"), k=8)
    pairs = [(item.context, choice) for item in items for choice in item.choices]
    positions = max_length(model, tokenizer)
    scored = score_requests(model, [truncated(request, positions) for request in encode_pairs(tokenizer, pairs)])
"""

from ptft.prompting.lm_eval.encoding import PROTOCOL, encode_pairs, encode_texts, max_length, prefix_id, truncated
from ptft.prompting.lm_eval.metrics import Aggregate, aggregates, document_metrics, sized_metrics
from ptft.prompting.lm_eval.prompts import prompt_item, prompt_items, shots_for
from ptft.prompting.lm_eval.rolling import perplexities, rolling_requests
from ptft.prompting.lm_eval.shots import first_shots, random_shots

__all__ = [
    "PROTOCOL",
    "Aggregate",
    "aggregates",
    "document_metrics",
    "encode_pairs",
    "encode_texts",
    "first_shots",
    "max_length",
    "perplexities",
    "prefix_id",
    "prompt_item",
    "prompt_items",
    "random_shots",
    "rolling_requests",
    "shots_for",
    "sized_metrics",
    "truncated",
]
