"""The quickstart over several seeds: what pretraining buys on the embedded corpus, as medians with their bars.

Run: python benchmarks/quickstart.py [--quick]
"""

import json

from measure import Table, arguments, median, ptft

SEEDS = range(5)


def main() -> None:
    """Run the recipe for each seed and compare the medians with what is asked of it."""
    options = arguments(__doc__ or "")
    seeds = list(SEEDS)[:1] if options.quick else list(SEEDS)
    results = []
    for seed in seeds:
        out = options.work / f"quickstart-{seed}"
        ptft("run", "quickstart", f"seed={seed}", f"out={out}")
        results.append(json.loads((out / "result.json").read_text()))
    table = Table("quickstart", options.quick)
    table.details["seeds"] = seeds
    table.details["by_seed"] = [{key: value for key, value in result.items() if key != "records"} for result in results]

    def middle(key: str) -> float:
        return median([result[key] for result in results])

    def middle_difference(one: str, other: str) -> float:
        return median([result[one] - result[other] for result in results])

    table.add("nsp.accuracy", middle("nsp.accuracy"), at_least=0.85)
    table.add("mlm.accuracy", middle("mlm.accuracy"), at_least=0.50)
    table.add("mlm.over_baseline", median([r["mlm.accuracy"] / r["mlm.baseline"] for r in results]), at_least=2.5)
    for task, bar in (("polarity", 0.80), ("topic", 0.85)):
        table.add(f"finetune.{task}.H.16.pretrained", middle(f"finetune.{task}.H.16.pretrained"), at_least=bar)
        table.add(f"finetune.{task}.H.64.pretrained", middle(f"finetune.{task}.H.64.pretrained"), at_least=0.95)
    for task, bar in (("polarity", 0.10), ("topic", 0.35)):
        gain = middle_difference(f"finetune.{task}.L.64.pretrained", f"finetune.{task}.L.64.scratch")
        table.add(f"finetune.{task}.L.64.gain", gain, at_least=bar)
    table.add("prompt.words_topic_H.k0", middle("prompt.words_topic_H.k0"), at_least=0.40, at_most=0.60)
    table.add("prompt.words_topic_H.k8", middle("prompt.words_topic_H.k8"), at_least=0.85)
    rise = middle_difference("prompt.words_topic_H.k8", "prompt.words_topic_H.k0")
    table.add("prompt.words_topic_H.k8_minus_k0", rise, at_least=0.25)
    table.add("seconds.total", max(result["seconds.total"] for result in results), at_most=360)
    table.finish()


if __name__ == "__main__":
    main()
