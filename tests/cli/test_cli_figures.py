"""The command ``figures``: what it writes, what it says is missing, what it refuses."""

import pytest


@pytest.fixture
def results(finished):
    return finished.request.results


def test_it_draws_what_it_can_and_says_what_is_missing(cli, results, finished, tmp_path):
    done = cli("figures", results, "--out", "drawn", "--formats", "svg,png,pdf", "--images", 2)
    assert (done.status, done.err) == (0, "")
    folder = tmp_path / "drawn" / "parts-fullsup-16-test-16-train-64-resnet-tiny-64x64-px-maps-16x16"
    names = ("qualitative", "qualitative-one", "curves", "iou", "training", "accuracy-localisation", "seeds")
    expected = {f"{name}.{ending}" for name in names for ending in ("svg", "png", "pdf", "md")}
    assert {path.name for path in folder.iterdir()} == expected
    lines = done.out.splitlines()
    assert lines[0].endswith("qualitative.svg, .png, .pdf, .md")
    assert [line for line in lines if not line.startswith("wrote ")] == [
        "not drawn: best-of-k of parts (fullsup=16, test=16, train=64), resnet-tiny, 64×64 px, maps 16×16: "
        "its rows were not tuned"
    ]
    assert finished.record.run_id in (folder / "iou.md").read_text()


def test_the_folder_of_one_dataset_is_enough(cli, results, tmp_path):
    done = cli("figures", results / "parts", "--out", "drawn", "--only", "iou", "--only", "seeds", "--methods", "cam")
    assert done.status == 0, done.err
    assert {path.stem for path in (tmp_path / "drawn").rglob("*.svg")} == {"iou", "seeds"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--only", "curve"],
            "unknown figure 'curve'; did you mean 'curves'? Choices: accuracy-localisation, best-of-k",
        ),
        (["--formats", "svg,gif"], "--formats gif is not known; expected some of svg, png, pdf"),
        (["--formats", ","], "--formats  is not known; expected some of svg, png, pdf"),
        (["--dataset", "cub"], "unknown dataset 'cub'; Choices: parts"),
        (
            ["--data-option", "train=9"],
            "no table has the --data-option that was asked for; there are: parts (fullsup=16",
        ),
        (["--methods", "camm"], "unknown method 'camm'; did you mean 'cam'? Choices: cam"),
        (
            ["--only", "best-of-k"],
            "no figure was drawn; best-of-k of parts (fullsup=16, test=16, train=64), resnet-tiny",
        ),
    ],
)
def test_what_it_refuses(refused, results, words, said, tmp_path):
    assert refused("figures", results, *words).startswith(f"error: {said}")
    assert not (tmp_path / "figures").exists()


def test_folders_that_cannot_be_used(refused, results, tmp_path):
    assert "'nowhere' is no folder; expected results written by `wsolbench run`" in refused("figures", "nowhere")
    (tmp_path / "empty").mkdir()
    assert "there is no record below 'empty'" in refused("figures", "empty")
    (tmp_path / "file").write_text("x")
    assert "--out file cannot be written" in refused("figures", results, "--out", "file")
