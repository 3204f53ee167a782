"""Checks of a method's configuration: documented, plain enough for a record, and with a search space that fits."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

from wsolbench.backbones.registry import BACKBONES
from wsolbench.config import as_dict, check, sample
from wsolbench.conformance.subject import HOME, SIZE, Subject, headline, total
from wsolbench.errors import UserError
from wsolbench.recipe import Recipe

SEEDS = 50
ENDS = (0.0, 1 - 2**-40)
"""The ends of a search range, as the uniform numbers that lead there."""


def paper_and_settings_are_documented(subject: Subject) -> None:
    """The method names itself and its paper; its configuration is a frozen dataclass with a doc for each field."""
    kind = subject.kind
    for part in ("name", "paper"):
        if not isinstance(getattr(kind, part, None), str) or not getattr(kind, part).strip():
            raise subject.failure(f"a class attribute '{part}' with text", f"{kind.__name__} has none", part)
    config = kind.Config
    parameters = getattr(config, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        expected = "Config to be a class under @dataclass(frozen=True, kw_only=True)"
        raise subject.failure(expected, f"{config.__name__} is {'mutable' if parameters else 'no dataclass'}", "Config")
    for field in dataclasses.fields(config):
        if not field.metadata.get("doc"):
            expected = "every setting to be declared by hyper(default, doc), with its unit in the doc"
            raise subject.failure(expected, f"the setting '{field.name}' has no doc", "Config")


def settings_survive_json(subject: Subject) -> None:
    """The defaults for every backbone, and every preset, are the same after a trip through JSON, as records make it."""
    kind = subject.kind
    configs = {f"defaults({name!r})": kind.defaults(name) for name in BACKBONES}
    configs |= {f"presets[{name!r}]": preset.config for name, preset in kind.presets.items()}
    for name, config in configs.items():
        expected = f"{name} to be made of numbers, text, booleans and tuples of them"
        try:
            loaded = json.loads(json.dumps(as_dict(config), allow_nan=False))
        except (TypeError, ValueError) as error:
            seen = f"JSON cannot hold it: {headline(error)}"
            raise subject.failure(expected, seen, "Config") from error
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in loaded.items()}
        if (again := kind.Config(**plain)) != config:
            raise subject.failure(expected, f"after the trip {again} is not {config}", "Config")


def presets_are_complete(subject: Subject) -> None:
    """Every preset names a backbone and settings of the recipe that exist, and where it comes from."""
    if not subject.kind.presets:
        raise SkipTest("the method has no presets")
    for name, preset in subject.kind.presets.items():
        expected = f"preset '{name}' with a backbone, a configuration, settings of the recipe and a source"
        if preset.backbone not in BACKBONES:
            raise subject.failure(expected, f"there is no backbone '{preset.backbone}'", "presets")
        if not isinstance(preset.config, subject.kind.Config):
            raise subject.failure(expected, f"a configuration of type {type(preset.config).__name__}", "presets")
        if not preset.source:
            raise subject.failure(expected, "no source", "presets")
        try:
            Recipe(**preset.recipe)
        except (TypeError, UserError) as error:
            raise subject.failure(expected, headline(error), "presets") from error


def search_space_gives_valid_settings(subject: Subject) -> None:
    """Settings drawn for 50 seeds, and those at the ends of every range, are valid; at the ends a step is finite."""
    if all(field.metadata.get("search") is None for field in dataclasses.fields(subject.kind.Config)):
        raise SkipTest("no setting has a search range")
    for side in (SIZE[0], 224):
        for seed in range(SEEDS):
            _sampled(subject, lambda name, seed=seed: _uniform(seed, name), side)  # type: ignore[misc]
    for end in ENDS:
        config = _sampled(subject, lambda _, end=end: end, SIZE[0])  # type: ignore[misc]
        method = subject.build(config=config)
        images, labels = subject.batch()
        if not total(method(images, labels, subject.draw(method, images))).isfinite():
            seen = f"a loss that is not finite with {config}"
            raise subject.failure("a finite loss everywhere in the search space", seen, "Config")


def _sampled(subject: Subject, uniform: Callable[[str], float], side: int) -> Any:  # noqa: ANN401
    """Draw a configuration and check it against its own ranges."""
    try:
        config = sample(subject.kind.defaults(HOME), uniform, {"image_size": side})
        check(config)
    except UserError as error:
        expected = "a search range within the allowed range of every setting"
        raise subject.failure(
            expected, f"for images of {side} pixels the search gave {headline(error)}", "Config"
        ) from error
    return config


def _uniform(seed: int, name: str) -> float:
    """Return a number in [0, 1) that follows from a seed and a field's name."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:6], "big") / 2**48
