"""What a run record holds, how it is checked, and the hash that names it.

The run id is the hash of all that decides the numbers, so the same run asked for twice is recognised, and a record
that was edited by hand is too. :mod:`wsolbench.records` writes and finds the files.
"""

import hashlib
import json
import math
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from wsolbench.json_checks import Check, bad_value, checked, each, holding, number, numbers, of_kind, texts, whole

SCHEMA_VERSION = 1
"""Version of the file format; a record of another version is named and skipped."""

REFERENCE_ROW = "center"
"""Method of the null row that a method must exceed to be ranked (PROTOCOL: null rows)."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The metrics of a part of the test images, chosen from annotations alone.

    Attributes:
        images: number of images in the slice.
        metrics: percent, in 0..100, keyed as in :class:`Record`.
        thresholds: metric key -> the operating threshold t it used, in [0, 1).
        absent: metric key -> why it could not be computed.
    """

    images: int
    metrics: Mapping[str, float]
    thresholds: Mapping[str, float]
    absent: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a record comes from; nothing here decides a number.

    Attributes:
        commit: the code's commit, None where it is unknown (see :func:`git_state`).
        dirty: whether the tree had uncommitted changes, ``results/`` aside; None where unknown.
        versions: name -> version of python, torch, numpy and whatever else took part.
        device: what it ran on, in words.
        wall_s: seconds from start to record.
        train_images_per_s: training rate, None for a run that trains nothing.
        peak_memory_mb: peak memory of the device in MiB, None where it is not measured.
        command: the command line that repeats the run.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC.
    """

    commit: str | None
    dirty: bool | None
    versions: Mapping[str, str]
    device: str
    wall_s: float
    train_images_per_s: float | None
    peak_memory_mb: float | None
    command: str
    started: str
    finished: str


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The study of ``wsolbench tune`` that chose a run's hyperparameters.

    Attributes:
        study: its name.
        trials: how many configurations it tried: the budget.
        trial: index of the chosen one.
        drawn: the hyperparameters that were chosen, by name.
        images: of train-fullsup, that the choice was made on.
        training_s: seconds that all trials trained.
    """

    study: str
    trials: int
    trial: int
    drawn: Mapping[str, Any]
    images: int
    training_s: float

    def __str__(self) -> str:
        """Say what was chosen and what it cost."""
        drawn = ", ".join(f"{name}={short(value)}" for name, value in self.drawn.items())
        return (
            f"trial {self.trial} of {self.trials}, the best on {self.images:,} images of train-fullsup: {drawn}; "
            f"all trials trained for {self.training_s / 60:.1f} minutes"
        )


def short(value: object) -> str:
    """Return a setting as a reader wants it: floats with four digits.

    >>> short(0.123456), short(8)
    ('0.1235', '8')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished run.

    Attributes:
        identity: everything that decides the numbers; plain JSON values. Its keys: ``method`` (name), ``config``
            (the method's fields), ``backbone`` (name, ``none`` for a null row), ``dataset`` (name),
            ``dataset_options``, ``recipe`` (the resolved recipe; holds at least ``seed`` and ``image_size``, the side
            of the evaluation size in pixels), ``fingerprints`` (split -> hash), ``protocol`` (version). Where it
            applies: ``extractor`` (of post-hoc maps: ``name``, ``point``), ``supervision`` (of a method that trains on
            boxes: ``kind``, ``train_images``, ``threshold_images`` and the rules in words). More keys are allowed and
            count.
        trainable: False for a baseline that learns nothing.
        headline: the slice whose V2 ranks the tables; empty: all test images.
        metrics: percent, in 0..100, keyed as in DESIGN (``max_box_acc_v2_iou50_fullsup``).
        thresholds: metric key -> the operating threshold t it used, in [0, 1).
        absent: metric key -> why it could not be computed.
        slices: slice name -> the same metrics on a part of the test images.
        images: split -> number of images, at least one split and one image.
        counts: what happened how often, such as ``constant_maps``.
        map_size: (h, w) of the raw maps.
        provenance: commit, versions, device, cost, command.
        history: one mapping per epoch: loss terms and diagnostics; None where a value was not finite.
        percentile: of the maps' normalisation, 0 to 100, chosen on train-fullsup; None for one that has no percentile.
        tuned: who chose the hyperparameters; None: whoever typed the command.
        parameters: number of numbers that training could change; None where nothing was trained or it is not recorded.

    The last three are there in a file only if they are not None.
    """

    identity: Mapping[str, Any]
    trainable: bool
    headline: str
    metrics: Mapping[str, float]
    thresholds: Mapping[str, float]
    absent: Mapping[str, str]
    slices: Mapping[str, Slice]
    images: Mapping[str, int]
    counts: Mapping[str, int]
    map_size: tuple[int, int]
    provenance: Provenance
    history: Sequence[Mapping[str, float | None]]
    percentile: int | None = None
    tuned: Tuned | None = None
    parameters: int | None = None

    @cached_property
    def run_id(self) -> str:
        """The hash of the identity, 16 hex digits."""
        return identity_hash(self.identity)

    def to_json(self) -> str:
        """Return the record as JSON: fields in their declared order, keys inside them sorted, a newline at the end.

        Raises:
            ValueError: a field holds what the schema does not allow, such as a metric that is NaN; what this method
                returns, :meth:`from_json` reads.
        """
        body = {name: _ordered(value) for name, value in asdict(self).items()}
        for name in _ABSENT:
            if body[name] is None:
                del body[name]
        body["history"] = [{key: _finite_or_none(value) for key, value in epoch.items()} for epoch in body["history"]]
        text = json.dumps({"schema": SCHEMA_VERSION, "run_id": self.run_id, **body}, indent=1) + "\n"
        Record.from_json(text)
        return text

    @staticmethod
    def from_json(text: str) -> "Record":
        """Read a record.

        Raises:
            ValueError: it is not a record of this schema version, or was damaged or edited; a clause that says how.
        """
        try:
            return _parsed(text)
        except RecursionError:
            raise ValueError("it is nested too deeply for a record") from None


def _parsed(text: str) -> Record:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not valid JSON ({error})") from None
    if not isinstance(data, dict) or "schema" not in data:
        raise ValueError("it is not a wsolbench record (it has no 'schema')")
    version = data.pop("schema")
    if version != SCHEMA_VERSION:
        raise ValueError(f"its schema version is {reprlib.repr(version)}, this wsolbench reads {SCHEMA_VERSION}")
    stated = data.pop("run_id", None)
    record = Record(**checked({**_ABSENT, **data}, _RECORD))
    if record.headline and record.headline not in record.slices:
        raise bad_value("headline", "the name of a slice or an empty text", record.headline)
    if stated != record.run_id:
        raise ValueError(
            f"its run_id is {reprlib.repr(stated)} but its identity hashes to '{record.run_id}'; was it edited?"
        )
    return record


# --- identity -----------------------------------------------------------------------------------------------


def canonical(value: Any) -> str:  # noqa: ANN401
    """Return the one JSON text of a plain value: keys sorted, no spaces, floats by ``repr``.

    A float that is a whole number is written as that integer, so that ``1`` and ``1.0``, which no run can tell apart,
    are the same; ``True`` stays ``true`` and differs from ``1``. Tuples are lists.

    Args:
        value: None, bool, int, float, str, or lists, tuples and mappings (with string keys) of those.

    Raises:
        ValueError: another type, NaN or infinity, naming where.

    >>> canonical({"lr": 1.0, "b": (True, 0.5)})
    '{"b":[true,0.5],"lr":1}'
    """
    return _ENCODER.encode(_plain(value, "identity"))


def identity_hash(identity: Mapping[str, Any]) -> str:
    """Return the run id: the first 16 hex digits of the SHA-256 of :func:`canonical`.

    >>> identity_hash({"method": "cam", "recipe": {"seed": 0}})
    'a9d9bb6de2be8315'
    """
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:16]


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_AS_IT_IS = frozenset((str, int, bool, type(None)))


def _plain(value: Any, where: str) -> Any:  # noqa: ANN401
    """Copy a value of JSON's types, whole floats as integers; a call for each leaf would outlast all the rest."""
    if type(value) is dict or isinstance(value, Mapping):
        if not {*map(type, value)} <= {str}:
            raise ValueError(f"{where} has a key that is not a string, which JSON cannot hold")
        return {key: item if type(item) in _AS_IT_IS else _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _AS_IT_IS else _plain(item, f"{where}[]") for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else float(value)
    if value is None or isinstance(value, (str, int)):  # bool is an int, and json writes it as true or false
        return value
    raise ValueError(f"{where} is {value!r}, expected a plain, finite JSON value")


def _ordered(value: Any) -> Any:  # noqa: ANN401
    """Copy nested containers with their keys sorted, so that equal records are equal files."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    return value


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# --- what a field may hold ----------------------------------------------------------------------------------


def _images(value: Any, where: str) -> Any:  # noqa: ANN401
    if value == {}:
        raise bad_value(where, "the number of images of at least one split", value)
    return each(whole(1, "a whole number of images, at least 1"))(value, where)


def _identity(value: Any, where: str) -> dict[str, Any]:  # noqa: ANN401
    identity: dict[str, Any] = of_kind(dict)(value, where)
    for name, check in _IDENTITY.items():
        if name not in identity:
            raise ValueError(f"the field '{where}.{name}' is missing")
        check(identity[name], f"{where}.{name}")
    for name, check in _OPTIONAL.items():
        if name in identity:
            check(identity[name], f"{where}.{name}")
    for name in ("seed", "image_size"):
        of_kind(int)(identity["recipe"].get(name), f"{where}.recipe.{name}")
    return identity


def _tuned(value: Any, where: str) -> Tuned | None:  # noqa: ANN401
    return None if value is None else Tuned(**checked(value, _TUNED, f"{where}."))


def _map_size(value: Any, where: str) -> tuple[int, int]:  # noqa: ANN401
    if isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value):
        return value[0], value[1]
    raise bad_value(where, "[height, width]", value)


def _history(value: Any, where: str) -> list[dict[str, float | None]]:  # noqa: ANN401
    epochs = of_kind(list)(value, where)
    for index, epoch in enumerate(epochs):
        known = epoch
        if isinstance(epoch, dict) and None in epoch.values():
            known = {key: item for key, item in epoch.items() if item is not None}
        _FINITE(known, f"{where}[{index}]")
    return epochs


_TEXT, _TEXTS = of_kind(str), texts()
_COUNT = whole(0, "a whole number, at least 0")
_ANY_NUMBER = (-sys.float_info.max, sys.float_info.max, "a finite number")
_FINITE, _PERCENT = numbers(*_ANY_NUMBER), numbers(0, 100, "a number in 0..100")
_THRESHOLDS = numbers(0, math.nextafter(1, 0), "a number in [0, 1)")
_IDENTITY: Mapping[str, Check] = {
    **dict.fromkeys(("method", "backbone", "dataset", "protocol"), _TEXT),
    **dict.fromkeys(("config", "dataset_options", "recipe"), of_kind(dict)),
    "fingerprints": _TEXTS,
}
_OPTIONAL: Mapping[str, Check] = {
    "extractor": holding({"name": _TEXT, "point": _TEXT}),
    "supervision": holding({"kind": _TEXT, "train_images": _COUNT, "threshold_images": _COUNT}),
}
_SCORES: Mapping[str, Check] = {"metrics": _PERCENT, "thresholds": _THRESHOLDS, "absent": _TEXTS}
_SLICE: Mapping[str, Check] = {"images": _COUNT, **_SCORES}
_PROVENANCE: Mapping[str, Check] = {
    **{field.name: _TEXT for field in fields(Provenance)},
    "commit": of_kind(str, optional=True),
    "dirty": of_kind(bool, optional=True),
    "versions": _TEXTS,
    "wall_s": number(*_ANY_NUMBER),
    "train_images_per_s": number(*_ANY_NUMBER, optional=True),
    "peak_memory_mb": number(*_ANY_NUMBER, optional=True),
}
_TUNED: Mapping[str, Check] = {
    "study": _TEXT,
    **dict.fromkeys(("trials", "trial", "images"), _COUNT),
    "drawn": of_kind(dict),
    "training_s": number(*_ANY_NUMBER),
}
_RECORD: Mapping[str, Check] = {
    "identity": _identity,
    "trainable": of_kind(bool),
    "headline": _TEXT,
    **_SCORES,
    "slices": each(lambda value, where: Slice(**checked(value, _SLICE, f"{where}."))),
    "images": _images,
    "counts": each(_COUNT),
    "map_size": _map_size,
    "provenance": lambda value, where: Provenance(**checked(value, _PROVENANCE, f"{where}.")),
    "history": _history,
    "percentile": number(0, 100, "a percentile, 0 to 100", optional=True),
    "tuned": _tuned,
    "parameters": lambda value, where: None if value is None else _COUNT(value, where),
}
_ABSENT: Mapping[str, None] = dict.fromkeys(("percentile", "tuned", "parameters"))  # fields that a file need not have
