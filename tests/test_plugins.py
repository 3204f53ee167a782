import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from wsolbench import plugins
from wsolbench.backbones.registry import build_backbone
from wsolbench.errors import UserError
from wsolbench.network import build_network
from wsolbench.plugins import MethodEntry, find_methods, load_method, method_entry

PLUGIN = '''"""A method of my own.

More about it.
"""

from torch.nn import functional

from wsolbench.method import Losses, Method, NoConfig


class Mine(Method[NoConfig]):
    """Half the cross entropy."""

    name = "my-method"
    paper = "unpublished"

    def losses(self, images, labels, draws):
        """Return the loss."""
        logits = self.network.logits(self.network(images).last)
        return Losses(terms={"cls": functional.cross_entropy(logits, labels) / 2})
'''


def write(folder: Path, text: str, name: str = "my_method.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def network():
    torch.manual_seed(0)
    return build_network(build_backbone("resnet-tiny", 4), 2)


def test_listing_imports_neither_torch_nor_a_method():
    code = """
import json, sys
from wsolbench.plugins import find_methods
from wsolbench.backbones.registry import BACKBONES
from wsolbench.data.registry import DATASETS
found = {name: entry.summary() for name, entry in find_methods().items()}
heavy = [name for name in sys.modules if name in ("torch", "torchvision", "numba", "pandas", "matplotlib")
         or name.startswith("wsolbench.methods.")]
print(json.dumps([found, heavy, len(BACKBONES), len(DATASETS)]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, heavy, backbones, datasets = json.loads(run.stdout)
    assert heavy == []
    assert found["cam"] == "CAM: class activation maps."
    assert set(found) >= {"cam", "has", "adl", "inca"}
    assert backbones >= 3
    assert datasets >= 2


def test_built_ins_are_found_by_their_file():
    entry = method_entry("has")
    assert Path(entry.origin).name == "has.py"
    assert load_method("has").__module__ == entry.module == "wsolbench.methods.has"


def test_an_unknown_method_suggests_the_nearest():
    with pytest.raises(UserError, match="unknown method 'inka'; did you mean 'inca'\\? Choices: acol, adl, cam, "):
        load_method("inka")


def test_a_local_file_runs(tmp_path):
    path = write(tmp_path, PLUGIN)
    entry = method_entry("my-method", [path])
    assert entry.origin == str(path)
    assert entry.summary() == "A method of my own."
    assert "my-method" not in find_methods()
    mine, cam = load_method("my-method", [path]), load_method("cam")
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
    ours = mine(network(), mine.defaults("resnet-tiny")).losses(images, labels, {}).terms["cls"]
    theirs = cam(network(), cam.defaults("resnet-tiny")).losses(images, labels, {}).terms["cls"]
    assert torch.equal(2 * ours, theirs)


def test_a_name_that_exists_twice_names_both_origins(tmp_path):
    path = write(tmp_path, PLUGIN, "cam.py")
    with pytest.raises(UserError) as caught:
        find_methods([path])
    assert "two methods are named 'cam'" in str(caught.value)
    assert str(path) in str(caught.value)
    assert method_entry("cam").origin in str(caught.value)


def test_two_local_files_may_not_share_a_name(tmp_path):
    (tmp_path / "other").mkdir()
    first, second = write(tmp_path, PLUGIN), write(tmp_path / "other", PLUGIN, "my-method.py")
    with pytest.raises(UserError, match="two methods are named 'my-method'.*rename one"):
        find_methods([first, second])


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file; expected a Python file with one Method subclass"):
        find_methods([tmp_path / "no.py"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module\n", "ModuleNotFoundError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_a_broken_file_is_named_with_its_cause_and_stops_no_other(tmp_path, text, reason):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_method("my-method", [path])
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert type(caught.value.__cause__).__name__ == reason  # the traceback that --debug shows
    assert load_method("cam", [path]).name == "cam"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("x = 1\n", 0),
        (PLUGIN.replace('name = "my-method"', 'name = "other"'), 0),
        (PLUGIN + '\n\nclass Twin(Mine):\n    """Another."""\n', 2),
    ],
)
def test_a_file_must_hold_one_class_of_its_name(tmp_path, text, count):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=f"holds {count} methods named 'my-method'; expected one class"):
        load_method("my-method", [path])


def test_an_imported_method_does_not_count(tmp_path):
    path = write(tmp_path, PLUGIN.replace("from torch.nn", "from wsolbench.methods.cam import CAM\nfrom torch.nn", 1))
    assert load_method("my-method", [path]).__name__ == "Mine"


def test_a_setting_of_the_recipe_is_refused_when_the_plugin_loads(tmp_path):
    settings = "@dataclasses.dataclass(frozen=True)\nclass Settings:\n    lr: float = 1.0\n\n\n"
    text = PLUGIN.replace("class Mine", f"import dataclasses\n\n\n{settings}class Mine").replace(
        '    name = "my', '    Config = Settings\n    name = "my'
    )
    with pytest.raises(UserError, match="'my-method' has settings that the recipe has too: lr"):
        load_method("my-method", [write(tmp_path, text)])


def test_summaries_of_files_that_cannot_be_read_and_of_entry_points(tmp_path):
    broken = write(tmp_path, "def broken(:\n")
    binary = tmp_path / "binary.py"
    binary.write_bytes(b"\xff\xfe\x00junk")
    null = write(tmp_path, "x = '\0'\n", "null.py")
    for path in (broken, binary, null):
        assert MethodEntry("x", str(path)).summary() == "(this file cannot be parsed)"
    assert MethodEntry("x", str(write(tmp_path, "x = 1\n", "silent.py"))).summary() == ""
    assert MethodEntry("x", "package.module:Class", "package.module:Class").summary() == ""


def test_an_entry_point_is_listed_and_loaded(tmp_path, monkeypatch):
    write(tmp_path, PLUGIN, "third_party_of_the_test.py")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("my-method", "third_party_of_the_test:Mine", plugins.ENTRY_POINTS)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == "wsolbench.methods" else [])
    assert method_entry("my-method").origin == "third_party_of_the_test:Mine"
    assert load_method("my-method").__name__ == "Mine"
    clash = EntryPoint("cam", "third_party_of_the_test:Mine", plugins.ENTRY_POINTS)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [clash])
    with pytest.raises(UserError, match="two methods are named 'cam'.*third_party_of_the_test:Mine"):
        find_methods()
