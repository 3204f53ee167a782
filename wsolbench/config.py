"""Configurations: frozen dataclasses whose fields say their unit, their allowed values and their search range."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from wsolbench.errors import UserError, unknown_name

C = TypeVar("C")


class Search(ABC):
    """A range to draw a hyperparameter from."""

    @abstractmethod
    def value(self, u: float, known: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Return the value for a uniform number.

        Args:
            u: in [0, 1).
            known: what is already decided: fields drawn before this one, and the recipe's ``image_size``.
        """


@dataclass(frozen=True)
class Uniform(Search):
    """Draw uniformly from [low, high]; a text as a bound is the value of an earlier field.

    >>> Uniform("low", 1).value(0.5, {"low": 0.5})
    0.75
    """

    low: float | str
    high: float

    def value(self, u: float, known: Mapping[str, Any]) -> float:
        """Return low + u * (high - low)."""
        low = float(known[self.low]) if isinstance(self.low, str) else self.low
        return low + u * (self.high - low)


@dataclass(frozen=True)
class LogUniform(Search):
    """Draw log-uniformly from [low, high]."""

    low: float
    high: float

    def value(self, u: float, known: Mapping[str, Any]) -> float:
        """Return low * (high / low) ** u."""
        return float(self.low * (self.high / self.low) ** u)


@dataclass(frozen=True)
class Choice(Search):
    """Draw one of the values."""

    values: tuple[Any, ...]

    def value(self, u: float, known: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """Return the value at ``u`` of the way through the list."""
        return self.values[int(u * len(self.values))]


@dataclass(frozen=True)
class SideOfImage(Search):
    """Draw a length in pixels: a uniform share of the training crop's side, at least 1.

    >>> SideOfImage().value(0.5, {"image_size": 224})
    112
    """

    def value(self, u: float, known: Mapping[str, Any]) -> int:
        """Return max(1, round(u * side))."""
        return max(1, round(u * int(known["image_size"])))


@dataclass(frozen=True)
class BetaShape(Search):
    """Draw the shape b of a Beta(b, b) as 1 / U(0, 2] - 1/2, cut at the smallest shape that can be drawn from."""

    smallest: float = 1e-3

    def value(self, u: float, known: Mapping[str, Any]) -> float:
        """Return 1 / (2 - 2u) - 1/2, at least ``smallest``."""
        return max(1 / (2 - 2 * u) - 0.5, self.smallest)


def sample(config: C, uniform: Callable[[str], float], known: Mapping[str, Any]) -> C:
    """Return the configuration with every field that has a search range drawn from it, in the order of the fields.

    Args:
        config: a frozen dataclass; its other fields stay.
        uniform: field name -> a number in [0, 1); a function of the name, so that a new field moves no other.
        known: values that ranges may refer to beside earlier fields: the recipe's ``image_size``.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Pair:
    ...     low: float = hyper(0.1, "lower", search=Uniform(0, 1))
    ...     high: float = hyper(0.9, "upper", search=Uniform("low", 1))
    >>> sample(Pair(), lambda name: 0.5, {})
    Pair(low=0.5, high=0.75)
    """
    drawn: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        search = field.metadata.get("search")
        if search is not None:
            drawn[field.name] = search.value(uniform(field.name), {**known, **drawn})
    return dataclasses.replace(config, **drawn)  # type: ignore[type-var]


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
    """Check every field against its declared range, and make lists tuples; called from ``__post_init__``.

    Raises:
        UserError: a value is out of range, not finite, or not among the choices.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, list):  # what JSON makes of a tuple
            object.__setattr__(config, field.name, tuple(value))
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
