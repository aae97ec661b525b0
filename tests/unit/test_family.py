import sys
import textwrap
from itertools import count

import pytest

from ptft.errors import RecipeError
from ptft.family import Family, nearest

KIND = """
class Kind:
    name = ""

class Thing:
    def __init__(self, name, summary):
        self.name, self.summary = name, summary
"""
_numbers = count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write modules into a package of its own and return its name."""
    name = f"family_example_{next(_numbers)}"
    monkeypatch.syspath_prepend(tmp_path)

    def write(**modules):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        (tmp_path / f"{name}_kind.py").write_text(KIND)
        header = f"from {name}_kind import Kind, Thing\n"
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(header + textwrap.dedent(text).replace("PACKAGE", name))
        return name

    yield write
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


def family(name, kind="Kind"):
    module = __import__(f"{name}_kind")
    return Family("thing", name, getattr(module, kind))


def test_each_file_adds_its_classes(package):
    found = family(package(one='class One(Kind):\n    name = "one"', two='class Two(Kind):\n    name = "two"'))
    assert list(found) == ["one", "two"]
    assert found["two"].__name__ == "Two"
    assert len(found) == 2
    assert "one" in found and "three" not in found


def test_members_come_in_the_order_of_their_names(package):
    found = family(package(a='class A(Kind):\n    name = "zebra"', b='class B(Kind):\n    name = "ant"'))
    assert list(found) == ["ant", "zebra"]


def test_the_interface_and_nameless_bases_are_no_members(package):
    found = family(package(one='class Shared(Kind):\n    pass\nclass One(Shared):\n    name = "one"'))
    assert list(found) == ["one"]


def test_an_imported_class_is_a_member_once(package):
    name = package(a='from PACKAGE.b import B\nclass A(B):\n    name = "a"', b='class B(Kind):\n    name = "b"')
    assert {member: path.name for member, _, path in family(name).rows()} == {"a": "a.py", "b": "b.py"}


def test_instances_are_members(package):
    found = family(package(one='ONE = Thing("one", "First.")\nTWO = Thing("two", "")'), "Thing")
    assert found["one"].summary == "First."
    assert list(found) == ["one", "two"]


def test_an_instance_may_be_imported_to_make_another(package):
    name = package(
        basis='BASIS = Thing("basis", "")', more='from PACKAGE.basis import BASIS\nMORE = Thing("more", BASIS.name)'
    )
    assert list(family(name, "Thing")) == ["basis", "more"]


@pytest.mark.parametrize("second", ["other", "one"])
def test_two_members_of_one_name_are_refused_with_both_files(package, second):
    modules = {"one": 'class One(Kind):\n    name = "same"\n'}
    modules[second] = modules.get(second, "") + 'class Other(Kind):\n    name = "same"\n'
    with pytest.raises(RuntimeError, match=rf"two thing members are named 'same': .*one\.py and .*{second}\.py"):
        list(family(package(**modules)))


def test_unknown_names_get_the_nearest_and_all(package):
    found = family(package(m='class M(Kind):\n    name = "masked_lm"\nclass C(Kind):\n    name = "causal_lm"'))
    with pytest.raises(
        RecipeError, match=r"^unknown thing 'mased_lm'; did you mean 'masked_lm'\? Known: causal_lm, masked_lm$"
    ):
        found["mased_lm"]
    with pytest.raises(RecipeError, match=r"^unknown thing 'xyz'; known: causal_lm, masked_lm$"):
        found["xyz"]


def test_nothing_is_imported_before_it_is_looked_at(package):
    name = package(broken="raise ImportError('too early')")
    found = family(name)
    with pytest.raises(ImportError, match="too early"):
        len(found)


def test_rows_give_name_first_line_and_file(package):
    found = family(package(one='class One(Kind):\n    """First line.\n\n    More.\n    """\n    name = "one"'))
    ((name, line, path),) = found.rows()
    assert (name, line, path.name) == ("one", "First line.", "one.py")


def test_rows_take_a_member_without_a_description(package):
    assert family(package(one='class One(Kind):\n    name = "one"')).rows()[0][:2] == ("one", "")


def test_nearest_lists_the_names_in_order():
    assert nearest("q", ["b", "a"]) == "; known: a, b"
