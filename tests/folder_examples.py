"""A user's own folder with each kind of annotations, all from one content: pictures by path, boxes by picture."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (20, 30)  # height, width of every picture


def jpeg(seed, size=SIZE, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def example(per_class=10, classes=("cat", "dog"), top=""):
    """Return pictures by path, and one or two boxes for each of them."""
    names = [f"{top}{name}/{number}.jpg" for name in classes for number in range(per_class)]
    pictures = {name: jpeg(seed) for seed, name in enumerate(names)}
    boxes = {name: [(seed % 9, seed % 7, 20 + seed % 10, 12 + seed % 8)] for seed, name in enumerate(names)}
    for name in names[::3]:
        boxes[name].append((0, 1, 4, 5))
    return pictures, boxes


def class_of(name):
    return name.split("/")[-2]


def csv_files(boxes, size=SIZE):
    lines = [f"{name},{','.join(map(str, box))}\n" for name, own in boxes.items() for box in own]
    return {"boxes.csv": "".join(["image,x0,y0,x1,y1\n", *lines]).encode()}


def coco_files(boxes, size=SIZE):
    """Write a category that is no class beside the boxes, and crowds."""
    classes = sorted({class_of(name) for name in boxes})
    categories = [{"id": 7 + index, "name": name} for index, name in enumerate([*classes, "person"])]
    known = {entry["name"]: entry["id"] for entry in categories}
    images, annotations = [], []
    for number, (name, own) in enumerate(boxes.items()):
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for x0, y0, x1, y1 in own:
            box = [x0, y0, x1 - x0 + 1.0, y1 - y0 + 1]
            annotations.append({"image_id": number, "category_id": known[class_of(name)], "bbox": box})
        annotations.append({"image_id": number, "category_id": known["person"], "bbox": [0, 0, 3, 3]})
        crowd = {"image_id": number, "category_id": known[class_of(name)], "bbox": [0, 0, 2, 2], "iscrowd": 1}
        annotations.append(crowd)
    content = {"images": images, "annotations": annotations, "categories": categories}
    return {"annotations/instances_all.json": json.dumps(content).encode()}


def voc_text(label, boxes, size=SIZE):
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1 + 1}</xmax>"
        f"<ymax>{y1 + 1}</ymax></bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    height, width = size
    told = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>other.jpg</filename>{told}{objects}</annotation>".encode()


def voc_files(boxes, size=SIZE):
    return {
        f"Annotations/{name.removesuffix('.jpg')}.xml": voc_text(class_of(name), own[::-1], size)
        for name, own in boxes.items()
    }


def mask_files(boxes, size=SIZE):
    files = {}
    for name, own in boxes.items():
        mask = np.zeros(size, np.uint8)
        for x0, y0, x1, y1 in own:
            mask[y0 : y1 + 1, x0 : x1 + 1] = 255
        buffer = BytesIO()
        Image.fromarray(mask).save(buffer, "PNG")
        files[f"masks/{name.removesuffix('.jpg')}.png"] = buffer.getvalue()
    return files


WRITERS = {"csv": csv_files, "coco": coco_files, "voc": voc_files, "masks": mask_files}


def write(root: Path, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root
