"""``precision=auto``: what the machine has and is not slower in; a run goes on with what it began with."""

import json

import pytest
import torch

from ptft import compute
from ptft.compute import Compute, product_seconds, resolve_precision
from ptft.run import perform
from ptft.training.checkpoint import kept_precision


@pytest.fixture
def machine(monkeypatch):
    """A machine that has bf16 or not, and takes so long for a product in bf16 where fp32 takes 1."""

    def make(has, bf16=0.5):
        compute._bf16_pays.cache_clear()
        monkeypatch.setattr("ptft.compute.has_native_bf16", lambda: has)
        monkeypatch.setattr(
            "ptft.compute.product_seconds", lambda dtype, device: bf16 if dtype == torch.bfloat16 else 1.0
        )

    yield make
    compute._bf16_pays.cache_clear()


@pytest.mark.parametrize(
    ("has", "bf16", "expected"),
    [(True, 0.3, "bf16"), (True, 1.2, "bf16"), (True, 1.3, "fp32"), (False, 0.3, "fp32")],
)
def test_it_is_measured_where_the_hardware_has_it(machine, has, bf16, expected):
    machine(has, bf16)
    assert resolve_precision("auto") == Compute("auto").precision == expected


def test_it_is_measured_once_a_process(machine, monkeypatch):
    machine(True, 0.5)
    assert resolve_precision("auto") == "bf16"
    monkeypatch.setattr("ptft.compute.product_seconds", None)  # would fail if it were called
    assert resolve_precision("auto") == "bf16"


@pytest.mark.parametrize(
    ("has", "kept", "expected"),
    [(True, "bf16", "bf16"), (True, "fp32", "fp32"), (False, "bf16", "fp32"), (True, "", "bf16")],
)
def test_what_was_kept_stays_where_the_device_has_it(machine, has, kept, expected):
    machine(has, 0.5)
    assert resolve_precision("auto", kept) == expected
    machine(has, 9.0)
    assert resolve_precision("auto", kept) == ("fp32" if kept == "" else expected)
    assert resolve_precision("fp32", kept) == "fp32"


def test_a_product_takes_time():
    assert 0 < product_seconds(torch.float32, torch.device("cpu")) < 10


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_a_run_goes_on_with_the_precision_that_it_began_with(
    verb, machine, tmp_path, pretrain_settings, table, bert_run, monkeypatch
):
    monkeypatch.setattr("ptft.run.write_report", lambda folder: None)
    settings = pretrain_settings("bert") if verb == "pretrain" else {
        "model": str(bert_run), "data": str(table), "budget": "4steps", "length": 24, "seeds": 2,
    }  # fmt: skip
    settings |= {"checkpoint_every_steps": 2, "threads": 1, "out": str(tmp_path / "run")}
    machine(True, 0.5)
    perform(verb, **settings)
    assert kept_precision(tmp_path / "run") == "bf16"
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    for name in ("result.json", "manifest.json"):
        (tmp_path / "run" / name).unlink()
    machine(True, 9.0)
    perform(verb, **settings)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["precision"] == manifest["precision"] == "bf16"


def test_a_folder_without_a_checkpoint_keeps_none(tmp_path):
    assert kept_precision(tmp_path) == ""
