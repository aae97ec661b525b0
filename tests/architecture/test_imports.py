"""The shape of the house: imports point one way, files are short, nothing unsafe or undocumented gets in."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "ptft"
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

# Files and packages, lowest first: each imports only from itself and from what stands before it.
LAYERS = [
    ["errors", "rng", "display", "family"],
    ["sharding", "compute", "config"],
    ["corpus", "tokenization", "tasks"],
    ["models", "objectives", "optim"],
    ["training"],
    ["finetuning", "prompting"],
    ["report"],
    ["steps", "actions", "run", "recipe", "inspection"],
    ["api", "estimator", "layout", "peers", "terminal", "cli", "__main__"],
    ["ptft"],  # the public names
]
ORDER = {room: place for place, room in enumerate(room for layer in LAYERS for room in layer)}
CONFIG = ["ptft.config.source", "ptft.config.kinds", "ptft.config.problems", "ptft.config.sheet", "ptft.config"]
MAY_PRINT = {"ptft.cli", "ptft.terminal"}
MAY_REPLAY = {"ptft.prompting.statistics.lm_eval_errors"}  # draws what another tool drew, to the bit
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 80
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save", "yaml.unsafe_load", "os.system"}
UNSAFE_OPTIONS = {"trust_remote_code", "allow_pickle", "shell"}
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}


def offenders(found):
    """Modules for which ``found`` finds something, with it."""
    return {module: wrong for module in MODULES if (wrong := found(module))}


@cache
def tree(module):
    return ast.parse(MODULES[module].read_text())


def room(module):
    """The file or package below ``ptft`` that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def imported(node):
    """Dotted names that a statement imports, wherever it stands; a text that names a module counts as well."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide where they point"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in MODULES else node.module for name in names]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"ptft(\.\w+)+", node.value):
        return [node.value] if node.value in MODULES else []
    return []


@cache
def imports(module):
    """Modules of ptft that a module imports, lazily or for types included, itself left out."""
    names = {name for node in ast.walk(tree(module)) for name in imported(node)}
    return {name for name in names if name in MODULES and name != module}


def outside(module):
    """Top-level names of other packages that a module imports."""
    return {name.split(".")[0] for node in ast.walk(tree(module)) for name in imported(node)} - {"ptft"}


def test_every_module_has_a_place_in_the_layers():
    assert {room(module) for module in MODULES} == set(ORDER), "say in LAYERS where it belongs"


def test_imports_point_one_way():
    def upward(module):
        here = room(module)
        return [name for name in imports(module) if room(name) != here and ORDER[room(name)] > ORDER[here]]

    assert offenders(upward) == {}


def test_config_has_an_order_inside():
    assert {module for module in MODULES if room(module) == "config"} == set(CONFIG)
    for place, module in enumerate(CONFIG):
        assert imports(module) & set(CONFIG) <= set(CONFIG[:place])


def test_no_module_imports_itself_in_a_circle():
    try:
        list(TopologicalSorter({module: imports(module) for module in MODULES}).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_checks_see_lazy_imports():
    assert "ptft.api" in imports("ptft"), "names in texts"
    lazy = "def f():\n    from ptft.config import load\n    import ptft.rng"
    found = {name for node in ast.walk(ast.parse(lazy)) for name in imported(node)}
    assert found == {"ptft.config", "ptft.rng"}
    assert imported(ast.parse("from ptft import rng").body[0]) == ["ptft.rng"]


def test_only_one_file_knows_accelerate():
    assert [module for module in MODULES if "accelerate" in outside(module)] == ["ptft.compute"]


def test_random_numbers_come_from_counters():
    def global_generators(module):
        return {"random"} & outside(module) or re.findall(r"\b(?:np|numpy)\.random\b", MODULES[module].read_text())

    # Streams of other systems come from one place as well.
    assert set(offenders(global_generators)) <= {"ptft.rng", *MAY_REPLAY}


def calls(module):
    """Dotted names of what a module calls, with the call."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_only_the_command_line_prints():
    printing = offenders(lambda module: [call.lineno for name, call in calls(module) if name == "print"])
    assert set(printing) <= MAY_PRINT


def test_nothing_unsafe():
    def unsafe(module):
        found = [name for name in outside(module) if name in UNSAFE_MODULES]
        for name, call in calls(module):
            found += [f"{name}, line {call.lineno}"] if name in UNSAFE_CALLS else []
            for keyword in call.keywords:
                is_off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                found += [f"{keyword.arg}, line {call.lineno}"] if keyword.arg in UNSAFE_OPTIONS and not is_off else []
        return found

    assert offenders(unsafe) == {}


def test_files_are_short():
    assert offenders(lambda module: len(MODULES[module].read_text().splitlines()) > MOST_LINES) == {}


def test_functions_are_short():
    def long(module):
        functions = (node for node in ast.walk(tree(module)) if isinstance(node, FUNCTIONS))
        sizes = {node.name: node.end_lineno - node.lineno + 1 for node in functions}
        return {name: size for name, size in sizes.items() if size > MOST_LINES_OF_A_FUNCTION}

    assert offenders(long) == {}


def test_no_module_is_a_drawer_for_everything():
    assert [module for module in MODULES if module.split(".")[-1] in DRAWERS] == []


def undocumented(node, prefix=""):
    """Public classes, functions and methods without a docstring."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.ClassDef, *FUNCTIONS)) or child.name.startswith("_"):
            continue
        if ast.get_docstring(child) is None and "overload" not in map(ast.unparse, child.decorator_list):
            yield prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from undocumented(child, f"{prefix}{child.name}.")


def test_every_public_name_is_documented():
    assert offenders(lambda module: list(undocumented(tree(module)))) == {}


def test_every_module_begins_with_a_sentence():
    def without(module):
        first = (ast.get_docstring(tree(module)) or "").split("\n\n")[0]
        return not re.search(r"\w.*[.?!]$", first, re.DOTALL)

    assert offenders(without) == {}
