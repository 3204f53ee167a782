"""Scoring a split batch by batch, in any order, on any number of processes, with the numbers of one pass.

An accumulator only holds counts and adds to them; what is counted, and what is read off the counts, are the functions
that score a whole split. Images must be counted once: shard by ``range(rank, N, world)``, without padding.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wsolbench.protocols.box_metrics import CRITERIA
from wsolbench.protocols.metrics import BoxCounts, SplitScores, box_counts, box_hits
from wsolbench.protocols.pixels import BINS, PixelCounts, pixel_counts

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


class BoxAccumulator:
    """Counts images for :func:`~wsolbench.protocols.metrics.score_counts`.

    On several processes sum ``counts.counters()``, whole numbers, and read ``counts.with_counters(summed)``.

    Args:
        criteria: IoU criteria, fractions.
        num_classes: K, if every batch comes with ranks; None: nothing is classified.
        threads: number of threads that share the work of a batch.

    >>> maps, boxes = np.zeros((1, 8, 8), dtype=np.uint8), np.array([[2, 2, 6, 6]])
    >>> maps[0, 2:6, 2:6] = 255
    >>> seen = BoxAccumulator()
    >>> for _ in range(2):
    ...     seen.update(maps, boxes, np.array([0, 1]))
    >>> seen.counts.images.tolist(), seen.counts.curve(0.7)[[0, 999]].tolist()
    ([2], [2, 2])
    """

    def __init__(self, criteria: Sequence[float] = CRITERIA, num_classes: int | None = None, threads: int = 1) -> None:
        self._threads = threads
        self.counts = BoxCounts.none(criteria, num_classes)

    def update(
        self,
        score_maps: Bytes,
        boxes: npt.NDArray[np.integer],
        offsets: npt.NDArray[np.integer],
        ranks: Ints | None = None,
    ) -> None:
        """Count a batch.

        Args:
            score_maps: uint8 (n, H, W), at least one.
            boxes: int (m, 4), the ground truth at the maps' size.
            offsets: int (n + 1,); image i has the boxes ``boxes[offsets[i]:offsets[i + 1]]``, at least one.
            ranks: int64 (n,), as :func:`~wsolbench.protocols.classification.label_ranks` gives them.

        Raises:
            ValueError: the input is malformed, or ranks are missing or unexpected.
        """
        hits = box_hits(score_maps, boxes, offsets, self.counts.criteria, self._threads)
        classes = self.counts.num_classes
        self.counts += box_counts(SplitScores(hits=hits, ranks=ranks, num_classes=None if ranks is None else classes))


class PixelAccumulator:
    """Counts pixels for :func:`~wsolbench.protocols.pixels.average_precision`.

    >>> seen = PixelAccumulator()
    >>> seen.update(np.array([[[0.1, 0.9]]]), np.array([[[False, True]]]))
    >>> int(seen.counts.positive.sum()), int(seen.counts.negative.sum())
    (1, 1)
    """

    def __init__(self) -> None:
        self.counts = PixelCounts(positive=np.zeros(BINS, dtype=np.int64), negative=np.zeros(BINS, dtype=np.int64))

    def update(self, maps: Floats, objects: Bools, ignored: Bools | None = None) -> None:
        """Count a batch; arguments and errors are those of :func:`~wsolbench.protocols.pixels.pixel_counts`."""
        self.counts += pixel_counts(maps, objects, ignored)
