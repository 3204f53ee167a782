"""Records of tuning trials, and the choice among them, which follows from the records alone.

A study is a folder, ``<results>/<dataset>/tuning/<study>/``: ``<i>.json`` is trial i, ``<i>.npz`` its hits per image of
train-fullsup; ``choice.json`` is computed from them by anyone at any time, without the data and without a network. The
folder has no ``records``, so no leaderboard meets a trial.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from numpy.lib.npyio import NpzFile

from wsolbench.errors import RunError, UserError
from wsolbench.files import atomic_write
from wsolbench.protocols import Hits, SplitScores, score
from wsolbench.protocols.selection import select
from wsolbench.record_schema import Provenance, Tuned, identity_hash, short
from wsolbench.records import write_hits
from wsolbench.request import Request
from wsolbench.stored_hits import hits_from_arrays

TRIAL_SCHEMA = 1
"""Version of the format of a trial's record and of a choice."""

RESAMPLES, SEED = 1000, 0
"""Of the images, for the uncertainty of a choice; fixed, so that equal records give equal choices."""

_ROUNDING = 1e-6  # of a score in percent, between versions of numpy

SHOWN = (1, 2, 3, 5, 10, 20, 30)
"""The k that the readable best-of-k table shows beside the last; ``choice.json`` has all."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One finished trial.

    Attributes:
        study: name of the study.
        index: i of the configuration, from 0.
        identity: everything that decides the trial's numbers, as in a run's record; of ``test`` it has no fingerprint.
        request: what ``wsolbench run --config`` needs to train the configuration: fields of a request, plain values.
        drawn: the hyperparameters that were drawn for it, by name.
        criterion: what the choice is made by: ``metric``, ``split`` and ``slice`` (empty: the whole split).
        score: percent; None where the trial failed.
        error: why it failed, one sentence; None where it did not.
        metrics: percent, on the images of the choice.
        images: how many those are.
        training_s: seconds in the training loop, over all sessions.
        provenance: commit, versions, device, cost, command.
        history: one mapping per epoch.
    """

    study: str
    index: int
    identity: Mapping[str, Any]
    request: Mapping[str, Any]
    drawn: Mapping[str, Any]
    criterion: Mapping[str, str]
    score: float | None
    error: str | None
    metrics: Mapping[str, float]
    images: int
    training_s: float
    provenance: Provenance
    history: Sequence[Mapping[str, float | None]]

    @property
    def run_id(self) -> str:
        """The hash of the identity, 16 hex digits."""
        return identity_hash(self.identity)

    def to_json(self) -> str:
        """Return the record as JSON, which :meth:`from_json` reads."""
        body = asdict(self)
        body["history"] = [
            {key: value if value is not None and math.isfinite(value) else None for key, value in epoch.items()}
            for epoch in body["history"]
        ]
        text = json.dumps({"trial_schema": TRIAL_SCHEMA, "run_id": self.run_id, **body}, indent=1, allow_nan=False)
        TrialRecord.from_json(text)
        return text + "\n"

    @staticmethod
    def from_json(text: str) -> "TrialRecord":
        """Read a record.

        Raises:
            ValueError: it is not a record of this schema version, or was damaged or edited; a clause that says how.
        """
        data = _object(text, "trial's record")
        stated = data.pop("run_id", None)
        _check(data, {field.name for field in fields(TrialRecord)})
        origin = data["provenance"]
        if {*origin} != {field.name for field in fields(Provenance)}:
            raise ValueError("its provenance has other fields than expected")
        record = TrialRecord(**{**data, "provenance": Provenance(**origin)})
        if stated != record.run_id:
            raise ValueError(f"its run_id is not {record.run_id}, the hash of its identity; was it edited?")
        return record


_Kinds = Mapping[str, type | tuple[type, ...]]

_KINDS: _Kinds = {
    **dict.fromkeys(("identity", "request", "drawn", "criterion", "metrics", "provenance"), dict),
    **dict.fromkeys(("index", "images"), int),
    "study": str,
    "score": (int, float, type(None)),
    "error": (str, type(None)),
    "training_s": (int, float),
    "history": list,
}
_CHOICE: _Kinds = {
    **dict.fromkeys(("chosen", "request"), dict),
    **dict.fromkeys(("trials", "images"), int),
    "study": str,
    "training_s": (int, float),
}
_CHOSEN: _Kinds = {**dict.fromkeys(("trial", "seed"), int), "drawn": dict}
_REQUEST: _Kinds = {
    **dict.fromkeys(("data_options", "settings", "recipe"), dict),
    **dict.fromkeys(("method", "dataset", "backbone", "precision"), str),
    **dict.fromkeys(("preset", "weights"), (str, type(None))),
}


def _object(text: str, what: str) -> dict[str, Any]:
    """Read a JSON object of this schema version, and take the version off."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not valid JSON") from None
    if not isinstance(data, dict) or data.pop("trial_schema", None) != TRIAL_SCHEMA:
        raise ValueError(f"it is no {what} of schema version {TRIAL_SCHEMA}")
    return data


def _check(data: Mapping[str, Any], names: set[str]) -> None:
    """Raise ValueError where a trial's fields are not what they should be."""
    if different := names ^ data.keys():
        raise ValueError(f"the field '{min(different)}' is missing or unknown")
    _check_kinds(data, _KINDS)
    score = data["score"]
    if (score is None) == (data["error"] is None) or (score is not None and not 0 <= score <= 100):
        raise ValueError("it should have either a score in 0..100 or an error")


def _check_kinds(data: Mapping[str, Any], kinds: _Kinds) -> None:
    """Raise ValueError where a field is not there or not of its kind."""
    for name, kind in kinds.items():
        if name not in data:
            raise ValueError(f"it lacks '{name}'")
        if not isinstance(data[name], kind) or isinstance(data[name], bool):
            raise ValueError(f"'{name}' is of the wrong kind")


# --- files ------------------------------------------------------------------------------------------------------------


def trial_path(folder: Path, index: int) -> Path:
    """Return where the record of a trial lies in its study's folder; the hits lie beside it with suffix ``.npz``."""
    return folder / f"{index}.json"


def write_trial(record: TrialRecord, hits: Hits | None, folder: Path) -> Path:
    """Write a trial: the hits first, because the record is what says that a trial is done.

    Args:
        record: of the trial.
        hits: on the images of the choice; None for a trial that failed.
        folder: of its study.
    """
    path = trial_path(folder, record.index)
    if hits is not None:
        write_hits(path.with_suffix(".npz"), **hits.arrays())
    atomic_write(path, record.to_json().encode())
    return path


def read_trial(path: Path) -> TrialRecord:
    """Read the record of a trial.

    Raises:
        UserError: it cannot be used; what to do about it.
    """
    try:
        record = TrialRecord.from_json(path.read_text(encoding="utf-8"))
        if path != trial_path(path.parent, record.index) or record.study != path.parent.name:
            raise ValueError(f"it is trial {record.index} of study {record.study}; was it renamed?")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"'{path}' is no usable record of a trial: {reason}; move it away to run it again") from None
    return record


def _read_hits(path: Path, record: TrialRecord) -> Hits | None:
    """Read the hits of a trial, None for one that failed."""
    if record.score is None:
        return None
    try:
        # Opened here: numpy leaves a damaged archive open. Not numpy.load, which takes what is no archive for a pickle.
        with path.open("rb") as file, NpzFile(file) as arrays:
            hits = hits_from_arrays(dict(arrays))
    except Exception as error:  # a damaged archive raises nearly anything
        raise UserError(
            f"'{path}' has no usable hits of trial {record.index} ({error}); move it and '{record.index}.json' away "
            "to run the trial again"
        ) from None
    if len(hits) != record.images:
        raise UserError(
            f"'{path}' has the hits of {len(hits)} images, its record those of {record.images}; "
            "move both away to run the trial again"
        )
    found = score(SplitScores(hits=hits), None).metrics[record.criterion["metric"]]
    if abs(found - record.score) > _ROUNDING:
        raise UserError(
            f"'{path}' has hits that score {found:.2f}, its record says {record.score:.2f}; was one of them edited or "
            "copied? Move both away to run the trial again"
        )
    return hits


# --- the choice -------------------------------------------------------------------------------------------------------


def conclude(folder: Path, trials: int) -> dict[str, Any]:
    """Choose among the first trials of a study, from their records alone.

    Args:
        folder: of the study.
        trials: how many; records beyond are not looked at.

    Returns:
        What ``choice.json`` holds, plain values. ``best_of`` and ``wins`` are those of
        :func:`~wsolbench.protocols.selection.select`; ``request`` is for :func:`with_choice`.

    Raises:
        UserError: a record is missing or unusable, or not of the same study.
        RunError: every trial failed.
    """
    records = _read_study(folder, trials)
    hits = [_read_hits(trial_path(folder, each.index).with_suffix(".npz"), each) for each in records]
    selection = select(hits, records[0].criterion["metric"], resamples=RESAMPLES, seed=SEED)
    chosen = records[selection.chosen]
    rounded = selection.best_of.round(4).tolist()
    return {
        "study": chosen.study,
        "criterion": dict(chosen.criterion),
        "images": chosen.images,
        "trials": trials,
        "chosen": {
            "trial": chosen.index,
            "score": chosen.score,
            "wins": float(selection.wins[chosen.index]),
            "seed": chosen.identity["recipe"]["seed"],
            "drawn": dict(chosen.drawn),
        },
        "request": dict(chosen.request),
        "scores": [record.score for record in records],
        "errors": {str(record.index): record.error for record in records if record.error is not None},
        "best_of": [
            dict(zip(("k", "mean", "low", "high"), (k, *row), strict=True)) for k, row in enumerate(rounded, 1)
        ],
        "wins": selection.wins.tolist(),
        "resamples": RESAMPLES,
        "training_s": math.fsum(record.training_s for record in records),
        "devices": sorted({record.provenance.device for record in records}),
    }


def _read_study(folder: Path, trials: int) -> list[TrialRecord]:
    """Read the first trials of a study, which must be there, on the same images, and not all failed."""
    missing = [str(index) for index in range(trials) if not trial_path(folder, index).is_file()]
    if missing:
        raise UserError(f"'{folder}' lacks trials {', '.join(missing)} of {trials}; run `wsolbench tune` to its end")
    records = [read_trial(trial_path(folder, index)) for index in range(trials)]
    if len({json.dumps([record.criterion, record.identity["fingerprints"]]) for record in records}) > 1:
        raise UserError(f"the trials in '{folder}' were not all scored on the same images; move the foreign ones away")
    if all(record.score is None for record in records):
        raise RunError(f"all {trials} trials failed, the first with: {records[0].error}")
    return records


def write_choice(choice: Mapping[str, Any], folder: Path) -> Path:
    """Write ``choice.json`` and, for readers, ``choice.md``; return the path of the first."""
    path = folder / "choice.json"
    atomic_write(folder / "choice.md", (describe_choice(choice, folder) + "\n").encode())
    atomic_write(path, (json.dumps({"trial_schema": TRIAL_SCHEMA, **choice}, indent=1) + "\n").encode())
    return path


def describe_choice(choice: Mapping[str, Any], folder: Path) -> str:
    """Write a choice for readers, as markdown: what was chosen, all trials, the best-of-k curve.

    Args:
        choice: of :func:`conclude`.
        folder: of its study, whose records name what was drawn.
    """
    records = [read_trial(trial_path(folder, index)) for index in range(choice["trials"])]
    chosen, criterion = choice["chosen"], choice["criterion"]
    where = f"{criterion['split']}{', ' + criterion['slice'] if criterion['slice'] else ''}"
    drawn = ", ".join(f"{name}={short(value)}" for name, value in chosen["drawn"].items())
    lines = [
        f"Chosen: trial {chosen['trial']} of {choice['trials']} ({drawn}), {criterion['metric']} {chosen['score']:.2f}",
        f"on {where} ({choice['images']} images). It is the best in {100 * chosen['wins']:.1f} % of "
        f"{choice['resamples']} resamples of these images.",
        f"Training took {choice['training_s']:.0f} s in all on {'; '.join(choice['devices'])}.",
        "",
        f"| trial | {criterion['metric']} | wins % | {' | '.join(chosen['drawn'])} | training s |",
        "| --- " * (4 + len(chosen["drawn"])) + "|",
    ]
    for record, wins in zip(records, choice["wins"], strict=True):
        score = f"failed: {record.error}" if record.score is None else f"{record.score:.2f}"
        values = " | ".join(map(short, record.drawn.values()))
        lines.append(f"| {record.index} | {score} | {100 * wins:.1f} | {values} | {record.training_s:.0f} |")
    lines += ["", "| best of k trials | expected | 95 % interval |", "| --- | --- | --- |"]
    for point in choice["best_of"]:
        if point["k"] in {*SHOWN, choice["trials"]}:
            lines.append(f"| {point['k']} | {point['mean']:.2f} | {point['low']:.2f} to {point['high']:.2f} |")
    return "\n".join(lines)


def read_choice(path: Path) -> dict[str, Any]:
    """Read ``choice.json``.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    try:
        choice = _object(path.read_text(encoding="utf-8"), "choice")
        _check_kinds(choice, _CHOICE)
        request, chosen = choice["request"], choice["chosen"]
        _check_kinds(request, _REQUEST)
        _check_kinds(chosen, _CHOSEN)
        asked = {**request["settings"], **request["recipe"]}
        for name, value in chosen["drawn"].items():
            if str(asked.get(name)) != str(value):
                raise ValueError(f"it asks for {name}={asked.get(name)}, but {value} was chosen; was it edited?")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"--config {path} cannot be used: {reason}; expected a choice.json written by `wsolbench tune`"
        ) from None
    return choice


def with_choice(request: Request, path: Path) -> Request:
    """Return a request that trains what a study chose, and says so; what else the request says goes on top.

    Args:
        request: its method and dataset must be the study's, its backbone and preset the study's or None.
        path: of ``choice.json``.

    Raises:
        UserError: the choice cannot be read or is another method's, the request sets what was chosen, or the seed is
            the chosen trial's: its score was picked because it was high, so a run worth reporting is a fresh one.
    """
    choice = read_choice(path)
    tuned, seed = choice["request"], choice["chosen"]["seed"]
    if request.preset is not None and tuned["preset"] is None:
        raise UserError(f"--config {path} was tuned without a preset; leave out --preset {request.preset}")
    for name in ("method", "dataset", "backbone", "preset"):
        asked = getattr(request, name)
        if asked not in (None, tuned[name]):
            raise UserError(f"--config {path} was tuned for {name} {tuned[name]}, not {asked}; ask for {tuned[name]}")
    drawn = choice["chosen"]["drawn"]
    for name in (*request.settings, *request.recipe):
        if name in drawn:
            raise UserError(f"{name} was chosen by --config {path}; leave it out, or set everything without --config")
    if request.recipe.get("seed") == seed:
        raise UserError(f"--seed {seed} is that of the chosen trial, which is never reported; take another")
    return replace(
        request,
        backbone=tuned["backbone"],
        preset=tuned["preset"],
        weights=tuned["weights"] if request.weights is None else request.weights,
        precision=tuned["precision"] if request.precision == "auto" else request.precision,
        data_options={**tuned["data_options"], **request.data_options},
        settings={**tuned["settings"], **request.settings},
        recipe={**tuned["recipe"], **request.recipe},
        tuned=Tuned(
            study=choice["study"],
            trials=choice["trials"],
            trial=choice["chosen"]["trial"],
            drawn=drawn,
            images=choice["images"],
            training_s=choice["training_s"],
        ),
    )
