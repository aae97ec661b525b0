"""The command line: what each verb prints, and its exit code."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ptft import cli, peers
from ptft.errors import DataError
from ptft.training.interruption import Interrupted


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def ptft(capsys):
    """Run a command line in this process; return exit code, output and complaints."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.command(arguments)
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture
def corpus(here) -> str:
    path = here / "corpus.txt"
    path.write_text("\n\n".join(f"The cat {i} sat.\nThe dog {i} ran." for i in range(40)))
    return f"corpus.path={path}"


# Reading


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_overview_shows_every_verb(ptft, arguments):
    code, out, err = ptft(*arguments)
    assert (code, err) == (0, "")
    assert out.startswith("usage: ptft VERB [RECIPE.yaml] [key=value ...]\n")
    for verb in cli.verbs():
        assert f"\n  {verb} " in out
    assert max(map(len, out.splitlines())) <= 80


def test_no_two_verbs_have_one_name():
    from ptft.inspection.members import members

    own = ["run", "lm_eval", "list", "head", "check", "lineage", "report"]
    names = [*own, *(name for package in ("steps", "actions") for name, _, _ in members(package))]
    assert sorted(cli.verbs()) == sorted(names)


def test_help_and_lists_import_no_torch():
    code = (
        "import sys; from ptft.cli import command; command(['--help']); assert 'pydantic' not in sys.modules;"
        "names = ('steps', 'objectives', 'presets', 'schedules', 'tasks', 'prompts', 'problems');"
        "[command(['list', name]) for name in names];"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_version(ptft):
    from importlib.metadata import version

    assert ptft("--version") == (0, f"ptft {version('ptft')}\n", "")


def test_a_verb_that_does_not_exist_is_refused_with_the_nearest(ptft):
    code, out, err = ptft("pretrian", "lr=1")
    assert (code, out) == (2, "")
    assert err.startswith("ptft: unknown verb 'pretrian'; did you mean 'pretrain'? Known: bench, check, compare, ")


def test_an_option_is_refused(ptft):
    assert "unknown verb '--lr'; there are no options but --help and --version" in ptft("--lr", "3")[2]
    assert ptft("list", "--all")[2].startswith("ptft: list: '--all': there are no options but --help; settings are")


def test_the_help_of_a_verb_shows_the_member_that_is_named(ptft):
    out = ptft("pretrain", "optimizer=muon", "--help")[1]
    assert "with optimizer=muon:\n" in out
    assert "with optimizer=adamw:" not in out
    assert "Settings of another choice: ptft pretrain --help " in out


# Showing


def test_list_shows_all_families(ptft):
    code, out, _ = ptft("list")
    assert code == 0
    for title in (
        "steps",
        "objectives",
        "presets",
        "tasks",
        "prompts",
        "corpora",
        "recipes",
        "optimizers",
        "schedules",
    ):
        assert f"{title} (" in out


def test_list_shows_name_line_and_file_relative_to_where_one_stands(ptft, monkeypatch):
    root = Path(cli.__file__).parents[1]
    monkeypatch.chdir(root)
    row = next(line for line in ptft("list", "objectives")[1].splitlines() if "masked_lm" in line)
    assert row.startswith("  masked_lm       Predict masked tokens")
    assert row.endswith("  ptft/objectives/masked_lm.py")
    monkeypatch.chdir(root / "ptft" / "steps")
    assert str(root / "ptft" / "objectives" / "masked_lm.py") in ptft("list", "objectives")[1]


def test_list_refuses_what_is_no_family(ptft):
    assert ptft("list", "objective")[2].startswith("ptft: unknown family 'objective'; did you mean 'objectives'?")
    assert ptft("list", "k=1")[2].startswith("ptft: list: 'k=1': takes no settings; give the name of a family")


def test_head_shows_a_corpus_by_path(ptft, corpus):
    code, out, _ = ptft("head", corpus.split("=")[1], "n=1")
    assert code == 0
    assert "\n\ndocument 1, 2 sentences\n  The cat " in out


def test_check_shows_settings_and_writes_nothing(ptft, corpus, here):
    code, out, _ = ptft("check", "tokenizer", corpus, "out=runs/t")
    assert code == 0
    assert out.startswith("tokenizer\n  out ")
    assert "runs/t would be made" in out
    assert out.endswith("checked; nothing was written\n")
    assert [path.name for path in here.iterdir()] == ["corpus.txt"]


def test_check_refuses_a_key_with_the_nearest(ptft):
    code, out, err = ptft("check", "tokenizer", "sed=1")
    assert (code, out) == (2, "")
    assert "command line: sed=1: unknown key; did you mean 'seed'?" in err


def test_lineage_and_report_of_a_run(ptft, here):
    (here / "manifest.json").write_text(json.dumps({"step": "pretrain", "seeds": [0]}))
    assert ptft("lineage", ".")[1] == ".  (pretrain)\n  seeds: 0\n"
    assert ptft("report", ".") == (0, "report.html\n", "")
    assert "<html" in (here / "report.html").read_text()
    assert ptft("report", "nowhere")[0] == 2


# Doing


def test_a_step_is_done_once_and_then_only_reported(ptft, corpus, here):
    (here / "x.yaml").write_text("verb: tokenizer\nvocab_size: 300\n")
    code, out, err = ptft("tokenizer", "x.yaml", corpus, "vocab_size=200", "out=runs/t", "seed=3")
    assert (code, err) == (0, "")
    assert out.endswith("report: runs/t/report.html\n")
    figures = json.loads((here / "runs" / "t" / "result.json").read_text())
    assert all(name in out for name in figures if name != "records")
    code, again, _ = ptft("tokenizer", "x.yaml", corpus, "vocab_size=200", "out=runs/t", "seed=3")
    assert code == 0
    assert again.startswith("runs/t is finished; nothing to do")
    assert ptft("run", "x.yaml", corpus, "vocab_size=200", "out=runs/t", "seed=3")[1] == again
    assert "holds a run with other settings" in ptft("tokenizer", "x.yaml", corpus, "out=runs/t")[2]


def test_a_mistake_in_a_recipe_has_one_line_a_problem(ptft, here):
    (here / "x.yaml").write_text("verb: tokenizer\nvocab_sice: 3\nseed: yes\n")
    code, out, err = ptft("tokenizer", "x.yaml", "out=runs/t")
    assert (code, out) == (2, "")
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["ptft", "x.yaml:3", "seed"],
        ["ptft", "x.yaml:2", "vocab_sice"],
    ]
    assert not (here / "runs").exists()


def test_a_recipe_of_several_steps_is_run(ptft, here, monkeypatch):
    def run(path, overrides, display):
        display.say(f"doing {path} with {overrides}")
        return {"tokens": 1234.0}

    monkeypatch.setattr("ptft.recipe.run", run)
    (here / "x.yaml").write_text("out: runs/x\nsteps:\n  t: {name: tokenizer}\n")
    code, out, _ = ptft("run", "x.yaml", "out=runs/y")
    assert code == 0
    assert out == (
        "doing x.yaml with ['out=runs/y']\n"
        "  tokens  1,234  tokens seen, each as often as it was seen\n"
        "report: runs/y/report.html\n"
    )
    assert ptft("run")[2].startswith("ptft: run: no recipe given; name a file, or one of ")


def test_an_action_prints_its_text(ptft, monkeypatch):
    from ptft.actions import ACTIONS
    from ptft.actions.action import Action

    class Echo(Action):
        """Say it again."""

        text: str
        """What."""

        def do(self, display):
            display.say("working")
            return self.text

    monkeypatch.setitem(ACTIONS.__dict__, "_members", {"generate": (Echo, Path())})
    assert ptft("generate", "text=a b") == (0, "working\na b\n", "")
    assert ptft("generate", "text=") == (0, "working\n", "")
    assert ptft("generate", "--help")[1].startswith(
        "usage: ptft generate [RECIPE.yaml] [key=value ...]\n\nSay it again."
    )


# Ending


@pytest.mark.parametrize(
    ("resume", "stop", "sentence"),
    [
        (
            "true",
            Interrupted("stopped after step 3 of 9"),
            "stopped after step 3 of 9; the same command goes on from there",
        ),
        ("true", KeyboardInterrupt(), "stopped; the same command goes on from there"),
        (
            "false",
            KeyboardInterrupt(),
            "stopped; the same command with out=t instead of resume=false goes on from there",
        ),
    ],
)
def test_a_stopped_step_says_how_to_go_on(ptft, corpus, monkeypatch, resume, stop, sentence):
    def execute(step, display):
        raise stop

    monkeypatch.setattr("ptft.run.execute", execute)
    assert ptft("tokenizer", corpus, "out=t", f"resume={resume}") == (130, "", f"ptft: {sentence}\n")


def test_what_cannot_go_on_is_only_stopped(ptft, monkeypatch):
    def rows_of(family):
        raise KeyboardInterrupt

    monkeypatch.setattr("ptft.inspection.listing.rows_of", rows_of)
    assert ptft("list") == (130, "", "ptft: stopped\n")


def test_a_bug_keeps_its_traceback(ptft, monkeypatch):
    def rows_of(family):
        raise KeyError("a bug")

    monkeypatch.setattr("ptft.inspection.listing.rows_of", rows_of)
    with pytest.raises(KeyError):
        ptft("list")


def test_only_the_first_process_talks_and_one_a_machine_complains(ptft, monkeypatch):
    def rows_of(family):
        raise DataError("broken")

    monkeypatch.setattr(peers, "_HEAD_START", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("RANK", "8")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert ptft("list", "steps") == (0, "", "")
    with cli._display() as display:
        display.say("unheard")
    monkeypatch.setattr("ptft.inspection.listing.rows_of", rows_of)
    assert ptft("list", "steps") == (2, "", "ptft: broken\n")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ptft("list", "steps") == (2, "", "")


def test_main_quiets_the_libraries_and_exits_with_the_code(monkeypatch, capsys):
    for name in cli._QUIET:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "warnoptions", [])
    monkeypatch.setattr(sys, "argv", ["ptft", "nothing"])
    with warnings.catch_warnings():
        with pytest.raises(SystemExit) as end:
            cli.main()
        warnings.warn("unheard", stacklevel=1)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("ptft: unknown verb 'nothing'")
    assert {name: os.environ[name] for name in cli._QUIET} == cli._QUIET


def test_a_reader_that_goes_away_is_no_bug():
    command = [sys.executable, "-m", "ptft", "list", "steps"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_signal_while_it_is_ending_shows_no_traceback(monkeypatch, capsys):
    """A launcher sends one when another process has ended, and this one may be saying why it ends itself."""

    def stopped_again(arguments):
        raise Interrupted("stopped", signal.SIGTERM)

    def end_at_once(code):
        raise SystemExit(code)

    monkeypatch.setattr(cli, "command", stopped_again)
    monkeypatch.setattr(os, "_exit", end_at_once)
    monkeypatch.setattr("atexit._run_exitfuncs", lambda: None)
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 143
    assert "Traceback" not in capsys.readouterr().err
