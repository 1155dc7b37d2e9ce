"""Mean loss and accuracy of a pass over some images, summed where they were computed."""

from __future__ import annotations

import torch
from torch import Tensor

from ..processes.distributed import total

MAX_PENDING = 1000  # batches whose numbers stay on the device; beyond, they are read and added up


class Meter:
    """Sums over batches, and over the processes that have a share of them each.

    Kernels are launched asynchronously, and reading a number back waits for all of them.  So every
    batch's numbers stay on the device until `read`.
    """

    def __init__(self, loss_sum: float = 0.0, correct: int = 0, seen: int = 0) -> None:
        """The sums may go on from others."""
        self.loss_sum, self.correct, self.seen = loss_sum, correct, seen  # of all processes
        self._sums = 0.0, 0, 0  # of this one, since the last `read`
        self._pending: list[tuple[Tensor, Tensor, int]] = []

    def update(self, loss: Tensor, correct: Tensor) -> None:
        """
        Args:
            loss: the mean over this process's images, a scalar.
            correct: whether each image's largest logit is its class, (N).
        """
        self._pending.append((loss.detach(), correct.sum(), len(correct)))
        if len(self._pending) == MAX_PENDING:
            self._add_up()

    def _add_up(self) -> None:
        if not self._pending:
            return
        losses, correct, counts = zip(*self._pending, strict=True)
        self._pending.clear()
        means = torch.stack(losses).cpu().double()
        loss_sum, right, seen = self._sums
        self._sums = (
            loss_sum + float(means @ torch.tensor(counts, dtype=means.dtype)),
            right + int(torch.stack(correct).sum()),
            seen + sum(counts),
        )

    def synchronize(self) -> None:
        """Make the sums complete; a collective of all processes."""
        self._add_up()
        loss_sum, correct, seen = total([*self._sums])
        self._sums = 0.0, 0, 0
        self.loss_sum += loss_sum
        self.correct += int(correct)
        self.seen += int(seen)

    def read(self) -> tuple[float, float]:
        """The mean loss and the accuracy over all images so far; a collective of all processes.

        Raises:
            ValueError: there was no image.
        """
        self.synchronize()
        if not self.seen:
            raise ValueError("there are no images to average over: the data loader is empty")
        return self.loss_sum / self.seen, self.correct / self.seen
