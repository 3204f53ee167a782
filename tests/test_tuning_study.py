"""Studies: what is drawn, what a trial is, and that nothing of the test split can be opened meanwhile."""

import dataclasses
import json

import pytest

from wsolbench import study as study_module
from wsolbench.backbones.registry import BACKBONES
from wsolbench.config import Uniform, hyper, sample
from wsolbench.data.cache import cached_images
from wsolbench.data.parts import masks
from wsolbench.data.registry import open_annotations, open_dataset
from wsolbench.data.splits import Annotations, sealed_test
from wsolbench.errors import RunError, SealedError, UserError
from wsolbench.experiment import SCORED, build_method, make_plan, scoring_banks
from wsolbench.methods.has import HaSConfig
from wsolbench.null_rows import write_null_rows
from wsolbench.outcome import score_splits
from wsolbench.protocols import SplitScores
from wsolbench.protocols.selection import unit_number
from wsolbench.recipe import Recipe
from wsolbench.records import load_records
from wsolbench.scoring import BoxScorer, score_with_slices
from wsolbench.study import FIRST_SEED, Tuning, open_study, tune
from wsolbench.trials import trial_path

PARTS = {"train": "64", "fullsup": "16", "test": "16"}


@pytest.fixture
def request_of(tiny_request, tmp_path):
    """Return a function that makes the request of a study; keywords replace fields."""

    def make(method="has", **changes):
        fields = {"data_options": PARTS, "recipe": {"epochs": 1}, "results": tmp_path / "results", **changes}
        return tiny_request(method, **fields)

    return make


def silent(line):
    """Take a line."""


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_configurations_are_the_same_for_ever(request_of):
    study = open_study(request_of())
    assert [study.drawn(index) for index in (0, 2)] == [
        {"feature_map": 4, "lr": 7.649692019341218e-05, "drop_rate": 0.052302484509823, "cell": 57},
        {"feature_map": 8, "lr": 0.1830910360329322, "drop_rate": 0.5651563929352406, "cell": 42},
    ]
    assert [study.seed(index) for index in (0, 2)] == [2743751438, 4060432740]


def test_what_is_not_in_the_formula_draws_nothing_anew(request_of):
    study = open_study(request_of())
    other = open_study(request_of(recipe={"epochs": 2}, settings={"batch_size": "16"}, data_options={"train": "32"}))
    assert other.name != study.name
    assert [other.drawn(index) for index in range(5)] == [study.drawn(index) for index in range(5)]
    assert open_study(request_of("cam")).drawn(0)["lr"] != study.drawn(0)["lr"]


def test_a_new_hyperparameter_moves_no_other():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Longer(HaSConfig):
        aaa: float = hyper(0.5, "new", search=Uniform(0, 1))

    def uniform(name):
        return unit_number("parts", "resnet-tiny", "has", 7, name)

    known = {"image_size": 64}
    before, after = sample(HaSConfig(), uniform, known), sample(Longer(), uniform, known)
    assert {**dataclasses.asdict(before), "aaa": after.aaa} == dataclasses.asdict(after)


def test_thirty_configurations_are_distinct_and_in_range(request_of):
    study = open_study(request_of("spg"))
    drawn = [study.drawn(index) for index in range(30)]
    assert len({json.dumps(each) for each in drawn}) == len({study.run_id(index) for index in range(30)}) == 30
    assert set(drawn[0]) == {"feature_map", "lr", *(f"{end}_{pair}" for end in ("low", "high") for pair in (1, 2, 3))}
    assert all(1e-5 <= each["lr"] <= 1 for each in drawn)
    assert all(0 <= each[f"low_{pair}"] <= each[f"high_{pair}"] <= 1 for each in drawn for pair in (1, 2, 3))
    assert {each["feature_map"] for each in drawn} == {4, 8}
    assert all(FIRST_SEED <= study.seed(index) < 2 * FIRST_SEED for index in range(30))


@pytest.mark.parametrize(
    ("backbone", "side", "strides"),
    [
        *((name, 224, {16, 8}) for name in ("vgg16", "inception_v3", "resnet50", "resnet18")),
        ("resnet50", 64, {8, 4}),
        ("vgg16", 64, {8}),
        ("vgg16", 32, {8}),
        ("resnet-tiny", 224, {8}),
        ("resnet50", 1024, {16}),
    ],
)
def test_maps_have_the_published_resolutions_or_the_nearest_there_are(backbone, side, strides):
    known = {"image_size": side, "strides": BACKBONES[backbone].strides}
    drawn = {sample(Recipe(), lambda name, u=u: u, known).feature_map for u in (0.0, 0.49, 0.5, 1 - 2**-53)}
    assert drawn == strides


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"lr": "0.1"}}, "--set lr is not taken by tune, which draws lr for each trial; leave it out"),
        ({"settings": {"cell": "8"}}, "--set cell is not taken by tune"),
        ({"recipe": {"feature_map": 8}}, "--feature-map is not taken by tune, which draws feature_map"),
        ({"recipe": {"seed": 1}}, "--seed is not taken by tune"),
        ({"settings": {"cel": "8"}}, "unknown setting 'cel'; did you mean 'cell'"),
    ],
)
def test_what_is_drawn_cannot_be_set(request_of, changes, message):
    with pytest.raises(UserError, match=message):
        open_study(request_of(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "--trials 0 is out of range; expected at least 1"),
        ({"trial": 30}, "--trial 30 is out of range; expected 0 to 29"),
        ({"trial": -1}, "--trial -1 is out of range"),
        ({"trial": 0, "storage": "sqlite:///a.db"}, "--trial runs one trial without a ledger; leave out --storage"),
    ],
)
def test_what_cannot_be_asked_for(request_of, changes, message):
    with pytest.raises(UserError, match=message):
        Tuning(request=request_of(), **changes)


def test_the_choice_is_made_on_the_headline_slice_of_train_fullsup(request_of, monkeypatch):
    whole = open_study(request_of())
    assert whole.counted.tolist() == [True] * 16
    original = study_module.make_plan

    def with_headline(*arguments):
        plan = original(*arguments)
        object.__setattr__(plan.dataset, "headline", "boxes_5_50")
        return plan

    monkeypatch.setattr(study_module, "make_plan", with_headline)
    monkeypatch.setattr(study_module, "slice_masks", lambda found, side: {"boxes_5_50": found.labels == 3})
    sliced = open_study(request_of())
    assert sliced.counted.sum() == 2
    assert sliced.name != whole.name
    monkeypatch.setattr(study_module, "slice_masks", lambda found, side: {"boxes_5_50": found.labels < 0})
    with pytest.raises(UserError, match="no image of train-fullsup is in the slice boxes_5_50"):
        open_study(request_of())


# --- the seal ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def openings(tmp_path, tiny_request, make_dataset, caches):
    """Return every way to the test split that the package has, by name; what needs no seal is made before it."""
    plan = make_plan(tiny_request())
    dataset, boxed = plan.dataset, make_dataset({})
    dataset.annotations("test")  # parts remembers what it drew
    found = {split: dataset.annotations(split) for split in SCORED}
    method, bank = build_method(plan), scoring_banks(plan, caches, True)["test"]
    with BoxScorer(found["test"], 64) as scorer:
        scorer.submit(0, cached_images(dataset.images("test"), 64, caches, True)[..., 0])
        scores = SplitScores(hits=scorer.hits())
    folder = tmp_path / "metadata" / "test"
    folder.mkdir(parents=True)
    for name, line in {
        "image_ids": "a",
        "class_labels": "a,0",
        "image_sizes": "a,9,9",
        "localization": "a,1,1,5,5",
    }.items():
        (folder / f"{name}.txt").write_text(f"{line}\n")
    metadata = {"root": None, "metadata": tmp_path / "metadata", "options": {}}
    generated = {"root": None, "metadata": None, "options": PARTS}
    parts = {field.name: getattr(found["test"], field.name) for field in dataclasses.fields(Annotations)}
    return {
        "annotations": lambda: dataset.annotations("test"),
        "annotations of another dataset": lambda: boxed.annotations("test"),
        "annotations behind the interface": lambda: boxed._annotations("test"),
        "images": lambda: dataset.images("test"),
        "images of another dataset": lambda: boxed.images("test"),
        "images of a division": lambda: plan.division.images("test"),
        "annotations of a division": lambda: plan.division.annotations("test"),
        "part of the annotations": lambda: found["test"].select(found["test"].labels[:1]),
        "annotations anew": lambda: Annotations(**parts),
        "fingerprint": lambda: dataset.fingerprint("test"),
        "masks": lambda: masks(dataset, "test", 0),
        "a plan": lambda: make_plan(tiny_request()),
        "pictures": lambda: scoring_banks(plan, caches, True),
        "published files": lambda: open_annotations("cub", ["test"], **metadata),
        "open_annotations": lambda: open_annotations("parts", ["test"], **generated),
        "every metric of a network": lambda: score_splits(method, plan.division, {"test": bank}, "min-max", quiet=True),
        "null rows": lambda: write_null_rows(dataset, 64, (8, 8), tmp_path, "", (None, None)),
        "every metric of hits": lambda: score_with_slices(
            dict.fromkeys(SCORED, scores), {split: dataset.annotations(split) for split in SCORED}, 64
        ),
    }


def test_no_way_leads_to_the_test_split_while_it_is_sealed(openings):
    for name, attempt in openings.items():
        attempt()  # without the seal it works
        with sealed_test():
            with sealed_test():
                pass
            with pytest.raises(SealedError, match="the split test is sealed while tuning"):
                pytest.fail(f"{name} gave {attempt()}")
        attempt()


def test_the_seal_leaves_the_other_splits_open():
    with sealed_test():
        dataset = open_dataset("parts", None, PARTS)
        for split in ("train-weaksup", "train-fullsup"):
            assert len(dataset.images(split)) > 0
            assert len(dataset.fingerprint(split)) == 16
        assert len(masks(dataset, "train-fullsup", 0)) == 2
        assert len(dataset.annotations("train-fullsup")) == 16


def test_a_trial_that_asks_for_the_test_split_ends_the_tuning(request_of, monkeypatch):
    def curious(plan, *arguments):
        return plan.dataset.annotations("test")

    monkeypatch.setattr(study_module, "train_and_score", curious)
    with pytest.raises(SealedError):
        tune(Tuning(request=request_of(), trials=1, trial=0), silent)
    assert not list((request_of().results / "parts").rglob("*.json"))


# --- trials -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tiny_request):
    """Tune ``has`` in three trials of a second, the second of which diverges; return request, choice and lines."""
    request = tiny_request("has", data_options=PARTS, recipe={"epochs": 1}, results=tmp_path_factory.mktemp("tuned"))
    original, lines = study_module.train_and_score, []

    def diverging(plan, *arguments):
        if plan.run_id == open_study(request).run_id(1):
            raise RunError("loss term 'cls' was not finite at step 1")
        return original(plan, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "train_and_score", diverging)
        path = tune(Tuning(request=request, trials=3), lines.append)
    return request, path, lines


def test_a_trial_is_an_ordinary_run_on_train_fullsup_alone(tuned):
    request, path, _ = tuned
    study = open_study(request)
    record, plan = study.read(0), make_plan(study.trial_request(0))
    assert set(record.identity["fingerprints"]) == {"train-weaksup", "train-fullsup"}
    same = {**plan.identity, "fingerprints": record.identity["fingerprints"]}
    assert record.identity == json.loads(json.dumps(same))
    assert plan.config.cell == record.drawn["cell"] == 57
    assert (plan.recipe.lr, plan.recipe.feature_map) == (record.drawn["lr"], record.drawn["feature_map"])
    assert record.metrics["max_box_acc_v2"] == record.score
    assert not any(key.endswith("_fullsup") for key in record.metrics)
    assert record.images == 16
    assert record.training_s > 0
    assert [sorted(row) for row in record.history] == [["cls", "lr"]]
    words = "wsolbench tune has parts --backbone resnet-tiny --epochs 1 --precision fp32"
    assert record.provenance.command.startswith(words)
    assert record.provenance.command.endswith("--trial 0")
    assert path == study.folder / "choice.json"
    assert not list(request.results.rglob("last.pt"))
    assert load_records(request.results)[0] == []


def test_a_diverged_trial_stays_with_its_error(tuned):
    request, path, lines = tuned
    record = open_study(request).read(1)
    assert (record.score, record.error) == (None, "loss term 'cls' was not finite at step 1")
    choice = json.loads(path.read_text())
    assert choice["errors"] == {"1": record.error}
    assert choice["wins"][1] == 0
    assert len(choice["scores"]) == len(choice["best_of"]) == 3
    assert f"trial 1: failed: {record.error}" in lines


def test_nothing_is_repeated_and_the_choice_is_replayed_from_records(tuned, monkeypatch):
    request, path, _ = tuned
    before = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(study_module, "train_and_score", None)
    assert tune(Tuning(request=request, trials=3), silent) == path
    assert path.read_bytes() == before
    path.unlink()
    assert tune(Tuning(request=request, trials=3, trial=2), silent) == path  # the last of a job array chooses
    assert path.read_bytes() == before


def test_a_trial_alone_equals_the_same_trial_in_the_queue(tuned, tmp_path):
    request, _, _ = tuned
    elsewhere = dataclasses.replace(request, results=tmp_path)
    lines = []
    assert tune(Tuning(request=elsewhere, trials=3, trial=2), lines.append) is None
    assert lines[-1] == "2 of 3 trials are not done yet; the last one makes the choice"
    alone, queued = (open_study(each).read(2) for each in (elsewhere, request))
    assert alone.provenance.command == queued.provenance.command
    unlike = ("provenance", "training_s")
    first, second = (
        {name: value for name, value in dataclasses.asdict(each).items() if name not in unlike}
        for each in (alone, queued)
    )
    assert first == second
    hits = [trial_path(open_study(each).folder, 2).with_suffix(".npz").read_bytes() for each in (elsewhere, request)]
    assert hits[0] == hits[1]


def test_a_record_of_another_configuration_is_refused(tuned, tmp_path):
    request, _, _ = tuned
    study = open_study(request)
    other = open_study(dataclasses.replace(request, results=tmp_path))
    record = dataclasses.replace(study.read(0), index=2)
    study_module.write_trial(record, None, other.folder)
    with pytest.raises(UserError, match="2.json' is not of the configuration drawn for trial 2; move it away"):
        other.read(2)


def test_what_is_not_the_configurations_fault_leaves_no_record(request_of, monkeypatch):
    def broken(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(study_module, "train_and_score", broken)
    with pytest.raises(OSError, match="No space left"):
        tune(Tuning(request=request_of(), trials=2), silent)
    assert not list(request_of().results.rglob("0.json"))
