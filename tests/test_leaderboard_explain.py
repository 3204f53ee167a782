"""``explain``: the files behind a run, the rows that it feeds, and why a run failed; how many parameters it trained."""

import pytest
from leaderboard_examples import failed
from record_examples import make_empty_slice, make_null, make_provenance, make_record, make_slice, squeeze

from wsolbench.backbones.registry import build_backbone
from wsolbench.errors import UserError
from wsolbench.failures import write_failure
from wsolbench.leaderboard.explain import explain, explain_run
from wsolbench.method import count_parameters
from wsolbench.network import build_network
from wsolbench.plugins import find_methods, load_method
from wsolbench.recipe import Recipe
from wsolbench.records import read_record, write_record
from wsolbench.trained import recorded_parameters


@pytest.mark.parametrize("dataset", ["parts", "parts/context"])
def test_files_and_rows(tmp_path, dataset):
    record = make_record("has", dataset=dataset, fields={"parameters": 1_234_567})
    path = write_record(record, tmp_path)
    write_record(make_record("has", 1, dataset=dataset), tmp_path)
    write_record(make_null(dataset=dataset), tmp_path)
    path.with_suffix(".npz").touch()
    (tmp_path / "runs" / record.run_id).mkdir(parents=True)
    (tmp_path / "runs" / record.run_id / "model.pt").touch()
    text = explain_run(tmp_path, record.run_id[:6])
    assert text.startswith(explain(read_record(path)))
    assert "\nparameters: 1,234,567\n" in text
    runs = tmp_path / "runs" / record.run_id
    assert text.endswith(
        f"record: {path}\n"
        f"hits: {path.with_suffix('.npz')}\n"
        f"maps of test: {runs / 'test.npz'} (not there)\n"
        f"maps of train-fullsup: {runs / 'train-fullsup.npz'} (not there)\n"
        f"network: {runs / 'model.pt'}\n"
        f"row: has, n = 2, of the table {dataset}, resnet-tiny, 64×64 px, maps 16×16\n"
    )
    folder = tmp_path / dataset
    assert explain_run(tmp_path, str(path)) == explain_run(folder, record.run_id) == text


def test_a_null_row_has_hits_alone_and_stands_in_every_table_of_its_images(tmp_path):
    for backbone in ("resnet-tiny", "resnet18"):
        write_record(make_record(backbone=backbone), tmp_path)
    write_record(make_null(), tmp_path)
    text = explain_run(tmp_path, make_null().run_id)
    assert "maps of" not in text
    assert text.count("row: center, n = 1, of the table parts, resnet") == 2


def test_post_hoc_maps_have_no_network(tmp_path):
    record = make_record(extractor={"name": "gradcam", "point": "x"})
    write_record(record, tmp_path)
    text = explain_run(tmp_path, record.run_id)
    assert "network:" not in text
    assert "maps of test:" in text


def test_a_failure_by_its_run_id(tmp_path):
    write_record(make_record(), tmp_path)
    lost = failed("has", 3, smaller="0123456789abcdef", config={"cell": 4})
    path = write_failure(lost, tmp_path)
    text = explain_run(tmp_path, lost.run_id[:8])
    assert text == (
        f"run {lost.run_id}: has on parts, backbone resnet-tiny\n"
        "failed (2 tried, last on 2030-01-02T03:04:05+00:00, cpu): out of memory\n"
        "in its place, with a smaller batch: run 0123456789abcdef\n"
        "config: cell=4\n"
        "dataset_options: (none)\n"
        "recipe: epochs=12, image_size=64, seed=3\n"
        f"file: {path}\n"
        f"log: {tmp_path / 'logs/a.txt'}\n"
        "\nto run it again:\n  wsolbench run has parts --seed 3\n"
    )


def test_no_such_run(tmp_path):
    write_record(make_record(), tmp_path)
    write_failure(failed("has"), tmp_path)
    with pytest.raises(UserError, match="has a run id that begins with 'zz'"):
        explain_run(tmp_path, "zz")


@pytest.mark.parametrize("name", sorted(find_methods()))
def test_parameters_of_a_record_are_those_of_the_method_that_is_built(name):
    kind, classes = load_method(name), 7
    config = kind.defaults("resnet-tiny")
    recipe = Recipe(backbone="resnet-tiny", image_size=64, feature_map=4)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(config).items()}
    record = make_record(name, config=plain, recipe=vars(recipe))
    built = kind(build_network(build_backbone("resnet-tiny", 4), classes), config)
    assert recorded_parameters(record, classes) == count_parameters(built) > 10_000


def test_parameters_of_a_plugin_are_not_known():
    assert recorded_parameters(make_record("cam", plugin="ab"), 7) is None
    assert recorded_parameters(make_record("not-a-method"), 7) is None


def test_explain_says_what_is_behind_a_number(tmp_path):
    record = make_record(
        "has",
        config={"cell": 4},
        fields={
            "thresholds": {"max_box_acc_v2": 0.25},
            "absent": {"top5_cls": "2 classes"},
            "slices": {"boxes_5_50": make_slice(), "small": make_empty_slice()},
            "provenance": make_provenance(dirty=True),
        },
    )
    text = explain(record)
    for part in (
        f"run {record.run_id}: has on parts, backbone resnet-tiny",
        "config: cell=4",
        "recipe: epochs=12, image_size=64, seed=0",
        "test: 1,000 images, fingerprint cccccccccccccccc",
        "constant maps: 3",
        "2 classes",
        "commit: 0123456789abcdef0123456789abcdef01234567 with uncommitted changes",
        "torch=2.15.0",
        "61.5 s on cpu, 2 threads, 1,000 training images/s",
        "  git checkout 0123456789abcdef0123456789abcdef01234567  # its uncommitted changes are not recorded",
        "\n  wsolbench run cam parts --seed 0\n",
    ):
        assert part in text
    rows = squeeze(text)
    assert "max_box_acc_v2 50.00 0.250" in rows
    assert "max_box_acc_v2 on boxes_5_50 (612 images) 41.50 0.125" in rows
    assert "max_box_acc_v2 on small (0 images) (no test image is in this slice) –" in rows


def test_explain_where_little_is_known():
    origin = make_provenance(commit=None, dirty=None, train_images_per_s=None, peak_memory_mb=12.4)
    text = explain(make_null(fields={"provenance": origin}))
    assert "commit: unknown\n" in text
    assert "git checkout" not in text
    assert "on cpu, 2 threads, peak memory 12 MiB" in text
