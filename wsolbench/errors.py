"""Errors a user can act on, and the suggestion of the nearest name."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """The user's input was wrong: one sentence that says what, where, what was expected, what to do (exit status 2)."""


class RunError(RuntimeError):
    """A run failed for a reason the user should read, such as a non-finite loss (exit status 1)."""


class SealedError(RuntimeError):
    """Annotations were asked for by a path that must not see them."""


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """Build the error for a name that does not exist, with the nearest choice suggested.

    Args:
        kind: what was looked for, such as ``method``.
        name: what the user wrote.
        choices: the names that exist.

    Returns:
        The error to raise.

    >>> str(unknown_name("method", "camm", ["adl", "cam"]))
    "unknown method 'camm'; did you mean 'cam'? Choices: adl, cam"
    """
    names = sorted(choices)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"unknown {kind} '{name}'; {hint}Choices: {', '.join(names)}")
