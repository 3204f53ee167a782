"""Results made by hand: records and hits, without training, data or maps."""

import numpy as np
import pytest
from record_examples import make_null, make_record
from trial_examples import write_trials

from wsolbench.protocols import BoxHits, SplitScores, score
from wsolbench.record_schema import Tuned
from wsolbench.records import record_path, write_hits, write_record
from wsolbench.stored_hits import score_arrays
from wsolbench.trials import conclude, write_choice

IMAGES = 30


def split_scores(rng, images):
    hits = BoxHits.from_levels(rng.random((images, 3, 256)) < rng.random(), rng.integers(1, 256, images, np.uint8))
    return SplitScores(hits=hits, ranks=rng.integers(0, 9, images), num_classes=10)


def history(rng, method, epochs=3):
    names = {"inca": ["cls", "ca", "peak_layer3.0", "peak_layer4.0"], "spg": ["cls", "b1", "lr"]}.get(method, ["cls"])
    return [{name: float(rng.random()) for name in names} for _ in range(epochs)]


class Made:
    """A results folder; ``add`` writes one run and returns its record."""

    def __init__(self, folder):
        self.folder = folder

    def add(self, method="cam", seed=0, *, null=False, fields=None, hits=True, **identity):
        rng = np.random.default_rng([seed, *method.encode()])
        splits = {"test": split_scores(rng, IMAGES), "train-fullsup": split_scores(rng, 12)}
        found = score(splits["test"], splits["train-fullsup"])
        values = {
            "metrics": found.metrics,
            "thresholds": found.thresholds,
            "absent": found.absent,
            "images": {"train-weaksup": 90, "train-fullsup": 12, "test": IMAGES},
            "history": [] if null else history(rng, method),
            **(fields or {}),
        }
        record = (make_null if null else make_record)(method, seed=seed, fields=values, **identity)
        write_record(record, self.folder)
        if hits:
            write_hits(record_path(record.identity, self.folder).with_suffix(".npz"), **score_arrays(splits))
        return record

    def tune(self, method, trials=6):
        """Add a study and a run that it chose."""
        folder = self.folder / "parts" / "tuning" / "fake-resnet-tiny-0123456789abcdef"
        write_trials(folder, trials)
        write_choice(conclude(folder, trials), folder)
        tuned = Tuned(
            study=folder.name, trials=trials, trial=1, drawn={"lr": 0.002}, images=20, training_s=15.0
        )  # fmt: skip
        return self.add(method, recipe={"lr": 0.002}, fields={"tuned": tuned})


@pytest.fixture
def made(tmp_path):
    """Return an empty results folder that runs can be added to."""
    return Made(tmp_path / "results")


@pytest.fixture
def drawn(made):
    """Return a function that draws some kinds of figures: drawings by name, and what was not drawn."""
    from wsolbench.data.places import Places
    from wsolbench.report.figures.gallery import Wanted, draw_gallery

    def draw(*only, results=None, **wanted):
        asked = {"data_options": {}, "places": Places(), **wanted}
        found = list(draw_gallery(Wanted(results=results or made.folder, only=only, **asked)))
        notes = [each for each in found if isinstance(each, str)]
        return {each.drawing.name: each.drawing for each in found if not isinstance(each, str)}, notes

    return draw
