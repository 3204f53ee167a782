"""Several workers on a real PostgreSQL server on loopback; skipped, with a reason, where there is none."""

import multiprocessing
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from trial_examples import FAILING, STUDY, ledger_of, work, write_trials

from wsolbench.trials import conclude
from wsolbench.tuning import open_queue

UNPRIVILEGED = ("postgres", "nobody")


def find_programs():
    """Return initdb and pg_ctl, from the path or the folders where distributions put them."""
    usual = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) + [Path("/usr/local/pgsql/bin")]
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, usual)])
    programs = [shutil.which(name, path=path) for name in ("initdb", "pg_ctl")]
    if None in programs:
        pytest.skip("there is no PostgreSQL server here: initdb and pg_ctl are not to be found")
    return programs


def server_user():
    """Return how to run the server: as another user where this one is root, which the server refuses."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        if name in known:
            return {"user": known[name].pw_uid, "group": known[name].pw_gid, "extra_groups": []}
    pytest.skip(f"PostgreSQL does not run as root, and there is no user {' or '.join(UNPRIVILEGED)}")


@pytest.fixture(scope="module")
def server():
    """Start a server in a temporary folder; return its URL."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra postgres)")
    initdb, pg_ctl = find_programs()
    who = server_user()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not below pytest's folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="wsolbench-pg-"))
    if who:
        os.chown(folder, who["user"], who["group"])

    def call(*words):
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, **who)
        if done.returncode != 0:
            pytest.skip(f"PostgreSQL does not start here: {done.stderr.strip() or done.stdout.strip()}")

    try:
        call(initdb, "-D", "data", "-U", "tuner", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        settings = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
        call(pg_ctl, "-D", "data", "-w", "-l", "log", "-o", settings, "start")
        try:
            yield f"postgresql://tuner@127.0.0.1:{port}/postgres"
        finally:
            call(pg_ctl, "-D", "data", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def processes():
    """Return a context whose processes start fast: what they import is imported once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trial_examples"])
    return context


def with_driver(url):
    """Return the URL as SQLAlchemy wants it."""
    return url.replace("postgresql://", "postgresql+psycopg://")


def test_four_workers_two_of_them_killed(server, processes, tmp_path):
    folder = tmp_path / "tuning" / STUDY
    # All four start on an empty database at once; the last trial's worker dies when nobody is left but waiting ones.
    deaths = (("training", 6), ("training", 29))
    workers = [
        processes.Process(
            target=work, args=(server, folder, None, 30), kwargs={"deaths": deaths, "pause": 0.05, "poll": 0.1}
        )
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(600)
    assert sorted(worker.exitcode for worker in workers) == [-9, -9, 0, 0]
    ran = [line.split() for line in (folder.parent / "ran.log").read_text().splitlines()]
    assert sorted(int(index) for index, _ in ran) == list(range(30))
    assert len({process for _, process in ran}) > 1
    write_trials(tmp_path / "undisturbed" / STUDY, 30)
    assert conclude(folder, 30) == conclude(tmp_path / "undisturbed" / STUDY, 30)
    finished = [(index, "FAIL" if index == FAILING else "COMPLETE") for index in range(30)]
    assert sorted(ledger_of(with_driver(server))) == sorted([*finished, (6, "FAIL"), (29, "FAIL")])


def test_a_live_workers_trial_is_waited_for_and_a_gone_ones_is_taken(server, tmp_path, monkeypatch):
    # Another study in the same database, in one process: two connections are two workers to the server.
    name, lines = "other-resnet-tiny-0123456789abcdef", []
    monkeypatch.setattr("wsolbench.tuning.POLL_S", 0.0)
    first = open_queue(server, name, tmp_path / name, None, 1)
    queue = first.__enter__()
    assert queue.take(lines.append) == 0
    with open_queue(server, name, tmp_path / name, None, 1) as second:

        def say(line):
            lines.append(line)
            first.__exit__(None, None, None)  # the first worker goes without a record

        started = time.monotonic()
        assert second.take(say) == 0
        assert time.monotonic() - started < 10
    assert lines == ["waiting for trials 0 of other workers"]
