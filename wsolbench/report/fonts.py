"""The font of pictures that are drawn without matplotlib."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont


@lru_cache(maxsize=8)
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return matplotlib's own font, which is there wherever matplotlib is and has most alphabets.

    Args:
        size: height in pixels.
        bold: the bold face.
    """
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
