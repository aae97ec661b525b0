"""Label-efficiency curves of real tasks: every way to fine-tune, beside scratch, TF-IDF and the most frequent label.

Run: python benchmarks/curves.py --data DIR [--model MINILM] [--only TASK] [--quick]

DIR holds tasks/NAME/{train,valid,test}. The English and Korean encoders are those of ``real_text.py`` (its runs are
looked for in ``--work``/real, or made there by its recipe); with ``--model`` the English tasks are measured with that
checkpoint as well. No bar: the figures are what they are. ``results/curves.json`` has every mean over five seeds with
its interval, ``docs/curves/`` the pictures.
"""

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

from measure import HERE, Table, arguments, ptft

PICTURES = HERE.parent / "docs" / "curves"
METHODS = (
    "full", "scratch", "frozen", "last_k", "gradual_unfreezing", "layerwise_lr", "scalar_mix", "lora", "tfidf",
    "majority",
)  # fmt: skip
COUNTS = (16, 64, 256, 1024)


class Task(NamedTuple):
    """A task's folder and the language of its encoder."""

    name: str
    language: str


TASKS = [Task(name, "en") for name in ("ag_news", "sst2", "subjectivity")]
TASKS += [Task(name, "ko") for name in ("kor_3i4k", "nsmc")]


def main() -> None:
    """Measure each task with each model that is there."""
    options = arguments(__doc__ or "", only=[task.name for task in TASKS], model=True)
    table = Table("curves", options.quick)
    for task in TASKS:
        if options.only not in (None, task.name):
            continue
        with table.part(task.name):
            measure_task(options, table, task)
    if options.only:
        table.keep_others(task.name for task in TASKS)
    table.finish()


def measure_task(options: Namespace, table: Table, task: Task) -> None:
    """A task with each model that is there."""
    models = {f"encoder-{task.language}": options.work / "real" / f"encoder-{task.language}"}
    if task.language == "en":
        models["minilm"] = options.model
    for name, model in models.items():
        if options.data is None or model is None or not model.exists():
            table.leave_out(f"{task.name}: {name} needs --data and {model or '--model'} (benchmarks/real_text.py)")
            continue
        measure(table, name, model, task, options.data, options.work, quick=options.quick)


def measure(table: Table, name: str, model: Path, task: Task, data: Path, work: Path, *, quick: bool) -> None:
    """One curve: its means as figures, its picture."""
    out = work / "curves" / f"{name}-{task.name}{'-quick' if quick else ''}"
    rates = "1e-4,3e-4,1e-3" if name == "minilm" else "3e-4,1e-3,3e-3"
    ptft(
        "curve", f"model={model}", f"data={data / 'tasks' / task.name}", f"methods={','.join(METHODS)}",
        f"labels={','.join(map(str, COUNTS[:1] if quick else COUNTS))}", f"seeds={2 if quick else 5}",
        f"lr={rates},1e-2", "dropout=0.1", f"min_steps={20 if quick else 200}", f"out={out}",
    )  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    for key, value in result.items():
        if key.startswith("test."):
            table.figures[f"{name}.{task.name}.{key.removeprefix('test.')}"] = value
    if not quick:
        PICTURES.mkdir(exist_ok=True)
        shutil.copy(out / "label_efficiency.png", PICTURES / f"{name}-{task.name}.png")


if __name__ == "__main__":
    main()
