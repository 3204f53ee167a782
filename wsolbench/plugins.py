"""Finding methods: built-ins by file, third parties by entry point, local files by path. Listing imports nothing."""

import ast
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module, util
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsolbench.errors import UserError, unknown_name

if TYPE_CHECKING:
    from wsolbench.method import Method

ENTRY_POINTS = "wsolbench.methods"


@dataclass(frozen=True)
class MethodEntry:
    """Where a method comes from.

    Attributes:
        name: as on the command line; a file's name without ``.py``, underscores as hyphens.
        origin: a file, or an entry point's value.
        module: what to import; empty for a local file.
    """

    name: str
    origin: str
    module: str = ""

    def content_hash(self) -> str | None:
        """Return the hash of a local file, 16 hex digits, which no commit of this project stands for; else None."""
        if self.module:
            return None
        return hashlib.sha256(Path(self.origin).read_bytes()).hexdigest()[:16]

    def summary(self) -> str:
        """Return the first line of the file's docstring, without importing it; empty for an entry point."""
        path = Path(self.origin)
        if not path.is_file():
            return ""
        try:
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        except (SyntaxError, ValueError):  # ValueError: not UTF-8, or null bytes
            return "(this file cannot be parsed)"
        return doc.splitlines()[0] if doc else ""


def find_methods(plugins: Sequence[Path] = ()) -> dict[str, MethodEntry]:
    """Return every method by name.

    Args:
        plugins: local files.

    Raises:
        UserError: a name that exists twice (both origins are named), or a plugin file that does not exist.
    """
    spec = util.find_spec("wsolbench.methods")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    entries = [
        MethodEntry(_name(path), str(path), f"wsolbench.methods.{path.stem}")
        for folder in spec.submodule_search_locations
        for path in sorted(Path(folder).glob("*.py"))
        if path.stem != "__init__"
    ]
    entries += [MethodEntry(point.name, point.value, point.value) for point in entry_points(group=ENTRY_POINTS)]
    for path in plugins:
        if not path.is_file():
            raise UserError(f"--plugin {path}: no such file; expected a Python file with one Method subclass")
        entries.append(MethodEntry(_name(path), str(path)))
    found: dict[str, MethodEntry] = {}
    for entry in entries:
        if entry.name in found:
            first = found[entry.name].origin
            raise UserError(f"two methods are named '{entry.name}': {first} and {entry.origin}; rename one")
        found[entry.name] = entry
    return found


def method_entry(name: str, plugins: Sequence[Path] = ()) -> MethodEntry:
    """Return where a method comes from.

    Raises:
        UserError: there is no such method; the nearest name is suggested.
    """
    entries = find_methods(plugins)
    if name not in entries:
        raise unknown_name("method", name, entries)
    return entries[name]


def load_method(name: str, plugins: Sequence[Path] = ()) -> "type[Method[Any]]":
    """Import a method.

    Args:
        name: as on the command line.
        plugins: local files.

    Returns:
        The one :class:`~wsolbench.method.Method` subclass with that name.

    Raises:
        UserError: unknown name; a file that cannot be imported or holds no such class; a setting that is the recipe's.
    """
    from wsolbench.method import Method, check_fields

    entry = method_entry(name, plugins)
    try:
        module = import_module(entry.module.partition(":")[0]) if entry.module else _import_file(Path(entry.origin))
    except (Exception, SystemExit) as error:  # SystemExit: a script that runs when it is imported
        seen = f"{type(error).__name__}: {error}"
        raise UserError(f"method '{name}' ({entry.origin}) cannot be imported: {seen}; see --debug") from error
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and getattr(value, "name", None) == name
    ]
    if len(classes) != 1:
        raise UserError(
            f"{entry.origin} holds {len(classes)} methods named '{name}'; "
            f'expected one class Name(Method[...]) with name = "{name}"'
        )
    check_fields(classes[0])
    return classes[0]


def _name(path: Path) -> str:
    """Return the method's name for a file."""
    return path.stem.replace("_", "-")


def _import_file(path: Path) -> Any:  # noqa: ANN401
    """Import a local file under a name of its own."""
    name = f"wsolbench_plugin_{path.stem}"
    spec = util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
