"""Files of boxes: quirks that are read as they are meant, and faults that are one sentence with file and place."""

import json

import pytest
from folder_examples import voc_text, write

from wsolbench.data.folder_boxes import coco_box, read_coco, read_csv, read_voc
from wsolbench.data.folder_layout import Finder
from wsolbench.data.sources import open_source
from wsolbench.errors import UserError

IMAGES = ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/a, b.jpg", "dog/\u00e9.jpg", "dog/x/3.png"]


@pytest.fixture
def read(tmp_path):
    """Return a function that writes one file and reads it as its ending says."""

    def write_and_read(content, name=None):
        if isinstance(content, dict):
            content, name = json.dumps(content), name or "annotations.json"
        name = name or "boxes.csv"
        source = open_source(write(tmp_path, {name: content}))
        if name.endswith(".csv"):
            return read_csv(source, name, Finder(IMAGES))
        if name.endswith(".json"):
            return read_coco(source, [name], Finder(IMAGES))
        return read_voc(source, [name], Finder(IMAGES, stems=True))

    return write_and_read


@pytest.fixture
def refuse(read):
    """Return a function that expects one sentence, from opening or from reading the boxes of a picture."""

    def everything(*arguments):
        files = read(*arguments)
        return [files.read(image) for image in IMAGES]

    def expect(*arguments):
        with pytest.raises(UserError) as caught:
            everything(*arguments)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return expect


def boxes_of(files):
    return {image: [found.box for found in files.read(image)] for image in sorted(files.annotated)}


# --- boxes.csv --------------------------------------------------------------------------------------------------------

TEXT = 'image,x0,y0,x1,y1\ncat/1.jpg,1,2,3,4\n"dog/a, b.jpg",5,6,7,8\ncat/1.jpg,0,0,9,9\n'
MEANT = {"cat/1.jpg": [(1, 2, 3, 4), (0, 0, 9, 9)], "dog/a, b.jpg": [(5, 6, 7, 8)]}


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "\ufeff" + TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\n\n \n"),
        TEXT.replace(",", " , ").replace("a ,  b", "a, b"),
        TEXT.replace("image,x0,y0", "Image, X0 ,Y0"),
        TEXT.replace("cat/1.jpg", "./cat/1.jpg").replace('"dog/a', '"a'),
        TEXT.replace("cat/1.jpg", "cat\\1.jpg"),
        TEXT.replace("1,2,3,4", "1.0,2.,+3,4.00"),
        TEXT.replace("image,x0,y0,x1,y1", "x0,y0,x1,y1,image")
        .replace("cat/1.jpg,1,2,3,4", "1,2,3,4,cat/1.jpg")
        .replace('"dog/a, b.jpg",5,6,7,8', '5,6,7,8,"dog/a, b.jpg"')
        .replace("cat/1.jpg,0,0,9,9", "0,0,9,9,cat/1.jpg"),
    ],
    ids=["plain", "windows", "blank", "spaces", "capitals", "short", "backslash", "floats", "order"],
)
def test_a_table_is_read_as_it_is_meant(read, text):
    files = read(text)
    assert boxes_of(files) == MEANT
    assert files.split_of is None


def test_names_with_accents_in_either_form(read):
    assert boxes_of(read("image,x0,y0,x1,y1\ndog/e\u0301.jpg,1,2,3,4\n")) == {"dog/\u00e9.jpg": [(1, 2, 3, 4)]}


def test_labels_and_splits(read):
    files = read("image,split,label,x0,y0,x1,y1\ncat/1.jpg,val,cat,1,2,3,4\ncat/2.jpg,test,,,,,\n3.png,train,,,,,\n")
    assert files.split_of == {"cat/1.jpg": "train-fullsup", "cat/2.jpg": "test", "dog/x/3.png": "train-weaksup"}
    assert files.annotated == {"cat/1.jpg"}
    assert [found.label for found in files.read("cat/1.jpg")] == ["cat"]
    assert files.read("cat/2.jpg") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "boxes.csv is empty; expected the columns image,x0,y0,x1,y1"),
        ("cat/1.jpg,1,2,3,4\n", "line 1: the column 'cat/1.jpg' is unknown"),
        ("image;x0;y0;x1;y1\n", "line 1: the column 'image;x0;y0;x1;y1' is unknown"),
        ("\nimage,x0,y0,x1\n", "line 2: the column 'y1' is missing"),
        ("image,x0,y0,x1,y1,splits\n", "the column 'splits' is unknown or there twice"),
        ("image,x0,y0,x1,y1,x0\n", "the column 'x0' is unknown or there twice"),
        (
            "image,x0,y0,x1,y1\na, b.jpg,1,2,3,4\n",
            "line 2: 6 fields where the header has 5; put a name with a comma in",
        ),
        ('image,x0,y0,x1,y1\n"cat/1.jpg,1,2,3,4\n', "line 2: 1 fields where the header has 5"),
        (
            "image,x0,y0,x1,y1\ncat/9.jpg,1,2,3,4\n",
            "line 2: there is no picture 'cat/9.jpg'; restore it or take it out",
        ),
        ("image,x0,y0,x1,y1\n1.jpg,1,2,3,4\n", "line 2: '1.jpg' may mean 'cat/1.jpg' or 'dog/1.jpg'"),
        ("image,x0,y0,x1,y1\n,1,2,3,4\n", "line 2: '' is no path below the data root"),
        ("image,x0,y0,x1,y1\n/own/cat/1.jpg,1,2,3,4\n", "'/own/cat/1.jpg' is no path below the data root"),
        ("image,x0,y0,x1,y1\nC:\\own\\cat\\1.jpg,1,2,3,4\n", r"'C:\own\cat\1.jpg' is no path below"),
        ("image,x0,y0,x1,y1\n../own/cat/1.jpg,1,2,3,4\n", "'../own/cat/1.jpg' is no path below the data root"),
        ("image,x0,y0,x1,y1\ncat/1.jpg,1,nan,3,4\n", "line 2: expected whole pixels x0 y0 x1 y1"),
        ("image,x0,y0,x1,y1\ncat/1.jpg,1,2.5,3,4\n", "found '1 2.5 3 4'"),
        ("image,x0,y0,x1,y1\ncat/1.jpg,1,,3,4\n", "found '1  3 4'"),
        ("image,x0,y0,x1,y1\ncat/1.jpg,1,2,3,99999999999\n", "line 2: expected whole pixels"),
        ("image,x0,y0,x1,y1,split\ncat/1.jpg,1,2,3,4,tset\n", "line 2: unknown split 'tset'; did you mean 'test'?"),
        ("image,x0,y0,x1,y1,split\ncat/1.jpg,1,2,3,4,\n", "line 2: unknown split ''"),
        (
            "image,x0,y0,x1,y1,split\ncat/1.jpg,1,2,3,4,val\n\ncat/1.jpg,1,2,3,5,test\n",
            "line 4: 'cat/1.jpg' is in train-fullsup by a line above",
        ),
        ("image,x0,y0,x1,y1\n".encode("utf-16"), "boxes.csv is not UTF-8 text"),
    ],
)
def test_a_table_that_cannot_be_read(refuse, text, message):
    assert message in refuse(text)


# --- COCO -------------------------------------------------------------------------------------------------------------


def coco(**changes):
    return {
        "info": {},
        "images": [{"id": 3, "file_name": "2.jpg", "width": 30, "height": 20}, {"id": 4, "file_name": "x/3.png"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 1, 2, 3], "iscrowd": 0},
            {"id": 2, "image_id": 3, "category_id": 2, "bbox": [0.6, 1.4, 2.2, 3.9]},
            {"id": 3, "image_id": 3, "category_id": 1, "bbox": [0, 0, 30, 20], "iscrowd": 1},
        ],
        "categories": [{"id": 1, "name": " cat"}, {"id": 2, "name": "person", "supercategory": "all"}],
    } | changes


def test_coco_is_read(read):
    files = read(coco())
    assert files.annotated == {"cat/2.jpg"}
    found = files.read("cat/2.jpg")
    assert [each.box for each in found] == [(0, 1, 1, 3), (1, 1, 2, 4)]
    assert [each.label for each in found] == ["cat", "person"]
    assert [each.size for each in found] == [(20, 30)] * 2
    assert found[1].place.endswith("annotations.json, annotations[1]")
    assert files.read("dog/x/3.png") == files.read("cat/1.jpg") == []


def test_several_files_of_coco(tmp_path):
    one, other = coco(), coco(images=[{"id": 3, "file_name": "dog/1.jpg"}])
    names = {"instances_a.json": json.dumps(one), "instances_b.json": "\ufeff" + json.dumps(other)}
    files = read_coco(open_source(write(tmp_path, names)), sorted(names), Finder(IMAGES))
    assert boxes_of(files) == {"cat/2.jpg": [(0, 1, 1, 3), (1, 1, 2, 4)], "dog/1.jpg": [(0, 1, 1, 3), (1, 1, 2, 4)]}
    write(tmp_path, {"instances_b.json": json.dumps(one)})
    with pytest.raises(UserError, match="instances_b.json: 'cat/2.jpg' is listed twice"):
        read_coco(open_source(tmp_path), sorted(names), Finder(IMAGES))


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ([0, 0, 1, 1], (0, 0, 0, 0)),
        ([2, 3, 4, 5], (2, 3, 5, 7)),
        ([1.9999999, 2.0000001, 3, 3], (2, 2, 4, 4)),
        ([0.5, 0.49, 2, 2], (1, 0, 2, 1)),
        ([7.7, 3.2, 0.1, 0.3], (7, 3, 7, 3)),
        ([-0.3, -0.3, 4, 4], (0, 0, 3, 3)),
        ([-3, 0, 4, 4], (-3, 0, 0, 3)),
    ],
)
def test_edges_become_pixels(box, pixels):
    assert coco_box(box, "") == pixels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "annotations.json is no JSON"),
        ('{"images": ', "annotations.json is no JSON"),
        ("[" * 100_000, "annotations.json is no JSON"),
        ("[]", "has no list 'categories'; expected COCO's images, annotations and categories"),
        (coco(images={}), "has no list 'images'"),
        (coco(images=[3]), "images[0] is no object"),
        (coco(images=[{"file_name": "2.jpg"}]), "images[0]: 'id' is missing or of the wrong kind"),
        (coco(images=[{"id": 3, "file_name": None}]), "images[0]: 'file_name' is missing or of the wrong kind"),
        (coco(images=[{"id": 3, "file_name": "9.jpg"}]), "images[0]: there is no picture '9.jpg'"),
        (coco(images=[{"id": 3, "file_name": "/a/2.jpg"}]), "images[0]: '/a/2.jpg' is no path below the data root"),
        (coco(images=[{"id": 3, "file_name": n} for n in ("2.jpg", "3.png")]), "images[1]: the id 3 occurs twice"),
        (coco(images=[{"id": n, "file_name": "2.jpg"} for n in (3, 4)]), "'cat/2.jpg' is listed twice"),
        (coco(categories=[{"id": 1, "name": "a"}] * 2), "categories[1]: the id 1 occurs twice"),
        (coco(categories=[]), "annotations[0]: image_id 3 or category_id 1 is not in the file"),
        (coco(images=[]), "annotations[0]: image_id 3 or category_id 1 is not in the file"),
        *(
            (coco(annotations=[{"image_id": 3, "category_id": 1, "bbox": box}]), "annotations[0]: expected a bbox")
            for box in (
                None,
                [1, 2, 3],
                [1, 2, 3, "4"],
                [1, 2, 0, 4],
                [1, 2, 3, -4],
                [1, 2, 3, float("nan")],
                [1e300] * 4,
            )
        ),
    ],
)
def test_coco_that_cannot_be_read(refuse, content, message):
    assert message in refuse(content, "annotations.json")


# --- Pascal VOC -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cat/2.xml", "Annotations/cat/2.xml", "VOC/annotations/2.xml", "2.XML"])
def test_voc_is_read_by_the_name_of_its_file(read, name):
    files = read(voc_text("cat", [(0, 1, 5, 6), (2, 2, 3, 3)]), name)
    assert boxes_of(files) == {"cat/2.jpg": [(0, 1, 5, 6), (2, 2, 3, 3)]}
    found = files.read("cat/2.jpg")[0]
    assert (found.label, found.size) == ("cat", (20, 30))


def test_voc_with_fractions_and_without_a_size(read):
    text = voc_text("cat", [(0, 1, 5, 6)], size=(0, 0)).replace(b"<xmax>6", b"<xmax> 6.5 ")
    found = read(text, "cat/2.xml").read("cat/2.jpg")[0]
    assert (found.box, found.size) == ((0, 1, 6, 6), None)


BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cat/2.xml is no XML (no element found"),
        (b"<annotation>", "cat/2.xml is no XML"),
        (BOMB, "cat/2.xml is no XML (it has a document type, which is not read)"),
        (BOMB.decode().encode("utf-16"), "cat/2.xml is no XML (it has a document type"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "cat/2.xml is no XML"),
        (voc_text("cat", [(0, 0, 1, 1)]).replace(b"<xmin>1", b"<xmin>nan"), "expected numbers xmin ymin xmax ymax"),
        (voc_text("cat", [(0, 0, 1, 1)]).replace(b"xmax", b"right"), "found '1 1  2'"),
    ],
)
def test_voc_that_cannot_be_read(refuse, content, message):
    assert message in refuse(content, "cat/2.xml")


def test_voc_of_no_picture_or_two_of_one(refuse, tmp_path):
    assert "cat/9.xml: there is no picture 'cat/9'" in refuse(voc_text("cat", []), "cat/9.xml")
    assert "1.xml: '1' may mean 'cat/1.jpg' or 'dog/1.jpg'" in refuse(voc_text("cat", []), "1.xml")
    names = ["a/annotations/2.xml", "cat/2.xml"]
    source = open_source(write(tmp_path, dict.fromkeys(names, voc_text("cat", []))))
    with pytest.raises(UserError, match=r"cat/2\.xml and .*annotations/2\.xml are both about 'cat/2\.jpg'"):
        read_voc(source, names, Finder(IMAGES, stems=True))
