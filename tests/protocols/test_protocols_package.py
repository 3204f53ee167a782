"""The package of the protocol imports lazily: what it offers, what it promises to type checkers, what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from wsolbench import protocols


def test_every_name_is_offered_from_where_type_checkers_look():
    tree = ast.parse(Path(protocols.__file__).read_text(encoding="utf-8"))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    stated = {node.module.rpartition(".")[2]: tuple(alias.name for alias in node.names) for node in checked.body}
    assert stated == protocols._HOMES
    assert sorted(protocols.__all__) == sorted(name for names in stated.values() for name in names)
    for name in protocols.__all__:
        assert getattr(protocols, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'boxes_of'"):
        _ = protocols.boxes_of


def test_statistics_and_names_do_not_load_the_compiler():
    code = (
        "import sys; from wsolbench.protocols import NORMALIZATION, smallest_difference;"
        "print(NORMALIZATION, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["min-max", "False"]
