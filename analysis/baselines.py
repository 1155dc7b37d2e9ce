"""What one would use instead of our layers, to be timed beside them; written from descriptions.

Each entry of `BASELINES` takes our layer and its input, and returns a `Runnable`, or None if the
baseline is not available.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from layers import LocallyConnected2d
from layers.arguments.pixels import pair
from layers.ops.geometry import Geometry

from .timing import Runnable, TimedLayer


class TextbookConv2d(torch.nn.Module):
    """The convolution of the tutorials: unfold the whole batch, multiply, and leave it to autograd.

    The columns, (N, C_in K_h K_w, P), are K_h K_w times larger than the images, and saved.
    """

    def __init__(self, conv: torch.nn.Conv2d) -> None:
        assert not isinstance(conv.padding, str)
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry = Geometry(
            pair(conv.kernel_size, "kernel_size"), pair(conv.stride, "stride"),
            pair(conv.padding, "padding"), pair(conv.dilation, "dilation"), conv.groups,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        kernel_size, stride, padding, dilation, groups = self.geometry
        columns = F.unfold(x, kernel_size, dilation, padding, stride).unflatten(1, (groups, -1))
        filters = self.weight.flatten(1).unflatten(0, (groups, -1))
        y = (filters @ columns).flatten(1, 2)
        y = y.unflatten(2, self.geometry.output_size(x.shape[2:]))
        return y if self.bias is None else y + self.bias[:, None, None]


class UnfoldMultiplySum(torch.nn.Module):
    """The locally connected layer of forum posts: the sum of windows times weights.

    It materialises the product, (N, C_out, C_in, H_out, W_out, K_h K_w); the weights are
    (1, C_out, C_in, H_out, W_out, K_h K_w).  One group, no padding, no dilation.
    """

    def __init__(self, layer: LocallyConnected2d) -> None:
        super().__init__()
        self.kernel_size, self.stride = layer.geometry.kernel_size, layer.geometry.stride
        taps = layer.weight.detach()[:, :, 0].unflatten(2, (-1, layer.in_channels))
        self.weight = torch.nn.Parameter(taps.permute(4, 3, 0, 1, 2)[None].contiguous())
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        for axis, size, stride in zip((2, 3), self.kernel_size, self.stride, strict=True):
            x = x.unfold(axis, size, stride)
        windows = x.flatten(4).unsqueeze(1)  # N, 1, C_in, H_out, W_out, K_h K_w
        y = (windows * self.weight).sum((2, 5))
        return y if self.bias is None else y + self.bias


class LocalReference(torch.nn.Module):
    """The locally connected layer as one einsum, with the parameters of our layer.

    y[n,g,o,p] = b + sum over k of  w[p,g,k,o] * windows[n,g,k,p]
    """

    def __init__(self, layer: LocallyConnected2d) -> None:
        super().__init__()
        self.geometry, self.weight, self.bias = layer.geometry, layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        kernel_size, stride, padding, dilation, groups = self.geometry
        windows = F.unfold(x, kernel_size, dilation, padding, stride)
        windows = windows.unflatten(1, (groups, x.shape[1] // groups, -1))
        windows = windows.transpose(2, 3).flatten(2, 3)  # as in our weights, the channel comes last
        y = torch.einsum("pgko,ngkp->ngop", self.weight.flatten(0, 1), windows)
        y = y.flatten(1, 2).unflatten(2, self.weight.shape[:2])
        return y if self.bias is None else y + self.bias


class JaxLocal:
    """jax.lax.conv_general_dilated_local and its gradients, jitted.  No padding, one group."""

    def __init__(self, layer: LocallyConnected2d, x: Tensor) -> None:
        if torch.get_num_threads() == 1:  # JAX reads XLA_FLAGS when it first computes
            flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            os.environ.setdefault("XLA_FLAGS", flags)
        import jax

        def forward(x, weight, bias):
            return bias + jax.lax.conv_general_dilated_local(
                x, weight, stride, "VALID", kernel_size, dimension_numbers=("NCHW", "HWIO", "NCHW")
            )

        def forward_and_backward(dy, *inputs):
            y, vjp = jax.vjp(forward, *inputs)
            return y, vjp(dy)

        kernel_size, stride = layer.geometry[:2]
        tensors = x, layer.to_jax(), layer.bias
        self.inputs = [jax.numpy.asarray(t.detach().cpu().numpy()) for t in tensors]
        self.forward = jax.jit(forward)
        self.forward_and_backward = jax.jit(forward_and_backward)
        self.wait = jax.block_until_ready
        self.dy = jax.numpy.ones_like(self.forward(*self.inputs))

    def run(self) -> tuple[float, float]:
        start = time.perf_counter()
        self.wait(self.forward(*self.inputs))
        middle = time.perf_counter()
        self.wait(self.forward_and_backward(self.dy, *self.inputs))
        return middle - start, time.perf_counter() - middle


def _jax(layer: LocallyConnected2d, x: Tensor) -> Runnable | None:
    """None if JAX is not installed, or if torch's tensors are not on the CPU, as JAX's may be."""
    if x.device.type != "cpu" or importlib.util.find_spec("jax") is None:
        return None
    return JaxLocal(layer, x)


BASELINES: dict[str, Callable[..., Runnable | None]] = {
    "unfold": lambda layer, x: TimedLayer(TextbookConv2d(layer), [x]),
    "snippet": lambda layer, x: TimedLayer(UnfoldMultiplySum(layer), [x]),
    "jax": _jax,
}
