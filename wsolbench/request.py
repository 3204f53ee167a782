"""What the user asked of one run, and the command line that asks it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsolbench.data.places import Places
from wsolbench.record_schema import Tuned


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for; None is "the default".

    Attributes:
        method: method's name.
        dataset: dataset's name.
        backbone: backbone's name; None: the preset's, or resnet50.
        preset: name of one of the method's presets.
        data_root: where the images are.
        metadata: folder of split files in the published format.
        masks_root: folder of the masks.
        allow_partial: go on where the splits are not the benchmark's.
        data_options: the dataset's options, as text.
        settings: fields of the method and of the recipe, as text.
        recipe: recipe fields that have an option of their own, by value.
        weights: ``imagenet``, ``none`` or a path; None: imagenet where torchvision has them, else none.
        precision: ``auto``, ``bf16`` or ``fp32``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        results: folder of records and runs.
        resume: go on from a checkpoint, and return a record that is already there.
        cache: folder of the decoded images.
        save_maps: folder that gets each raw map as ``<split>/<image id>.npy``.
        plugins: local method files.
        tuned: the study that chose the hyperparameters among ``settings`` and ``recipe``.
        quiet: plain progress lines.
    """

    method: str
    dataset: str
    backbone: str | None = None
    preset: str | None = None
    data_root: Path | None = None
    metadata: Path | None = None
    masks_root: Path | None = None
    allow_partial: bool = False
    data_options: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    precision: str = "auto"
    device: str = "auto"
    results: Path = Path("results")
    resume: bool = True
    cache: Path | None = None
    save_maps: Path | None = None
    plugins: Sequence[Path] = ()
    tuned: Tuned | None = None
    quiet: bool = False

    @property
    def places(self) -> Places:
        """Where the dataset's files are."""
        return Places(data_root=self.data_root, metadata=self.metadata, masks_root=self.masks_root, cache=self.cache)

    @property
    def command(self) -> str:
        """The command line that repeats this run."""
        return shlex.join(["wsolbench", "run", self.method, self.dataset, *self.options()])

    def options(self) -> list[str]:
        """Return the options that decide the numbers, as words of a command line."""
        words: list[str] = []
        named: dict[str, Any] = {"preset": self.preset, "backbone": self.backbone, "data_root": self.data_root}
        named |= {"metadata": self.metadata, "masks_root": self.masks_root, "allow_partial": self.allow_partial}
        named |= {"weights": self.weights, **self.recipe}
        for name, value in named.items():
            if isinstance(value, bool):
                words += [option_name(name)] if value else []
            elif value is not None:
                words += [option_name(name), str(value)]
        if self.precision != "auto":
            words += ["--precision", self.precision]
        repeated = {"--data-option": _pairs(self.data_options), "--set": _pairs(self.settings)}
        repeated["--plugin"] = [str(path) for path in self.plugins]
        return words + [word for option, values in repeated.items() for value in values for word in (option, value)]


def option_name(name: str) -> str:
    """Return the command-line option of a field."""
    return "--" + name.replace("_", "-")


def _pairs(values: Mapping[str, str]) -> list[str]:
    """Return ``key=value`` texts."""
    return [f"{key}={value}" for key, value in values.items()]
