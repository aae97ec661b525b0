"""A tokenizer's quality by script, as rows of text: several tokenizers side by side."""

from collections.abc import Iterable, Mapping
from typing import Any

from ptft.report.tables import format_count, format_value

_COLUMNS = {
    "bytes_per_token": "bytes a token",
    "fertility": "tokens a word",
    "unknown_ratio": "unknown",
    "split_ratio": "split words",
}


def script_rows(records: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """A row of titles and one for each script and tokenizer; none where nothing was measured by script.

    Args:
        records: Those of a ``result.json``; others than a tokenizer's are left out.
    """
    measured = [record for record in records if "script" in record]
    if not measured:
        return []
    rows = [["script", "tokenizer", "words", *_COLUMNS.values(), "frequent words in most pieces"]]
    for script in dict.fromkeys(record["script"] for record in measured):
        rows += [
            [script, record["tokenizer"], format_count(record["words"])]
            + [format_value(record[name]) for name in _COLUMNS]
            + [record["most_split"]]
            for record in measured
            if record["script"] == script
        ]
    return rows
