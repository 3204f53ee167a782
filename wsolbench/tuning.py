"""The ledger of tuning: which worker runs which trial. The only importer of optuna.

What is done is decided by the trials' records. The ledger hands out the rest, one trial at a time, to workers that may
come and go; it also carries every record, so that machines need to share nothing but its database.

How it works around what was measured of Optuna:

* A resumed or second sampler repeats its configurations: nothing is sampled here, an entry only carries the index i.
* ``ask()`` on an empty queue makes up a trial: an entry is queued right before it is asked for, and both happen while
  no other worker is in the ledger.
* Heartbeats work with ``optimize`` only, and take their time. On PostgreSQL a worker holds an advisory lock per trial,
  which the server drops with the worker's connection, so that a killed worker's trial is free at once.
* SQLite gives a trial to two workers: there a second live worker is refused, by a lock on a file beside the database.
  So is every other storage (a journal keeps a killed worker's trial for ever, and a torn line breaks it).
"""

import base64
import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, Connection, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from wsolbench.errors import RunError, UserError
from wsolbench.files import atomic_write
from wsolbench.trials import TrialRecord, read_trial, trial_path

POLL_S = 5.0
"""Seconds between two looks at the ledger while the last trials are with other workers."""

_EXPECTED = "expected sqlite:///FILE for one worker or postgresql://USER@HOST/DATABASE for several"
_LEDGER_LOCK = 0x57534F4C
"""First key of the advisory lock around the ledger; trials use a hash of the study's name."""


class Turns(Protocol):
    """Who may touch the ledger, and who is alive."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other workers out of the ledger; ends the worker's hold on a trial."""

    def begin(self, index: int) -> None:
        """Hold a trial until the next :meth:`exclusive`, or the end of this process."""

    def is_held(self, index: int) -> bool:
        """Whether another live worker holds a trial."""

    def close(self) -> None:
        """Let go."""


class OneWorker:
    """Turns of a SQLite ledger: whoever holds the lock file is alone, and the kernel frees it with the process.

    Args:
        database: the ledger's file.
    """

    def __init__(self, database: Path) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self._file = database.with_name(f"{database.name}.lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(
                f"another worker is tuning with '{database}', and SQLite would give both the same trials; for several "
                "workers use --storage postgresql://USER@HOST/DATABASE, or --trial I for one trial each"
            ) from None

    def exclusive(self) -> AbstractContextManager[None]:
        """Nobody else is there."""
        return nullcontext()

    def begin(self, index: int) -> None:
        """Nobody else is there."""

    def is_held(self, index: int) -> bool:
        """Nobody else is there: a trial that runs according to the ledger was a killed worker's."""
        return False

    def close(self) -> None:
        """Free the lock."""
        self._file.close()


class ManyWorkers:
    """Turns of a PostgreSQL ledger: advisory locks of a connection, which the server drops when the worker dies.

    Args:
        url: of the database.
        study: its name.
    """

    def __init__(self, url: URL, study: str) -> None:
        # Both sides look for a peer that vanished without a word (a machine that lost power) within two minutes.
        alive = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 6}
        options = " ".join(f"-c tcp_{name}={value}" for name, value in alive.items())
        arguments = {**alive, "options": options}
        self._engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=arguments)
        self._study = int.from_bytes(hashlib.sha256(study.encode()).digest()[:4], "big", signed=True)
        self._session: Connection | None = None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Wait for the lock around the ledger, on a new connection: the old one may have broken during a trial."""
        self.close()
        self._session = self._engine.connect()
        self._call("pg_advisory_lock", _LEDGER_LOCK, 0)
        yield
        self._call("pg_advisory_unlock", _LEDGER_LOCK, 0)  # after an error the connection's end does it

    def begin(self, index: int) -> None:
        """Take the lock of a trial."""
        assert self._call("pg_try_advisory_lock", self._study, index), "it was free a moment ago"

    def is_held(self, index: int) -> bool:
        """Whether the lock of a trial cannot be had."""
        if not self._call("pg_try_advisory_lock", self._study, index):
            return True
        self._call("pg_advisory_unlock", self._study, index)
        return False

    def close(self) -> None:
        """Drop the connection, and with it every lock."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _call(self, function: str, first: int, second: int) -> object:
        assert self._session is not None
        statement = text(f"SELECT {function}(:first, :second)")  # noqa: S608 (the functions are named above)
        return self._session.execute(statement, {"first": first, "second": second}).scalar()


class Queue:
    """Hands out the trials of a study that have no record; made by :func:`open_queue`.

    Args:
        study: the ledger's entries; each has the user attribute ``index``, a finished one ``record``.
        turns: who may touch it.
        folder: of the trials' records.
        trials: how many there shall be.
    """

    def __init__(self, study: optuna.Study, turns: Turns, folder: Path, trials: int) -> None:
        self._study, self._turns, self._folder, self._trials = study, turns, folder, trials
        self._taken: optuna.Trial | None = None

    def take(self, say: Callable[[str], None]) -> int | None:
        """Take the next trial; waits while the last ones are with other workers, who may be killed yet.

        Args:
            say: takes a line on what is waited for.

        Returns:
            The trial's index, of which this worker must call :meth:`finish`; None when every trial is done.
        """
        waited_for: list[int] = []
        while True:
            with _explained(), self._turns.exclusive():
                free, held = self._open_trials()
                if free:
                    return self._begin(free[0])
            if not held:
                return None
            if held != waited_for:
                say(f"waiting for trials {', '.join(map(str, held))} of other workers")
                waited_for = held
            time.sleep(POLL_S)

    def finish(self) -> None:
        """Enter the record of the trial that was taken."""
        assert self._taken is not None
        path = trial_path(self._folder, self._taken.user_attrs["index"])
        record, hits = read_trial(path), path.with_suffix(".npz")
        # An entry that another worker closed: this one's connection broke, and it was taken for dead. The record stays.
        with _explained(), suppress(UpdateFinishedTrialError):
            if record.score is not None:
                self._taken.set_user_attr("hits", base64.b64encode(hits.read_bytes()).decode())
            self._taken.set_user_attr("record", path.read_text(encoding="utf-8"))  # last: it says that all is here
            self._tell(self._taken.number, record)

    def _begin(self, index: int) -> int:
        """Enter that this worker runs a trial."""
        if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):  # of a worker killed right here
            self._study.enqueue_trial({}, user_attrs={"index": index})
        self._taken = self._study.ask()
        index = self._taken.user_attrs["index"]
        self._turns.begin(index)
        return index

    def _open_trials(self) -> tuple[list[int], list[int]]:
        """Return the trials that may be taken and those that other workers hold; write the records of the others."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        held = {index for entry in running if self._turns.is_held(index := entry.user_attrs["index"])}
        done: set[int] = set()
        # Read anew: a worker closes its entry before it lets go, so one that still runs and is not held was killed.
        for entry in self._study.get_trials(deepcopy=False):
            index = entry.user_attrs["index"]
            if entry.state == TrialState.RUNNING and index not in held:
                self._tell(entry.number, _recorded(entry))
            if "record" in entry.user_attrs and (entry.state != TrialState.RUNNING or index not in held):
                self._restore(entry)
                done.add(index)
        wanted = set(range(self._trials)) - done
        return sorted(wanted - held), sorted(wanted & held)

    def _tell(self, number: int, record: TrialRecord | None) -> None:
        """Close an entry: with its score, or as failed where the trial failed or its worker was killed."""
        if record is None or record.score is None:
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self._study.tell(number, record.score, skip_if_finished=True)

    def _restore(self, entry: FrozenTrial) -> None:
        """Write the files of a trial that another machine ran."""
        path = trial_path(self._folder, entry.user_attrs["index"])
        if not path.is_file():
            if "hits" in entry.user_attrs:
                atomic_write(path.with_suffix(".npz"), base64.b64decode(entry.user_attrs["hits"]))
            atomic_write(path, entry.user_attrs["record"].encode())


def _recorded(entry: FrozenTrial) -> TrialRecord | None:
    """Return the record in an entry; None where its worker was killed before."""
    return TrialRecord.from_json(entry.user_attrs["record"]) if "record" in entry.user_attrs else None


@contextmanager
def open_queue(storage: str | None, name: str, folder: Path, ledger: Path, trials: int) -> Iterator[Queue]:
    """Open the queue of a study, making its ledger if it is not there.

    Args:
        storage: the database's URL; None: SQLite in the file ``ledger``.
        name: of the study.
        folder: of the trials' records.
        ledger: see ``storage``.
        trials: how many there shall be.

    Raises:
        UserError: no such storage, or a SQLite one that another live worker uses.
    """
    url = URL.create("sqlite", database=str(ledger)) if storage is None else _url(storage)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    turns: Turns
    try:
        turns = OneWorker(Path(url.database or "")) if url.drivername == "sqlite" else ManyWorkers(url, name)
    except ModuleNotFoundError:
        raise UserError("--storage postgresql:// needs psycopg; run `pip install 'wsolbench[postgres]'`") from None
    try:
        # Exclusive, because two workers that make the tables at once disturb each other.
        with _opened(url, own=storage is None), turns.exclusive():
            database = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs={"pool_pre_ping": True})
            study = optuna.create_study(
                storage=database,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(),
            )
        try:
            yield Queue(study, turns, folder, trials)
        finally:
            database.remove_session()
            database.engine.dispose()
    finally:
        turns.close()


def _url(storage: str) -> URL:
    """Read a storage's URL.

    Raises:
        UserError: it is none, or of a kind that does not keep the promises of this module.
    """
    try:
        url = make_url(storage)
    except ArgumentError:
        raise UserError(f"--storage is no URL of a database; {_EXPECTED}") from None
    kind = url.drivername.partition("+")[0]
    if kind == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(drivername="sqlite")
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise UserError(f"--storage {url.render_as_string()} is not supported; {_EXPECTED}")


@contextmanager
def _opened(url: URL, *, own: bool) -> Iterator[None]:
    """Turn what a database says when it cannot be opened into a UserError; the password stays out of it.

    Args:
        url: of the database.
        own: it is the ledger that nobody asked for, which is made again where it is not there.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        if own:
            raise UserError(
                f"the ledger '{url.database}' cannot be opened ({_reason(error)}); move it away, "
                "the records have all it says"
            ) from None
        raise UserError(
            f"--storage {url.render_as_string()} cannot be opened ({_reason(error)}); {_EXPECTED}"
        ) from None


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what a database says when it is lost into a RunError."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise RunError(f"the ledger was lost ({_reason(error)}); records are safe, so start the worker again") from None


def _reason(error: BaseException) -> str:
    """Return the first line of what the database's driver said."""
    cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
