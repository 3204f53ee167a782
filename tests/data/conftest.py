"""Small archives in the public layout, written with PIL, and small published split files."""

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

WNIDS = ("n00000003", "n00000001", "n00000002")  # not sorted, as in the real wnids.txt
TRAIN_IMAGES = 13
TEST_IMAGES = 2


def jpeg(seed: int, mode: str = "RGB", size: tuple[int, int] = (64, 64)) -> bytes:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def box_of(seed: int) -> tuple[int, int, int, int]:
    return seed % 30, seed % 20, 63 - seed % 5, 40 + seed % 7


def tiny_files() -> dict[str, bytes]:
    """Files of a tiny ImageNet with three classes, by their path below tiny-imagenet-200."""
    files = {
        "wnids.txt": "".join(f"{wnid}\n" for wnid in WNIDS).encode(),
        "words.txt": b"n00000001\tgoldfish, Carassius auratus\nn00000002\tbee\nn09999999\tother, thing\n",
    }
    seed = 0
    annotations: list[str] = []
    for wnid in WNIDS:
        lines: list[str] = []
        for number in range(TRAIN_IMAGES):
            seed += 1
            name = f"{wnid}_{number}.JPEG"
            files[f"train/{wnid}/images/{name}"] = jpeg(seed, "L" if number == 3 else "RGB")
            lines.append("\t".join(map(str, (name, *box_of(seed)))))
        files[f"train/{wnid}/{wnid}_boxes.txt"] = ("\n".join(lines) + "\n").encode()
    for number in range(TEST_IMAGES * len(WNIDS)):
        seed += 1
        name = f"val_{number}.JPEG"
        files[f"val/images/{name}"] = jpeg(seed)
        annotations.append("\t".join(map(str, (name, WNIDS[number % len(WNIDS)], *box_of(seed)))))
    files["val/val_annotations.txt"] = ("\n".join(annotations) + "\n").encode()
    files["test/images/test_0.JPEG"] = jpeg(0)
    return files


def write_folder(files: dict[str, bytes], parent: Path) -> Path:
    root = parent / "tiny-imagenet-200"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(files: dict[str, bytes], path: Path, root: str = "tiny-imagenet-200/") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(root, b"")
        for name, content in files.items():
            archive.writestr(root + name, content)
    return path


@pytest.fixture
def tiny() -> SimpleNamespace:
    """Hand tests the writers of this file, which they cannot import: tests/ is not a package."""
    return SimpleNamespace(
        train_images=TRAIN_IMAGES,
        test_images=TEST_IMAGES,
        jpeg=jpeg,
        box_of=box_of,
        write_folder=write_folder,
        write_zip=write_zip,
    )


@pytest.fixture
def files() -> dict[str, bytes]:
    return tiny_files()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_zip(tiny_files(), tmp_path / "tiny-imagenet-200.zip")


@pytest.fixture
def repack(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Write changed files as an archive."""
    return lambda files: write_zip(files, tmp_path / "changed.zip")


@pytest.fixture
def shared_data() -> Path:
    path = Path(__file__).parents[3] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"the shared data folder is not at {path}")
    return path
