"""What several commands share."""

from collections.abc import Sequence

from wsolbench.errors import UserError


def key_values(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Read repeated ``key=value`` options.

    Args:
        option: the option's name, for the error.
        texts: what the user wrote.

    Raises:
        UserError: no ``=`` in a text, or a key given twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"{option} {text} cannot be read; expected key=value")
        if key in values:
            raise UserError(f"{option} {key} was given twice; give it once")
        values[key] = value
    return values
