"""The examples in docstrings are run, by import name: pytest's own collection takes mapped folders for files."""

import doctest
import pkgutil
from importlib import import_module

import pytest

import wsolbench


def modules():
    """Return the import names of all modules of the package, the mapped ones included."""
    names = []
    for package in ("wsolbench", "wsolbench.methods", "wsolbench.protocols"):
        paths = import_module(package).__path__
        names += [found.name for found in pkgutil.walk_packages(paths, f"{package}.") if "__main__" not in found.name]
    return sorted(set(names))


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    assert doctest.testmod(import_module(name)).failed == 0


def test_the_mapped_packages_are_covered():
    assert {"wsolbench.protocols.metrics", "wsolbench.methods.cam", "wsolbench.engine.fit"} <= set(modules())
    assert wsolbench.__version__
