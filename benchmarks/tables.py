"""Write the tables of README between their marks from the benchmarks' result files.

Run: python benchmarks/tables.py [--check]
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def quickstart(result: dict[str, object]) -> str:
    """Medians of the quickstart over its seeds."""
    runs = result["by_seed"]
    assert isinstance(runs, list)

    def middle(key: str) -> str:
        values = sorted(float(run[key]) for run in runs)
        return f"{values[len(values) // 2]:.2f} ({values[0]:.2f} to {values[-1]:.2f})"

    rows = [
        (
            "masked-token accuracy (always the most frequent token)",
            f"{middle('mlm.accuracy')} ({middle('mlm.baseline')})",
        ),
        ("next-sentence accuracy", middle("nsp.accuracy")),
        *(
            (
                f"{task}, {n} labels, words seen in labels: pretrained / scratch",
                f"{middle(f'finetune.{task}.L.{n}.pretrained')} / {middle(f'finetune.{task}.L.{n}.scratch')}",
            )
            for task in ("polarity", "topic")
            for n in (16, 64)
        ),
        *(
            (
                f"{task}, {n} labels, words never labelled: pretrained / scratch",
                f"{middle(f'finetune.{task}.H.{n}.pretrained')} / {middle(f'finetune.{task}.H.{n}.scratch')}",
            )
            for task in ("polarity", "topic")
            for n in (16, 64)
        ),
        *(
            (f"words by topic, never in a list, {k} examples in the prompt", middle(f"prompt.words_topic_H.k{k}"))
            for k in (0, 1, 4, 8, 16)
        ),
        ("seconds, all of it", middle("seconds.total")),
    ]
    lines = [f"| {name} | {value} |" for name, value in rows]
    return "\n".join([f"| figure | median of {len(runs)} seeds (lowest to highest) |", "|---|---|", *lines])


TABLES: dict[str, Callable[[dict[str, object]], str]] = {"quickstart": quickstart}


def written(text: str) -> str:
    """README with every table made anew."""
    for name, make in TABLES.items():
        path = HERE / "results" / f"{name}.json"
        if path.exists():
            table = make(json.loads(path.read_text()))
            mark = f"<!-- table: {name} -->"
            text = re.sub(
                f"{mark}.*?<!-- end -->", lambda _, m=mark, t=table: f"{m}\n{t}\n<!-- end -->", text, flags=re.S
            )
    return text


def main() -> None:
    """Write README, or with ``--check`` say whether it is up to date."""
    text = README.read_text()
    fresh = written(text)
    if "--check" in sys.argv:
        sys.exit(0 if fresh == text else "README's tables are old: run python benchmarks/tables.py")
    README.write_text(fresh)


if __name__ == "__main__":
    main()
