"""The import rules of the design, read off the sources: who may know whom."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

from wsolbench.data.registry import DATASETS
from wsolbench.plugins import find_methods

ROOT = Path(__file__).parents[1]
MAPPED = {"methods": "wsolbench.methods", "protocols": "wsolbench.protocols", "wsolbench": "wsolbench"}


@cache
def sources() -> dict[str, Path]:
    """Every module of the package by its import name."""
    found = {}
    for folder, package in MAPPED.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def imported(source: str) -> set[str]:
    """Every dotted name that a source imports, wherever it stands; ``from a import b`` gives a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@cache
def imports(module: str) -> frozenset[str]:
    return frozenset(imported(sources()[module].read_text(encoding="utf-8")))


def modules(package: str) -> list[str]:
    return [name for name in sources() if name == package or name.startswith(package + ".")]


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def reachable(module: str) -> set[str]:
    """The package's own modules that importing a module brings in, step by step."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in sources() and name not in seen:
            seen.add(name)
            parents = name.split(".")
            waiting += [*imports(name), *(".".join(parents[:depth]) for depth in range(1, len(parents)))]
    return seen


def compared_strings(source: str) -> set[str]:
    """String constants that a source compares with something: ``==``, ``in``, ``match`` and their opposites."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare | ast.MatchValue):
            found |= {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
    return {value for value in found if isinstance(value, str)}


def test_the_sources_are_all_seen():
    expected = {"wsolbench.methods.inca", "wsolbench.protocols.boxes", "wsolbench.engine.fit", "wsolbench.plugins"}
    assert expected <= set(sources())
    assert "wsolbench.backbones.base" in reachable("wsolbench.methods.cam")


@pytest.mark.parametrize("module", modules("wsolbench.protocols"))
def test_protocols_need_numpy_numba_scipy_and_nothing_else(module):
    foreign = {
        name
        for name in imports(module)
        if name.partition(".")[0] not in {"numpy", "numba", "scipy", *sys.stdlib_module_names}
        and not within(name, ("wsolbench.protocols",))
    }
    assert foreign == set()


@pytest.mark.parametrize("module", modules("wsolbench.methods"))
def test_methods_know_neither_engine_nor_data_nor_protocols(module):
    forbidden = ("wsolbench.engine", "wsolbench.data", "wsolbench.protocols", "wsolbench.experiment", "wsolbench.cli")
    assert {name for name in imports(module) if within(name, forbidden)} == set()
    for name in imports(module):
        assert name.partition(".")[0] in {"torch", "torchvision", "wsolbench", *sys.stdlib_module_names}


@pytest.mark.parametrize("module", modules("wsolbench.engine"))
def test_the_engine_knows_no_concrete_method(module):
    assert {name for name in reachable(module) if within(name, ("wsolbench.methods", "wsolbench.experiment"))} == set()


def test_training_cannot_reach_an_annotation():
    with_boxes = ("wsolbench.protocols", "wsolbench.scoring", "wsolbench.data.splits", "wsolbench.null_rows")
    assert {name for name in reachable("wsolbench.engine.fit") if within(name, with_boxes)} == set()
    holders = {name for name in sources() if "class Annotations" in sources()[name].read_text(encoding="utf-8")}
    assert holders == {"wsolbench.data.splits"}


def test_methods_reach_no_annotation_either():
    for module in modules("wsolbench.methods"):
        assert not {name for name in reachable(module) if within(name, ("wsolbench.data", "wsolbench.protocols"))}


@pytest.mark.parametrize("module", sources())
def test_no_method_or_dataset_is_told_by_its_name(module):
    own = module.rpartition(".")[2].replace("_", "-")
    names = {name for name in (*find_methods(), *DATASETS) if name.partition("/")[0] != own}
    assert compared_strings(sources()[module].read_text(encoding="utf-8")) & names == set()


@pytest.mark.parametrize(
    "line",
    [
        "if method.name == 'cam': pass",
        "x = 'cam' != name",
        "y = name in ('has', 'cam')",
        "match name:\n    case 'cam' | 'has': pass",
    ],
)
def test_the_search_for_compared_names_finds_them(line):
    assert "cam" in compared_strings(line)


def test_a_name_as_a_default_is_no_comparison():
    assert compared_strings("METHODS = ('cam', 'has')\nrun('cam')") == set()
