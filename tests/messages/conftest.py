"""A folder as a user's: good and bad files, a tiny encoder, a tiny decoder and a fine-tuned model, made once."""

import gzip
import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import transformers

from ptft.cli import command
from ptft.run import perform
from ptft.tokenization import add_tokens, load_tokenizer

TINY = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
TINY_ENCODER = {**TINY, "max_position_embeddings": 64}
TINY_DECODER = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 64}
SENTENCES = [f"the {noun} {verb} the {other}" for noun in ("cat", "dog", "fox") for verb in ("sees", "hears", "likes")
             for other in ("bird", "mouse", "house", "tree")]  # fmt: skip


def _write_texts(folder: Path) -> None:
    documents = ["\n".join(SENTENCES[at : at + 4]) + "\n" for at in range(0, len(SENTENCES), 4)] * 5
    texts = {
        "good.txt": "\n".join(documents),
        "empty.txt": "",
        "blank.txt": "\n  \n\n",
        "one_document.txt": documents[0],
        "one_line_documents.txt": "\n\n".join(SENTENCES),
        "few_words.txt": "a cat\n\na dog\n",
        "not_packed.txt.gz": "this is no gzip file",
        "other_words.txt": "quick foxes jump\n\nlazy quartz wizards vex\n" * 9,
        "notes.md": "# notes",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "photo.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 4)
    (folder / "korean.txt").write_bytes("좋은 영화\n\n".encode() + "나쁜 영화\n".encode("cp949"))
    (folder / "broken_far_behind.txt").write_bytes(f"{documents[0]}\n".encode() * 20 + b"\xff\xfe broken\n")
    (folder / "cut_short.txt.gz").write_bytes(gzip.compress(b"a line\n" * 5000)[:60])
    (folder / "photos").mkdir()
    (folder / "photos" / "a.png").write_bytes(b"\x89PNG")
    (folder / "nothing").mkdir()


def _write_tables(folder: Path) -> None:
    good = [f"{sentence},{'pos' if number % 2 else 'neg'}" for number, sentence in enumerate(SENTENCES[:30])]
    tables = {
        "good.csv": ["text,label", *good],
        "unseen.csv": ["text,label", "a text,pos", "another text,posi"],
        "other_column.csv": ["review,sentiment", *good],
        "single_class.csv": ["text,label", *(f"{sentence},pos" for sentence in SENTENCES)],
        "empty_texts.csv": ["text,label", ",pos", ",neg", " ,pos"],
        "no_labels.csv": ["text,label", *(f"{sentence}," for sentence in SENTENCES)],
        "nan_labels.csv": ["text,label", *(f"{sentence},nan" for sentence in SENTENCES)],
        "some_nan_labels.csv": [
            "text,label",
            *(f"{s},{('0.0', '1.0', 'NaN')[n % 3]}" for n, s in enumerate(SENTENCES)),
        ],
        "ragged.csv": ["text,label", "one,pos", "two,neg,again", "three,pos"],
        "open_quote.csv": ["text,label", '"one,pos', "two,neg"],
        "scores.csv": ["text,label", *(f"{s},{number / 7:.3f}" for number, s in enumerate(SENTENCES))],
        "identifiers.csv": ["text,label", *(f"{s},id{number}" for number, s in enumerate(SENTENCES))],
        "header_only.csv": ["text,label"],
        "two_rows.csv": ["text,label", "one,pos", "two,neg"],
        "pairs.csv": [
            "text_a,text_b,label",
            *(f"{s},{s},{'pos' if n % 2 else 'neg'}" for n, s in enumerate(SENTENCES)),
        ],
        "long.csv": ["text,label", *(f"{'word ' * 300},{label}" for label in ("pos", "neg") * 8)],
    }
    for name, rows in tables.items():
        (folder / name).write_text("\n".join(rows) + "\n")
    (folder / "empty.csv").write_text("")
    (folder / "garbage.csv").write_bytes(b"text,label\n" + bytes(range(128, 256)) + b",pos\n")
    (folder / "photo.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(32)) * 4)
    (folder / "korean.csv").write_bytes(b"text,label\ngood,pos\n" + "나쁜 영화,neg\n".encode("cp949"))
    (folder / "broken.jsonl").write_text('{"text": "good", "label": "pos"}\n{"text": "bad", "label": \n')
    (folder / "table.xlsx").write_bytes(b"PK\x03\x04")


def _write_recipes(folder: Path) -> None:
    recipes = {
        "good.yaml": "verb: pretrain\ncorpus: {path: good.txt}\npreset: bert-tiny\nout: new\n",
        "syntax.yaml": "verb: pretrain\ncorpus: {path: good.txt\nout: new\n",
        "twice.yaml": "verb: pretrain\nlr: 0.1\npreset: bert-tiny\nlr: 0.2\nout: new\n",
        "unknown_key.yaml": "verb: pretrain\npreset: bert-tiny\nobjectiv: masked_lm\nout: new\n",
        "steps.yaml": "out: new\nsteps:\n  a: {name: pretrain, preset: bert-tiny, corpus: {path: god.txt}}\n",
        "broken.yaml": (
            "out: new\nsteps:\n  a: {name: tokenizer, corpus: {path: broken_far_behind.txt}, vocab_size: 64}\n"
        ),
        "unknown_step.yaml": "out: new\nsteps:\n  a:\n    name: pretrian\n    preset: bert-tiny\n",
        "loop.yaml": (
            "out: new\nsteps:\n"
            "  a: {name: pretrain, model: step:b, corpus: {path: good.txt}}\n"
            "  b: {name: pretrain, model: step:a, corpus: {path: good.txt}}\n"
        ),
        "reference.yaml": "out: new\nsteps:\n  a: {name: pretrain, model: step:bb, corpus: {path: good.txt}}\n",
        "figures.yaml": "out: new\nfigures: {x: b.loss}\nsteps:\n  a: {name: tokenizer, corpus: {path: good.txt}}\n",
    }
    for name, text in recipes.items():
        (folder / name).write_text(text)


def _make_runs(folder: Path) -> None:
    fast = {"budget": "2steps", "rows_per_step": 4, "length": 32, "precision": "fp32", "threads": 1}
    corpus = {"path": str(folder / "good.txt")}
    common = {"corpus": corpus, "cache": str(folder / ".cache"), **fast}
    perform("pretrain", preset="bert-tiny", shape=TINY_ENCODER, vocab_size=64, out=str(folder / "encoder"), **common)
    decoder = {"preset": "gpt2-tiny", "shape": TINY_DECODER, "objective": "causal_lm", "vocab_size": 300}
    perform("pretrain", **decoder, out=str(folder / "decoder"), **common)
    tuned = {"data": str(folder / "good.csv"), "model": str(folder / "encoder"), "length": 32, "min_steps": 0}
    perform("finetune", **tuned, budget="1steps", precision="fp32", out=str(folder / "classifier"))
    perform("tokenizer", corpus=corpus, vocab_size=200, out=str(folder / "large_tokenizer"))
    other = {"path": str(folder / "other_words.txt")}
    perform("tokenizer", corpus=other, vocab_size=64, out=str(folder / "other_tokenizer"))


def _break_models(folder: Path) -> None:
    good = folder / "encoder" / "model"
    for name in ("no_weights", "other_shapes", "broken_config", "broken_weights", "no_tokenizer", "larger_tokenizer"):
        shutil.copytree(good, folder / name)
    (folder / "no_weights" / "model.safetensors").unlink()
    (folder / "broken_config" / "config.json").write_text('{"model_type": "bert", ')
    (folder / "broken_weights" / "model.safetensors").write_bytes(b"\x00" * 64)
    for path in (folder / "no_tokenizer").glob("tokenizer*"):
        path.unlink()
    tokenizer = load_tokenizer(good)
    add_tokens(tokenizer, ["zebra"], ["[USER]"])
    tokenizer.save_pretrained(folder / "larger_tokenizer")
    config = json.loads((good / "config.json").read_text())
    (folder / "other_shapes" / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    shutil.copytree(folder / "decoder" / "model", folder / "decoder_without_weights")
    (folder / "decoder_without_weights" / "model.safetensors").unlink()


@pytest.fixture(scope="session")
def desk(tmp_path_factory):
    """The folder with all the files; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("desk")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    _write_texts(folder)
    _write_tables(folder)
    _write_recipes(folder)
    _make_runs(folder)
    _break_models(folder)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """What a folder holds, byte for byte."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def _too_late(*_args, **_settings):
    raise AssertionError("the mistake was not found before this")


@pytest.fixture
def typed(desk, tmp_path, monkeypatch, capsys):
    """Type a command line in the folder, where nothing may begin: gives the code, what is said, and what changed."""
    monkeypatch.chdir(desk)
    monkeypatch.setenv("HOME", str(tmp_path))  # where compiled corpora go
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("ptft.compute.has_native_bf16", lambda: False)
    monkeypatch.setattr("ptft.compute.get_available_trackers", list)
    for place in ("ptft.steps.pretrain.fit", "ptft.steps.finetune.fit", "ptft.prompting.asking.score_requests"):
        monkeypatch.setattr(place, _too_late)

    def type_(line: str) -> tuple[int, str, list[str]]:
        before = contents(desk)
        code = command(shlex.split(line))
        after = contents(desk)
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        return code, capsys.readouterr().err, changed

    return type_


@pytest.fixture
def refused(typed, monkeypatch):
    """Type a command line and check that it is refused, in one sentence, before anything is written or begun.

    ``late=True`` is for what only the work can find, still before training: its run folder is taken away again.
    """

    def refuse(line: str, sentence: str, *, late: bool = False) -> None:
        if not late:
            monkeypatch.setattr("ptft.run.begun", _too_late)
        code, said, changed = typed(line)
        assert code == 2, said
        assert changed == []
        assert said.startswith("ptft: ")
        assert said.count("\n") == 1
        assert "Traceback" not in said
        assert re.search(sentence, said), said

    return refuse
