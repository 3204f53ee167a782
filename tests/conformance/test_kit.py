"""How the kit is called, and what it says."""

import random
from abc import abstractmethod
from dataclasses import replace
from unittest import SkipTest

import numpy as np
import pytest
import torch
from conformance_healthy import Healthy

from wsolbench.conformance import CheckFailure, checks
from wsolbench.conformance.report import Outcome, run_check, summary
from wsolbench.errors import UserError
from wsolbench.plugins import find_methods

ON_HOME = checks(Healthy, "resnet-tiny")


@pytest.mark.parametrize("check", ON_HOME)
def test_the_healthy_method_passes(check):
    if check.__name__ == "presets_are_complete":
        with pytest.raises(SkipTest, match="no presets"):
            check()
    else:
        check()


def test_ids_are_unique_and_cover_the_other_backbones():
    names = [check.__name__ for check in checks("cam")]
    assert len(set(names)) == len(names)
    assert {"works_on_vgg16", "works_on_inception_v3", "works_on_resnet50", "works_on_resnet18"} <= set(names)
    assert [check.__name__ for check in checks("cam", "vgg16")] == ["works_on_vgg16"]
    assert not any(check.__name__.startswith("works_on") for check in ON_HOME)


def test_a_method_is_given_by_name_file_or_class(tmp_path):
    origin = find_methods()["has"].origin
    by_name, by_file = checks("has")[0].subject.kind, checks(origin)[0].subject.kind
    assert by_name is by_file
    path = tmp_path / "my_own.py"
    path.write_text(
        "from wsolbench.methods.cam import CAM\n\n\nclass Own(CAM):\n    name = 'my-own'\n", encoding="utf-8"
    )
    assert checks(path)[0].subject.kind.name == "my-own"
    assert checks(str(path))[0].subject.file == str(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("camm",), "unknown method 'camm'; did you mean 'cam'"),
        (("gone.py",), "'gone.py': no such file; expected a method's name or a Python file"),
        (("cam", "vgg61"), "unknown backbone 'vgg61'; did you mean 'vgg16'"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(arguments, message):
    with pytest.raises(UserError, match="^" + message.replace("?", r"\?")):
        checks(*arguments)


class Raises(Healthy):
    """Breaks in the middle."""

    def losses(self, images, labels, draws):
        return self.deeper(images)

    def deeper(self, images):
        return images.reshape(7, 7)


def named(kind, name):
    return next(check for check in checks(kind, "resnet-tiny") if check.__name__ == name)


@pytest.mark.parametrize("check", checks(Raises, "resnet-tiny"))
def test_an_exception_in_the_plugin_is_a_failure_that_names_its_line(check):
    outcome = run_check(check)
    if outcome.status == "FAILED":
        assert "look at: " in outcome.detail
        assert "test_kit.py" in outcome.detail
    assert (outcome.status == "FAILED") == ("loss" in check.name or outcome.name in NEED_LOSSES)


NEED_LOSSES = {
    "search_space_gives_valid_settings",
    "inputs_are_not_changed",
    "step_stays_on_the_device",
    "step_compiles_without_graph_break",
    "images_are_normalised_once",
    "maps_and_logits_have_their_shape",
    "every_parameter_gets_a_gradient",
    "state_survives_a_file",
    "resuming_changes_nothing",
    "map_is_high_on_the_object",
}


def test_the_report_names_the_line_that_raised():
    with pytest.raises(CheckFailure) as caught:
        named(Raises, "losses_are_finite_scalars")()
    assert caught.value.seen == "RuntimeError: shape '[7, 7]' is invalid for input of size 12288"
    assert caught.value.where.endswith("in deeper: return images.reshape(7, 7)")
    assert isinstance(caught.value.__cause__, RuntimeError)


class GivesNothing(Healthy):
    """Forgets to return the losses."""

    def losses(self, images, labels, draws):
        super().losses(images, labels, draws)


class Leaves(Healthy):
    """Ends the process."""

    def losses(self, images, labels, draws):
        raise SystemExit(0)


def test_what_is_not_returned_is_named_where_it_should_be():
    with pytest.raises(CheckFailure) as caught:
        named(GivesNothing, "resuming_changes_nothing")()
    assert caught.value.expected == "losses returns Losses(terms={name: tensor})"
    assert caught.value.seen == "it returned NoneType"
    assert caught.value.where.endswith("GivesNothing.losses")


def test_a_method_that_ends_the_process_fails_a_check():
    outcome = run_check(named(Leaves, "losses_are_finite_scalars"))
    assert outcome.status == "FAILED"
    assert "in losses: raise SystemExit(0)" in outcome.detail


class Abstract(Healthy):
    """Cannot be built; no line of its own file is reached."""

    name = "abstract"

    @property
    @abstractmethod
    def missing(self):
        """Nothing."""


def test_where_no_own_line_raised_the_own_file_is_named_first():
    detail = run_check(named(Abstract, "prediction_is_repeatable")).detail
    assert f"look at: {__file__}, Abstract; raised at " in detail


def test_a_check_leaves_the_global_random_numbers_alone():
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    expected = random.random(), np.random.rand(), torch.rand(3)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    named(Healthy, "losses_follow_from_their_arguments")()
    assert (random.random(), np.random.rand()) == expected[:2]
    assert torch.equal(torch.rand(3), expected[2])


def test_a_report_counts_and_quotes():
    failed = Outcome(name="b", status="FAILED", seconds=1.0, detail="expected: x\nseen: y\nlook at: z")
    outcomes = [
        Outcome(name="a", status="passed", seconds=0.5),
        failed,
        Outcome(name="c", status="skipped", seconds=0.0, detail="no reason"),
    ]
    assert summary("m", outcomes) == (
        "\nb\n  expected: x\n  seen: y\n  look at: z\n\nm: 1 of 3 checks failed (1 passed, 1 skipped, 2 s)"
    )
    same = replace(failed, name="d")
    assert summary("m", [*outcomes, same]).startswith("\nb and 1 more\n  expected: x\n")
    assert summary("m", outcomes[:1]) == "\nm: conforms (1 passed, 0 skipped, 0 s)"
    assert outcomes[2].line().split() == ["c", "skipped", "0.0", "s", "(no", "reason)"]
