"""Real text: pretrain on about ten million words of English and Korean, fine-tune at few and many labels, prompt.

Run: python benchmarks/real_text.py --data DIR [--quick]

DIR holds corpora/{en-10m,ko}/{train,valid}.txt.gz and tasks/{ag_news,sst2,nsmc}/{train,valid,test}.jsonl.gz.
A run that is finished is not done again and an interrupted one goes on, so the command can be given until all is done.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import Table, arguments, ptft

CURVES = {"ag_news": "encoder-en", "sst2": "encoder-en", "nsmc": "encoder-ko"}
PROMPTED = {
    "ag_news": "{text}\nTopic:",
    "sst2": "{text}\nSentiment:",
}


def main() -> None:
    """Every run, two at a time, then the table."""
    options = arguments(__doc__ or "")
    if options.data is None:
        raise SystemExit("give --data DIR, a folder with corpora/ and tasks/")
    work: Path = options.work / ("real-quick" if options.quick else "real")
    short = ["budget=20steps", "evaluation_rows=64", "checkpoint_every_steps=0"] if options.quick else []

    def pretrain(name: str, recipe: str, corpus: str, *settings: str) -> None:
        path = options.data / "corpora" / corpus
        ptft("pretrain", f"real/{recipe}", f"corpus.path={path}", f"out={work / name}", *settings, *short)

    def curve(task: str) -> None:
        cell = ["labels=64", "seeds=1", "lr=1e-3", "min_steps=10", "budget=10steps"] if options.quick else []
        model = work / CURVES[task]
        ptft(
            "curve",
            "real/classify",
            f"model={model}",
            f"data={options.data / 'tasks' / task}",
            f"out={work / task}",
            *cell,
        )

    def prompt(task: str) -> None:
        settings = ["k=0,2", "seeds=1", "limit=50"] if options.quick else ["k=0,1,2,4,8", "seeds=5", "limit=1000"]
        data, out = options.data / "tasks" / task, work / f"prompt-{task}"
        ptft(
            "prompt",
            f"model={work / 'decoder-en'}",
            f"data={data}",
            f"template={PROMPTED[task]}",
            f"out={out}",
            "threads=1",
            *settings,
        )

    with ThreadPoolExecutor(2) as pool:
        english = pool.submit(pretrain, "encoder-en", "encoder", "en-10m")
        korean = pool.submit(pretrain, "encoder-ko", "encoder", "ko", *([] if options.quick else ["budget=30Mtokens"]))
        decoder = pool.submit(pretrain, "decoder-en", "decoder", "en-10m")
        for future in (english, korean, decoder):
            future.result()
        list(pool.map(curve, CURVES))
        list(pool.map(prompt, PROMPTED))
    report(options.quick, work)


def report(quick: bool, work: Path) -> None:
    """Gather the figures and hold them against the bars."""
    table = Table("real_text", quick)
    for name in ("encoder-en", "encoder-ko", "decoder-en"):
        result = json.loads((work / name / "result.json").read_text())
        for key, value in result.items():
            if key.startswith(("mlm.", "nsp.", "clm.", "tokens", "seconds")):
                table.add(f"{name}.{key}", value)
    for task in CURVES:
        result = json.loads((work / task / "result.json").read_text())
        table.details[f"{task}.records"] = result.pop("records")
        for key, value in result.items():
            if key.endswith(
                ".difference.high"
            ):  # below scratch by more than the paired interval: its upper end under 0
                table.add(f"{task}.{key}", value, at_least=0.0)
            elif key == "test.64.difference" and task == "ag_news":
                table.add(f"{task}.{key}", value, at_least=0.10)
            else:
                table.add(f"{task}.{key}", value)
    for task in PROMPTED:
        result = json.loads((work / f"prompt-{task}" / "result.json").read_text())
        for key, value in result.items():
            if key != "records":
                table.add(f"prompt.{key}", value)
    table.finish()


if __name__ == "__main__":
    main()
