"""The page of a run: what is shown, what is not, and that nothing in it is markup."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from ptft.errors import CheckpointError
from ptft.report import write_report
from ptft.report.folder import read_runs
from ptft.report.page import collect
from ptft.report.speed import speed_rows

EVIL = "<script>alert('x')</script>"


def curve_record(**changes):
    return {"task": "topic", "test": "H", "method": "pretrained", "labels": 16, "seed": 0, "value": 0.9, "low": 0.8,
            "high": 0.95, **changes}  # fmt: skip


def shot_record(**changes):
    return {"task": "words", "k": 0, "seed": 0, "method": "direct", "value": 0.5, "low": 0.4, "high": 0.6, **changes}


def fill(folder, figures=None, records=(), metrics="", manifest=None, recipe=""):
    folder.mkdir(exist_ok=True)
    if figures is not None or records:
        (folder / "result.json").write_text(json.dumps({**(figures or {}), "records": list(records)}))
    if metrics:
        (folder / "metrics.jsonl").write_text(metrics)
    if manifest:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    if recipe:
        (folder / "recipe.yaml").write_text(recipe)
    return folder


def headings(page):
    return re.findall(r"<h2>(.*?)</h2>", page.read_text())


class Tags(HTMLParser):
    """Collects tags, and checks that each that is opened is closed."""

    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_whole_run_has_every_section_and_picture(tmp_path):
    run = fill(
        tmp_path,
        {"test.accuracy": 0.84},
        [curve_record(), shot_record()],
        '{"step": 1, "tokens": 10, "loss": 2.0}\n',
        {"commit": "abc"},
        "seed: 1\n",
    )
    page = write_report(run)
    assert page == run / "report.html"
    assert headings(page) == ["Figures", "Loss", "Label efficiency", "Shots", "Lineage", "Recipe"]
    for name in ("loss.png", "label_efficiency.png", "shots.png"):
        assert base64.b64encode((run / name).read_bytes()).decode() in page.read_text()
    assert (run / "label_efficiency.svg").exists()


@pytest.mark.parametrize(
    ("content", "sections", "pictures"),
    [
        ({"figures": {"n": 1}}, ["Figures"], []),
        ({"metrics": '{"step": 1, "loss": 2.0}\n'}, ["Loss"], ["loss.png"]),
        ({"metrics": '{"step": 1, "tokens": 5, "valid.mlm.loss": 2.0}\n'}, ["Loss"], ["loss.png"]),
        ({"metrics": '{"step": 1, "lr": 2.0}\n', "recipe": "a: 1\n"}, ["Recipe"], []),
        ({"records": [curve_record()]}, ["Label efficiency"], ["label_efficiency.png"]),
        ({"records": [shot_record()]}, ["Shots"], ["shots.png"]),
        ({"records": [{"other": 1}], "manifest": {"seeds": [1]}}, ["Lineage"], []),
    ],
)
def test_sections_are_only_where_there_is_data(tmp_path, content, sections, pictures):
    page = write_report(fill(tmp_path, **content))
    assert headings(page) == sections
    assert [path.name for path in tmp_path.glob("*.png")] == pictures


def test_speed_is_that_of_the_run_or_else_the_median_of_its_log(tmp_path):
    log = [{"step": n, "tokens_per_second": 100 * n, "mfu": n / 10, "head_share": 0.25} for n in (1, 2, 6)]
    fill(tmp_path / "a", {"tokens_per_second": 150.0, "padding_ratio": 0.125}, metrics="\n".join(map(json.dumps, log)))
    fill(tmp_path / "b", {"n": 1, "data_wait_ratio": 0.01, "mfu": True})
    fill(tmp_path / "c", {"n": 1})
    runs = read_runs(tmp_path)
    assert speed_rows(runs) == [
        ["run", "tokens a second", "mfu", "padding", "waiting for data", "vocabulary head"],
        ["a", "150", "0.200", "0.125", "", "0.250"],
        ["b", "", "", "", "0.010", ""],
    ]
    page = write_report(tmp_path)
    assert headings(page) == ["Figures", "Speed"]
    assert "<td>150</td><td>0.200</td>" in page.read_text()
    assert speed_rows(runs[3:]) == []


def test_an_unfinished_run_says_so(tmp_path):
    page = write_report(fill(tmp_path, recipe="a: 1\n"))
    assert "the run has not finished" in page.read_text()


def test_a_torn_line_is_mentioned_and_does_no_harm(tmp_path):
    page = write_report(fill(tmp_path, metrics='{"step": 1, "loss": 2.0}\n{"step": 2, "lo'))
    assert "cannot be read and are left out: 1 " in page.read_text()


def test_everything_from_the_folder_is_escaped(tmp_path):
    run = fill(
        tmp_path / "a<b>&c",
        {EVIL: 0.5},
        [curve_record(task=EVIL, test=EVIL, method=EVIL), shot_record(task=EVIL, method=EVIL)],
        '{"step": 1, "loss": 2.0}\n',
        {EVIL: EVIL},
        f"text: {EVIL}\n",
    )
    text = write_report(run).read_text()
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert "script" not in tags.seen and "b" not in tags.seen
    assert "&lt;script&gt;" in text
    assert "<title>a&lt;b&gt;&amp;c</title>" in text


def test_the_page_needs_nothing_from_outside(tmp_path):
    text = write_report(fill(tmp_path, {"n": 1}, [shot_record()])).read_text()
    assert not re.search(r'(src|href)="(?!data:image/png;base64,)', text)
    assert "http" not in text and "url(" not in text


def test_the_same_folder_gives_the_same_page(tmp_path):
    run = fill(tmp_path, {"n": 1}, [shot_record(), curve_record()], '{"step": 1, "loss": 2.0}\n')
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_steps_share_the_page_of_their_run(tmp_path):
    fill(tmp_path / "encoder", {"nsp.accuracy": 0.9}, metrics='{"step": 1, "loss": 2.0}\n', recipe="a: 1\n")
    fill(tmp_path / "prompt", {"n": 100}, [shot_record()])
    text = write_report(tmp_path).read_text()
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["encoder", "prompt", "encoder"]
    assert (tmp_path / "loss.png").exists() and (tmp_path / "shots.png").exists()
    assert not (tmp_path / "encoder" / "loss.png").exists()


def test_words_about_construction_stand_where_they_are_true(tmp_path):
    records = [curve_record(method=method, test=test) for method in ("pretrained", "scratch") for test in ("L", "H")]
    text = write_report(fill(tmp_path, records=[*records, shot_record()])).read_text()
    assert "scratch is at chance there by construction" in text
    assert "zero-shot (k = 0) is chance by construction" in text


def test_words_about_construction_stand_nowhere_else(tmp_path):
    text = write_report(fill(tmp_path, records=[curve_record(test="test"), shot_record(k=4)])).read_text()
    assert "by construction" not in text
    assert "scratch" not in text


def test_a_run_that_repeats_its_steps_records_shows_them_once(tmp_path):
    fill(tmp_path, records=[shot_record()])
    fill(tmp_path / "prompt", records=[shot_record()])
    assert collect(read_runs(tmp_path), "k") == [shot_record()]


def test_steps_that_measure_different_tasks_keep_their_methods(tmp_path):
    fill(tmp_path / "a", records=[curve_record(task="one")])
    fill(tmp_path / "b", records=[curve_record(task="two")])
    assert [record["method"] for record in collect(read_runs(tmp_path), "labels")] == ["pretrained", "pretrained"]


def test_two_models_on_one_task_are_not_averaged(tmp_path):
    fill(tmp_path / "small", records=[shot_record(value=0.4)])
    fill(tmp_path / "large", records=[shot_record(value=0.8)])
    assert [record["method"] for record in collect(read_runs(tmp_path), "k")] == ["large: direct", "small: direct"]


def test_a_folder_without_a_run_is_refused_and_left_alone(tmp_path):
    with pytest.raises(CheckpointError, match="no run in folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_light_to_import():
    code = "import sys, ptft.report; print({'torch', 'transformers', 'matplotlib', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_pictures_leave_pyplot_alone():
    code = (
        "import sys; from ptft.report.plots import shot_curve; shot_curve([{'k': 1, 'value': 0.5}]); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_words_by_script(tmp_path):
    figures = {"words": 1200, "bytes_per_token": 4.0, "fertility": 1.5, "unknown_ratio": 0.0, "split_ratio": 0.25}
    records = [
        {"tokenizer": name, "script": script, **figures, "most_split": EVIL}
        for name in ("trained here", "other")
        for script in ("all", "Latin")
    ]
    page = write_report(fill(tmp_path / "run", {"fertility": 1.5}, records))
    assert headings(page) == ["Figures", "Words by script"]
    text = page.read_text()
    assert EVIL not in text
    rows = re.findall(r"<tr><td>(\w+)</td><td>([\w ]+)</td><td>1,200</td><td>4.000</td>", text)
    assert rows == [("all", "trained here"), ("all", "other"), ("Latin", "trained here"), ("Latin", "other")]
