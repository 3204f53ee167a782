"""``wsolbench illustrate``: the figure of a finished run, and what it refuses."""

import numpy as np
import pytest
from PIL import Image

from wsolbench.report import illustrate as module
from wsolbench.request import Request


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One finished tiny run each of a method with masks, one with pasted boxes and the supervised baseline."""
    from wsolbench.experiment import run

    results = tmp_path_factory.mktemp("illustrated")
    options = {"train": "64", "fullsup": "16", "test": "16"}
    common = {"dataset": "parts", "backbone": "resnet-tiny", "data_options": options, "recipe": {"epochs": 1}}
    names = ("spg", "cutmix", "fsl")
    return results, {name: run(Request(method=name, results=results, quiet=True, **common)) for name in names}


@pytest.mark.parametrize("name", ["spg", "cutmix", "fsl"])
def test_the_figure_has_a_row_an_image_and_a_column_a_view(cli, runs, tmp_path, name):
    results, records = runs
    picture = tmp_path / "new" / f"{name}.png"
    done = cli("illustrate", str(records[name]), "--results", str(results), "--out", str(picture), "--images", "2")
    assert (done.status, done.err) == (0, "")
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.std() > 20
    lines = {"spg": 2, "cutmix": 3, "fsl": 4}[name]  # the title is broken into as many as the width asks for
    assert pixels.shape[0] == pytest.approx(90 * (1.65 * 2 + 0.45 + 0.15 * lines), abs=2)
    columns = {"spg": 8, "cutmix": 3, "fsl": 3}[name]
    assert pixels.shape[1] == pytest.approx(90 * 1.6 * columns, abs=2)


def test_pictures_are_shown_as_they_were_and_maps_as_they_are():
    import torch

    from wsolbench.data.augment import normalize

    picture = torch.randint(256, (2, 5, 7, 3), dtype=torch.uint8)
    assert np.abs(module._as_arrays(normalize(picture)) * 255 - picture.numpy()).max() < 1e-3
    maps = torch.randn(2, 3, 4)
    assert np.array_equal(module._as_arrays(maps), maps.numpy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no record"),
        (["RUN", "--out", "figure.txt"], "--out figure.txt: expected a file name that ends in .png, .pdf, .svg"),
        (["RUN", "--out", "blocked/x.png"], "blocked"),
    ],
)
def test_refusals(cli, runs, tmp_path, arguments, message):
    results, records = runs
    (tmp_path / "blocked").write_text("a file")
    given = [str(records["spg"]) if word == "RUN" else word for word in arguments]
    done = cli("illustrate", *given, "--results", str(results))
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_run_without_its_network_says_how_to_get_it(cli, runs, tmp_path):
    results, records = runs
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    done = cli("illustrate", str(records["spg"]), "--results", str(empty))
    assert done.status == 2
    assert "wsolbench run spg parts" in done.err
    assert results.is_dir()
