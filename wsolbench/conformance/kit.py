"""The list of checks, and how to get them for a method."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
import torch

from wsolbench.backbones.registry import BACKBONES, backbone_entry
from wsolbench.conformance import device, images, prediction, settings, step, training, trunk
from wsolbench.conformance.subject import HOME, CheckFailure, Subject
from wsolbench.errors import UserError
from wsolbench.method import Method
from wsolbench.plugins import find_methods, load_method

CHECKS: tuple[Callable[[Subject], None], ...] = (
    settings.paper_and_settings_are_documented,
    settings.settings_survive_json,
    settings.presets_are_complete,
    settings.search_space_gives_valid_settings,
    step.inputs_are_not_changed,
    step.losses_are_finite_scalars,
    step.losses_are_finite_scalars_in_bf16,
    step.initial_weights_follow_from_the_seed,
    step.draws_follow_from_the_generator,
    step.losses_follow_from_their_arguments,
    device.step_stays_on_the_device,
    device.step_compiles_without_graph_break,
    images.images_are_normalised_once,
    prediction.maps_and_logits_have_their_shape,
    prediction.prediction_does_not_depend_on_the_batch,
    prediction.prediction_is_repeatable,
    prediction.no_label_means_the_top_class,
    prediction.views_are_pictures_or_maps,
    trunk.trunk_keys_are_the_backbones,
    training.every_parameter_gets_a_gradient,
    training.state_survives_a_file,
    training.resuming_changes_nothing,
    prediction.map_is_high_on_the_object,
)


@dataclass(frozen=True)
class Check:
    """One check of one method; call it.

    Attributes:
        name: of the check; pytest takes it as the test's id.
        function: what it does.
        subject: the method.
    """

    name: str
    function: Callable[[Subject], None]
    subject: Subject

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self) -> None:
        """Run the check; the global random numbers are afterwards as they were.

        Raises:
            CheckFailure: the method does not conform, or raised an exception.
            unittest.SkipTest: the check does not apply; pytest skips such a test.
        """
        try:
            with _own_randomness():
                self.function(self.subject)
        except (CheckFailure, SkipTest):
            raise
        except (Exception, SystemExit) as error:
            with _own_randomness():
                failure = self.subject.wrong_return()
            raise failure or self.subject.crash("the method runs here without an exception", error) from error


def checks(method: str | Path | type[Method[Any]], backbone: str = "all") -> list[Check]:
    """Return the checks that a method must pass, to be called one by one.

    Args:
        method: a name as on the command line, a Python file, or the class.
        backbone: ``all``: the whole kit on resnet-tiny and one check for each other backbone; or one backbone's name.

    Raises:
        UserError: no such method, file or backbone; a file that cannot be imported or holds no method.

    >>> [check.__name__ for check in checks("cam")][:2]
    ['paper_and_settings_are_documented', 'settings_survive_json']
    """
    if backbone != "all":
        backbone_entry(backbone)
    subject = Subject(method if isinstance(method, type) else _load(method))
    found = [Check(function.__name__, function, subject) for function in CHECKS if backbone in ("all", HOME)]
    others = [name for name in BACKBONES if name != HOME and backbone in ("all", name)]
    return found + [Check(f"works_on_{name}", partial(trunk.works_on, backbone=name), subject) for name in others]


def _load(method: str | Path) -> type[Method[Any]]:
    """Load a method by name or, where the text is a path, by file."""
    path = Path(method)
    if path.suffix != ".py":
        return load_method(str(method))
    for entry in find_methods().values():
        if path.is_file() and Path(entry.origin).is_file() and path.samefile(entry.origin):
            return load_method(entry.name)
    if not path.is_file():
        raise UserError(f"'{path}': no such file; expected a method's name or a Python file with one Method subclass")
    name = next(entry.name for entry in find_methods([path]).values() if entry.origin == str(path))
    return load_method(name, [path])


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Leave the global random numbers of torch, numpy and Python as they are found."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
