"""The example of docs/statistics.md is what the command prints, line breaks aside."""

import shlex
from pathlib import Path

from typer.testing import CliRunner

from wsolbench.cli.main import app

ROOT = Path(__file__).parents[1]


def test_the_example_is_what_the_command_prints(monkeypatch):
    monkeypatch.chdir(ROOT)
    block = (ROOT / "docs/statistics.md").read_text(encoding="utf-8").split("```console\n")[1].split("```")[0]
    command, shown = block.split("\n", 1)
    prompt, program, *arguments = shlex.split(command)
    assert (prompt, program) == ("$", "wsolbench")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert shown.split() == result.stdout.split()
