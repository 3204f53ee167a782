"""Records -> the leaderboard as typed tables, which :mod:`wsolbench.leaderboard` writes down.

A table never mixes what cannot be compared: everything in a run's identity except method, its config and the seed, and
the size of its raw maps, must be equal. Tuned runs have tables of their own, one for each number of trials: there each
method has the learning rate and the map size that were chosen for it. Rows are mean and sample standard deviation over
seeds.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsolbench.differences import flatten, varying
from wsolbench.leaderboard.rows import Key, Row
from wsolbench.protocols import NORMALIZATION
from wsolbench.record_schema import Record, Tuned, canonical, identity_hash

NO_BACKBONE = "none"
"""The backbone's name in the record of a null row."""

V2 = "max_box_acc_v2"
"""The metric that ranks the rows, on the slice that the dataset chose for it."""

PXAP = "pxap"
"""What ranks them instead where there are masks."""

_OF_ROW = ("method", "config", "plugin", "extractor", "supervision")
"""What of the identity tells the rows of a table apart, seeds aside.

``plugin`` is there for methods from a file, ``extractor`` for post-hoc maps (its ``name`` and ``point``),
``supervision`` for methods that train on more than labels (its ``kind``, and how many images).
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What all rows of a table share.

    Attributes:
        key: 16 hex digits, different for every two sections.
        dataset: its name.
        options: its options.
        fingerprints: split -> hash.
        images: split -> number of images.
        backbone: its name.
        image_size: side of the evaluation size in pixels.
        map_size: (h, w) of the raw maps; None where it was tuned for each row.
        trials: number of configurations that each row's were chosen from; None where they were given.
        protocol: version.
        headline: what rows are ranked by.
        differences: what tells the section from others of the same title: field -> value as text.
    """

    key: str
    dataset: str
    options: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    images: Mapping[str, int]
    backbone: str
    image_size: int
    map_size: tuple[int, int] | None
    trials: int | None
    protocol: str
    headline: Key
    differences: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A section, its rows from the best headline value down, and below them the null rows, which are not ranked."""

    section: Section
    rows: tuple[Row, ...]
    nulls: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """All tables, one sentence for each file that could not be used, and the records, sorted by run id."""

    tables: tuple[Table, ...]
    warnings: tuple[str, ...]
    records: tuple[Record, ...]


# --- from records to rows ---------------------------------------------------------------------------------------------


def build(records: Iterable[Record], warnings: Sequence[str] = ()) -> Leaderboard:
    """Sort records into tables. The result does not depend on their order.

    Null rows (records that train nothing and have the backbone ``none``) stand in every table of their dataset,
    evaluation size and map size, the largest one of a table; those that fit none get tables of their own.

    Args:
        records: as :func:`~wsolbench.records.load_records` gives them.
        warnings: sentences to be shown below the tables.
    """
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    nulls: list[Record] = []
    everything = tuple(sorted(records, key=lambda record: record.run_id))
    text = remembered_canonical()
    for record in everything:
        if not record.trainable and record.identity["backbone"] == NO_BACKBONE:
            nulls.append(record)
        else:
            groups[text(_shared(record))].append(record)
    placed: set[str] = set()
    beside: dict[str, list[Record]] = {}
    for key, members in groups.items():
        largest = max(members, key=lambda record: record.map_size)
        beside[key] = [null for null in nulls if _fits(null, largest)]
        placed.update(null.run_id for null in beside[key])
    for null in nulls:
        if null.run_id not in placed:
            beside.setdefault(canonical(_shared(null)), []).append(null)
    tables = []
    for key, section in _sections({key: (groups.get(key) or beside[key])[0] for key in beside}).items():
        rows, below = groups.get(key, []), _distinct(beside[key])
        tables.append(Table(section=section, rows=_rows(rows, section.headline), nulls=_rows(below, section.headline)))
    return Leaderboard(tables=tuple(tables), warnings=tuple(warnings), records=everything)


def remembered_canonical() -> Callable[[Mapping[str, Any]], str]:
    """Return :func:`canonical` for many values of which most are the same: of equal JSON it is computed once."""
    known: dict[str, str] = {}

    def text(value: Mapping[str, Any]) -> str:
        plain = json.dumps(value)
        if plain not in known:
            known[plain] = canonical(value)
        return known[plain]

    return text


def shared_of_all(identity: Mapping[str, Any], own: Collection[str] = ("seed",)) -> dict[str, Any]:
    """Return what of an identity all rows of a table share.

    Args:
        identity: of a record, or of a run that failed.
        own: fields of the recipe that are a row's own.
    """
    shared = {key: value for key, value in identity.items() if key not in _OF_ROW}
    shared["recipe"] = {key: value for key, value in identity["recipe"].items() if key not in own}
    return shared


def _shared(record: Record) -> dict[str, Any]:
    """Return what all rows of a table share, and how they were tuned or not."""
    own = ("seed",) if record.tuned is None else ("seed", *record.tuned.drawn)
    shared = shared_of_all(record.identity, own)
    if record.tuned is None:
        return {**shared, "map_size": list(record.map_size)}
    return {**shared, "trials": record.tuned.trials}


def _fits(null: Record, record: Record) -> bool:
    """Whether a null row was scored on the same images in the same way as the runs of a table.

    How the table's runs were trained is nothing to it: of the recipe only the evaluation size and the normalisation of
    the maps count. Splits that the null row's record does not name do not matter either.
    """
    mine, theirs = null.identity, record.identity
    return (
        null.map_size == record.map_size
        and all(mine[key] == theirs[key] for key in ("dataset", "protocol"))
        and all(mine["recipe"].get(key) == theirs["recipe"].get(key) for key in ("image_size", "normalization"))
        and mine["fingerprints"].items() <= theirs["fingerprints"].items()
        and canonical(mine["dataset_options"]) == canonical(theirs["dataset_options"])
    )


def _distinct(nulls: Iterable[Record]) -> list[Record]:
    """Keep one of the null records that differ only in how they would have trained, which changes no number."""
    kept: dict[str, Record] = {}
    for record in nulls:
        identity = record.identity
        what = [identity["method"], identity["config"], identity["recipe"]["seed"], record.metrics]
        kept.setdefault(canonical(what), record)
    return list(kept.values())


def rows_apart(records: Iterable[Record]) -> tuple[Row, ...]:
    """Make one row per method and everything else that an identity holds, of records that need not share a table."""
    return _rows(records, ("", V2), apart=True)


def _rows(records: Iterable[Record], headline: Key, apart: bool = False) -> tuple[Row, ...]:
    """Make one row per (method, config, extractor), by falling headline value; rows without it last, by label."""
    groups: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
    text = remembered_canonical()
    for record in records:
        own = {name: record.identity[name] for name in _OF_ROW if name in record.identity}
        if record.tuned is not None:
            own["tuned"] = {"study": record.tuned.study, "trial": record.tuned.trial}
        if apart:
            own["shared"] = shared_of_all(record.identity)
        groups[system_name(record), text(own)].append(record)
    fields: defaultdict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
    for (system, own_text), members in groups.items():
        shared = shared_of_all(members[0].identity) if apart else {}
        rest = {**shared.pop("recipe", {}), **shared}
        fields[system][own_text] = {**flatten(rest), **own_fields(members[0].identity, members[0].tuned)}
    differ = {system: varying(group) for system, group in fields.items()}
    rows = [
        Row(
            label=row_label(system, differ[system][own_text]),
            records=tuple(sorted(members, key=lambda record: (record.identity["recipe"]["seed"], record.run_id))),
        )
        for (system, own_text), members in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: _rank(row, headline)))


def system_name(record: Record) -> str:
    """Return the method's name, with the extractor's of post-hoc maps (``cam + gradcam``), and ``cam tuned``."""
    return system_of(record.identity) + ("" if record.tuned is None else " tuned")


def system_of(identity: Mapping[str, Any]) -> str:
    """Return the method's name, with the extractor's of post-hoc maps."""
    names = [identity["method"], identity.get("extractor", {}).get("name")]
    return " + ".join(name for name in names if name)


def own_fields(identity: Mapping[str, Any], tuned: Tuned | None = None) -> dict[str, str]:
    """Return what may tell rows of one system apart, as text: config, plugin, extractor's point, what was tuned."""
    study = {} if tuned is None else {"study": tuned.study, **tuned.drawn}
    plugin = {"plugin": identity["plugin"]} if "plugin" in identity else {}
    point = {"point": identity["extractor"]["point"]} if "extractor" in identity else {}
    return flatten({**identity["config"], **plugin, **point, **study})


def _rank(row: Row, headline: Key) -> tuple[float, str]:
    score = row.score(headline)
    return (math.inf if score is None else -score.mean, row.label)


def row_label(system: str, fields: Mapping[str, str]) -> str:
    """Write ``system (field=value, ...)``."""
    inside = ", ".join(f"{name}={value}" for name, value in fields.items())
    return f"{system} ({inside})" if inside else system


# --- from records to sections -----------------------------------------------------------------------------------------


def _sections(examples: Mapping[str, Record]) -> dict[str, Section]:
    """Describe each table by one of its records: a mapping from the table's key, sorted by what is printed."""
    alike: defaultdict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
    for key, record in examples.items():
        rest = _shared(record)
        recipe = rest.pop("recipe")
        image_size = recipe.pop("image_size")
        shown = [rest.pop(name, None) for name in ("dataset", "dataset_options", "backbone", "map_size", "trials")]
        alike[canonical([*shown, image_size])][key] = {**flatten(recipe), **flatten(rest)}
    sections = {}
    for _, group in sorted(alike.items()):
        different = varying(group)
        for key in sorted(group, key=lambda key: (list(different[key].items()), key)):
            sections[key] = _section(examples[key], different[key])
    return sections


def _section(record: Record, differences: Mapping[str, str]) -> Section:
    identity = record.identity
    normalization = identity["recipe"].get("normalization", NORMALIZATION)
    if normalization != NORMALIZATION:  # a variant of the protocol is named wherever it is shown
        differences = {**differences, "normalization": normalization}
    return Section(
        key=identity_hash(_shared(record)),
        dataset=identity["dataset"],
        options=identity["dataset_options"],
        fingerprints=identity["fingerprints"],
        images=record.images,
        backbone=identity["backbone"],
        image_size=identity["recipe"]["image_size"],
        map_size=record.map_size if record.tuned is None else None,
        trials=None if record.tuned is None else record.tuned.trials,
        protocol=identity["protocol"],
        headline=("", PXAP) if PXAP in record.metrics else (record.headline, V2),
        differences=differences,
    )
