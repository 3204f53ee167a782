"""``new-method`` and ``check-method``: from nothing to a method that conforms, and what is said when it does not."""

import ast
import sys

import pytest

from wsolbench.method_template import IMPORTED, METHOD

HOME = ("--backbone", "resnet-tiny")


@pytest.fixture
def written(cli, tmp_path):
    """Write a new method; return its file."""
    assert cli("new-method", "soft-spot").status == 0
    return tmp_path / "soft_spot.py"


def test_a_new_method_is_short_and_says_how_to_go_on(cli, tmp_path):
    done = cli("new-method", "soft-spot", "--out", "mine")
    assert done.status == 0
    method, test = tmp_path / "mine/soft_spot.py", tmp_path / "mine/test_soft_spot.py"
    assert len(method.read_text().splitlines()) < 60
    assert max(map(len, method.read_text().splitlines())) <= 120
    assert "class SoftSpot(Method[SoftSpotConfig]):" in method.read_text()
    assert 'with_name("soft_spot.py")' in test.read_text()
    assert "wrote mine/soft_spot.py and mine/test_soft_spot.py" in done.out
    assert "wsolbench check-method mine/soft_spot.py" in done.out
    assert "wsolbench run soft-spot parts --plugin mine/soft_spot.py" in done.out
    assert 'soft-spot = "your_package.soft_spot:SoftSpot"' in done.out


def test_a_new_method_conforms_and_runs(cli, arguments, written):
    done = cli("check-method", written, *HOME)
    assert done.status == 0, done.out
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["[", "1/23]", "paper_and_settings_are_documented"]
    assert lines[-1].startswith("soft-spot: conforms (22 passed, 1 skipped, ")
    assert any("presets_are_complete" in line and "skipped" in line and "no presets" in line for line in lines)
    done = cli("run", "soft-spot", "parts", "--plugin", written, *arguments.tiny, *arguments.fast)
    assert done.status == 0, done.err


def test_a_new_methods_test_passes(written, process):
    quick = "not works_on and not map_is_high and not compiles"
    done = process("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_soft_spot.py", "-k", quick)
    assert done.returncode == 0, done.stdout
    assert "20 passed, 1 skipped" in done.stdout


def test_a_method_that_does_not_conform_is_reported_in_three_sentences(cli, written):
    text = written.read_text()
    broken = text.replace(
        "        features = self.network(images).last", "        features = self.network(images.relu_()).last"
    )
    assert broken != text
    written.write_text(broken)
    done = cli("check-method", written, *HOME, "--quiet")
    assert done.status == 1
    assert "Traceback" not in done.out + done.err
    line = 1 + next(i for i, row in enumerate(broken.splitlines()) if "def losses" in row)
    report = done.out.splitlines()
    at = report.index("inputs_are_not_changed")
    assert report[at + 1] == "  expected: losses leaves its arguments as they are"
    assert report[at + 2].startswith("  seen: after losses, 'images' differs by up to ")
    assert report[at + 3] == f"  look at: {written}:{line}, SoftSpot.losses"
    assert report[-1].startswith("soft-spot: ")
    assert " of 23 checks failed (" in report[-1]


def test_an_exception_in_the_plugin_is_no_traceback(cli, written):
    text = written.read_text()
    written.write_text(text.replace("(n, 1, CELLS, CELLS)", "(n, 1, CELLS, CELS)"))
    done = cli("check-method", written, *HOME)
    assert done.status == 1
    assert "Traceback" not in done.out + done.err
    assert "seen: NameError: name 'CELS' is not defined" in done.out
    assert f"look at: {written}:" in done.out
    assert ", in draw: uniform = torch.rand(" in done.out


def test_a_run_names_the_line_of_the_plugin_that_raised(cli, arguments, written):
    text = written.read_text()
    written.write_text(text.replace("(n, 1, CELLS, CELLS)", "(n, 1, CELLS, CELS)"))
    done = cli("run", "soft-spot", "parts", "--plugin", written, *arguments.tiny, *arguments.fast)
    assert done.status == 1
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "CELLS, CELLS" in row)
    assert f"error: the plugin raised NameError at {written}:{line}: name 'CELS' is not defined (" in done.err
    assert "please report" not in done.err


def test_one_backbone_is_one_check(cli):
    done = cli("check-method", "cam", "--backbone", "resnet18")
    assert done.status == 0
    assert "works_on_resnet18" in done.out
    assert done.out.splitlines()[-1].startswith("cam: conforms (1 passed, 0 skipped, ")


def test_a_terminal_shows_the_check_that_runs(cli, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    live = cli("check-method", "cam", "--backbone", "resnet18")
    assert "[ 1/1] works_on_resnet18 ...\r\033[K[ 1/1] works_on_resnet18" in live.out
    assert "..." not in cli("check-method", "cam", "--backbone", "resnet18", "--quiet").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("camm",), "unknown method 'camm'; did you mean 'cam'?"),
        (("gone.py",), "'gone.py': no such file"),
        (("cam", "--backbone", "vgg61"), "unknown backbone 'vgg61'; did you mean 'vgg16'?"),
        (("broken.py",), "method 'broken' (broken.py) cannot be imported: SyntaxError"),
        (("leaves.py",), "method 'leaves' (leaves.py) cannot be imported: SystemExit: 0"),
        (("empty.py",), "empty.py holds 0 methods named 'empty'"),
        (("cam.py",), "two methods are named 'cam'"),
    ],
)
def test_check_method_refuses(refused, tmp_path, words, message):
    (tmp_path / "broken.py").write_text("class\n")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "cam.py").write_text("")
    assert message in refused("check-method", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("MyMethod",), "'MyMethod' cannot be a method's name; expected lower-case words and hyphens"),
        (("my_method",), "'my_method' cannot be"),
        (("2fast",), "'2fast' cannot be"),
        (("class",), "'class' cannot be a method's name: it is a word of Python"),
        (("none",), "'none' cannot be a method's name: it is a word of Python"),
        (("test-mine",), "'test-mine' cannot be a method's name: pytest takes its file for a test"),
        (("../up",), "'../up' cannot be"),
        (("cam",), "there is a method 'cam' already ("),
        (("torch",), "'torch.py' would hide the installed Python module 'torch'"),
        (("losses",), "a class Losses would hide what every method imports"),
        (("mine", "--out", "file"), "--out file cannot be written"),
    ],
)
def test_new_method_refuses(refused, tmp_path, words, message):
    (tmp_path / "file").write_text("")
    assert message in refused("new-method", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("there", ["soft_spot.py", "test_soft_spot.py"])
def test_new_method_overwrites_nothing(refused, tmp_path, there):
    (tmp_path / there).write_text("mine")
    assert refused("new-method", "soft-spot").startswith(f"error: '{there}' is there already;")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_no_class_of_the_template_can_hide_an_import():
    tree = ast.parse(METHOD.substitute(name="x", title="X"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {name for name in imported if name[0].isupper()} == set(IMPORTED)
