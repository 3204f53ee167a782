"""Checks of JSON that somebody may have edited or damaged: what is wrong, where, and what was expected.

A check takes a value and where it stands, and returns the value or raises ValueError.
"""

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
Check = Callable[[Any, str], Any]


def checked(data: Any, checks: Mapping[str, Check], where: str = "") -> dict[str, Any]:  # noqa: ANN401
    """Check an object that must have exactly the fields of ``checks``."""
    data = of_kind(dict)(data, where.rstrip("."))
    for name in checks.keys() - data.keys():
        raise ValueError(f"the field {where + name!r} is missing")
    for name in data.keys() - checks.keys():
        raise ValueError(f"it has an unknown field {where + name!r}")
    return {name: check(data[name], f"{where}{name}") for name, check in checks.items()}


def bad_value(where: str, expected: str, value: object) -> ValueError:
    """Build the error for a value that is not what was expected."""
    return ValueError(f"{where!r} is {reprlib.repr(value)}, expected {expected}")


def of_kind(kind: type[T], optional: bool = False) -> Callable[[Any, str], T]:
    """Check a value's type, exactly: True is no whole number."""

    def check(value: Any, where: str) -> Any:  # noqa: ANN401
        if type(value) is kind or (optional and value is None):
            return value
        names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a whole number"}
        raise bad_value(where, names[kind] + (" or null" if optional else ""), value)

    return check


def number(low: float, high: float, expected: str, optional: bool = False) -> Check:
    """Check a number's range, both ends included; ``expected`` says it in words."""

    # Compared, not converted: JSON has whole numbers that are too large for a float. NaN is in no range.
    def check(value: Any, where: str) -> float | None:  # noqa: ANN401
        if type(value) in (int, float) and low <= value <= high or (optional and value is None):
            return value  # type: ignore[no-any-return]
        raise bad_value(where, expected + (" or null" if optional else ""), value)

    return check


def whole(least: int, expected: str) -> Check:
    """Check a whole number that is at least ``least``."""

    def check(value: Any, where: str) -> int:  # noqa: ANN401
        if type(value) is int and value >= least:
            return value
        raise bad_value(where, expected, value)

    return check


def each(check: Check) -> Check:
    """Check every value of an object."""

    def check_all(value: Any, where: str) -> dict[str, Any]:  # noqa: ANN401
        return {key: check(item, f"{where}.{key}") for key, item in of_kind(dict)(value, where).items()}

    return check_all


def texts() -> Check:
    """Check an object of texts."""
    slowly = each(of_kind(str))

    def check(value: Any, where: str) -> Any:  # noqa: ANN401
        # As with numbers: a call for each would take longer than parsing them.
        return value if type(value) is dict and {*map(type, value.values())} <= {str} else slowly(value, where)

    return check


def holding(checks: Mapping[str, Check]) -> Check:
    """Check an object that must have at least the fields of ``checks``."""

    def check(value: Any, where: str) -> Any:  # noqa: ANN401
        found = of_kind(dict)(value, where)
        for name, check_field in checks.items():
            check_field(found.get(name), f"{where}.{name}")
        return found

    return check


def numbers(low: float, high: float, expected: str) -> Check:
    """Check an object of numbers."""
    slowly = each(number(low, high, expected))

    def check(value: Any, where: str) -> Any:  # noqa: ANN401
        # Nearly all of a record is numbers: for thousands of records a call for each would outlast the parsing.
        plain = type(value) is dict and {*map(type, value.values())} <= {int, float}
        if plain and all(low <= item <= high for item in value.values()):
            return value
        return slowly(value, where)

    return check
