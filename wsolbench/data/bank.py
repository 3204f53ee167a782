"""Decoded images where batches can be gathered from them."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsolbench.errors import UserError


class ImageBank:
    """The decoded images of one split, resident on the model's device if they fit into half of its free memory.

    Args:
        pictures: uint8 (N, R, R, C), RGB and perhaps a mask; may be a read-only memory map.
        device: the device of the model.

    Attributes:
        side: R, pixels.
    """

    def __init__(self, pictures: npt.NDArray[np.uint8], device: torch.device) -> None:
        if len(pictures) == 0:
            raise UserError("a split has no images; expected at least one")
        self.side = int(pictures.shape[1])
        self._pictures = pictures
        self._device = device
        self._resident: Tensor | None = None
        if device.type == "cuda" and pictures.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
            self._resident = torch.from_numpy(np.array(pictures)).to(device)

    def __len__(self) -> int:
        return len(self._pictures)

    def batch(self, indices: Tensor) -> Tensor:
        """Gather images.

        Args:
            indices: int64 (n,), on the CPU.

        Returns:
            uint8 (n, R, R, C), on the model's device.
        """
        if self._resident is not None:
            return self._resident[indices.to(self._device, non_blocking=True)]
        gathered = torch.from_numpy(self._pictures[indices.numpy()])
        if self._device.type == "cuda":
            return gathered.pin_memory().to(self._device, non_blocking=True)
        return gathered
