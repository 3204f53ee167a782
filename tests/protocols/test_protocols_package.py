"""The package: its imports, its name."""

import subprocess
import sys

import wsolbench.protocols as package


def test_protocols_do_not_need_torch():
    code = "import sys, wsolbench.protocols; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_bare_folder_cannot_be_imported():
    folder = package.__path__[0]
    code = f"import sys; sys.path.insert(0, {folder!r} + '/..'); import protocols"
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "import 'wsolbench.protocols', not the bare folder" in run.stderr


def test_everything_public_exists():
    assert sorted(package.__all__) == sorted(set(package.__all__))
    assert all(hasattr(package, name) for name in package.__all__)
