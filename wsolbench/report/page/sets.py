"""The sets of test images behind the tables: their data, opened where it is here, and the pictures taken from each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wsolbench.data.places import Places
from wsolbench.data.splits import Dataset
from wsolbench.differences import flatten
from wsolbench.errors import UserError
from wsolbench.leaderboard.model import Leaderboard
from wsolbench.record_schema import Record, canonical
from wsolbench.recorded_data import recorded_division
from wsolbench.records import record_files
from wsolbench.report.page.pictures import Chosen, choose


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where the files of runs lie.

    Attributes:
        hits: run id -> the hits beside the record.
        maps: run id -> the folder of its kept maps, which may not be there.
    """

    hits: Mapping[str, Path]
    maps: Mapping[str, Path]


@dataclass(kw_only=True)
class ImageSet:
    """The test images that some tables were scored on.

    Attributes:
        example: a record that was scored on them.
        tables: places of those tables in the leaderboard.
        dataset: opened; None where it is not here.
        notes: what is missing, a sentence each.
        chosen: the pictures of the page; None: there are none.
    """

    example: Record
    tables: list[int] = field(default_factory=list)
    dataset: Dataset | None = None
    notes: list[str] = field(default_factory=list)
    chosen: Chosen | None = None

    @property
    def title(self) -> str:
        """The dataset's name with its options."""
        identity = self.example.identity
        options = ", ".join(f"{name}={text}" for name, text in flatten(identity["dataset_options"]).items())
        name: str = identity["dataset"]
        return f"{name} ({options})" if options else name


def locate(results: Path, records: Iterable[Record]) -> Folders:
    """Find the hits beside the records, and where the runs keep their maps: ``<results>/runs/<run-id>``.

    Args:
        results: as for :func:`~wsolbench.records.record_files`.
        records: those that were loaded from there.
    """
    paths: dict[str, Path] = {}
    for path in record_files(results):
        paths.setdefault(path.stem, path)
    maps = {}
    for record in records:
        above = paths[record.run_id].absolute().parents
        depth = 1 + len(record.identity["dataset"].split("/"))  # records/, and a folder for each part of the name
        if depth < len(above):
            maps[record.run_id] = above[depth] / "runs" / record.run_id
    return Folders(hits={name: path.with_suffix(".npz") for name, path in paths.items()}, maps=maps)


def open_sets(board: Leaderboard, places: Places) -> list[ImageSet]:
    """Return the sets of test images behind the tables, in the tables' order, with their data where it is here.

    Args:
        board: the leaderboard.
        places: where the files of the datasets are, for those that read them.
    """
    found: dict[str, ImageSet] = {}
    for place, table in enumerate(board.tables):
        example = (*table.rows, *table.nulls)[0].records[0]
        found.setdefault(_key(example), ImageSet(example=example)).tables.append(place)
    for each in found.values():
        try:
            each.dataset = recorded_division(each.example, places).dataset
        except UserError as error:
            each.notes.append(
                f"{each.title}: no pictures and no numbers by class, because its data could not be opened ({error}); "
                "say where it is with --data-root, and --metadata if it has split files."
            )
    return list(found.values())


def _key(record: Record) -> str:
    """Return one text for the images that a record was scored on and the size they were scored at."""
    identity = record.identity
    told = [identity["dataset"], identity["dataset_options"], identity["fingerprints"].get("test")]
    return canonical([*told, identity["recipe"]["image_size"]])


def choose_pictures(board: Leaderboard, sets: Sequence[ImageSet], folders: Folders, count: int) -> None:
    """Divide the pictures evenly among the sets whose data and maps are here; note where the maps are not.

    Args:
        board: the leaderboard.
        sets: of its tables; those that get pictures are told so.
        folders: where the maps are.
        count: number of pictures in all.
    """
    able = []
    for each in sets:
        if each.dataset is None:
            continue
        runs = [record for place in each.tables for row in board.tables[place].rows for record in row.records]
        if any(_kept(record, folders) for record in runs):
            able.append(each)
        else:
            each.notes.append(_no_maps(each, runs))
    for place, each in enumerate(able):
        assert each.dataset is not None
        images = each.dataset.images("test")
        indices = choose(images.ids, images.labels, count // len(able) + (place < count % len(able)))
        if len(indices):
            side = each.example.identity["recipe"]["image_size"]
            annotations = each.dataset.annotations("test")
            each.chosen = Chosen(indices=indices, images=images, annotations=annotations, side=side)


def _no_maps(each: ImageSet, runs: Sequence[Record]) -> str:
    if not runs:
        return f"{each.title}: no pictures, because only null rows were scored on it."
    return (
        f"{each.title}: no pictures, because no run has its raw maps in runs/<run-id> here; a run leaves them there, "
        f"so repeat one with `{runs[0].provenance.command} --no-resume`, or copy the folder from where it was trained."
    )


def _kept(record: Record, folders: Folders) -> bool:
    folder = folders.maps.get(record.run_id)
    return folder is not None and (folder / "test.npz").is_file()
