"""Trials without training, and a worker that runs them in a process of its own and can be told to die."""

import os
import signal
import time
from functools import partial

import numpy as np
import optuna
from record_examples import make_identity, make_provenance

from wsolbench import tuning
from wsolbench.protocols import BoxHits, SplitScores, score
from wsolbench.trials import TrialRecord, trial_path, write_trial

STUDY = "fake-resnet-tiny-0123456789abcdef"
FAILING = 4
"""The trial that diverges."""


def make_trial(index, *, study=STUDY, images=20, **fields):
    """Return the record and the hits of a trial, a pure function of its index."""
    rng = np.random.default_rng(index)
    found = np.broadcast_to((rng.random(images) < rng.random())[:, None, None], (images, 3, 256))
    hits = BoxHits.from_levels(found, np.full(images, 255, dtype=np.uint8))
    metrics = score(SplitScores(hits=hits), None).metrics
    failed = index == FAILING
    settings = {"lr": repr(0.001 * (index + 1))}
    values = {
        "study": study,
        "index": index,
        "identity": make_identity("fake", seed=2**31 + index, config={"rate": index / 100}),
        "request": {
            "method": "fake",
            "dataset": "parts",
            "backbone": "resnet-tiny",
            "preset": None,
            "weights": None,
            "precision": "fp32",
            "data_options": {"train": "64"},
            "settings": settings,
            "recipe": {"epochs": 2, "feature_map": 8},
        },
        "drawn": {"lr": 0.001 * (index + 1)},
        "criterion": {"metric": "max_box_acc_v2", "split": "train-fullsup", "slice": ""},
        "score": None if failed else metrics["max_box_acc_v2"],
        "error": "loss term 'cls' was not finite at step 6" if failed else None,
        "metrics": {} if failed else metrics,
        "images": images,
        "training_s": 2.5,
        "provenance": make_provenance(),
        "history": [{"cls": 1.0, "lr": 0.1}],
    }
    return TrialRecord(**{**values, **fields}), None if failed else hits


def write_trials(folder, trials):
    """Write the first trials of a study, as an undisturbed worker leaves them."""
    for index in range(trials):
        write_trial(*make_trial(index), folder)


def work(storage, folder, ledger, trials, *, deaths=(), pause=0.0, poll=0.05):
    """Run trials until there are none left, or until the first death that has not been died yet.

    Each death is ``(when, index)``: ``queue`` dies between queueing a trial and asking for it, ``training`` before its
    record is written, ``record`` after that. A trial that was run leaves a line in ``<folder>/ran.log``.
    """
    tuning.POLL_S = poll
    folder.mkdir(parents=True, exist_ok=True)

    def die(when, index):
        mark = folder.parent / f"died-{when}-{index}"
        if (when, index) in deaths and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def ask(self, *, original=optuna.Study.ask):
        entry = self.get_trials(states=(optuna.trial.TrialState.WAITING,))[0]
        die("queue", entry.user_attrs["index"])
        return original(self)

    optuna.Study.ask = ask
    with tuning.open_queue(storage, STUDY, folder, ledger, trials) as queue:
        while (index := queue.take(partial(print, flush=True))) is not None:
            if not trial_path(folder, index).is_file():
                time.sleep(pause)
                die("training", index)
                with (folder.parent / "ran.log").open("a") as log:
                    log.write(f"{index} {os.getpid()}\n")
                write_trial(*make_trial(index), folder)
                die("record", index)
            queue.finish()


def ledger_of(url):
    """Return the entries of the study's ledger: (index, state) in order."""
    storage = optuna.storages.RDBStorage(url)
    study = optuna.load_study(study_name=STUDY, storage=storage)
    entries = [(entry.user_attrs["index"], entry.state.name) for entry in study.get_trials()]
    storage.remove_session()
    storage.engine.dispose()
    return entries
