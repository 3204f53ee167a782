"""One unambiguous hash for keys made of plain values."""

import hashlib
import json
from collections.abc import Iterable, Sequence

Plain = str | int | Sequence["Plain"]


def plain_hash(value: Plain) -> str:
    """Return the SHA-256 of plain values (strings, integers, nested sequences of them), 64 hex digits.

    The values are written as JSON first, so no two different structures share a hash by concatenation.

    >>> plain_hash(["ab", "c"]) == plain_hash(["a", "bc"])
    False
    >>> plain_hash(("a", 1)) == plain_hash(["a", 1])
    True
    """
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def smallest_hashes(ids: Iterable[str], count: int) -> tuple[str, ...]:
    """Choose the ids whose SHA-256 is smallest: fixed for ever, and independent of which other ids there are.

    Args:
        ids: image ids, of one class say.
        count: how many to choose.

    Returns:
        The chosen ids, sorted.

    >>> smallest_hashes(["a", "b", "c"], 2)
    ('b', 'c')
    """
    return tuple(sorted(sorted(ids, key=lambda each: hashlib.sha256(each.encode()).digest())[:count]))
