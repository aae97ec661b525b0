"""Result files of benchmarks whose parts are measured at different times."""

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
PARTS = ("fast", "slow", "far")


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Measure one part at a commit and give what the result file holds; ``needs`` leaves the part out."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measure

    monkeypatch.setattr(measure, "HERE", tmp_path)

    def run(part, commit, needs=""):
        monkeypatch.setattr(measure, "machine", lambda: {"commit": commit})
        table = measure.Table("some", quick=False)
        with table.part(part):
            if needs:
                table.leave_out(f"{part}: needs {needs}")
            else:
                table.add(f"{part}.seconds", 2.0, at_most=1.0)
        table.keep_others(PARTS)
        with pytest.raises(SystemExit):
            table.finish()
        return json.loads((tmp_path / "results" / "some.json").read_text())

    return run


def test_each_part_keeps_its_commit(measured):
    measured("slow", "old")
    found = measured("fast", "new")
    assert found["parts"] == {"slow": {"commit": "old"}, "fast": {"commit": "new"}}
    assert found["slow.seconds"] == found["fast.seconds"] == 2
    assert {*found["missed"]} == {"slow.seconds", "fast.seconds"}


def test_what_was_never_measured_is_named_until_it_is(measured):
    unknown = "not measured, or at a commit that was not kept"
    assert measured("slow", "a", needs="data")["left_out"] == [
        "slow: needs data",
        f"fast: {unknown}",
        f"far: {unknown}",
    ]
    found = measured("fast", "b")
    assert found["left_out"] == ["slow: needs data", f"far: {unknown}"]
    found = measured("slow", "c")
    assert found["left_out"] == [f"far: {unknown}"]
    assert {*found["parts"]} == {"fast", "slow"}


def test_figures_of_a_part_that_is_left_out_this_time_are_kept_with_its_commit(measured):
    measured("slow", "a")
    found = measured("slow", "b", needs="data")
    assert (found["parts"]["slow"], found["slow.seconds"]) == ({"commit": "a"}, 2)
    assert "slow: needs data" in found["left_out"]
