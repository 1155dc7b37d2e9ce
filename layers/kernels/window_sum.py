"""Sums over windows, and their adjoint: what average and norm pooling are made of.

First down the columns, then along the rows: K_h + K_w additions instead of K_h * K_w.  A few images
at a time, so that the running sums stay in the cache.  Letters as in max_pool.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops.geometry import Geometry, Tap
from ..ops.legacy import operator
from .max_pool import chunks, like


@operator(fake=lambda x, geometry, output_size: like(x, output_size))
def window_sum(x: Tensor, geometry: Sequence[int], output_size: Sequence[int]) -> Tensor:
    """y[n,c,p] = sum over the taps k of  x[n,c, S p + D k - P].  (N, C, *output_size)."""
    y, shape = like(x, output_size), Geometry.unflatten(geometry)
    for images in chunks(x):
        add_windows(x[images], y[images], shape)
    return y


@operator(fake=lambda y, geometry, image_size: like(y, image_size))
def window_spread(y: Tensor, geometry: Sequence[int], image_size: Sequence[int]) -> Tensor:
    """x[n,c, S p + D k - P] += y[n,c,p]: the adjoint of `window_sum`.  (N, C, *image_size)."""
    x, shape = like(y, image_size), Geometry.unflatten(geometry)
    for images in chunks(x):
        spread_windows(y[images], x[images], shape)
    return x


def add_windows(x: Tensor, y: Tensor, geometry: Geometry, times: Tensor | None = None) -> None:
    """y = the sum over every window of x (`times` x): for a few images, which stay in the cache."""
    down, along = geometry.axes()
    columns = like(x, (y.shape[2], x.shape[3]))
    _add_windows(x, columns, down, times)
    _add_windows(columns, y, along)


def spread_windows(y: Tensor, x: Tensor, geometry: Geometry, times: Tensor | None = None) -> None:
    """x = for every pixel the sum over the windows that see it (`times` that): the adjoint."""
    down, along = geometry.axes()
    columns = like(y, (y.shape[2], x.shape[3]))
    _spread_windows(y, columns, along)
    _spread_windows(columns, x, down, times)


def _add_windows(x: Tensor, y: Tensor, geometry: Geometry, times: Tensor | None = None) -> None:
    first, *others = geometry.taps(x.shape[2:], y.shape[2:])
    whole = geometry.padding == (0, 0)  # then the first tap of every window is inside
    _set(y if whole else y.zero_()[first.outputs], x[first.pixels], _at(times, first))
    for tap in others:
        _add(y[tap.outputs], x[tap.pixels], _at(times, tap))


def _spread_windows(y: Tensor, x: Tensor, geometry: Geometry, times: Tensor | None = None) -> None:
    tiles = geometry.tiles(x.shape[2:])
    give = _set if tiles else _add
    x = x if tiles else x.zero_()
    for tap in geometry.taps(x.shape[2:], y.shape[2:]):
        give(x[tap.pixels], y[tap.outputs], _at(times, tap))


def _at(volume: Tensor | None, tap: Tap) -> Tensor | None:
    return None if volume is None else volume[tap.pixels]


def _set(to: Tensor, values: Tensor, times: Tensor | None) -> None:
    to.copy_(values) if times is None else torch.mul(values, times, out=to)


def _add(to: Tensor, values: Tensor, times: Tensor | None) -> None:
    to.add_(values) if times is None else to.addcmul_(values, times)
