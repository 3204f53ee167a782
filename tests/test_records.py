"""Records: identity, schema, files. Golden values come from an independent tool or are derived by hand."""

import json
import os
import shutil
import subprocess
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_examples import make_empty_slice, make_identity, make_null, make_provenance, make_record, make_slice

from wsolbench import record_schema
from wsolbench.errors import UserError
from wsolbench.files import atomic_write
from wsolbench.records import (
    Provenance,
    Record,
    Slice,
    canonical,
    find_record,
    git_state,
    identity_hash,
    load_records,
    record_path,
    write_hits,
    write_record,
)


def full_record():
    return make_record(
        "has",
        config={"cell": 4, "drop_rate": 0.5},
        dataset="parts/context",
        fields={
            "thresholds": {"gt_known": 0.123},
            "absent": {"top5_cls": "the dataset has 2 classes"},
            "headline": "boxes_5_50",
            "slices": {"boxes_5_50": make_slice(), "empty": make_empty_slice()},
            "history": [{"loss": 0.1 + 0.2}, {"loss": None}],
        },
    )


def test_golden_hash():
    # printf '%s' '{"config":{"cell":4},"lr":0.01,"names":["a","\u00e9"],"ok":true}' | sha256sum
    identity = {"ok": True, "lr": 0.01, "config": {"cell": 4}, "names": ("a", "é")}
    assert identity_hash(identity) == "a079a9462f68499e"


def test_whole_floats_are_integers_and_booleans_are_not():
    assert identity_hash({"a": 1}) == identity_hash({"a": 1.0})
    assert canonical(-0.0) == "0"
    assert len({canonical({"a": value}) for value in (1, True, "1", 1.5, None, [1])}) == 6


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, object(), np.int64(3)])
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match=r"identity\.recipe"):
        identity_hash({"recipe": value})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_json(value):
    text = canonical([value])
    assert json.loads(text) == [value]
    assert canonical(json.loads(text)) == text


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_order_does_not_matter(values):
    assert identity_hash(values) == identity_hash(dict(reversed(values.items())))


def test_a_record_survives_json():
    record = full_record()
    assert Record.from_json(record.to_json()) == record


def test_equal_records_are_equal_files():
    record = full_record()
    other = Record.from_json(json.dumps(json.loads(record.to_json(), object_pairs_hook=lambda p: dict(reversed(p)))))
    assert other.to_json() == record.to_json()
    assert record.to_json().startswith('{\n "schema": 1,\n "run_id": "' + record.run_id)
    assert record.to_json().endswith("}\n")


def test_every_field_is_checked():
    for kind, checks in ((Record, "_RECORD"), (Slice, "_SLICE"), (Provenance, "_PROVENANCE")):
        assert set(getattr(record_schema, checks)) == {field.name for field in fields(kind)}


def test_a_history_value_that_is_not_finite_becomes_null():
    record = make_record(fields={"history": [{"loss": 1.0, "share": float("nan")}]})
    assert Record.from_json(record.to_json()).history == [{"loss": 1.0, "share": None}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.001, 100.001])
def test_a_metric_that_is_no_percentage_is_not_written(value, tmp_path):
    with pytest.raises(ValueError, match=r"'metrics\.max_box_acc_v2' is .*, expected a number in 0\.\.100"):
        write_record(make_record(v2=value), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"thresholds": {"gt_known": 1.0}}, r"'thresholds.gt_known' is 1.0, expected a number in \[0, 1\)"),
        ({"slices": {"a": make_slice(v2=101.0)}}, r"'slices.a.metrics.max_box_acc_v2' is 101.0"),
        ({"slices": {"a": make_slice(t=-0.5)}}, r"'slices.a.thresholds.max_box_acc_v2' is -0.5"),
        ({"slices": {"a": make_slice(images=-1)}}, r"'slices.a.images' is -1, expected a whole number, at least 0"),
        ({"images": {}}, r"'images' is \{\}, expected the number of images of at least one split"),
        ({"images": {"test": 0}}, r"'images.test' is 0, expected a whole number of images, at least 1"),
        ({"headline": "boxes"}, r"'headline' is 'boxes', expected the name of a slice or an empty text"),
        ({"headline": None}, r"'headline' is None, expected a text"),
        ({"map_size": (0, 4)}, r"'map_size' is \[0, 4\], expected \[height, width\]"),
    ],
)
def test_what_is_out_of_range_is_not_written(fields, message):
    with pytest.raises(ValueError, match=message):
        make_record(fields=fields).to_json()


@pytest.mark.parametrize("value", [0, 0.0, 100, 100.0])
def test_both_ends_of_the_percentages_are_written(value):
    assert Record.from_json(make_record(v2=value).to_json()).metrics == {"max_box_acc_v2": value}


def damaged(change):
    data = json.loads(full_record().to_json())
    change(data)
    return json.dumps(data)


DAMAGES = {
    "not valid JSON": full_record().to_json()[:200],
    "is not a wsolbench record": "[1, 2]",
    "it has no 'schema'": '{"loss": 1}',
    "schema version is 2, this wsolbench reads 1": damaged(lambda data: data.update(schema=2)),
    "the field 'metrics' is missing": damaged(lambda data: data.pop("metrics")),
    "unknown field 'note'": damaged(lambda data: data.update(note="hello")),
    "the field 'identity.recipe' is missing": damaged(lambda data: data["identity"].pop("recipe")),
    "'identity.recipe.seed' is None": damaged(lambda data: data["identity"]["recipe"].pop("seed")),
    "'metrics.max_box_acc_v2' is nan, expected a number in 0..100": damaged(
        lambda data: data["metrics"].update(max_box_acc_v2=float("nan"))
    ),
    "'metrics' is 3, expected an object": damaged(lambda data: data.update(metrics=3)),
    "'metrics.max_box_acc_v2' is '50'": damaged(lambda data: data["metrics"].update(max_box_acc_v2="50")),
    "'slices.empty.images' is 0.5": damaged(lambda data: data["slices"]["empty"].update(images=0.5)),
    "'provenance.dirty' is 'no', expected true or false or null": damaged(lambda d: d["provenance"].update(dirty="no")),
    "'trainable' is 1, expected true or false": damaged(lambda data: data.update(trainable=1)),
    "'map_size' is [16], expected [height, width]": damaged(lambda data: data.update(map_size=[16])),
    "'history[0]' is [], expected an object": damaged(lambda data: data.update(history=[[]])),
    "the field 'slices.empty.absent' is missing": damaged(lambda data: data["slices"]["empty"].pop("absent")),
    "'slices.boxes_5_50.thresholds.max_box_acc_v2' is 2": damaged(
        lambda data: data["slices"]["boxes_5_50"]["thresholds"].update(max_box_acc_v2=2)
    ),
    "'images.test' is 0": damaged(lambda data: data["images"].update(test=0)),
    "'headline' is 'other'": damaged(lambda data: data.update(headline="other")),
    "unknown field 'two\\nlines'": damaged(lambda data: data.update({"two\nlines": 1})),
    "'metrics.max_box_acc_v2' is 1000": damaged(lambda data: data["metrics"].update(max_box_acc_v2=10**400)),
    "'thresholds.gt_known' is 1000": damaged(lambda data: data["thresholds"].update(gt_known=10**400)),
    "'history[0].loss' is 1000": damaged(lambda data: data["history"][0].update(loss=10**400)),
    "'provenance.wall_s' is 1000": damaged(lambda data: data["provenance"].update(wall_s=10**400)),
    "not valid JSON (Exceeds the limit": '{"schema": 1' + 5000 * "0" + "}",
    "it is nested too deeply": 100_000 * "[",
    "nested too deeply for a record": '{"schema": 1, "metrics": ' + 100_000 * '{"a":',
    "schema version is [[[[[[[...]]]]]]]": '{"schema": ' + 50 * "[" + 50 * "]" + "}",
    "'identity.extractor.point' is None": damaged(lambda data: data["identity"].update(extractor={"name": "gradcam"})),
    "'identity.extractor' is 'gradcam', expected an object": damaged(
        lambda data: data["identity"].update(extractor="gradcam")
    ),
    "'identity.supervision.threshold_images' is -1": damaged(
        lambda data: data["identity"].update(supervision={"kind": "masks", "train_images": 8, "threshold_images": -1})
    ),
    "was it edited?": damaged(lambda data: data["identity"]["recipe"].update(seed=7)),
}


def test_write_and_load(tmp_path):
    record = full_record()
    path = write_record(record, tmp_path)
    assert path == tmp_path / "parts" / "context" / "records" / f"{record.run_id}.json"
    assert path == record_path(record.identity, tmp_path)
    for folder in (tmp_path, tmp_path / "parts", tmp_path / "parts" / "context", path.parent):
        assert load_records(folder) == ([record], [])


@pytest.mark.parametrize("name", ["../parts", "/parts", "parts//a", ""])
def test_a_dataset_name_cannot_leave_the_results(name, tmp_path):
    with pytest.raises(ValueError, match="cannot be a folder of results"):
        record_path(make_identity(dataset=name), tmp_path)


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_damaged_record_is_named_and_skipped(reason, tmp_path):
    good = make_record()
    write_record(good, tmp_path)
    folder = tmp_path / "parts" / "records"
    (folder / f"{full_record().run_id}.json").write_text(DAMAGES[reason])
    records, warnings = load_records(tmp_path)
    assert records == [good]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"parts/records/{full_record().run_id}.json was skipped: ")
    assert reason in warnings[0]
    assert "\n" not in warnings[0]
    assert len(warnings[0]) < 300


def test_an_identity_that_is_too_deep_to_hash_is_skipped(tmp_path):
    data = json.loads(full_record().to_json())
    data["identity"]["config"] = "HERE"
    deep = json.dumps(data).replace('"HERE"', 900 * '{"a":' + "1" + 900 * "}")
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").write_text(deep)
    assert load_records(tmp_path) == ([], ["records/a.json was skipped: it is nested too deeply for a record"])


def test_renamed_repeated_binary_and_unreadable_files_are_named(tmp_path):
    path = write_record(make_record(), tmp_path)
    shutil.copy(path, path.with_name("b.json"))
    copy = tmp_path / "x" / "records" / path.name
    copy.parent.mkdir(parents=True)
    shutil.copy(path, copy)
    path.with_name("c.json").write_bytes(b"\xff\xfe\x00")
    path.with_name("d.json").mkdir()
    records, warnings = load_records(tmp_path)
    assert len(records) == 1
    assert warnings == [
        f"parts/records/b.json was skipped: its name should be its run id, {path.name}; was it renamed?",
        "parts/records/c.json was skipped: it is not text in UTF-8",
        "parts/records/d.json was skipped: it cannot be read (Is a directory)",
        f"x/records/{path.name} was skipped: it repeats parts/records/{path.name}",
    ]


def test_a_torn_temporary_file_is_ignored(tmp_path):
    path = write_record(make_record(), tmp_path)
    (path.parent / f".{path.name}.123456.tmp").write_text(path.read_text()[:50])
    write_hits(path.with_suffix(".npz"), hits=np.zeros(3, np.uint8))
    assert load_records(tmp_path) == ([make_record()], [])


def test_an_empty_folder_warns_and_a_missing_one_is_the_users_mistake(tmp_path):
    records, warnings = load_records(tmp_path)
    assert records == []
    assert len(warnings) == 1
    assert warnings[0].startswith("there is no record below")
    with pytest.raises(UserError, match="is no folder"):
        load_records(tmp_path / "missing")


def test_hits_come_back(tmp_path):
    hits = np.arange(64, dtype=np.uint8).reshape(2, 32)
    write_hits(tmp_path / "a" / "b.npz", hits=hits, maxima=np.array([255], np.uint8))
    with np.load(tmp_path / "a" / "b.npz") as loaded:
        assert sorted(loaded) == ["hits", "maxima"]
        np.testing.assert_array_equal(loaded["hits"], hits)


def test_the_old_file_survives_a_failure_and_nothing_is_left_behind(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    atomic_write(path, b"old")

    def fail(*_):
        raise OSError("disk is full")

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(OSError, match="disk is full"):
                atomic_write(path, b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["a.json"]


def test_others_may_read_what_the_umask_allows(tmp_path):
    atomic_write(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_by_path_and_by_the_beginning_of_the_run_id(tmp_path):
    record = make_record()
    path = write_record(record, tmp_path)
    write_record(make_record(seed=1), tmp_path)
    assert find_record(tmp_path, record.run_id) == record
    assert find_record(tmp_path, record.run_id[:6]) == record
    assert find_record(tmp_path / "elsewhere", str(path)) == record


def test_mistakes_in_naming_a_run(tmp_path):
    paths = [write_record(make_record(seed=seed), tmp_path) for seed in range(10)]
    with pytest.raises(UserError, match="has a run id that begins with 'xyz'"):
        find_record(tmp_path, "xyz")
    with pytest.raises(UserError, match=f"10 run ids begin with '': {min(paths).stem}, .*, ...; write more"):
        find_record(tmp_path, "")
    paths[0].write_text("{")
    with pytest.raises(UserError, match="is no usable record: it is not valid JSON"):
        find_record(tmp_path, paths[0].stem)
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        find_record(tmp_path, str(tmp_path / "none.json"))


needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "code.py")
    git(
        tmp_path,
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "commit.gpgsign=false",
        "commit",
        "--quiet",
        "-m",
        "first",
    )
    return tmp_path


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@needs_git
def test_clean_then_results_then_code(repository):
    commit = git(repository, "rev-parse", "HEAD")
    assert git_state(repository) == (commit, False)
    (repository / "results").mkdir()
    (repository / "results" / "a.json").write_text("{}")
    assert git_state(repository) == (commit, False)
    (repository / "new.py").write_text("2")
    assert git_state(repository) == (commit, True)
    (repository / "new.py").unlink()
    (repository / "code.py").write_text("3")
    assert git_state(repository) == (commit, True)


@needs_git
def test_inside_another_repository_and_outside_any(repository, monkeypatch):
    (repository / "site-packages").mkdir()
    assert git_state(repository / "site-packages") == (None, None)
    assert git_state(repository / "missing") == (None, None)
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) == (None, None)


def test_null_record_needs_no_rate():
    origin = make_provenance(commit=None, dirty=None, train_images_per_s=None)
    record = make_null(fields={"provenance": origin})
    assert Record.from_json(record.to_json()).provenance == origin
