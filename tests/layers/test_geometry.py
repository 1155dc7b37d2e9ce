"""Window arithmetic, over every geometry hypothesis can think of."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from layers.arguments.pixels import pair, same_padding
from layers.ops.geometry import Geometry

small = st.integers(1, 4)


@st.composite
def geometries(draw):
    kernel = draw(small), draw(small)
    geometry = Geometry(
        kernel,
        (draw(small), draw(small)),
        (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2))),
        (draw(small), draw(small)),
    )
    size = tuple(
        draw(st.integers(max(1, span - 2 * p - 2), 16))  # some a little too small
        for span, p in zip(geometry.span, geometry.padding, strict=True)
    )
    return geometry, size


@given(geometries(), st.booleans())
def test_output_size_is_torch_s(case, ceil_mode):
    geometry, size = case
    try:
        theirs = F.max_pool2d(torch.zeros(1, 1, *size), *geometry[:4], ceil_mode=ceil_mode)
    except RuntimeError:
        with pytest.raises(RuntimeError, match="does not fit"):
            geometry.output_size(size, ceil_mode)
    else:
        assert geometry.output_size(size, ceil_mode) == theirs.shape[2:]


@given(geometries(), st.booleans())
def test_taps_are_exactly_the_pixels_inside(case, ceil_mode):
    """Every (window, tap) whose pixel lies inside the image is visited once, at that pixel."""
    geometry, size = case
    try:
        outputs = geometry.output_size(size, ceil_mode)
    except RuntimeError:
        return
    visited = {}
    for i, j, (_, *out), (_, *pixels) in geometry.taps(size, outputs):
        rows = [range(length)[s] for length, s in zip(outputs, out, strict=True)]
        reads = [range(length)[s] for length, s in zip(size, pixels, strict=True)]
        for p, row in zip(rows[0], reads[0], strict=True):
            for q, column in zip(rows[1], reads[1], strict=True):
                visited[i, j, p, q] = row, column
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = geometry[:4]
    expected = {
        (i, j, p, q): (p * sh + i * dh - ph, q * sw + j * dw - pw)
        for i in range(kh) for j in range(kw)
        for p in range(outputs[0]) for q in range(outputs[1])
        if 0 <= p * sh + i * dh - ph < size[0] and 0 <= q * sw + j * dw - pw < size[1]
    }  # fmt: skip
    assert visited == expected


@given(geometries())
def test_flatten_and_back(case):
    geometry, _ = case
    assert Geometry.unflatten(geometry.flatten()) == geometry


@given(small, small, st.integers(1, 9))
def test_same_padding_keeps_the_size(k, d, size):
    (top, bottom), _ = same_padding((k, k), (d, d))
    assert size + top + bottom - d * (k - 1) == size
    assert bottom - top in (0, 1)


# (W, F, P, S) and what the chapter says of them
@pytest.mark.parametrize(
    ("width", "kernel", "padding", "stride", "outputs"),
    [
        (5, 3, 1, 1, 5),
        (5, 3, 1, 2, 3),
        (5, 3, 1, 3, 2),  # does not fit neatly; models/pattern_layers.py warns
        (10, 3, 0, 2, 4),
        (7, 3, 0, 1, 5),
        (7, 3, 0, 2, 3),
        (227, 11, 0, 4, 55),
        (224, 11, 0, 4, 54),
    ],
)
def test_the_chapter_s_sizes(width, kernel, padding, stride, outputs):
    geometry = Geometry((kernel,) * 2, (stride,) * 2, (padding,) * 2)
    assert geometry.output_size((width, width)) == (outputs, outputs)


def test_pair():
    assert pair(3, "stride") == (3, 3)
    assert pair([2], "stride") == (2, 2)
    assert pair((1, 2), "stride") == (1, 2)
    assert pair(torch.Size([1, 2]), "stride") == (1, 2)
    assert [type(n) for n in pair((np.int64(1), torch.tensor(2)), "stride")] == [int, int]
    with pytest.raises(TypeError, match=r"stride must be a whole number, got 1\.5"):
        pair((1, 1.5, 2), "stride")
    with pytest.raises(RuntimeError, match="stride must be"):
        pair((1, 2, 3), "stride")


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(RuntimeError, match="5 pixels high does not fit an image of 2"):
        Geometry((5, 1)).output_size((2, 9))
