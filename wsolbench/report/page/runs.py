"""What is behind a row of the page: its runs, their settings, and how to make them again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from wsolbench.differences import flatten
from wsolbench.leaderboard.rows import Row
from wsolbench.recipe import Recipe
from wsolbench.record_schema import Record
from wsolbench.report.page.columns import Column, summary, thresholds, value

HISTORY_POINTS = 48
"""Epochs that a curve of training keeps at most, in even steps, the last one among them."""

_DIGITS = 4  # significant ones of a point of such a curve


def behind(row: Row, columns: Sequence[Column], versions: dict[str, int]) -> dict[str, Any]:
    """Return what is behind a row, as JSON values.

    Args:
        row: of a table.
        columns: of that table; each run's numbers stand in their order.
        versions: versions that took part, as text, to their place in the page's list; new ones are added.
    """
    identity = row.records[0].identity
    recipe = {name: text for name, text in flatten(identity["recipe"]).items() if name != "seed"}
    usual = _usual_recipe()
    shared = ("backbone", "dataset", "protocol")
    details = {name: identity[name] for name in shared}
    details["data options"] = _joined(flatten(identity["dataset_options"])) or "none"
    details["maps"] = "{}×{}".format(*row.records[0].map_size)
    for name in ("extractor", "supervision", "plugin", "device_type"):
        if name in identity:
            details[name.replace("_", " ")] = _text(identity[name])
    return {
        "label": row.label,
        "details": details,
        "config": flatten(row.config),
        "recipe": recipe,
        "unusual": sorted(name for name, text in recipe.items() if usual.get(name) != text),
        "tuned": None if row.tuned is None else {**asdict(row.tuned), "drawn": flatten(row.tuned.drawn)},
        "runs": [_run(record, columns, versions) for record in row.records],
        "history": _history(row.records),
        "reasons": [summary(row, column).reason for column in columns],
    }


def _usual_recipe() -> dict[str, str]:
    """Return the recipe's defaults as text."""
    defaults = Recipe()
    return flatten({field.name: getattr(defaults, field.name) for field in fields(Recipe)})


def _text(value: object) -> str:
    return _joined(flatten(value)) if isinstance(value, Mapping) else str(value)


def _joined(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={text}" for name, text in values.items())


def _run(record: Record, columns: Sequence[Column], versions: dict[str, int]) -> dict[str, Any]:
    origin = record.provenance
    used = _joined(origin.versions)
    return {
        "id": record.run_id,
        "seed": record.identity["recipe"]["seed"],
        "values": [value(record, column) for column in columns],
        "t": [thresholds(record, column) for column in columns],
        "commit": origin.commit,
        "dirty": origin.dirty,
        "versions": versions.setdefault(used, len(versions)),
        "device": origin.device,
        "started": origin.started,
        "finished": origin.finished,
        "command": origin.command,
        "counts": {name: count for name, count in record.counts.items() if count},
        "percentile": record.percentile,
    }


def _history(records: Sequence[Record]) -> dict[str, list[list[float | None]]]:
    """Return term -> its values by epoch, one list a run; terms that no run has a value of are left out."""
    terms = sorted({name for record in records for epoch in record.history for name in epoch})
    curves = {name: [_thinned([epoch.get(name) for epoch in record.history]) for record in records] for name in terms}
    return {name: found for name, found in curves.items() if any(each is not None for one in found for each in one)}


def _thinned(values: Sequence[float | None]) -> list[float | None]:
    last, kept = len(values) - 1, min(len(values), HISTORY_POINTS)
    steps = [place * last // max(kept - 1, 1) for place in range(kept)]
    return [None if (each := values[step]) is None else float(f"{each:.{_DIGITS}g}") for step in steps]
