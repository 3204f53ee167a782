"""Running the command line, in this process or in one of its own, always in a temporary folder."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

TINY = ["--data-option", "train=64", "--data-option", "fullsup=16", "--data-option", "test=16"]
FAST = ["--backbone", "resnet-tiny", "--epochs", "2", "--precision", "fp32", "--device", "cpu", "--quiet"]


@pytest.fixture
def arguments():
    """Return the options that make a run on ``parts`` take about a second."""
    return SimpleNamespace(tiny=TINY, fast=FAST)


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Return a function that runs ``wsolbench ...`` here: exit status, standard output, standard error."""
    from wsolbench.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["wsolbench", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(status=left.value.code or 0, out=out, err=err)

    return run


@pytest.fixture
def refused(cli):
    """Return a function that expects one sentence and status 2, and returns the sentence."""

    def run(*words):
        done = cli(*words)
        assert done.status == 2, done.err + done.out
        lines = [line for line in done.err.splitlines() if " left" not in line]  # progress may have begun
        assert len(lines) == 1, done.err
        assert lines[0].startswith("error: ")
        assert "Traceback" not in done.err
        assert "unexpected" not in done.err
        return lines[0]

    return run


@pytest.fixture
def process(tmp_path):
    """Return a function that runs ``python ...`` in a process of its own, in the temporary folder."""

    def run(*words, environment=None, check=None):
        import os

        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=tmp_path,
            env=os.environ | (environment or {}),
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def archives():
    """Return the functions that write a tiny ImageNet: ``tiny_files``, ``write_zip``, ``jpeg``."""
    path = Path(__file__).parents[1] / "data" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_archives", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def metadata(tmp_path):
    """Write published split files with five test and four train-fullsup images; return ids by split and the folder."""
    ids = {"test": ["a/1.jpg", "a/2.jpg", "b/3, third.jpg", "b/4.jpg", "5"], "val": ["v1", "v2", "v3", "w/v4"]}
    folder = tmp_path / "metadata"
    for split, names in ids.items():
        (folder / split).mkdir(parents=True)
        files = {
            "image_ids.txt": names,
            "class_labels.txt": [f"{name},{index % 2}" for index, name in enumerate(names)],
            "image_sizes.txt": [f"{name},100,80" for name in names],
            "localization.txt": [f"{name},{10 * index},5,{60 + 5 * index},70" for index, name in enumerate(names)],
        }
        for name, lines in files.items():
            (folder / split / name).write_text("".join(f"{line}\n" for line in lines))
    return SimpleNamespace(folder=folder, test=ids["test"], fullsup=ids["val"])


@pytest.fixture
def save_maps(tmp_path):
    """Return a function that writes a random map for each id into a folder."""

    def write(ids, name="maps", size=(7, 7), seed=0):
        rng = np.random.default_rng(seed)
        for image in ids:
            path = tmp_path / name / f"{image}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, rng.standard_normal(size))
        return tmp_path / name

    return write
