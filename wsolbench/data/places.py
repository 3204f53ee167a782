"""Where the files of a dataset are, as the command line says it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsolbench.data.sources import Source, open_source
from wsolbench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the files of a dataset are; each may be None.

    Attributes:
        data_root: folder or archive of the images.
        metadata: folder of split files in the published format.
        masks_root: folder that the masks' names are relative to.
        cache: folder of what is found out or unpacked once; None: the user's; ``none``: nowhere.
    """

    data_root: Path | None = None
    metadata: Path | None = None
    masks_root: Path | None = None
    cache: Path | None = None

    def options(self) -> list[str]:
        """Return the options that say where the files are, the cache aside, as words of a command line."""
        named = {"--data-root": self.data_root, "--metadata": self.metadata, "--masks-root": self.masks_root}
        return [word for option, path in named.items() if path is not None for word in (option, str(path))]

    def __post_init__(self) -> None:
        for option, folder in (("--metadata", self.metadata), ("--masks-root", self.masks_root)):
            if folder is not None and not folder.is_dir():
                raise UserError(f"{option} {folder} is no folder; expected the folder that the files are in")


class Containers:
    """Everything that may hold a dataset's images: the data root, and what lies in it or beside it.

    Each is opened when it is looked into, since a ``.tgz`` is decompressed then; one that lies beside its unpacked
    folder is left alone.

    Args:
        places: where the files are.
        archives: names of the dataset's archives.
        beside: names of folders that may lie beside the data root.

    Raises:
        UserError: the data root does not exist.
    """

    def __init__(self, places: Places, archives: Sequence[str] = (), beside: Sequence[str] = ()) -> None:
        root = places.data_root
        self._cache = places.cache
        self._open: dict[Path, Source] = {}
        self.paths: list[Path] = []
        if root is None:
            return
        if not root.exists():
            raise UserError(f"--data-root {root} does not exist; expected the folder or the archive of the images")
        near = [*([root] if root.is_dir() else []), root.absolute().parent]
        found = [near[-1] / name for name in beside if (near[-1] / name).is_dir()]
        found += [path for folder in near for name in archives if (path := folder / name).is_file() and _packed(path)]
        self.paths = [root, *(path for path in found if path.resolve() != root.resolve())]

    def __iter__(self) -> Iterator[Source]:
        """Open one after another; UserError where an archive cannot be read."""
        for path in self.paths:
            if path not in self._open:
                self._open[path] = open_source(path, cache=self._cache)
            yield self._open[path]


def _packed(archive: Path) -> bool:
    """Tell whether the folder that an archive unpacks to does not lie beside it."""
    return not archive.with_name(archive.name.partition(".")[0]).is_dir()
