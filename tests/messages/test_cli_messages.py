"""The help of ``ptft`` and of each verb, as it was last looked at.

After a change that is meant, write the file again and read the difference:

    python tests/messages/test_cli_messages.py
"""

import contextlib
import io
import os
from pathlib import Path

SNAPSHOT = Path(__file__).with_name("cli_help.txt")


def pages() -> str:
    """The overview and every verb's help on a page of 80 columns."""
    from ptft.cli import command, verbs

    written = []
    for arguments in [["--help"], *([verb, "--help"] for verb in verbs())]:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert command(arguments) == 0
        written.append(f"$ ptft {' '.join(arguments)}\n{output.getvalue()}")
    return "\n".join(written)


def test_help_is_as_it_was_last_looked_at(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    now, before = pages().splitlines(), SNAPSHOT.read_text(encoding="utf-8").splitlines()
    assert now == before, "if this is meant: python tests/messages/test_cli_messages.py"


def test_help_fits_a_page_of_80_columns():
    assert [line for line in SNAPSHOT.read_text(encoding="utf-8").splitlines() if len(line) > 80] == []


def test_every_setting_is_explained():
    from ptft.cli import verbs
    from ptft.config import describe

    kinds = {name: verb.settings() for name, verb in verbs().items() if verb.settings}
    assert {"pretrain", "predict", "head"} <= set(kinds)
    unexplained = {name: [key for key, _, _, text in describe(kind) if not text] for name, kind in kinds.items()}
    assert {name: keys for name, keys in unexplained.items() if keys} == {}


if __name__ == "__main__":
    os.environ["COLUMNS"] = "80"
    SNAPSHOT.write_text(pages(), encoding="utf-8")
