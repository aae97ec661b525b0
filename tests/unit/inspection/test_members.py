"""Members read off the files are those that discovery imports."""

from pathlib import Path

import pytest

from ptft.actions import ACTIONS
from ptft.inspection import members as module
from ptft.inspection.members import members
from ptft.objectives import OBJECTIVES
from ptft.steps import STEPS
from ptft.tasks.problems import PROBLEMS


@pytest.mark.parametrize(
    ("package", "family"),
    [("steps", STEPS), ("actions", ACTIONS), ("objectives", OBJECTIVES), ("tasks/problems", PROBLEMS)],
    ids=lambda x: str(x)[:9],
)
def test_the_files_say_what_discovery_finds(package, family):
    assert members(package) == [(name, text, Path(path)) for name, text, path in family.rows()]


def test_a_class_without_a_literal_name_is_no_member(tmp_path, monkeypatch):
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "some.py").write_text(
        'class Base:\n    name: str = ""\n\n'
        'class Other:\n    name = "o" + "ther"\n\n'
        'class Summed:\n    """Not this."""\n    name = "summed"\n    summary = "This."\n\n'
        'class Documented:\n    """One line.\n\n    More.\n    """\n    name: str = "documented"\n\n'
        'class Silent:\n    name = "silent"\n'
    )
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    found = [(name, text) for name, text, _ in members("things")]
    assert found == [("documented", "One line."), ("silent", ""), ("summed", "This.")]
