"""What is done to every number by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .registry import operator


def relu_backward(dy: Tensor, y: Tensor) -> Tensor:
    """The gradient of y = max(0, x), from its output.

        dx = dy where y > 0, else 0

    dy and y of any one shape.  Where y is NaN, dx is dy, as in torch.
    """
    return torch.ops.aten.threshold_backward(dy, y, 0)


@operator(
    empty=lambda indices, classes, dtype, ignore_index: indices.new_empty(
        (*indices.shape, classes), dtype=dtype
    )
)
def one_hot(indices: Tensor, classes: int, dtype: torch.dtype, ignore_index: int) -> Tensor:
    """Class indices as rows of probabilities.

        q[n,c] = 1 where c = indices[n], else 0;  all 0 where indices[n] = ignore_index

    indices (...), int64 -> (..., classes).

    Raises:
        IndexError: an index that is no class.  On a GPU the kernel fails, as torch's own.
    """
    counted = (indices != ignore_index).unsqueeze(-1)
    places = torch.where(counted, indices.unsqueeze(-1), 0)
    q = indices.new_zeros((*indices.shape, classes), dtype=dtype)
    try:
        return q.scatter_(-1, places, counted.to(dtype))
    except RuntimeError as error:
        if "out of bounds" not in str(error):
            raise
        raise IndexError(f"targets must be class indices from 0 to {classes - 1}") from None
