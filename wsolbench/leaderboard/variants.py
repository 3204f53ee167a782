"""The rows of the InCA paper's ablations, told by the configuration that was run, whatever command asked for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

METHOD = "inca"
BASELINE = "adl"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of an ablation.

    Attributes:
        name: as the paper prints it.
        preset: our name of it, as in ``wsolbench list presets`` and in the published numbers.
        settings: field of the method's configuration -> the values that it may have.
        methods: whose runs it may be.
    """

    name: str
    preset: str
    settings: Mapping[str, Sequence[Any]]
    methods: Sequence[str] = (METHOD,)

    def holds(self, identity: Mapping[str, Any]) -> bool:
        """Whether a run, by the identity of its record or failure, is one of this row."""
        if identity["method"] not in self.methods or "extractor" in identity:
            return False
        config = identity["config"]
        return identity["method"] != METHOD or all(config.get(name) in known for name, known in self.settings.items())


def _variant(name: str, preset: str, **changes: Sequence[Any]) -> Variant:
    """Return a row that differs from the full method in some fields."""
    full: dict[str, Sequence[Any]] = {
        "attention": ("residual", "literal"),
        "mask": ("dropped-foreground",),
        "contrastive": ("triplet",),
        "fc": (True,),
        "points": ([],),  # the backbone's own
    }
    return Variant(name=name, preset=preset, settings={**full, **changes})


def _baseline(table: str) -> Variant:
    """Return the row that is ADL."""
    plain = {"attention": ("channel-mean",), "mask": ("drop",), "contrastive": ("none",), "fc": (False,)}
    return Variant(name="Baseline", preset=f"{table}/baseline", settings=plain, methods=(METHOD, BASELINE))


_LAYERS = ("conv5_3", "pool4", "pool3", "pool2", "pool1")

VARIANTS: Mapping[str, Sequence[Variant]] = {
    "table2": (
        _baseline("table2"),
        _variant("Ours w/o contrastive", "table2/without-contrastive", contrastive=("none",)),
        _variant("Ours w/o L_fc", "table2/without-fc", fc=(False,)),
        _variant("Ours w/o non-local", "table2/without-non-local", attention=("channel-mean",)),
        _variant("Ours w/o M_dfg", "table2/without-m-dfg", mask=("drop",)),
        _variant("Ours (full)", "table2/full"),
    ),
    "table3": tuple(
        _variant(
            ("+ " if count > 1 else "") + _LAYERS[count - 1],
            f"table3/{_LAYERS[count - 1]}",
            points=(list(reversed(_LAYERS[:count])),),
        )
        for count in range(1, len(_LAYERS) + 1)
    ),
    "supplement1": (
        _baseline("supplement1"),
        _variant("Ours (full) w NT-Xent", "supplement1/nt-xent", contrastive=("nt-xent",)),
        _variant("Ours (full) w triplet", "supplement1/triplet"),
    ),
}
"""Layout -> its rows, in the paper's order."""


def presets_of(identity: Mapping[str, Any]) -> list[str]:
    """Return under which names papers may print a run's numbers, the first to be asked first.

    The method itself is the empty name; an ablated InCA is only ever compared with that ablation.

    >>> presets_of({"method": "cam", "config": {}})
    ['']
    >>> presets_of({"method": "inca", "config": {"attention": "residual", "mask": "dropped-foreground",
    ...                                          "contrastive": "none", "fc": True, "points": []}})
    ['table2/without-contrastive']
    """
    if identity["method"] != METHOD:
        return [""]
    held = [variant.preset for rows in VARIANTS.values() for variant in rows if variant.holds(identity)]
    points = [preset for preset in held if preset.startswith("table3/")]
    return points or [*([""] if "table2/full" in held else []), *held]
