"""Fine-tuning fits a temperature to its validation rows, keeps it beside the model, and predictions heed it."""

import csv
import json
import math

import numpy as np
import pytest

from ptft.api import predict
from ptft.errors import CheckpointError
from ptft.models.classifier_files import open_classifier
from ptft.tasks.calibration import Calibration


@pytest.fixture(scope="module")
def noisy(tmp_path_factory, labelled_texts):
    """Labels to validate with, a fifth of which are wrong."""
    other = {"warm": "cold", "cold": "warm"}
    rows = [(text, other[label] if n % 5 == 0 else label) for n, (text, label) in enumerate(labelled_texts[:40])]
    path = tmp_path_factory.mktemp("noisy") / "valid.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, step, bert_run, table, noisy):
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    settings = {"length": 32, "budget": "60steps", "lr": 0.01, "rows_per_step": 16}
    result = step("finetune", model=str(bert_run), data=str(table), valid=str(noisy), out=str(folder), **settings)
    return folder, result


def probabilities(run, data, out, **settings):
    predict(model=str(run), data=str(data), out=str(out), precision="fp32", **settings)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["label"] for row in rows], np.array([float(row["probability.warm"]) for row in rows])


def test_the_temperature_is_kept_and_heeded(run, noisy, tmp_path):
    folder, result = run
    kept = json.loads((folder / "model" / "calibration.json").read_text())
    assert kept == {"temperature": result["valid.temperature"], "rows": 40}
    assert kept["temperature"] > 1  # it learned clean labels, and was asked for noisy ones
    labels, calm = probabilities(folder, noisy, tmp_path / "calm.csv")
    same, sure = probabilities(folder, noisy, tmp_path / "sure.csv", calibrated=False)
    assert labels == same
    odds, calm_odds = (np.log(p / (1 - p)) for p in (sure, calm))
    middle = (sure > 0.01) & (sure < 0.99)  # elsewhere six digits are too few
    assert odds[middle] / kept["temperature"] == pytest.approx(calm_odds[middle], rel=1e-2)
    with noisy.open(newline="") as file:
        right = [p if row["label"] == "warm" else 1 - p for p, row in zip(calm, csv.DictReader(file), strict=True)]
    assert result["valid.nll_calibrated"] == pytest.approx(-np.mean(np.log(right)), abs=1e-3)
    assert result["valid.nll_calibrated"] < result["valid.nll"]
    assert result["valid.ece_calibrated"] < result["valid.ece"]


def test_few_validation_rows_leave_probabilities_as_they_are(step, bert_run, table, tmp_path):
    settings = {"length": 32, "budget": "2steps", "out": str(tmp_path / "run")}
    result = step("finetune", model=str(bert_run), data=str(table), **settings)
    assert result["valid.temperature"] == 1
    assert result["valid.nll_calibrated"] == result["valid.nll"]
    assert not (tmp_path / "run" / "model" / "calibration.json").exists()
    assert open_classifier(tmp_path / "run").calibration == Calibration()


@pytest.mark.parametrize("text", ["{", '{"temperature": 0.0, "rows": 9}', '{"heat": 1}', "[1]"])
def test_a_damaged_temperature_is_named(text, run, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for path in (run[0] / "model").iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    (model / "calibration.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"calibration\.json' cannot be read: .*; delete it"):
        open_classifier(model)
    (model / "calibration.json").unlink()
    assert math.isclose(open_classifier(model).calibration.temperature, 1)
