import gzip
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder as the benchmarks want it, from the embedded corpus."""
    from ptft.corpus.embedded import documents

    folder = tmp_path_factory.mktemp("data")
    texts = [next_text for _, next_text in zip(range(400), documents("prose", "train", seed=0), strict=False)]
    corpus, task = folder / "corpora" / "en-10m", folder / "tasks" / "sst2"
    corpus.mkdir(parents=True)
    task.mkdir(parents=True)
    with gzip.open(corpus / "train.txt.gz", "wt") as file:
        file.write("\n\n".join("\n".join(text) for text in texts) + "\n")
    for number, split in enumerate(("train", "valid", "test")):
        lines = [
            json.dumps({"text": line, "label": ["negative", "positive"][place % 2]})
            for text in texts[number * 20 : number * 20 + 20]
            for place, line in enumerate(text)
        ]
        with gzip.open(task / f"{split}.jsonl.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import peers
    import speed_cpu
    import speed_gpu
    import speed_work

    return peers, speed_cpu, speed_gpu, speed_work


@pytest.mark.filterwarnings("ignore")
def test_peers_train_the_cases_of_the_benchmark(modules, data, tmp_path):
    peers, speed_cpu, speed_gpu, speed_work = modules
    for case in (speed_gpu.tiny(speed_gpu.GPT2), speed_gpu.tiny(speed_gpu.BERT128), speed_gpu.tiny(speed_cpu.FINETUNE)):
        found = speed_work.prepared(case, data, tmp_path)
        options = peers.Options(dynamic_padding=case.kind == "classify")
        trainer = peers.new_trainer(case, found, options, tmp_path, use_cpu=True, callbacks=(), max_steps=1)
        batch = next(iter(trainer.get_train_dataloader()))
        assert batch["input_ids"].shape[0] == 4
        if case.kind != "classify":
            assert batch["input_ids"].shape == (4, 32)
        assert trainer.train().global_step == 1
        assert trainer.model.config.vocab_size == 500


def test_both_sides_get_one_shape(modules):
    peers, speed_cpu, speed_gpu, _ = modules
    from ptft.models.presets import PRESETS

    for case in (*speed_cpu.MLM.values(), speed_cpu.CLM, speed_cpu.FINETUNE, speed_gpu.GPT2, speed_gpu.BERT512):
        config = peers.config_of(case, case.vocabulary)
        assert config.vocab_size == case.vocabulary
        assert PRESETS[case.preset].shape.items() <= config.to_dict().items()
    assert speed_gpu.our_options(speed_gpu.BERT128).keys() <= {"compile"}


def test_the_gpu_benchmark_says_that_there_is_no_gpu(monkeypatch, modules, capsys):
    _, _, speed_gpu, _ = modules
    monkeypatch.setattr(speed_gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["speed_gpu.py", "--data", "x"])
    with pytest.raises(SystemExit, match="speed_gpu: there is no CUDA device here; run it on a machine that has one"):
        speed_gpu.main()


def test_classes_of_kernels(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from speed_profile import kind_of

    assert kind_of("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT") == "matrix products"
    assert kind_of("void pytorch_flash::flash_bwd_kernel") == "attention"
    assert kind_of("multi_tensor_apply_kernel<FusedAdam>") == "optimizer"
    assert kind_of("aten::gelu_backward") == "activation"
    assert kind_of("ncclDevKernel") == "other"


@pytest.mark.slow
def test_sides_train_in_turns(modules, data, tmp_path):
    _, speed_cpu, speed_gpu, speed_work = modules
    case = speed_gpu.tiny(speed_cpu.MLM[8192])
    found = speed_work.prepared(case, data, tmp_path)
    sides = {
        "ours": speed_work.ours("ours", case, found, 1, 10),
        "peer": speed_work.peer("peer", case, found, 1, 2, {}),
    }
    try:
        speeds = speed_work.in_turns(sides, "tokens", 2, 0.2)
        shown = sides["ours"].turn(0, 10, profile=True)["profile"]
    finally:
        for side in sides.values():
            side.end()
    assert len(speeds.by_side["ours"]) == len(speeds.by_side["peer"]) == 2
    assert speeds.ratio("ours", "peer") > 0
    assert all(0 < gigabytes < 2 for gigabytes in speeds.peak_gb.values())
    assert shown["by_class"]["matrix products"] > 0


@pytest.mark.slow
def test_a_side_that_fails_says_why(modules, data, tmp_path):
    _, speed_cpu, speed_gpu, speed_work = modules
    case = speed_gpu.tiny(speed_cpu.MLM[8192])
    found = speed_work.prepared(case, data, tmp_path)
    with pytest.raises(RuntimeError, match="lr"):
        speed_work.ours("ours", case, found, 1, 10, lr=-1.0)


def test_without_data_parts_are_left_out(monkeypatch, modules, tmp_path, capsys):
    _, speed_cpu, _, _ = modules
    monkeypatch.setattr(speed_cpu.Table, "finish", lambda table: None)
    monkeypatch.setattr(sys, "argv", ["speed_cpu.py", "--quick", "--only", "clm", "--work", str(tmp_path)])
    speed_cpu.main()
    assert "left out: clm: needs --data DIR with corpora/en-10m and tasks/sst2" in capsys.readouterr().out
