"""Decoded images where batches can be gathered from them.

The engine sees :class:`ImageBank` alone. Whether pixels lie on the device, lie in a memory-mapped cache or are decoded
as they are needed is not its business: the same indices give the same batch.
"""

from collections.abc import Generator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from wsolbench.data.streaming import Pixels, Stream, ahead
from wsolbench.errors import UserError
from wsolbench.progress import progress

_AHEAD = 2  # batches made before they are asked for: while one is waited for, the threads are busy with the next
_UPLOAD = 256  # images that travel to the device at once


class ImageBank:
    """The decoded images of one split, resident on the model's device if they fit into half of its free memory.

    Args:
        pictures: uint8 (N, R, R, C), RGB and perhaps a mask; may be a read-only memory map, or a stream.
        device: the device of the model.
        quiet: plain progress lines.

    Attributes:
        side: R, pixels.
    """

    def __init__(self, pictures: Pixels | Stream, device: torch.device, quiet: bool = False) -> None:
        if len(pictures) == 0:
            raise UserError("a split has no images; expected at least one")
        self.side = int(pictures.shape[1])
        # The plain array under a memory map gathers the same bytes without the map's overhead for each result.
        self._pictures = pictures if isinstance(pictures, Stream) else np.asarray(pictures)
        self._device = device
        self._resident: Tensor | None = None
        if _fits(pictures.nbytes, device):
            self._resident = self._upload(quiet)

    def __len__(self) -> int:
        return len(self._pictures)

    def batch(self, indices: Tensor) -> Tensor:
        """Gather images.

        Args:
            indices: int64 (n,), on the CPU, each in [0, N).

        Returns:
            uint8 (n, R, R, C), on the model's device; a copy.
        """
        if self._resident is not None:
            return self._resident[indices.to(self._device, non_blocking=True)]
        return self._moved(self._gathered(indices))

    def batches(self, order: Tensor, size: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Gather one batch after another; where that takes a while the next ones are begun in the background.

        What a batch holds follows from its indices alone, so nothing of this has to be kept to resume a run. Whoever
        stops early should close the generator, which ends the background threads.

        Args:
            order: int64 (n,), on the CPU, each in [0, N).
            size: images of a batch; the last one may have fewer.

        Yields:
            The indices of a batch and its images, as :meth:`batch` takes and returns them.
        """
        parts: tuple[Tensor, ...] = torch.split(order, size)
        at_hand = self._device.type == "cpu" and not isinstance(self._pictures, Stream)
        if at_hand or self._resident is not None:
            yield from ((part, self.batch(part)) for part in parts)
            return
        with closing(ahead(self._gathered, parts, _AHEAD, _AHEAD)) as gathered:
            for part, images in zip(parts, gathered, strict=True):
                yield part, self._moved(images)  # the copy is begun here, in the CUDA stream of the step that uses it

    def _gathered(self, indices: Tensor) -> Tensor:
        """Return images on the host, in memory from which the device can copy by itself."""
        wanted = indices.numpy()
        assert len(wanted) == 0 or 0 <= wanted.min() <= wanted.max() < len(self)
        shape = (len(wanted), *self._pictures.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        if isinstance(self._pictures, Stream):
            self._pictures.gather(wanted, images.numpy())
        else:
            # Straight into the result: with its default mode numpy would gather into a buffer first and copy that.
            np.take(self._pictures, wanted, axis=0, out=images.numpy(), mode="clip")
        return images

    def _moved(self, images: Tensor) -> Tensor:
        return images.to(self._device, non_blocking=True)

    def _upload(self, quiet: bool) -> Tensor:
        """Return all images on the device; the host holds only a few of them at a time."""
        resident = torch.empty(self._pictures.shape, dtype=torch.uint8, device=self._device)
        batches = self.batches(torch.arange(len(self)), _UPLOAD)
        with progress(f"images to {self._device}", len(self), quiet=quiet) as bar, closing(batches):
            for part, images in batches:
                resident[int(part[0]) : int(part[-1]) + 1] = images
                bar.advance(len(part))
        return resident


def _fits(size: int, device: torch.device) -> bool:
    """Tell whether so many bytes fit into half of what is free on a device with memory of its own."""
    return device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] // 2
