"""Reading object masks at the evaluation size."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsolbench.data.splits import Masks
from wsolbench.errors import UserError
from wsolbench.protocols import resize_nearest

Bools = npt.NDArray[np.bool_]


def read_masks(masks: Masks, index: int, size: tuple[int, int]) -> tuple[Bools, Bools]:
    """Read one image's masks (PROTOCOL: metrics).

    Args:
        masks: of the split.
        index: of the image.
        size: the evaluation size (H, W).

    Returns:
        bool (H, W), the union of the object masks; bool (H, W), the ignore mask.

    Raises:
        UserError: a file is missing, damaged or no mask.
    """
    objects, ignored = (np.zeros(size, dtype=bool) for _ in range(2))
    for name in masks.objects[index]:
        objects |= resize_nearest(_read(masks, name), size)
    if (ignore := masks.ignored[index]) is not None:
        ignored = resize_nearest(_read(masks, ignore), size)
    return objects, ignored


def _read(masks: Masks, name: str) -> Bools:
    path = masks.root / name
    return read_mask(path, None if masks.read is None else BytesIO(masks.read(name)))


def read_mask(path: Path, content: BytesIO | None = None) -> Bools:
    """Read a mask: foreground is where the grey value, as a fraction of white, exceeds 0.5.

    Args:
        path: an image with at most 8 bits a channel.
        content: the image's bytes, where the path is none of a file, such as one in an archive.

    Returns:
        bool (h, w).

    Raises:
        UserError: the file is missing, damaged, or has more than 8 bits a channel.
    """
    try:
        with Image.open(content or path) as image:
            mode = image.mode
            grey = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # PIL raises all of them
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise UserError(
            f"the mask '{path}' cannot be read ({reason}); expected a PNG, so check --masks-root or download it again"
        ) from None
    if mode[0] in "IF":
        raise UserError(f"the mask '{path}' has the mode {mode}; expected black and white, or 8-bit grey")
    return np.asarray(grey > 127, dtype=np.bool_)
