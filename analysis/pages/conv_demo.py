"""The chapter's animation of a convolution, for any geometry, as a page that can be stepped.

Numbers are small whole ones, as in the chapter: x in {0, 1, 2}, w in {-1, 0, 1}, b = (1, 0, ...).
The results are those of `layers.functional`, forward and backward; the page only displays them.
Every scene is a list of steps, and every step computes one number:

    sum over the terms t of  sum over k of  operands[t][k] * sources[t][window[k]]  + bias
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import layers.functional as LF
from layers.ops.conv import im2col
from layers.ops.geometry import Geometry

from .conv_demo_options import ConvDemoOptions
from .page import render

MAX_PRODUCTS = 40_000  # of a scene; a page of more would be slow, and nobody steps so far
POOL, POOL_STRIDE = 3, 2  # overlapping windows, as AlexNet's


def check(demo: ConvDemoOptions) -> None:
    """
    Raises:
        ValueError: windows that do not fit, or more numbers than a page can show.
    """
    for name, value in asdict(demo).items():
        least = 0 if name == "padding" else 1
        if value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    span, padded = geometry(demo).span[0], demo.size + 2 * demo.padding
    if span > padded:
        dilated = f" at dilation {demo.dilation}" if demo.dilation > 1 else ""
        raise ValueError(
            f"a filter of {demo.kernel} x {demo.kernel}{dilated} spans {span} pixels, but the "
            f"padded image has {padded}: use a larger --size or --padding, or a smaller --kernel"
        )
    if demo.padding >= span:
        raise ValueError(
            f"--padding {demo.padding} would give windows that see padding alone: it must be less "
            f"than the {span} pixels that a filter spans"
        )
    steps = max(demo.size, outputs(demo)) ** 2
    products = steps * demo.kernel**2 * demo.channels * demo.filters
    if products > MAX_PRODUCTS:
        raise ValueError(
            f"the page would show {products:,} products, more than the {MAX_PRODUCTS:,} that one "
            "can step through: use a smaller --size, --kernel, --channels or --filters"
        )


def geometry(demo: ConvDemoOptions) -> Geometry:
    kernel, stride, padding, dilation = (
        (n, n) for n in (demo.kernel, demo.stride, demo.padding, demo.dilation)
    )
    return Geometry(kernel, stride, padding, dilation)


def outputs(demo: ConvDemoOptions) -> int:
    """Numbers along a side of the output."""
    return geometry(demo).output_size((demo.size, demo.size))[0]


def conv_demo(demo: ConvDemoOptions) -> str:
    """The page, as HTML.

    Raises:
        ValueError: see `check`.
    """
    check(demo)
    options = {**asdict(demo), "outputs": outputs(demo), "span": geometry(demo).span[0]}
    return render("conv_demo.html.j2", demo=options, data=numbers(demo))


def numbers(demo: ConvDemoOptions) -> dict[str, Any]:
    """Everything that the page displays: a dictionary of scenes, and the matrices."""
    draw = torch.Generator().manual_seed(7)

    def whole(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=draw).double()

    n, k, c, f, p = demo.size, demo.kernel, demo.channels, demo.filters, outputs(demo)
    x, w = whole(0, 2, 1, c, n, n).requires_grad_(), whole(-1, 1, f, c, k, k).requires_grad_()
    b = F.pad(torch.ones(1), (0, f - 1)).double().requires_grad_()
    y = LF.conv2d(x, w, b, demo.stride, demo.padding, demo.dilation)
    dy = whole(-1, 2, 1, f, p, p)
    dx, dw, db = torch.autograd.grad(y, (x, w, b), dy)
    x, w, b, y = (t.detach() for t in (x, w, b, y))
    return {
        "forward": _forward(demo, x[0], w, b, y[0]),
        "input": _gradient_of_input(demo, w, dy[0], dx[0]),
        "weight": _gradient_of_weight(demo, x[0], dy[0], dw),
        **_pooling(whole(0, 19, c, n, n), whole),
        "matrices": {
            "x_col": _plain(im2col(x, geometry(demo))[0]),
            "w_row": _plain(w.flatten(1)),
            "y": _plain((y - b[:, None, None])[0].flatten(1)),
            "rows": [f"{ci},{i},{j}" for ci in range(c) for i in range(k) for j in range(k)],
        },
        "db": _plain(db),
    }


def _forward(demo: ConvDemoOptions, x: Tensor, w: Tensor, b: Tensor, y: Tensor) -> dict[str, Any]:
    """y[f,p,q] = b[f] + sum over c, i, j of  w[f,c,i,j] x[c, S p + D i - P, S q + D j - P]."""
    padded = F.pad(x, [demo.padding] * 4)
    c, f, p = demo.channels, demo.filters, outputs(demo)
    steps = [
        _step(
            padded, w, range(c), [(fi, ci) for ci in range(c)],
            _window(demo.stride * r, demo.stride * q, demo.kernel, demo.dilation, padded),
            (fi, r, q), y, b[fi],
        )
        for fi in range(f) for r in range(p) for q in range(p)
    ]  # fmt: skip
    filler = F.pad(torch.zeros_like(x[0]), [demo.padding] * 4, value=1)
    return _scene("x", padded, filler, "w", w, "y", y, steps)


def _gradient_of_input(demo: ConvDemoOptions, w: Tensor, dy: Tensor, dx: Tensor) -> dict[str, Any]:
    """dx[c] is a convolution at stride 1 of dy, with S - 1 zeros between its numbers and a margin
    of D(K-1) - P around them, with the flipped filters."""
    s, span, n, p = demo.stride, geometry(demo).span[0], demo.size, outputs(demo)
    between = dy.new_zeros(len(dy), (p - 1) * s + 1, (p - 1) * s + 1)
    between[:, ::s, ::s] = dy
    near = span - 1 - demo.padding
    far = n + span - 1 - near - between.shape[-1]
    margins = [near, far, near, far]
    spaced = F.pad(between, margins)
    filler = torch.ones_like(between[0])
    filler[::s, ::s] = 0
    filler = F.pad(filler, margins, value=1)
    flipped = w.flip(2, 3)
    steps = [
        _step(
            spaced, flipped, range(demo.filters), [(fi, ci) for fi in range(demo.filters)],
            _window(r, q, demo.kernel, demo.dilation, spaced), (ci, r, q), dx,
        )
        for ci in range(demo.channels) for r in range(n) for q in range(n)
    ]  # fmt: skip
    return _scene("dy", spaced, filler, "flip w", flipped, "dx", dx, steps)


def _gradient_of_weight(demo: ConvDemoOptions, x: Tensor, dy: Tensor, dw: Tensor) -> dict[str, Any]:
    """dw[f,c,i,j] = sum over p, q of  dy[f,p,q] x[c, S p + D i - P, S q + D j - P]."""
    padded, k, d = F.pad(x, [demo.padding] * 4), demo.kernel, demo.dilation
    steps = [
        _step(
            padded, dy, [ci], [(fi,)], _window(d * i, d * j, outputs(demo), demo.stride, padded),
            (fi, ci, i, j), dw,
        )
        for fi in range(demo.filters) for ci in range(demo.channels)
        for i in range(k) for j in range(k)
    ]  # fmt: skip
    filler = F.pad(torch.zeros_like(x[0]), [demo.padding] * 4, value=1)
    return _scene("x", padded, filler, "dy", dy, "dw", dw, steps)


def _pooling(x: Tensor, whole: Any) -> dict[str, Any]:
    """Max-pooling forward, with its switches, and backward, which adds where windows overlap."""
    k = min(POOL, x.shape[-1])
    y, switches = LF.max_pool2d_with_switches(x.requires_grad_(), k, POOL_STRIDE)
    dy = whole(1, 4, *y.shape)
    (dx,) = torch.autograd.grad(y, x, dy)
    x, y = x.detach(), y.detach()
    taken, forward, backward = torch.zeros_like(x), [], []
    for c, r, q in torch.cartesian_prod(*map(torch.arange, y.shape)).tolist():
        window = _window(POOL_STRIDE * r, POOL_STRIDE * q, k, 1, x)
        winner = int(switches[c, r, q])
        step = {"sources": [c], "window": window, "winner": winner}
        values = x[c].flatten()[window]
        forward.append(
            {**step, "products": [_plain(values)], "at": [c, r, q], "value": _plain(y[c, r, q])}
        )
        row, column = divmod(window[winner], x.shape[-1])
        before, given = taken[c, row, column].clone(), dy[c, r, q]
        taken[c, row, column] += given
        backward.append(
            {
                "sources": [c], "window": [r * y.shape[-1] + q], "seen": window, "winner": winner,
                "products": [], "sums": [_plain(before), _plain(given)],
                "at": [c, row, column], "value": _plain(taken[c, row, column]),
            }
        )  # fmt: skip
    assert torch.equal(taken, dx), "the walk over the windows is not the layer's gradient"
    none = torch.zeros_like(x[0])
    return {
        "pool": {
            **_scene("x", x, none, "", None, "y", y, forward),
            "switches": _plain(switches), "kernel": k, "stride": POOL_STRIDE,
        },
        "unpool": {
            **_scene("dy", dy, torch.zeros_like(dy[0]), "", None, "dx", dx, backward),
            "switches": _plain(switches), "kernel": k, "stride": POOL_STRIDE,
        },
    }  # fmt: skip


def _window(row: int, column: int, taps: int, apart: int, image: Tensor) -> list[int]:
    """The pixels of a window, as indices into a flattened map."""
    width = image.shape[-1]
    return [
        (row + apart * i) * width + column + apart * j for i in range(taps) for j in range(taps)
    ]


def _step(
    sources: Tensor,
    operands: Tensor,
    read: Any,
    with_operands: list[tuple[int, ...]],
    window: list[int],
    at: tuple[int, ...],
    results: Tensor,
    bias: Tensor | None = None,
) -> dict[str, Any]:
    """One number, results[at], and the products that it is the sum of."""
    products = [
        operands[operand].flatten() * sources[source].flatten()[window]
        for source, operand in zip(read, with_operands, strict=True)
    ]
    step = {
        "sources": [*read],
        "operands": [list(operand) for operand in with_operands],
        "window": window,
        "products": [_plain(product) for product in products],
        "sums": [_plain(product.sum()) for product in products],
        "at": list(at),
        "value": _plain(results[at]),
    }
    return step if bias is None else {**step, "bias": _plain(bias)}


def _scene(
    source: str, sources: Tensor, filler: Tensor,
    operand: str, operands: Tensor | None,
    result: str, results: Tensor, steps: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Args: source, operand, result: their letters.  filler: 1 where a zero was put in."""
    return {
        "source": source,
        "sources": _plain(sources),
        "filler": filler.flatten().nonzero().flatten().tolist(),
        "operand": operand,
        "operands": [] if operands is None else _plain(operands),
        "result": result,
        "shape": list(results.shape),
        "steps": steps,
    }


def _plain(values: Tensor) -> Any:
    """Whole numbers, as JSON has them."""
    return values.long().tolist()
