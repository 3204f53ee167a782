"""What tells things apart that are alike: nested settings as flat text, and of those the ones that differ."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from wsolbench.record_schema import canonical


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested fields as ``outer.inner`` -> value as text, sorted by name.

    >>> flatten({"lr": 1.0, "crop": {"side": 73}, "weights": "none"})
    {'crop.side': '73', 'lr': '1', 'weights': 'none'}
    """
    flat = {}
    for name in sorted(values):
        value = values[name]
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value if isinstance(value, str) else canonical(value)
    return flat


def varying(group: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Keep of each mapping the fields whose value is not the same in all of the group.

    >>> varying({"a": {"cell": "4", "rate": "0.5"}, "b": {"cell": "8", "rate": "0.5"}})
    {'a': {'cell': '4'}, 'b': {'cell': '8'}}
    """
    values: defaultdict[str, set[str]] = defaultdict(set)
    holders: defaultdict[str, int] = defaultdict(int)
    for fields in group.values():
        for name, text in fields.items():
            values[name].add(text)
            holders[name] += 1
    differ = {name for name in values if len(values[name]) > 1 or holders[name] < len(group)}
    return {key: {name: text for name, text in fields.items() if name in differ} for key, fields in group.items()}
