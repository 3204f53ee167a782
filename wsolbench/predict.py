"""The main path of ``wsolbench predict``: a checkpoint and any pictures in, overlays and ``predictions.json`` out."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count, islice
from os import walk
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsolbench.data.folder_layout import SUFFIXES, natural
from wsolbench.data.pictures import decode, orientation_of
from wsolbench.data.streaming import ahead, usable_cores
from wsolbench.data.streaming import decode as decode_squares
from wsolbench.engine.device import determinism, resolve_device
from wsolbench.errors import UserError
from wsolbench.files import atomic_write, refuse_unwritable
from wsolbench.kept_network import KeptNetwork, read_network, rebuild
from wsolbench.localization import (
    Answer,
    Location,
    OperatingPoint,
    ask,
    class_index,
    locate,
    operating_point,
    probabilities,
)
from wsolbench.method import Method
from wsolbench.progress import progress
from wsolbench.protocols.shown_boxes import unscale_boxes
from wsolbench.recipe import Recipe
from wsolbench.record_schema import Record
from wsolbench.records import read_record, record_files
from wsolbench.report.overlay import draw_overlay, fitted
from wsolbench.trained import find_checkpoint

BATCH = 32
"""Pictures a forward; what comes out does not depend on it."""

TOP = 5
"""Classes that ``predictions.json`` lists for each picture."""

LISTED = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asked for; None is "the default".

    Attributes:
        checkpoint: the file of a network, the folder of its run, or a run id.
        images: pictures, and folders of pictures.
        out: folder of the overlays and of :data:`LISTED`.
        threshold: t, in [0, 1); None: the one frozen on train-fullsup for GT-known.
        top_k: number of classes with a map of their own.
        class_name: the class of the map; None: what the network prefers.
        results: folder of records and runs.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        plugins: local method files.
        quiet: plain progress lines.
    """

    checkpoint: str
    images: Sequence[Path]
    out: Path
    threshold: float | None = None
    top_k: int = 1
    class_name: str | None = None
    results: Path = Path("results")
    device: str = "auto"
    plugins: Sequence[Path] = ()
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Map:
    """One map of a picture. Boxes are ``x0 y0 x1 y1`` in pixels of the original picture as it is stored, inclusive.

    Attributes:
        label: of the class, its place among the network's; None from a method that does not classify.
        name: the class's name; None likewise.
        probability: of the class, softmax of the logits; None likewise.
        box: of the largest contour; None where the map is one value everywhere.
        boxes: of all contours, which scoring counts.
        overlay: the drawing's file name in ``--out``.
    """

    label: int | None
    name: str | None
    probability: float | None
    box: list[int] | None
    boxes: list[list[int]]
    overlay: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was found out about a picture.

    Attributes:
        image: its path.
        height: pixels.
        width: pixels.
        rotated: a viewer would turn it by its EXIF data; here it is as it is stored, as in scoring.
        top: (name, probability) of the most probable classes, best first; empty from a method that does not classify.
        maps: one for each class that has a map.
    """

    image: str
    height: int
    width: int
    rotated: bool
    top: list[tuple[str, float]]
    maps: list[Map]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What was found out; :data:`LISTED` has it too.

    Attributes:
        network: which network, in words.
        point: how its maps became boxes.
        images: of the pictures that could be read.
        failed: path of a picture that could not -> why.
    """

    network: str
    point: OperatingPoint
    images: Sequence[Prediction]
    failed: Mapping[str, str]


def predict(asked: Asked) -> Predicted:
    """Predict class, score map and box of pictures; write an overlay for each map, and :data:`LISTED`.

    Args:
        asked: what to do.

    Raises:
        UserError: no such checkpoint or picture, a class or threshold that does not exist, or a network that cannot
            be built again.
        RunError: the network's outputs are not finite.
    """
    files = find_pictures(asked.images, asked.out)
    refuse_unwritable("--out", asked.out)
    opened = _open(asked)
    asked.out.mkdir(parents=True, exist_ok=True)
    names = Names(asked.out, files)
    images: list[Prediction] = []
    failed: dict[str, str] = {}
    with (
        determinism(opened.recipe.deterministic),
        progress("predict", len(files), quiet=asked.quiet) as bar,
        closing(_batches(files, opened.recipe.image_size)) as batches,
    ):
        for pictures, unreadable in batches:
            failed |= unreadable
            if pictures:
                squares = np.stack([each.square for each in pictures])
                answer = ask(opened.method, squares, label=opened.label, count=asked.top_k)
                if answer.labels is None and (opened.label is not None or asked.top_k > 1):
                    raise UserError(f"{opened.kept.method} does not classify; leave out --class and --top-k")
                images += _finished(pictures, answer, opened, names)
            bar.advance(len(pictures) + len(unreadable))
    done = Predicted(network=opened.words, point=opened.point, images=images, failed=failed)
    atomic_write(asked.out / LISTED, (json.dumps(_as_json(done, opened), indent=1) + "\n").encode())
    return done


@dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """A network ready to be asked; ``label`` is the class that the user asked for."""

    path: Path
    kept: KeptNetwork
    method: Method[Any]
    recipe: Recipe
    point: OperatingPoint
    label: int | None

    @property
    def words(self) -> str:
        kept = self.kept
        return f"{kept.method} on {self.recipe.backbone}, {len(kept.class_names):,} classes, run {kept.run_id}"


def _open(asked: Asked) -> _Opened:
    path = find_checkpoint(asked.checkpoint, asked.results)
    kept = read_network(path)
    point = operating_point(kept, asked.threshold, None if kept.complete else _record_of(kept, path, asked.results))
    label = None if asked.class_name is None else class_index(asked.class_name, kept.class_names)
    method, recipe = rebuild(kept, resolve_device(asked.device), asked.plugins)
    return _Opened(path=path, kept=kept, method=method, recipe=recipe, point=point, label=label)


def _as_json(done: Predicted, opened: _Opened) -> dict[str, Any]:
    return {
        "checkpoint": str(opened.path),
        "run": opened.kept.run_id,
        "method": opened.kept.method,
        "backbone": opened.recipe.backbone,
        "image_size": opened.recipe.image_size,
        "normalization": done.point.normalization.name,
        "percentile": done.point.normalization.percentile,
        "threshold": done.point.threshold,
        "threshold_from": done.point.origin,
        "images": [asdict(each) for each in done.images],
        "failed": dict(done.failed),
    }


def _record_of(kept: KeptNetwork, path: Path, results: Path) -> Record | None:
    """Return the record of a network's run: below ``results``, or where its checkpoint lies in a results folder."""
    runs = path.absolute().parent.parent
    for folder in (results, runs.parent) if runs.name == "runs" else (results,):
        if folder.is_dir():
            for file in record_files(folder):
                if file.stem == kept.run_id:
                    with suppress(ValueError):  # it is damaged, and as good as not there
                        return read_record(file)
    return None


# --- pictures ---------------------------------------------------------------------------------------------------------


def find_pictures(images: Sequence[Path], out: Path) -> list[Path]:
    """Return the pictures that were asked for, each once: files as given, of folders all pictures at any depth.

    What begins with a dot is left out, and so is what lies in the folder of the results.

    Args:
        images: files and folders.
        out: folder of the results.

    Raises:
        UserError: a path does not exist, a folder holds no picture, or is the folder of the results.
    """
    found: dict[Path, Path] = {}
    for path in images:
        if path.is_dir():
            if path.resolve() == out.resolve():
                raise UserError(f"--out {out} is the folder of the pictures; choose another one, so they do not mix")
            inside = sorted(_walk(path, out.resolve()), key=lambda each: natural(each.as_posix()))
            if not inside:
                raise UserError(f"'{path}' holds no pictures ({' '.join(SUFFIXES)}); expected at least one")
        elif path.exists():
            inside = [path]
        else:
            raise UserError(f"there is no picture or folder '{path}'; check the path")
        found |= {each.resolve(): each for each in inside if each.resolve() not in found}
    return list(found.values())


def _walk(folder: Path, out: Path) -> Iterator[Path]:
    for root, folders, files in walk(folder):
        folders[:] = [each for each in folders if each[0] != "." and (Path(root) / each).resolve() != out]
        yield from (Path(root) / name for name in files if name[0] != "." and name.lower().endswith(SUFFIXES))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Picture:
    """A picture that was read.

    Attributes:
        path: where it is.
        size: (H, W) in pixels, as it is stored.
        square: uint8 (S, S, 3), at the evaluation size.
        shown: at the size that it is drawn at.
        rotated: a viewer would turn it.
    """

    path: Path
    size: tuple[int, int]
    square: npt.NDArray[np.uint8]
    shown: Image.Image
    rotated: bool


def _batches(files: Sequence[Path], side: int) -> Generator[tuple[list[_Picture], dict[str, str]], None, None]:
    """Read pictures ahead of their use; yields those of a batch, and path -> why of those that cannot be read."""
    threads = usable_cores()
    with closing(ahead(partial(_read, side=side), files, threads, BATCH)) as read:
        while batch := list(islice(read, BATCH)):
            pictures = [each for each in batch if isinstance(each, _Picture)]
            yield pictures, dict(each for each in batch if not isinstance(each, _Picture))


def _read(path: Path, side: int) -> _Picture | tuple[str, str]:
    """Return a picture, or its path and why it cannot be read; of a large one only what is needed stays in memory."""
    try:
        picture = decode(path.read_bytes(), str(path))
    except UserError as error:
        return str(path), str(error)
    except OSError as error:
        return str(path), f"cannot read {path} ({error.strerror}); expected a file that can be read"
    square = np.empty((1, side, side, 3), dtype=np.uint8)
    decode_squares(lambda _: picture, [0], square)
    return _Picture(
        path=path,
        size=(picture.height, picture.width),
        square=square[0],
        shown=fitted(picture),
        rotated=orientation_of(picture) != 1,
    )


class Names:
    """Gives each drawing a file of its own in the folder of the results: ``cat.jpg``, ``cat-2.jpg``, ...

    Args:
        out: the folder.
        pictures: files that must not be overwritten, wherever they are.
    """

    def __init__(self, out: Path, pictures: Sequence[Path]) -> None:
        self._out = out
        # Without regard to case: there are disks that make no difference.
        self._taken = {each.name.casefold() for each in pictures if each.resolve().parent == out.resolve()}

    def new(self, stem: str) -> Path:
        """Return the next free file for a picture of that name."""
        for number in count(1):
            name = f"{stem}.jpg" if number == 1 else f"{stem}-{number}.jpg"
            if name.casefold() not in self._taken:
                break
        self._taken.add(name.casefold())
        return self._out / name


# --- what is found ----------------------------------------------------------------------------------------------------


def _finished(pictures: Sequence[_Picture], answer: Answer, opened: _Opened, names: Names) -> Iterator[Prediction]:
    """Draw every map of a batch; yields what is known about each picture."""
    shares = None if answer.logits is None else probabilities(answer.logits)
    for index, picture in enumerate(pictures):
        found = locate(answer.maps[index], opened.recipe.image_size, opened.point)
        if shares is None or answer.labels is None:
            top, maps = [], [_drawn(picture, found[0], opened, names)]
        else:
            chances = shares[index].tolist()
            named = list(zip(opened.kept.class_names, chances, strict=True))
            top = sorted(named, key=lambda each: -each[1])[:TOP]
            maps = [
                _drawn(picture, location, opened, names, label, chances[label])
                for label, location in zip(answer.labels[index].tolist(), found, strict=True)
            ]
        height, width = picture.size
        yield Prediction(
            image=str(picture.path), height=height, width=width, rotated=picture.rotated, top=top, maps=maps
        )


def _drawn(
    picture: _Picture,
    location: Location,
    opened: _Opened,
    names: Names,
    label: int | None = None,
    chance: float | None = None,
) -> Map:
    """Draw and write one map, of a class where there is one."""
    side = opened.recipe.image_size
    boxes = unscale_boxes(location.boxes, (side, side), picture.size).tolist()
    box = None
    if location.largest is not None:
        (box,) = unscale_boxes(location.largest[None], (side, side), picture.size).tolist()
    where = "no box: the map is one value everywhere"
    if box is not None:
        where = "box ({}, {}) to ({}, {})".format(*box)
    name = None if label is None else opened.kept.class_names[label]
    headline = opened.kept.method if name is None else f"{name}  {chance:.1%}"
    caption = (headline, f"{where}  ·  t = {opened.point.threshold:.3f}")
    drawing = draw_overlay(picture.shown, location.score_map, box, picture.size, caption)
    path = names.new(picture.path.stem)
    drawing.save(path, "JPEG", quality=90, subsampling=0)
    return Map(label=label, name=name, probability=chance, box=box, boxes=boxes, overlay=path.name)
