"""One unambiguous hash for keys made of plain values."""

import hashlib
import json
from collections.abc import Sequence

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
