"""What the tests of several folders share. Nothing may write into the repository or into the user's own cache."""

import os
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

# Before torch or numba is imported, and for the processes that tests start: on tensors of this size threads cost more
# than they give, and sums that are compared bit for bit must be split the same way everywhere.
os.environ["OMP_NUM_THREADS"] = "1"

TESTS = Path(__file__).parent
TINY = {"train": "64", "fullsup": "16", "test": "16"}


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory):
    """Point every cache that the code under test may fill at a temporary folder; return that of decoded images."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WSOLBENCH_CACHE", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
            (folder / name).mkdir()
            patch.setenv(name, str(folder / name))
        yield folder / "WSOLBENCH_CACHE"


@pytest.fixture(scope="session")
def oracle():
    """Return the module that reads boxes and decisions off score maps with OpenCV."""
    return import_module("opencv_oracle")


@pytest.fixture(scope="session")
def metadata_root():
    """Return the folder of the published split files, where it is there."""
    path = TESTS.parents[1] / "shared" / "data" / "wsol-metadata"
    if not path.is_dir():
        pytest.skip(f"the published split files are not at {path}")
    return path


@pytest.fixture(scope="session")
def tiny_request():
    """Return a function that makes a request of about a second; keywords replace fields of the request."""
    from wsolbench.request import Request

    def make(method="cam", **changes):
        fields = {
            "dataset": "parts",
            "backbone": "resnet-tiny",
            "data_options": TINY,
            "recipe": {"epochs": 2},
            "precision": "fp32",
            "device": "cpu",
            "quiet": True,
        }
        return Request(method=method, **{**fields, **changes})

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_request):
    """Return a finished run of cam with its maps saved: request, path of the record, record. Only to be read."""
    from wsolbench.experiment import run
    from wsolbench.records import read_record

    folder = tmp_path_factory.mktemp("finished")
    request = tiny_request(results=folder / "results", save_maps=folder / "maps")
    path = run(request)
    return SimpleNamespace(request=request, path=path, record=read_record(path), maps=folder / "maps")


@pytest.fixture(scope="session")
def make_dataset():
    """Return a function that builds a dataset from boxes alone: {split: [boxes of image 0, of image 1, ...]}."""
    import numpy as np

    from wsolbench.data.splits import Annotations, Dataset, ImageSplit

    class Boxed(Dataset):
        def images(self, split):
            found = self._annotations(split)
            return ImageSplit(name=split, ids=found.ids, labels=found.labels, content_key="", read=None)

        def _annotations(self, split):
            per_image = self.boxes.get(split, [[(0, 0, 1, 1)]])
            count = len(per_image)
            return Annotations(
                split=split,
                ids=tuple(f"{split}/{index}" for index in range(count)),
                labels=np.arange(count) % len(self.class_names),
                sizes=np.tile(self.sizes, (count, 1)),
                boxes=np.array([box for boxes in per_image for box in boxes], dtype=np.int64),
                offsets=np.cumsum([0, *map(len, per_image)]),
            )

    def make(boxes, *, size=(100, 100), classes=6):
        dataset = Boxed(name="boxed", class_names=tuple(map(str, range(classes))), image_size=20)
        object.__setattr__(dataset, "boxes", boxes)
        object.__setattr__(dataset, "sizes", size)
        return dataset

    return make
