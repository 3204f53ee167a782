import json
from dataclasses import FrozenInstanceError, dataclass, fields

import pytest

from wsolbench.config import Uniform, as_dict, check, hyper, override
from wsolbench.errors import UserError
from wsolbench.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """A configuration with every kind of field."""

    rate: float = hyper(0.5, "a share", low=0, high=1, search=Uniform(0, 1))
    floor: float = hyper(2.0, "at least one", low=1)
    ceiling: float = hyper(2.0, "at most three", high=3)
    free: float = hyper(1.0, "any finite number")
    count: int = hyper(3, "how many", low=1)
    kind: str = hyper("soft", "a choice", choices=("soft", "hard"))
    on: bool = hyper(True, "on or off")
    points: tuple[str, ...] = hyper(("a", "b"), "where")

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "0.25", 0.25),
        ("rate", "1", 1.0),
        ("rate", "1e-3", 0.001),
        ("count", "7", 7),
        ("kind", "hard", "hard"),
        ("on", "false", False),
        ("on", " True ", True),
        ("points", "pool3, pool4,conv5_3", ("pool3", "pool4", "conv5_3")),
        ("points", "pool3", ("pool3",)),
        ("points", "", ()),
    ],
)
def test_values_are_read_by_the_fields_type(name, text, value):
    result = getattr(override(Knobs(), {name: text}), name)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rate", "much", "rate=much cannot be read; expected a number"),
        ("rate", "", "rate= cannot be read; expected a number"),
        ("count", "1.5", "count=1.5 cannot be read; expected a whole number"),
        ("on", "yes", "on=yes cannot be read; expected true or false"),
        ("rate", "1.01", "rate=1.01 is out of range; expected a value from 0 to 1"),
        ("rate", "-0.01", "rate=-0.01 is out of range; expected a value from 0 to 1"),
        ("floor", "0.5", "floor=0.5 is out of range; expected at least 1"),
        ("ceiling", "3.5", "ceiling=3.5 is out of range; expected at most 3"),
        ("count", "0", "count=0 is out of range; expected at least 1"),
        ("kind", "sofd", "kind=sofd is not allowed; expected one of soft, hard"),
        ("rate", "nan", "rate=nan is not allowed; expected a finite number"),
        ("free", "nan", "free=nan is not allowed; expected a finite number"),
        ("free", "-inf", "free=-inf is not allowed; expected a finite number"),
        ("floor", "inf", "floor=inf is not allowed; expected a finite number"),
    ],
)
def test_a_bad_value_is_one_sentence(name, text, message):
    with pytest.raises(UserError) as caught:
        override(Knobs(), {name: text})
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [0, 1])
def test_the_ends_of_a_range_are_allowed(value):
    assert Knobs(rate=value).rate == value


def test_an_unknown_setting_suggests_the_nearest():
    with pytest.raises(UserError, match="unknown setting 'raet'; did you mean 'rate'\\? Choices: ceiling, count, "):
        override(Knobs(), {"raet": "1"})


def test_overriding_leaves_the_original_and_the_other_fields():
    knobs = Knobs(count=9)
    changed = override(knobs, {"rate": "0.1", "on": "false"})
    assert changed == Knobs(count=9, rate=0.1, on=False)
    assert knobs == Knobs(count=9)
    assert override(knobs, {}) == knobs
    with pytest.raises(FrozenInstanceError):
        knobs.rate = 0.1


def test_fields_become_plain_json_values():
    values = as_dict(Knobs())
    assert values["points"] == ["a", "b"]
    assert json.loads(json.dumps(values)) == values
    assert list(values) == [field.name for field in fields(Knobs)]


def test_the_recipe_survives_json():
    recipe = Recipe(backbone="resnet-tiny", feature_map=4, lr=0.02, deterministic=True)
    assert Recipe(**json.loads(json.dumps(as_dict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": "nan"}, "lr=nan is not allowed"),
        ({"lr": "-1"}, "lr=-1.0 is out of range; expected at least 0"),
        ({"momentum": "1.5"}, "momentum=1.5 is out of range; expected a value from 0 to 1"),
        ({"feature_map": "32"}, "feature_map=32 is not allowed; expected one of 4, 8, 16"),
        ({"precision": "fp16"}, "precision=fp16 is not allowed; expected one of fp32, bf16"),
        ({"epochs": "0"}, "epochs=0 is out of range; expected at least 1"),
        ({"batch_size": "many"}, "batch_size=many cannot be read; expected a whole number"),
        ({"learning_rate": "0.1"}, "unknown setting 'learning_rate'"),
        ({"seed": "-1"}, "seed=-1 is out of range; expected at least 0"),
    ],
)
def test_the_recipe_refuses_bad_values(settings, message):
    with pytest.raises(UserError) as caught:
        override(Recipe(), settings)
    assert message in str(caught.value)


def test_the_recipes_defaults_are_the_references():
    recipe = Recipe()
    assert (recipe.lr, recipe.weight_decay, recipe.batch_size, recipe.momentum) == (0.01, 1e-4, 32, 0.9)
    assert (recipe.epochs, recipe.lr_decay_every, recipe.new_layer_lr) == (50, 15, 10)
    assert all(field.metadata["doc"] for field in fields(Recipe))


@pytest.mark.parametrize(("size", "resized"), [(224, 256), (64, 73), (32, 37), (448, 512)])
def test_training_images_are_an_eighth_larger_than_the_crop(size, resized):
    assert Recipe(image_size=size).resized_side == resized


def test_the_rate_decays_by_exact_powers_of_ten():
    late = [Recipe(lr_decay_every=15).learning_rate_factor(epoch) for epoch in (0, 14, 15, 29, 30, 45)]
    assert late == [1.0, 1.0, 0.1, 0.1, 0.01, 0.001]
    # the reference decays before an epoch whose 1-based number is a multiple of 15
    early = Recipe(lr_decay_every=15, lr_decay_early=True)
    drops = [e + 1 for e in range(1, 50) if early.learning_rate_factor(e) < early.learning_rate_factor(e - 1)]
    assert drops == [15, 30, 45]
