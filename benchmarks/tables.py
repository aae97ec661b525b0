"""Write the tables of README and of docs/performance.md between their marks from the benchmarks' result files.

Run: python benchmarks/tables.py [--check]
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
PAGES = (README, HERE.parent / "docs" / "performance.md")


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


def real_text(result: dict[str, object]) -> str:
    """Pretraining on real text, and what it bought at each number of labels."""

    def figure(key: str) -> float:
        value = result[key]
        assert isinstance(value, int | float)
        return float(value)

    lines = ["| model | million tokens seen | figures on held-out text |", "|---|---|---|"]
    for name in ("encoder-en", "encoder-ko", "decoder-en"):
        if f"{name}.tokens" not in result:
            lines.append(f"| {name} | not run yet | |")
            continue
        shown = (
            f"causal LM perplexity {figure(f'{name}.clm.perplexity'):.1f}"
            if name == "decoder-en"
            else (
                f"masked-token accuracy {figure(f'{name}.mlm.accuracy'):.2f} (most frequent token: "
                f"{figure(f'{name}.mlm.baseline'):.2f}), next-sentence accuracy {figure(f'{name}.nsp.accuracy'):.2f}"
            )
        )
        lines.append(f"| {name} | {figure(f'{name}.tokens') / 1e6:.0f} | {shown} |")
    lines += ["", "| task, test accuracy | labels | pretrained | scratch | difference (95 % paired interval) |"]
    lines.append("|---|---|---|---|---|")
    for task in ("ag_news", "sst2", "nsmc"):
        counts = sorted(
            {int(key.split(".")[2]) for key in result if re.fullmatch(rf"{task}\.test\.\d+\.difference", key)}
        )
        for count in counts:
            name = f"{task}.test.{count}"
            low, high = figure(f"{name}.difference.low"), figure(f"{name}.difference.high")
            lines.append(
                f"| {task} | {count:,} | {figure(f'{name}.pretrained'):.3f} | {figure(f'{name}.scratch'):.3f} | "
                f"{figure(f'{name}.difference'):+.3f} ({low:+.3f} to {high:+.3f}) |"
            )
    prompts = [task for task in ("ag_news", "sst2") if f"prompt-{task}.{task}.k0" in result]
    if prompts:
        lines += ["", "| decoder-en asked with k examples | " + " | ".join(f"k = {k}" for k in (0, 1, 2, 4, 8)) + " |"]
        lines.append("|---" * 6 + "|")
        for task in prompts:
            values = [f"{figure(f'prompt-{task}.{task}.k{k}'):.3f}" for k in (0, 1, 2, 4, 8)]
            lines.append(f"| {task} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def other_checkpoint(result: dict[str, object]) -> str:
    """Somebody else's checkpoint on sst2."""
    low, high = result["test.low"], result["test.high"]
    return (
        f"MiniLM (6 layers x 384) fine-tuned on sst2 by `ptft finetune`: test accuracy {result['test.accuracy']:.3f} "
        f"({low:.3f} to {high:.3f}); `python benchmarks/other_checkpoint.py` measures it."
    )


def speed_cpu(result: dict[str, object]) -> str:
    """Speeds on one and two threads, and ours over the others'."""

    def figure(key: str) -> float:
        value = result[key]
        assert isinstance(value, float)
        return value

    cases = (
        ("masked LM, vocabulary 30,522, length 128", "mlm_v30522", "tokens", ("ours", "packed")),
        ("masked LM, vocabulary 8,192, length 128", "mlm_v8192", "tokens", ("ours", "packed", "nsp")),
        ("causal LM, vocabulary 16,000, length 256", "clm", "tokens", ("ours",)),
        ("fine-tuning on sst2, length up to 128", "finetune", "rows", ("ours",)),
    )
    words = {"ours": "", "packed": ", `packed_length=128`", "nsp": ", with next sentence"}
    lines = []
    for title, case, unit, sides in cases:
        for side in sides:
            speeds = {
                other: [figure(f"{case}.{other}.{unit}_per_second.{t}") for t in ("1thread", "2threads")]
                for other in (side, "default", "best")
            }
            shown = [" / ".join(f"{value:,.0f}" for value in values) for values in speeds.values()]
            ratios = [
                " / ".join(f"{mine / other:.1f}" for mine, other in zip(speeds[side], speeds[name], strict=True))
                for name in ("default", "best")
            ]
            lines.append(
                f"| {title}{words[side]} | {shown[0]} {unit}/s | {shown[1]} | {shown[2]} | {', '.join(ratios)} |"
            )
    head = "| training, on one / two threads | ptft | Trainer | Trainer at its best | times as fast as each |"
    return "\n".join([head, "|---|---|---|---|---|", *lines])


TABLES: dict[str, Callable[[dict[str, object]], str]] = {
    "quickstart": quickstart,
    "real_text": real_text,
    "other_checkpoint": other_checkpoint,
    "speed_cpu": speed_cpu,
}


def written(text: str) -> str:
    """A page with every table made anew."""
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
    """Write the pages, or with ``--check`` say whether they are up to date."""
    old = [page for page in PAGES if written(page.read_text()) != page.read_text()]
    if "--check" in sys.argv:
        sys.exit(f"the tables of {old[0].name} are old: run python benchmarks/tables.py" if old else 0)
    for page in old:
        page.write_text(written(page.read_text()))


if __name__ == "__main__":
    main()
