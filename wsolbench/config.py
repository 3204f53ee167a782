"""Configurations: frozen dataclasses whose fields say their unit, their allowed values and their search range."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from wsolbench.errors import UserError, unknown_name

C = TypeVar("C")


@dataclass(frozen=True)
class Uniform:
    """Draw uniformly from [low, high]."""

    low: float
    high: float


@dataclass(frozen=True)
class LogUniform:
    """Draw log-uniformly from [low, high]."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """Draw one of the values."""

    values: tuple[Any, ...]


Search = Uniform | LogUniform | Choice


def hyper(
    default: Any,  # noqa: ANN401
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    search: Search | None = None,
) -> Any:  # noqa: ANN401
    """Declare one field of a configuration.

    Args:
        default: its default.
        doc: what it is, with its unit.
        low: smallest allowed value.
        high: largest allowed value.
        choices: the allowed values, if they are few.
        search: the range that tuning draws from; None: not tuned.

    Returns:
        A dataclass field.
    """
    metadata = {"doc": doc, "low": low, "high": high, "choices": choices, "search": search}
    return dataclasses.field(default=default, metadata=metadata)


def check(config: Any) -> None:  # noqa: ANN401
    """Check every field against its declared range; called from ``__post_init__``.

    Raises:
        UserError: a value is out of range, not finite, or not among the choices.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        low, high, choices = (field.metadata.get(key) for key in ("low", "high", "choices"))
        if choices is not None and value not in choices:
            raise UserError(f"{field.name}={value} is not allowed; expected one of {', '.join(map(str, choices))}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{field.name}={value} is not allowed; expected a finite number")
        if (low is not None and value < low) or (high is not None and value > high):
            raise UserError(f"{field.name}={value} is out of range; expected {_range(low, high)}")


def _range(low: float | None, high: float | None) -> str:
    """Write a range in words."""
    if low is not None and high is not None:
        return f"a value from {low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"


def override(config: C, settings: Mapping[str, str]) -> C:
    """Return the configuration with some fields set from text.

    Args:
        config: a frozen dataclass.
        settings: field name -> text, such as ``{"drop_rate": "0.5"}``.

    Raises:
        UserError: no such field, or a text that is not of the field's type or range.
    """
    hints = get_type_hints(type(config))
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    for name in settings:
        if name not in names:
            raise unknown_name("setting", name, names)
    parsed = {name: _parse(name, text, hints[name]) for name, text in settings.items()}
    return dataclasses.replace(config, **parsed)  # type: ignore[type-var]


def _parse(name: str, text: str, kind: Any) -> Any:  # noqa: ANN401
    """Read one value; booleans as true/false, tuples separated by commas."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.strip().lower()]
        if kind in (int, float, str):
            return kind(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UserError(f"{name}={text} cannot be read; expected {expected}") from None
    assert getattr(kind, "__origin__", None) is tuple, f"no rule to read {kind} from text"
    return tuple(part.strip() for part in text.split(",") if part.strip())


def as_dict(config: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the fields as plain JSON values (tuples become lists)."""
    return {
        field.name: list(value) if isinstance(value := getattr(config, field.name), tuple) else value
        for field in dataclasses.fields(config)
    }
