"""The field's datasets in their public layouts, a few small pictures each, written by the tests."""

import tarfile
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

SIZE = (30, 40)  # height, width
BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
WNIDS = ("n01440764", "n01443537", "n01484850")
MIDS = ("01226z", "0138tl", "014j1m")
FOLDERS = {"train-weaksup": "train", "train-fullsup": "val", "test": "test"}


def picture(seed: int, mode: str = "RGB", size: tuple[int, int] = SIZE) -> bytes:
    shape = (*size, 3) if mode == "RGB" else size
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def mask(box: tuple[int, int, int, int] | None, size: tuple[int, int] = SIZE) -> bytes:
    pixels = np.zeros(size, dtype=np.uint8)
    if box is not None:
        x0, y0, x1, y1 = box
        pixels[y0 : y1 + 1, x0 : x1 + 1] = 255
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def pack(files: dict[str, bytes | str], path: Path) -> Path:
    """Write files as the archive that the path's name says."""
    raw = {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in raw.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix in (".tgz", ".gz") else "w") as archive:
        for name, content in raw.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))
    return path


def published(splits: dict[str, list[tuple]], *, sizes: bool = True) -> dict[str, str]:
    """Return published split files of rows (id, label, objects), each object a box or (mask, ignore mask)."""
    files = {}
    for split, rows in splits.items():
        folder = FOLDERS[split]
        files[f"{folder}/image_ids.txt"] = "".join(f"{image}\n" for image, *_ in rows)
        files[f"{folder}/class_labels.txt"] = "".join(f"{image},{label}\n" for image, label, _ in rows)
        lines = [",".join(map(str, (image, *each))) for image, _, objects in rows for each in objects]
        files[f"{folder}/localization.txt"] = "".join(f"{line}\n" for line in lines)
        if sizes:
            files[f"{folder}/image_sizes.txt"] = "".join(f"{image},{SIZE[1]},{SIZE[0]}\n" for image, *_ in rows)
    return files


def cub() -> SimpleNamespace:
    """Return CUB: the distribution's files, CUBV2's photographs, the published split files, the segmentations.

    Of each class six images of train-weaksup, three of train-fullsup, two of test; not in sorted order.
    """
    rows: dict[str, list[tuple]] = {split: [] for split in FOLDERS}
    original, v2, segmentations = {}, {}, {}
    tables: dict[str, list[str]] = {"images": [], "labels": [], "split": [], "boxes": []}
    number = 0
    for label, bird in enumerate(BIRDS):
        for place in range(8):
            number += 1
            image = f"{bird}/{bird[4:]}_{(place * 5) % 8:04}_{number}.jpg"
            original[f"images/{image}"] = picture(number, "L" if place == 3 else "RGB")
            x, y, w, h = 2 + place, 1 + label, 20, 15 + place
            if place == 7:
                w, h = SIZE[1] - x, SIZE[0] - y  # ends one pixel beyond the last, as some do
            tables["images"].append(f"{number} {image}")
            tables["labels"].append(f"{number} {label + 1}")
            tables["split"].append(f"{number} {int(place < 6)}")
            tables["boxes"].append(f"{number} {x:.1f} {y:.1f} {w:.1f} {h:.1f}")
            box = (x, y, min(x + w, SIZE[1] - 1), min(y + h, SIZE[0] - 1))
            rows["train-weaksup" if place < 6 else "test"].append((image, label, [box]))
            segmentations[image.replace(".jpg", ".png")] = mask(box)
        for place in range(3):
            number += 1
            image = f"{bird}/{30107316117 + number}.jpg"
            v2[image] = picture(number)
            rows["train-fullsup"].append((image, label, [(1 + place, 2, 25, 20 + label)]))
    text = {name: "\r\n".join(lines) + "\r\n\r\n" for name, lines in tables.items()}
    original |= {
        "images.txt": "\ufeff" + text["images"],
        "image_class_labels.txt": text["labels"],
        "train_test_split.txt": text["split"],
        "bounding_boxes.txt": text["boxes"],
        "classes.txt": "".join(f"{label + 1} {bird}\n" for label, bird in enumerate(BIRDS)),
        "README": "CUB\n",
    }
    return SimpleNamespace(original=original, v2=v2, published=published(rows), masks=segmentations, rows=rows)


def _xml(wnid: str, boxes: list[tuple[int, int, int, int]]) -> str:
    objects = "".join(
        f"<object><name>{wnid}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    height, width = SIZE
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><folder>val</folder>{size}{objects}</annotation>"


def ilsvrc() -> SimpleNamespace:
    """Return ImageNet: photographs of train, val and ImageNetV2, XML boxes, the published split files."""
    train, val, v2, xml, labels = {}, {}, {}, {}, {}
    rows: dict[str, list[tuple]] = {"train-fullsup": [], "test": []}
    mapping = []
    seed = 1000
    for label, wnid in enumerate(WNIDS):
        for place in range(10):
            seed += 1
            train[f"{wnid}/{wnid}_{place * 7}.JPEG"] = picture(seed)
        for place in range(2):
            seed += 1
            v2[f"{label}/{place}.jpeg"] = picture(seed)
            mapping.append(f"{label}/{place}.jpeg, {label}/{seed:040x}.jpeg")
            rows["train-fullsup"].append((f"val2/{label}/{place}.jpeg", label, [(1, 2, 20 + place, 20)]))
    for number in range(1, 7):
        seed += 1
        label, name = (number * 2) % 3, f"ILSVRC2012_val_{number:08}"
        boxes = [(1, 2, SIZE[1], 20), (5, 6, 30, SIZE[0])][: 1 + number % 2]
        val[f"{name}.JPEG"] = picture(seed)
        labels[f"{name}.JPEG"] = WNIDS[label]
        xml[f"{name}.xml"] = _xml(WNIDS[label], boxes)
        inside = [(x0, y0, min(x1, SIZE[1] - 1), min(y1, SIZE[0] - 1)) for x0, y0, x1, y1 in boxes]
        rows["test"].append((f"val/{name}.JPEG", label, inside))
    return SimpleNamespace(
        train=train,
        val=val,
        v2=v2,
        xml=xml,
        labels=labels,
        rows=rows,
        published=published(rows),
        mapping="".join(f"{line}\n" for line in mapping),
    )


def below(folder: str, files: dict[str, bytes | str]) -> dict[str, bytes | str]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def openimages() -> SimpleNamespace:
    """Return OpenImages30k: photographs, masks and ignore masks, the published split files."""
    photographs, masks = {}, {}
    rows: dict[str, list[tuple]] = {split: [] for split in FOLDERS}
    seed = 2000
    for split, folder in FOLDERS.items():
        for label, mid in enumerate(MIDS):
            for _ in range({"train": 6, "val": 2, "test": 3}[folder]):
                seed += 1
                stem = f"{folder}/{mid}/{seed:016x}"
                photographs[f"{stem}.jpg"] = picture(seed)
                objects = []
                if folder != "train":
                    objects = [(f"{stem}_m{mid}_{k}.png", f"{stem}_ignore.png" if k == 0 else "") for k in (0, 1)]
                    masks[f"{stem}_m{mid}_0.png"] = mask((3, 4, 15, 20), (15, 20))  # of its own size
                    masks[f"{stem}_m{mid}_1.png"] = mask((2, 2, 9 + label, 12))
                    masks[f"{stem}_ignore.png"] = mask((25, 0, 30, 29) if label else None)
                rows[split].append((f"{stem}.jpg", label, objects))
    files = published(rows, sizes=False)
    return SimpleNamespace(photographs=photographs, masks=masks, rows=rows, published=files)
