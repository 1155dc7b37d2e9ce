"""A student's convolution, as the chapter tells it: im2col, one matrix product, col2im.

python compare.py check docs/examples/my_conv.py:MyConv2d --shape 8,3,32,32 --args "3, 16, 3"
"""

import torch
import torch.nn.functional as F


def taps(x, k, stride):
    """Every position (i, j) inside the window: the pixels which all windows find there."""
    rows, columns = ((size - k) // stride + 1 for size in x.shape[2:])
    for i in range(k):
        for j in range(k):
            yield x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]


class Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, stride):
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        k = weight.shape[2]
        x_col = torch.stack(list(taps(x, k, stride)), 2)  # N, C, k*k, H_out, W_out
        return torch.einsum("ock,nckhw->nohw", weight.flatten(2), x_col)

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        k = weight.shape[2]
        x_col = torch.stack(list(taps(x, k, ctx.stride)), 2)
        dw = torch.einsum("nohw,nckhw->ock", dy, x_col).view_as(weight)
        dx_col = torch.einsum("ock,nohw->nckhw", weight.flatten(2), dy)
        dx = torch.zeros_like(x)
        for pixels, values in zip(taps(dx, k, ctx.stride), dx_col.unbind(2), strict=True):
            pixels += values  # windows overlap: a pixel hears from each of them
        return dx, dw, None


class MyConv2d(torch.nn.Conv2d):
    """Square windows, stride and padding; no dilation, no groups."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0):
        if not all(isinstance(value, int) for value in (kernel_size, stride, padding)):
            raise TypeError("kernel_size, stride and padding must be whole numbers")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding)

    def forward(self, x):
        x = F.pad(x, [self.padding[0]] * 4)
        return Convolve.apply(x, self.weight, self.stride[0]) + self.bias[:, None, None]
