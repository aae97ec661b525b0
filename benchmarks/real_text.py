"""Real text: pretrain on about ten million words of English and Korean, fine-tune at few and many labels, prompt.

Run: python benchmarks/real_text.py --data DIR [--quick] [--only english|english-mini|korean|decoder]

DIR holds corpora/{en-10m,ko}/{train,valid}.txt.gz and tasks/{ag_news,sst2,nsmc}/{train,valid,test}.jsonl.gz. The parts
do not need each other, and what a part found replaces what it found before; english-mini wants a GPU. A run that is
finished is not done again and an interrupted one goes on, so the command can be given until all is done.
"""

import json
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from measure import Table, arguments, machine, ptft

PROMPTED = {"ag_news": "{text}\nTopic:", "sst2": "{text}\nSentiment:"}


def pretrain(options: Namespace, name: str, recipe: str, corpus: str, *settings: str) -> None:
    """A model on a corpus of DIR."""
    short = ["budget=20steps", "evaluation_rows=64", "checkpoint_every_steps=0"] if options.quick else settings
    path = options.data / "corpora" / corpus
    ptft("pretrain", f"real/{recipe}", f"corpus.path={path}", f"out={options.work / name}", *short)


def curve(options: Namespace, model: str, task: str, *settings: str, out: str = "") -> None:
    """Fine-tune at each number of labels, from the model and from scratch."""
    short = ["labels=64", "seeds=1", "lr=1e-3", "min_steps=10", "budget=10steps"] if options.quick else settings
    data = options.data / "tasks" / task
    ptft(
        "curve",
        "real/classify",
        f"model={options.work / model}",
        f"data={data}",
        f"out={options.work / (out or task)}",
        *short,
    )


def english(options: Namespace) -> None:
    """A hundred million tokens, ag_news and sst2."""
    pretrain(options, "encoder-en", "encoder", "en-10m")
    curve(options, "encoder-en", "ag_news")
    curve(options, "encoder-en", "sst2")


def english_mini(options: Namespace) -> None:
    """BERT-mini for ten epochs, ag_news: for a GPU."""
    pretrain(
        options, "encoder-mini-en", "encoder", "en-10m", "preset=bert-mini", "rows_per_step=256", "budget=10epochs"
    )
    curve(options, "encoder-mini-en", "ag_news", out="ag_news-mini")


def korean(options: Namespace) -> None:
    """A hundred million tokens, nsmc; one epoch of its 79 thousand labels."""
    pretrain(options, "encoder-ko", "encoder", "ko")
    curve(options, "encoder-ko", "nsmc", "budget=1epochs")


def decoder(options: Namespace) -> None:
    """At least thirty million tokens of English, then few-shot questions."""
    pretrain(options, "decoder-en", "decoder", "en-10m", "budget=31Mtokens")
    settings = ["k=0,2", "seeds=1", "limit=50"] if options.quick else ["k=0,1,2,4,8", "seeds=5", "limit=500"]
    for task, template in PROMPTED.items():
        data, out = options.data / "tasks" / task, options.work / f"prompt-{task}"
        model = options.work / "decoder-en"
        ptft("prompt", f"model={model}", f"data={data}", f"template={template}", f"out={out}", "threads=1", *settings)


PARTS: dict[str, tuple[Callable[[Namespace], None], tuple[str, ...]]] = {
    "english": (english, ("encoder-en", "ag_news", "sst2")),
    "english-mini": (english_mini, ("encoder-mini-en", "ag_news-mini")),
    "korean": (korean, ("encoder-ko", "nsmc")),
    "decoder": (decoder, ("decoder-en", "prompt-ag_news", "prompt-sst2")),
}


def main() -> None:
    """The parts, two at a time, then the table."""
    options = arguments(__doc__ or "", only=tuple(PARTS))
    if options.data is None:
        raise SystemExit("give --data DIR, a folder with corpora/ and tasks/")
    options.work = options.work / ("real-quick" if options.quick else "real")
    names = [options.only] if options.only else [n for n in PARTS if n != "english-mini" or torch.cuda.is_available()]
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda name: PARTS[name][0](options), names):
            pass
    table = Table("real_text", options.quick)
    former = table.former()
    table.parts = {**former.get("parts", {}), **{name: machine() for name in names}}
    table.details["records"] = former.get("records", {})
    table.details["run_commits"] = former.get("run_commits", {})
    for name, (_, folders) in PARTS.items():
        if name in names:
            for folder in folders:
                add(table, folder, json.loads((options.work / folder / "result.json").read_text()))
                manifest = json.loads((options.work / folder / "manifest.json").read_text())
                table.details["run_commits"][folder] = manifest["commit"]
        elif name in former.get("parts", {}):
            for key, value in former.items():
                if key.startswith(tuple(f"{folder}." for folder in folders)):
                    table.add(key, value, **bar(key))
        else:
            table.leave_out(name)
    table.finish()


def add(table: Table, folder: str, result: dict[str, object]) -> None:
    """The figures of one run, under the name of its folder."""
    records = result.pop("records", None)
    if records:
        table.details["records"][folder] = records
    for key, value in result.items():
        if isinstance(value, float | int):
            table.add(f"{folder}.{key}", value, **bar(f"{folder}.{key}"))


def bar(key: str) -> dict[str, float]:
    """What is asked of a figure: to gain at 64 labels, and nowhere to lose more than the paired interval."""
    if key in ("ag_news.test.64.difference", "ag_news-mini.test.64.difference"):
        return {"at_least": 0.10}
    return {"at_least": 0.0} if key.endswith(".difference.high") else {}


if __name__ == "__main__":
    main()
