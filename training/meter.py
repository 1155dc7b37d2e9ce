"""Loss and hits of a pass over some images, summed where they were computed."""

from __future__ import annotations

import torch
from torch import Tensor

UNREAD = 1000  # batches, after which their numbers are read though nobody asked


class Meter:
    """Sums over batches.

    A GPU works through what it was given while Python runs ahead; who asks it for a number waits
    until all of that is done.  So every batch's numbers stay on the device, until `read`.
    """

    def __init__(self) -> None:
        self.loss_sum, self.hits, self.seen = 0.0, 0, 0  # of the batches that were read
        self._unread: list[tuple[Tensor, Tensor, int]] = []

    def update(self, loss: Tensor, correct: Tensor) -> None:
        """
        Args:
            loss: the mean over the batch, a scalar.
            correct: whether each image's largest logit is its class, (N).
        """
        self._unread.append((loss.detach(), correct.sum(), len(correct)))
        if len(self._unread) == UNREAD:
            self.read()

    def read(self) -> tuple[float, float]:
        """The mean loss and the part of hits over all images so far."""
        if self._unread:
            losses, hits, counts = zip(*self._unread, strict=True)
            self._unread.clear()
            means = torch.stack(losses).cpu().double()
            self.loss_sum += float(means @ torch.tensor(counts, dtype=means.dtype))
            self.hits += int(torch.stack(hits).sum())
            self.seen += sum(counts)
        return self.loss_sum / self.seen, self.hits / self.seen
