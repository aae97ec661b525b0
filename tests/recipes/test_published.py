"""Published recipes: their settings can work as they stand, and each of their steps trains a tiny model."""

import pytest

from ptft.config import RECIPE_KEYS, load
from ptft.display import Silent
from ptft.inspection.recipes import read_verb, recipe_folder
from ptft.models.presets import PRESETS
from ptft.recipe import Run, resolve
from ptft.run import execute
from ptft.steps import STEPS
from ptft.steps.pretrain import Pretrain

RECIPES = {path.stem: path for path in sorted((recipe_folder() / "published").glob("*.yaml"))}
WIDE = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
NARROW = {"n_layer": 1, "n_embd": 16, "n_head": 2}
TINY = {
    "corpus.limit": "600",
    "vocab_size": "300",
    "length": "32",
    "budget": "1steps",
    "precision": "fp32",
    "threads": "1",
    "batch_ramp.start_ratio": "1",
    "batch_ramp.share": "0.5",
}


def loaded(path, overrides=()):
    """The steps of a recipe by name, each with its own folder."""
    verb = read_verb(path)
    if verb != "run":
        return {verb: load(STEPS[verb], path, overrides, ignore=RECIPE_KEYS).settings}
    return resolve(load(Run, path, overrides, ignore=RECIPE_KEYS).settings)


def tiny(path, folder):
    """Overrides that leave a recipe its kinds of things, and make them small."""
    is_run = read_verb(path) == "run"
    overrides = [f"out={folder / 'x'}"]
    for name, step in loaded(path).items():
        prefix = f"steps.{name}." if is_run else ""
        small = {**TINY, "cache": str(folder / "cache"), "rows_per_step": str(step.accumulate), "evaluation_rows": "8"}
        if step.preset:
            preset = PRESETS[step.preset]
            shape = NARROW if preset.model_type in ("gpt2", "openai-gpt") else WIDE
            if preset.model_type == "llama":
                shape = {**WIDE, "num_key_value_heads": 2}
            small |= {f"shape.{key}": str(value) for key, value in shape.items()}
        else:
            del small["vocab_size"]
        overrides += [f"{prefix}{key}={value}" for key, value in small.items()]
    return overrides


def test_there_are_recipes():
    encoders = {"bert", "cramming", "academic_budget", "mosaicbert", "modernbert"}
    assert encoders | {"gpt1", "gpt2", "babylm_gpt2", "gpt_bert_10m", "gpt_bert_100m"} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_its_settings_can_work(name):
    steps = loaded(RECIPES[name])
    for step in steps.values():
        assert isinstance(step, Pretrain)
        if step.preset:  # the others go on with its model
            step.check()


@pytest.mark.parametrize("name", RECIPES)
def test_each_step_makes_an_update(name, tmp_path, monkeypatch):
    monkeypatch.setattr("ptft.run.write_report", lambda folder: None)
    for step in loaded(RECIPES[name], tiny(RECIPES[name], tmp_path)).values():
        result = execute(step, Silent())
        assert result["steps"] == 1
        assert result["tokens"] > 0


def test_the_two_halves_of_bert_are_one_line_of_the_learning_rate():
    """Up to the peak in 10,000 updates, then straight down to nothing after a million, as published."""
    short, long = loaded(RECIPES["bert"]).values()
    for update in (0, 4_999, 9_999, 10_000, 450_000, 899_999, 900_000, 950_000, 999_999):
        step, size, begin = (short, 900_000, 0) if update < 900_000 else (long, 100_000, 900_000)
        rate = step.lr * step.schedule.factor((update - begin) / size, 1 / size)
        published = 1e-4 * ((update + 1) / 10_000 if update < 10_000 else 1 - update / 1_000_000)
        assert rate == pytest.approx(published, rel=0.015, abs=2e-9)


def test_cramming_grows_batch_and_rate_over_the_published_shares_of_the_tokens():
    (step,) = loaded(RECIPES["cramming"]).values()
    steps, full = 100_000, step.rows_per_step
    total = step.batch_ramp.rows_before(steps, steps, full)
    is_full = next(n for n in range(steps) if step.batch_ramp.rows_before(n + 1, steps, full)
                   - step.batch_ramp.rows_before(n, steps, full) == full)  # fmt: skip
    at_peak = next(n for n in range(steps) if step.schedule.factor(n / steps, 1 / steps) == 1)
    for reached, share in ((is_full, 0.6), (at_peak, 0.75)):
        assert step.batch_ramp.rows_before(reached, steps, full) / total == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize("name", ["modernbert", "mosaicbert"])
def test_weight_decay_at_the_peak_of_the_rate_is_as_published(name):
    for step in loaded(RECIPES[name]).values():
        assert step.lr * step.optimizer.weight_decay == pytest.approx(1e-5, rel=0.01)
