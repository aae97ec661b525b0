"""One model for both: the hybrid objective beside a pure encoder and a pure decoder, on the embedded corpus.

Run: python benchmarks/hybrid.py [--quick]

The pure ones are the quickstart's, by its recipe as it stands; the hybrid is recipes/hybrid.yaml, with twice the steps
of the longer one. Masked accuracy is on the same held-out prose, each model under its own tokenizer; k8 is the share of
eight-shot questions answered right about words that were never listed; polarity is fine-tuned at 64 labels. One seed.

The hybrid is larger than either of the pure ones and sees more tokens than either: what is shown is that one model can
do both, not that it learns as fast. How much larger and how many more is among the figures, without a bar.
"""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from measure import HERE, Table, arguments, ptft

from ptft import evaluate
from ptft.corpus.embedded import documents

RECIPES = HERE.parent / "recipes"
HELD_OUT_DOCUMENTS = 2000
SHORT = {"budget": "20steps", "evaluation_rows": 64}


def steps_of(quick: bool) -> dict[str, dict[str, Any]]:
    """The quickstart's two models, the hybrid, and for each what it is made for."""
    known = yaml.safe_load((RECIPES / "quickstart.yaml").read_text())["steps"]
    steps: dict[str, dict[str, Any]] = {name: known[name] for name in ("encoder", "decoder")}
    hybrid = yaml.safe_load((RECIPES / "hybrid.yaml").read_text())
    steps["hybrid"] = {"name": hybrid.pop("verb"), **hybrid}
    if quick:
        steps = {name: {**step, **SHORT} for name, step in steps.items()}
    prompts = {**known["prompts"], "data": "words_topic_H", "k": [8]}
    steps["decoder_prompts"] = {**prompts, "model": "step:decoder"}
    steps["hybrid_prompts"] = {**prompts, "model": "step:hybrid"}
    steps["encoder_polarity"] = {**known["polarity"], "labels": [64], "model": "step:encoder"}
    steps["hybrid_polarity"] = {**known["polarity"], "labels": [64], "model": "step:hybrid"}
    return steps


def num_steps(step: Mapping[str, Any]) -> int:
    """Of a budget that counts steps."""
    return int(str(step["budget"]).removesuffix("steps"))


def masked_accuracy(model: Path, text: Path, figure: str) -> float:
    """Share of hidden tokens of a text that a model finds."""
    lines = evaluate(model=str(model), corpus={"path": str(text)}).splitlines()
    return float(dict(line.split() for line in lines)[figure])


def main() -> None:
    """Train all three, then measure them on the same text."""
    options = arguments(__doc__ or "")
    out = options.work / ("hybrid-quick" if options.quick else "hybrid")
    steps = steps_of(options.quick)
    options.work.mkdir(parents=True, exist_ok=True)
    recipe = options.work / f"{out.name}.yaml"
    recipe.write_text(yaml.safe_dump({"out": str(out), "steps": steps}, sort_keys=False))
    ptft("run", str(recipe))
    text = options.work / "held-out.txt"
    held_out = islice(documents("prose", "valid", seed=0), HELD_OUT_DOCUMENTS)
    text.write_text("\n\n".join("\n".join(document) for document in held_out))

    def result(step: str) -> dict[str, float]:
        figures: dict[str, float] = json.loads((out / step / "result.json").read_text())
        return figures

    table = Table("hybrid", options.quick)
    masked = {
        "encoder": masked_accuracy(out / "encoder", text, "mlm.accuracy"),
        "hybrid": masked_accuracy(out / "hybrid", text, "hybrid.masked_accuracy"),
    }
    shots = {kind: result(f"{kind}_prompts")["words_topic_H.k8"] for kind in ("decoder", "hybrid")}
    for kind, value in masked.items():
        table.add(f"{kind}.masked_accuracy", value)
        table.add(f"{kind}.polarity.H.64", result(f"{kind}_polarity")["H.64.pretrained"])
    for kind, value in shots.items():
        table.add(f"{kind}.words_topic_H.k8", value)
    longer = max(num_steps(steps[kind]) for kind in ("encoder", "decoder"))
    table.add("steps_over_pure", num_steps(steps["hybrid"]) / longer)
    for what in ("parameters", "tokens"):
        for kind in ("encoder", "decoder"):
            table.add(f"{what}_over_{kind}", result("hybrid")[what] / result(kind)[what])
    table.add("seconds", result("hybrid")["seconds"])
    bar = None if options.quick else 0.95
    table.add("masked_over_pure", masked["hybrid"] / masked["encoder"], at_least=bar)
    table.add("k8_over_pure", shots["hybrid"] / shots["decoder"], at_least=bar)
    table.finish()


if __name__ == "__main__":
    main()
