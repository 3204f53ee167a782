"""``wsolbench list``: the names that other commands take. Imports no method, dataset or backbone."""

from pathlib import Path
from typing import Annotated

import typer

from wsolbench.errors import unknown_name

KINDS = ("methods", "datasets", "backbones")


def list_names(
    kind: Annotated[str, typer.Argument(help="methods, datasets or backbones.")],
    plugin: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A Python file with a method of your own.")
    ] = None,
) -> None:
    """List methods, datasets or backbones with a line on each."""
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    lines = {"methods": lambda: _methods(plugin or []), "datasets": _datasets, "backbones": _backbones}[kind]()
    width = max(map(len, lines))
    for name, summary in lines.items():
        typer.echo(f"{name:{width}}  {summary}".rstrip())


def _methods(plugins: list[Path]) -> dict[str, str]:
    from wsolbench.plugins import find_methods

    return {name: entry.summary() for name, entry in find_methods(plugins).items()}


def _datasets() -> dict[str, str]:
    from wsolbench.data.registry import DATASETS

    return {name: entry.summary for name, entry in DATASETS.items()}


def _backbones() -> dict[str, str]:
    from wsolbench.backbones.registry import BACKBONES

    return {name: entry.summary for name, entry in BACKBONES.items()}
