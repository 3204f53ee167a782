"""``wsolbench list``: the names that other commands take. Only ``list presets`` imports methods."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from wsolbench.cli.common import Plugin
from wsolbench.errors import UserError, unknown_name

KINDS = ("methods", "datasets", "backbones", "presets", "recipes")


def list_names(
    kind: Annotated[str, typer.Argument(help="methods, datasets, backbones, presets or recipes.")],
    plugin: Plugin = None,
) -> None:
    """List methods, datasets, backbones, presets or recipes with a line on each."""
    if kind not in KINDS:
        raise unknown_name("kind", kind, KINDS)
    plugins = plugin or []
    lists: dict[str, Callable[[], dict[str, str]]] = {
        "methods": lambda: _methods(plugins),
        "datasets": _datasets,
        "backbones": _backbones,
        "presets": lambda: _presets(plugins),
        "recipes": _recipes,
    }
    lines = lists[kind]()
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


def _recipes() -> dict[str, str]:
    from wsolbench.bench.recipes import summaries

    return summaries()


def _presets(plugins: list[Path]) -> dict[str, str]:
    """Return every method's presets; a method that cannot be imported has a line that says so."""
    from wsolbench.plugins import find_methods, load_method

    lines = {}
    for method in find_methods(plugins):
        try:
            presets = load_method(method, plugins).presets
        except UserError as error:
            lines[method] = str(error)
            continue
        lines |= {f"{method} --preset {name}": f"{each.backbone}, {each.source}" for name, each in presets.items()}
    return lines
