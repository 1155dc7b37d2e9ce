"""Mean loss and accuracy of a pass over some images, summed where they were computed."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_PENDING = 1000  # batches whose numbers stay on the device; beyond, they are read and added up


class Meter:
    """Sums over batches.

    Kernels are launched asynchronously, and reading a number back waits for all of them.  So every
    batch's numbers stay on the device until `read`.
    """

    def __init__(self, loss_sum: float = 0.0, correct: int = 0, seen: int = 0) -> None:
        """The sums may go on from others."""
        self.loss_sum, self.correct, self.seen = loss_sum, correct, seen
        self._pending: list[tuple[Tensor, Tensor, int]] = []

    def update(self, loss: Tensor, correct: Tensor) -> None:
        """
        Args:
            loss: the mean over the batch, a scalar.
            correct: whether each image's largest logit is its class, (N).
        """
        self._pending.append((loss.detach(), correct.sum(), len(correct)))
        if len(self._pending) == MAX_PENDING:
            self.read()

    def read_if_any(self) -> None:
        """Add up what is pending, so that the sums are complete."""
        if self._pending:
            self.read()

    def read(self) -> tuple[float, float]:
        """The mean loss and the accuracy over all images so far.

        Raises:
            ValueError: there was no image.
        """
        if self._pending:
            losses, correct, counts = zip(*self._pending, strict=True)
            self._pending.clear()
            means = torch.stack(losses).cpu().double()
            self.loss_sum += float(means @ torch.tensor(counts, dtype=means.dtype))
            self.correct += int(torch.stack(correct).sum())
            self.seen += sum(counts)
        if not self.seen:
            raise ValueError("there are no images to average over: the data loader is empty")
        return self.loss_sum / self.seen, self.correct / self.seen
