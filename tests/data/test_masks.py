"""Reading masks: which pixels are foreground, the union, the ignore mask, and files that are no masks."""

import numpy as np
import pytest
from PIL import Image

from wsolbench.data.masks import read_mask, read_masks
from wsolbench.data.splits import Masks
from wsolbench.errors import UserError


def save(path, values, mode="L"):
    Image.fromarray(np.array(values, dtype=np.uint8), mode="L").convert(mode).save(path)
    return path


def test_foreground_is_above_half_of_white(tmp_path):
    found = read_mask(save(tmp_path / "m.png", [[0, 1, 127, 128, 255]]))
    assert found.tolist() == [[False, False, False, True, True]]
    assert found.dtype == np.bool_


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_black_and_white_in_any_form(tmp_path, mode):
    values = np.random.default_rng(0).integers(0, 2, (9, 13)) * 255
    assert read_mask(save(tmp_path / "m.png", values, mode)).tolist() == (values > 0).tolist()


def test_masks_of_an_image_are_joined_at_the_evaluation_size(tmp_path):
    save(tmp_path / "a.png", [[255, 0], [0, 0]])
    save(tmp_path / "b.png", [[0, 0, 0, 255]] * 4)
    save(tmp_path / "ignore.png", [[255]])
    masks = Masks(root=tmp_path, objects=(("a.png", "b.png"), ("b.png",)), ignored=("ignore.png", None))
    objects, ignored = read_masks(masks, 0, (4, 4))
    assert objects.astype(int).tolist() == [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert ignored.all()
    objects, ignored = read_masks(masks, 1, (2, 2))
    assert objects.tolist() == [[False, False], [False, False]]  # the columns 0 and 2
    assert not ignored.any()


def test_files_that_are_no_masks(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.png' cannot be read .*--masks-root"):
        read_mask(tmp_path / "nowhere.png")
    good = save(tmp_path / "m.png", np.eye(50) * 255)
    (tmp_path / "torn.png").write_bytes(good.read_bytes()[:60])
    with pytest.raises(UserError, match=r"torn\.png' cannot be read") as caught:
        read_mask(tmp_path / "torn.png")
    assert "\n" not in str(caught.value)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.png' cannot be read"):
        read_mask(tmp_path / "text.png")
    Image.fromarray(np.full((3, 3), 40000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep\.png' has the mode I;16; expected black and white, or 8-bit grey"):
        read_mask(tmp_path / "deep.png")
