"""The shapes and options every operator is tested on, one table per operator.

Letters: N images, C channels, H x W pixels; k kernel, s stride, p padding, d dilation, g groups.
"""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers


class ConvCase(NamedTuple):
    id: str
    image: tuple  # N, C, H, W
    filters: int
    kernel: tuple = (3, 3)
    stride: tuple = (1, 1)
    padding: tuple | str = (0, 0)
    dilation: tuple = (1, 1)
    groups: int = 1

    @property
    def weight(self):
        return (self.filters, self.image[1] // self.groups, *self.kernel)

    @property
    def options(self):
        return dict(
            stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups
        )


CONV = [
    ConvCase("plain", (2, 3, 6, 6), 4),
    ConvCase("single-image", (1, 2, 5, 5), 2),
    ConvCase("empty-batch", (0, 3, 6, 6), 4),
    ConvCase("one-channel", (2, 1, 7, 7), 3, (5, 5)),
    ConvCase("padded", (2, 3, 5, 5), 4, padding=(1, 1)),
    ConvCase("stride", (2, 3, 7, 7), 4, stride=(2, 2)),
    ConvCase("stride-leaves-rest", (2, 3, 8, 8), 4, stride=(3, 3), padding=(1, 1)),
    ConvCase("stride-beyond-kernel", (2, 2, 9, 9), 2, (2, 2), stride=(3, 3)),
    ConvCase("dilated", (2, 2, 8, 8), 3, dilation=(2, 2), padding=(2, 2)),
    ConvCase("groups", (2, 4, 6, 6), 6, groups=2, padding=(1, 1)),
    ConvCase("depthwise", (2, 4, 5, 5), 8, groups=4),
    ConvCase("pointwise", (2, 5, 4, 4), 3, (1, 1)),
    ConvCase("pointwise-groups", (2, 4, 4, 4), 6, (1, 1), groups=2),
    ConvCase("pointwise-stride", (2, 5, 5, 5), 3, (1, 1), stride=(2, 2)),
    ConvCase("not-square", (2, 2, 5, 8), 3, (2, 3), stride=(1, 2), padding=(1, 0)),
    ConvCase("one-row", (2, 3, 1, 9), 2, (1, 3)),
    ConvCase("everything", (2, 4, 9, 8), 6, (3, 2), (2, 1), (2, 1), (1, 3), 2),
    ConvCase("whole-image", (2, 3, 4, 4), 5, (4, 4)),
    ConvCase("channels-last-kernel", (2, 12, 5, 5), 4, padding=(1, 1)),
    ConvCase("channels-last-groups", (2, 36, 4, 4), 4, (3, 3), groups=2),
    ConvCase("same", (2, 2, 5, 6), 3, (3, 3), padding="same"),
    ConvCase("same-even", (2, 2, 6, 6), 3, (4, 2), padding="same"),
    ConvCase("valid", (2, 2, 5, 5), 3, padding="valid"),
]


class PoolCase(NamedTuple):
    id: str
    image: tuple
    kernel: tuple = (2, 2)
    stride: tuple = (2, 2)
    padding: tuple = (0, 0)
    dilation: tuple = (1, 1)
    ceil_mode: bool = False


POOL = [
    PoolCase("2/2", (2, 3, 6, 6)),
    PoolCase("2/2-rest", (2, 3, 7, 5)),
    PoolCase("2/2-ceil", (2, 3, 7, 5), ceil_mode=True),
    PoolCase("3/2-overlap", (2, 3, 7, 7), (3, 3)),
    PoolCase("3/2-ceil", (2, 2, 8, 8), (3, 3), ceil_mode=True),
    PoolCase("3/2-padded", (2, 2, 7, 8), (3, 3), padding=(1, 1)),
    PoolCase("3/2-padded-ceil", (2, 2, 8, 8), (3, 3), padding=(1, 1), ceil_mode=True),
    PoolCase("3/1-padded", (1, 2, 4, 4), (3, 3), (1, 1), (1, 1)),
    PoolCase("2/3-gaps", (2, 2, 8, 8), stride=(3, 3)),
    PoolCase("dilated", (2, 2, 8, 8), (3, 3), (1, 1), dilation=(2, 2)),
    PoolCase("dilated-padded", (2, 2, 6, 6), (3, 3), (2, 2), (1, 1), (2, 2)),
    PoolCase("not-square", (2, 2, 5, 8), (2, 3), (1, 2), (0, 1)),
    PoolCase("global", (2, 3, 4, 5), (4, 5), (4, 5)),
    PoolCase("empty-batch", (0, 3, 6, 6)),
    PoolCase("one-window-ceil", (2, 2, 2, 2), (3, 3), ceil_mode=True),
    PoolCase("wide", (1, 1, 20, 20), (17, 17), (3, 3)),
]

# Rows that a processor's vectors fit into several times, which a kernel may take otherwise.
LONG_ROWS = [
    case._replace(id=f"{case.id}-long-rows", image=(*case.image[:3], case.image[3] + 26))
    for case in POOL
]

UNDILATED = [case for case in POOL if case.dilation == (1, 1)]


def since(version, what):
    """A test that needs what torch does from a version on."""
    return pytest.mark.skipif(torch.__version__ < version, reason=f"before {version}, {what}")


# Before, most of what is done to them fails without a driver, and batch norm ends the process.
fake_cuda = pytest.mark.skipif(
    torch.__version__ < "2.11" and not torch.cuda.is_available(),
    reason="before torch 2.11, fake CUDA tensors ask for a driver",
)


def table(cases):
    """Parametrise a test over a table, with readable names."""
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


def contiguous(x):
    return x


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def strided(x):
    """Every other number of a larger tensor: neither contiguous nor channels last."""
    larger = torch.empty(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
    larger[..., ::2] = x
    return larger[..., ::2]


def expanded(x):
    """The first image for all images: a batch stride of zero."""
    return x[:1].expand(x.shape)


LAYOUTS = [contiguous, channels_last, strided, expanded]


def doubles(*shapes, requires_grad=True):
    """Float64 tensors of normal numbers."""
    return tuple(
        torch.randn(shape, dtype=torch.float64).requires_grad_(requires_grad) for shape in shapes
    )


def assert_same_step(ours, theirs, inputs, upstream):
    """Two outputs are equal, and so are their gradients by the inputs."""
    assert_close(ours, theirs)
    pairs = (torch.autograd.grad(y, inputs, upstream) for y in (ours, theirs))
    for a, b in zip(*pairs, strict=True):
        assert_close(a, b)


class UnfoldedLocallyConnected2d(layers.LocallyConnected2d):
    """The same parameters, used as a textbook would: torch.nn has no such layer."""

    def forward(self, input):
        kernel, stride, padding, dilation, groups = self.geometry
        size = self.weight.shape[:2]
        windows = F.unfold(input, kernel, dilation, padding, stride)
        windows = windows.unflatten(1, (groups, -1, *kernel)).unflatten(-1, size)
        weight = self.weight.unflatten(3, (*kernel, -1))
        y = torch.einsum("ngcijpq,pqgijco->ngopq", windows, weight).flatten(1, 2)
        return y + self.bias.to(y.dtype)
