"""The files that a new method starts from."""

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template

from wsolbench.errors import UserError
from wsolbench.plugins import find_methods

METHOD = Template('''"""${title}: one line on what it does, which `wsolbench list methods` shows.

Authors, "Title", venue year. Say here what the method does, with the numbers of the equations, and name every guess
where the paper is silent. As it stands, random cells of the last features are hidden while training.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsolbench.config import Uniform, check, hyper
from wsolbench.method import Draws, Losses, Method

CELLS = 4  # rows and columns of cells


@dataclass(frozen=True, kw_only=True)
class ${title}Config:
    """Hyperparameters; `--set drop_rate=0.5` changes one, `search` is the range that tuning draws from."""

    drop_rate: float = hyper(0.2, "probability that a cell is hidden", low=0, high=1, search=Uniform(0, 0.5))

    def __post_init__(self) -> None:
        check(self)


class ${title}(Method[${title}Config]):
    """Hide random cells of the last features."""

    name = "${name}"
    paper = "Authors, Title, venue year"
    Config = ${title}Config

    def draw(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Draw `seen`, bool (n, 1, 4, 4). All randomness of a step is made here, on the generator's device."""
        uniform = torch.rand((n, 1, CELLS, CELLS), generator=generator, device=generator.device)
        return {"seen": uniform >= self.config.drop_rate}

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropy of the features with hidden cells; every term is a float32 scalar."""
        features = self.network(images).last
        seen = functional.interpolate(draws["seen"].to(features.dtype), size=features.shape[2:])
        return Losses(terms={"cls": functional.cross_entropy(self.network.logits(features * seen), labels)})

    # predict is inherited: logits and the class activation map of the plain images. Override it for another map.
''')

TEST = Template('''"""${title} conforms: one test for each check of the kit, and one for each backbone."""

from pathlib import Path

import pytest
from wsolbench.conformance import checks


@pytest.mark.parametrize("check", checks(Path(__file__).with_name("${stem}.py")))
def test_conforms(check):
    check()
''')


IMPORTED = ("Draws", "Losses", "Method", "Tensor", "Uniform")


def class_name(name: str) -> str:
    """Return the class of a method's name.

    >>> class_name("my-method")
    'MyMethod'
    """
    return "".join(word.capitalize() for word in name.split("-"))


def write_method(name: str, folder: Path) -> list[Path]:
    """Write a method's file and its test.

    Args:
        name: as it will be on the command line: lower case, hyphens between words.
        folder: where to write; made if it is not there.

    Returns:
        The two paths.

    Raises:
        UserError: the name is taken or cannot be one, or a file is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UserError(f"'{name}' cannot be a method's name; expected lower-case words and hyphens, such as my-method")
    if keyword.iskeyword(name) or keyword.iskeyword(class_name(name)):
        raise UserError(f"'{name}' cannot be a method's name: it is a word of Python; choose another name")
    if name == "conftest" or name.startswith("test-"):
        raise UserError(f"'{name}' cannot be a method's name: pytest takes its file for a test; choose another name")
    if name in (entries := find_methods()):
        raise UserError(f"there is a method '{name}' already ({entries[name].origin}); choose another name")
    stem, title = name.replace("-", "_"), class_name(name)
    if title in IMPORTED:
        raise UserError(f"a class {title} would hide what every method imports; choose another name than '{name}'")
    texts = {folder / f"{stem}.py": METHOD, folder / f"test_{stem}.py": TEST}
    for path in texts:
        if path.exists():
            raise UserError(f"'{path}' is there already; choose another name, another --out, or move it away")
    if importlib.util.find_spec(stem) is not None:
        raise UserError(f"'{stem}.py' would hide the installed Python module '{stem}'; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text.substitute(name=name, stem=stem, title=title), encoding="utf-8")
    return list(texts)
