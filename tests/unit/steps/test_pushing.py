"""``push=user/name``: the model of a finished run goes to the Hub, here a server that speaks its few routes."""

import base64
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import ModelCard

import ptft
from ptft.cli import command
from ptft.config import load
from ptft.errors import DeviceError, RecipeError
from ptft.steps import STEPS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Keeps what it is sent; ``refuses`` is the end of a path for which it answers that it is forbidden."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Routes)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.made, self.files, self.tokens, self.refuses = [], {}, set(), ""


class _Routes(BaseHTTPRequestHandler):
    def do_POST(self):
        hub, path = self.server, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub.tokens.add(self.headers["Authorization"])
        if hub.refuses and path.endswith(hub.refuses):
            return self._answer(403, {"error": "You have no rights here"})
        if path == "/api/repos/create":
            hub.made.append(json.loads(body))
            return self._answer(200, {"url": f"{hub.address}/{hub.made[-1]['organization']}/{hub.made[-1]['name']}"})
        if path == "/api/validate-yaml":
            return self._answer(200, {})
        repo = re.fullmatch(r"/api/models/(.+)/(preupload|commit)/main", path)
        assert repo, path
        if repo[2] == "preupload":
            named = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in named]
            return self._answer(200, {"files": modes})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                hub.files[repo[1], line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self._answer(200, {"commitUrl": f"{hub.address}/{repo[1]}/commit/{COMMIT}", "commitOid": COMMIT})

    def do_GET(self):
        found = re.fullmatch(r"/(.+)/resolve/main/(.+)", self.path)
        content = self.server.files.get(found.groups()) if found else None
        if content is None:
            return self._answer(404, {}, {"X-Error-Code": "EntryNotFound"})
        return self._answer(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    do_HEAD = do_GET

    def _answer(self, code, content, headers=()):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(monkeypatch):
    """A Hub of this machine, online and logged in."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def finetune(step, bert_run, table, tmp_path):
    """Fine-tune for a step, into the test's folder ``run``."""

    def do(**others):
        settings = {"data": str(table), "length": 32, "budget": "1steps", "min_steps": 0}
        return step("finetune", model=str(bert_run), **settings, **{"out": str(tmp_path / "run"), **others})

    return do


def sent(hub, name="ann/weather"):
    return {path: content for (repo, path), content in hub.files.items() if repo == name}


def on_disk(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_model_of_a_finished_run_is_sent(finetune, hub, tmp_path):
    result = finetune(push="ann/weather")
    assert result["n"] == 8
    assert sent(hub) == on_disk(tmp_path / "run" / "model")
    assert {"model.safetensors", "head.safetensors", "head.json", "README.md"} <= set(sent(hub))
    assert [made["visibility"] for made in hub.made] == ["private"]
    assert hub.tokens == {"Bearer hf_of_a_test"}


def test_the_card_that_is_sent_names_the_place(finetune, hub, tmp_path):
    finetune(push="ann/weather")
    text = sent(hub)["README.md"].decode()
    assert 'folder = "ann/weather"' in text
    assert "ptft predict model=ann/weather data=rows.csv out=labels.csv" in text
    assert str(tmp_path) not in text
    assert ModelCard(text).data.model_name == "weather"


@pytest.mark.parametrize("calibration", [b"", b'{"temperature": 0.25, "rows": 40}'])
def test_others_use_it_by_its_name(calibration, finetune, hub, table, tmp_path):
    """Its head is one of ours, which no stock class knows, and so is its temperature."""
    finetune(push="ann/weather", pooling="mean")
    if calibration:
        (tmp_path / "run" / "model" / "calibration.json").write_bytes(calibration)
        hub.files["ann/weather", "calibration.json"] = calibration
    ptft.predict(model=str(tmp_path / "run"), data=str(table), precision="fp32", out=str(tmp_path / "here.csv"))
    elsewhere = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    typed = ["predict", "model=ann/weather", f"data={table}", "precision=fp32", f"out={tmp_path / 'there.csv'}"]
    done = subprocess.run([sys.executable, "-m", "ptft", *typed], env=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "here.csv").read_text()


def test_a_run_may_be_sent_when_it_is_long_finished(finetune, hub, tmp_path):
    finetune()
    before = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    assert hub.made == []
    finetune(push="ann/weather")
    finetune(push="bob/other", push_private=False)
    assert [(made["organization"], made["visibility"]) for made in hub.made] == [("ann", "private"), ("bob", "public")]
    assert sent(hub).keys() == sent(hub, "bob/other").keys()
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns == before


def test_a_pretrained_model_is_sent(step, pretrain_settings, hub, tmp_path):
    step("pretrain", **pretrain_settings("bert"), out=str(tmp_path / "run"), push="ann/encoder")
    assert "model.safetensors" in sent(hub, "ann/encoder")


@pytest.mark.parametrize("place", ["/create", "/preupload/main", "/commit/main"])
def test_what_the_hub_refuses_loses_nothing(place, finetune, hub, tmp_path, capsys):
    """And what the sentence says to type sends it."""
    hub.refuses = place
    (tmp_path / "run").mkdir()  # so that resume=false takes another folder
    sentence = (
        r"push: .*run-2 is finished, but its model could not be sent to 'ann/weather' \(.*\); this sends it again: "
    )
    with pytest.raises(DeviceError, match=sentence) as refused:
        finetune(push="ann/weather", push_private=False, resume=False)
    assert (tmp_path / "run-2" / "result.json").exists()
    assert sent(hub) == {}
    hub.refuses = ""
    typed = shlex.split(str(refused.value).rpartition(": ptft ")[2])
    assert command(typed) == 0, capsys.readouterr().err
    assert sent(hub) == on_disk(tmp_path / "run-2" / "model")
    assert {made["visibility"] for made in hub.made} == {"public"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2"]


def test_what_is_typed_again_asks_for_the_same(finetune, hub):
    """The recipe of a run that was finished before knows nothing of it."""
    finetune()
    hub.refuses = "/create"
    with pytest.raises(DeviceError) as refused:
        finetune(push="ann/weather", push_private=False)
    hub.refuses = ""
    assert command(shlex.split(str(refused.value).rpartition(": ptft ")[2])) == 0
    assert [made["visibility"] for made in hub.made] == ["public"]


def test_no_hub_there(finetune, hub, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DeviceError, match=r"is finished, but its model could not be sent to 'ann/weather' \(.*refused"):
        finetune(push="ann/weather")
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ann weather", r"push: 'ann weather' cannot be the name of a repository; give user/name, of letters"),
        ("a/b/c", r"push: 'a/b/c' cannot be the name of a repository; give user/name, of letters"),
        ("weather", r"push: 'weather' names no user or organisation; give user/weather"),
    ],
)
@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_a_name_that_is_none(verb, name, sentence, finetune, step, pretrain_settings, hub, tmp_path):
    with pytest.raises(RecipeError, match=sentence):
        if verb == "finetune":
            finetune(push=name)
        else:
            step("pretrain", **pretrain_settings("bert"), out=str(tmp_path / "run"), push=name)
    assert list(tmp_path.iterdir()) == []


def test_without_a_token_nothing_begins(finetune, hub, tmp_path, monkeypatch):
    monkeypatch.setattr("ptft.steps.pushing.get_token", lambda: None)
    with pytest.raises(
        DeviceError, match=r"push: there is no token to write 'ann/weather' with; type hf auth login, or"
    ):
        finetune(push="ann/weather")
    assert list(tmp_path.iterdir()) == []


def test_offline_nothing_begins(finetune, hub, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DeviceError, match=r"push: 'ann/weather' is out of reach, since HF_HUB_OFFLINE or .* is set; un"
    ):
        finetune(push="ann/weather")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_sent_offline(finetune, hub, tmp_path, monkeypatch):
    finetune()
    before = on_disk(tmp_path / "run")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DeviceError, match="out of reach"):
        finetune(push="ann/weather")
    assert on_disk(tmp_path / "run") == before


def test_a_step_without_a_model_has_no_push():
    with pytest.raises(RecipeError, match=r"push=.*: unknown key"):
        load(STEPS["curve"], None, ["model=x", "data=x", "out=x", "push=ann/x"])
