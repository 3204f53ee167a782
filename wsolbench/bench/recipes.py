"""The tables of the InCA paper as grids: what each trains, with which settings, and what the paper leaves open.

``wsolbench bench --recipe table4`` runs one; ``wsolbench list recipes`` lists them. Source: Ki et al., "In-sample
Contrastive Learning and Consistent Attention for Weakly Supervised Object Localization", ACCV 2020, and its supplement.

Every table has the one recipe that the paper states (batch 32, learning rate 0.001, weight decay 1e-4, momentum 0.9),
for its own method and for the methods it compares with, so that a table's rows compare; a run that two tables need is
one run. Schedules are those of the code that the paper evaluates with (Choe et al., CVPR 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsolbench.errors import unknown_name


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """What a grid trains on every dataset and backbone.

    Attributes:
        method: its name.
        preset: name of one of its presets; None: its defaults.
        settings: of the method and the recipe, as text, as ``--set`` takes them.
    """

    method: str
    preset: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Say what it is."""
        return self.method if self.preset is None else f"{self.method} {self.preset}"


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a grid: every row on every backbone and dataset."""

    rows: Sequence[GridRow]
    backbones: Sequence[str]
    datasets: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class TableRecipe:
    """The grid of one table of a paper.

    Attributes:
        source: paper and table.
        blocks: what is trained.
        seeds: of each run.
        settings: what the paper states for all rows, as text.
        schedules: dataset -> fields of the recipe that its runs have beside ``settings``; others have their own.
        ours: what the paper does not state, a sentence each.
        why_seeds: why there are as many seeds as there are.
        tuned: whether the paper tuned the methods on train-fullsup, so that ``--tuned`` makes sense.
    """

    source: str
    blocks: Sequence[Block]
    seeds: Sequence[int]
    settings: Mapping[str, str]
    schedules: Mapping[str, Mapping[str, int]]
    ours: Sequence[str]
    why_seeds: str
    tuned: bool

    @property
    def runs(self) -> int:
        """How many runs the whole recipe has."""
        return len({*self._cells()}) * len(self.seeds)

    def _cells(self) -> list[tuple[str, str, str]]:
        return [
            (str(r), b, d) for block in self.blocks for r in block.rows for b in block.backbones for d in block.datasets
        ]


def narrowed(blocks: Sequence[Block], asked: Mapping[str, Sequence[str]]) -> list[Block]:
    """Return a recipe's blocks with what the user asked for in place of their methods, backbones or datasets.

    A name that the recipe has keeps to the blocks that have it; one that it does not have goes to every block.

    Args:
        blocks: of the recipe.
        asked: names for any of ``rows``, ``backbones`` and ``datasets``; rows go by the name of their method.

    >>> table = [Block(rows="a", backbones=["b"], datasets=["cub"]), Block(rows="a", backbones=["b"], datasets=["x"])]
    >>> [block.datasets for block in narrowed(table, {"datasets": ["cub", "parts"]})]
    [['cub', 'parts'], ['parts']]
    """
    known = {part: {_name(value) for block in blocks for value in getattr(block, part)} for part in asked}
    found = []
    for block in blocks:
        parts: dict[str, Sequence[Any]] = {
            "rows": block.rows,
            "backbones": block.backbones,
            "datasets": block.datasets,
        }
        for part, names in asked.items():
            added = [name for name in names if name not in known[part]]
            new = [GridRow(method=name) for name in added] if part == "rows" else added
            parts[part] = [*(value for value in parts[part] if _name(value) in names), *new]
        found.append(Block(**parts))
    return [block for block in found if block.rows and block.backbones and block.datasets]


def _name(value: GridRow | str) -> str:
    return value.method if isinstance(value, GridRow) else value


# --- the paper --------------------------------------------------------------------------------------------------------

_STATED = {"batch_size": "32", "lr": "0.001", "weight_decay": "0.0001", "momentum": "0.9"}
_SCHEDULES = {
    "cub": {"epochs": 50, "lr_decay_every": 15},
    "ilsvrc": {"epochs": 10, "lr_decay_every": 3},
}
_BACKBONES = ("vgg16", "inception_v3", "resnet50")
_DATASETS = ("ilsvrc", "cub")
_INCA = GridRow(method="inca", settings={"fc_reduction": "sum"})
_COMPARED = tuple(GridRow(method=name) for name in ("cam", "has", "acol", "spg", "adl", "cutmix"))
_MEIL = GridRow(method="meil")

_SEEDS = (0, 1, 2)
_SEEDS_OF_ABLATIONS = (0, 1, 2, 3, 4)

_SCHEDULE = (
    "epochs and decay are Choe et al.'s (CUB 50 epochs, by 10 every 15; ImageNet 10, every 3); other datasets keep "
    "their own"
)
_DETAILS = (
    "Nesterov momentum, the tenfold rate of new layers and the map stride of 16 are this project's defaults; "
    "--set param_groups=reference --set lr_decay_early=true is Choe et al.'s code to the letter"
)
_ATTENTION = "InCA's attention is residual; --set attention=literal is Eq. 5 as written"
_COMPARED_RATE = (
    "the compared methods have their own papers' hyperparameters and InCA's learning rate; the printed numbers are of "
    "Choe et al.'s 30 trials each: wsolbench tune, then --tuned"
)
_INCA_TUNED = "InCA has the values of Table 1; how they were found is not said beyond train-fullsup"


_WHY_THREE = "3 seeds, since it names none: differences between methods need 5 to be claimed (--seeds 0,1,2,3,4)"
_WHY_FIVE = "5 seeds, since it names none: the fewest that a claim may rest on, and the differences here are small"


def _ablation(source: str, presets: Sequence[str], backbone: str, *ours: str) -> TableRecipe:
    """Return the recipe of an ablation of InCA on CUB."""
    rows = [GridRow(method="inca", preset=preset) for preset in presets]
    return TableRecipe(
        source=source,
        blocks=[Block(rows=rows, backbones=(backbone,), datasets=("cub",))],
        seeds=_SEEDS_OF_ABLATIONS,
        settings=_STATED,
        schedules=_SCHEDULES,
        ours=(_SCHEDULE, _DETAILS, _ATTENTION, *ours),
        why_seeds=_WHY_FIVE,
        tuned=False,
    )


def _comparison(source: str, blocks: Sequence[Block], *ours: str, tuned: bool = True) -> TableRecipe:
    """Return the recipe of a comparison of methods on ImageNet and CUB."""
    return TableRecipe(
        source=source,
        blocks=blocks,
        seeds=_SEEDS,
        settings=_STATED,
        schedules=_SCHEDULES,
        ours=(_SCHEDULE, _DETAILS, _ATTENTION, *ours),
        why_seeds=_WHY_THREE,
        tuned=tuned,
    )


def _full(*rows: GridRow, datasets: Sequence[str] = _DATASETS) -> Block:
    return Block(rows=rows, backbones=_BACKBONES, datasets=datasets)


RECIPES: dict[str, TableRecipe] = {
    "table2": _ablation(
        "Ki et al. 2020, Table 2, and the baseline with M_dfg of its text: each element of InCA",
        [
            f"table2/{row}"
            for row in (
                "baseline",
                "baseline-with-m-dfg",
                "without-contrastive",
                "without-fc",
                "without-non-local",
                "without-m-dfg",
                "full",
            )
        ],
        "resnet50",
        "the baseline is ADL with ADL's own hyperparameters",
    ),
    "table3": _ablation(
        "Ki et al. 2020, Table 3: where InCA's attention is inserted",
        [f"table3/{point}" for point in ("conv5_3", "pool4", "pool3", "pool2", "pool1")],
        "vgg16",
        "conv5_3 alone, whose row is empty in the paper, runs without L_fc",
    ),
    "table4": _comparison(
        "Ki et al. 2020, Table 4: MaxBoxAccV2 of seven methods",
        [_full(*_COMPARED, _INCA)],
        _COMPARED_RATE,
        _INCA_TUNED,
    ),
    "table5": _comparison(
        "Ki et al. 2020, Table 5: MaxBoxAccV2 in detail against the runner-up",
        [
            _full(GridRow(method="adl"), _INCA, datasets=("cub",)),
            _full(GridRow(method="has"), _INCA, datasets=("ilsvrc",)),
        ],
        _COMPARED_RATE,
        _INCA_TUNED,
    ),
    "table6": _comparison(
        "Ki et al. 2020, Table 6: conventional top-1 localisation",
        [_full(*_COMPARED, _MEIL, _INCA)],
        "the printed numbers are the methods' own papers', with training recipes of their own; compare with "
        "top1_loc_at_0.2. Cells that the paper leaves empty are trained too",
        "nothing is tuned on train-fullsup, as the paper says of this table, so InCA's hyperparameters should not be "
        "either; the paper prints no others than Table 1's",
        "MEIL is an unverified reimplementation",
        tuned=False,
    ),
    "table7": _comparison(
        "Ki et al. 2020, Table 7: top-1 classification",
        [_full(*_COMPARED, _MEIL, _INCA)],
        _COMPARED_RATE,
        _INCA_TUNED,
        "MEIL is an unverified reimplementation; its printed numbers are its own paper's",
    ),
    "supplement1": _ablation(
        "Ki et al. 2020, supplement, Table 1: NT-Xent instead of the triplet",
        [f"supplement1/{row}" for row in ("baseline", "nt-xent", "triplet")],
        "resnet50",
        "the baseline is ADL with ADL's own hyperparameters",
    ),
}


def recipe(name: str) -> TableRecipe:
    """Return a recipe by name.

    Raises:
        UserError: there is none; the nearest name is suggested.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]


def summaries() -> dict[str, str]:
    """Return a line on each recipe, by name."""
    return {name: _summary(each) for name, each in RECIPES.items()}


def _summary(each: TableRecipe) -> str:
    backbones = list(dict.fromkeys(name for block in each.blocks for name in block.backbones))
    datasets = list(dict.fromkeys(name for block in each.blocks for name in block.datasets))
    return f"{each.source}; {', '.join(backbones)} on {', '.join(datasets)}, {len(each.seeds)} seeds: {each.runs} runs"
