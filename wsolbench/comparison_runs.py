"""Which runs are compared: ids, paths or names -> records that may be compared -> methods with their seeds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import hexdigits
from typing import Any

from wsolbench.data.places import Places
from wsolbench.differences import flatten, varying
from wsolbench.errors import UserError, unknown_name
from wsolbench.leaderboard.model import NO_BACKBONE, V2, system_name
from wsolbench.protocols import RESAMPLED
from wsolbench.record_schema import REFERENCE_ROW, Record, Slice, canonical
from wsolbench.records import find_record, load_records, record_files
from wsolbench.scoring import SLICES

Found = Mapping[str, tuple[Record, Path]]
"""Run id -> the record and the path of its hits."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the user asked.

    Attributes:
        runs: run ids (their first characters do), paths of records, or names of methods, which mean all their runs.
        baseline: what all others are compared with: a method's name; None: the method of the first run.
        metric: one of :data:`~wsolbench.protocols.RESAMPLED`.
        part: a slice of the test images; empty: all of them.
        data_options: options of the dataset, as text, that the records must have.
        results: folder of the records.
        places: where the dataset's files are, for a slice of one that reads them.
        resamples: B.
        seed: of the resampling.
        quiet: plain progress lines.
    """

    runs: Sequence[str]
    baseline: str | None = None
    metric: str = V2
    part: str = ""
    data_options: Mapping[str, str] = field(default_factory=dict)
    results: Path = Path("results")
    places: Places = field(default_factory=Places)
    resamples: int = 10_000
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.metric not in RESAMPLED:
            raise unknown_name("metric", self.metric, RESAMPLED)
        if self.part and self.part not in SLICES:
            raise unknown_name("slice", self.part, SLICES)
        for option, value, least in (("--resamples", self.resamples, 100), ("--seed", self.seed, 0)):
            if value < least:
                raise UserError(f"{option} {value} is out of range; expected at least {least}")


# --- which runs -------------------------------------------------------------------------------------------------------


def known_records(question: Question) -> tuple[Found, list[str]]:
    """Read the records among which names and the null row are looked up.

    Returns:
        The records; a sentence for each file that was skipped.

    Raises:
        UserError: there are none.
    """
    paths = [Path(run) for run in question.runs if run.endswith(".json")]
    folders = {path.parent for path in paths if question.results.resolve() not in path.resolve().parents}
    if question.results.is_dir() or len(paths) < len(question.runs):
        folders.add(question.results)
    known: dict[str, tuple[Record, Path]] = {}
    warnings: list[str] = []
    for folder in sorted(folders):
        hits = {path.stem: path.with_suffix(".npz") for path in record_files(folder)}
        records, skipped = load_records(folder)
        known |= {record.run_id: (record, hits[record.run_id]) for record in records}
        warnings += skipped if hits else []
    for path in paths:  # also one that lies in no folder of records
        record = find_record(question.results, str(path))
        known[record.run_id] = (record, path.with_suffix(".npz"))
    if not known:
        raise UserError(f"there is no usable record below '{question.results}'; `wsolbench run` writes them there")
    wanted = question.data_options.items()
    known = {run: found for run, found in known.items() if wanted <= flatten(_options(found[0])).items()}
    if not known:
        asked = ", ".join(f"{name}={text}" for name, text in wanted)
        raise UserError(f"no record below '{question.results}' is of a dataset with {asked}; leave out --data-option")
    return known, warnings


def _options(record: Record) -> Mapping[str, Any]:
    """Return the options of a record's dataset."""
    options: Mapping[str, Any] = record.identity["dataset_options"]
    return options


def chosen_records(question: Question, known: Found) -> list[Record]:
    """Return the records that the user named, in that order, each once.

    Raises:
        UserError: one is not there, there are fewer than two, or they cannot be compared.
    """
    chosen: dict[str, Record] = {}
    names = {system_name(record) for record, _ in known.values()}
    for run in question.runs:
        if run not in names and not run.endswith(".json") and not set(run) <= set(hexdigits):
            raise unknown_name("method or run", run, names)
        named = sorted((record for record, _ in known.values() if system_name(record) == run), key=seed_of)
        for record in named or [find_record(question.results, run)]:
            chosen[record.run_id] = record
    trained = [record for record in chosen.values() if not is_null(record)]
    if trained:
        _refuse_incomparable(trained)
        # A null row is named without its sizes, of which several may have been recorded.
        chosen = {
            record.run_id: record
            for record in chosen.values()
            if not is_null(record) or record == _null_row(known, record.identity["method"], trained[0])
        }
    else:
        _refuse_incomparable(list(chosen.values()))
    if len(chosen) < 2:
        raise UserError(f"'{' '.join(question.runs)}' is fewer than two comparable runs; give at least two")
    return list(chosen.values())


def is_null(record: Record) -> bool:
    """Return whether a record is a null row's."""
    return not record.trainable and bool(record.identity["backbone"] == NO_BACKBONE)


def _null_row(known: Found, name: str, record: Record) -> Record | None:
    """Return the null row of that name on a run's images, rather that of the same normalisation and map size."""
    fitting = [
        null
        for null, _ in known.values()
        if is_null(null) and null.identity["method"] == name and _scored_on(null) == _scored_on(record)
    ]

    def unlike(null: Record) -> tuple[bool, bool, str]:
        names = [each.identity["recipe"].get("normalization") for each in (null, record)]
        return names[0] != names[1], null.map_size != record.map_size, null.run_id

    return min(fitting, key=unlike, default=None)


def reference_row(question: Question, known: Found, records: Sequence[Record]) -> tuple[list[Record], str]:
    """Return the null row that methods must exceed, or none and the reason for that."""
    if any(is_null(record) and record.identity["method"] == REFERENCE_ROW for record in records):
        return [], "it is among the runs above"
    center = _null_row(known, REFERENCE_ROW, records[0])
    if center is None:
        return [], "no record of it on these images was found"
    value, reason = recorded_value(center, question)
    if value is None:
        return [], reason
    if not known[center.run_id][1].is_file():
        return [], f"its hits are not beside its record (`wsolbench rescore {center.run_id}` writes them)"
    return [center], ""


def recorded_value(record: Record, question: Question) -> tuple[float | None, str]:
    """Return the metric as it was recorded, in percent, or None with the reason why it was not."""
    part: Record | Slice | None = record.slices.get(question.part) if question.part else record
    if part is None:
        return None, "it was not scored on that slice"
    return part.metrics.get(question.metric), part.absent.get(question.metric, "it was not scored")


def left_out(known: Found, records: Sequence[Record]) -> list[str]:
    """Return the names of trained methods that share images and backbone with the runs and are not among them."""
    named = {system_name(record) for record in records}
    trained = [record for record in records if not is_null(record)]
    tables = [(record.identity["backbone"], _scored_on(record)) for record in trained]
    beside = (record for record, _ in known.values() if (record.identity["backbone"], _scored_on(record)) in tables)
    return sorted({system_name(record) for record in beside} - named)


def _refuse_incomparable(records: Sequence[Record]) -> None:
    """Raise UserError unless all were scored on the same images in the same way."""
    first, *others = records
    for other in others:
        for what, mine in _scored_on(first).items():
            if mine != (theirs := _scored_on(other)[what]):
                raise UserError(
                    f"{system_name(first)} ({first.run_id}) and {system_name(other)} "
                    f"({other.run_id}) cannot be compared: the {what} is {mine} for one and {theirs} for the other; "
                    "give runs scored on the same images under one protocol (by run id, --data-option or --results)"
                )


def _scored_on(record: Record) -> dict[str, str]:
    """Return what must be equal for hits to be of the same images, as text."""
    identity = record.identity
    return {
        "dataset": identity["dataset"],
        "dataset's options": canonical(identity["dataset_options"]),
        "splits' fingerprint": canonical(identity["fingerprints"]),
        "evaluation size": str(identity["recipe"]["image_size"]),
        "protocol version": identity["protocol"],
    }


# --- methods with their seeds -----------------------------------------------------------------------------------------


def grouped(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Sort runs by what they differ in besides the seed: name -> runs by seed. Two runs of one method stand alone.

    Raises:
        UserError: more than two runs, all of one method.
    """
    alike: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        alike[canonical(settings_of(record))].append(record)
    if len(alike) == 1:
        if len(records) > 2:
            raise UserError(
                f"all {len(records)} runs are of {system_name(records[0])} and differ in the seed only; "
                "give runs of at least two methods, or just two runs to compare their checkpoints"
            )
        return {f"{system_name(record)} seed {seed_of(record)}": [record] for record in records}
    fields = {key: flatten(settings_of(members[0])) for key, members in alike.items()}
    named: defaultdict[str, list[str]] = defaultdict(list)
    for key, members in alike.items():
        named[system_name(members[0])].append(key)
    groups = {}
    for system, keys in named.items():
        differ = varying({key: fields[key] for key in keys})
        for key in keys:
            inside = ", ".join(f"{name.rpartition('.')[2]}={text}" for name, text in differ[key].items())
            groups[f"{system} ({inside})" if inside else system] = sorted(alike[key], key=seed_of)
    return groups


def seed_of(record: Record) -> int:
    """Return the seed of a run."""
    return int(record.identity["recipe"]["seed"])


def settings_of(record: Record) -> dict[str, Any]:
    """Return what a run's numbers follow from, its seed aside."""
    recipe = {name: value for name, value in record.identity["recipe"].items() if name != "seed"}
    return {**record.identity, "recipe": recipe}


def differing_settings(groups: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, str]]:
    """Return how trained methods differ beyond the method itself: setting -> name -> its value."""
    own = ("method", "config", "plugin", "extractor", "supervision")
    fields = {
        name: flatten({key: value for key, value in settings_of(members[0]).items() if key not in own})
        for name, members in groups.items()
        if not is_null(members[0])
    }
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, different in varying(fields).items():
        for setting, text in different.items():
            found[setting][name] = text
    return dict(found)


def ordered(groups: Mapping[str, Sequence[Record]], baseline: str | None) -> list[str]:
    """Return the names, that of the baseline first.

    Raises:
        UserError: no such name, or a method's name that several sides share.
    """
    if baseline is None:
        return list(groups)
    matches = [name for name in groups if name == baseline] or [
        name for name, members in groups.items() if system_name(members[0]) == baseline
    ]
    if not matches:
        raise unknown_name("baseline", baseline, groups)
    if len(matches) > 1:
        raise UserError(f"--baseline {baseline} is {' and '.join(matches)} here; write one of these names in full")
    return [*matches, *(name for name in groups if name not in matches)]
