"""The main path of tuning: draw configurations, run each as a trial scored on train-fullsup alone, choose.

The test split is sealed from the first line to the last. Every trial is an ordinary run (the same plan, training and
scoring), its seed drawn like a hyperparameter; its record decides that it is done. Only a failure of the run itself,
such as a loss that is not finite, counts as a result, the worst score. What lies outside the configuration (a full
disk, a device out of memory, a broken file) ends the worker instead, and the trial is taken again.

Trials train on all of train-weaksup, or on the part of it that a large dataset's entry names for tuning.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.backbones.registry import backbone_entry
from wsolbench.config import Search, sample
from wsolbench.data.registry import dataset_entry
from wsolbench.data.splits import Annotations, SplitName, sealed_test
from wsolbench.errors import RunError, UserError
from wsolbench.experiment import (
    OF_OPTIONS,
    Plan,
    Trained,
    forget_session,
    make_plan,
    origin_of,
    resolved,
    train_and_score,
)
from wsolbench.files import refuse_unwritable
from wsolbench.protocols import Hits, score
from wsolbench.protocols.selection import SEARCH_VERSION, unit_number
from wsolbench.provenance import Clock
from wsolbench.record_schema import Provenance, identity_hash
from wsolbench.records import record_path
from wsolbench.request import Request, option_name
from wsolbench.scoring import slice_masks
from wsolbench.supervision import refuse_partial
from wsolbench.trials import TrialRecord, conclude, describe_choice, read_trial, trial_path, write_choice, write_trial
from wsolbench.tuning import open_queue

SEEN: tuple[SplitName, ...] = ("train-weaksup", "train-fullsup")
"""The splits that tuning opens."""

CHOSEN_ON: SplitName = "train-fullsup"
BOXES, MASKS = "max_box_acc_v2", "pxap"
"""The metrics that the choice is made by, where train-fullsup has boxes and where it has masks."""

FIRST_SEED = 2**31
"""Trials have seeds from here on, which nobody types: a reported run never repeats the training of a trial."""

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What the user asked for.

    Attributes:
        request: what all trials share.
        trials: number of configurations.
        storage: the ledger's URL; None: a file beside the runs.
        trial: run only this one, without a ledger.
    """

    request: Request
    trials: int = 30
    storage: str | None = None
    trial: int | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise UserError(f"--trials {self.trials} is out of range; expected at least 1")
        if self.trial is not None and not 0 <= self.trial < self.trials:
            raise UserError(
                f"--trial {self.trial} is out of range; expected 0 to {self.trials - 1} with --trials {self.trials}"
            )
        if self.trial is not None and self.storage is not None:
            raise UserError("--trial runs one trial without a ledger; leave out --storage")


def tune(asked: Tuning, say: Say) -> Path | None:
    """Run the trials that are not done yet, and choose once all are.

    Args:
        asked: what to do.
        say: takes lines to show.

    Returns:
        The path of ``choice.json``; None where ``--trial`` leaves trials to do.

    Raises:
        UserError: the request cannot be carried out as it is.
        RunError: all trials failed.
        SealedError: something asked for the test split.
    """
    with sealed_test():
        study = open_study(asked.request)
        refuse_unwritable("--results", asked.request.results)
        say(f"study {study.name}, {asked.trials} trials in {study.folder}")
        for option, text in study.added.items():
            say(f"trials are run with --data-option {option}={text}, which `wsolbench run --config` leaves out")
        if asked.trial is not None:
            study.run(asked.trial, say)
        else:
            with open_queue(asked.storage, study.name, study.folder, study.ledger, asked.trials) as queue:
                while (index := queue.take(say)) is not None:
                    study.run(index, say)
                    queue.finish()
        left = [index for index in range(asked.trials) if not trial_path(study.folder, index).is_file()]
        if left:
            assert asked.trial is not None, "the queue hands out every trial"
            say(f"{len(left)} of {asked.trials} trials are not done yet; the last one makes the choice")
            return None
        for index in range(asked.trials):
            study.read(index)  # refuses a record of another configuration
        choice = conclude(study.folder, asked.trials)
        path = write_choice(choice, study.folder)
        say(describe_choice(choice, study.folder))
        return path


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """What the trials of one (method, backbone, dataset) share; made by :func:`open_study`.

    Attributes:
        request: of every trial, before its configuration is drawn.
        plan: of that request.
        name: method, backbone and the hash of all that decides the trials' numbers.
        folder: of the trials' records.
        counted: bool (N,), the images of train-fullsup that the choice is made on.
        added: options of the dataset that tuning adds, which the user did not give.
    """

    request: Request
    plan: Plan
    name: str
    folder: Path
    counted: npt.NDArray[np.bool_]
    added: Mapping[str, str]

    @property
    def ledger(self) -> Path:
        """The ledger's file where no storage is named: among the runs, which git ignores."""
        return self.request.results / "runs" / self.name / "ledger.db"

    def drawn(self, index: int) -> dict[str, Any]:
        """Return the configuration of a trial: hyperparameter -> value, the recipe's first."""
        plan = self.plan
        known = {"image_size": plan.recipe.image_size, "strides": backbone_entry(plan.recipe.backbone).strides}
        uniform = partial(self._uniform, index)
        return {
            name: getattr(drawn, name)
            for drawn in (sample(plan.recipe, uniform, known), sample(plan.config, uniform, known))
            for name in searched(drawn)
        }

    def seed(self, index: int) -> int:
        """Return the seed of a trial."""
        return FIRST_SEED + int(self._uniform(index, "seed") * 2**31)

    def _uniform(self, index: int, name: str) -> float:
        return unit_number(self.plan.dataset.name, self.plan.recipe.backbone, self.plan.method.name, index, name)

    def trial_request(self, index: int) -> Request:
        """Return the request of a trial: settings as text, as ``--set`` takes them."""
        values = self.drawn(index)
        recipe = {name: value for name, value in values.items() if name in OF_OPTIONS}
        settings = {name: str(value) for name, value in values.items() if name not in OF_OPTIONS}
        return replace(
            self.request,
            recipe={**self.request.recipe, **recipe, "seed": self.seed(index)},
            settings={**self.request.settings, **settings},
        )

    def run(self, index: int, say: Say) -> TrialRecord:
        """Run a trial, or return its record if it is there."""
        if trial_path(self.folder, index).is_file():
            say(f"trial {index} is done already")
            return self.read(index)
        request = self.trial_request(index)
        plan = make_plan(request, SEEN)
        assert plan.run_id == self.run_id(index)
        say(f"trial {index}: " + ", ".join(f"{name}={value}" for name, value in self.drawn(index).items()))
        run_dir, clock = request.results / "runs" / plan.run_id, Clock()
        command = shlex.join(
            ["wsolbench", "tune", request.method, request.dataset, *self.request.options(), "--trial", str(index)]
        )
        try:
            done = train_and_score(plan, request, clock, run_dir, (CHOSEN_ON,))
        except RunError as error:
            origin = origin_of(plan, clock, command, None)
            record, hits = self._record(index, plan, origin, error=str(error)), None
        else:
            record, hits = self._scored(index, plan, replace(done.origin, command=command), done)
        write_trial(record, hits, self.folder)
        forget_session(run_dir)
        say(
            f"trial {index}: "
            + (
                f"failed: {record.error}"
                if record.score is None
                else f"{record.criterion['metric']} {record.score:.2f}"
            )
        )
        return record

    def read(self, index: int) -> TrialRecord:
        """Read the record of a trial and check that it is of the configuration that is drawn for it.

        Raises:
            UserError: it is not usable.
        """
        record = read_trial(trial_path(self.folder, index))
        if record.run_id != self.run_id(index):
            raise UserError(
                f"'{trial_path(self.folder, index)}' is not of the configuration drawn for trial {index}; "
                "move it away to run the trial again"
            )
        return record

    def run_id(self, index: int) -> str:
        """Return the run id of a trial: that of the shared plan with the drawn values in their places."""
        values, shared = {**self.drawn(index), "seed": self.seed(index)}, self.plan.identity
        parts = {part: {**shared[part], **_within(values, shared[part])} for part in ("config", "recipe")}
        return identity_hash({**shared, **parts})

    def _scored(self, index: int, plan: Plan, origin: Provenance, done: Trained) -> tuple[TrialRecord, Hits]:
        """Return the record of a trial that was scored, and its hits."""
        scores = done.splits[CHOSEN_ON].scores.select(self.counted)
        metrics = score(scores, None).metrics
        record = self._record(index, plan, origin)
        found = {
            "score": metrics[record.criterion["metric"]],
            "error": None,
            "metrics": metrics,
            "training_s": done.fitted.seconds,
        }
        return replace(record, **found, history=done.fitted.history), scores.hits  # type: ignore[arg-type]

    def _record(self, index: int, plan: Plan, origin: Provenance, error: str | None = None) -> TrialRecord:
        """Return the record of a trial that failed; one that did not replaces what it found out."""
        return TrialRecord(
            study=self.name,
            index=index,
            identity=plan.identity,
            request=plain_request(self.trial_request(index)),
            drawn=self.drawn(index),
            criterion=criterion(plan),
            score=None,
            error=error,
            metrics={},
            images=int(self.counted.sum()),
            training_s=origin.wall_s,
            provenance=origin,
            history=[],
        )


def open_study(request: Request) -> Study:
    """Resolve what the trials share; to be called, as everything in tuning, inside a seal.

    The choice is made by MaxBoxAccV2 with the best threshold, on the images of train-fullsup that belong to the
    dataset's headline slice, and by PxAP where there are masks: the number that ranks the tables, on the split that may
    be looked at.

    Args:
        request: what the user asked for; neither seed nor a hyperparameter that is drawn.

    Raises:
        UserError: the request cannot be carried out, or sets what is drawn.
    """
    own = dataset_entry(request.dataset).tuning_options
    added = _without(own, set(request.data_options))
    request = replace(request, data_options={**request.data_options, **added})
    plan = make_plan(request, SEEN)
    refuse_partial(plan.dataset, SEEN, allowed=request.allow_partial)
    request = resolved(request, plan)
    ranges = {**searched(plan.recipe), **searched(plan.config)}
    for name in (*request.settings, *request.recipe):
        if name in ranges or name == "seed":
            option = option_name(name) if name in OF_OPTIONS else f"--set {name}"
            raise UserError(f"{option} is not taken by tune, which draws {name} for each trial; leave it out")
    annotations = plan.division.annotations(CHOSEN_ON)
    counted = _counted(annotations, plan)
    shared = {
        **plan.identity,
        **{part: _without(plan.identity[part], {*ranges, "seed"}) for part in ("config", "recipe")},
        "search": {"version": SEARCH_VERSION, "ranges": {name: repr(each) for name, each in ranges.items()}},
        "criterion": criterion(plan),
    }
    name = f"{plan.method.name}-{plan.recipe.backbone}-{identity_hash(shared)}"
    folder = record_path(plan.identity, request.results).parent.with_name("tuning") / name
    return Study(request=request, plan=plan, name=name, folder=folder, counted=counted, added=added)


def searched(config: Any) -> dict[str, Search]:  # noqa: ANN401
    """Return the search range of every field that is tuned, by name."""
    found = {field.name: field.metadata.get("search") for field in fields(config)}
    return {name: search for name, search in found.items() if search is not None}


def criterion(plan: Plan) -> dict[str, str]:
    """Return what the choice is made by, for records."""
    metric = BOXES if plan.division.annotations(CHOSEN_ON).masks is None else MASKS
    return {"metric": metric, "split": CHOSEN_ON, "slice": plan.dataset.headline if metric == BOXES else ""}


def plain_request(request: Request) -> dict[str, Any]:
    """Return what of a trial's request decides the numbers, as plain values for ``run --config``.

    Without the seed, and without the part of the images that tuning trains on: a reported run trains on all.
    """
    names = ("method", "dataset", "backbone", "preset", "weights", "precision")
    of_tuning = set(dataset_entry(request.dataset).tuning_options)
    return {
        **{name: getattr(request, name) for name in names},
        "data_options": _without(request.data_options, of_tuning),
        "settings": dict(request.settings),
        "recipe": _without(request.recipe, {"seed"}),
    }


def _counted(annotations: Annotations, plan: Plan) -> npt.NDArray[np.bool_]:
    """Return which images of train-fullsup the choice is made on, bool (N,)."""
    part = criterion(plan)["slice"]
    if not part:
        return np.ones(len(annotations), dtype=bool)
    counted = slice_masks(annotations, plan.recipe.image_size)[part]
    if not counted.any():
        raise UserError(f"no image of {CHOSEN_ON} is in the slice {part}, so nothing can be chosen; take more images")
    return counted


def _without(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _within(values: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
