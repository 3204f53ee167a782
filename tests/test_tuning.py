"""The queue of trials: who runs what, whoever is killed; and the choice, from records alone."""

import ast
import json
import multiprocessing
from pathlib import Path

import optuna
import pytest
from trial_examples import FAILING, STUDY, ledger_of, make_trial, work, write_trials

from wsolbench.errors import RunError, UserError
from wsolbench.records import load_records
from wsolbench.request import Request
from wsolbench.trials import (
    TrialRecord,
    conclude,
    describe_choice,
    read_trial,
    trial_path,
    with_choice,
    write_choice,
    write_trial,
)
from wsolbench.tuning import OneWorker, Queue, open_queue

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def processes():
    """Return a context whose processes start fast: what they import is imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trial_examples"])
    return context


@pytest.fixture
def study(tmp_path):
    """Return the folder of a study and the file of its ledger."""
    return tmp_path / "tuning" / STUDY, tmp_path / "ledger" / "ledger.db"


def silent(line):
    """Take a line."""


# --- one worker -------------------------------------------------------------------------------------------------------


def test_a_worker_killed_three_times_ends_where_an_undisturbed_one_does(processes, study, tmp_path):
    folder, ledger = study
    deaths = (("training", 3), ("queue", 11), ("record", 20))
    for expected in (-9, -9, -9, 0):
        worker = processes.Process(target=work, args=(None, folder, ledger, 30), kwargs={"deaths": deaths})
        worker.start()
        worker.join(600)
        assert worker.exitcode == expected
    ran = [int(line.split()[0]) for line in (folder.parent / "ran.log").read_text().splitlines()]
    assert ran == list(range(30))  # each once: what had a record was not run again
    write_trials(tmp_path / "undisturbed" / STUDY, 30)
    assert conclude(folder, 30) == conclude(tmp_path / "undisturbed" / STUDY, 30)
    entries = ledger_of(f"sqlite:///{ledger}")
    interrupted = [(3, "FAIL"), (20, "FAIL")]  # the kill at 11 left an entry that nobody had asked for yet
    finished = [(index, "FAIL" if index == FAILING else "COMPLETE") for index in range(30)]
    assert sorted(entries) == sorted(finished + interrupted)


def test_a_second_worker_on_sqlite_is_refused_while_the_first_lives(study):
    folder, ledger = study
    with open_queue(None, STUDY, folder, ledger, 3) as queue:
        assert queue.take(silent) == 0
        for storage in (None, f"sqlite:///{ledger}"):
            with (
                pytest.raises(UserError, match=r"another worker .* SQLite .* --storage postgresql://.* or --trial I"),
                open_queue(storage, STUDY, folder, ledger, 3),
            ):
                pass
    with open_queue(None, STUDY, folder, ledger, 3) as queue:
        assert queue.take(silent) == 0  # the first went without a record


def test_records_decide_what_is_done(study):
    folder, ledger = study
    write_trial(*make_trial(1), folder)  # by `--trial 1`, say
    work(None, folder, ledger, 3)
    assert ledger_of(f"sqlite:///{ledger}") == [(0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE")]
    ran = [int(line.split()[0]) for line in (folder.parent / "ran.log").read_text().splitlines()]
    assert ran == [0, 2]
    work(None, folder, ledger, 6)  # more trials go on
    assert [index for index, _ in ledger_of(f"sqlite:///{ledger}")] == list(range(6))
    work(None, folder, ledger, 2)  # fewer need none
    assert len(ledger_of(f"sqlite:///{ledger}")) == 6


def test_the_ledger_carries_records_to_machines_that_share_nothing_else(study, tmp_path):
    folder, ledger = study
    work(None, folder, ledger, 6)
    elsewhere = tmp_path / "elsewhere" / STUDY
    work(None, elsewhere, ledger, 6)
    assert conclude(elsewhere, 6) == conclude(folder, 6)
    assert not (elsewhere.parent / "ran.log").exists()
    assert [path.name for path in sorted(elsewhere.iterdir())] == [path.name for path in sorted(folder.iterdir())]


def test_a_worker_that_finishes_while_another_looks_is_not_taken_for_dead(study):
    folder, _ = study

    class Finishing(OneWorker):
        """Looks whether a trial is held; its worker finishes it, and lets go, just before."""

        def __init__(self):
            pass

        def is_held(self, index):
            first.finish()
            return False

    entries = optuna.create_study(direction="maximize")
    first, second = (Queue(entries, Finishing(), folder, 1) for _ in range(2))
    assert first.take(silent) == 0
    write_trial(*make_trial(0), folder)
    assert second.take(silent) is None
    assert [entry.state.name for entry in entries.get_trials()] == ["COMPLETE"]


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("journal.log", "--storage is no URL of a database; expected sqlite:///FILE"),
        ("journal:///a.log", "--storage journal:///a.log is not supported; expected"),
        ("mysql://me:secret@host/a", r"--storage mysql://me:\*\*\*@host/a is not supported"),
        ("sqlite://", "--storage sqlite:// is not supported"),
        ("sqlite:///:memory:", "--storage sqlite:///%3Amemory%3A is not supported"),
        ("sqlite:///{}/text.db", r"cannot be opened \(file is not a database\)"),
        (
            "postgresql://me:secret@127.0.0.1:1/a",
            r"--storage postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/a cannot be op",
        ),
    ],
)
def test_other_storages_are_refused_in_one_sentence(storage, message, study, tmp_path):
    (tmp_path / "text.db").write_text("text " * 1000)
    if storage.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(UserError, match=message) as caught, open_queue(storage.format(tmp_path), STUDY, *study, 3):
        pass
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_damaged_ledger_of_ones_own_may_be_moved_away(study):
    study[1].parent.mkdir(parents=True, exist_ok=True)
    study[1].write_text("text " * 1000)
    message = r"the ledger '.*' cannot be opened \(file is not a database\); move it away, the records have all it says"
    with pytest.raises(UserError, match=message), open_queue(None, STUDY, *study, 3):
        pass


def test_only_the_queue_imports_optuna():
    importers = set()
    for folder in ("wsolbench", "protocols", "methods"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                importers |= {path.name for name in names if name.partition(".")[0] == "optuna"}
    assert importers == {"tuning.py"}


# --- the choice -------------------------------------------------------------------------------------------------------


def test_a_choice_follows_from_the_records(study):
    folder, _ = study
    write_trials(folder, 8)
    choice = conclude(folder, 8)
    scores = [make_trial(index)[0].score for index in range(8)]
    assert choice["scores"] == scores
    assert scores[FAILING] is None
    assert choice["errors"] == {str(FAILING): "loss term 'cls' was not finite at step 6"}
    best = max(range(8), key=lambda index: scores[index] or 0)
    assert (choice["chosen"]["trial"], choice["chosen"]["score"]) == (best, scores[best])
    assert choice["chosen"]["wins"] == choice["wins"][best] > 0.5
    assert [point["k"] for point in choice["best_of"]] == list(range(1, 9))
    assert choice["best_of"][-1]["mean"] == pytest.approx(scores[best], abs=1e-4)
    assert choice["training_s"] == 20
    assert conclude(folder, 3)["trials"] == 3
    path = write_choice(choice, folder)
    assert json.loads(path.read_text())["request"] == make_trial(best)[0].request
    lines = path.with_suffix(".md").read_text().splitlines()
    assert lines == describe_choice(choice, folder).splitlines()
    assert lines[0].startswith(
        f"Chosen: trial {best} of 8 (lr={0.001 * (best + 1):g}), max_box_acc_v2 {scores[best]:.2f}"
    )
    assert sum(line.startswith("| 4 | failed: loss term 'cls' was not finite") for line in lines) == 1


def test_trials_are_on_no_leaderboard(study, tmp_path):
    write_trials(study[0], 2)
    records, warnings = load_records(tmp_path)
    assert records == []
    assert warnings == [f"there is no record below '{tmp_path}'; `wsolbench run` writes them to DATASET/records"]


def spoil(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (lambda folder: (folder / "1.json").unlink(), "lacks trials 1 of 3; run `wsolbench tune` to its end"),
        (lambda folder: spoil(folder, "1.json", lambda raw: raw[:-20]), "1.json' is no usable .* it is not valid JSON"),
        (
            lambda folder: spoil(folder, "1.json", lambda raw: raw.replace(b'"rate": 0.01', b'"rate": 0.5')),
            "was it edited",
        ),
        (
            lambda folder: spoil(folder, "1.json", lambda raw: raw.replace(b'"error": null', b'"error": "no"')),
            "either a",
        ),
        (
            lambda folder: spoil(folder, "1.json", lambda raw: raw.replace(b'"images"', b'"pictures"')),
            "'images' is miss",
        ),
        (lambda folder: (folder / "2.json").rename(folder / "1.json"), r"lacks trials 2 of 3"),
        (lambda folder: (folder / "2.json").write_bytes((folder / "1.json").read_bytes()), "was it renamed"),
        (lambda folder: spoil(folder, "1.npz", lambda raw: raw[:40]), "1.npz' has no usable hits of trial 1"),
        (
            lambda folder: write_trial(make_trial(1)[0], make_trial(1, images=19)[1], folder),
            "hits of 19 images, its rec",
        ),
        (
            lambda folder: spoil(folder, "1.npz", lambda raw: (folder / "0.npz").read_bytes()),
            "has hits that score .*, its record says .*; was one of them edited or copied",
        ),
        (
            lambda folder: spoil(folder, "1.npz", lambda raw: b"text, more than a few bytes"),
            r"\(File is not a zip file\)",
        ),
        (
            lambda folder: write_trial(
                *make_trial(1, criterion={"metric": "max_box_acc_v2", "split": "train-fullsup", "slice": "boxes_5_50"}),
                folder,
            ),
            "were not all scored on the same images",
        ),
    ],
)
def test_what_cannot_be_concluded_is_one_sentence(study, spoiled, message):
    folder, _ = study
    write_trials(folder, 3)
    spoiled(folder)
    with pytest.raises(UserError, match=message) as caught:
        conclude(folder, 3)
    assert "\n" not in str(caught.value)


def test_trials_that_all_failed_choose_nothing(study):
    folder, _ = study
    for index in range(2):
        record = make_trial(index, score=None, error="it diverged", metrics={})[0]
        write_trial(record, None, folder)
    with pytest.raises(RunError, match="all 2 trials failed, the first with: it diverged"):
        conclude(folder, 2)


def test_a_trial_survives_its_file(study):
    folder, _ = study
    record, hits = make_trial(2, history=[{"cls": float("nan")}])
    read = read_trial(write_trial(record, hits, folder))
    assert read.history == [{"cls": None}]
    assert TrialRecord.from_json(read.to_json()) == read
    assert trial_path(folder, 2).name == "2.json"


# --- run --config -----------------------------------------------------------------------------------------------------


@pytest.fixture
def choice(study):
    """Return the path of a choice."""
    write_trials(study[0], 3)
    return write_choice(conclude(study[0], 3), study[0])


def test_a_choice_fills_a_request_and_options_go_on_top(choice):
    chosen = json.loads(choice.read_text())["request"]
    request = with_choice(Request(method="fake", dataset="parts", recipe={"seed": 3}), choice)
    assert request.settings == chosen["settings"]
    assert request.recipe == {"epochs": 2, "feature_map": 8, "seed": 3}
    assert (request.backbone, request.precision, request.data_options) == ("resnet-tiny", "fp32", {"train": "64"})
    asked = Request(
        method="fake",
        dataset="parts",
        settings={"batch_size": "16"},
        recipe={"seed": 0, "epochs": 9},
        precision="bf16",
        weights="none",
    )
    request = with_choice(asked, choice)
    assert (request.settings["batch_size"], request.recipe["epochs"]) == ("16", 9)
    assert (request.precision, request.weights) == ("bf16", "none")


def test_a_run_of_a_choice_says_what_chose_it(choice):
    tuned, written = with_choice(Request(method="fake", dataset="parts"), choice).tuned, json.loads(choice.read_text())
    assert (tuned.study, tuned.trials, tuned.trial) == (written["study"], written["trials"], written["chosen"]["trial"])
    assert (tuned.drawn, tuned.images) == (written["chosen"]["drawn"], written["images"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "other"}, "was tuned for method fake, not other"),
        ({"dataset": "cub"}, "was tuned for dataset parts, not cub"),
        ({"backbone": "resnet50"}, "was tuned for backbone resnet-tiny, not resnet50"),
        ({"preset": "a"}, "was tuned without a preset; leave out --preset a"),
        ({"settings": {"lr": "0.5"}}, "lr was chosen by --config .*; leave it out"),
        ({"recipe": {"seed": None}}, "--seed .* is that of the chosen trial, which is never reported"),
    ],
)
def test_a_choice_is_not_for_other_runs(choice, changes, message):
    if "recipe" in changes:
        changes = {"recipe": {"seed": json.loads(choice.read_text())["chosen"]["seed"]}}
    with pytest.raises(UserError, match=message):
        with_choice(Request(**{"method": "fake", "dataset": "parts", **changes}), choice)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (None, {"trials": "3"}, "'trials' is of the wrong kind"),
        (None, {"request": None}, "'request' is of the wrong kind"),
        ("chosen", {"seed": None}, "'seed' is of the wrong kind"),
        ("request", {"method": 3}, "'method' is of the wrong kind"),
        ("request", {"settings": {"lr": "0.5"}}, r"it asks for lr=0\.5, but 0\.00\d was chosen; was it edited"),
        ("request", {"settings": {}}, r"it asks for lr=None, but 0\.00\d was chosen; was it edited"),
    ],
)
def test_an_edited_choice_is_refused(choice, part, change, message):
    body = json.loads(choice.read_text())
    (body if part is None else body[part]).update(change)
    choice.write_text(json.dumps(body))
    with pytest.raises(UserError, match=rf"cannot be used: {message}.*; expected a choice\.json"):
        with_choice(Request(method="fake", dataset="parts"), choice)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"trial_schema": 2}', '{"trial_schema": 1, "request": {}}'])
def test_an_unusable_choice_is_one_sentence(choice, content):
    path = choice if content is not None else choice.with_name("none.json")
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"--config .* cannot be used: .*; expected a choice.json written by"):
        with_choice(Request(method="fake", dataset="parts"), path)
